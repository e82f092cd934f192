import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { slots } from './sync-job.js';
import { SyncThread } from './sync-thread.js';

test('sync thread: more jobs than it has places for, of every kind, are answered in order, each with its own result', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-sync-'));
  const fd = openSync(join(dir, 'file'), 'a');
  const thread = new SyncThread();
  t.after(() => {
    closeSync(fd);
    rmSync(dir, { recursive: true, force: true });
  });
  const all = 4 * slots;
  const answers: string[] = [];
  const expected: string[] = [];
  for (let round = 0; round < 2; round++) {
    await new Promise<void>((resolve) => {
      let left = all;
      for (let i = 0; i < all; i++) {
        const done = (code: string | undefined): void => {
          answers.push(`${i} ${code ?? 'done'}`);
          if (--left === 0) resolve();
        };
        expected.push(`${i} ${i % 4 === 1 ? 'EBADF' : i % 4 === 2 ? 'ENOENT' : 'done'}`);
        if (i % 4 === 0) thread.request({ kind: 'file', fd }, done);
        else if (i % 4 === 1) thread.request({ kind: 'file', fd: 999_999 }, done);
        else if (i % 4 === 2) thread.request({ kind: 'dir', path: join(dir, 'absent') }, done);
        else {
          const path = join(dir, `atomic${i}`);
          thread.request({ kind: 'atomic', path, temporary: `${path}.tmp`, dir, bytes: Uint8Array.of(i & 255) }, done);
        }
      }
      assert.equal(answers.length, round * all, 'nobody is answered during the call');
    });
  }
  assert.deepEqual(answers, expected);
  assert.deepEqual([...readFileSync(join(dir, 'atomic7'))], [7]);
  await new Promise<void>((resolve) => thread.close(resolve));
  const late = await new Promise<string | undefined>((resolve) => thread.request({ kind: 'file', fd }, resolve));
  assert.equal(late, 'EIO');
});

test('sync thread: it gives way to the main thread', {
  skip: process.platform !== 'linux' && 'threads have priorities of their own on Linux alone',
}, async () => {
  const priorities = (): number[] => readdirSync('/proc/self/task').map((id) => getPriority(Number(id)));
  const own = getPriority(process.pid);
  const before = priorities().filter((p) => p === own + 5).length;
  const thread = new SyncThread();
  // Its answer comes from a thread that has started.
  await new Promise((resolve) => thread.request({ kind: 'file', fd: 999_999 }, resolve));
  assert.equal(priorities().filter((p) => p === own + 5).length, before + 1);
  assert.equal(getPriority(process.pid), own);
  await new Promise<void>((resolve) => thread.close(resolve));
});
