// Cores far from each other: 100 and 250 ms of round trip, with jitter, at the default timings. Distance makes a
// write slower, not the leaders restless, and not the writes few.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import { memberShard } from '#cluster/schema.js';
import { type DbBounds, dbBounds } from '#db/bounds.js';
import { ClusterWorld, itemsTable, type RunningNode } from './cluster-world.js';

const shards = [memberShard, 'items', 'vault'] as const;
const writers = 200;
const runMs = 6_000;
/** A write from the leader's node is a round trip to a majority; from another node two; and the answer of a sync. */
const roundTripsMax = 3;

interface Outcome {
  readonly elections: number;
  readonly writes: number;
}

function elections(c: ClusterWorld): number {
  let sum = 0;
  for (const n of c.nodes) for (const shard of shards) sum += n.core?.database.coreShard(shard)?.elections ?? 0;
  return sum;
}

/** Elections after every shard had a leader, and writes acknowledged to clients that each wait for their last one. */
export function atDistance(seed: number, cores: number, oneWayMs: number): Outcome {
  const c = new ClusterWorld({ seed, cores, replicants: 1 });
  c.net.way = { delayMs: oneWayMs, jitterMs: oneWayMs / 5, bytesPerMs: 0 };
  c.startAll();
  assert.ok(
    c.world.runUntil(() => c.allServing, 60_000),
    c.world.report(),
  );
  const before = elections(c);
  let writes = 0;
  const write = (n: RunningNode, key: string): void => {
    const op = { kind: 'put', table: itemsTable, key: utf8Encode(key), value: utf8Encode('v') } as const;
    n.core?.database.write('items', [op], {}, (failure) => {
      assert.equal(failure, undefined);
      writes++;
      write(n, key);
    });
  };
  const startedAt = c.world.now;
  for (let i = 0; i < writers; i++) {
    const n = c.nodes[i % c.nodes.length] as RunningNode;
    n.sim.run(() => write(n, `k${i}`));
  }
  while (c.world.now < startedAt + runMs) c.world.runFor(100);
  return { elections: elections(c) - before, writes };
}

for (const roundTripMs of [100, 250])
  test(`cores ${roundTripMs} ms apart: no election after the first, and each client's writes take at most ${roundTripsMax} round trips`, () => {
    for (let seed = 1; seed <= 3; seed++) {
      const { elections: more, writes } = atDistance(seed, seed === 3 ? 5 : 3, roundTripMs / 2);
      assert.equal(more, 0, `seed ${seed}: elections`);
      const expected = (writers * runMs) / (roundTripsMax * roundTripMs);
      assert.ok(writes >= expected, `seed ${seed}: ${writes} writes, at least ${expected} expected`);
    }
  });

/** Three cores, and a replicant that is farther from all of them than they are from each other. */
function withFar(
  seed: number,
  coresMs: number,
  replicantMs: number,
  bounds: Partial<DbBounds>,
): { readonly c: ClusterWorld; readonly far: RunningNode } {
  const c = new ClusterWorld({ seed, cores: 3, replicants: 1, bounds });
  const far = c.node('replicant1');
  c.net.way = { delayMs: coresMs / 2, jitterMs: coresMs / 20, bytesPerMs: 0 };
  for (const n of c.nodes) if (n !== far) c.net.setWay(n.name, far.name, { delayMs: replicantMs / 2, jitterMs: replicantMs / 20, bytesPerMs: 0 });
  c.startAll();
  const formed = c.world.runUntil(() => c.allServing, 60_000);
  assert.ok(formed, `a replicant ${replicantMs} ms away comes into service`);
  return { c, far };
}

/** In service at the looks of half a minute, in percent, under some load. */
function inService(seed: number, coresMs: number, replicantMs: number, leaseMs: number): number {
  const { c, far } = withFar(seed, coresMs, replicantMs, { leaseMs });
  const core = c.node('core1');
  const write = (): void => {
    const op = { kind: 'put', table: itemsTable, key: utf8Encode('k'), value: utf8Encode('v') } as const;
    core.core?.database.write('items', [op], {}, () => core.sim.env.clock.setTimer(50, write));
  };
  core.sim.run(write);
  // Leaders are spread, and feeders chosen.
  c.world.runFor(25_000);
  const looks = 600;
  let served = 0;
  for (let i = 0; i < looks; i++) {
    c.world.runFor(50);
    if ([memberShard, 'items'].every((s) => far.core?.database.inSync(s) === true)) served++;
  }
  return (100 * served) / looks;
}

