// TLS of the links: what listening and dialling use, and certificates that change while the node runs.
// The cookie's challenge comes on top of it: a certificate lets nobody in by itself. Used by links.ts and dial.ts.
// Invariant: certificates that cannot be used change nothing; links that are up keep the ones they began with.
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { Listening, NetError, TlsOptions } from '#env/net.js';

export class LinkTls {
  readonly #env: Env;
  readonly #intervalMs: number;
  #listening: Listening | undefined;
  #dialling: TlsOptions;
  #timer: Timer | undefined;
  #complaint = '';

  constructor(env: Env, options: TlsOptions, intervalMs: number) {
    this.#env = env;
    this.#dialling = options;
    this.#intervalMs = intervalMs;
    const labels = { listener_type: 'cluster', listener_name: 'default' };
    env.metrics.gaugeFn('emqx_cert_expiry_at', 'end of the certificate in use, in seconds since 1970', labels, () => {
      const ends = this.#listening?.certificateEnds?.();
      return ends === undefined ? undefined : Math.floor(ends / 1000);
    });
  }

  /** For a connection that is made now. */
  get dialling(): TlsOptions {
    return this.#dialling;
  }

  /** The port listens: from now on the files are looked at now and then. */
  start(listening: Listening): void {
    this.#listening = listening;
    this.#schedule();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #schedule(): void {
    this.#timer = this.#env.clock.setTimer(this.#intervalMs, () => {
      this.reload();
      this.#schedule();
    });
  }

  /** Reads the files again, for connections from now on, of both directions. On an error the old ones stay. */
  reload(): NetError | undefined {
    const before = this.#listening?.certificateEnds?.();
    const error = this.#listening?.reload?.();
    const { log } = this.#env;
    if (error !== undefined) {
      // Once per reason: the files are looked at again and again.
      if (error.message !== this.#complaint)
        log.error('the certificates of the cluster port cannot be read again; the old ones stay', { why: error.message });
      this.#complaint = error.message;
      return error;
    }
    this.#complaint = '';
    // Another object: whoever dials reads the files anew.
    this.#dialling = { ...this.#dialling };
    const ends = this.#listening?.certificateEnds?.();
    if (ends !== before) log.info('the cluster port has a new certificate', { ends });
    return undefined;
  }
}
