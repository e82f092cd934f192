// A rate as a bucket that fills with time: what it holds may be spent at once, what is spent beyond that
// is a debt that must be waited off. Pure; times are the caller's.

/** A bucket holds what comes in within this time, in ms: a burst of that much passes. */
const burstMs = 1_000;

export class TokenBucket {
  readonly #perMs: number;
  readonly #full: number;
  #tokens: number;
  #at: number;

  /** `ratePerS`: finite and above 0. */
  constructor(ratePerS: number, now: number) {
    this.#perMs = ratePerS / 1_000;
    // A rate below one a second still lets one through.
    this.#full = Math.max(1, this.#perMs * burstMs);
    this.#tokens = this.#full;
    this.#at = now;
  }

  /** Takes one token, if there is one. */
  tryTake(now: number): boolean {
    this.#fill(now);
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** Spends `n` tokens that were used up already; returns for how many ms there is a debt, 0: none. */
  spend(n: number, now: number): number {
    this.#fill(now);
    this.#tokens -= n;
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#perMs;
  }

  #fill(now: number): void {
    const passed = now - this.#at;
    if (passed <= 0) return;
    this.#at = now;
    this.#tokens = Math.min(this.#full, this.#tokens + passed * this.#perMs);
  }
}
