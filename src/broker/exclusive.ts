// Exclusive subscriptions over the replicated database: implements ExclusiveStore. A row (filter → client
// id) says who has `$exclusive/FILTER`; it belongs to the incarnation of the node that has the session, so
// that it vanishes with that node. Writes are commands at the leader of shard `route`; one client's session
// may move: whoever has it now writes the row anew, and the old holder's release does nothing any more.
// Invariants: at most one client id is in a row of a filter, at any position of the log. Each filter in `#own` has
// its row, or is being taken again, or its client is told that it has lost it.
import { emptyBytes } from '#base/bytes.js';
import { utf8Decode } from '#base/utf8.js';
import type { Database } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { decodeTopicKey, encodeTopicKey, levelsLength, routeKeyBytesMax } from '#router/route-key.js';
import { encodeExclusive } from './exclusive-commands.js';
import type { ExclusiveOutcome, ExclusiveStore } from './ports.js';
import { exclusiveTable } from './schema.js';

export interface ExclusiveOptions {
  readonly deadlineMs: number;
  /** Until what was not committed is tried again. */
  readonly retryMs: number;
  /** What a session has is taken again until that is decided: twice as late each time, at most so late. */
  readonly retryMsMax: number;
}

export const exclusiveDefaults: ExclusiveOptions = { deadlineMs: 5_000, retryMs: 1_000, retryMsMax: 8_000 };

export interface ExclusiveEnv {
  readonly clock: Clock;
  readonly metrics: Metrics;
}

export class ReplicatedExclusive implements ExclusiveStore {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #options: ExclusiveOptions;
  /** What this node's sessions have: filter → client id. */
  readonly #own = new Map<string, string>();
  /** Rows to be taken back, or looked after, once a leader answers. */
  readonly #again = new Map<string, string>();
  /** Filters that are being taken again; true: once more when that is decided, because the row may have gone meanwhile. */
  readonly #retaking = new Map<string, boolean>();
  readonly #refused: Counter;
  readonly #lost: Counter;
  readonly #unsubscribe: () => void;
  #timer: Timer | undefined;
  #closed = false;
  /** This node's client has lost its filter to another one while the node was out of the cluster, or not there. */
  onLost: (topicFilter: string, clientId: string) => void = () => {};

