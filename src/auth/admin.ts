// Users, rules and bans as administrators change them: what the command line and the HTTP API call.
// Every change is a transaction in the shard `auth`; it resolves when every node that is reachable has
// it. Failures are {@link AuthAdminError} with the code of the HTTP API.
import { copyBytes, emptyBytes } from '#base/bytes.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Database, Table, Transaction, WriteFailure } from '#db/api.js';
import type { Clock } from '#env/clock.js';
import { problemOfBan } from './bans.js';
import type { HashAlgorithm, PasswordHash, PasswordHasher } from './password.js';
import type { Plain } from './plain.js';
import { type BanRow, decodeBan, decodeRules, decodeUser, encodeBan, encodeRules, encodeScram, encodeUser } from './rows.js';
import { readRules } from './rule.js';
import {
  authShard,
  type BanKind,
  banKey,
  banKinds,
  bannedTable,
  keyTextBytesMax,
  type RulesOf,
  rulesKey,
  rulesPrefix,
  rulesTable,
  scramTable,
  textKey,
  usersTable,
} from './schema.js';
import { makeScramKeys, type ScramHash } from './scram.js';
import type { FileUser } from './user-file.js';

export type AdminErrorCode = 'BAD_REQUEST' | 'ALREADY_EXISTS' | 'NOT_FOUND' | 'SERVICE_UNAVAILABLE';

