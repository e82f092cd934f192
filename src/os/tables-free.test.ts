// A start after an end at which the tables were not closed looks for free pages where nothing can go wrong.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import type { TableStore, TableWrite } from '#env/tables.js';
import { OsTables } from './tables.js';
import { readFirstSnapshot } from './tables-free.js';

async function inDirectory(run: (dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-free-'));
  try {
    await run(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function write(store: TableStore, batch: readonly TableWrite[]): Promise<void> {
  await new Promise<void>((done, reject) => store.write(batch, (error) => (error === undefined ? done() : reject(error))));
  // Else it would depend on the disk's pace which pages are free for the next one.
  await new Promise((done) => store.flushed(done));
}

/** With these, the first commit of the last life is one over which a process dies that reads the newest list first. */
const lives = { seed: 1_010, count: 58 } as const;

test('tables: a commit over which a process would die is written after an end at which they were not closed', { skip: onlyOnLinux() }, () =>
  inDirectory(async (dir) => {
    const random = new Prng(lives.seed);
    const size = 120 + random.int(160);
    const rows = new Map<string, Buffer>();
    for (let life = 0; life < lives.count; life++) {
      if (life === lives.count - 1) writeFileSync(join(dir, 'rows', 'open'), '1\n');
      const store = new OsTables(dir).open('rows');
      for (let left = life === 0 ? 30 : 2 + random.int(3); left > 0; left--) {
        const batch = new Map<string, TableWrite>();
        for (let i = 0; i < size; i++) {
          const key = `key ${random.int(4_000)} ${'p'.repeat(random.int(60))}`;
          const bytes = random.int(30) === 0 ? 3_000 + random.int(9_000) : random.int(150);
          const value = random.int(5) === 0 ? undefined : Buffer.alloc(bytes, i);
          batch.set(key, { key: Buffer.from(key), value });
          if (value === undefined) rows.delete(key);
          else rows.set(key, value);
        }
        await write(store, [...batch.values()]);
      }
      if (life === lives.count - 1) {
        let found = 0;
        store.range(new Uint8Array(0), undefined, (key, value) => {
          found++;
          return rows.get(Buffer.from(key).toString())?.equals(value) === true;
        });
        assert.equal(found, rows.size);
      }
      await new Promise<void>((done) => store.close(done));
    }
  }),
);

test('tables: the entry of a process that reads is found, and of one that does not is not', { skip: onlyOnLinux() }, () =>
  inDirectory(async (dir) => {
    assert.equal(readFirstSnapshot(join(dir, 'rows')), false);
    const store = new OsTables(dir).open('rows');
    for (let n = 0; n < 3; n++) await write(store, [{ key: Buffer.from('key'), value: Buffer.alloc(n) }]);
    store.get(Buffer.from('key'));
    assert.equal(readFirstSnapshot(join(dir, 'rows')), true);
    // It says the first one already.
    assert.equal(readFirstSnapshot(join(dir, 'rows')), false);
    await write(store, [{ key: Buffer.from('key'), value: Buffer.alloc(9) }]);
    // The reading was ended with the commit.
    assert.equal(readFirstSnapshot(join(dir, 'rows')), false);
    await new Promise<void>((done) => store.close(done));
  }),
);

function onlyOnLinux(): string | false {
  return process.platform === 'linux' ? false : 'the table of readers is looked at on Linux only';
}
