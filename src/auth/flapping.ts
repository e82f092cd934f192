// Clients that come and go too often (`flapping_detect`): counts the ends of connections per client id
// on this node within a window, and says when one has reached the limit. Pure; bounded.

export interface FlappingOptions {
  readonly enable: boolean;
  readonly windowMs: number;
  readonly maxCount: number;
  readonly banMs: number;
}

export const defaultFlapping: FlappingOptions = { enable: false, windowMs: 60_000, maxCount: 15, banMs: 300_000 };

/** Client ids that are watched; the longest watched makes room. */
const watchedMax = 100_000;

export class Flapping {
  readonly #options: FlappingOptions;
  readonly #watched = new Map<string, { count: number; readonly since: number }>();

  constructor(options: FlappingOptions) {
    this.#options = options;
  }

  get watched(): number {
    return this.#watched.size;
  }

  /** A connection of the client has ended. True: once too often. */
  ended(clientId: string, now: number): boolean {
    if (!this.#options.enable) return false;
    const seen = this.#watched.get(clientId);
    if (seen !== undefined && now - seen.since < this.#options.windowMs) {
      seen.count++;
      if (seen.count < this.#options.maxCount) return false;
      this.#watched.delete(clientId);
      return true;
    }
    // Behind the others: the first in line is the one watched longest.
    this.#watched.delete(clientId);
    if (this.#watched.size >= watchedMax) for (const oldest of this.#watched.keys()) if (this.#watched.delete(oldest)) break;
    this.#watched.set(clientId, { count: 1, since: now });
    return this.#options.maxCount <= 1;
  }
}
