// The database of one node as an application sees it: promises and JavaScript values over the
// callbacks and bytes of `db`. Made by `open-database.ts` once the node is in service.
// Invariants: every promise is settled, at `close` at the latest; nothing touches the store afterwards.
import type { Member } from '#cluster/schema.js';
import type { Op, Reader } from '#db/api.js';
import { type ShardStatus, type Until, type WriteDone, WriteFailure, type WriteOptions, type WriteResult } from '#db/api.js';
import { dbBounds } from '#db/bounds.js';
import type { Key } from '#db/key-codec.js';
import type { NodeCore } from '../node-core.js';
import { DatabaseError } from './errors.js';
import type { Command, Shard } from './schema.js';
import { type SubscribeOptions, Subscription } from './subscription.js';
import type { Table, TableInfo } from './table.js';
import {
  iterateRange,
  keyRange,
  type RangeOptions,
  type ReadView,
  type RowOptions,
  readPage,
  readView,
  soundReader,
  transactionView,
  type WriteView,
} from './views.js';

/** How a write is waited for: `until` and `deadlineMs`, see {@link WriteOptions}. */
export type WaitOptions = WriteOptions;

export interface Written {
  /** Index in the shard's log; grows with every write to the shard. */
  readonly index: number;
}

export interface Batch {
  put<K extends Key, V>(table: Table<K, V>, key: K, value: V, options?: RowOptions): void;
  delete<K extends Key, V>(table: Table<K, V>, key: K): void;
}

export interface ReadonlyOptions {
  /** True: first wait until this node has everything that was committed anywhere when the call began. Default false. */
  readonly linearizable?: boolean;
  /** For that wait. Default 5,000. */
  readonly deadlineMs?: number;
}

export interface DatabaseStatus {
  readonly name: string;
  readonly nodeId: string;
  readonly role: 'core' | 'replicant';
  /** '' before the cluster is known. */
  readonly clusterId: string;
  /** This node's present life as the cluster counts it; 0 before it has joined. */
  readonly incarnation: number;
  /** Joined, and every copy on this node is in sync. Reads work without, writes wait for their deadline. */
  readonly serving: boolean;
  /** What the node waits for, '' for nothing. */
  readonly waitingFor: string;
  readonly members: readonly Member[];
  readonly shards: readonly ShardStatus[];
}

/** What `Database` needs of its making; filled in by `open-database.ts`. */
export interface DatabaseParts {
  readonly name: string;
  readonly core: NodeCore;
  readonly shards: readonly Shard[];
  /** Stops everything, once. */
  readonly stop: () => Promise<void>;
}

interface Pending {
  readonly reject: (error: Error) => void;
  /** What to say when the database is closed first. */
  readonly atClose: () => Error;
}

/**
 * One node of the cluster. Reads are local, synchronous and see this node's copy as it is; writes go
 * to the shard's leader, whichever node that is, exactly once, and their promise says what became of
 * them: it rejects with a {@link WriteFailure} whose `kind` tells whether the write can still happen.
 */
export class Database {
  readonly #p: DatabaseParts;
  readonly #reader: Reader;
  readonly #tables: Set<TableInfo['stored']> = new Set();
  readonly #shards: Map<string, Shard> = new Map();
  readonly #pending: Set<Pending> = new Set();
  readonly #subscriptions: Set<{ end(): void }> = new Set();
  readonly #incarnationListeners: Set<(incarnation: number) => void> = new Set();
  #closing: Promise<void> | undefined;
  #failure: DatabaseError | undefined;
  #ended: (failure: DatabaseError | undefined) => void = () => {};
  /** Resolves when the database is closed: with undefined by `close`, with the reason when the node had to stop by itself. */
  readonly closed: Promise<DatabaseError | undefined>;

