// Which nodes have members of which shared groups, over the replicated database (broker.md, Shared
// subscriptions): implements SharedRoutes, and the half of Routes for `$share/GROUP/FILTER`, under
// route-sync.ts. A row (filter, group, node) says how many members a node has, connected and away; it
// is put for the first member, put again when the numbers change, and deleted with the last.
//
// Whoever reads old numbers picks a node that has none left: that node refuses, and another is picked.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes, toHex } from '#base/bytes.js';
import type { Database } from '#db/api.js';
import type { Counter } from '#env/metrics.js';
import { formatTopicFilter, parseTopicFilter } from '#mqtt/topic.js';
import { decodeSharedKey, encodeSharedKey, levelsLength, nodeIdLength, routeKeyBytesMax, sharedKeyEnd } from '#router/route-key.js';
import type { MemberCounts, RemoteTarget, RouteOutcome, SharedRoutes, SharedRow } from './ports.js';
import { type RouteSyncEnv, type RouteSyncSettings, RouteTable } from './route-table.js';
import { sharedTable } from './schema.js';

/** Before the broker serves its counts: a member is there, or the row would not be wanted. */
const oneAway: MemberCounts = { here: 0, away: 1 };
/** Bytes of a UTF-16 unit in UTF-8, at most. */
const utf8BytesMax = 3;

export class SharedRouteSync implements SharedRoutes {
  counts: (name: string) => MemberCounts = () => oneAway;
  onChange: (topicFilter: string | undefined) => void = () => {};
  readonly #db: Database;
  readonly #table: RouteTable;
  readonly #gaveUp: Counter;
  readonly #targetOf: (key: Uint8Array) => RemoteTarget | undefined;

  /** `targetOf`: the node of a row's key; undefined for this one. */
  constructor(env: RouteSyncEnv, db: Database, settings: RouteSyncSettings, targetOf: (key: Uint8Array) => RemoteTarget | undefined) {
    this.#db = db;
    this.#targetOf = targetOf;
    this.#gaveUp = env.metrics.counter(
      'starmesh_shared_match_overflow_total',
      'Matches that may have missed shared groups because too many filters were in question',
    );
    this.#table = new RouteTable(env, db, settings, {
      table: sharedTable,
      endOf: sharedKeyEnd,
      rewritten: true,
      key: (name, self) => {
        const { topicFilter, group } = parse(name);
        return encodeSharedKey(topicFilter, group, self);
      },
      name: (key) => {
        const parts = decodeSharedKey(key);
        return parts === undefined ? undefined : formatTopicFilter(parts);
      },
      content: (name) => encodeCounts(this.counts(name)),
      changed: (name) => this.onChange(name === undefined ? undefined : parse(name).topicFilter),
    });
  }

  get nodeId(): string {
    return this.#db.nodeId;
  }

  get count(): number {
    return this.#table.count;
  }

  get quiet(): boolean {
    return this.#table.quiet;
  }

  get empty(): boolean {
    return this.#table.empty;
  }

  add(filter: string, done: (outcome: RouteOutcome) => void): void {
    const { topicFilter, group } = parse(filter);
    if (levelsLength(topicFilter) + 1 + utf8BytesMax * group.length + nodeIdLength > routeKeyBytesMax) done('failed');
    else this.#table.add(canonical(filter), done);
  }

  remove(filter: string): void {
    this.#table.remove(canonical(filter));
  }

  changed(name: string): void {
    this.#table.touch(name);
  }

  match(topicName: string): readonly SharedRow[] {
    const keys: Uint8Array[] = [];
    const sure = this.#table.match(topicName, (key) => {
      keys.push(Uint8Array.from(key));
      return true;
    });
    if (!sure) this.#gaveUp.value++;
    const rows: SharedRow[] = [];
    for (const key of keys) {
      const target = this.#targetOf(key);
      const parts = decodeSharedKey(key);
      const row = target === undefined || parts === undefined ? undefined : this.#db.get(sharedTable, key);
      if (target === undefined || parts === undefined || row === undefined) continue;
      rows.push({ name: formatTopicFilter(parts), target, ...decodeCounts(row.value) });
    }
    return rows;
  }

  list(visit: (filter: string, nodeId: string) => boolean): void {
    this.#db.range(sharedTable, emptyBytes, undefined, (key) => {
      const parts = decodeSharedKey(key);
      return parts === undefined || visit(formatTopicFilter(parts), toHex(key.subarray(key.length - nodeIdLength)));
    });
  }

  close(): void {
    this.#table.close();
  }
}

/** `$queue/FILTER` and `$share/$queue/FILTER` are one group. */
function canonical(filter: string): string {
  return formatTopicFilter(parse(filter));
}

function parse(name: string): { readonly topicFilter: string; readonly group: string } {
  // Levels were counted when the client subscribed.
  const parsed = parseTopicFilter(name, Number.POSITIVE_INFINITY);
  return { topicFilter: parsed?.topicFilter ?? name, group: parsed?.group ?? '' };
}

export function encodeCounts(counts: MemberCounts): Uint8Array {
  const w = new ByteWriter(4);
  w.varint(counts.here);
  w.varint(counts.away);
  return w.finish();
}

/** Of a row that says anything else, nothing is known but that somebody may be there. */
export function decodeCounts(bytes: Uint8Array): MemberCounts {
  try {
    const r = new ByteReader(bytes);
    const counts = { here: r.varint(), away: r.varint() };
    r.done();
    return counts;
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return oneAway;
  }
}
