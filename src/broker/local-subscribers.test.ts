import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matches } from '#mqtt/topic.js';
import type { SessionHome } from '#session/session.js';
import { Session, Subscription } from '#session/session.js';
import { LocalSubscribers } from './local-subscribers.js';

const level = fc.constantFrom('', 'a', 'b', '$x', '+x');
const topicNames = fc.array(fc.constantFrom('', 'a', 'b', '$x'), { minLength: 1, maxLength: 4 }).map((l) => l.join('/'));
const filters = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 0, maxLength: 4 }), fc.boolean())
  .map(([levels, multi]) => (multi || levels.length === 0 ? [...levels, '#'] : levels).join('/'));

const options = { qos: 0 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const, subscriptionIdentifier: undefined };

function session(clientId: string): Session {
  // The index looks at nothing of a session but its identity.
  return new Session({} as SessionHome, clientId, 1, 0, 0);
}

for (const shapesMax of [64, 2, 0]) {
  test(`matching as a plain matcher does, with ${shapesMax} shapes and the rest in a tree`, () => {
    const step = fc.record({ client: fc.nat(2), filter: filters, add: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.array(topicNames, { minLength: 1, maxLength: 8 }), (steps, names) => {
        const index = new LocalSubscribers(8, shapesMax);
        const clients = [session('0'), session('1'), session('2')];
        const model = new Map<string, Subscription>();
        for (const { client, filter, add } of steps) {
          const key = `${client} ${filter}`;
          const known = model.get(key);
          const others = [...model.values()].filter((s) => s.topicFilter === filter).length;
          if (add && known === undefined) {
            const made = new Subscription(clients[client] as Session, filter, options);
            model.set(key, made);
            assert.equal(index.add(made), others === 0);
          } else if (!add && known !== undefined) {
            model.delete(key);
            assert.equal(index.remove(known), others === 1);
          }
          // Between the changes too, so that cached results must be given up.
          for (const name of names) check(index, [...model.values()], name);
        }
        assert.equal(index.count, model.size);
        assert.equal(index.filterCount, new Set([...model.values()].map((s) => s.topicFilter)).size);
        for (const s of model.values()) index.remove(s);
        assert.equal(index.filterCount, 0);
        for (const name of names) assert.deepEqual(index.match(name), []);
      }),
      { numRuns: 150 },
    );
  });
}

function check(index: LocalSubscribers, model: readonly Subscription[], topicName: string): void {
  const expected = new Map<string, string[]>();
  for (const s of model) {
    if (!matches(s.topicFilter, topicName)) continue;
    expected.set(s.session.clientId, [...(expected.get(s.session.clientId) ?? []), s.topicFilter].sort());
  }
  const found = index.match(topicName);
  const got = new Map(found.map((s) => [s.session.clientId, (s.merged ?? [s]).map((part) => part.topicFilter).sort()]));
  assert.equal(got.size, found.length, 'a session twice');
  assert.deepEqual([...got].sort(), [...expected].sort());
}

test('options that change in place reach a merged subscription', () => {
  const index = new LocalSubscribers();
  const client = session('0');
  const narrow = new Subscription(client, 'a/b', options);
  const wide = new Subscription(client, 'a/+', { ...options, qos: 1, subscriptionIdentifier: 3 });
  index.add(narrow);
  index.add(wide);
  assert.equal(index.match('a/b')[0]?.qos, 1);
  narrow.update({ ...options, qos: 2, subscriptionIdentifier: 4 });
  index.changed(narrow);
  assert.equal(index.match('a/b')[0]?.qos, 2);
  assert.deepEqual([...(index.match('a/b')[0]?.identifiers ?? [])].sort(), [3, 4]);
});

test('10,000 overlapping filters of one session, of far more shapes than are looked up, give it one delivery', () => {
  const index = new LocalSubscribers();
  const levels = 14;
  const s = session('many');
  for (let bits = 0; bits < 10_000; bits++) {
    const filter = Array.from({ length: levels }, (_, i) => ((bits >> i) & 1 ? '+' : 'a')).join('/');
    index.add(new Subscription(s, filter, options));
  }
  const found = index.match(Array.from({ length: levels }, () => 'a').join('/'));
  assert.equal(found.length, 1);
  assert.equal(found[0]?.merged?.length, 10_000);
  assert.deepEqual(index.match(Array.from({ length: levels }, () => 'b').join('/')), []);
});

test('200 levels', () => {
  const index = new LocalSubscribers();
  const deep = Array.from({ length: 200 }, (_, i) => `${i}`);
  for (const filter of [deep.join('/'), `${deep.slice(0, 150).join('/')}/#`, deep.map(() => '+').join('/')]) {
    index.add(new Subscription(session(filter.slice(0, 5)), filter, options));
  }
  assert.equal(index.match(deep.join('/')).length, 3);
  assert.equal(index.match(deep.slice(1).join('/')).length, 0);
});
