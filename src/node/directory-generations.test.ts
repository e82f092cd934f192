import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { OpenGeneration } from '#db/shard-state.js';
import { createOsEnv, type OsEnv } from '#os/env.js';
import { DataDirectoryError } from './data-directory-error.js';
import { DirectoryGenerations } from './directory-generations.js';

let dir: string;
let env: OsEnv;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'starmesh-generations-'));
  env = createOsEnv({ dataDir: dir, logLevel: 'silent' });
});
afterEach(async () => {
  await new Promise<void>((done) => env.close(done));
  rmSync(dir, { recursive: true, force: true });
});

const key = Uint8Array.of(1);

function write({ store }: OpenGeneration, value: number): Promise<void> {
  return new Promise((done, failed) => {
    store.write([{ key, value: Uint8Array.of(value) }], (error) => (error === undefined ? store.flushed(() => done()) : failed(error)));
  });
}

function close({ store }: OpenGeneration): Promise<void> {
  return new Promise((done) => store.close(done));
}

const pointer = (): string => join(dir, 'tables/route/CURRENT');
const generation = (n: number): string => join(dir, `tables/route/${n}`);

test('what was made current is found again, and the rest is removed', async () => {
  const first = new DirectoryGenerations(env, 'route');
  const one = first.openCurrent();
  await write(one, 1);
  const two = first.create();
  await write(two, 2);
  await new Promise<void>((done, failed) => first.makeCurrent(two.number, (e) => (e === undefined ? done() : failed(e))));
  const leftover = first.create();
  await Promise.all([close(one), close(two), close(leftover)]);
  assert.equal(readFileSync(pointer(), 'utf8'), `${two.number}\n`);
  const again = new DirectoryGenerations(env, 'route');
  const found = again.openCurrent();
  assert.equal(found.number, two.number);
  assert.deepEqual([...(found.store.get(key) ?? [])], [2]);
  assert.ok(!existsSync(generation(one.number)) && !existsSync(generation(leftover.number)));
  const next = again.create();
  assert.ok(next.number > found.number);
  await Promise.all([close(found), close(next)]);
});

test('a generation that never became current is a leftover', async () => {
  const first = new DirectoryGenerations(env, 'route');
  const one = first.openCurrent();
  await write(one, 1);
  const two = first.create();
  await write(two, 2);
  await Promise.all([close(one), close(two)]);
  const found = new DirectoryGenerations(env, 'route').openCurrent();
  assert.deepEqual([...(found.store.get(key) ?? [])], [1]);
  assert.ok(!existsSync(generation(two.number)));
  await close(found);
});

test('a damaged pointer ends the start and removes nothing', async () => {
  const first = new DirectoryGenerations(env, 'route');
  const one = first.openCurrent();
  const two = first.create();
  await Promise.all([close(one), close(two)]);
  for (const text of ['', '0\n', '-1\n', '2', '2x\n', '\u0000\u0000']) {
    writeFileSync(pointer(), text);
    assert.throws(() => new DirectoryGenerations(env, 'route').openCurrent(), DataDirectoryError, JSON.stringify(text));
    assert.ok(existsSync(generation(one.number)) && existsSync(generation(two.number)));
  }
});
