// A file that nothing was done to is never called damaged, at whichever commit a process would have died.
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TableWrite } from '#env/tables.js';
import { DamagedTablesError } from '#env/tables.js';
import { OsTables } from './tables.js';
import { walkTablesFile } from './tables-walk.js';

async function inDirectory(run: (dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-walk-'));
  try {
    await run(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

let seed = 1;
function below(n: number): number {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((seed / 2 ** 32) * n);
}

function batch(size: number): TableWrite[] {
  const writes = new Map<string, TableWrite>();
  for (let i = 0; i < size; i++) {
    const key = `${below(3_000)} ${'k'.repeat(below(200))}`;
    const bytes = below(20) === 0 ? below(20_000) : below(200);
    writes.set(key, { key: Buffer.from(key), value: below(3) === 0 ? undefined : Buffer.alloc(bytes, i) });
  }
  return [...writes.values()];
}

test('tables: the file after each of 60 commits is sound, and so are the places of its life', () =>
  inDirectory(async (dir) => {
    const file = join(dir, 'rows', 'data.mdb');
    const copy = join(dir, 'copy.mdb');
    for (let life = 0; life < 3; life++) {
      const store = new OsTables(dir).open('rows');
      assert.ok(existsSync(join(dir, 'rows', 'open')));
      for (let n = 0; n < 20; n++) {
        await new Promise<void>((done, reject) => store.write(batch(1 + below(400)), (error) => (error === undefined ? done() : reject(error))));
        // Nothing writes to it now, but for the end of the sync: it is what kill -9 would leave.
        copyFileSync(file, copy);
        walkTablesFile(copy);
        // And after the machine was started anew: LMDB goes back to what was synced last.
        change(copy, 160);
        walkTablesFile(copy);
        // Else it would depend on the disk's pace which pages the next commit gets, and so the whole file.
        await new Promise((done) => store.flushed(done));
      }
      await new Promise<void>((done) => store.close(done));
      walkTablesFile(file);
      assert.ok(!existsSync(join(dir, 'rows', 'open')));
    }
  }));

test('tables: a file that is not there, and an empty one, are sound', () =>
  inDirectory(async (dir) => {
    walkTablesFile(join(dir, 'no.mdb'));
    writeFileSync(join(dir, 'empty.mdb'), '');
    walkTablesFile(join(dir, 'empty.mdb'));
  }));

test('tables: which files are walked through depends on how often they were not closed', () =>
  inDirectory(async (dir) => {
    const never = { closed: 0, notClosed: 0 };
    const store = new OsTables(dir).open('rows');
    await new Promise<void>((done) => store.write(batch(500), () => done()));
    await new Promise<void>((done) => store.close(done));
    const sound = join(dir, 'rows');
    for (const [ends, walked] of [
      ['', false],
      ['1\n', false],
      ['2\n', true],
      ['no number', true],
    ] as const) {
      const other = join(dir, `ends ${ends.length} ${walked}`, 'rows');
      mkdirSync(other, { recursive: true });
      copyFileSync(join(sound, 'data.mdb'), join(other, 'data.mdb'));
      if (ends !== '') writeFileSync(join(other, 'open'), ends);
      // The number of rows, which LMDB only tells.
      change(join(other, 'data.mdb'), 128);
      const open = (): void => new OsTables(join(other, '..'), { walkLimits: never }).open('rows').close(() => {});
      if (walked) assert.throws(open, DamagedTablesError);
      else open();
    }
  }));

/** One byte in each of the places where LMDB begins. */
function change(path: string, at: number): void {
  const bytes = readFileSync(path);
  for (const meta of [0, 2048, 4096]) bytes[meta + at] = (bytes[meta + at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}
