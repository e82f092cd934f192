import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TableStore } from '#env/tables.js';
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

/** LMDB has room for so many readings at once. A reading that is forgotten is one until it is garbage. */
const readingsMax = 126;

for (const [what, read] of Object.entries<(store: TableStore) => void>({
  'looks for a row': (store) => assert.ok(store.seek(Buffer.from('key')) !== undefined),
  'looks for a row that is not there': (store) => assert.equal(store.seek(Buffer.from('z')), undefined),
  'reads until it has enough': (store) => store.range(new Uint8Array(0), undefined, () => false),
  'reads until it throws': (store) => {
    const visit = (): boolean => {
      throw new Error('of the visitor');
    };
    assert.throws(() => store.range(new Uint8Array(0), undefined, visit), /of the visitor/);
  },
}))
  test(`tables: who ${what} holds no snapshot afterwards`, async () => {
    const { tables, destroy } = lmdb.create();
    try {
      const store = tables.open('rows');
      const write = (n: number): Promise<void> =>
        new Promise((done, reject) =>
          store.write([{ key: Buffer.from(`key ${n % 10}`), value: Buffer.alloc(3_000, n) }], (error) =>
            error === undefined ? done() : reject(error),
          ),
        );
      for (let n = 0; n < 2 * readingsMax; n++) {
        await write(n);
        read(store);
      }
      // A page that is freed is used again.
      assert.ok(store.stat().bytes < 1024 ** 2, `${store.stat().bytes} bytes`);
      await new Promise<void>((done) => store.close(done));
    } finally {
      destroy();
    }
  });

const damages: Readonly<Record<string, (file: Buffer) => Buffer>> = {
  'half of it missing': (b) => b.subarray(0, Math.floor(b.length / 8192) * 4096),
  'all but its first page missing': (b) => b.subarray(0, 4096),
  'everything after the first pages zero': (b) => Buffer.concat([b.subarray(0, 8192), Buffer.alloc(b.length - 8192)]),
  'its first pages overwritten': (b) => Buffer.concat([Buffer.alloc(8192, 0xaa), b.subarray(8192)]),
  'one of its first pages overwritten': (b) => Buffer.concat([b.subarray(0, 4096), Buffer.alloc(4096, 0x55), b.subarray(8192)]),
};

for (const [what, damage] of Object.entries(damages))
  test(`tables: a file with ${what} is an error with a name, not the death of the process`, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'starmesh-tables-'));
    try {
      const tables = new OsTables(dir);
      const store = tables.open('rows');
      const batch = Array.from({ length: 5_000 }, (_, i) => ({ key: Buffer.from(`key ${i}`), value: Buffer.alloc(100, i) }));
      await new Promise<void>((done, reject) => store.write(batch, (error) => (error === undefined ? done() : reject(error))));
      await new Promise<void>((done) => store.close(() => done()));
      const path = join(dir, 'rows', 'data.mdb');
      writeFileSync(path, damage(readFileSync(path)));
      assert.throws(() => tables.open('rows'), /^TablesError: rows: /);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
