// Time that stands still until a test moves it. Timers run in order of their time, then of their
// making; ends of turns run before the next timer.
import { Heap } from '#base/heap.js';
import type { Clock, Timer } from '#env/clock.js';

interface Pending {
  readonly at: number;
  readonly seq: number;
  fn: (() => void) | undefined;
}

export class ManualClock implements Clock {
  #now = 1_000;
  #seq = 0;
  readonly #timers: Heap<Pending> = new Heap((a, b) => (a.at === b.at ? a.seq < b.seq : a.at < b.at));
  #turn: (() => void)[] = [];
  /** The wall clock runs along, this much ahead. */
  wallOffset = 1_700_000_000_000;

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#now + this.wallOffset;
  }

  setTimer(delayMs: number, fn: () => void): Timer {
    const pending: Pending = { at: this.#now + Math.max(0, delayMs), seq: this.#seq++, fn };
    this.#timers.push(pending);
    return {
      cancel: () => {
        pending.fn = undefined;
      },
    };
  }

  endOfTurn(fn: () => void): void {
    this.#turn.push(fn);
  }

  /** Runs everything that is due within the next `ms`, in order, and moves the time. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      this.#endTurn();
      const next = this.#timers.peek();
      if (next === undefined || next.at > until) break;
      this.#timers.pop();
      this.#now = Math.max(this.#now, next.at);
      const fn = next.fn;
      next.fn = undefined;
      fn?.();
    }
    this.#now = until;
  }

  /** Moves the time in steps until `reached` holds; false when it does not within `ms`. */
  advanceUntil(reached: () => boolean, ms: number, step: number = 10): boolean {
    for (let t = 0; t <= ms; t += step) {
      if (reached()) return true;
      this.advance(step);
    }
    return reached();
  }

  #endTurn(): void {
    while (this.#turn.length > 0) {
      const all = this.#turn;
      this.#turn = [];
      for (const fn of all) fn();
    }
  }
}
