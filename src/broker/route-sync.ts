// Routes over the replicated database (broker.md, Routes and "SUBACK means everywhere"): implements
// Routes. Decisions are the router room's (RouteSyncState: what to write; RouteMatcher: what matches);
// here they meet the database: batches per turn, the change feed, counting in slices, mending.
//
// Invariants: this node's own rows never count as a match; the cache only holds what the feed has not
// contradicted; a SUBACK that says 'effective' had every connected and `normal` node see the row.
import { byteString, copyBytes, emptyBytes, fromHex, toHex } from '#base/bytes.js';
import type { Database, Feed, Op, WriteFailure } from '#db/api.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Logger } from '#env/logger.js';
import type { Counter, Metrics } from '#env/metrics.js';
import { MatchCache } from '#router/match-cache.js';
import { decodeRouteFilter, encodeRouteKey, endOfLevels, levelsLength, nodeIdLength, routeKeyBytesMax } from '#router/route-key.js';
import { RouteMatcher, type RouteRows } from '#router/route-match.js';
import { RouteShapes } from '#router/route-shapes.js';
import { type BatchResult, type RouteBatch, RouteSyncState } from '#router/route-sync-state.js';
import type { RemoteTarget, RouteOutcome, Routes } from './ports.js';
import { routeTable } from './schema.js';

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
  seeksMax: 10_000,
  sliceRows: 2_000,
  slicePauseMs: 1,
  recountMs: 60_000,
  mendMs: 1_000,
  mendFilters: 2_000,
  suspectsMax: 10_000,
};

/** While somebody waits or a retry is due, the clock is looked at this often. */
const busyTickMs = 50;

export interface RouteSyncEnv {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export interface RouteSyncHooks {
  /** Name of a member, for `topics list`; the nodeId stands in when it is unknown. */
  readonly nodeName?: (nodeId: string) => string | undefined;
  /** A node's incarnation was purged from the routes: the forwarder gives up on it. */
  readonly onPurged?: (nodeId: string, incarnation: number) => void;
}

export class RouteSync implements Routes {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #db: Database;
  readonly #settings: RouteSyncSettings;
  readonly #hooks: RouteSyncHooks;
  readonly #self: Uint8Array;
  readonly #selfName: string;
  readonly #state: RouteSyncState;
  readonly #shapes: RouteShapes;
  readonly #matcher: RouteMatcher;
  readonly #cache: MatchCache<readonly RemoteTarget[]>;
  readonly #targets: Map<string, RemoteTarget> = new Map();
  readonly #suspects: Set<string> = new Set();
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
  readonly #gaveUp: Counter;
  readonly #outOfSync: Counter;

  constructor(env: RouteSyncEnv, db: Database, settings: Partial<RouteSyncSettings> = {}, hooks: RouteSyncHooks = {}) {
    this.#clock = env.clock;
    this.#log = env.log;
    this.#db = db;
    this.#settings = { ...routeSyncSettings, ...settings };
    this.#hooks = hooks;
    this.#self = fromHex(db.nodeId) ?? emptyBytes;
    this.#selfName = byteString(this.#self);
    const { subackTimeoutMs, proposalDeadlineMs, batchMax, suback } = this.#settings;
    this.#state = new RouteSyncState({ batchMax, waitMs: subackTimeoutMs + proposalDeadlineMs, until: suback });
    this.#shapes = new RouteShapes(this.#settings.shapesMax);
    this.#matcher = new RouteMatcher(tableRows(db), this.#shapes, this.#settings.seeksMax);
    this.#cache = new MatchCache(this.#settings.cacheEntriesMax);
    const { metrics } = env;
    this.#notEffective = metrics.counter('starmesh_suback_not_effective_total', 'Route writes that were committed but not seen everywhere in time');
    this.#failures = metrics.counter('starmesh_route_write_failures_total', 'Route writes that failed and are tried again');
    this.#mended = metrics.counter('starmesh_routes_mended_total', 'Own routes found missing or left over, and written again');
    this.#gaveUp = metrics.counter('starmesh_route_match_overflow_total', 'Matches that took every node because too many filters were in question');
    this.#outOfSync = metrics.counter('starmesh_route_match_out_of_sync_total', 'Matches made while the route shard was not in sync here');
    metrics.gaugeFn('starmesh_routes', 'Rows of the route table', {}, () => this.count);
    this.#mendAt = this.#clock.now() + this.#settings.mendMs;
    this.#unsubscribe = db.subscribe(routeTable.shard, this.#feed());
    db.onIncarnation(() => {
      this.#state.renew();
      this.#scheduleFlush();
    });
    this.#arm();
  }

