// env's clock over Node's timers.
// Imported: the global one is looked up with each call.
import { performance } from 'node:perf_hooks';
import type { Clock, Timer } from '#env/clock.js';

/** setTimeout takes no more (about 24.8 days); longer delays are chained. */
const timeoutMsMax = 0x7fffffff;

/** Of callbacks that callbacks asked for, in one turn. */
const generationsMax = 4;

class OsTimer implements Timer {
  #handle: NodeJS.Timeout | undefined;

  constructor(delayMs: number, fn: () => void) {
    this.#arm(performance.now() + delayMs, fn);
  }

  #arm(at: number, fn: () => void): void {
    const left = Math.max(0, at - performance.now());
    const last = left <= timeoutMsMax;
    // Rounded up: a timer must never run before its time, or its owner sets it again and again.
    this.#handle = setTimeout(() => (last ? fn() : this.#arm(at, fn)), last ? Math.ceil(left) : timeoutMsMax);
    this.#handle.unref();
  }

  cancel(): void {
    clearTimeout(this.#handle);
    this.#handle = undefined;
  }
}

export class OsClock implements Clock {
  #queue: (() => void)[] = [];
  #spare: (() => void)[] = [];
  #running = false;

  now(): number {
    return performance.now();
  }

  wallNow(): number {
    return Date.now();
  }

  setTimer(delayMs: number, fn: () => void): Timer {
    return new OsTimer(delayMs, fn);
  }

  endOfTurn(fn: () => void): void {
    if (this.#queue.length === 0 && !this.#running) setImmediate(this.#run);
    this.#queue.push(fn);
  }

  /**
   * What these callbacks ask for in turn still belongs to the turn, a few times over: a proposal becomes an entry, the
   * entry a frame, and the frame is written without a look at the event loop in between. Then input goes first again.
   */
  readonly #run = (): void => {
    this.#running = true;
    try {
      for (let i = 0; i < generationsMax && this.#queue.length > 0; i++) this.#runQueue();
    } finally {
      this.#running = false;
      if (this.#queue.length > 0) setImmediate(this.#run);
    }
  };

  #runQueue(): void {
    const queue = this.#queue;
    this.#queue = this.#spare;
    let at = 0;
    try {
      while (at < queue.length) queue[at++]?.();
    } finally {
      // One callback threw: the rest must run all the same, before those of the next turn.
      if (at < queue.length) {
        this.#queue = queue.slice(at).concat(this.#queue);
        this.#spare = [];
      } else {
        queue.length = 0;
        this.#spare = queue;
      }
    }
  }
}