export class AuthAdminError extends Error {
  override readonly name = 'AuthAdminError';
  readonly code: AdminErrorCode;
  constructor(code: AdminErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface UserInfo {
  readonly userId: string;
  readonly superuser: boolean;
}

export interface RulesInfo {
  readonly id: string;
  readonly rules: readonly Plain[];
}

export interface BanRequest {
  readonly as: string;
  readonly who: string;
  readonly by?: string;
  readonly reason?: string;
  /** Wall clock ms, or how long from now; both absent: for ever. */
  readonly untilMs?: number;
  readonly forMs?: number;
}

/** A page of a list; `next`: where the next one begins, absent at the end. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly next?: Uint8Array;
}

const deadlineMs = 5_000;
/** As EMQX: of one client, user, or of all. */
const rulesPerListMax = 100;
const passwordBytesMax = 1_024;
/** What is behind them would not count. */
const bcryptBytesMax = 72;
const reasonLengthMax = 1_024;

/** How secrets of new users are kept. */
export interface AdminSettings {
  readonly algorithm: HashAlgorithm;
  readonly scram: { readonly hash: ScramHash; readonly iterations: number };
}

export class AuthAdmin {
  readonly #db: Database;
  readonly #hasher: PasswordHasher;
  readonly #clock: Clock;
  readonly #settings: AdminSettings;

  constructor(db: Database, hasher: PasswordHasher, clock: Clock, settings: AdminSettings) {
    this.#db = db;
    this.#hasher = hasher;
    this.#clock = clock;
    this.#settings = settings;
  }

  // ---- users ----

  async addUser(userId: string, password: string, superuser: boolean): Promise<void> {
    const value = encodeUser({ superuser, password: await this.#hash(password) });
    await this.#insert(usersTable, keyOf(userId), value, `user ${userId}`);
  }

  /** Adds the users that are not there yet; how many. Passwords may come as hashes of another system. */
  async addMissing(users: readonly FileUser[]): Promise<number> {
    let added = 0;
    for (const { userId, superuser, password } of users) {
      const key = keyOf(userId);
      if (this.#db.get(usersTable, key) !== undefined) continue;
      const value = encodeUser({ superuser, password: typeof password === 'string' ? await this.#hash(password) : password });
      try {
        await this.#insert(usersTable, key, value, `user ${userId}`);
        added++;
      } catch (error) {
        // Another node was faster.
        if (!(error instanceof AuthAdminError) || error.code !== 'ALREADY_EXISTS') throw error;
      }
    }
    return added;
  }

  /** What is not given stays. */
  async updateUser(userId: string, change: { readonly password?: string; readonly superuser?: boolean }): Promise<void> {
    const password = change.password === undefined ? undefined : await this.#hash(change.password);
    const key = keyOf(userId);
    const found = await this.#transaction((tx) => {
      const row = tx.get(usersTable, key);
      const user = row === undefined ? undefined : decodeUser(row.value);
      if (user === undefined) return false;
      tx.put(usersTable, key, encodeUser({ superuser: change.superuser ?? user.superuser, password: password ?? user.password }));
      return true;
    });
    if (!found) throw new AuthAdminError('NOT_FOUND', `there is no user ${userId}`);
  }

  async deleteUser(userId: string): Promise<void> {
    await this.#remove(usersTable, keyOf(userId), `user ${userId}`);
  }

  user(userId: string): UserInfo | undefined {
    const row = this.#db.get(usersTable, keyOf(userId));
    const user = row === undefined ? undefined : decodeUser(row.value);
    return user === undefined ? undefined : { userId, superuser: user.superuser };
  }

  users(limit: number, from: Uint8Array = emptyBytes): Page<UserInfo> {
    return this.#page(usersTable, from, limit, (key, value) => {
      return { userId: utf8Decode(key) ?? '', superuser: decodeUser(value)?.superuser === true };
    });
  }

  /** An account for SCRAM: apart from the user of the same name with a password. */
  async addScramUser(userId: string, password: string, superuser: boolean): Promise<void> {
    checkPassword(password);
    const { hash, iterations } = this.#settings.scram;
    const value = encodeScram({ superuser, keys: makeScramKeys(password, hash, iterations) });
    await this.#insert(scramTable, keyOf(userId.normalize('NFKC')), value, `user ${userId}`);
  }

  async deleteScramUser(userId: string): Promise<void> {
    await this.#remove(scramTable, keyOf(userId.normalize('NFKC')), `user ${userId}`);
  }

  // ---- rules ----

  /** Replaces the rules of a client id, a user name, or of all; an empty list removes them. */
  async setRules(of: RulesOf, rules: readonly Plain[]): Promise<void> {
    const problems: string[] = [];
    if (rules.length > rulesPerListMax) problems.push(`there can be ${rulesPerListMax} rules in one list`);
    readRules(rules, 'rules', problems, { noWho: true, topicsRequired: true });
    if (problems.length > 0) throw new AuthAdminError('BAD_REQUEST', problems.join('; '));
    const key = keyOfRules(of);
    const id = of.kind === 'all' ? '' : of.id;
    await this.#put(rulesTable, key, rules.length === 0 ? undefined : encodeRules({ id, rules }));
  }

  rules(of: RulesOf): readonly Plain[] {
    const row = this.#db.get(rulesTable, keyOfRules(of));
    return (row === undefined ? undefined : decodeRules(row.value)?.rules) ?? [];
  }

  rulesList(kind: 'clientid' | 'username', limit: number, from?: Uint8Array): Page<RulesInfo> {
    const prefix = rulesPrefix(kind);
    const start = from ?? Uint8Array.of(prefix);
    return this.#page(rulesTable, start, limit, (_key, value) => decodeRules(value), Uint8Array.of(prefix + 1));
  }

  // ---- bans ----

  /** A ban of the same client, name or address is replaced. */
  async ban(request: BanRequest): Promise<BanRow> {
    const as = banKinds.find((k) => k === request.as);
    if (as === undefined) throw new AuthAdminError('BAD_REQUEST', `as must be one of ${banKinds.join(', ')}`);
    const problem = problemOfBan(as, request.who);
    if (problem !== undefined) throw new AuthAdminError('BAD_REQUEST', problem);
    const now = this.#clock.wallNow();
    const row: BanRow = {
      as,
      who: request.who,
      by: (request.by ?? '').slice(0, reasonLengthMax),
      reason: (request.reason ?? '').slice(0, reasonLengthMax),
      atMs: now,
      untilMs: request.untilMs ?? now + (request.forMs ?? Number.POSITIVE_INFINITY),
    };
    const key = keyOfBan(as, request.who);
    await this.#put(bannedTable, key, encodeBan(row));
    return row;
  }

  async unban(as: string, who: string): Promise<void> {
    const kind = banKinds.find((k) => k === as);
    if (kind === undefined) throw new AuthAdminError('BAD_REQUEST', `as must be one of ${banKinds.join(', ')}`);
    await this.#remove(bannedTable, keyOfBan(kind, who), `ban of ${as} ${who}`);
  }

  /** Those that are over and not yet swept are left out. */
  bans(limit: number, from: Uint8Array = emptyBytes): Page<BanRow> {
    const now = this.#clock.wallNow();
    return this.#page(bannedTable, from, limit, (_key, value) => {
      const ban = decodeBan(value);
      return ban !== undefined && ban.untilMs > now ? ban : undefined;
    });
  }

  // ---- shared ----

  #hash(password: string): Promise<PasswordHash> {
    checkPassword(password);
    if (this.#settings.algorithm.name === 'bcrypt' && utf8Encode(password).length > bcryptBytesMax) {
      throw new AuthAdminError('BAD_REQUEST', `bcrypt takes ${bcryptBytesMax} bytes of a password`);
    }
    return new Promise((done, failed) => {
      this.#hasher.make(utf8Encode(password), this.#settings.algorithm, (hash) => {
        if (hash === undefined) failed(new AuthAdminError('SERVICE_UNAVAILABLE', 'too many passwords wait to be hashed; try again'));
        else done(hash);
      });
    });
  }

  #page<T>(table: Table, from: Uint8Array, limit: number, read: (key: Uint8Array, value: Uint8Array) => T | undefined, end?: Uint8Array): Page<T> {
    const items: T[] = [];
    let next: Uint8Array | undefined;
    this.#db.range(table, from, end, (key, row) => {
      if (items.length >= limit) {
        next = copyBytes(key);
        return false;
      }
      const item = read(key, row.value);
      if (item !== undefined) items.push(item);
      return true;
    });
    return next === undefined ? { items } : { items, next };
  }

  /** Whatever was there before; `value` undefined: nothing is there afterwards. */
  async #put(table: Table, key: Uint8Array, value: Uint8Array | undefined): Promise<void> {
    await this.#transaction((tx) => {
      if (value === undefined) tx.delete(table, key);
      else tx.put(table, key, value);
      return true;
    });
  }

  async #insert(table: Table, key: Uint8Array, value: Uint8Array, what: string): Promise<void> {
    const added = await this.#transaction((tx) => {
      if (tx.get(table, key) !== undefined) return false;
      tx.put(table, key, value);
      return true;
    });
    if (!added) throw new AuthAdminError('ALREADY_EXISTS', `${what} exists already`);
  }

  async #remove(table: Table, key: Uint8Array, what: string): Promise<void> {
    const found = await this.#transaction((tx) => {
      if (tx.get(table, key) === undefined) return false;
      tx.delete(table, key);
      return true;
    });
    if (!found) throw new AuthAdminError('NOT_FOUND', `there is no ${what}`);
  }

  /** Resolves with what `work` returned when it ran for good. */
  #transaction(work: (tx: Transaction) => boolean): Promise<boolean> {
    return new Promise((done, failed) => {
      const run = (tx: Transaction): Uint8Array => Uint8Array.of(work(tx) ? 1 : 0);
      this.#db.transaction(authShard, run, { until: 'effective', deadlineMs }, (failure, result) => {
        // Kept for ever; a node that is slow will have it later.
        if (failure === undefined || failure.kind === 'not-effective') done(result.reply[0] !== 0);
        else failed(unavailable(failure));
      });
    });
  }
}