  get count(): number {
    return this.#shapes.total;
  }

  /** Nothing is in flight or left to write, and the shapes are known. */
  get quiet(): boolean {
    return this.#state.quiet && this.#shapes.complete && !this.#shapes.counting && this.#suspects.size === 0;
  }

  add(topicFilter: string, done: (outcome: RouteOutcome) => void): void {
    if (levelsLength(topicFilter) + 1 + nodeIdLength > routeKeyBytesMax) {
      done('failed');
      return;
    }
    if (this.#state.add(topicFilter, done, this.#clock.now())) {
      done(this.#settings.suback);
      return;
    }
    this.#scheduleFlush();
  }

  remove(topicFilter: string): void {
    this.#state.remove(topicFilter);
    this.#scheduleFlush();
  }

  match(topicName: string): readonly RemoteTarget[] {
    const cached = this.#cache.get(topicName);
    if (cached !== undefined) return cached;
    const targets = this.#lookUp(topicName);
    this.#cache.set(topicName, targets);
    return targets;
  }

  list(visit: (topicFilter: string, nodeName: string) => boolean): void {
    this.#db.range(routeTable, emptyBytes, undefined, (key) => {
      const topicFilter = decodeRouteFilter(key);
      if (topicFilter === undefined) return true;
      const nodeId = toHex(key.subarray(key.length - nodeIdLength));
      return visit(topicFilter, this.#hooks.nodeName?.(nodeId) ?? nodeId);
    });
  }

  close(): void {
    this.#closed = true;
    this.#counter++;
    this.#timer?.cancel();
    this.#unsubscribe();
  }

  // ---- matching ----

  #lookUp(topicName: string): readonly RemoteTarget[] {
    if (!this.#db.inSync(routeTable.shard)) this.#outOfSync.value++;
    const found = new Set<RemoteTarget>();
    const others = this.#shapes.complete ? this.#otherNodes() : Number.POSITIVE_INFINITY;
    if (others === 0) return [];
    const sure = this.#matcher.match(topicName, (key) => {
      const node = byteString(key.subarray(key.length - nodeIdLength));
      if (node !== this.#selfName) found.add(this.#target(node, key));
      return found.size < others;
    });
    if (!sure) {
      this.#gaveUp.value++;
      for (const node of this.#shapes.nodes()) if (node !== this.#selfName) found.add(this.#target(node, undefined));
    }
    return [...found];
  }

  #otherNodes(): number {
    let n = 0;
    for (const node of this.#shapes.nodes()) if (node !== this.#selfName) n++;
    return n;
  }

