import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '#base/prng.js';
import { RecentMap } from './recent-map.js';
import { type Candidate, SharedPicker, type SharedStrategy } from './shared-picker.js';

const strategies: readonly SharedStrategy[] = ['random', 'round_robin', 'round_robin_per_group', 'sticky', 'local', 'hash_clientid', 'hash_topic'];
const weights = fc.array(fc.nat(4), { minLength: 1, maxLength: 5 });

/** The first candidate is this node. */
function candidates(list: readonly number[]): Candidate[] {
  return list.map((weight, i) => ({ nodeId: i === 0 ? '' : `n${i}`, weight }));
}

function picker(strategy: SharedStrategy, seed: number = 1): SharedPicker {
  const prng = new Prng(seed);
  return new SharedPicker(strategy, (limit) => prng.int(limit));
}

test('whatever the strategy, a member that is there is picked, and nobody when there is none', () => {
  fc.assert(
    fc.property(fc.constantFrom(...strategies), weights, fc.array(fc.string(), { minLength: 1 }), fc.nat(), (strategy, list, names, seed) => {
      const p = picker(strategy, seed);
      for (const name of names) {
        const i = p.pick(candidates(list), name, name);
        if (list.every((w) => w === 0)) assert.equal(i, -1);
        else assert.ok(p.hint >= 0 && p.hint < (list[i] ?? 0));
      }
    }),
  );
});

for (const strategy of ['round_robin', 'round_robin_per_group'] as const) {
  test(`${strategy}: every round has every member once, none twice`, () => {
    fc.assert(
      fc.property(weights, fc.nat(3), (list, rounds) => {
        const total = list.reduce((a, b) => a + b, 0);
        const p = picker(strategy);
        for (let r = 0; r <= rounds && total > 0; r++) {
          const seen = new Set<string>();
          for (let i = 0; i < total; i++) seen.add(`${p.pick(candidates(list), 'p', 't')}:${p.hint}`);
          assert.equal(seen.size, total);
        }
      }),
    );
  });
}

test('round_robin: each publisher has its own rounds, and publishers of one message each are spread', () => {
  const p = picker('round_robin');
  const list = candidates([1, 1]);
  assert.deepEqual([p.pick(list, 'a', 't'), p.pick(list, 'b', 't'), p.pick(list, 'a', 't'), p.pick(list, 'b', 't')], [0, 1, 1, 0]);
  const first = Array.from({ length: 10 }, (_, i) => p.pick(list, `once ${i}`, 't'));
  assert.equal(first.filter((i) => i === 0).length, 5);
});

test('round_robin: the same with the place that a publisher was at remembered, and with that of another one', () => {
  fc.assert(
    fc.property(weights, fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(1)), { minLength: 1 }), (list, picks) => {
      const [plain, remembering] = [picker('round_robin'), picker('round_robin')];
      const memos = [{ place: undefined }, { place: undefined }];
      for (const [publisherId, memo] of picks) {
        assert.equal(remembering.pick(candidates(list), publisherId, 't', memos[memo]), plain.pick(candidates(list), publisherId, 't'));
        assert.equal(remembering.hint, plain.hint);
      }
    }),
  );
});

test('one candidate alone: the same place as in a line of one', () => {
  const picks = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.constantFrom('t', 'u'), fc.integer({ min: 1, max: 5 })), { minLength: 1 });
  fc.assert(
    fc.property(fc.constantFrom(...strategies.filter((s) => s !== 'sticky')), picks, (strategy, all) => {
      const [line, alone] = [picker(strategy), picker(strategy)];
      const memo = { place: undefined };
      for (const [publisherId, topicName, weight] of all) {
        line.pick(candidates([weight]), publisherId, topicName);
        assert.equal(alone.pickAlone(weight, publisherId, topicName, memo), line.hint);
      }
    }),
  );
});

test('random: by weight', () => {
  const p = picker('random', 7);
  const counts = [0, 0, 0];
  for (let i = 0; i < 6000; i++) {
    const at = p.pick(candidates([1, 2, 3]), 'p', 't');
    counts[at] = (counts[at] ?? 0) + 1;
  }
  for (const [i, n] of counts.entries()) assert.ok(Math.abs(n - 1000 * (i + 1)) < 200, `${counts}`);
});

test('local: this node while it has a member, the others otherwise', () => {
  const p = picker('local');
  for (let i = 0; i < 20; i++) assert.equal(p.pick(candidates([1, 5, 5]), 'p', 't'), 0);
  assert.ok(p.pick(candidates([0, 5]), 'p', 't') === 1);
});

test('hashes: the same member on every node, many members in use', () => {
  for (const [strategy, by] of [['hash_clientid', 0] as const, ['hash_topic', 1] as const]) {
    const [p, q] = [picker(strategy, 1), picker(strategy, 2)];
    const seen = new Set<string>();
    for (let i = 0; i < 200; i++) {
      const name = `device/${i}`;
      const args = (other: string): [string, string] => (by === 0 ? [name, other] : [other, name]);
      const a = `${p.pick(candidates([3, 4]), ...args('x'))}:${p.hint}`;
      assert.equal(`${q.pick(candidates([3, 4]), ...args('y'))}:${q.hint}`, a);
      seen.add(a);
    }
    assert.equal(seen.size, 7);
  }
});

test('sticky: a publisher stays with its node until that has no member any more', () => {
  const p = picker('sticky', 3);
  const first = p.pick(candidates([1, 1, 1]), 'p', 't');
  for (let i = 0; i < 20; i++) assert.equal(p.pick(candidates([5, 5, 5]), 'p', `t${i}`), first);
  const gone = candidates([1, 1, 1].map((w, i) => (i === first ? 0 : w)));
  const second = p.pick(gone, 'p', 't');
  assert.notEqual(second, first);
  assert.equal(p.pick(candidates([1, 1, 1]), 'p', 't'), second);
  assert.equal(new Set(Array.from({ length: 30 }, (_, i) => p.pick(candidates([1, 1, 1]), `p${i}`, 't'))).size, 3);
});

test('a recent map is bounded and keeps what is asked for', () => {
  const map = new RecentMap<number>(8);
  map.set('kept', 1);
  for (let i = 0; i < 100; i++) {
    map.set(`k${i}`, i);
    assert.equal(map.get('kept'), 1);
    assert.ok(map.size <= 8);
  }
  assert.equal(map.get('k1'), undefined);
});
