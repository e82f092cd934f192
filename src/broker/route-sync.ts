// Routes over the replicated database (broker.md, Routes and "SUBACK means everywhere"): implements
// Routes over a RouteTable: who of the other nodes gets a message of a topic name, remembered per topic
// name. Shared subscriptions are the business of shared-routes.ts, which this passes them on to.
//
// Invariants: this node's own rows never count as a match; the cache only holds what the feed has not
// contradicted; a SUBACK that says 'effective' had every connected and `normal` node see the row.
import { byteString, emptyBytes, fromHex, toHex } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import type { Database, Table } from '#db/api.js';
import type { Counter } from '#env/metrics.js';
import { isSharedFilter } from '#mqtt/topic.js';
import { MatchCache } from '#router/match-cache.js';
import { decodeRouteFilter, encodeRouteKey, levelsLength, nodeIdLength, routeKeyBytesMax } from '#router/route-key.js';
import type { RemoteTarget, RouteOutcome, Routes } from './ports.js';
import { type RouteSyncEnv, type RouteSyncSettings, RouteTable, routeSyncSettings } from './route-table.js';
import { routeTable, sharedTable } from './schema.js';
import { SharedRouteSync } from './shared-routes.js';

export interface RouteSyncHooks {
  /** Name of a member, for `topics list`; the nodeId stands in when it is unknown. */
  readonly nodeName?: (nodeId: string) => string | undefined;
  /** A node's incarnation was purged from the routes: the forwarder gives up on it. */
  readonly onPurged?: (nodeId: string, incarnation: number) => void;
}

/** Keys of filters under `$SYS/`. */
const systemPrefix = utf8Encode('$SYS\x01');

function isSystem(topicFilter: string): boolean {
  return topicFilter.startsWith('$SYS/') || (isSharedFilter(topicFilter) && topicFilter.includes('/$SYS/'));
}

export class RouteSync implements Routes {
  readonly shared: SharedRouteSync;
  readonly #db: Database;
  readonly #hooks: RouteSyncHooks;
  readonly #selfName: string;
  readonly #table: RouteTable;
  readonly #cache: MatchCache<readonly RemoteTarget[]>;
  readonly #targets: Map<string, RemoteTarget> = new Map();
  readonly #gaveUp: Counter;
  /** This node's own filters under `$SYS/`; whether there are rows of others, undefined: not known. */
  readonly #system: Set<string> = new Set();
  #systemRows: boolean | undefined = undefined;

  constructor(env: RouteSyncEnv, db: Database, settings: Partial<RouteSyncSettings> = {}, hooks: RouteSyncHooks = {}) {
    this.#db = db;
    this.#hooks = hooks;
    this.#selfName = byteString(fromHex(db.nodeId) ?? emptyBytes);
    const all = { ...routeSyncSettings, ...settings };
    this.#cache = new MatchCache(all.cacheEntriesMax);
    this.#table = new RouteTable(env, db, all, {
      table: routeTable,
      key: encodeRouteKey,
      name: decodeRouteFilter,
      content: () => emptyBytes,
      changed: (topicFilter) => this.#changed(topicFilter),
      purged: (nodeId, incarnation) => hooks.onPurged?.(nodeId, incarnation),
    });
    this.shared = new SharedRouteSync(env, db, all, (key) => {
      const node = byteString(key.subarray(key.length - nodeIdLength));
      return node === this.#selfName ? undefined : this.#target(node, key);
    });
    const { metrics } = env;
    this.#gaveUp = metrics.counter('starmesh_route_match_overflow_total', 'Matches that took every node because too many filters were in question');
    metrics.gaugeFn('starmesh_routes', 'Rows of the route table', {}, () => this.count);
  }

  /** Those of shared groups included. */
  get count(): number {
    return this.#table.count + this.shared.count;
  }

  /** Nothing is in flight or left to write, and the shapes are known. */
  get quiet(): boolean {
    return this.#table.quiet && this.shared.quiet;
  }

  add(topicFilter: string, done: (outcome: RouteOutcome) => void): void {
    if (isSystem(topicFilter)) this.#system.add(topicFilter);
    if (isSharedFilter(topicFilter)) this.shared.add(topicFilter, done);
    else if (levelsLength(topicFilter) + 1 + nodeIdLength > routeKeyBytesMax) done('failed');
    else this.#table.add(topicFilter, done);
  }

  remove(topicFilter: string): void {
    if (this.#system.size > 0) this.#system.delete(topicFilter);
    if (isSharedFilter(topicFilter)) this.shared.remove(topicFilter);
    else this.#table.remove(topicFilter);
  }

  get changes(): number {
    return this.#cache.changes;
  }

  match(topicName: string): readonly RemoteTarget[] {
    const cached = this.#cache.get(topicName);
    if (cached !== undefined) return cached;
    const targets = this.#lookUp(topicName);
    this.#cache.set(topicName, targets);
    return targets;
  }

  systemWanted(): boolean {
    if (this.#system.size > 0) return true;
    this.#systemRows ??= this.#hasSystem(routeTable);
    return this.#systemRows || (!this.shared.empty && this.#hasSystem(sharedTable));
  }

  #hasSystem(table: Table): boolean {
    const found = this.#db.seek(table, systemPrefix);
    return found !== undefined && systemPrefix.every((byte, i) => found.key[i] === byte);
  }

  #changed(topicFilter: string | undefined): void {
    if (topicFilter === undefined || isSystem(topicFilter)) this.#systemRows = undefined;
    if (topicFilter === undefined) this.#cache.clear();
    else this.#cache.changed(topicFilter);
  }

  list(visit: (topicFilter: string, nodeName: string) => boolean): void {
    let going = true;
    const show = (topicFilter: string, nodeId: string): boolean => {
      going = visit(topicFilter, this.#hooks.nodeName?.(nodeId) ?? nodeId);
      return going;
    };
    this.#db.range(routeTable, emptyBytes, undefined, (key) => {
      const topicFilter = decodeRouteFilter(key);
      return topicFilter === undefined || show(topicFilter, toHex(key.subarray(key.length - nodeIdLength)));
    });
    if (going) this.shared.list(show);
  }

  close(): void {
    this.#table.close();
    this.shared.close();
  }

  #lookUp(topicName: string): readonly RemoteTarget[] {
    const found = new Set<RemoteTarget>();
    const others = this.#table.complete ? this.#otherNodes() : Number.POSITIVE_INFINITY;
    if (others === 0) return [];
    const sure = this.#table.match(topicName, (key) => {
      const node = byteString(key.subarray(key.length - nodeIdLength));
      if (node !== this.#selfName) found.add(this.#target(node, key));
      return found.size < others;
    });
    if (!sure) {
      this.#gaveUp.value++;
      for (const node of this.#table.nodes()) if (node !== this.#selfName) found.add(this.#target(node, undefined));
    }
    return [...found];
  }

  #otherNodes(): number {
    let n = 0;
    for (const node of this.#table.nodes()) if (node !== this.#selfName) n++;
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
}
