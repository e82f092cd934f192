// Main-thread side of the sync thread (`os/sync-worker.ts`). One per data directory.
import { Worker } from 'node:worker_threads';
import type { SyncJob, SyncReply } from './sync-job.js';

export type SyncDone = (code: string | undefined, message: string) => void;

/** A job without its number. */
export type SyncRequest = SyncJob extends infer J ? (J extends SyncJob ? Omit<J, 'id'> : never) : never;

export class SyncThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, SyncDone>();
  #nextId = 1;
  #dead: string | undefined;
  #closed: (() => void) | undefined;

  constructor() {
    this.#worker = new Worker(new URL('./sync-worker.js', import.meta.url), { name: 'starmesh-sync' });
    this.#worker.unref();
    this.#worker.on('message', (reply: SyncReply) => this.#reply(reply));
    this.#worker.on('error', (error) => this.#die(error.message));
    this.#worker.on('exit', () => this.#die('the sync thread has ended'));
  }

  /** Jobs run one after the other; `done` runs in the same order, never during this call. */
  request(job: SyncRequest, done: SyncDone): void {
    const dead = this.#dead;
    if (dead !== undefined) {
      setImmediate(() => done('EIO', dead));
      return;
    }
    // The process must not end while somebody waits for the disk, and may while nobody does.
    if (this.#waiting.size === 0) this.#worker.ref();
    const id = this.#nextId++;
    this.#waiting.set(id, done);
    this.#worker.postMessage({ ...job, id });
  }

  /** Waits for the jobs under way, then ends the thread. */
  close(done: () => void): void {
    this.#closed = done;
    if (this.#waiting.size === 0) this.#end();
  }

  #end(): void {
    const closed = this.#closed;
    if (closed === undefined) return;
    this.#closed = undefined;
    void this.#worker.terminate().then(closed, closed);
  }

  #reply(reply: SyncReply): void {
    const done = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    try {
      done?.(reply.code, reply.message);
    } finally {
      if (this.#waiting.size === 0) this.#end();
    }
  }

  #die(why: string): void {
    if (this.#dead !== undefined) return;
    this.#dead = why;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const done of waiting) done('EIO', why);
    this.#end();
  }
}