  /** Use `openDatabase`. */
  constructor(parts: DatabaseParts) {
    this.#p = parts;
    this.#reader = soundReader(parts.core.database);
    for (const shard of parts.shards) {
      this.#shards.set(shard.name, shard);
      for (const t of shard.tables) this.#tables.add(t.stored);
    }
    this.closed = new Promise((resolve) => {
      this.#ended = resolve;
    });
    parts.core.database.onIncarnation((incarnation) => {
      for (const listener of this.#incarnationListeners) listener(incarnation);
    });
  }

  // ---- reads: local and synchronous ----

  /** The row's value in this node's copy, undefined when there is none. Throws {@link DatabaseError}. */
  get<K extends Key, V>(table: Table<K, V>, key: K): V | undefined {
    this.#readable(table);
    const row = this.#reader.get(table.stored, table.encodeKey(key));
    return row === undefined ? undefined : table.decodeValue(row.value);
  }

  has<K extends Key, V>(table: Table<K, V>, key: K): boolean {
    this.#readable(table);
    return this.#reader.get(table.stored, table.encodeKey(key)) !== undefined;
  }

  /**
   * Rows of this node's copy in key order, read in bounded chunks as the loop goes. Consumed without
   * an `await` in between they are one consistent state; with one, later rows are of a newer state
   * (each key still once, in order). For a consistent state over awaits, take `[...range]`.
   */
  range<K extends Key, V>(table: Table<K, V>, options?: RangeOptions<K>): IterableIterator<[K, V]> {
    this.#readable(table);
    return iterateRange(this.#reader, table, options, () => this.#readable(table));
  }

  /**
   * `fn` on one consistent state of this node's copy; with `linearizable` a state that has everything
   * committed anywhere before the call. `fn` is synchronous. On a node without a copy of the shard what
   * `fn` reads is fetched from a core, and `fn` runs again for each fetch, always on one state: it must
   * do nothing but read and compute. Rejects with {@link WriteFailure} 'no-quorum' when no core answers
   * by the deadline, 'refused' when `fn` reads more than a node without a copy may (10,000 rows, 4 MiB),
   * and with what `fn` throws.
   */
  async readonly<T>(shard: Shard, fn: (view: ReadView) => T, options: ReadonlyOptions = {}): Promise<T> {
    return this.#onState(shard, (reader) => fn(readView(reader)), options);
  }

  /** One row, wherever the shard is held; with `linearizable` as everything committed before the call has left it. */
  async fetch<K extends Key, V>(table: Table<K, V>, key: K, options: ReadonlyOptions = {}): Promise<V | undefined> {
    this.#in(this.#shardOf(table), table);
    return this.readonly(this.#shardOf(table), (view) => view.get(table, key), options);
  }

  /**
   * Rows in key order, wherever the shard is held, in pages. The rows of a page are of one state, those of a later
   * page of one that is not older; each key comes at most once. `deadlineMs` is for each page.
   */
  async *scan<K extends Key, V>(table: Table<K, V>, options: RangeOptions<K> & ReadonlyOptions = {}): AsyncGenerator<[K, V], void, undefined> {
    const shard = this.#shardOf(table);
    this.#in(shard, table);
    let { start, limit } = keyRange(table, options);
    const { end } = keyRange(table, options);
    let linearizable = options.linearizable === true;
    const wait = options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs };
    while (limit > 0) {
      const page = await this.#onState(shard, (reader) => readPage(reader, table, start, end, limit), { ...wait, linearizable });
      yield* page.rows;
      if (page.next === undefined) return;
      start = page.next;
      limit -= page.rows.length;
      linearizable = false;
    }
  }

  /** `fn` on this node's copy, or, without one, on what is fetched from a core. */
  async #onState<T>(shard: Shard, fn: (reader: Reader) => T, options: ReadonlyOptions): Promise<T> {
    this.#alive();
    this.#known(shard.name);
    const { database } = this.#p.core;
    if (!database.holds(shard.name)) return this.#elsewhere(shard, fn, options);
    if (options.linearizable === true) await this.barrier(shard, options);
    this.#alive();
    return fn(this.#reader);
  }

  #elsewhere<T>(shard: Shard, fn: (reader: Reader) => T, options: ReadonlyOptions): Promise<T> {
    const { database } = this.#p.core;
    const wait = { linearizable: options.linearizable === true, deadlineMs: options.deadlineMs ?? dbBounds.proposalDeadlineMs };
    const run = (reader: Reader): T => {
      const result = fn(reader);
      if (!(result instanceof Promise)) return result;
      result.catch(() => {});
      throw new TypeError('on a node without a copy of the shard the function must not be asynchronous');
    };
    return this.#track<T>(
      () => new WriteFailure('closed', 'the database was closed'),
      (resolve, reject) =>
        database.readElsewhere(shard.name, run, wait, (failure, result) => (failure === undefined ? resolve(result as T) : reject(failure))),
    );
  }

