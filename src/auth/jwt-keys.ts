// The keys that tokens are checked with: a shared secret, a public key, or a set of keys that a service
// publishes (JWKS), fetched again every `refresh_interval` and, at most so often, for a key not seen yet.
// The set that is known stays good while the service does not answer. Every kind takes only algorithms
// of its own: a public key is never used as a secret.
import { createPublicKey, type KeyObject } from 'node:crypto';
import { type CryptoKey, createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey, type JWTVerifyResult } from 'jose';
import type { Clock, Timer } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import type { HttpPool } from './http-client.js';
import type { HttpCall } from './http-request.js';
import type { Secret } from './secret.js';

type Key = KeyObject | CryptoKey | Uint8Array;
export type VerifyWith = (key: Key & JWTVerifyGetKey, algorithms: readonly string[]) => Promise<JWTVerifyResult>;

export interface JwtKeys {
  verify(verify: VerifyWith): Promise<JWTVerifyResult>;
  close(): void;
}

const secretAlgorithms = ['HS256', 'HS384', 'HS512'];
const publicAlgorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];

/** One key that does not change. */
export class FixedKey implements JwtKeys {
  readonly #key: Key;
  readonly #algorithms: readonly string[];

  private constructor(key: Key, algorithms: readonly string[]) {
    this.#key = key;
    this.#algorithms = algorithms;
  }

  static secret(secret: Secret, base64: boolean): FixedKey {
    return new FixedKey(new Uint8Array(Buffer.from(secret.reveal(), base64 ? 'base64' : 'utf8')), secretAlgorithms);
  }

  /** PEM of a public key or a certificate. Throws when it is none. */
  static publicKey(pem: string): FixedKey {
    const key = createPublicKey(pem);
    return new FixedKey(
      key,
      publicAlgorithms.filter((a) =>
        a.startsWith('RS') || a.startsWith('PS')
          ? key.asymmetricKeyType === 'rsa'
          : a.startsWith('ES')
            ? key.asymmetricKeyType === 'ec'
            : key.asymmetricKeyType === 'ed25519',
      ),
    );
  }

  verify(verify: VerifyWith): Promise<JWTVerifyResult> {
    return verify(this.#key as Key & JWTVerifyGetKey, this.#algorithms);
  }

  close(): void {}
}

/** Between two fetches for keys that are not known: strangers can make us ask. */
const unknownKeyPauseMs = 10_000;
const retryMs = 10_000;

export class PublishedKeys implements JwtKeys {
  readonly #pool: HttpPool;
  readonly #call: HttpCall;
  readonly #refreshMs: number;
  readonly #clock: Clock;
  readonly #log: Logger;
  #keys: JWTVerifyGetKey | undefined;
  #fetchedAt = Number.NEGATIVE_INFINITY;
  #fetching: Promise<void> | undefined;
  #timer: Timer | undefined;
  #closed = false;

  constructor(pool: HttpPool, call: HttpCall, refreshMs: number, clock: Clock, log: Logger) {
    this.#pool = pool;
    this.#call = call;
    this.#refreshMs = refreshMs;
    this.#clock = clock;
    this.#log = log;
    void this.#fetch();
  }

  async verify(verify: VerifyWith): Promise<JWTVerifyResult> {
    if (this.#keys === undefined) await this.#fetch();
    try {
      return await this.#verifyOnce(verify);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await this.#fetch();
      return await this.#verifyOnce(verify);
    }
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #verifyOnce(verify: VerifyWith): Promise<JWTVerifyResult> {
    if (this.#keys === undefined) throw new errors.JWKSNoMatchingKey();
    return verify(this.#keys as Key & JWTVerifyGetKey, publicAlgorithms);
  }

  /** One at a time, and not sooner than the pause allows. */
  #fetch(): Promise<void> {
    const now = this.#clock.now();
    if (this.#fetching !== undefined) return this.#fetching;
    if (now - this.#fetchedAt < unknownKeyPauseMs || this.#closed) return Promise.resolve();
    this.#fetchedAt = now;
    this.#timer?.cancel();
    this.#fetching = new Promise((done) => {
      this.#pool.request(this.#call, (result) => {
        this.#fetching = undefined;
        const keys = result.kind === 'answer' && result.status === 200 ? readKeys(result.body) : undefined;
        if (keys === undefined)
          this.#log.warn('the keys for tokens could not be fetched', {
            reason: result.kind === 'failed' ? result.reason : `status ${result.status}`,
          });
        else this.#keys = keys;
        if (!this.#closed) this.#timer = this.#clock.setTimer(keys === undefined ? retryMs : this.#refreshMs, () => void this.#fetch());
        done();
      });
    });
    return this.#fetching;
  }
}

function readKeys(text: string): JWTVerifyGetKey | undefined {
  try {
    return createLocalJWKSet(JSON.parse(text) as JSONWebKeySet);
  } catch {
    return undefined;
  }
}
