// A few seconds of the db scope in every test run, and the seeds that once failed.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { knownSeeds } from '../known-seeds.js';
import { makePlan } from './plan.js';
import { runSeed } from './run.js';
import { dbScope } from './scope.js';

const seconds = 8;
const seeds = 20;
const rareSeedsMax = 400;

test('db scope: the first seeds hold every promise, and hurt in every way', () => {
  const counts: Record<string, number> = {};
  for (let seed = 1; seed <= seeds; seed++) {
    const result = dbScope.run(seed, seconds, {});
    assert.deepEqual(result.violations, [], `repeat: node dist/sim/main.js --scope db --seed ${seed} --seconds ${seconds}`);
    for (const [what, n] of Object.entries(result.counts)) counts[what] = (counts[what] ?? 0) + n;
  }
  const faults = [
    'kill',
    'power',
    'stop',
    'wipe',
    'partition',
    'one-way partition',
    'reset',
    'slow link',
    'pause',
    'slow disk',
    'slow tables',
    'clock',
  ];
  for (const what of ['acknowledged writes', 'failed writes', 'comparisons of tables', 'bootstraps', ...faults.map((f) => `faults: ${f}`)])
    assert.ok((counts[what] ?? 0) > 0, what);
});

test('db scope: the moments that few runs have take place', () => {
  const missing = new Set<string>(['gone owner', 'new voter', 'parting']);
  for (let seed = 1; missing.size > 0 && seed <= rareSeedsMax; seed++) {
    const { rare } = makePlan(new Prng(seed).fork('plan'), true, new Prng(seed).fork('rare plan'));
    if (rare === undefined || !missing.has(rare)) continue;
    const result = runSeed(seed, { lengthMs: seconds * 1_000 });
    assert.deepEqual(result.violations, [], `seed ${seed}`);
    if ((result.faults.get(rare) ?? 0) > 0) missing.delete(rare);
  }
  assert.deepEqual([...missing], []);
});

test('db scope: without faults nothing fails but by its own bounds', () => {
  let acknowledged = 0;
  for (let seed = 1; seed <= 4; seed++) {
    const result = runSeed(seed, { faults: false, lengthMs: 10_000 });
    assert.deepEqual(result.violations, [], `seed ${seed}`);
    acknowledged += result.acknowledged;
  }
  assert.ok(acknowledged > 0);
});

test('db scope: the same seed gives the same trace, another seed another', () => {
  const hashes = new Set<number>();
  for (let seed = 1; seed <= 4; seed++) {
    const first = dbScope.run(seed, 4, {});
    const second = dbScope.run(seed, 4, {});
    assert.equal(first.traceHash, second.traceHash, `seed ${seed}`);
    assert.equal(first.events, second.events);
    hashes.add(first.traceHash);
  }
  assert.equal(hashes.size, 4);
});

test('db scope: seeds that once failed', () => {
  const known = knownSeeds(readFileSync(new URL('../../../sim/seeds.md', import.meta.url), 'utf8'), 'db');
  assert.ok(known.length > 0, 'sim/seeds.md lists none');
  for (const { seed, seconds: length } of known) assert.deepEqual(dbScope.run(seed, length, {}).violations, [], `seed ${seed}`);
});