for (const { coresMs, replicantMs, leaseMs } of [
  { coresMs: 1, replicantMs: 400, leaseMs: 500 },
  { coresMs: 1, replicantMs: 550, leaseMs: 500 },
  { coresMs: 100, replicantMs: 350, leaseMs: 500 },
  { coresMs: 1, replicantMs: 700, leaseMs: 1_000 },
])
  test(`a replicant ${replicantMs} ms from cores that are ${coresMs} ms apart is in service, with a lease of ${leaseMs} ms`, () => {
    for (let seed = 1; seed <= 2; seed++) {
      const percent = inService(seed, coresMs, replicantMs, leaseMs);
      assert.ok(percent > 99, `seed ${seed}: ${percent} %`);
    }
  });

/** Simulated time until a write on the node is effective; undefined: it was told that it was not in time. */
function effectiveAfter(c: ClusterWorld, n: RunningNode): number | undefined {
  const startedAt = c.world.now;
  let told: string | undefined;
  const op = { kind: 'put', table: itemsTable, key: utf8Encode('k'), value: utf8Encode('v') } as const;
  n.sim.run(() => n.core?.database.write('items', [op], { until: 'effective' }, (failure) => (told = failure?.kind ?? 'ok')));
  c.world.runUntil(() => told !== undefined, 20_000, 1);
  return told === 'ok' ? c.world.now - startedAt : undefined;
}

test('a replicant 550 ms away that falls silent delays an effective write by its lease and what it said last, and the write is answered', () => {
  const replicantMs = 550;
  const lease = Math.ceil(1.3 * (replicantMs + dbBounds.leaseMs / 5));
  for (let seed = 1; seed <= 6; seed++) {
    const { c, far } = withFar(seed, 1, replicantMs, { rebalanceMs: 600_000, leaderSpreadMs: Number.POSITIVE_INFINITY });
    const leader = c.leaderOf('items') as RunningNode;
    c.world.runFor(5_000 + 30 * seed);
    const usual = effectiveAfter(c, leader);
    assert.ok(usual !== undefined && usual > replicantMs * 0.9 && usual < replicantMs * 1.2, `seed ${seed}: ${usual} ms`);
    far.sim.pause();
    const took = effectiveAfter(c, leader);
    assert.ok(took !== undefined && took > 500 && took < replicantMs / 2 + lease + 150, `seed ${seed}: ${took} ms`);
    const next = effectiveAfter(c, leader);
    assert.ok(next !== undefined && next < 50, `seed ${seed}: ${next} ms, nobody waits for it any more`);
    c.world.resume(far.sim.scope);
    const back = c.world.runUntil(() => far.core?.database.inSync('items') === true, 10_000, 1);
    assert.ok(back, `seed ${seed}: it is let in again`);
  }
});

test('a write is told that it is not effective yet after the time that is set, whenever others began to wait', () => {
  const waitMs = 320;
  const { c, far } = withFar(7, 1, 20, { leaseMs: 900, effectiveWaitMs: waitMs });
  const leader = c.leaderOf('items') as RunningNode;
  c.world.runFor(3_000);
  far.sim.pause();
  const op = { kind: 'put', table: itemsTable, key: utf8Encode('k'), value: utf8Encode('v') } as const;
  const took: number[] = [];
  for (let i = 0; i < 4; i++) {
    const from = c.world.now;
    leader.sim.run(() =>
      leader.core?.database.write('items', [op], { until: 'effective' }, (failure) => {
        assert.equal(failure?.kind, 'not-effective');
        took.push(c.world.now - from);
      }),
    );
    c.world.runFor(100);
  }
  c.world.runUntil(() => took.length === 4, 5_000, 1);
  assert.ok(took.length === 4 && took.every((ms) => ms >= waitMs && ms < waitMs * 1.2), `${took}`);
});
