// Asks an HTTP service whether a client may come in. 200 with JSON `{"result": "allow"|"deny"|"ignore",
// "is_superuser": …, "expire_at": …, "acl": […]}` decides, 204 allows; everything else, no answer
// included, is passed on to the next authenticator, and at the end of the chain refused.
import type { Clock } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import type { Authenticator, AuthnAnswer, AuthnResult } from './authenticator.js';
import { ignored, wrongCredentials } from './authenticator.js';
import { type AuthClient, clientValue } from './client.js';
import type { HttpPool, HttpResult } from './http-client.js';
import type { MakeCall } from './http-request.js';
import type { Plain } from './plain.js';
import { readTokenAcl } from './token-acl.js';

/** Placeholders of its requests. */
export const authnPlaceholders: readonly string[] = ['clientid', 'username', 'password', 'peerhost', 'peername', 'cert_common_name', 'cert_subject'];

export class HttpAuthenticator implements Authenticator {
  readonly id: string = 'password_based:http';
  readonly #pool: HttpPool;
  readonly #makeCall: MakeCall;
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor(pool: HttpPool, makeCall: MakeCall, clock: Clock, log: Logger) {
    this.#pool = pool;
    this.#makeCall = makeCall;
    this.#clock = clock;
    this.#log = log;
  }

  authenticate(client: AuthClient, password: Uint8Array | undefined, answer: AuthnAnswer): void {
    const text = password === undefined ? undefined : Buffer.from(password).toString('utf8');
    const call = this.#makeCall((name) => (name === 'password' ? text : clientValue(client, name)));
    // What cannot be asked about is nobody's.
    if (call === undefined) return answer(wrongCredentials);
    this.#pool.request(call, (result) => answer(this.#read(result)));
  }

  close(): void {}

  #read(result: HttpResult): AuthnResult {
    if (result.kind === 'failed') {
      this.#log.warn('the authentication service did not answer', { reason: result.reason });
      return ignored;
    }
    if (result.status === 204) return { kind: 'allow', superuser: false };
    const answer = result.status === 200 ? parseJsonObject(result.body) : undefined;
    switch (answer?.result) {
      case 'allow':
        return this.#allowed(answer);
      case 'deny':
        return wrongCredentials;
      case 'ignore':
        return ignored;
      default:
        this.#log.warn('the authentication service gave an answer without a result', { status: result.status });
        return ignored;
    }
  }

  #allowed(answer: Readonly<Record<string, unknown>>): AuthnResult {
    const superuser = answer.is_superuser === true || answer.is_superuser === 'true' || answer.is_superuser === 1;
    const expiresAtMs = typeof answer.expire_at === 'number' ? answer.expire_at * 1000 : undefined;
    if (expiresAtMs !== undefined && expiresAtMs <= this.#clock.wallNow()) return wrongCredentials;
    const acl = answer.acl === undefined || answer.acl === null ? undefined : readTokenAcl(answer.acl as Plain);
    if (typeof acl === 'string') {
      this.#log.warn('the authentication service gave rules that cannot be read', { reason: acl });
      return wrongCredentials;
    }
    return {
      kind: 'allow',
      superuser,
      ...(acl === undefined ? {} : { acl }),
      ...(expiresAtMs === undefined ? {} : { expiresAtMs, closeAtExpiry: true }),
    };
  }
}

export function parseJsonObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
