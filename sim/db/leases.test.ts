import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { WriteFailure } from '#db/api.js';
import { dbBounds } from '#db/bounds.js';
import { leadMs } from '#db/lease.js';
import { ClusterWorld, itemsTable, type RunningNode } from './cluster-world.js';

/** Beyond the lease: rounds of renewal, the timers that notice, the messages. */
const slackMs = 150;

function formed(options: { readonly cores: number; readonly replicants: number; readonly seed: number }): ClusterWorld {
  const c = new ClusterWorld(options);
  c.startAll();
  const ready = c.world.runUntil(() => c.allServing, 20_000);
  assert.ok(ready, c.world.report());
  // A new leader waits once.
  c.world.runFor(leadMs(dbBounds.leaseMs) + 500);
  return c;
}

/** Simulated time until a write on the node is effective. */
function effectiveAfter(c: ClusterWorld, n: RunningNode): number {
  const startedAt = c.world.now;
  let done = false;
  let failed: WriteFailure | undefined;
  const op = { kind: 'put', table: itemsTable, key: utf8Encode('k'), value: utf8Encode('v') } as const;
  n.sim.run(() =>
    n.core?.database.write('items', [op], { until: 'effective' }, (failure) => {
      done = true;
      failed = failure;
    }),
  );
  const answered = c.world.runUntil(() => done, 10_000, 1);
  assert.ok(answered, c.world.report());
  assert.equal(failed, undefined);
  return c.world.now - startedAt;
}

function inSync(n: RunningNode): boolean {
  return n.core?.database.inSync('items') === true;
}

function followers(c: ClusterWorld): RunningNode[] {
  const leader = c.leaderOf('items');
  return c.nodes.filter((n) => n.role === 'core' && n !== leader);
}

test('a replicant that falls silent delays an effective write by its lease at most, and does not believe to be in sync when it wakes up', () => {
  const c = formed({ seed: 31, cores: 3, replicants: 2 });
  const leader = c.leaderOf('items') as RunningNode;
  const asleep = c.node('replicant1');
  assert.ok(effectiveAfter(c, leader) < 50);
  asleep.sim.pause();
  const took = effectiveAfter(c, leader);
  assert.ok(took > 100 && took < dbBounds.leaseMs + slackMs, `${took} ms`);
  assert.equal(inSync(asleep), false);
  assert.ok(effectiveAfter(c, leader) < 50, 'nobody waits for it any more');
  c.world.resume(asleep.sim.scope);
  assert.equal(inSync(asleep), false, 'before it has heard anything');
  const back = c.world.runUntil(() => inSync(asleep), 2_000, 1);
  assert.ok(back, c.world.report());
  assert.ok(asleep.core?.database.get(itemsTable, utf8Encode('k')) !== undefined);
});

test('a core that is cut off delays by one lease, those that follow it included', () => {
  const c = formed({ seed: 32, cores: 3, replicants: 3 });
  const leader = c.leaderOf('items') as RunningNode;
  const cut = followers(c).find((n) => n.core?.database.coreShard('items')?.server.replicants().length !== 0) as RunningNode;
  for (const n of c.nodes) if (n.role === 'core' && n !== cut) c.net.cut(cut.name, n.name);
  const took = effectiveAfter(c, leader);
  assert.ok(took < dbBounds.leaseMs + slackMs, `${took} ms`);
  assert.equal(inSync(cut), false);
  for (const n of c.nodes)
    if (n.core?.database.replica('items')?.upstream === cut.core?.nodeId) assert.equal(inSync(n), false, `${n.name}, which follows ${cut.name}`);
  c.net.healAll();
  const all = c.world.runUntil(() => c.nodes.every(inSync), 20_000);
  assert.ok(all, c.world.report());
});

test('a core that restarts at once delays by no more than the lease of its earlier process', () => {
  const c = formed({ seed: 37, cores: 3, replicants: 1 });
  const leader = c.leaderOf('items') as RunningNode;
  const again = followers(c)[0] as RunningNode;
  c.crash(again);
  c.world.runFor(20);
  c.start(again);
  c.world.runFor(20);
  const took = effectiveAfter(c, leader);
  assert.ok(took < dbBounds.leaseMs + slackMs, `${took} ms`);
  const back = c.world.runUntil(() => inSync(again), 5_000, 1);
  assert.ok(back, c.world.report());
  assert.ok(effectiveAfter(c, leader) < 50);
});

