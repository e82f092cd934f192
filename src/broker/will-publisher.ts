// Publishes the wills whose nodes are gone: at the leader of each registry shard, when they are due (registered-wills.ts).
// It looks through the wills for those whose node's incarnation is not live any more, a batch at a time, all the time for a
// while after a node was declared down and now and then otherwise, and through the list of due ones, some at a time.
//
// Invariants: only commands decide whose will is whose; a will is published before its row goes, so that the next leader
// publishes what this one has not; its receivers know it by its client's epoch if that happens twice.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { copyBytes, emptyBytes, toHex } from '#base/bytes.js';
import { utf8Decode } from '#base/utf8.js';
import type { Database } from '#db/api.js';
import { encodeKeys } from '#db/command-body.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Counter, Metrics } from '#env/metrics.js';
import type { PublishWill } from './ports.js';
import { decodeDueKey, decodeWills, isForsaken } from './registered-wills.js';
import type { RegistryTable } from './registry-commands.js';
import { registryTables, routeTable } from './schema.js';

export interface WillPublisherOptions {
  readonly tickMs: number;
  /** From the end of one round through the wills to the next, while nothing has happened. */
  readonly everyMs: number;
  /** Rows looked at in a tick. */
  readonly batch: number;
  /** Wills that are published and not accepted yet. */
  readonly openMax: number;
}

export const willPublisherDefaults: WillPublisherOptions = { tickMs: 200, everyMs: 60_000, batch: 2_000, openMax: 500 };

/** After a node was declared down, or this one may have begun to lead, rounds follow each other for so long. */
const suspectMs = 5_000;
const deadlineMs = 5_000;
/** Of one command that changes rows: so many, or so many bytes. */
const foundMax = 200;
const foundBytesMax = 256 * 1024;
/** While a round is under way, ticks are so much shorter. */
const haste = 4;

class Shard {
  readonly table: RegistryTable;
  leads = false;
  /** Where the round is; undefined: it is over. */
  after: Uint8Array | undefined = undefined;
  asking = false;
  /** The newest stamp of the leader, and when it came. */
  stampMs = 0;
  stampedAt = 0;
  /** By key: published or being published, and not deleted yet. */
  readonly open: Set<string> = new Set();
  published: Uint8Array[] = [];
  deleting = false;

  constructor(table: RegistryTable) {
    this.table = table;
  }
}

export class WillPublisher {
  readonly #clock: Clock;
  readonly #db: Database;
  readonly #options: WillPublisherOptions;
  readonly #shards: readonly Shard[] = registryTables.map((table) => new Shard(table));
  readonly #orphans: Counter;
  #publish: PublishWill | undefined = undefined;
  #unsubscribe: () => void = () => {};
  #timer: Timer | undefined = undefined;
  #suspectUntil = 0;
  #nextRoundAt = 0;

  constructor(clock: Clock, metrics: Metrics, db: Database, options: Partial<WillPublisherOptions>) {
    this.#clock = clock;
    this.#db = db;
    this.#options = { ...willPublisherDefaults, ...options };
    this.#orphans = metrics.counter('starmesh_wills_of_lost_nodes_total', 'Wills that were published for a node that was lost');
  }

