// Wakes a node for the timers of its shards, of all of them together, rather than to see that none is due.
// Owned by `database.ts`.
//
// Timers run before sockets: after this process stood still (stopped, or busy for long) the others' signs of
// life lie unread while their silence would be judged. So a tick that comes late waits once, and reads.
import type { Clock, Timer } from '#env/clock.js';

/** Between two ticks: when something is due soon, and when nothing is. */
export const tickMs = 25;
const idleTickMs = 100;
/** A tick that comes so late says that the process stood still; and how long it reads then. */
const stoodStillMs = 100;
const readingMs = 5;

export class Ticker {
  readonly #clock: Clock;
  readonly #dueAt: () => number;
  readonly #tick: (now: number) => void;
  readonly #ran: (now: number, lateMs: number) => void;
  #timer: Timer | undefined;
  #stopped = false;

  /** `dueAt`: when the next thing is due, by the clock; anything below now for soon. `ran`: a timer ran, and how late. */
  constructor(clock: Clock, dueAt: () => number, tick: (now: number) => void, ran: (now: number, lateMs: number) => void) {
    this.#clock = clock;
    this.#dueAt = dueAt;
    this.#tick = tick;
    this.#ran = ran;
  }

  start(): void {
    this.#wake(Math.max(tickMs, Math.min(idleTickMs, this.#dueAt() - this.#clock.now())), false);
  }

  #wake(delayMs: number, postponed: boolean): void {
    const at = this.#clock.now() + delayMs;
    this.#timer = this.#clock.setTimer(delayMs, () => {
      if (this.#stopped) return;
      const now = this.#clock.now();
      this.#ran(now, now - at);
      if (now - at > stoodStillMs && !postponed) return this.#wake(readingMs, true);
      this.#tick(now);
      this.start();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }
}
