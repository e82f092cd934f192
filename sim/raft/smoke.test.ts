// A few seconds of the raft scope in every test run, and the seeds that once failed.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { knownSeeds } from '../known-seeds.js';
import { raftScope } from './scope.js';

test('raft scope: seeds 1 to 150 hold every promise', () => {
  for (let seed = 1; seed <= 150; seed++) {
    const { violations } = raftScope.run(seed, raftScope.defaultSeconds, {});
    assert.deepEqual(violations, [], `repeat: node dist/sim/main.js --seed ${seed}`);
  }
});

test('raft scope: the same seed gives the same trace', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const first = raftScope.run(seed, 4, {});
    const second = raftScope.run(seed, 4, {});
    assert.equal(first.traceHash, second.traceHash, `seed ${seed}`);
    assert.equal(first.events, second.events);
  }
});

test('raft scope: different seeds give different traces', () => {
  const hashes = new Set(Array.from({ length: 20 }, (_, i) => raftScope.run(i + 1, 1, {}).traceHash));
  assert.equal(hashes.size, 20);
});

test('raft scope: every kind of fault occurs', () => {
  const counts: Record<string, number> = {};
  for (let seed = 1; seed <= 60; seed++) {
    for (const [what, n] of Object.entries(raftScope.run(seed, 4, {}).counts)) counts[what] = (counts[what] ?? 0) + n;
  }
  for (const what of ['crashes', 'partitions', 'one-way cuts', 'pauses', 'damages', 'snapshots', 'membership changes', 'elections', 'committed']) {
    assert.ok((counts[what] ?? 0) > 0, what);
  }
});

test('raft scope: seeds that once failed', () => {
  const seeds = knownSeeds(readFileSync(new URL('../../../sim/seeds.md', import.meta.url), 'utf8'), 'raft');
  assert.ok(seeds.length > 0, 'sim/seeds.md lists none');
  for (const { seed, seconds } of seeds) assert.deepEqual(raftScope.run(seed, seconds, {}).violations, [], `seed ${seed}`);
});
