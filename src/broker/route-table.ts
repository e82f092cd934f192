// This node's rows of one table of routes, and the index of everybody's: what route-sync.ts (plain
// routes) and shared-routes.ts (groups) have in common. Decisions are the router room's (RouteSyncState:
// what to write; RouteShapes and RouteMatcher: what matches); here they meet the database: batches per
// turn, the change feed, counting in slices, mending.
//
// A row goes by a name: the filter, or the filter with its group. Invariant: after quiet, this node's
// rows are those of the names it wants, and say what their content should be.
import { byteString, compareBytes, copyBytes, emptyBytes, fromHex } from '#base/bytes.js';
import type { Database, Feed, Op, Row, Table, WriteFailure } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { nodeIdLength } from '#router/route-key.js';
import { RouteMatcher } from '#router/route-match.js';
import { type KeyEnd, RouteShapes } from '#router/route-shapes.js';
import { type BatchResult, type RouteBatch, RouteSyncState } from '#router/route-sync-state.js';
import type { RouteOutcome } from './ports.js';
import { tableRows } from './route-rows.js';

export interface RouteSyncSettings {
  /** `mqtt.suback_timeout`: how long a SUBACK may wait for 'effective'. */
  readonly subackTimeoutMs: number;
  /** `mqtt.suback`. */
  readonly suback: 'effective' | 'committed';
  readonly proposalDeadlineMs: number;
  readonly batchMax: number;
  /** Topic names whose destinations are remembered. */
  readonly cacheEntriesMax: number;
  readonly shapesMax: number;
  readonly seeksMax: number;
  /** Rows visited in one slice of a count. */
  readonly sliceRows: number;
  readonly slicePauseMs: number;
  /** Least time between two counts that doubts ask for. */
  readonly recountMs: number;
  /** Pause between two looks at `mendFilters` of this node's own filters. */
  readonly mendMs: number;
  readonly mendFilters: number;
  /** Own rows seen by the feed that look wrong, to be looked at when mending. */
  readonly suspectsMax: number;
}

export const routeSyncSettings: RouteSyncSettings = {
  subackTimeoutMs: 1_000,
  suback: 'effective',
  proposalDeadlineMs: 5_000,
  batchMax: 1_000,
  cacheEntriesMax: 16_384,
  shapesMax: 64,
  // About 5 ms of one turn; beyond, every node with routes gets the message and finds out itself.
  seeksMax: 1_000,
  sliceRows: 2_000,
  slicePauseMs: 1,
  recountMs: 60_000,
  mendMs: 1_000,
  mendFilters: 2_000,
  suspectsMax: 10_000,
};

/** While somebody waits or a retry is due, the clock is looked at this often. */
const busyTickMs = 50;

/** Keys remembered of rows that are put again. */
const knownMax = 100_000;

export interface RouteSyncEnv {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** What the rows of one table are. */
export interface RouteKind {
  readonly table: Table;
  /** Where a key's end mark is, when there is more than a node behind it. */
  readonly endOf?: KeyEnd;
  /** Key of the row of a name that is wanted. */
  key(name: string, self: Uint8Array): Uint8Array;
  /** The name of a row. */
  name(key: Uint8Array): string | undefined;
  /** Rows are put again when what they say changes, so that puts do not tell how many there are. */
  readonly rewritten?: boolean;
  /** What this node's row of the name says. */
  content(name: string): Uint8Array;
  /** A row of another node came, changed or went; undefined: any may have. */
  changed(name: string | undefined): void;
  purged?(nodeId: string, incarnation: number): void;
}

export class RouteTable {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #db: Database;
  readonly #kind: RouteKind;
  readonly #settings: RouteSyncSettings;
  readonly #self: Uint8Array;
  readonly #state: RouteSyncState;
  readonly #shapes: RouteShapes;
  readonly #matcher: RouteMatcher;
  readonly #suspects: Set<string> = new Set();
  /** Rewritten kinds: keys of the rows that were counted, so that a row which is put again is not counted again. */
  readonly #known: Set<string> = new Set();
  #cursor: Uint8Array | undefined;
  #counter = 0;
  #countedAt = Number.NEGATIVE_INFINITY;
  #flushScheduled = false;
  #timer: Timer | undefined;
  #timerAt = 0;
  #mendAt: number;
  #closed = false;
  readonly #unsubscribe: () => void;
  readonly #notEffective: Counter;
  readonly #failures: Counter;
  readonly #mended: Counter;
  readonly #outOfSync: Counter;

