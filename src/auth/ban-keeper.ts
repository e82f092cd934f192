// The bans of the table `banned` in memory (`bans.ts`), kept by the change feed, and the end of those
// that are over. Access control asks it and tells it of changes.
import { copyBytes, emptyBytes } from '#base/bytes.js';
import type { Database } from '#db/api.js';
import { encodeKeys } from '#db/command-body.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { Bans } from './bans.js';
import type { AuthClient } from './client.js';
import { decodeBan, encodeBan } from './rows.js';
import { authShard, banKey, bannedTable, decodeBanKey } from './schema.js';

/** How often bans that are over are looked for, how many are deleted and looked at in one go. */
const sweepMs = 60_000;
const sweepKeysMax = 500;
const sweepRows = 2_000;
const slicePauseMs = 20;
const writeDeadlineMs = 5_000;

export interface BanEnv {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export class BanKeeper {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #db: Database;
  readonly #bans = new Bans();
  readonly #malformed: Counter;
  #grown = false;
  #sweep: Timer | undefined;
  #closed = false;

  constructor(env: BanEnv, db: Database) {
    this.#clock = env.clock;
    this.#log = env.log;
    this.#db = db;
    this.#malformed = env.metrics.counter('starmesh_auth_malformed_rows_total', 'rows of users, rules or bans that could not be read');
    env.metrics.gaugeFn('emqx_banned_count', 'bans in force, or over and not yet swept', {}, () => this.#bans.size);
  }

  has(client: AuthClient): boolean {
    return this.#bans.find(client, this.#clock.wallNow()) !== undefined;
  }

  /** Whether a ban was added or changed since the last call. */
  takeGrown(): boolean {
    const grown = this.#grown;
    this.#grown = false;
    return grown;
  }

  /** Bans a client id for a while, on the whole cluster. False: it cannot be, or is banned already. */
  add(clientId: string, banMs: number, by: string, reason: string): boolean {
    const key = banKey('clientid', clientId);
    const now = this.#clock.wallNow();
    if (key === undefined || this.#bans.find({ clientId, username: undefined, peer: '' }, now) !== undefined) return false;
    const value = encodeBan({ as: 'clientid', who: clientId, by, reason, atMs: now, untilMs: now + banMs });
    this.#db.write(authShard, [{ kind: 'put', table: bannedTable, key, value }], { deadlineMs: writeDeadlineMs }, (failure) => {
      if (failure !== undefined) this.#log.warn('the ban of a client could not be written', { clientId, kind: failure.kind });
    });
    return true;
  }

  // ---- the table ----

  reset(): void {
    this.#bans.clear();
    this.#db.range(bannedTable, emptyBytes, undefined, (_key, row) => {
      this.#put(row.value);
      return true;
    });
  }

  changed(key: Uint8Array, value: Uint8Array | undefined): void {
    if (value !== undefined) {
      this.#put(value);
      return;
    }
    const gone = decodeBanKey(key);
    if (gone !== undefined) this.#bans.delete(gone.as, gone.who);
  }

  #put(value: Uint8Array): void {
    const ban = decodeBan(value);
    if (ban === undefined || !this.#bans.put(ban)) {
      this.#malformed.value++;
      return;
    }
    this.#grown = true;
    if (ban.untilMs !== Number.POSITIVE_INFINITY) this.#armSweep();
  }

  // ---- bans that are over ----

  #armSweep(delayMs: number = sweepMs, from: Uint8Array = emptyBytes): void {
    if (this.#sweep !== undefined || this.#closed) return;
    this.#sweep = this.#clock.setTimer(delayMs, () => {
      this.#sweep = undefined;
      this.#sweepBans(from);
    });
  }

  /** One node deletes them: the shard's leader. Some rows at a time; the others look again later, they may lead by then. */
  #sweepBans(from: Uint8Array): void {
    if (this.#bans.size === 0) return;
    if (!this.#leads()) return this.#armSweep();
    const wallNow = this.#clock.wallNow();
    const over: Uint8Array[] = [];
    let rows = 0;
    let next: Uint8Array | undefined;
    this.#db.range(bannedTable, from, undefined, (key, row) => {
      if (rows++ === sweepRows || over.length === sweepKeysMax) {
        next = copyBytes(key);
        return false;
      }
      const ban = decodeBan(row.value);
      if (ban === undefined || ban.untilMs <= wallNow) over.push(copyBytes(key));
      return true;
    });
    if (over.length > 0) this.#db.command(authShard, 'expire-bans', encodeKeys(over), { deadlineMs: writeDeadlineMs }, () => {});
    if (next === undefined) this.#armSweep();
    else this.#armSweep(slicePauseMs, next);
  }

  #leads(): boolean {
    for (const s of this.#db.status()) if (s.shard === authShard && 'core' in s) return s.core.state === 'leader';
    return false;
  }

  close(): void {
    this.#closed = true;
    this.#sweep?.cancel();
  }
}