  constructor(env: ExclusiveEnv, db: Database, options: Partial<ExclusiveOptions> = {}) {
    this.#clock = env.clock;
    this.#db = db;
    this.#options = { ...exclusiveDefaults, ...options };
    this.#refused = env.metrics.counter('starmesh_exclusive_refused_total', 'Exclusive subscriptions refused because another client has the filter');
    this.#lost = env.metrics.counter(
      'starmesh_exclusive_lost_total',
      'Exclusive subscriptions of sessions here ended because another client has the filter by now',
    );
    env.metrics.gaugeFn(
      'starmesh_exclusive_undecided',
      'Exclusive subscriptions of sessions here that no leader has confirmed yet',
      {},
      () => this.#retaking.size,
    );
    db.onIncarnation(() => this.#renew());
    this.#unsubscribe = db.subscribe(exclusiveTable.shard, {
      reset: () => {},
      change: (table, key, row) => {
        if (table.id === exclusiveTable.id && row === undefined && this.#own.size > 0) this.#gone(key);
      },
      purged: () => {},
      applied: () => {},
    });
  }

  take(topicFilter: string, clientId: string, done: (outcome: ExclusiveOutcome) => void): void {
    if (levelsLength(topicFilter) + 1 > routeKeyBytesMax) {
      done('no-quorum');
      return;
    }
    this.#again.delete(topicFilter);
    this.#command('exclusiveTake', topicFilter, clientId, (outcome, mayHappen) => {
      if (outcome === 'taken') this.#taken(topicFilter, clientId);
      else if (outcome === 'held') this.#refused.value++;
      else if (mayHappen && !this.#own.has(topicFilter)) this.#later(topicFilter, clientId);
      done(outcome);
    });
  }

  /** While nothing was decided about that of a session that came back, another one may have got it here. */
  #taken(topicFilter: string, clientId: string): void {
    const before = this.#own.get(topicFilter);
    this.#own.set(topicFilter, clientId);
    if (before !== undefined && before !== clientId) this.#tellLost(topicFilter, before);
  }

  keep(topicFilter: string, clientId: string): void {
    const holder = this.#own.get(topicFilter);
    if (levelsLength(topicFilter) + 1 > routeKeyBytesMax || (holder !== undefined && holder !== clientId)) {
      this.#clock.endOfTurn(() => this.#tellLost(topicFilter, clientId));
      return;
    }
    this.#again.delete(topicFilter);
    this.#own.set(topicFilter, clientId);
    this.#retake(topicFilter);
  }

  release(topicFilter: string, clientId: string): void {
    if (this.#own.get(topicFilter) === clientId) this.#own.delete(topicFilter);
    this.#command('exclusiveRelease', topicFilter, clientId, (outcome) => {
      if (outcome === 'no-quorum' && !this.#own.has(topicFilter)) this.#later(topicFilter, clientId);
    });
  }

  list(visit: (topicFilter: string, clientId: string) => boolean): void {
    this.#db.range(exclusiveTable, emptyBytes, undefined, (key, row) => {
      const topicFilter = decodeTopicKey(key);
      const clientId = utf8Decode(row.value);
      return topicFilter === undefined || clientId === undefined || visit(topicFilter, clientId);
    });
  }

  /** Which client has it; undefined: nobody. */
  holder(topicFilter: string): string | undefined {
    const row = levelsLength(topicFilter) + 1 > routeKeyBytesMax ? undefined : this.#db.get(exclusiveTable, encodeTopicKey(topicFilter));
    return row === undefined ? undefined : utf8Decode(row.value);
  }

  /** Takes the row away that no session stands behind. `done`: why it could not be; undefined when it is gone. */
  drop(topicFilter: string, clientId: string, done: (failure: string | undefined) => void): void {
    const options = { until: 'applied' as const, deadlineMs: this.#options.deadlineMs };
    const body = encodeExclusive(encodeTopicKey(topicFilter), clientId);
    this.#db.command(exclusiveTable.shard, 'exclusiveDrop', body, options, (failure) => done(failure?.message));
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unsubscribe();
  }

  #command(name: string, topicFilter: string, clientId: string, done: (outcome: ExclusiveOutcome, mayHappen: boolean) => void): void {
    const body = encodeExclusive(encodeTopicKey(topicFilter), clientId);
    this.#db.command(exclusiveTable.shard, name, body, { deadlineMs: this.#options.deadlineMs }, (failure, result) => {
      if (failure !== undefined) done('no-quorum', failure.mayHappen);
      else done(result.reply.length === 0 ? 'taken' : 'held', false);
    });
  }

  /** A row that may be there and should not. */
  #later(topicFilter: string, clientId: string): void {
    this.#again.set(topicFilter, clientId);
    if (this.#timer !== undefined || this.#closed) return;
    this.#timer = this.#clock.setTimer(this.#options.retryMs, () => {
      this.#timer = undefined;
      const again = [...this.#again];
      this.#again.clear();
      for (const [filter, id] of again) if (!this.#own.has(filter)) this.release(filter, id);
    });
  }

  /** The node's rows were purged with its incarnation. */
  #renew(): void {
    for (const topicFilter of [...this.#own.keys()]) this.#retake(topicFilter);
  }

  /** Another node had begun to take the session over, and gave up. */
  #gone(key: Uint8Array): void {
    const topicFilter = decodeTopicKey(key);
    if (topicFilter !== undefined && this.#own.has(topicFilter)) this.#clock.endOfTurn(() => this.#retake(topicFilter));
  }

  #retake(topicFilter: string): void {
    if (this.#retaking.has(topicFilter)) {
      this.#retaking.set(topicFilter, true);
      return;
    }
    this.#retaking.set(topicFilter, false);
    this.#tryAgain(topicFilter, this.#options.retryMs);
  }

  #tryAgain(topicFilter: string, retryMs: number): void {
    const clientId = this.#own.get(topicFilter);
    if (clientId === undefined || this.#closed) {
      this.#retaking.delete(topicFilter);
      return;
    }
    this.#command('exclusiveTake', topicFilter, clientId, (outcome) => {
      const ours = this.#own.get(topicFilter) === clientId;
      if (outcome === 'no-quorum' && !this.#closed && ours) {
        this.#clock.setTimer(retryMs, () => this.#tryAgain(topicFilter, Math.min(2 * retryMs, this.#options.retryMsMax)));
        return;
      }
      const again = this.#retaking.get(topicFilter) === true;
      this.#retaking.delete(topicFilter);
      if (outcome === 'held' && ours) {
        this.#own.delete(topicFilter);
        this.#tellLost(topicFilter, clientId);
      } else if (again) this.#retake(topicFilter);
    });
  }

  #tellLost(topicFilter: string, clientId: string): void {
    if (this.#closed) return;
    this.#lost.value++;
    this.onLost(topicFilter, clientId);
  }
}
