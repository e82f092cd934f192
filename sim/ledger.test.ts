// The ledger of campaigns: what is written can be read again, ranges join, no seed is run twice.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCampaign } from './campaign.js';
import { type LedgerRow, mergeRows, parseLedger, seedsToRun, violationText, writeLedger } from './ledger.js';

function row(first: number, last: number, commit: string = 'c1'): LedgerRow {
  const counts = { 'acknowledged writes': 10, 'faults: slow link': 3 };
  return { scope: 'db', commit, first, last, seconds: 15, simSeconds: 20.5, events: 100, counts, violations: 0 };
}

test('rows survive being written and read; text around them stays', () => {
  const written = writeLedger('', { rows: [row(1, 100)], violationLines: [] });
  assert.deepEqual(parseLedger(written).rows, [row(1, 100)]);
  const more = written.replace('## Runs', 'A sentence.\n\n## Runs');
  const line = violationText({ scope: 'db', seed: 7, commit: 'c1', what: 'a | b\nstack', repeat: 'again' });
  const again = writeLedger(more, { rows: [row(1, 100), row(101, 200)], violationLines: [line] });
  assert.match(again, /A sentence\./);
  const parsed = parseLedger(again);
  assert.deepEqual(parsed.violationLines, [line]);
  assert.equal(parsed.rows.length, 1);
  assert.deepEqual(parsed.rows[0]?.counts, { 'acknowledged writes': 20, 'faults: slow link': 6 });
  assert.equal(writeLedger(again, parsed), again);
});

test('only neighbours of one commit join', () => {
  const ranges = mergeRows([row(201, 300), row(1, 100), row(301, 400, 'c2'), row(101, 200), row(501, 600)]).map((r) => [r.first, r.last]);
  assert.deepEqual(ranges, [
    [1, 300],
    [301, 400],
    [501, 600],
  ]);
});

test('a campaign runs what no row covers, gaps first', () => {
  const rows = [row(1, 100), row(151, 200)];
  assert.deepEqual(
    [...seedsToRun(rows, 'db', 1, 200, 100)],
    [
      [101, 150],
      [201, 300],
      [301, 350],
    ],
  );
  assert.deepEqual([...seedsToRun(rows, 'raft', 1, 2, 100)], [[1, 2]]);
});

test('a campaign that is continued goes on where the ledger ends', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ledger-'));
  try {
    const ledger = join(folder, 'ledger.md');
    const part = { scope: 'raft', seconds: 1, ledger, first: 1, jobs: 2, minutes: 10, print: () => undefined };
    assert.equal(await runCampaign({ ...part, runs: 3 }), 0);
    assert.equal(await runCampaign({ ...part, runs: 2 }), 0);
    const { rows } = parseLedger(readFileSync(ledger, 'utf8'));
    assert.deepEqual(
      rows.map((r) => [r.scope, r.first, r.last]),
      [['raft', 1, 5]],
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
