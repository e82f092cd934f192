// One node's copy of a shard: the table store of its current generation, the reader, the feeds,
// and the queue of committed entries on their way into the tables. Cores and replicants use it
// alike; who hands it entries (Raft or the log stream) is not its business.
//
// What is applied is seen at once, from the memory in front of the store (store/buffered-tables.ts), and
// committed to the store later. Invariants: one batch is under way at a time; `appliedIndex` and the readers'
// live set move when it is seen, then the feeds hear of it, then `onApplied` runs, never inside `enqueue`.
import { assert, defined } from '#base/assert.js';
import { Deque } from '#base/deque.js';
import type { Env } from '#env/env.js';
import type { Counter } from '#env/metrics.js';
import { type DamagedTablesError, type TableStore, TablesError } from '#env/tables.js';
import { BufferedTables } from '#store/buffered-tables.js';
import type { Feed, Row, ShardSchema, Table } from './api.js';
import { type AppliedEntry, type ApplyBatch, ApplyCursor } from './apply.js';
import type { DbBounds } from './bounds.js';
import { LiveSet } from './live-set.js';
import { Pacer } from './pacer.js';
import { ShardReader } from './shard-reader.js';
import { encodePosition, loadSystem, metaKey, type Position } from './system-rows.js';

export interface ShardStateOptions {
  readonly env: Env;
  readonly schema: ShardSchema;
  readonly bounds: DbBounds;
  /** Batches of a busy shard are at least so far apart, whatever they carry; 0: as close as entries come. */
  readonly pauseMs?: number;
  /** A batch is seen by readers, and the feeds have seen it. */
  readonly onApplied: (index: number) => void;
  /** The store refused a batch: the node must stop serving this shard. */
  readonly onFailure: (error: TablesError) => void;
  /** A row is not what was written (told once per copy): this copy is of no use any more. The read that found it throws. */
  readonly onDamage: (error: TablesError) => void;
}

/** An opened generation of a shard's tables. */
export interface OpenGeneration {
  readonly number: number;
  readonly store: TableStore;
  /** Empty, because the one that was there is damaged. */
  readonly anew?: true;
}

export class ShardState {
  readonly schema: ShardSchema;
  readonly reader: ShardReader;
  generation: number;
  /** What readers see. */
  appliedIndex: number;
  /** Transactions applied since this process started. */
  transactionsSinceStart = 0;
  /** A batch was refused, or a row is damaged: nothing is applied any more, until another copy takes over. */
  failed = false;
  /** It began empty, because the copy that was there is damaged. */
  readonly anew: boolean;
  #damaged = false;
  #minded: TableStore | undefined;
  readonly #options: ShardStateOptions;
  readonly #tables: Map<number, Table> = new Map();
  readonly #feeds: Set<Feed> = new Set();
  readonly #queue: Deque<AppliedEntry> = new Deque();
  readonly #pacer: Pacer;
  #buffer: BufferedTables;
  readonly #full: Counter;
  #scheduled = false;
  #cursor: ApplyCursor;
  #writing = false;
  #closed = false;
  #queuedIndex: number;
  #queuedTerm: number;
  #queuedBytes = 0;
  #paused: (() => void) | undefined;

