// Rights to publish that stand for a while: access control says of how long nothing but a change ends
// them, and everything that does end them early moves `changes`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessRight } from '#auth/access-control.js';
import { maxS } from '#auth/grant.js';
import { AccessWorld, Client } from './access-world.js';

const table = { type: 'built_in_database' };
const users = { mechanism: 'password_based', backend: 'built_in_database', password_hash_algorithm: { name: 'sha256' } };
const cache = { enable: true, maxSize: 4, ttlMs: 10_000 };

function rulesWorld(): AccessWorld {
  return new AccessWorld({ sources: [table], authorization: { noMatch: 'deny', cache } });
}

async function allow(world: AccessWorld, topic: string): Promise<void> {
  await world.change(world.admin.setRules({ kind: 'all' }, [{ permission: 'allow', action: 'publish', topic }]));
}

function standing(world: AccessWorld, client: Client, topic: string): AccessRight | undefined {
  return world.access.standing(client, topic, world.clock.now());
}

/** Asked as a plain message asks. */
function mayPlain(world: AccessWorld, client: Client, topic: string): boolean | undefined {
  return world.access.mayPublish(client, topic, 0, false, world.clock.now());
}

const counters = ['allow', 'deny', 'cache_hit', 'cache_miss', 'superuser'].map((name) => `emqx_authorization_${name}`);
const read = (world: AccessWorld): readonly number[] => counters.map((name) => world.read(name));

test('where everybody may publish, the right stands for good and nothing is counted or kept', () => {
  const world = new AccessWorld();
  const client = world.in('c');
  const before = read(world);
  assert.deepEqual(standing(world, client, 'a'), { untilS: maxS, counts: undefined });
  assert.equal(client.grant, undefined);
  assert.deepEqual(read(world), before);
});

test('a cached verdict that allows stands until its last whole second, which asks again', async () => {
  const world = rulesWorld();
  await allow(world, 'a/#');
  const client = world.in('c');
  assert.equal(standing(world, client, 'a/1'), undefined, 'nobody has judged it yet');
  assert.equal(mayPlain(world, client, 'a/1'), true);
  const untilS = Math.trunc((world.clock.now() + cache.ttlMs) / 1_000);
  const counted = read(world);
  assert.deepEqual(standing(world, client, 'a/1'), { untilS, counts: 'cached' });
  assert.deepEqual(read(world), counted, 'asking is no use of the right');
  assert.equal(standing(world, client, 'a/2'), undefined, 'another topic');
  world.clock.advance(untilS * 1_000 - world.clock.now() - 1);
  assert.deepEqual(standing(world, client, 'a/1'), { untilS, counts: 'cached' });
  world.clock.advance(1);
  assert.equal(standing(world, client, 'a/1'), undefined);
});

test('the verdict on a retained message or on another QoS is none on a plain message', async () => {
  const world = rulesWorld();
  await allow(world, 'a/#');
  const client = world.in('c');
  assert.equal(world.may(client, 'a/1', true), true);
  assert.equal(world.may(client, 'a/1'), true);
  assert.equal(standing(world, client, 'a/1'), undefined);
});

test('a verdict that denies does not stand, nor does any where verdicts are not kept', async () => {
  const world = rulesWorld();
  await allow(world, 'a/#');
  const client = world.in('c');
  assert.equal(mayPlain(world, client, 'b'), false);
  assert.equal(standing(world, client, 'b'), undefined);
  const uncached = new AccessWorld({ sources: [table], authorization: { noMatch: 'allow', cache: { ...cache, enable: false } } });
  const other = uncached.in('c');
  assert.equal(mayPlain(uncached, other, 'a'), true);
  assert.equal(standing(uncached, other, 'a'), undefined);
});

test('who has not been let in has no standing right', async () => {
  const world = rulesWorld();
  assert.equal(standing(world, new Client('c'), 'a/1'), undefined);
});

test('a superuser has the right for good', async () => {
  const world = new AccessWorld({ authentication: [users], sources: [table], authorization: { noMatch: 'deny', cache } });
  await world.change(world.admin.addUser('root', 'secret', true));
  const client = new Client('c', 'root');
  assert.equal(await world.login(client, 'secret'), 0);
  assert.deepEqual(standing(world, client, 'anything'), { untilS: maxS, counts: 'superuser' });
});

