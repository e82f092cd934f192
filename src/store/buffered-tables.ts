// A table store with a memory in front of it: what is written is seen at once and committed later, with
// much else. A commit of the store costs the same whatever it carries (threads to wake, pages
// to write, a sync), and a page that many rows of a commit lie in is written once: so commits are
// made by time and size, their rows one per key and in order. Whoever writes here has his changes in a log,
// his own or somebody else's, and begins again behind the last commit that he finds: every commit holds all
// writes up to some batch, and none beyond.
//
// At most two layers lie over the store: the older one is being committed, the younger one is written.
import { assert } from '#base/assert.js';
import { compareBytes, concatBytes } from '#base/bytes.js';
import type { Clock, Timer } from '#env/clock.js';
import type { RangeOptions, TableStore, TablesError, TableWrite } from '#env/tables.js';
import { RowLayer } from './row-layer.js';

export interface BufferedTablesOptions {
  readonly clock: Clock;
  readonly random: () => number;
  /** Longest time from a write to its commit: a commit is begun after a random part of it, so that nodes do not all do so at once. */
  readonly commitMs: number;
  /** A commit is begun when so many rows or bytes wait. */
  readonly commitRows: number;
  readonly commitBytes: number;
  /** A writer has to wait for room. */
  readonly onFull: () => void;
  /** The store refused a commit: what is seen is ahead of what will ever be on disk. No write is taken any more. */
  readonly onFailure: (error: TablesError) => void;
}

/** While a commit is under way so many times its bounds may wait; beyond that writers do. */
const waitingMax = 4;

type Done = (error: TablesError | undefined) => void;
type Visit = (key: Uint8Array, value: Uint8Array) => boolean;

export class BufferedTables implements TableStore {
  /** Commits of the store below. */
  commits = 0;
  readonly #store: TableStore;
  readonly #o: BufferedTablesOptions;
  #young: RowLayer = new RowLayer();
  /** With the store. */
  #old: RowLayer | undefined;
  #timer: Timer | undefined;
  #begun = 0;
  #ended = 0;
  /** Writers that wait for room. */
  #held: Done[] = [];
  /** Until so many commits have ended. */
  #waiters: { readonly ended: number; readonly done: Done }[] = [];
  #failure: TablesError | undefined;
  #closed = false;

  constructor(store: TableStore, options: BufferedTablesOptions) {
    this.#store = store;
    this.#o = options;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const row = this.#young.get(key) ?? this.#old?.get(key);
    return row === undefined ? this.#store.get(key) : row.value;
  }

