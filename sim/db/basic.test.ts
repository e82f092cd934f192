import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { WriteFailure, WriteOptions } from '#db/api.js';
import { ClusterWorld, itemsTable, type RunningNode } from './cluster-world.js';

function formed(c: ClusterWorld): void {
  c.startAll();
  assert.ok(
    c.world.runUntil(() => c.allServing, 20_000),
    c.world.report(),
  );
}

function put(
  _c: ClusterWorld,
  n: RunningNode,
  key: string,
  value: string,
  options: WriteOptions = {},
): { failure: WriteFailure | undefined; done: boolean } {
  const result: { failure: WriteFailure | undefined; done: boolean } = { failure: undefined, done: false };
  n.core?.database.write('items', [{ kind: 'put', table: itemsTable, key: utf8Encode(key), value: utf8Encode(value) }], options, (failure) => {
    result.failure = failure;
    result.done = true;
  });
  return result;
}

function read(n: RunningNode, key: string): string | undefined {
  const row = n.core?.database.get(itemsTable, utf8Encode(key));
  return row === undefined ? undefined : utf8Decode(row.value);
}

test('one core alone forms and writes', () => {
  const c = new ClusterWorld({ seed: 1, cores: 1, replicants: 0 });
  formed(c);
  const w = put(c, c.node('core1'), 'a', '1', { until: 'applied' });
  assert.ok(
    c.world.runUntil(() => w.done, 5_000),
    c.world.report(),
  );
  assert.equal(w.failure, undefined);
  assert.equal(read(c.node('core1'), 'a'), '1');
});

test('three cores and two replicants: a write from each is effective everywhere', () => {
  const c = new ClusterWorld({ seed: 2, cores: 3, replicants: 2 });
  formed(c);
  const writes = c.nodes.map((n) => put(c, n, n.name, 'x', { until: 'effective' }));
  assert.ok(
    c.world.runUntil(() => writes.every((w) => w.done), 5_000),
    c.world.report(),
  );
  for (const w of writes) assert.equal(w.failure, undefined);
  for (const n of c.nodes) for (const m of c.nodes) assert.equal(read(n, m.name), 'x', `${m.name} on ${n.name}`);
});

test('a replicant that leaves is answered, is a member no more, and the leader goes on', () => {
  const c = new ClusterWorld({ seed: 5, cores: 3, replicants: 1 });
  formed(c);
  const n = c.node('replicant1');
  let answer: string | undefined | 'none' = 'none';
  n.sim.run(() =>
    n.core?.cluster.leave((refused) => {
      answer = refused;
    }),
  );
  assert.ok(
    c.world.runUntil(() => answer !== 'none', 8_000),
    c.world.report(),
  );
  assert.equal(answer, undefined);
  const names = (): string[] => [...(c.node('core1').core?.cluster.members() ?? [])].map((m) => m.name).sort();
  // A core that does not lead hears of it a little later.
  c.world.runUntil(() => names().length === 3, 1_000);
  assert.deepEqual(names(), ['core1@core1', 'core2@core2', 'core3@core3']);
  const w = put(c, c.node('core2'), 'a', '1');
  assert.ok(
    c.world.runUntil(() => w.done, 5_000),
    c.world.report(),
  );
  assert.equal(w.failure, undefined);
});

test('a killed leader: nothing acknowledged is lost, writes go on, the replicants resume without a bootstrap', () => {
  const c = new ClusterWorld({ seed: 3, cores: 3, replicants: 2 });
  formed(c);
  const first = put(c, c.node('replicant1'), 'before', '1');
  assert.ok(c.world.runUntil(() => first.done, 5_000));
  assert.equal(first.failure, undefined);
  const leader = c.leaderOf('items');
  assert.ok(leader !== undefined);
  const bootstraps = ['replicant1', 'replicant2'].map(
    (n) =>
      c
        .node(n)
        .core?.database.replica('items')
        ?.status((id) => id).bootstraps,
  );
  c.crash(leader);
  const second = put(c, c.node('replicant2'), 'after', '2');
  assert.ok(
    c.world.runUntil(() => second.done, 5_000),
    c.world.report(),
  );
  assert.equal(second.failure, undefined);
  c.start(leader);
  assert.ok(
    c.world.runUntil(() => c.allServing && c.nodes.every((n) => read(n, 'after') === '2'), 20_000),
    c.world.report(),
  );
  for (const n of c.nodes) assert.equal(read(n, 'before'), '1');
  const now = ['replicant1', 'replicant2'].map(
    (n) =>
      c
        .node(n)
        .core?.database.replica('items')
        ?.status((id) => id).bootstraps,
  );
  assert.deepEqual(now, bootstraps);
});

test('all nodes lose power at once and come back with every acknowledged write', () => {
  const c = new ClusterWorld({ seed: 4, cores: 3, replicants: 1 });
  formed(c);
  const writes = Array.from({ length: 50 }, (_, i) => put(c, c.node('core1'), `k${i}`, `v${i}`));
  assert.ok(
    c.world.runUntil(() => writes.every((w) => w.done), 5_000),
    c.world.report(),
  );
  for (const n of c.nodes) c.crash(n, 'power');
  c.startAll();
  assert.ok(
    c.world.runUntil(() => c.allServing, 20_000),
    c.world.report(),
  );
  for (const n of c.nodes) for (let i = 0; i < 50; i++) assert.equal(read(n, `k${i}`), `v${i}`, `k${i} on ${n.name}`);
});
