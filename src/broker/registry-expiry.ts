// Rows of persistent sessions whose node is down stay in the registry, so that the session is its client's
// when the node comes back. Here they are looked through now and then, by the leader of each registry shard,
// a batch at a time: those of sessions that have expired meanwhile go, those of a node that is back get its
// present incarnation. A session that never expires keeps its row until its client comes again.
//
// Invariant: only the command decides (`registry-commands.ts`); what is sent is a guess.
import { copyBytes, emptyBytes } from '#base/bytes.js';
import type { Database } from '#db/api.js';
import { encodeKeys } from '#db/command-body.js';
import type { Clock, Timer } from '#env/clock.js';
import { decodeRow } from './registry-row.js';
import { registryTables } from './schema.js';

export interface ExpiryOptions {
  /** From the end of one round to the beginning of the next. */
  readonly everyMs: number;
  /** Rows looked at in one turn, and the pause after them. */
  readonly batch: number;
  readonly pauseMs: number;
}

export const expiryDefaults: ExpiryOptions = { everyMs: 600_000, batch: 500, pauseMs: 50 };

const deadlineMs = 5_000;

export class RowExpiry {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #options: ExpiryOptions;
  #timer: Timer | undefined;
  /** Where the round is: which table, and behind which key. */
  #table = 0;
  #after: Uint8Array = emptyBytes;
  #closed = false;

  constructor(clock: Clock, db: Database, options: Partial<ExpiryOptions>) {
    this.#clock = clock;
    this.#db = db;
    this.#options = { ...expiryDefaults, ...options };
  }

  start(): void {
    if (this.#db.role === 'core') this.#arm(this.#options.everyMs);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #arm(ms: number): void {
    if (!this.#closed) this.#timer = this.#clock.setTimer(ms, () => this.#look());
  }

  #leads(shard: string): boolean {
    return this.#db.status().some((s) => s.shard === shard && 'core' in s && s.core.state === 'leader');
  }

  #look(): void {
    const { batch, pauseMs, everyMs } = this.#options;
    const table = registryTables[this.#table];
    if (table === undefined) {
      this.#table = 0;
      this.#arm(everyMs);
      return;
    }
    const dead: Uint8Array[] = [];
    let seen = 0;
    if (this.#db.holds(table.shard) && this.#leads(table.shard)) {
      this.#db.range(table, this.#after, undefined, (key, row) => {
        this.#after = copyBytes(key);
        if (row.owner === 0 && !this.#db.isLive(table.shard, decodeRow(row.value).holder.incarnation)) dead.push(this.#after);
        return ++seen < batch;
      });
    }
    if (seen < batch) {
      this.#table++;
      this.#after = emptyBytes;
    }
    if (dead.length === 0) this.#arm(pauseMs);
    else this.#db.command(table.shard, 'expire', encodeKeys(dead), { deadlineMs }, () => this.#arm(pauseMs));
  }
}
