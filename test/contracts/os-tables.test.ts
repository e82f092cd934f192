import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { OsTables } from '#os/tables.js';
import { checkBatchesAreAtomic, checkLimits, checkTablesAgainstModel, type TablesUnderTest } from './tables-contract.js';

const lmdb: TablesUnderTest = {
  create() {
    const dir = mkdtempSync(join(tmpdir(), 'starmesh-tables-'));
    return { tables: new OsTables(dir), destroy: () => rmSync(dir, { recursive: true, force: true }) };
  },
  async until(done) {
    while (!done()) await new Promise((resolve) => setImmediate(resolve));
  },
  runs: 40,
};

test('tables: LMDB agrees with a sorted map', () => checkTablesAgainstModel(lmdb));
test('tables: batches on LMDB are atomic and seen at once', () => checkBatchesAreAtomic(lmdb));
test('tables: limits of LMDB', () => checkLimits(lmdb));

test('tables: other users of the machine cannot get to the files, in folders of earlier versions either', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-tables-'));
  mkdirSync(join(dir, 'old'), { mode: 0o755 });
  chmodSync(join(dir, 'old'), 0o755);
  const tables = new OsTables(dir);
  for (const name of ['old', 'new/inner']) {
    await new Promise<void>((done) => tables.open(name).close(() => done()));
    assert.equal(statSync(join(dir, name)).mode & 0o777, 0o700);
  }
  assert.equal(statSync(join(dir, 'new')).mode & 0o777, 0o700);
  rmSync(dir, { recursive: true, force: true });
});
