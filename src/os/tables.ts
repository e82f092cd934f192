// env's tables over LMDB. Keys and values are raw bytes.
//
// A batch is written by a thread of lmdb's (libuv's pool), in one write transaction. LMDB here
// runs with overlapping sync: a transaction becomes visible first and is synced afterwards,
// while the next one runs; after a crash of the machine the store opens at its last synced
// transaction. lmdb's own promise waits for the sync; what a reader may see earlier is told by
// the progress call of its writer, which is listened to here (measured: one row visible after
// 0.08 ms, flushed after 0.25 ms; 1,000 rows after 5 and 12 ms). Where that call comes too late
// or not at all, the promise stands in for it. The last call of the writer says that it is done.
//
// One batch is with the writer at a time, so that an error belongs to one batch; after the
// first error the store takes no more writes, because later batches build on the failed one, and
// is never closed (lmdb-faults.ts).
import { Buffer } from 'node:buffer';
import { chmodSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { assert } from '#base/assert.js';
import { Deque } from '#base/deque.js';
import { DamagedTablesError, type RangeOptions, type TableStore, type Tables, TablesError, type TableWrite, tableKeyBytesMax } from '#env/tables.js';
import { errorName, shortenWriteError, storeClosed, storeOpened } from './lmdb-faults.js';
import { readFirstSnapshot } from './tables-free.js';
import { beginUse, endUse, type WalkLimits, walkLimits } from './tables-use.js';

export interface TablesOptions {
  /** Address space reserved per store; files grow as needed, up to this. */
  readonly mapBytes?: number;
  /** Which files are walked through before they are opened. */
  readonly walkLimits?: WalkLimits;
}

export const tablesDefaults: { readonly mapBytes: number } = { mapBytes: 256 * 1024 ** 3 };

export class OsTables implements Tables {
  readonly #root: string;
  readonly #mapBytes: number;
  readonly #walkLimits: WalkLimits;

  constructor(root: string, options: TablesOptions = {}) {
    this.#root = resolve(root);
    this.#mapBytes = options.mapBytes ?? tablesDefaults.mapBytes;
    this.#walkLimits = options.walkLimits ?? walkLimits;
  }

  open(dir: string): TableStore {
    assert(!dir.startsWith('/') && !dir.split('/').includes('..'), `tables: ${dir} is not inside the data directory`);
    shortenWriteError();
    try {
      const path = join(this.#root, dir);
      // LMDB makes files that everybody may read, and there are hashes of passwords in some: nobody else gets to them.
      mkdirSync(path, { recursive: true, mode: 0o700 });
      chmodSync(path, 0o700);
      const wasClosed = beginUse(path, this.#walkLimits);
      const db = open<Uint8Array, Uint8Array>({
        path,
        noSubdir: false,
        keyEncoding: 'binary',
        encoding: 'binary',
        compression: false,
        noMemInit: true,
        mapSize: this.#mapBytes,
      });
      // Down to the first and the last row: a tree that cannot be walked is found now, with a name.
      for (const reverse of [false, true]) for (const _ of db.getRange({ limit: 1, reverse })) break;
      return new LmdbStore(db as unknown as Lmdb, path, wasClosed);
    } catch (error) {
      throw named(error, dir);
    }
  }
}

type Committed = (error: TablesError | undefined) => void;

/** What is used of lmdb, internals included: checked by the contract test at each upgrade. */
interface Lmdb extends RootDatabase<Uint8Array, Uint8Array> {
  readonly db: { stat(): { readonly entryCount: number } };
  readonly env: {
    startWriting(address: number, progress: (status: number) => unknown): unknown;
    info(): { readonly lastPageNumber: number; readonly lastTxnId: number };
    stat(): { readonly pageSize: number };
  };
  ensureReadTxn(): void;
}

/** Statuses of the writer's calls; anything else is an error number. */
const statusFlushed = 0;
const statusVisible = 1;
const statusCallback = 2;

interface Job {
  readonly batch: readonly TableWrite[];
  readonly committed: Committed;
  visible: boolean;
}

class LmdbStore implements TableStore {
  readonly #db: Lmdb;
  readonly #path: string;
  readonly #queue = new Deque<Job>();
  /** With the writer and not yet visible. */
  #writing: Job | undefined;
  /** Started and not yet flushed, oldest first. */
  readonly #unflushed = new Set<Job>();
  #flushWaiters: { readonly jobs: Set<Job>; readonly done: Committed }[] = [];
  #failure: TablesError | undefined;
  #closing: (() => void) | undefined;
  #closed = false;
  /** Nothing was written yet to a file that was not closed. */
  #careful: boolean;
  /** During its first commit, which follows this one. */
  #reading: { readonly after: number; done(): void } | undefined;

  constructor(db: Lmdb, path: string, wasClosed: boolean) {
    this.#db = db;
    this.#path = path;
    this.#careful = !wasClosed;
    storeOpened();
    const env = db.env;
    const start = env.startWriting.bind(env);
    Object.defineProperty(env, 'startWriting', {
      value: (address: number, progress: (status: number) => unknown): unknown => {
        const job = this.#writing;
        return start(address, (status) => {
          const result = progress(status);
          if (job !== undefined) this.#progress(job, status);
          return result;
        });
      },
    });
  }

  get(key: Uint8Array): Uint8Array | undefined {
    if (key.length === 0 || key.length > tableKeyBytesMax) return undefined;
    try {
      return this.#db.get(key);
    } catch (error) {
      throw unreadable(error);
    }
  }

  range(start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, value: Uint8Array) => boolean, options?: RangeOptions): void {
    const reverse = options?.reverse === true;
    // A bound that is longer than any key lies right above the key that is its beginning.
    const after = start.length > tableKeyBytesMax;
    const from = start.length === 0 ? firstKey : after ? start.subarray(0, tableKeyBytesMax) : start;
    const through = end === undefined || end.length > tableKeyBytesMax;
    const to = end === undefined ? highest : through ? end.subarray(0, tableKeyBytesMax) : end;
    const order = Buffer.compare(from, to);
    if (order > 0 || (order === 0 && (after || !through))) return;
    const rows = reverse
      ? this.#db.getRange({ start: to, end: from, reverse, exclusiveStart: !through, inclusiveEnd: !after })
      : this.#db.getRange({ start: from, end: to, exclusiveStart: after, inclusiveEnd: through });
    const each = begun(rows);
    try {
      for (let row = nextRow(each); row !== undefined && visit(row.key, row.value); row = nextRow(each));
    } finally {
      endReading(each);
    }
  }

  seek(key: Uint8Array): { readonly key: Uint8Array; readonly value: Uint8Array } | undefined {
    const start = key.length === 0 ? firstKey : key.subarray(0, tableKeyBytesMax);
    const each = begun(this.#db.getRange({ start, exclusiveStart: key.length > tableKeyBytesMax, limit: 1 }));
    try {
      return nextRow(each);
    } finally {
      endReading(each);
    }
  }

  write(batch: readonly TableWrite[], committed: Committed): void {
    assert(!this.#closed && this.#closing === undefined, 'tables: the store is closed');
    this.#queue.push({ batch, committed, visible: false });
    if (this.#queue.length === 1) this.#next();
  }

  #next(): void {
    if (this.#writing !== undefined) return;
    const job = this.#queue.peek();
    if (job === undefined) {
      this.#maybeClose();
      return;
    }
    const refused = this.#failure ?? badKey(job.batch);
    if (refused !== undefined || job.batch.length === 0) {
      this.#writing = job;
      setImmediate(() => this.#done(job, refused));
      return;
    }
    this.#writing = job;
    this.#unflushed.add(job);
    try {
      if (this.#careful) this.#readFirst();
      let last: Promise<boolean> | undefined;
      // lmdb puts all writes of a turn into one transaction; the promise is that transaction's.
      for (const { key, value } of job.batch) last = value === undefined ? this.#db.remove(key) : this.#db.put(key, value);
      // lmdb makes another promise for the end of the turn's batch, right before this runs, and gives it to
      // nobody: refused and not caught it would end the process, before anybody could say why.
      setImmediate(() => void this.#db.committed.then(ignore, ignore));
      last?.then(
        // Its thread still has a few steps to do: the writer's last call says when they are done.
        () => this.#progress(job, statusVisible),
        (error: CommitError) => {
          // The reason is in a promise of its own, refused when the writer has said how it ended.
          if (error.commitError === undefined) this.#fail(job, error.message);
          else error.commitError.catch((why: Error) => this.#fail(job, why.message));
        },
      );
    } catch (error) {
      this.#fail(job, (error as Error).message);
    }
  }

  /** See tables-free.ts. */
  #readFirst(): void {
    const reading = this.#db.useReadTransaction();
    this.#reading = { after: this.#db.env.info().lastTxnId, done: () => reading.done() };
    readFirstSnapshot(this.#path);
  }

  /** A batch that changed nothing was no commit. */
  #firstRead(): void {
    const reading = this.#reading;
    if (reading === undefined) return;
    this.#reading = undefined;
    this.#careful = this.#db.env.info().lastTxnId === reading.after;
    reading.done();
  }

  #progress(job: Job, status: number): void {
    if (status === statusCallback || !this.#unflushed.has(job)) return;
    if (status !== statusVisible && status !== statusFlushed) {
      this.#fail(job, `a write failed: ${errorName(status)}`);
      return;
    }
    if (!job.visible) this.#done(job, undefined);
    if (status === statusFlushed) this.#flushed(job, undefined);
  }

  #fail(job: Job, message: string): void {
    if (!this.#unflushed.has(job)) return;
    this.#failure ??= new TablesError(message);
    if (!job.visible) this.#done(job, this.#failure);
    this.#flushed(job, this.#failure);
  }

  /** The batch is visible, or has failed. */
  #done(job: Job, error: TablesError | undefined): void {
    job.visible = true;
    this.#queue.shift();
    this.#writing = undefined;
    this.#firstRead();
    if (!this.#closed && error === undefined) this.#db.resetReadTxn();
    try {
      job.committed(error);
    } finally {
      this.#next();
    }
  }

  flushed(done: Committed): void {
    const jobs = new Set<Job>();
    for (const job of this.#unflushed) if (job.visible) jobs.add(job);
    if (jobs.size === 0 || this.#failure !== undefined) {
      setImmediate(() => done(this.#failure));
      return;
    }
    this.#flushWaiters.push({ jobs, done });
  }

  #flushed(job: Job, error: TablesError | undefined): void {
    this.#unflushed.delete(job);
    const waiters = this.#flushWaiters;
    this.#flushWaiters = [];
    const ready: Committed[] = [];
    for (const waiter of waiters) {
      waiter.jobs.delete(job);
      if (waiter.jobs.size === 0 || error !== undefined) ready.push(waiter.done);
      else this.#flushWaiters.push(waiter);
    }
    for (const done of ready) done(error ?? this.#failure);
    this.#maybeClose();
  }

  stat(): { readonly rows: number; readonly bytes: number } {
    try {
      this.#db.ensureReadTxn();
      return { rows: this.#db.db.stat().entryCount, bytes: (this.#db.env.info().lastPageNumber + 1) * this.#db.env.stat().pageSize };
    } catch (error) {
      throw unreadable(error);
    }
  }

  close(done: () => void): void {
    assert(this.#closing === undefined, 'tables: closed twice');
    this.#closing = done;
    this.#maybeClose();
  }

  #maybeClose(): void {
    const closing = this.#closing;
    if (closing === undefined || this.#closed || this.#queue.length > 0 || this.#unflushed.size > 0) return;
    this.#closed = true;
    // After a failure lmdb waits for a commit that never ends (lmdb-faults.ts).
    if (this.#failure !== undefined) {
      setImmediate(closing);
      return;
    }
    const ended = (): void => {
      storeClosed();
      endUse(this.#path);
      closing();
    };
    this.#db.close().then(ended, closing);
  }
}

interface RawRow {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** What LMDB says of a damaged file, or of any read after a failed commit. */
function unreadable(error: unknown): TablesError {
  return named(error, 'the tables cannot be read');
}

function named(error: unknown, where: string): TablesError {
  const { message } = error as Error;
  const damaged = error instanceof DamagedTablesError || /^MDB_(CORRUPTED|PAGE_NOTFOUND|INVALID)/.test(message);
  return damaged ? new DamagedTablesError(`${where}: ${message}`) : new TablesError(`${where}: ${message}`);
}

function begun(rows: Iterable<RawRow>): Iterator<RawRow> {
  try {
    return rows[Symbol.iterator]();
  } catch (error) {
    throw unreadable(error);
  }
}

/** Only LMDB's own errors are turned: not what a visitor throws. */
function nextRow(rows: Iterator<RawRow>): RawRow | undefined {
  try {
    const next = rows.next();
    return next.done === true ? undefined : next.value;
  } catch (error) {
    throw unreadable(error);
  }
}

/**
 * Whatever came of it: a reading that is not ended keeps its snapshot until it is garbage. No page that is freed
 * meanwhile is used again, and once there are 126 of them nothing can be read any more.
 */
function endReading(rows: Iterator<RawRow>): void {
  rows.return?.();
}

const ignore = (): void => undefined;

interface CommitError extends Error {
  readonly commitError?: Promise<unknown>;
}

/** LMDB has no empty key; the lowest there is. */
const firstKey = Uint8Array.of(0);
/** Above every key: longer than any that starts the same. */
const highest = new Uint8Array(tableKeyBytesMax).fill(255);

function badKey(batch: readonly TableWrite[]): TablesError | undefined {
  for (const { key } of batch) {
    if (key.length === 0 || key.length > tableKeyBytesMax)
      return new TablesError(`a key has ${key.length} bytes, 1 to ${tableKeyBytesMax} are allowed`);
  }
  return undefined;
}
