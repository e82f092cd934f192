// SCRAM with keys of the cluster's own table: MQTT 5.0 enhanced authentication. Clients that give a
// password in CONNECT are not its business.
import type { Reader } from '#db/api.js';
import type { Authenticator, AuthnAnswer, Exchange, ExchangeStep } from './authenticator.js';
import { ignored } from './authenticator.js';
import type { AuthClient } from './client.js';
import { decodeScram, type ScramRow } from './rows.js';
import { scramTable, textKey } from './schema.js';
import { type ScramHash, ScramServer, scramMethods } from './scram.js';

export interface ScramOptions {
  readonly hash: ScramHash;
  readonly iterations: number;
  /** The same on every node, and secret: what names without an account pretend to have comes from it. */
  readonly decoySecret: Uint8Array;
}

export class ScramAuthenticator implements Authenticator {
  readonly id: string = 'scram:built_in_database';
  readonly method: string;
  readonly #db: Reader;
  readonly #options: ScramOptions;

  constructor(db: Reader, options: ScramOptions) {
    this.#db = db;
    this.#options = options;
    this.method = scramMethods[options.hash];
  }

  authenticate(_client: AuthClient, _password: Uint8Array | undefined, answer: AuthnAnswer): void {
    answer(ignored);
  }

  begin(): Exchange {
    let found: ScramRow | undefined;
    const server = new ScramServer({
      ...this.#options,
      find: (username) => {
        found = this.#find(username);
        return found?.keys;
      },
    });
    return {
      step: (data): ExchangeStep => {
        const step = server.step(data === undefined ? '' : Buffer.from(data).toString('utf8'));
        if (step.kind === 'failed') return { kind: 'failed', reason: step.reason };
        const bytes = new Uint8Array(Buffer.from(step.message, 'utf8'));
        if (step.kind === 'continue') return { kind: 'continue', data: bytes };
        return { kind: 'success', data: bytes, username: step.username, superuser: found?.superuser === true };
      },
    };
  }

  close(): void {}

  #find(username: string): ScramRow | undefined {
    const key = textKey(username);
    const row = key === undefined ? undefined : this.#db.get(scramTable, key);
    return row === undefined ? undefined : decodeScram(row.value);
  }
}
