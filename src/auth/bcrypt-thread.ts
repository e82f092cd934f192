// bcrypt is plain JavaScript here: it runs on a thread of its own, started when it is first needed.
import { Worker } from 'node:worker_threads';

export type BcryptJob =
  | { readonly kind: 'compare'; readonly password: string; readonly hash: string }
  | { readonly kind: 'hash'; readonly password: string; readonly rounds: number };

export interface BcryptReply {
  readonly id: number;
  /** undefined: it failed. */
  readonly result: boolean | string | undefined;
}

type Done = (result: boolean | string | undefined) => void;

export class BcryptThread {
  #worker: Worker | undefined;
  readonly #waiting = new Map<number, Done>();
  #nextId = 1;

  /** Answers once, later. */
  request(job: BcryptJob, done: Done): void {
    const id = this.#nextId++;
    this.#waiting.set(id, done);
    this.#started().postMessage({ ...job, id });
  }

  close(): void {
    const worker = this.#worker;
    this.#worker = undefined;
    void worker?.terminate();
  }

  #started(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = new Worker(new URL('./bcrypt-worker.js', import.meta.url), { name: 'starmesh-bcrypt' });
    worker.unref();
    worker.on('message', (reply: BcryptReply) => this.#answer(reply.id, reply.result));
    worker.on('error', () => this.#died(worker));
    worker.on('exit', () => this.#died(worker));
    this.#worker = worker;
    return worker;
  }

  #answer(id: number, result: boolean | string | undefined): void {
    const done = this.#waiting.get(id);
    this.#waiting.delete(id);
    done?.(result);
  }

  /** The next request starts another one. */
  #died(worker: Worker): void {
    if (this.#worker === worker) this.#worker = undefined;
    for (const id of [...this.#waiting.keys()]) this.#answer(id, undefined);
  }
}
