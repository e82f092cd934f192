// Some of the damaged files of test/long/damaged-pages.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DamagedPages, damagedPages } from './damaged-pages.js';

const seed = 20_264;

function sum(results: readonly DamagedPages[]): Omit<DamagedPages, 'kind' | 'ends'> {
  const all = { files: 0, refused: 0, told: 0, fine: 0, once: 0, twice: 0 };
  for (const r of results) for (const key of Object.keys(all) as (keyof typeof all)[]) all[key] += r[key];
  return all;
}

test('tables with damaged pages: no process dies of what was walked through before', async () => {
  const results = await damagedPages(80, seed, true);
  const all = sum(results);
  assert.deepEqual(
    results.flatMap((r) => r.ends.map((end) => `${r.kind}: ${end}`)),
    [],
  );
  assert.deepEqual({ once: all.once, twice: all.twice }, { once: 0, twice: 0 });
  assert.ok(all.refused > 10, JSON.stringify(all));
});

test('tables with damaged pages that are not walked through at once: the third start refuses them', async (t) => {
  const all = sum(await damagedPages(48, seed, false));
  t.diagnostic(JSON.stringify(all));
  assert.ok(all.twice > 0, JSON.stringify(all));
});
