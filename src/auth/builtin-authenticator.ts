// Passwords in the cluster's own table. A user that does not exist costs as much as a wrong password of
// one that was made here. Right passwords are remembered as keyed hashes, in memory only, so that a
// storm of returning clients costs the slow hash once per user and node; a changed row is another key.
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { copyBytes } from '#base/bytes.js';
import type { Reader } from '#db/api.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { Authenticator, AuthnAnswer, AuthnResult } from './authenticator.js';
import { busy, ignored, wrongCredentials } from './authenticator.js';
import type { AuthClient } from './client.js';
import type { HashAlgorithm, PasswordHash, PasswordHasher } from './password.js';
import { decodeUser } from './rows.js';
import { textKey, usersTable } from './schema.js';

export interface BuiltinOptions {
  readonly userIdType: 'username' | 'clientid';
  /** For new passwords. */
  readonly algorithm: HashAlgorithm;
}

/** Right passwords remembered: 16 bytes each and their Map entry. */
const rememberedMax = 20_000;

export class BuiltinAuthenticator implements Authenticator {
  readonly id: string = 'password_based:built_in_database';
  readonly #db: Reader;
  readonly #hasher: PasswordHasher;
  readonly #options: BuiltinOptions;
  readonly #remembered = new Set<string>();
  readonly #memoryKey = randomBytes(32);
  readonly #malformed: Counter;
  #decoy: PasswordHash | undefined;

  constructor(db: Reader, hasher: PasswordHasher, options: BuiltinOptions, metrics: Metrics) {
    this.#db = db;
    this.#hasher = hasher;
    this.#options = options;
    this.#malformed = metrics.counter('starmesh_auth_malformed_rows_total', 'rows of users, rules or bans that could not be read');
    hasher.make(randomBytes(16), options.algorithm, (hash) => {
      this.#decoy = hash;
    });
  }

  authenticate(client: AuthClient, password: Uint8Array | undefined, answer: AuthnAnswer): void {
    const userId = this.#options.userIdType === 'username' ? client.username : client.clientId;
    if (userId === undefined || password === undefined) return answer(ignored);
    const key = textKey(userId);
    const row = key === undefined ? undefined : this.#db.get(usersTable, key);
    const user = row === undefined ? undefined : decodeUser(row.value);
    if (row === undefined || user === undefined) {
      if (row !== undefined) this.#malformed.value++;
      this.#pretend(password, answer);
      return;
    }
    const allowed: AuthnResult = { kind: 'allow', superuser: user.superuser };
    const proof = this.#proof(row.value, password);
    if (this.#remembered.has(proof)) return answer(allowed);
    this.#hasher.verify(password, user.password, (outcome) => {
      if (outcome === 'busy') return answer(busy);
      if (outcome === 'mismatch') return answer(wrongCredentials);
      this.#remember(proof);
      answer(allowed);
    });
  }

  close(): void {
    this.#remembered.clear();
  }

  /** Nobody of that name: the next authenticator may know it, but not sooner. */
  #pretend(password: Uint8Array, answer: AuthnAnswer): void {
    if (this.#decoy === undefined) return answer(ignored);
    this.#hasher.verify(copyBytes(password), this.#decoy, (outcome) => answer(outcome === 'busy' ? busy : ignored));
  }

  #proof(row: Uint8Array, password: Uint8Array): string {
    const mac = createHmac('sha256', this.#memoryKey).update(createHash('sha256').update(row).digest()).update(password);
    return mac.digest().subarray(0, 16).toString('base64');
  }

  /** The oldest make room. */
  #remember(proof: string): void {
    this.#remembered.add(proof);
    if (this.#remembered.size > rememberedMax) for (const oldest of this.#remembered) if (this.#remembered.delete(oldest)) break;
  }
}
