// The changes of one table as an async iterator with a bounded buffer. A consumer that is too slow
// does not hold anything up and does not fill the memory: what it has missed is dropped, and it is
// told to read the table anew.
import { copyBytes } from '#base/bytes.js';
import type { Feed, Row, Table as StoredTable } from '#db/api.js';
import type { Key } from '#db/key-codec.js';
import type { Table } from './table.js';

export type Change<K, V> =
  /** `owner`: incarnation that the row belongs to, 0 for nobody's. */
  | { readonly kind: 'put'; readonly key: K; readonly value: V; readonly owner: number }
  | { readonly kind: 'delete'; readonly key: K }
  /** All rows owned by this incarnation are gone, without a 'delete' for each. Only in tables declared `owned`. */
  | { readonly kind: 'purge'; readonly incarnation: number };

export type TableEvent<K, V> =
  /**
   * Read the table with `range` now, before the next `await`: it is in the state of `index`, and what
   * follows are the changes after it. Comes first; and again when changes were dropped because the
   * consumer was slow, or when this node's copy was replaced.
   */
  | { readonly kind: 'reset'; readonly index: number }
  /** What the log up to `index` changed, in order; never empty. */
  | { readonly kind: 'changes'; readonly index: number; readonly changes: readonly Change<K, V>[] };

export interface SubscribeOptions {
  /** Changes that may wait for the consumer. Default 10,000. */
  readonly bufferChangesMax?: number;
  /** Bytes of keys and values that may wait. Default 16 MiB. */
  readonly bufferBytesMax?: number;
}

export const subscribeDefaults: Required<SubscribeOptions> = { bufferChangesMax: 10_000, bufferBytesMax: 16 * 1024 * 1024 };

type Raw =
  | { readonly kind: 'put'; readonly key: Uint8Array; readonly value: Uint8Array; readonly owner: number }
  | { readonly kind: 'delete'; readonly key: Uint8Array }
  | { readonly kind: 'purge'; readonly incarnation: number };

interface Batch {
  readonly index: number;
  readonly changes: readonly Raw[];
  readonly bytes: number;
}

interface Waiter<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/** Ends with `return` (leaving a `for await` does it) and when the database is closed. */
export class Subscription<K extends Key, V> implements AsyncIterableIterator<TableEvent<K, V>, undefined> {
  readonly #table: Table<K, V>;
  readonly #options: Required<SubscribeOptions>;
  readonly #appliedIndex: () => number;
  readonly #onEnd: () => void;
  #unsubscribe: () => void = () => {};
  #batches: Batch[] = [];
  #changes = 0;
  #bytes = 0;
  #open: Raw[] = [];
  #openBytes = 0;
  /** The next event is a reset; changes up to then are in the tables that the consumer will read. */
  #reset = true;
  #ended = false;
  #overflows = 0;
  readonly #waiters: Waiter<TableEvent<K, V>>[] = [];

  /** Use `Database.subscribe`. */
  constructor(table: Table<K, V>, options: SubscribeOptions, appliedIndex: () => number, subscribe: (feed: Feed) => () => void, onEnd: () => void) {
    this.#table = table;
    this.#options = { ...subscribeDefaults, ...options };
    this.#appliedIndex = appliedIndex;
    this.#onEnd = onEnd;
    this.#unsubscribe = subscribe({
      reset: () => this.#onReset(),
      change: (t, key, row) => this.#onChange(t, key, row),
      purged: (_nodeId, incarnation) => {
        if (table.owned) this.#add({ kind: 'purge', incarnation }, 0);
      },
      applied: (index) => this.#onApplied(index),
    });
  }

  /** How often changes were dropped because the buffer was full. */
  get overflows(): number {
    return this.#overflows;
  }

  #drop(): void {
    this.#reset = true;
    this.#batches = [];
    this.#changes = 0;
    this.#bytes = 0;
    this.#open = [];
    this.#openBytes = 0;
  }

  #onReset(): void {
    this.#drop();
    this.#serve();
  }

  #onChange(t: StoredTable, key: Uint8Array, row: Row | undefined): void {
    if (t !== this.#table.stored) return;
    if (row === undefined) this.#add({ kind: 'delete', key: copyBytes(key) }, key.length);
    else this.#add({ kind: 'put', key: copyBytes(key), value: copyBytes(row.value), owner: row.owner }, key.length + row.value.length);
  }

  #add(change: Raw, bytes: number): void {
    if (this.#reset) return;
    this.#open.push(change);
    this.#openBytes += bytes;
    const { bufferChangesMax, bufferBytesMax } = this.#options;
    if (this.#changes + this.#open.length <= bufferChangesMax && this.#bytes + this.#openBytes <= bufferBytesMax) return;
    this.#overflows++;
    this.#drop();
  }

  #onApplied(index: number): void {
    if (this.#open.length > 0) {
      this.#batches.push({ index, changes: this.#open, bytes: this.#openBytes });
      this.#changes += this.#open.length;
      this.#bytes += this.#openBytes;
      this.#open = [];
      this.#openBytes = 0;
    }
    this.#serve();
  }

  /** Gives events to whoever waits, between batches only: then the tables are what the events say. */
  #serve(): void {
    while (this.#waiters.length > 0) {
      const event = this.#take();
      if (event === undefined) return;
      const waiter = this.#waiters.shift();
      if (event instanceof Error) waiter?.reject(event);
      else waiter?.resolve({ done: false, value: event });
    }
  }

  #take(): TableEvent<K, V> | Error | undefined {
    if (this.#reset) {
      this.#reset = false;
      return { kind: 'reset', index: this.#appliedIndex() };
    }
    const batch = this.#batches.shift();
    if (batch === undefined) return undefined;
    this.#changes -= batch.changes.length;
    this.#bytes -= batch.bytes;
    try {
      return { kind: 'changes', index: batch.index, changes: batch.changes.map((c) => this.#decode(c)) };
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #decode(c: Raw): Change<K, V> {
    if (c.kind === 'purge') return c;
    const key = this.#table.decodeKey(c.key);
    return c.kind === 'delete' ? { kind: 'delete', key } : { kind: 'put', key, value: this.#table.decodeValue(c.value), owner: c.owner };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next event, once there is one. Rejects when a row cannot be decoded. */
  next(): Promise<IteratorResult<TableEvent<K, V>, undefined>> {
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#serve();
    });
  }

  return(): Promise<IteratorResult<TableEvent<K, V>, undefined>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** No event follows; who waits is told. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#unsubscribe();
    this.#drop();
    for (const w of this.#waiters.splice(0)) w.resolve({ done: true, value: undefined });
    this.#onEnd();
  }
}
