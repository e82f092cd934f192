// How much one client may send: `messages_rate` and `bytes_rate`. The connection tells it what came, and
// does not read on before the debt is waited off. Only connections of listeners with such a limit have one.

import { TokenBucket } from '#base/token-bucket.js';
import type { Counter } from '#env/metrics.js';

/** The limits of a listener's connections, and what counts the times they are hit. */
export interface Rates {
  /** PUBLISH packets and bytes per second; Infinity: any. */
  readonly messagesRate: number;
  readonly bytesRate: number;
  readonly messagesHit: Counter;
  readonly bytesHit: Counter;
}

export class RateLimit {
  readonly #rates: Rates;
  readonly #messages: TokenBucket | undefined;
  readonly #bytes: TokenBucket | undefined;
  /** When the client is read again, on the monotonic clock. Meaningful while it is not. */
  resumeAt = 0;

  constructor(rates: Rates, now: number) {
    this.#rates = rates;
    this.#messages = bucket(rates.messagesRate, now);
    this.#bytes = bucket(rates.bytesRate, now);
  }

  /** A chunk of `bytes` with `messages` in it was handled. True: not to be read before {@link resumeAt}. */
  spend(messages: number, bytes: number, now: number): boolean {
    const forMessages = this.#messages === undefined ? 0 : this.#messages.spend(messages, now);
    const forBytes = this.#bytes === undefined ? 0 : this.#bytes.spend(bytes, now);
    if (forMessages > 0) this.#rates.messagesHit.value++;
    if (forBytes > 0) this.#rates.bytesHit.value++;
    const waitMs = Math.max(forMessages, forBytes);
    if (waitMs === 0) return false;
    this.resumeAt = now + waitMs;
    return true;
  }
}

function bucket(rate: number, now: number): TokenBucket | undefined {
  return rate === Number.POSITIVE_INFINITY ? undefined : new TokenBucket(rate, now);
}
