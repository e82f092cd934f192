// Main-thread side of the sync thread (`os/sync-worker.ts`). One per data directory.
import { Worker } from 'node:worker_threads';
import { Deque } from '#base/deque.js';
import { givenCell, inMessage, type SyncJob, type SyncReply, sharedBytes, slotOf, slots } from './sync-job.js';

export type SyncDone = (code: string | undefined, message: string) => void;

export class SyncThread {
  readonly #worker: Worker;
  readonly #cells: Int32Array<SharedArrayBuffer>;
  /** Of the jobs given, oldest first. */
  readonly #waiting: Deque<SyncDone> = new Deque();
  /** Jobs for which there was no place. */
  readonly #held: Deque<{ readonly job: SyncJob; readonly done: SyncDone }> = new Deque();
  #given = 0;
  #dead: string | undefined;
  #closed: (() => void) | undefined;

  constructor() {
    const shared = new SharedArrayBuffer(sharedBytes);
    this.#cells = new Int32Array(shared);
    this.#worker = new Worker(new URL('./sync-worker.js', import.meta.url), { name: 'starmesh-sync', workerData: shared });
    this.#worker.unref();
    this.#worker.on('message', (reply: SyncReply) => this.#reply(reply));
    this.#worker.on('error', (error) => this.#die(error.message));
    this.#worker.on('exit', () => this.#die('the sync thread has ended'));
  }

  /** Jobs run one after the other; `done` runs in the same order, never during this call. */
  request(job: SyncJob, done: SyncDone): void {
    const dead = this.#dead;
    if (dead !== undefined) {
      setImmediate(() => done('EIO', dead));
      return;
    }
    // The process must not end while somebody waits for the disk, and may while nobody does.
    if (this.#waiting.length === 0) this.#worker.ref();
    if (this.#waiting.length < slots) this.#give(job, done);
    else this.#held.push({ job, done });
  }

  #give(job: SyncJob, done: SyncDone): void {
    this.#waiting.push(done);
    this.#given = (this.#given + 1) | 0;
    if (job.kind !== 'file') this.#worker.postMessage(job);
    Atomics.store(this.#cells, slotOf(this.#given), job.kind === 'file' ? job.fd : inMessage);
    Atomics.store(this.#cells, givenCell, this.#given);
    Atomics.notify(this.#cells, givenCell);
  }

  /** Waits for the jobs under way, then ends the thread. */
  close(done: () => void): void {
    this.#closed = done;
    if (this.#waiting.length === 0) this.#end();
  }

  #end(): void {
    const closed = this.#closed;
    if (closed === undefined) return;
    this.#closed = undefined;
    void this.#worker.terminate().then(closed, closed);
  }

  #reply(reply: SyncReply): void {
    const done = this.#waiting.shift();
    const next = this.#held.shift();
    if (next !== undefined) this.#give(next.job, next.done);
    if (this.#waiting.length === 0) this.#worker.unref();
    try {
      if (reply === 0) done?.(undefined, '');
      else done?.(reply.code, reply.message);
    } finally {
      if (this.#waiting.length === 0) this.#end();
    }
  }

  #die(why: string): void {
    if (this.#dead !== undefined) return;
    this.#dead = why;
    const waiting: SyncDone[] = [];
    for (let done = this.#waiting.shift(); done !== undefined; done = this.#waiting.shift()) waiting.push(done);
    for (let held = this.#held.shift(); held !== undefined; held = this.#held.shift()) waiting.push(held.done);
    for (const done of waiting) done('EIO', why);
    this.#end();
  }
}
