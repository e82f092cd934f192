// env's clock over Node's timers.
import type { Clock, Timer } from '#env/clock.js';

/** setTimeout takes no more (about 24.8 days); longer delays are chained. */
const timeoutMsMax = 0x7fffffff;

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
    if (this.#queue.length === 0) setImmediate(this.#run);
    this.#queue.push(fn);
  }

  readonly #run = (): void => {
    const queue = this.#queue;
    this.#queue = this.#spare;
    let at = 0;
    try {
      while (at < queue.length) queue[at++]?.();
    } finally {
      // One callback threw: the rest must run all the same, before those of the next turn.
      if (at < queue.length) {
        const rest = queue.slice(at).concat(this.#queue);
        if (this.#queue.length === 0) setImmediate(this.#run);
        this.#queue = rest;
        this.#spare = [];
      } else {
        queue.length = 0;
        this.#spare = queue;
      }
    }
  };
}
