// The thread that waits for the disk. It runs one job after the other, in the order given, and
// answers each. It exists because libuv's pool is shared with password hashing, name lookup and
// the table store, and a log's sync must not queue behind those. `os/sync-thread.ts` starts it.
import { closeSync, fdatasyncSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { SyncJob, SyncReply } from './sync-job.js';

function run(job: SyncJob): void {
  switch (job.kind) {
    case 'file':
      fdatasyncSync(job.fd);
      return;
    case 'dir':
      syncDir(job.path);
      return;
    case 'atomic': {
      const fd = openSync(job.temporary, 'w', 0o600);
      try {
        let at = 0;
        while (at < job.bytes.length) at += writeSync(fd, job.bytes, at);
        fdatasyncSync(fd);
      } catch (error) {
        closeSync(fd);
        rmSync(job.temporary, { force: true });
        throw error;
      }
      closeSync(fd);
      renameSync(job.temporary, job.path);
      syncDir(job.dir);
    }
  }
}

function syncDir(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

parentPort?.on('message', (job: SyncJob) => {
  let reply: SyncReply;
  try {
    run(job);
    reply = { id: job.id, code: undefined, message: '' };
  } catch (error) {
    const e = error as NodeJS.ErrnoException;
    reply = { id: job.id, code: e.code ?? 'EIO', message: e.message };
  }
  parentPort?.postMessage(reply);
});