  constructor(env: RouteSyncEnv, db: Database, settings: RouteSyncSettings, kind: RouteKind) {
    this.#clock = env.clock;
    this.#log = env.log;
    this.#db = db;
    this.#kind = kind;
    this.#settings = settings;
    this.#self = fromHex(db.nodeId) ?? emptyBytes;
    const { subackTimeoutMs, proposalDeadlineMs, batchMax, suback } = settings;
    this.#state = new RouteSyncState({ batchMax, waitMs: subackTimeoutMs + proposalDeadlineMs, until: suback });
    this.#shapes = new RouteShapes(settings.shapesMax, kind.endOf);
    const rows = tableRows(db, kind.table, kind.endOf === undefined);
    this.#matcher = new RouteMatcher(rows, this.#shapes, settings.seeksMax, byteString(this.#self));
    const { metrics } = env;
    this.#notEffective = metrics.counter('starmesh_suback_not_effective_total', 'Route writes that were committed but not seen everywhere in time');
    this.#failures = metrics.counter('starmesh_route_write_failures_total', 'Route writes that failed and are tried again');
    this.#mended = metrics.counter('starmesh_routes_mended_total', 'Own routes found missing or left over, and written again');
    this.#outOfSync = metrics.counter('starmesh_route_match_out_of_sync_total', 'Matches made while the route shard was not in sync here');
    this.#mendAt = this.#clock.now() + settings.mendMs;
    this.#unsubscribe = db.subscribe(kind.table.shard, this.#feed());
    db.onIncarnation(() => {
      this.#state.renew();
      this.#scheduleFlush();
    });
    this.#arm();
  }

  /** Rows. */
  get count(): number {
    return this.#shapes.total;
  }

  /** Which rows there are is known: `count` and `nodes` say all. */
  get complete(): boolean {
    return this.#shapes.complete;
  }

  /** Certainly no row. */
  get empty(): boolean {
    return this.#shapes.total === 0 && this.#shapes.complete && !this.#shapes.doubtful;
  }

  /** Nodes that have rows, each as a string of its 16 bytes. */
  nodes(): Iterable<string> {
    return this.#shapes.nodes();
  }

  /** Nothing is in flight or left to write, and the shapes are known. */
  get quiet(): boolean {
    return this.#state.quiet && this.#shapes.complete && !this.#shapes.counting && this.#suspects.size === 0;
  }

  add(name: string, done: (outcome: RouteOutcome) => void): void {
    if (this.#state.add(name, done, this.#clock.now())) {
      done(this.#settings.suback);
      return;
    }
    this.#scheduleFlush();
  }

  remove(name: string): void {
    this.#state.remove(name);
    this.#scheduleFlush();
  }

  /** The content of the name's row has changed. Nobody waits. */
  touch(name: string): void {
    this.#state.touch(name);
    this.#scheduleFlush();
  }

  /** Calls `visit` with the key of each matching row until it returns false. False: it gave up at its bound. */
  match(topicName: string, visit: (key: Uint8Array) => boolean): boolean {
    if (!this.#db.inSync(this.#kind.table.shard)) this.#outOfSync.value++;
    return this.#matcher.match(topicName, visit);
  }

  close(): void {
    this.#closed = true;
    this.#counter++;
    this.#timer?.cancel();
    this.#unsubscribe();
  }

  // ---- writing ----

  #scheduleFlush(): void {
    if (this.#flushScheduled || this.#closed) return;
    this.#flushScheduled = true;
    this.#clock.endOfTurn(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#closed) return;
    for (let batch = this.#state.take(this.#clock.now()); batch !== undefined; batch = this.#state.take(this.#clock.now())) this.#write(batch);
    this.#arm();
  }

  #write(batch: RouteBatch): void {
    const kind = this.#kind;
    const self = this.#self;
    const { table } = kind;
    const ops: Op[] = [];
    for (const name of batch.deletes) ops.push({ kind: 'delete', table, key: kind.key(name, self) });
    for (const name of batch.puts) ops.push({ kind: 'put', table, key: kind.key(name, self), value: kind.content(name), owner: 'self' });
    const effective = batch.fresh && this.#settings.suback === 'effective';
    const { subackTimeoutMs, proposalDeadlineMs } = this.#settings;
    const options = effective
      ? { until: 'effective' as const, deadlineMs: subackTimeoutMs }
      : { until: 'committed' as const, deadlineMs: proposalDeadlineMs };
    this.#db.write(table.shard, ops, options, (failure) => {
      const result = this.#result(failure, effective);
      this.#state.finished(batch, result, this.#clock.now());
      this.#scheduleFlush();
    });
  }

  #result(failure: WriteFailure | undefined, effective: boolean): BatchResult {
    if (failure === undefined) return effective ? 'effective' : 'committed';
    if (failure.kind === 'not-effective') {
      this.#notEffective.value++;
      return 'committed';
    }
    this.#failures.value++;
    if (failure.kind === 'refused') {
      this.#log.warn('route write was refused', { message: failure.message });
      return 'refused';
    }
    return 'retry';
  }

  // ---- the change feed ----