test('messages on a standing right are counted as those that ask', async () => {
  const world = new AccessWorld({ authentication: [users], sources: [table], authorization: { noMatch: 'deny', cache } });
  await world.change(world.admin.addUser('root', 'secret', true));
  await world.change(world.admin.addUser('u', 'secret', false));
  await allow(world, 'a/#');
  const clients = [new Client('c', 'root'), new Client('d', 'u')];
  for (const client of clients) {
    assert.equal(await world.login(client, 'secret'), 0);
    assert.equal(mayPlain(world, client, 'a/1'), true);
    const right = standing(world, client, 'a/1');
    assert.ok(right !== undefined);
    const start = read(world);
    for (let n = 0; n < 3; n++) mayPlain(world, client, 'a/1');
    const asked = read(world);
    world.access.counted(3, right.counts);
    const stood = read(world);
    assert.deepEqual(
      stood.map((v, i) => v - (asked[i] ?? 0)),
      asked.map((v, i) => v - (start[i] ?? 0)),
    );
  }
});

test('whatever ends a standing right early moves `changes`, and nothing stands then', async () => {
  const world = rulesWorld();
  await allow(world, 'a/#');
  const client = world.in('c');
  const ends: readonly (readonly [string, () => unknown])[] = [
    ['a rule', () => allow(world, 'a/+')],
    ['another state of the shard', () => world.db.swap('auth')],
    ['verdicts of all forgotten', () => world.access.forgetVerdicts()],
    ['verdicts of the client forgotten', () => world.access.forgetVerdicts('c')],
  ];
  for (const [what, end] of ends) {
    assert.equal(mayPlain(world, client, 'a/1'), true);
    assert.ok(standing(world, client, 'a/1') !== undefined, what);
    const before = world.access.changes;
    assert.equal(world.access.changes, before, 'nothing has changed');
    await end();
    assert.ok(world.access.changes > before, what);
    assert.equal(standing(world, client, 'a/1'), undefined, what);
  }
});

test('who proves anew who it is moves `changes`; who comes in first does not', async () => {
  const world = new AccessWorld({ authentication: [users], sources: [table], authorization: { noMatch: 'deny', cache } });
  await world.change(world.admin.addUser('root', 'secret', true));
  await world.change(world.admin.addUser('u', 'secret', false));
  const client = new Client('c', 'root');
  const before = world.access.changes;
  assert.equal(await world.login(client, 'secret'), 0);
  assert.equal(world.access.changes, before);
  assert.ok(standing(world, client, 'b') !== undefined);
  assert.equal(await world.login(Object.assign(client, { username: 'u' }), 'secret'), 0);
  assert.ok(world.access.changes > before);
  assert.equal(standing(world, client, 'b'), undefined);
});

/** Whole numbers below `n`. */
function draws(seed: number): (n: number) => number {
  let state = seed * 7919;
  return (n) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % n;
  };
}

test('whatever happens: while a right stands, asking says yes', async () => {
  let stood = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const draw = draws(seed);
    const either = <T>(a: T, b: T): T => (draw(2) === 0 ? a : b);
    const world = new AccessWorld({
      authentication: [users],
      sources: [table],
      authorization: { noMatch: either('allow', 'deny'), cache: { enable: draw(5) > 0, maxSize: 1 + draw(3), ttlMs: 5_000 } },
    });
    await world.change(world.admin.addUser('u', 'secret', false));
    await world.change(world.admin.addUser('root', 'secret', true));
    const clients = [0, 1, 2].map((i) => new Client(`c${i}`, i === 0 ? 'root' : 'u'));
    for (const client of clients) assert.equal(await world.login(client, 'secret'), 0);
    const topics = ['a', 'b', 'c/1', 'c/2'];
    const rights: { client: Client; topic: string; untilS: number; changes: number }[] = [];
    for (let i = 0; i < 150; i++) {
      const client = clients[draw(3)] as Client;
      const topic = topics[draw(4)] as string;
      const now = world.clock.now();
      const what = draw(18);
      if (what < 4) world.access.mayPublish(client, topic, draw(3) as 0, draw(2) === 0, now);
      else if (what < 6) world.access.maySubscribe(client, topic, draw(3) as 0, now);
      else if (what < 8) world.clock.advance(draw(2_500));
      else if (what === 8) {
        const rule = { permission: either('allow' as const, 'deny' as const), action: 'publish' as const, topic: either(topic, '#') };
        await world.change(world.admin.setRules({ kind: 'all' }, [rule]));
      } else if (what === 9) world.access.forgetVerdicts(either(client.clientId, undefined));
      else if (what === 10) await world.login(Object.assign(client, { username: either('u', 'root') }), 'secret');
      else {
        mayPlain(world, client, topic);
        const right = standing(world, client, topic);
        if (right !== undefined) rights.push({ client, topic, untilS: right.untilS, changes: world.access.changes });
      }
      const at = world.clock.now();
      for (const right of rights) {
        if (right.changes !== world.access.changes || right.untilS * 1000 <= at) continue;
        stood++;
        assert.equal(mayPlain(world, right.client, right.topic), true, `seed ${seed}, step ${i}`);
      }
    }
  }
  assert.ok(stood > 1_000, `${stood} times`);
});
