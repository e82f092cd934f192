import { mkdtempSync, rmSync } from 'node:fs';
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
