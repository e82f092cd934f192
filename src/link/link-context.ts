// What dialling and accepting share: who we are, the secret, the settings, and the checks of a
// peer's hello. Made by links.ts.
import type { Env } from '#env/env.js';
import type { LogFields } from '#env/logger.js';
import type { NetAddress, TlsOptions } from '#env/net.js';
import type { PeerHello } from './api.js';
import type { LocalSide } from './handshake.js';
import { encodeHello } from './hello.js';
import type { LinkCounters } from './link-metrics.js';
import type { LinkTls } from './link-tls.js';
import type { LinkLimits } from './options.js';

const challengeBytes = 32;
/** At most one line about failed authentication in this time, per reason: an attacker must not fill the disk. */
const authLogIntervalMs = 5_000;
const authReasonsMax = 64;

export class LinkContext {
  readonly env: Env;
  readonly limits: LinkLimits;
  readonly counters: LinkCounters;
  readonly #cookie: Uint8Array;
  #self: PeerHello;
  #encoded: Uint8Array;
  readonly #tls: LinkTls | undefined;
  /** When a line about peers that failed was last written, by reason, and how many have failed since. */
  readonly #told = new Map<string, { at: number; unlogged: number }>();

  constructor(env: Env, limits: LinkLimits, counters: LinkCounters, cookie: Uint8Array, self: PeerHello, tls?: LinkTls) {
    this.env = env;
    this.limits = limits;
    this.counters = counters;
    this.#cookie = cookie;
    this.#tls = tls;
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
    const { protocol } = this.limits;
    return { hash, cookie: this.#cookie, nodeId: this.#self.nodeId, hello, challenge: random.bytes(challengeBytes), protocol };
  }

  /** Why a link with such a peer is refused, or undefined. */
  objection(peer: PeerHello): 'self' | 'cluster' | undefined {
    if (peer.nodeId === this.#self.nodeId) return 'self';
    if (peer.clusterId !== '' && this.#self.clusterId !== '' && peer.clusterId !== this.#self.clusterId) return 'cluster';
    return undefined;
  }

  /** How a connection to a peer is made. */
  get dialTls(): TlsOptions | undefined {
    return this.#tls?.dialling;
  }

  authFailed(host: string, port: number): void {
    this.#refused('a peer does not know the cookie of this cluster; connection closed', { host, port });
  }

  tlsRefused({ host, port }: NetAddress, why: string): void {
    this.#refused('a connection to the cluster port was refused by TLS', { host, port, why });
  }

  #refused(message: string, fields: LogFields & { readonly why?: string }): void {
    this.counters.authFailures.value++;
    const now = this.env.clock.now();
    const reason = fields.why ?? '';
    const told = this.#told.get(reason) ?? { at: Number.NEGATIVE_INFINITY, unlogged: 0 };
    if (now - told.at < authLogIntervalMs) {
      told.unlogged++;
      return;
    }
    this.env.log.warn(message, { ...fields, unlogged: told.unlogged });
    this.#told.delete(reason);
    this.#told.set(reason, { at: now, unlogged: 0 });
    const oldest = this.#told.keys().next().value;
    if (this.#told.size > authReasonsMax && oldest !== undefined) this.#told.delete(oldest);
  }
}
