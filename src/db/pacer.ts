// Spreads work that costs the same however much it carries (a table commit and its sync, a frame to
// each replicant): a round that carried much, or took long, is followed by a pause in which more can
// gather. A quiet shard is never held up, a busy one by `applyCoalesceMs` at most.
import type { Clock, Timer } from '#env/clock.js';

/** Pause per transaction carried: a steady load under 4,000 a second is not gathered, a heavier one is. */
const pausePerTransactionMs = 0.25;
/** What clocks can wait for. Less is not worth a timer. */
const shortestPauseMs = 1;

export class Pacer {
  readonly #clock: Clock;
  readonly #pauseMsMax: number;
  #notBefore = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, pauseMsMax: number) {
    this.#clock = clock;
    this.#pauseMsMax = pauseMsMax;
  }

  /** A round that carried so many transactions is over at `now`. `costMs`: what it took of somebody's time, for which the pause shall make up. */
  ran(now: number, transactions: number, costMs: number = 0): void {
    this.#notBefore = now + Math.min(this.#pauseMsMax, Math.max(costMs, transactions * pausePerTransactionMs));
  }

  /** True: not yet; `run` is called when the pause is over (once, however often it is asked meanwhile). */
  holds(run: () => void): boolean {
    if (this.#timer !== undefined) return true;
    const left = this.#notBefore - this.#clock.now();
    if (left < shortestPauseMs) return false;
    this.#timer = this.#clock.setTimer(left, () => {
      this.#timer = undefined;
      this.#notBefore = 0;
      run();
    });
    return true;
  }

  /** Ends the pause; what waited for it does not run. */
  reset(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#notBefore = 0;
  }
}
