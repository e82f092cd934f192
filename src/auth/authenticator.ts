// What one member of the authentication chain is, and what it may answer.
import type { AuthClient } from './client.js';
import type { Rule } from './rule.js';

export type AuthnResult =
  | {
      readonly kind: 'allow';
      readonly superuser: boolean;
      /** Rules that came with the proof, asked before all others. */
      readonly acl?: readonly Rule[];
      /** Wall clock ms at which the proof ends; the connection with it, if `closeAtExpiry`. */
      readonly expiresAtMs?: number;
      readonly closeAtExpiry?: boolean;
    }
  /** The proof is wrong. */
  | { readonly kind: 'deny'; readonly reason: 'credentials' | 'not-authorized' }
  /** Not this one's business: the next is asked. */
  | { readonly kind: 'ignore' }
  /** Could not be asked now: the client may try again. */
  | { readonly kind: 'busy' };

export type AuthnAnswer = (result: AuthnResult) => void;

export interface Authenticator {
  /** `password_based:built_in_database`, `jwt`, … as in the HTTP API. */
  readonly id: string;
  /** Answers once, now or later. `password` may be kept until then. */
  authenticate(client: AuthClient, password: Uint8Array | undefined, answer: AuthnAnswer): void;
  close(): void;
  /** Authentication Method of MQTT 5.0 that it speaks, and a conversation in it. */
  readonly method?: string;
  begin?(): Exchange;
}

export type ExchangeStep =
  /** For the client, whose next message is awaited. */
  | { readonly kind: 'continue'; readonly data: Uint8Array }
  | { readonly kind: 'success'; readonly data: Uint8Array; readonly username: string; readonly superuser: boolean }
  | { readonly kind: 'failed'; readonly reason: string };

/** A conversation that proves who the client is. After anything but `continue` it is over. */
export interface Exchange {
  step(data: Uint8Array | undefined): ExchangeStep;
}

export const ignored: AuthnResult = { kind: 'ignore' };
export const busy: AuthnResult = { kind: 'busy' };
export const wrongCredentials: AuthnResult = { kind: 'deny', reason: 'credentials' };