test('replicants whose core falls silent follow another after little more than a second', () => {
  const c = formed({ seed: 36, cores: 3, replicants: 3 });
  const silent = followers(c).find((n) => n.core?.database.coreShard('items')?.server.replicants().length !== 0) as RunningNode;
  const fed = c.nodes.filter((n) => n.core?.database.replica('items')?.upstream === silent.core?.nodeId);
  assert.ok(fed.length > 0);
  for (const n of c.nodes) if (n !== silent) c.net.cut(silent.name, n.name);
  c.world.runFor(dbBounds.leaseMs);
  for (const n of fed) assert.equal(inSync(n), false, n.name);
  const elsewhere = c.world.runUntil(() => fed.every(inSync), 1_500, 1);
  assert.ok(elsewhere, c.world.report());
});

test('a leader that is cut off stops reporting and counting itself before the others have another', () => {
  const c = formed({ seed: 33, cores: 3, replicants: 0 });
  const old = c.leaderOf('items') as RunningNode;
  for (const n of followers(c)) c.net.cut(old.name, n.name);
  c.world.runFor(leadMs(dbBounds.leaseMs));
  assert.equal(inSync(old), false);
  const other = c.world.runUntil(() => c.nodes.some((n) => n !== old && n.core?.database.coreShard('items')?.leader !== undefined), 10_000, 1);
  assert.ok(other, c.world.report());
  const leader = c.nodes.find((n) => n !== old && n.core?.database.coreShard('items')?.leader !== undefined) as RunningNode;
  const took = effectiveAfter(c, leader);
  assert.ok(took < leadMs(dbBounds.leaseMs) + slackMs, `${took} ms`);
});

for (const roundTripMs of [100, 250])
  test(`cores with a round trip of ${roundTripMs} ms come into service and stay in it, and so do those that they feed`, () => {
    // A leader that hands its shard on is out of service until it has heard of the next one.
    const c = new ClusterWorld({ seed: 35, cores: 3, replicants: 2, bounds: { leaderSpreadMs: Number.POSITIVE_INFINITY } });
    const cores = c.nodes.filter((n) => n.role === 'core');
    for (const a of cores) for (const b of cores) if (a !== b) c.net.setWay(a.name, b.name, { delayMs: roundTripMs / 2, jitterMs: 2 });
    c.startAll();
    const ready = c.world.runUntil(() => c.allServing, 30_000);
    assert.ok(ready, c.world.report());
    c.world.runFor(3_000);
    for (let i = 0; i < 1_000; i++) {
      c.world.runFor(20);
      for (const n of cores) assert.ok(inSync(n), `${n.name} at ${c.world.now}`);
      // One that moves to another core is out of service for a moment.
      const all = c.world.runUntil(() => c.nodes.every(inSync), 200, 1);
      assert.ok(all, c.world.report());
    }
    assert.ok(effectiveAfter(c, c.leaderOf('items') as RunningNode) < 3 * roundTripMs);
  });

test('without any core replicants stay with what they have, readable, and say that it may be old', () => {
  const c = formed({ seed: 34, cores: 3, replicants: 2 });
  const replicant = c.node('replicant1');
  effectiveAfter(c, replicant);
  for (const n of c.nodes) if (n.role === 'core') c.crash(n, 'power');
  c.world.runFor(10_000);
  assert.equal(inSync(replicant), false);
  assert.ok(replicant.core?.database.get(itemsTable, utf8Encode('k')) !== undefined);
  const status = replicant.core?.database.status().find((s) => s.shard === 'items');
  assert.ok(status !== undefined && 'replica' in status && status.replica.state === 'disconnected' && status.replica.upstream === undefined);
  const bootstraps = status.replica.bootstraps;
  for (const n of c.nodes) if (n.role === 'core') c.start(n);
  const all = c.world.runUntil(() => c.nodes.every(inSync), 30_000);
  assert.ok(all, c.world.report());
  const after = replicant.core?.database.status().find((s) => s.shard === 'items');
  assert.ok(after !== undefined && 'replica' in after && after.replica.bootstraps === bootstraps, 'it went on from where it was');
});