  #feed(): Feed {
    return {
      reset: () => {
        this.#kind.changed(undefined);
        this.#shapes.reset();
        this.#startCount();
      },
      change: (table, key, row) => {
        if (table.id === this.#kind.table.id) this.#onChange(key, row);
      },
      purged: (nodeId, incarnation) => {
        const bytes = fromHex(nodeId);
        if (bytes !== undefined) {
          const node = byteString(bytes);
          this.#shapes.purge(node);
          for (const name of this.#known) if (name.endsWith(node)) this.#known.delete(name);
        }
        this.#kind.changed(undefined);
        this.#kind.purged?.(nodeId, incarnation);
      },
      applied: () => {},
    };
  }

  #onChange(key: Uint8Array, row: Row | undefined): void {
    if (row === undefined) {
      // A row that was not there may be deleted, too: by who cannot know what became of the write before.
      if (this.#kind.rewritten !== true || this.#known.delete(byteString(key))) this.#shapes.remove(key);
    } else if (this.#isNew(key)) this.#shapes.put(key);
    const name = this.#kind.name(key);
    if (name === undefined) return;
    if (!this.#isOwn(key)) this.#kind.changed(name);
    else if (this.#state.wants(name) !== (row !== undefined)) this.#suspect(name);
  }

  /** Of a rewritten kind only rows that were not there are; beyond the bound nobody knows, and the next count tells. */
  #isNew(key: Uint8Array): boolean {
    if (this.#kind.rewritten !== true) return true;
    const name = byteString(key);
    if (this.#known.has(name)) return false;
    if (this.#known.size < knownMax) this.#known.add(name);
    else this.#shapes.doubt();
    return true;
  }

  #isOwn(key: Uint8Array): boolean {
    const at = key.length - nodeIdLength;
    for (let i = 0; i < nodeIdLength; i++) if (key[at + i] !== this.#self[i]) return false;
    return true;
  }

  // ---- counting the shapes, in slices ----

  #startCount(): void {
    this.#shapes.beginCount();
    this.#known.clear();
    this.#cursor = emptyBytes;
    this.#countedAt = this.#clock.now();
    const counter = ++this.#counter;
    this.#clock.setTimer(0, () => this.#countSlice(counter));
  }

  #countSlice(counter: number): void {
    if (counter !== this.#counter || this.#cursor === undefined) return;
    let rows = 0;
    let last: Uint8Array | undefined;
    this.#db.range(this.#kind.table, this.#cursor, undefined, (key) => {
      if (rows === this.#settings.sliceRows) {
        last = copyBytes(key);
        return false;
      }
      rows++;
      if (this.#isNew(key)) this.#shapes.counted(key);
      if (this.#isOwn(key)) this.#suspectGhost(key);
      return true;
    });
    this.#cursor = last;
    if (last !== undefined) {
      this.#clock.setTimer(this.#settings.slicePauseMs, () => this.#countSlice(counter));
      return;
    }
    this.#shapes.finishCount();
    this.#kind.changed(undefined);
  }

  // ---- mending: this node's rows against its live subscriptions ----

  #suspectGhost(key: Uint8Array): void {
    const name = this.#kind.name(key);
    if (name !== undefined && !this.#state.wants(name)) this.#suspect(name);
  }

  #suspect(name: string): void {
    if (this.#suspects.size < this.#settings.suspectsMax) this.#suspects.add(name);
  }

  #mend(): void {
    // Behind the others the table says nothing about what was committed.
    if (!this.#db.inSync(this.#kind.table.shard) || this.#db.incarnation === 0) return;
    const check = (name: string): void => {
      if (this.#state.busy(name)) return;
      const wanted = this.#state.wants(name);
      const row = this.#db.get(this.#kind.table, this.#kind.key(name, this.#self));
      const good = row !== undefined && row.owner === this.#db.incarnation;
      if (good === wanted && (row === undefined || !wanted || compareBytes(row.value, this.#kind.content(name)) === 0)) return;
      this.#mended.value++;
      this.#state.mend(name);
    };
    for (const name of this.#suspects) {
      // A change under way may be older than what the feed has shown: looked at again when it is over.
      if (this.#state.busy(name)) continue;
      this.#suspects.delete(name);
      check(name);
    }
    this.#state.sweep(this.#settings.mendFilters, check);
  }

  // ---- time ----

  #arm(): void {
    if (this.#closed) return;
    const now = this.#clock.now();
    const busy = this.#state.waiting || this.#state.retryAt(now) !== undefined;
    const at = busy ? Math.min(this.#mendAt, now + busyTickMs) : this.#mendAt;
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.setTimer(Math.max(0, at - now), () => this.#tick());
  }

  #tick(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    this.#state.expire(now);
    if (now >= this.#mendAt) {
      this.#mendAt = now + this.#settings.mendMs;
      this.#mend();
      if (this.#shapes.doubtful && !this.#shapes.counting && now - this.#countedAt >= this.#settings.recountMs) this.#startCount();
    }
    this.#flush();
  }
}