  constructor(options: ShardStateOptions, opened: OpenGeneration) {
    this.#options = options;
    this.schema = options.schema;
    const { name: shard } = options.schema;
    this.#full = options.env.metrics.counter('starmesh_tables_full_total', 'Batches that waited until the tables had taken what is in memory', {
      shard,
    });
    for (const t of options.schema.tables) this.#tables.set(t.id, t);
    this.#pacer = new Pacer(options.env.clock, options.pauseMs === undefined ? 0 : options.bounds.applyCoalesceMs);
    this.anew = opened.anew === true;
    this.#mind(opened.store);
    const system = loadSystem(opened.store);
    this.#cursor = new ApplyCursor(system, options.env.hash);
    this.#buffer = this.#buffered(opened.store);
    this.reader = new ShardReader(this.#buffer, new LiveSet(system.live), options.schema.tables, options.env.hash);
    this.generation = opened.number;
    this.appliedIndex = system.position.appliedIndex;
    this.#queuedIndex = this.appliedIndex;
    this.#queuedTerm = system.position.appliedTerm;
  }

  #buffered(store: TableStore): BufferedTables {
    const { env, bounds } = this.#options;
    return new BufferedTables(store, {
      clock: env.clock,
      random: () => env.random.next(),
      commitMs: bounds.tableCommitMs,
      commitRows: bounds.tableCommitRows,
      commitBytes: bounds.tableCommitBytes,
      onFull: () => this.#full.value++,
      onFailure: (error) => this.#fail(error),
    });
  }

  #fail(error: TablesError): void {
    if (this.#closed || this.failed) return;
    this.failed = true;
    this.#options.onFailure(error);
  }

  get store(): TableStore {
    return this.#buffer;
  }

  /** Commits to the tables since this process started, or since they were swapped. */
  get commits(): number {
    return this.#buffer.commits;
  }

  /** A row of this copy was found damaged. */
  get damaged(): boolean {
    return this.#damaged;
  }

  #mind(store: TableStore): void {
    this.#minded = store;
    store.onDamage = (error) => {
      if (store === this.#minded) this.noteDamage(error);
    };
  }

  /** What was read is not what was written. */
  noteDamage(error: DamagedTablesError): void {
    if (this.#damaged || this.#closed) return;
    this.#damaged = true;
    this.#options.onDamage(error);
  }

  /** The cursor's: ahead of readers while a batch is being committed. */
  get cursor(): ApplyCursor {
    return this.#cursor;
  }

  get position(): Position {
    return this.#cursor.system.position;
  }

  /** Last index handed to `enqueue`. */
  get queuedIndex(): number {
    return this.#queuedIndex;
  }

  /** Term of the entry at `queuedIndex`. */
  get queuedTerm(): number {
    return this.#queuedTerm;
  }

  /** Data of entries received and not applied yet, counted like the log stream's credit. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Entries received and not yet in a batch. */
  get queueLength(): number {
    return this.#queue.length;
  }

  get idle(): boolean {
    return !this.#writing && this.#queue.length === 0;
  }

  table(id: number): Table | undefined {
    return this.#tables.get(id);
  }

  /** Committed entries, contiguous. */
  enqueue(entries: readonly AppliedEntry[]): void {
    for (const e of entries) {
      assert(e.index === this.#queuedIndex + 1, `${this.schema.name}: entry ${e.index} after ${this.#queuedIndex}`);
      this.#queuedIndex = e.index;
      this.#queuedTerm = e.term;
      this.#queuedBytes += entryBytes(e);
      this.#queue.push(e);
    }
    this.#schedule();
  }

  /** With everything that the turn brings, and never inside a caller's own step. */
  #schedule(): void {
    if (this.#scheduled || this.#queue.length === 0) return;
    this.#scheduled = true;
    this.#options.env.clock.endOfTurn(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#writing || this.#closed || this.failed) return;
    if (this.#paused !== undefined) {
      const paused = this.#paused;
      this.#paused = () => {};
      paused();
      return;
    }
    if (this.#queue.length === 0 || this.#pacer.holds(() => this.#pump())) return;
    const startedAt = this.#options.env.clock.now();
    const batch = this.#cursor.begin(this.#feeds.size > 0);
    let bytes = 0;
    for (;;) {
      const entry = this.#queue.peek();
      if (entry === undefined || batch.writes.length >= this.#options.bounds.applyRowsMax) break;
      try {
        if (!this.#cursor.add(batch, entry, this.store)) break;
      } catch (error) {
        // Rows that a sweep had to look at are damaged: what the cursor knows is half done, and goes with this copy.
        if (!(error instanceof TablesError) || !this.#damaged) throw error;
        this.failed = true;
        return;
      }
      this.#queue.shift();
      bytes += entryBytes(entry);
    }
    this.#cursor.finish(batch);
    this.#writing = true;
    const store = this.#buffer;
    store.write(batch.writes, (error) => {
      if (this.#closed || store !== this.#buffer) return;
      this.#writing = false;
      if (error !== undefined) return this.#fail(error);
      this.#queuedBytes -= bytes;
      const now = this.#options.env.clock.now();
      this.#pacer.ran(now, batch.transactions, Math.max(this.#options.pauseMs ?? 0, (now - startedAt) * pausePerBatch));
      this.#seen(batch);
      if (this.#paused !== undefined) this.#pump();
      else this.#schedule();
    });
  }

  #seen(batch: ApplyBatch): void {
    for (const id of batch.longTables) this.reader.noteLongKey(id);
    this.appliedIndex = batch.position.appliedIndex;
    this.transactionsSinceStart += batch.transactions;
    for (const op of batch.feed) {
      if (op.kind === 'admitted') this.reader.live.admit(op.nodeId, op.incarnation);
      else if (op.kind === 'purged') this.reader.live.purge(op.nodeId, op.incarnation);
    }
    for (const feed of this.#feeds) this.#tell(feed, batch);
    this.#options.onApplied(this.appliedIndex);
  }

  #tell(feed: Feed, batch: ApplyBatch): void {
    // It came while the batch was on its way, and nobody had listened when it was made.
    if (!batch.feeds) return feed.reset(this.generation, this.appliedIndex);
    for (const op of batch.feed) {
      if (op.kind === 'purged') feed.purged(op.nodeId, op.incarnation);
      else if (op.kind === 'row') {
        const table = this.#tables.get(op.tableId);
        if (table === undefined) continue;
        const hidden = op.value === undefined || (op.owner !== 0 && !this.reader.live.has(op.owner));
        const row: Row | undefined = hidden ? undefined : { value: defined(op.value, 'put has a value'), owner: op.owner };
        feed.change(table, op.key, row);
      }
    }
    feed.applied(this.appliedIndex);
  }

  subscribe(feed: Feed): () => void {
    feed.reset(this.generation, this.appliedIndex);
    this.#feeds.add(feed);
    return () => this.#feeds.delete(feed);
  }

  /** No further batch; `then` runs once none is under way. Entries may still be queued. */
  pause(then: () => void): void {
    this.#paused = then;
    this.#pump();
  }

  /** After `pause`: the entries not applied yet; this object is used no more. */
  detach(): AppliedEntry[] {
    this.#closed = true;
    this.#pacer.reset();
    this.#buffer.abandon();
    const rest: AppliedEntry[] = [];
    for (let e = this.#queue.shift(); e !== undefined; e = this.#queue.shift()) rest.push(e);
    return rest;
  }

  /**
   * Takes over a generation built aside (already durable and named by CURRENT). What is queued is
   * dropped: its owner feeds on from the new position. Feeds are reset. Returns the old store, to be closed.
   */
  swap(opened: OpenGeneration, cursor: ApplyCursor): TableStore {
    const old = this.#buffer.abandon();
    this.#queue.clear();
    this.#pacer.reset();
    this.#queuedBytes = 0;
    this.#writing = false;
    this.failed = this.#damaged = false;
    this.#cursor = cursor;
    this.#buffer = this.#buffered(opened.store);
    this.reader.store = this.#buffer;
    this.#mind(opened.store);
    this.reader.live = new LiveSet(cursor.system.live);
    for (const t of this.schema.tables) this.reader.noteLongKey(t.id);
    this.generation = opened.number;
    this.appliedIndex = cursor.system.position.appliedIndex;
    this.#queuedIndex = this.appliedIndex;
    this.#queuedTerm = cursor.system.position.appliedTerm;
    for (const feed of this.#feeds) feed.reset(this.generation, this.appliedIndex);
    this.#options.onApplied(this.appliedIndex);
    return old;
  }

  /** Moves the tables as they are to another place of the log, durably. Nothing is queued. */
  rebase(position: Position, done: (error: Error | undefined) => void): void {
    assert(!this.#writing && this.#queue.length === 0, `${this.schema.name}: nothing is being applied`);
    const store = this.#buffer;
    store.write([{ key: metaKey, value: encodePosition(position) }], (error) => {
      if (error !== undefined) return done(error);
      this.#cursor.system.position = position;
      this.appliedIndex = this.#queuedIndex = position.appliedIndex;
      this.#queuedTerm = position.appliedTerm;
      store.flushed(done);
    });
  }

  /** No further batch; runs `done` once all that is applied is committed and flushed. */
  close(done: () => void): void {
    this.#closed = true;
    this.#pacer.reset();
    this.#buffer.close(done);
  }
}

/** A batch that had to wait for the store is followed by a pause as long: on a machine that is busy, batches are slow and few instead of slow and many. */
const pausePerBatch = 1;

function entryBytes(e: AppliedEntry): number {
  return e.data.length + 16;
}
