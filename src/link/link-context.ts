// What dialling and accepting share: who we are, the secret, the settings, and the checks of a
// peer's hello. Made by links.ts.
import type { Env } from '#env/env.js';
import type { PeerHello } from './api.js';
import type { LocalSide } from './handshake.js';
import { encodeHello } from './hello.js';
import type { LinkCounters } from './link-metrics.js';
import type { LinkLimits } from './options.js';

const challengeBytes = 32;
/** At most one line about failed authentication in this time: an attacker must not fill the disk. */
const authLogIntervalMs = 5_000;

export class LinkContext {
  readonly env: Env;
  readonly limits: LinkLimits;
  readonly counters: LinkCounters;
  readonly #cookie: Uint8Array;
  #self: PeerHello;
  #encoded: Uint8Array;
  #authLoggedAt = Number.NEGATIVE_INFINITY;
  #authUnlogged = 0;

  constructor(env: Env, limits: LinkLimits, counters: LinkCounters, cookie: Uint8Array, self: PeerHello) {
    this.env = env;
    this.limits = limits;
    this.counters = counters;
    this.#cookie = cookie;
    this.#self = self;
    this.#encoded = encodeHello(self);
  }

  get self(): PeerHello {
    return this.#self;
  }

  set self(self: PeerHello) {
    this.#self = self;
    this.#encoded = encodeHello(self);
  }

  /** Our hello as bytes; another object whenever it changes. */
  get encodedHello(): Uint8Array {
    return this.#encoded;
  }

  /** Our side of one new handshake. */
  localSide(hello: Uint8Array): LocalSide {
    const { hash, random } = this.env;
    return { hash, cookie: this.#cookie, nodeId: this.#self.nodeId, hello, challenge: random.bytes(challengeBytes) };
  }

  /** Why a link with such a peer is refused, or undefined. */
  objection(peer: PeerHello): 'self' | 'cluster' | undefined {
    if (peer.nodeId === this.#self.nodeId) return 'self';
    if (peer.clusterId !== '' && this.#self.clusterId !== '' && peer.clusterId !== this.#self.clusterId) return 'cluster';
    return undefined;
  }

  authFailed(host: string, port: number): void {
    this.counters.authFailures.value++;
    const now = this.env.clock.now();
    if (now - this.#authLoggedAt < authLogIntervalMs) {
      this.#authUnlogged++;
      return;
    }
    this.env.log.warn('a peer does not know the cookie of this cluster; connection closed', { host, port, unlogged: this.#authUnlogged });
    this.#authLoggedAt = now;
    this.#authUnlogged = 0;
  }
}