  start(publish: PublishWill): void {
    this.#publish = publish;
    this.#suspect();
    this.#unsubscribe = this.#db.subscribe(routeTable.shard, {
      reset: () => {},
      change: () => {},
      purged: () => this.#suspect(),
      applied: () => {},
    });
    this.#arm();
  }

  close(): void {
    this.#publish = undefined;
    this.#unsubscribe();
    this.#timer?.cancel();
  }

  #suspect(): void {
    this.#suspectUntil = this.#clock.now() + suspectMs;
    this.#nextRoundAt = this.#clock.now();
  }

  #arm(): void {
    const busy = this.#shards.some((s) => s.leads && s.after !== undefined);
    this.#timer = this.#clock.setTimer(busy ? Math.ceil(this.#options.tickMs / haste) : this.#options.tickMs, () => {
      this.#tick();
      if (this.#publish !== undefined) this.#arm();
    });
  }

  #tick(): void {
    if (this.#db.role !== 'core') return;
    const now = this.#clock.now();
    const begins = now >= this.#nextRoundAt;
    if (begins) this.#nextRoundAt = now < this.#suspectUntil ? now + this.#options.tickMs : now + this.#options.everyMs;
    const status = this.#db.status();
    for (const s of this.#shards) {
      const { shard } = s.table;
      const led = s.leads;
      s.leads = this.#db.holds(shard) && status.some((x) => x.shard === shard && 'core' in x && x.core.state === 'leader');
      if (!s.leads) continue;
      if (s.after === undefined && (begins || !led)) s.after = emptyBytes;
      this.#look(s);
      this.#publishDue(s);
    }
  }

  /** What the shard's leader, this node, would stamp now. */
  #stamp(s: Shard): number {
    return Math.max(this.#clock.wallNow(), s.stampMs === 0 ? 0 : s.stampMs + this.#clock.now() - s.stampedAt);
  }

  /** Whose nodes are gone. */
  #look(s: Shard): void {
    if (s.after === undefined || s.asking) return;
    const { shard } = s.table;
    const { wills } = s.table.wills;
    const found: Uint8Array[] = [];
    const stamp = this.#stamp(s);
    const isLive = (incarnation: number): boolean => this.#db.isLive(shard, incarnation);
    let seen = 0;
    let bytes = 0;
    let full = false;
    let last: Uint8Array = s.after;
    this.#db.range(wills, s.after, undefined, (key, row) => {
      last = copyBytes(key);
      if (readWills(row.value).some((will) => isForsaken(will, isLive, stamp))) {
        found.push(last);
        bytes += row.value.length;
      }
      full = ++seen >= this.#options.batch || found.length >= foundMax || bytes >= foundBytesMax;
      return !full;
    });
    s.after = full ? behind(last) : undefined;
    if (found.length === 0) return;
    s.asking = true;
    this.#db.command(shard, 'willsOrphaned', encodeKeys(found), { deadlineMs }, (failure, result) => {
      s.asking = false;
      if (failure !== undefined) this.#suspect();
      if (failure !== undefined || result.reply.length < 8) return;
      s.stampMs = new ByteReader(result.reply).f64();
      s.stampedAt = this.#clock.now();
    });
  }

  #publishDue(s: Shard): void {
    const stamp = this.#stamp(s);
    const due: Uint8Array[] = [];
    let looked = 0;
    this.#db.range(s.table.wills.due, emptyBytes, undefined, (key) => {
      if ((readDue(key)?.dueMs ?? 0) > stamp) return false;
      if (!s.open.has(toHex(key))) due.push(copyBytes(key));
      return ++looked < 2 * this.#options.openMax;
    });
    for (const key of due) if (s.open.size < this.#options.openMax) this.#publishOne(s, key);
    this.#delete(s);
  }

  #publishOne(s: Shard, key: Uint8Array): void {
    const due = readDue(key);
    const row = due === undefined ? undefined : this.#db.get(s.table.wills.wills, due.key);
    const will = row === undefined ? undefined : readWills(row.value).find((w) => w.epoch === due?.epoch);
    const id = toHex(key);
    s.open.add(id);
    const done = (): void => {
      s.published.push(key);
      this.#delete(s);
    };
    const clientId = due === undefined ? undefined : utf8Decode(due.key);
    if (will === undefined || due === undefined || clientId === undefined) {
      done();
      return;
    }
    this.#orphans.value++;
    this.#publish?.(clientId, due.epoch, will.body, done);
  }

  /** In vain while there is no leader: the rows are still there, and are deleted with the next ones. */
  #delete(s: Shard): void {
    if (s.deleting || s.published.length === 0 || this.#publish === undefined) return;
    s.deleting = true;
    const keys = s.published;
    s.published = [];
    this.#db.command(s.table.shard, 'willsPublished', encodeKeys(keys), { deadlineMs, until: 'applied' }, (failure) => {
      s.deleting = false;
      if (failure === undefined) for (const key of keys) s.open.delete(toHex(key));
      else s.published.push(...keys);
    });
  }
}

/** The next key that there can be. */
function behind(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** None of a row that this version cannot read. */
function readWills(bytes: Uint8Array): ReturnType<typeof decodeWills> {
  try {
    return decodeWills(bytes);
  } catch (error) {
    if (error instanceof MalformedError) return [];
    throw error;
  }
}

function readDue(key: Uint8Array): ReturnType<typeof decodeDueKey> | undefined {
  try {
    return decodeDueKey(key);
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}
