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
  #pauseMs = 0;
  #ranAt = 0;
  #timer: Timer | undefined;
  #runsAt = 0;

  constructor(clock: Clock, pauseMsMax: number) {
    this.#clock = clock;
    this.#pauseMsMax = pauseMsMax;
  }

  /**
   * A round that carried so many transactions is over at `now`. `costMs`: what it took of somebody's time, for which
   * the pause shall make up. `atLeastMs`: a pause for other reasons, which may be longer than the bound.
   */
  ran(now: number, transactions: number, costMs: number = 0, atLeastMs: number = 0): void {
    this.#pauseMs = Math.max(Math.min(this.#pauseMsMax, Math.max(costMs, transactions * pausePerTransactionMs)), atLeastMs);
    this.#ranAt = now;
  }

  /**
   * Asked when there is something for a round. True: not yet; `run` is called after the pause (once, however often
   * it is asked meanwhile). The pause counts from the first asking, so that what comes in rounds itself is gathered
   * too; after a gap there is none. `hurry`: somebody waits for the round; it comes after `pauseMsMax` at the latest.
   */
  holds(run: () => void, hurry: boolean = false): boolean {
    const now = this.#clock.now();
    if (this.#timer !== undefined) {
      if (hurry && now + this.#pauseMsMax < this.#runsAt) this.#wait(now, this.#pauseMsMax, run);
      return true;
    }
    if (this.#pauseMs < shortestPauseMs || now - this.#ranAt >= 2 * this.#pauseMs) return false;
    this.#wait(now, hurry ? Math.min(this.#pauseMs, this.#pauseMsMax) : this.#pauseMs, run);
    return true;
  }

  #wait(now: number, pauseMs: number, run: () => void): void {
    this.#timer?.cancel();
    this.#runsAt = now + pauseMs;
    this.#timer = this.#clock.setTimer(pauseMs, () => {
      this.#timer = undefined;
      this.#pauseMs = 0;
      run();
    });
  }

  /** Ends the pause; what waited for it does not run. */
  reset(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#pauseMs = 0;
  }
}
