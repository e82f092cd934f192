// A short look at scope `broker`: a few seeds hold their promises and give the same trace twice. The long
// runs, and those of sim/seeds.md, are `npm run sim -- --scope broker`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runBroker } from './scope.js';

const seconds = 6;

test('whole nodes with clients keep their promises under faults', () => {
  for (const seed of [1, 2, 3]) {
    const result = runBroker(seed, seconds);
    assert.deepEqual(result.violations, [], `seed ${seed}`);
    assert.ok((result.counts.acknowledged ?? 0) > 0, `seed ${seed} did something`);
  }
});

test('nodes that run out of memory refuse, and lose nothing that they have acknowledged', () => {
  for (const seed of [16, 36]) {
    const { violations, counts } = runBroker(seed, seconds);
    assert.deepEqual(violations, [], `seed ${seed}`);
    assert.ok((counts.shortages ?? 0) > 0, `seed ${seed} has shortages`);
  }
});

test('the same seed gives the same trace', () => {
  const [a, b] = [runBroker(7, seconds), runBroker(7, seconds)];
  assert.equal(a.traceHash, b.traceHash);
  assert.deepEqual(a.counts, b.counts);
});
