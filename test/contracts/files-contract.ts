// What every implementation of env's files must do: run with the real disk, with the simulator's
// and with the one that the log's own tests crash.
import assert from 'node:assert/strict';
import { concatBytes } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import { type Done, type Files, FilesError } from '#env/files.js';

export interface FilesUnderTest {
  /** Fresh and empty each time. */
  create(): { readonly files: Files; destroy(): void };
  /** Lets callbacks run until `done()`. */
  until(done: () => boolean): Promise<void>;
}

export async function checkFiles(t: FilesUnderTest): Promise<void> {
  for (const check of [appendAndRead, atomicWrites, directories, cuts, errors, callbacks]) {
    const { files, destroy } = t.create();
    try {
      await check(t, files);
    } finally {
      destroy();
    }
  }
}

async function wait(t: FilesUnderTest, start: (done: Done) => void): Promise<FilesError | undefined> {
  const results: (FilesError | undefined)[] = [];
  start((error) => results.push(error));
  assert.deepEqual(results, [], 'a callback ran during the call');
  await t.until(() => results.length > 0);
  return results[0];
}

async function appendAndRead(t: FilesUnderTest, files: Files): Promise<void> {
  files.makeDir('a/b');
  const parts = Array.from({ length: 2000 }, (_, i) => utf8Encode(`part ${i} `));
  const file = files.openAppend('a/b/log');
  assert.equal(file.size, 0);
  file.append(parts);
  file.append([]);
  file.append([new Uint8Array(0)]);
  const all = concatBytes(parts);
  assert.equal(file.size, all.length);
  assert.equal(await wait(t, (done) => file.sync(done)), undefined);
  file.close();
  const again = files.openAppend('a/b/log');
  assert.equal(again.size, all.length);
  again.append([utf8Encode('end')]);
  again.close();
  assert.deepEqual(new Uint8Array(files.read('a/b/log')), concatBytes([all, utf8Encode('end')]));
  assert.equal(files.size('a/b/log'), all.length + 3);
  assert.deepEqual(new Uint8Array(files.readAt('a/b/log', 5, 7)), all.slice(5, 12));
  assert.deepEqual(new Uint8Array(files.readAt('a/b/log', all.length, 100)), utf8Encode('end'));
  assert.equal(files.readAt('a/b/log', all.length + 100, 10).length, 0);
}

async function atomicWrites(t: FilesUnderTest, files: Files): Promise<void> {
  files.makeDir('d');
  assert.equal(await wait(t, (done) => files.writeAtomic('d/x', utf8Encode('one'), done)), undefined);
  assert.equal(await wait(t, (done) => files.writeAtomic('d/x', utf8Encode('two'), done)), undefined);
  assert.deepEqual(new Uint8Array(files.read('d/x')), utf8Encode('two'));
  assert.deepEqual(files.list('d'), ['x']);
}

async function directories(t: FilesUnderTest, files: Files): Promise<void> {
  assert.deepEqual(files.list('none'), []);
  files.makeDir('p/q/r');
  files.makeDir('p/q/r');
  for (const name of ['p/2', 'p/10', 'p/q/r/deep']) files.openAppend(name).close();
  assert.deepEqual(files.list('p'), ['10', '2', 'q']);
  files.rename('p/2', 'p/3');
  files.remove('p/10');
  assert.equal(await wait(t, (done) => files.syncDir('p', done)), undefined);
  assert.deepEqual(files.list('p'), ['3', 'q']);
  assert.equal(files.exists('p/2'), false);
  assert.equal(files.exists('p/3'), true);
  assert.equal(files.exists('p/q'), true);
  files.removeTree('p/q');
  files.removeTree('p/q');
  assert.deepEqual(files.list('p'), ['3']);
}

async function cuts(t: FilesUnderTest, files: Files): Promise<void> {
  const file = files.openAppend('f');
  file.append([utf8Encode('0123456789')]);
  file.close();
  files.truncate('f', 4);
  const again = files.openAppend('f');
  assert.equal(again.size, 4);
  again.append([utf8Encode('x')]);
  assert.equal(await wait(t, (done) => again.sync(done)), undefined);
  again.close();
  assert.deepEqual(new Uint8Array(files.read('f')), utf8Encode('0123x'));
}

async function errors(_t: FilesUnderTest, files: Files): Promise<void> {
  for (const act of [
    () => files.read('missing'),
    () => files.size('missing'),
    () => files.readAt('missing', 0, 1),
    () => files.remove('missing'),
    () => files.rename('missing', 'elsewhere'),
    () => files.truncate('missing', 0),
  ]) {
    assert.throws(act, (e) => e instanceof FilesError && e.code === 'ENOENT' && e.path === 'missing');
  }
}

/** Callbacks come in the order of the calls, also when several are one sync. */
async function callbacks(t: FilesUnderTest, files: Files): Promise<void> {
  const file = files.openAppend('f');
  const order: number[] = [];
  for (let i = 0; i < 5; i++) {
    file.append([Uint8Array.of(i)]);
    file.sync((error) => {
      assert.equal(error, undefined);
      order.push(i);
    });
  }
  // Closing does not take away what was asked for.
  file.close();
  await t.until(() => order.length === 5);
  assert.deepEqual(order, [0, 1, 2, 3, 4]);
}
