import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { WriteFailure } from '#db/api.js';
import { type DbBounds, dbBounds } from '#db/bounds.js';
import { ClusterWorld, itemsTable, type RunningNode } from './cluster-world.js';

const slackMs = 200;

function formed(seed: number, replicants: number, bounds: Partial<DbBounds> = {}): ClusterWorld {
  const c = new ClusterWorld({ seed, cores: 3, relays: 2, replicants, bounds: { rebalanceMs: 1_000, movePaceMs: 100, ...bounds } });
  c.startAll();
  const ready = c.world.runUntil(() => c.allServing && leaves(c).every((n) => upstream(c, n)?.relay === true) && even(c), 60_000);
  assert.ok(ready, `${c.nodes.map((n) => `${n.name} by ${upstream(c, n)?.name}`)}`);
  c.world.runFor(1_000);
  return c;
}

function leaves(c: ClusterWorld): RunningNode[] {
  return c.nodes.filter((n) => n.role === 'replicant' && !n.relay);
}

function upstream(c: ClusterWorld, n: RunningNode): RunningNode | undefined {
  const id = n.core?.database.replica('items')?.upstream;
  return c.nodes.find((m) => m.core?.nodeId === id && id !== undefined);
}

/** Both relays feed as many. */
function even(c: ClusterWorld): boolean {
  const fed = c.nodes.filter((n) => n.relay).map((n) => n.core?.database.replica('items')?.relay?.server.replicants().length);
  return fed[0] === fed[1];
}

function inSync(n: RunningNode): boolean {
  return n.core?.database.inSync('items') === true;
}

function bootstraps(n: RunningNode): number {
  const s = n.core?.database.status().find((one) => one.shard === 'items');
  return s !== undefined && 'replica' in s ? s.replica.bootstraps : -1;
}

let written = 0;

/** Simulated time until a write is effective; every node in service has it then. */
function effectiveAfter(c: ClusterWorld, n: RunningNode): number {
  const startedAt = c.world.now;
  const key = utf8Encode(`k${++written}`);
  let done = false;
  let failed: WriteFailure | undefined;
  n.sim.run(() =>
    n.core?.database.write('items', [{ kind: 'put', table: itemsTable, key, value: key }], { until: 'effective' }, (failure) => {
      done = true;
      failed = failure;
    }),
  );
  const answered = c.world.runUntil(() => done, 10_000, 1);
  assert.ok(answered, c.world.report());
  assert.equal(failed, undefined);
  for (const m of c.nodes) if (m.up && inSync(m)) assert.ok(m.core?.database.get(itemsTable, key) !== undefined, `${m.name} has it`);
  return c.world.now - startedAt;
}

test('the cores feed the relays, the relays the others; an effective write is seen by all', () => {
  const c = formed(61, 6);
  const fed = c.nodes.filter((n) => n.relay).map((n) => n.core?.database.replica('items')?.relay?.server.replicants().length);
  assert.deepEqual(fed, [2, 2]);
  for (const n of c.nodes.filter((m) => m.relay)) assert.equal(upstream(c, n)?.role, 'core');
  // A word that was overtaken costs the wait for the next request for a lease, which is 100 ms.
  for (const n of c.nodes) assert.ok(effectiveAfter(c, n) < 150);
});

test('a node below a relay that falls silent delays by a lease; one that is slow is let go before its relay seems slow', () => {
  // Hardly anything waits in memory, so that apply is as slow as the tables.
  const c = formed(62, 4, { tableCommitRows: 1 });
  const leader = c.leaderOf('items') as RunningNode;
  const leaf = leaves(c)[0] as RunningNode;
  leaf.sim.pause();
  const took = effectiveAfter(c, leader);
  assert.ok(took > 100 && took < dbBounds.leaseMs + slackMs, `${took} ms`);
  assert.equal(inSync(leaf), false);
  c.world.resume(leaf.sim.scope);
  assert.ok(
    c.world.runUntil(() => inSync(leaf), 5_000),
    c.world.report(),
  );
  leaf.sim.tables.faults.slowFactor = 20_000;
  for (let i = 0; i < 60; i++) {
    leader.sim.run(() =>
      leader.core?.database.write('items', [{ kind: 'put', table: itemsTable, key: utf8Encode(`s${i}`), value: utf8Encode('v') }], {}, () => {}),
    );
    c.world.runFor(100);
    for (const n of c.nodes) if (n !== leaf) assert.ok(inSync(n), `${n.name} at ${i}`);
  }
  assert.equal(inSync(leaf), false);
});

test('a relay dies: its nodes resume elsewhere, nothing is copied; when it is back they come back', () => {
  const c = formed(63, 6);
  const relay = c.node('replicant1');
  const orphans = leaves(c).filter((n) => upstream(c, n) === relay);
  assert.equal(orphans.length, 2);
  const before = new Map(c.nodes.map((n) => [n, bootstraps(n)]));
  c.crash(relay, 'power');
  assert.ok(effectiveAfter(c, c.node('core1')) < dbBounds.leaseMs + slackMs);
  const again = c.world.runUntil(() => orphans.every((n) => inSync(n) && upstream(c, n) !== undefined), 20_000);
  assert.ok(again, c.world.report());
  for (const n of leaves(c)) assert.equal(bootstraps(n), before.get(n));
  c.start(relay);
  const back = c.world.runUntil(() => c.allServing && leaves(c).some((n) => upstream(c, n) === relay), 60_000);
  assert.ok(back, c.world.report());
  for (const n of leaves(c)) assert.equal(bootstraps(n), before.get(n));
});

test('a relay that is cut off from all cores lets its nodes go', () => {
  const c = formed(64, 4);
  const relay = c.node('replicant1');
  const below = leaves(c).filter((n) => upstream(c, n) === relay);
  assert.ok(below.length > 0);
  for (const n of c.nodes) if (n.role === 'core') c.net.cut(relay.name, n.name);
  const elsewhere = c.world.runUntil(() => below.every((n) => inSync(n) && upstream(c, n) !== relay), 20_000);
  assert.ok(elsewhere, c.world.report());
  assert.equal(inSync(relay), false);
  assert.ok(effectiveAfter(c, c.node('core1')) < 100);
});