  /**
   * Resolves once this node has applied everything that was committed when the call began: what is
   * read afterwards is linearizable. Rejects with {@link WriteFailure} 'no-quorum' at the deadline
   * (default 5,000 ms), with {@link DatabaseError} 'not-held' where there is no copy.
   */
  async barrier(shard: Shard, options: { readonly deadlineMs?: number } = {}): Promise<void> {
    this.#alive();
    this.#holds(shard.name);
    const deadlineMs = options.deadlineMs ?? dbBounds.proposalDeadlineMs;
    return this.#track<void>(
      () => new WriteFailure('closed', 'the database was closed'),
      (resolve, reject) => this.#p.core.database.barrier(shard.name, deadlineMs, (failure) => (failure === undefined ? resolve() : reject(failure))),
    );
  }

  // ---- writes ----

  /** Sets a row, unconditionally. Rejects with {@link WriteFailure}, or `UnstorableError` for a key or value that cannot be kept. */
  async put<K extends Key, V>(table: Table<K, V>, key: K, value: V, options: WaitOptions & RowOptions = {}): Promise<Written> {
    return this.batch(this.#shardOf(table), (b) => b.put(table, key, value, options), options);
  }

  /** Deletes a row; that it is not there is fine. */
  async delete<K extends Key, V>(table: Table<K, V>, key: K, options: WaitOptions = {}): Promise<Written> {
    return this.batch(this.#shardOf(table), (b) => b.delete(table, key), options);
  }

  /** Several unconditional writes to one shard that happen together or not at all. */
  async batch(shard: Shard, fill: (batch: Batch) => void, options: WaitOptions = {}): Promise<Written> {
    this.#alive();
    this.#known(shard.name);
    const ops: Op[] = [];
    fill({
      put: (table, key, value, row) => {
        this.#in(shard, table);
        const op = { kind: 'put', table: table.stored, key: table.encodeKey(key), value: table.encodeValue(value) } as const;
        ops.push(row?.owner === undefined ? op : { ...op, owner: row.owner });
      },
      delete: (table, key) => {
        this.#in(shard, table);
        ops.push({ kind: 'delete', table: table.stored, key: table.encodeKey(key) });
      },
    });
    const { index } = await this.#write((done) => this.#p.core.database.write(shard.name, ops, waitOf(options), done));
    return { index };
  }

  /**
   * Reads and writes one shard as if nothing else happened meanwhile. `fn` works on this node's copy, or,
   * without one, on what is fetched from a core as in `readonly`,
   * and is run again (up to 8 times, with a growing pause) when what it read was overtaken; so it must
   * be synchronous and do nothing but read, compute, and write through `tx`. Resolves with what the
   * run that was committed returned. Rejects with what `fn` throws (nothing is written then), or with
   * {@link WriteFailure}: 'conflict' after all retries.
   */
  async transaction<T>(shard: Shard, fn: (tx: WriteView) => T, options: WaitOptions = {}): Promise<T> {
    this.#alive();
    this.#known(shard.name);
    let result: { readonly value: T } | undefined;
    let thrown: { readonly error: unknown } | undefined;
    const run = (tx: Parameters<Parameters<NodeCore['database']['transaction']>[1]>[0]): undefined => {
      thrown = undefined;
      const { view, end } = transactionView(tx);
      try {
        const value = fn(view);
        if (value instanceof Promise) {
          value.catch(() => {});
          throw new TypeError('the function of a transaction must not be asynchronous');
        }
        result = { value };
      } catch (error) {
        thrown = { error };
        throw error;
      } finally {
        end();
      }
    };
    try {
      await this.#write((done) => this.#p.core.database.transaction(shard.name, run, waitOf(options), done));
    } catch (failure) {
      if (thrown !== undefined) throw thrown.error;
      throw failure;
    }
    return (result as unknown as { readonly value: T }).value;
  }

  /**
   * One conditional command, evaluated once, by the shard's leader, on the newest state: one round
   * trip, and no conflicts. Resolves with its result; rejects with {@link WriteFailure}, 'refused'
   * when the command refused.
   */
  async command<I, R>(command: Command<I, R>, input: I, options: WaitOptions = {}): Promise<R> {
    this.#alive();
    if (this.#known(command.shard).hasCommand(command.name) !== true)
      throw new DatabaseError('unknown-table', `shard ${command.shard} has no command ${command.name}`);
    const body = command.encodeInput(input);
    const written = await this.#write((done) => this.#p.core.database.command(command.shard, command.name, body, waitOf(options), done));
    return command.decodeResult(written.reply);
  }

  // ---- changes ----

  /** The table's changes on this node, in order; see {@link Subscription} and `TableEvent`. */
  subscribe<K extends Key, V>(table: Table<K, V>, options: SubscribeOptions = {}): Subscription<K, V> {
    this.#readable(table);
    const { database } = this.#p.core;
    const subscription: Subscription<K, V> = new Subscription(
      table,
      options,
      () => database.appliedIndex(table.shard),
      (feed) => database.subscribe(table.shard, feed),
      () => this.#subscriptions.delete(subscription),
    );
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** Runs when this node was declared down while it lived, and took a new incarnation: its owned rows are gone; write them again. The result ends it. */
  onIncarnation(listener: (incarnation: number) => void): () => void {
    this.#incarnationListeners.add(listener);
    return () => this.#incarnationListeners.delete(listener);
  }

  /** Last index of the shard's log that this node's copy contains. */
  appliedIndex(shard: Shard): number {
    this.#holds(shard.name);
    return this.#p.core.database.appliedIndex(shard.name);
  }

  status(): DatabaseStatus {
    const { nodeId, database, cluster } = this.#p.core;
    return {
      name: this.#p.name,
      nodeId,
      role: database.role,
      clusterId: cluster.clusterId,
      incarnation: database.incarnation,
      serving: this.#closing === undefined && cluster.serving,
      waitingFor: cluster.why,
      members: [...cluster.members()],
      shards: database.status(),
    };
  }

  // ---- end ----

  /** Leaves in order: subscriptions end, waiting writes are answered ('closed', or 'unknown' when they were on their way), files are closed. Can be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** The node cannot go on: as `close`, and `closed` says why. Called by `open-database.ts`. */
  fail(error: DatabaseError): void {
    this.#failure ??= error;
    void this.close();
  }

  async #close(): Promise<void> {
    for (const s of [...this.#subscriptions]) s.end();
    try {
      await this.#p.stop();
    } finally {
      // Waits that nobody answers any more.
      for (const p of [...this.#pending]) p.reject(p.atClose());
      this.#ended(this.#failure);
    }
  }

  // ---- checks and plumbing ----

  #alive(): void {
    if (this.#closing !== undefined) throw this.#failure ?? new DatabaseError('closed', 'the database is closed');
  }

  #known(shard: string): Shard {
    const known = this.#shards.get(shard);
    if (known === undefined) throw new DatabaseError('unknown-table', `the database was opened without shard ${shard}`);
    return known;
  }

  #holds(shard: string): void {
    this.#known(shard);
    if (!this.#p.core.database.holds(shard))
      throw new DatabaseError('not-held', `this node has no copy of shard ${shard}: use readonly, fetch or scan, a transaction, or a command`);
  }

  #readable(table: TableInfo): void {
    this.#alive();
    this.#holds(table.shard);
    if (!this.#tables.has(table.stored)) throw new DatabaseError('unknown-table', `shard ${table.shard} has no such table ${table.name}`);
  }

  #shardOf(table: TableInfo): Shard {
    this.#alive();
    return this.#known(table.shard);
  }

  #in(shard: Shard, table: TableInfo): void {
    if (!this.#tables.has(table.stored) || table.shard !== shard.name)
      throw new DatabaseError('unknown-table', `table ${table.name} is not in shard ${shard.name}`);
  }

  #write(start: (done: WriteDone) => void): Promise<WriteResult> {
    return this.#track<WriteResult>(
      () => new WriteFailure('unknown', 'the database was closed while the write was on its way; it may still happen'),
      (resolve, reject) => start((failure, result) => (failure === undefined ? resolve(result) : reject(failure))),
    );
  }

  #track<T>(atClose: () => Error, start: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const pending: Pending = { reject, atClose };
      this.#pending.add(pending);
      const settle = (then: () => void): void => {
        this.#pending.delete(pending);
        then();
      };
      start(
        (value) => settle(() => resolve(value)),
        (error) => settle(() => reject(error)),
      );
    });
  }
}

/** Without the fields that are not for the database. */
function waitOf(o: WaitOptions): WriteOptions {
  const options: { until?: Until; deadlineMs?: number } = {};
  if (o.until !== undefined) options.until = o.until;
  if (o.deadlineMs !== undefined) options.deadlineMs = o.deadlineMs;
  return options;
}
