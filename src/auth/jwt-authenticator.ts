// JSON Web Tokens as passwords (or user names). A text that is no token, or one that another key signed,
// is passed on; a token of ours that has expired or claims something else is refused.
import { errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose';
import type { Clock } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Authenticator, AuthnAnswer, AuthnResult } from './authenticator.js';
import { busy, ignored, wrongCredentials } from './authenticator.js';
import { type AuthClient, clientValue } from './client.js';
import type { JwtKeys } from './jwt-keys.js';
import type { Plain } from './plain.js';
import { fillTemplate, type Template } from './template.js';
import { readTokenAcl } from './token-acl.js';

export const jwtPlaceholders: readonly string[] = ['clientid', 'username', 'peerhost', 'cert_common_name'];

export interface JwtOptions {
  readonly from: 'password' | 'username';
  /** Claims and what they must be. */
  readonly verifyClaims: readonly (readonly [string, Template])[];
  readonly aclClaimName: string;
  readonly disconnectAfterExpire: boolean;
}

/** Longer ones are not looked at. */
const tokenLengthMax = 16_384;
/** Tokens that are being checked at a time, or wait for keys. */
const runningMax = 1_000;
/** Clocks of the issuer and ours may differ by this. */
const clockToleranceS = 5;

export class JwtAuthenticator implements Authenticator {
  readonly id: string = 'jwt';
  readonly #keys: JwtKeys;
  readonly #options: JwtOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #refused: Counter;
  #running = 0;

  constructor(keys: JwtKeys, options: JwtOptions, clock: Clock, log: Logger, metrics: Metrics) {
    this.#keys = keys;
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    this.#refused = metrics.counter('starmesh_auth_tokens_refused_total', 'logins refused because too many tokens were being checked');
  }

  authenticate(client: AuthClient, password: Uint8Array | undefined, answer: AuthnAnswer): void {
    const token = this.#options.from === 'username' ? client.username : password === undefined ? undefined : Buffer.from(password).toString('utf8');
    if (token === undefined || token.length > tokenLengthMax || !/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) return answer(ignored);
    if (this.#running >= runningMax) {
      this.#refused.value++;
      return answer(busy);
    }
    this.#running++;
    const finish = (result: AuthnResult): void => {
      this.#running--;
      answer(result);
    };
    void this.#verify(token, client).then(finish, (error: unknown) => finish(this.#refusal(error)));
  }

  close(): void {
    this.#keys.close();
  }

  async #verify(token: string, client: AuthClient): Promise<AuthnResult> {
    const options: JWTVerifyOptions = { currentDate: new Date(this.#clock.wallNow()), clockTolerance: clockToleranceS };
    const { payload } = await this.#keys.verify((key, algorithms) => jwtVerify(token, key, { ...options, algorithms: [...algorithms] }));
    return this.#allowed(payload, client);
  }

  #allowed(payload: JWTPayload, client: AuthClient): AuthnResult {
    for (const [claim, wanted] of this.#options.verifyClaims) {
      const value = Object.hasOwn(payload, claim) ? payload[claim] : undefined;
      if (value === undefined || String(value) !== fillTemplate(wanted, (name) => clientValue(client, name))) return wrongCredentials;
    }
    const { aclClaimName, disconnectAfterExpire } = this.#options;
    const claimed = Object.hasOwn(payload, aclClaimName) ? payload[aclClaimName] : undefined;
    const acl = claimed === undefined || claimed === null ? undefined : readTokenAcl(claimed as Plain);
    if (typeof acl === 'string') {
      this.#log.warn('a token has rules that cannot be read', { reason: acl });
      return wrongCredentials;
    }
    return {
      kind: 'allow',
      superuser: payload.is_superuser === true,
      ...(acl === undefined ? {} : { acl }),
      ...(payload.exp === undefined ? {} : { expiresAtMs: payload.exp * 1000, closeAtExpiry: disconnectAfterExpire }),
    };
  }

  #refusal(error: unknown): AuthnResult {
    if (error instanceof errors.JWTExpired || error instanceof errors.JWTClaimValidationFailed) return wrongCredentials;
    // Not signed by this key, or not signed at all: perhaps another authenticator's.
    if (error instanceof errors.JOSEError) return ignored;
    this.#log.warn('a token could not be checked', { reason: error instanceof Error ? error.message : 'unknown' });
    return ignored;
  }
}