function unavailable(failure: WriteFailure): AuthAdminError {
  if (failure.kind === 'refused') return new AuthAdminError('BAD_REQUEST', failure.message);
  const may = failure.mayHappen ? 'it may still happen' : 'it did not happen';
  return new AuthAdminError('SERVICE_UNAVAILABLE', `the change could not be committed (${failure.kind}); ${may}`);
}

function checkPassword(password: string): void {
  if (password === '') throw new AuthAdminError('BAD_REQUEST', 'the password is empty');
  if (utf8Encode(password).length > passwordBytesMax) throw new AuthAdminError('BAD_REQUEST', `a password has at most ${passwordBytesMax} bytes`);
}

const tooLong = `is empty or longer than ${keyTextBytesMax} bytes`;

function keyOf(userId: string): Uint8Array {
  const key = textKey(userId);
  if (key === undefined) throw new AuthAdminError('BAD_REQUEST', `the user id ${tooLong}`);
  return key;
}

function keyOfRules(of: RulesOf): Uint8Array {
  const key = rulesKey(of);
  if (key === undefined) throw new AuthAdminError('BAD_REQUEST', `the id ${tooLong}`);
  return key;
}

function keyOfBan(as: BanKind, who: string): Uint8Array {
  const key = banKey(as, who);
  if (key === undefined) throw new AuthAdminError('BAD_REQUEST', `who is banned ${tooLong}`);
  return key;
}