  range(start: Uint8Array, end: Uint8Array | undefined, visit: Visit, options?: RangeOptions): void {
    assert(options?.reverse !== true, 'buffered tables are read forwards');
    const over = new Merged(this.#young, this.#old, start);
    let going = true;
    /** Rows of the layers before `key`, or up to `end`. */
    const upTo = (key: Uint8Array | undefined): void => {
      for (let row = over.row; going && row !== undefined && (key === undefined || compareBytes(row.key, key) < 0); row = over.row) {
        if (row.value !== undefined) going = visit(row.key, row.value);
        over.next();
      }
    };
    if (over.row === undefined) return this.#store.range(start, end, visit);
    this.#store.range(start, end, (key, value) => {
      upTo(key);
      if (!going) return false;
      const row = over.row;
      if (row !== undefined && compareBytes(row.key, key) === 0) {
        over.next();
        if (row.value !== undefined) going = visit(row.key, row.value);
      } else going = visit(key, value);
      return going;
    });
    // Without an end, all that are left.
    upTo(end);
  }

  seek(key: Uint8Array): { readonly key: Uint8Array; readonly value: Uint8Array } | undefined {
    const over = new Merged(this.#young, this.#old, key);
    for (let at = key; ; ) {
      const stored = this.#store.seek(at);
      for (;;) {
        const { row } = over;
        const order = row === undefined ? 1 : stored === undefined ? -1 : compareBytes(row.key, stored.key);
        if (row === undefined || order > 0) return stored;
        over.next();
        if (row.value !== undefined) return { key: row.key, value: row.value };
        if (order === 0) break;
      }
      at = concatBytes([(stored as { readonly key: Uint8Array }).key, Uint8Array.of(0)]);
    }
  }

  /** The rows are kept as they are: they must not change any more. `committed` may run inside this call. */
  write(batch: readonly TableWrite[], committed: Done): void {
    assert(!this.#closed, 'tables: the store is closed');
    if (this.#failure !== undefined) return committed(this.#failure);
    for (const row of batch) this.#young.set(row);
    if (this.#full(1)) this.#commit();
    else if (this.#timer === undefined && this.#young.rows > 0) this.#commitLater();
    if (this.#full(waitingMax)) {
      this.#held.push(committed);
      this.#o.onFull();
    } else committed(undefined);
  }

  #full(times: number): boolean {
    const { rows, bytes } = this.#young;
    return rows >= times * this.#o.commitRows || bytes >= times * this.#o.commitBytes;
  }

  #commitLater(): void {
    const { clock, random, commitMs } = this.#o;
    this.#timer = clock.setTimer(commitMs * (0.5 + random() / 2), () => {
      this.#timer = undefined;
      this.#commit();
    });
  }

  /** After the one that is under way. */
  #commit(): void {
    if (this.#old !== undefined || this.#young.rows === 0 || this.#failure !== undefined) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    const rows = this.#young.list();
    this.#old = this.#young;
    this.#young = new RowLayer();
    this.#begun++;
    this.#store.write(rows, (error) => this.#committed(error));
  }

  #committed(error: TablesError | undefined): void {
    this.#ended++;
    if (error === undefined) {
      this.commits++;
      this.#old = undefined;
    } else {
      this.#failure = error;
      this.#timer?.cancel();
    }
    const held = this.#held;
    this.#held = [];
    if (!this.#closed && error !== undefined) this.#o.onFailure(error);
    for (const done of held) done(error);
    this.#settle();
    if (this.#waiters.length > 0 || this.#full(1)) this.#commit();
    else if (this.#timer === undefined && this.#young.rows > 0 && error === undefined && !this.#closed) this.#commitLater();
  }

  #settle(): void {
    const waiters = this.#waiters;
    this.#waiters = waiters.filter((w) => w.ended > this.#ended && this.#failure === undefined);
    for (const w of waiters) {
      if (this.#failure !== undefined) w.done(this.#failure);
      else if (w.ended <= this.#ended) w.done(undefined);
    }
  }

  /** Once all that is written by now is committed. */
  #drained(done: Done): void {
    this.#waiters.push({ ended: this.#begun + (this.#young.rows > 0 ? 1 : 0), done });
    this.#commit();
    this.#settle();
  }

  flushed(done: Done): void {
    this.#drained((error) => (error === undefined ? this.#store.flushed(done) : done(error)));
  }

  /** Of what is committed. */
  stat(): { readonly rows: number; readonly bytes: number } {
    return this.#store.stat();
  }

  close(done: () => void): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#drained(() => this.#store.close(done));
  }

  /** Nobody wants these tables any more: what is not committed is dropped. The store below is given back, to be closed. */
  abandon(): TableStore {
    this.#closed = true;
    this.#timer?.cancel();
    this.#young = new RowLayer();
    this.#held = [];
    this.#waiters = [];
    return this.#store;
  }
}

/** Two layers as one: where both have a row of the same key the younger's counts. */
class Merged {
  readonly #young: ReturnType<RowLayer['from']>;
  readonly #old: ReturnType<RowLayer['from']> | undefined;

  constructor(young: RowLayer, old: RowLayer | undefined, key: Uint8Array) {
    this.#young = young.from(key);
    this.#old = old?.from(key);
  }

  get row(): TableWrite | undefined {
    const [young, old] = [this.#young.row, this.#old?.row];
    if (young === undefined || old === undefined) return young ?? old;
    return compareBytes(young.key, old.key) <= 0 ? young : old;
  }

  next(): void {
    const [young, old] = [this.#young.row, this.#old?.row];
    const order = young === undefined ? 1 : old === undefined ? -1 : compareBytes(young.key, old.key);
    if (order <= 0) this.#young.next();
    if (order >= 0) this.#old?.next();
  }
}