  #target(node: string, key: Uint8Array | undefined): RemoteTarget {
    let target = this.#targets.get(node);
    if (target === undefined) {
      const bytes = key?.subarray(key.length - nodeIdLength) ?? Uint8Array.from(node, (c) => c.charCodeAt(0));
      target = { nodeId: toHex(bytes) };
      this.#targets.set(node, target);
    }
    return target;
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
    const ops: Op[] = [];
    for (const f of batch.deletes) ops.push({ kind: 'delete', table: routeTable, key: encodeRouteKey(f, this.#self) });
    for (const f of batch.puts) ops.push({ kind: 'put', table: routeTable, key: encodeRouteKey(f, this.#self), value: emptyBytes, owner: 'self' });
    const effective = batch.puts.length > 0 && this.#settings.suback === 'effective';
    const { subackTimeoutMs, proposalDeadlineMs } = this.#settings;
    const options = effective
      ? { until: 'effective' as const, deadlineMs: subackTimeoutMs }
      : { until: 'committed' as const, deadlineMs: proposalDeadlineMs };
    this.#db.write(routeTable.shard, ops, options, (failure) => {
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
        this.#cache.clear();
        this.#shapes.reset();
        this.#startCount();
      },
      change: (_table, key, row) => this.#onChange(key, row !== undefined),
      purged: (nodeId, incarnation) => {
        const bytes = fromHex(nodeId);
        if (bytes !== undefined) this.#shapes.purge(byteString(bytes));
        this.#cache.clear();
        this.#hooks.onPurged?.(nodeId, incarnation);
      },
      applied: () => {},
    };
  }

  #onChange(key: Uint8Array, present: boolean): void {
    if (present) this.#shapes.put(key);
    else this.#shapes.remove(key);
    const topicFilter = decodeRouteFilter(key);
    if (topicFilter === undefined) return;
    if (!this.#isOwn(key)) this.#cache.changed(topicFilter);
    else if (this.#state.wants(topicFilter) !== present) this.#suspect(topicFilter);
  }

  #isOwn(key: Uint8Array): boolean {
    const at = key.length - nodeIdLength;
    for (let i = 0; i < nodeIdLength; i++) if (key[at + i] !== this.#self[i]) return false;
    return true;
  }

  // ---- counting the shapes, in slices ----

  #startCount(): void {
    this.#shapes.beginCount();
    this.#cursor = emptyBytes;
    this.#countedAt = this.#clock.now();
    const counter = ++this.#counter;
    this.#clock.setTimer(0, () => this.#countSlice(counter));
  }

  #countSlice(counter: number): void {
    if (counter !== this.#counter || this.#cursor === undefined) return;
    let rows = 0;
    let last: Uint8Array | undefined;
    this.#db.range(routeTable, this.#cursor, undefined, (key) => {
      if (rows === this.#settings.sliceRows) {
        last = copyBytes(key);
        return false;
      }
      rows++;
      this.#shapes.counted(key);
      if (this.#isOwn(key)) this.#suspectGhost(key);
      return true;
    });
    this.#cursor = last;
    if (last !== undefined) {
      this.#clock.setTimer(this.#settings.slicePauseMs, () => this.#countSlice(counter));
      return;
    }
    this.#shapes.finishCount();
    this.#cache.clear();
  }

  // ---- mending: this node's rows against its live subscriptions ----

  #suspectGhost(key: Uint8Array): void {
    const topicFilter = decodeRouteFilter(key);
    if (topicFilter !== undefined && !this.#state.wants(topicFilter)) this.#suspect(topicFilter);
  }

  #suspect(topicFilter: string): void {
    if (this.#suspects.size < this.#settings.suspectsMax) this.#suspects.add(topicFilter);
  }

  #mend(): void {
    // Behind the others the table says nothing about what was committed.
    if (!this.#db.inSync(routeTable.shard) || this.#db.incarnation === 0) return;
    const check = (topicFilter: string): void => {
      if (this.#state.busy(topicFilter)) return;
      const row = this.#db.get(routeTable, encodeRouteKey(topicFilter, this.#self));
      const good = row !== undefined && row.owner === this.#db.incarnation;
      if (good === this.#state.wants(topicFilter)) return;
      this.#mended.value++;
      this.#state.mend(topicFilter);
    };
    for (const topicFilter of this.#suspects) {
      // A change under way may be older than what the feed has shown: looked at again when it is over.
      if (this.#state.busy(topicFilter)) continue;
      this.#suspects.delete(topicFilter);
      check(topicFilter);
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

function tableRows(db: Database): RouteRows {
  return {
    prefix(prefix, visit) {
      // Prefixes end with the end mark: the first key beyond has the next byte there.
      const end = copyBytes(prefix);
      end[end.length - 1] = endOfLevels + 1;
      db.range(routeTable, prefix, end, visit);
    },
    seek(key) {
      return db.seek(routeTable, key)?.key;
    },
  };
}
