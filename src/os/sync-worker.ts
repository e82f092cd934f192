// The thread that waits for the disk. It runs one job after the other, in the order given, and
// answers each. It exists because libuv's pool is shared with password hashing, name lookup and
// the table store, and a log's sync must not queue behind those. `os/sync-thread.ts` starts it, and
// ends it from outside: it never looks at an event loop, but sleeps until a job is given.
// Where main thread and disk share a processor, each sync takes the processor from the main thread five times, so
// this thread gives way: while the main thread has work, more comes together for the next sync.
import { closeSync, fdatasyncSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { assert } from '#base/assert.js';
import { givenCell, inMessage, type SyncJob, type SyncReply, slotOf } from './sync-job.js';

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

const port = parentPort;
assert(port !== null && workerData instanceof SharedArrayBuffer, 'the sync thread is a worker');
/** A third of the main thread's share where both want more than there is; it wants a tenth. */
const givesWay = 5;
// Linux alone gives a thread a priority of its own; elsewhere 0 is the process.
if (process.platform === 'linux') {
  try {
    setPriority(0, getPriority(0) + givesWay);
  } catch {
    // Not allowed here: everything works without.
  }
}

const cells = new Int32Array(workerData);

/** The file is synced without more ado; every other job is in a message. */
function take(slot: number): void {
  if (slot !== inMessage) return fdatasyncSync(slot);
  const next = receiveMessageOnPort(port as NonNullable<typeof port>);
  assert(next !== undefined, 'a job that is given was sent before');
  run(next.message as SyncJob);
}

for (let taken = 0; ; ) {
  Atomics.wait(cells, givenCell, taken);
  while (taken !== Atomics.load(cells, givenCell)) {
    taken = (taken + 1) | 0;
    let reply: SyncReply = 0;
    try {
      take(Atomics.load(cells, slotOf(taken)));
    } catch (error) {
      const e = error as NodeJS.ErrnoException;
      reply = { code: e.code ?? 'EIO', message: e.message };
    }
    port.postMessage(reply);
  }
}
