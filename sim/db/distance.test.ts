// Cores far from each other: 100 and 250 ms of round trip, with jitter, at the default timings. Distance makes a
// write slower, not the leaders restless, and not the writes few.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import { memberShard } from '#cluster/schema.js';
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
