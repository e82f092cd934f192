// A journal of records about many small things (here: sessions), each known by a slot number: one append
// and one sync per turn for all of them, in segments `sessions/0000000001.log` of the write-ahead log's
// format (format.ts; header with a magic of its own). `broker` writes and reads it; it knows nothing of
// what the records mean.
//
// A batch ends with a commit record and counts as a whole or not at all. Old segments are not rewritten:
// who writes the journal states everything that lives anew in later segments, and then has the earlier
// ones forgotten (`forgetBefore`).
// Invariants: callbacks run in order, once; after a failure nothing is written until `restart`, which goes
// on behind the last thing that was durable.
import { assert } from '#base/assert.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Env } from '#env/env.js';
import { type AppendFile, FilesError } from '#env/files.js';
import { beginRecord, encodeHeader, endRecord, segmentName } from './format.js';
import { type JournalDamage, type JournalVisitor, journalMagic, journalRecord, recoverJournal } from './journal-recovery.js';

export interface JournalOptions {
  /** Relative to the data directory. */
  readonly dir?: string;
  readonly nodeId: string;
  readonly segmentBytes?: number;
}

export const journalDefaults: { readonly dir: string; readonly segmentBytes: number } = { dir: 'sessions', segmentBytes: 16 * 1024 * 1024 };

const bufferBytes = 16 * 1024;
/** A buffer that has grown beyond this is given back. */
const keepBufferBytes = 4 * 1024 * 1024;

export type JournalDone = (error: FilesError | undefined) => void;

export interface JournalRecovery {
  readonly damage: readonly JournalDamage[];
  readonly tornBytes: number;
}

type JournalEnv = Pick<Env, 'files' | 'clock' | 'metrics' | 'log'>;

interface Waiting {
  readonly position: number;
  readonly done: JournalDone;
}

/** Where the durable part ends. */
interface End {
  readonly segment: number;
  readonly offset: number;
  readonly chain: number;
}

export class Journal {
  readonly #env: JournalEnv;
  readonly #dir: string;
  readonly #nodeId: string;
  readonly #segmentBytes: number;
  readonly #bytesTotal: { value: number };
  readonly #syncsTotal: { value: number };
  readonly #syncSeconds: { observe(value: number): void };
  #buffer = new ByteWriter(bufferBytes);
  /** Where the open record begins, -1: none is open. */
  #open = -1;
  /** Segment that the buffer goes to, and where the buffer begins in it. */
  #segment: number;
  #bufferAt = 0;
  #chain: number;
  #file: AppendFile | undefined;
  /** The buffer begins a new segment. */
  #begins = false;
  #rotate = false;
  /** Answers about syncs of an earlier one mean nothing: it has failed. */
  #run = 0;
  #durableEnd: End;
  #scheduled = false;
  #syncing = false;
  #closing: JournalDone | undefined;
  #closed = false;
  #position = 0;
  #durable = 0;
  #waiting: Waiting[] = [];
  /** Sizes of the segments that are complete, oldest first. */
  readonly #segments: { segment: number; bytes: number }[];
  #base = 0;
  #written = 0;
  #deleting = false;
  failure: FilesError | undefined;

  /** Use {@link openJournal}. */
  constructor(env: JournalEnv, options: JournalOptions, end: End, segments: { segment: number; bytes: number }[]) {
    this.#env = env;
    this.#dir = options.dir ?? journalDefaults.dir;
    this.#nodeId = options.nodeId;
    this.#segmentBytes = options.segmentBytes ?? journalDefaults.segmentBytes;
    this.#segments = segments;
    for (const s of segments) this.#written += s.bytes;
    this.#segment = end.segment;
    this.#chain = end.chain;
    this.#durableEnd = end;
    const { metrics } = env;
    this.#bytesTotal = metrics.counter('starmesh_session_journal_bytes_total', 'Bytes appended to the journal of persistent sessions');
    this.#syncsTotal = metrics.counter('starmesh_session_journal_syncs_total', 'Syncs of the journal of persistent sessions');
    this.#syncSeconds = metrics.histogram(
      'starmesh_session_journal_sync_seconds',
      'Time from append to durable, journal of persistent sessions',
      [0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1],
    );
  }

  /** Nothing that is written now is durable before what was found. */
  syncFound(): void {
    const { files } = this.#env;
    const { segment } = this.#durableEnd;
    const path = `${this.#dir}/${segmentName(segment)}`;
    this.#syncing = true;
    let left = 2;
    const run = this.#run;
    const done: JournalDone = (error) => {
      if (run !== this.#run) return;
      if (error !== undefined) this.#fail(error);
      else if (--left === 0) {
        this.#syncing = false;
        this.#flush();
      }
    };
    try {
      if (segment === 0) done(undefined);
      else {
        const file = files.openAppend(path);
        file.sync(done);
        file.close();
      }
      files.syncDir(this.#dir.includes('/') ? this.#dir.slice(0, this.#dir.lastIndexOf('/')) : '', done);
    } catch (error) {
      if (!(error instanceof FilesError)) throw error;
      this.#fail(error);
    }
  }

  /** Grows with every record; what stands at or below `durable` is on disk. */
  get position(): number {
    return this.#position;
  }

  get durable(): number {
    return this.#durable;
  }

  /** Written and not yet durable, roughly. */
  get pendingBytes(): number {
    return this.#buffer.length;
  }

  /** What was found at the start and what was written since. */
  get writtenBytes(): number {
    return this.#written + this.#buffer.length;
  }

  get diskBytes(): number {
    let total = this.#bufferAt + this.#buffer.length;
    for (const s of this.#segments) total += s.bytes;
    return total;
  }

  /** The next batch begins a new segment; `onSegment` tells which. */
  rotate(): void {
    this.#rotate = true;
  }

  /** A new segment was begun: the next record is the first of it. */
  onSegment: (segment: number) => void = () => {};

  /** The turn is over, the batch is about to be written: the last chance to end a record. */
  beforeFlush: () => void = () => {};

  /** Sees to it that a batch has begun. */
  ensureBatch(): void {
    assert(this.failure === undefined && !this.#closed, 'journal: not writable');
    if (this.#buffer.length === 0) this.#beginBatch();
  }

  /** Begins a record of this turn's batch; write its payload into the result, then call `end`. */
  begin(type: number, slot: number): ByteWriter {
    assert(this.#open === -1, 'journal: a record is open');
    this.ensureBatch();
    this.#open = beginRecord(this.#buffer, type, slot);
    return this.#buffer;
  }

  end(): void {
    assert(this.#open !== -1, 'journal: no record is open');
    this.#chain = endRecord(this.#buffer, this.#open, this.#chain);
    this.#open = -1;
    this.#position++;
  }

  /** Counts something that could not be written: whoever waits for it hears of the failure. */
  skip(): void {
    this.#position++;
  }

  /** Runs when all records so far are durable, at once when they are; with the reason when they never will be. */
  whenDurable(done: JournalDone): void {
    if (this.failure !== undefined) done(this.failure);
    else if (this.#durable === this.#position) done(undefined);
    else this.#waiting.push({ position: this.#position, done });
  }

  /** Everything that is said in earlier segments is said again in this one or later: they go once that is durable. */
  forgetBefore(segment: number): void {
    this.begin(journalRecord.base, 0).varint(segment);
    this.end();
    this.whenDurable((error) => {
      if (error !== undefined) return;
      this.#base = Math.max(this.#base, segment);
      this.#deleteNext();
    });
  }

  /** After a failure: goes on in a new segment behind what is durable. False: the disk still refuses. */
  restart(): boolean {
    assert(this.failure !== undefined, 'journal: has not failed');
    const { segment, chain } = this.#durableEnd;
    try {
      this.#file?.close();
      this.#file = undefined;
      for (const name of this.#env.files.list(this.#dir)) if (name > segmentName(segment)) this.#env.files.remove(`${this.#dir}/${name}`);
    } catch (error) {
      if (!(error instanceof FilesError)) throw error;
      return false;
    }
    if (this.#segments.at(-1)?.segment !== segment && segment > 0) this.#segments.push({ segment, bytes: this.#durableEnd.offset });
    this.#segment = segment;
    this.#chain = chain;
    this.#bufferAt = 0;
    this.failure = undefined;
    this.#durable = this.#position;
    return true;
  }

  /** Writes what is left, syncs, closes. */
  close(done: JournalDone): void {
    if (this.#closed) return done(undefined);
    this.#closing = done;
    if (this.failure !== undefined || (this.#buffer.length === 0 && !this.#syncing)) this.#close(this.failure);
    else this.#flush();
  }

  // ---- batches ----

  #beginBatch(): void {
    this.#schedule();
    if (this.#file !== undefined && this.#bufferAt < this.#segmentBytes && !this.#rotate) return;
    this.#rotate = false;
    this.#begins = true;
    const previousEnd = this.#file === undefined ? this.#durableEnd.offset : this.#bufferAt;
    if (this.#file !== undefined) this.#segments.push({ segment: this.#segment, bytes: this.#bufferAt });
    this.#segment++;
    this.#bufferAt = 0;
    this.#buffer.raw(encodeHeader({ segment: this.#segment, previousEnd, chain: this.#chain, nodeId: this.#nodeId }, journalMagic));
    this.onSegment(this.#segment);
  }

  #schedule(): void {
    if (this.#scheduled || this.#syncing) return;
    this.#scheduled = true;
    this.#env.clock.endOfTurn(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#syncing || this.#buffer.length === 0 || this.failure !== undefined || this.#closed) return;
    const began = this.#env.clock.now();
    this.beforeFlush();
    assert(this.#open === -1, 'journal: a record is open');
    this.#commit();
    const position = this.#position;
    const bytes = this.#buffer.view();
    try {
      const begins = this.#begins;
      if (begins) {
        this.#file?.close();
        this.#file = this.#env.files.openAppend(`${this.#dir}/${segmentName(this.#segment)}`);
        this.#begins = false;
      }
      const file = this.#file;
      assert(file !== undefined, 'journal: no segment');
      file.append([bytes]);
      this.#bytesTotal.value += bytes.length;
      this.#written += bytes.length;
      this.#bufferAt += bytes.length;
      const end: End = { segment: this.#segment, offset: this.#bufferAt, chain: this.#chain };
      this.#recycle();
      this.#sync(file, begins, (error) => this.#synced(error, position, end, began));
    } catch (error) {
      if (!(error instanceof FilesError)) throw error;
      this.#fail(error);
    }
  }

  #commit(): void {
    const at = beginRecord(this.#buffer, journalRecord.commit, 0);
    this.#chain = endRecord(this.#buffer, at, this.#chain);
  }

  #recycle(): void {
    if (this.#buffer.bytes.length > keepBufferBytes) this.#buffer = new ByteWriter(bufferBytes);
    else this.#buffer.reset();
  }

  #sync(file: AppendFile, begins: boolean, done: JournalDone): void {
    this.#syncing = true;
    let left = begins ? 2 : 1;
    let failed: FilesError | undefined;
    const run = this.#run;
    const one: JournalDone = (error) => {
      failed ??= error;
      if (--left === 0 && run === this.#run) done(failed);
    };
    file.sync(one);
    if (begins) this.#env.files.syncDir(this.#dir, one);
  }

  #synced(error: FilesError | undefined, position: number, end: End, began: number): void {
    this.#syncing = false;
    if (this.#closed) return;
    if (error !== undefined) {
      this.#fail(error);
      return;
    }
    this.#syncsTotal.value++;
    this.#syncSeconds.observe((this.#env.clock.now() - began) / 1000);
    this.#durable = position;
    this.#durableEnd = end;
    let n = 0;
    while (n < this.#waiting.length && (this.#waiting[n] as Waiting).position <= position) n++;
    const ready = this.#waiting.splice(0, n);
    for (const { done } of ready) done(undefined);
    if (this.#closing !== undefined && this.#buffer.length === 0) this.#close(undefined);
    else this.#flush();
  }

  #fail(error: FilesError): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.#run++;
    this.#syncing = false;
    this.#begins = false;
    this.#rotate = false;
    this.#open = -1;
    this.#recycle();
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#durable = this.#position;
    for (const { done } of waiting) done(error);
    this.onFailure(error);
    if (this.#closing !== undefined) this.#close(error);
  }

  /** Runs when the disk refuses; what waited has been told. */
  onFailure: (error: FilesError) => void = () => {};

  #close(error: FilesError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#file?.close();
    this.#closing?.(error);
  }

  // ---- segments that nobody needs ----

  /** One by one, each durably gone before the next: a crash must not leave a gap that looks like a loss. */
  #deleteNext(): void {
    const oldest = this.#segments[0];
    if (this.#deleting || oldest === undefined || oldest.segment >= this.#base || this.#closed) return;
    try {
      this.#env.files.remove(`${this.#dir}/${segmentName(oldest.segment)}`);
      this.#segments.shift();
      this.#deleting = true;
      this.#env.files.syncDir(this.#dir, (error) => {
        this.#deleting = false;
        if (error === undefined) this.#deleteNext();
      });
    } catch (error) {
      if (!(error instanceof FilesError)) throw error;
      // Nothing is wrong with the journal: the next round tries again.
      this.#env.log.warn('a file of the sessions’ journal could not be deleted', { path: error.path, error: error.message });
    }
  }
}

/**
 * Reads what is there into the visitor; what is written goes to a new segment. What was found may be in the page cache
 * only, and is synced before the first batch is durable. Throws JournalVersionError and FilesError.
 */
export function openJournal(
  env: JournalEnv,
  options: JournalOptions,
  visitor: JournalVisitor,
): { readonly journal: Journal; readonly recovery: JournalRecovery } {
  const dir = options.dir ?? journalDefaults.dir;
  env.files.makeDir(dir);
  const found = recoverJournal(env.files, dir, visitor);
  for (const name of found.leftovers) env.files.remove(`${dir}/${name}`);
  const last = found.segments.at(-1)?.segment ?? 0;
  const segments = found.segments.map((s) => ({ ...s }));
  const journal = new Journal(env, options, { segment: last, offset: found.end, chain: found.chain }, segments);
  journal.syncFound();
  return { journal, recovery: { damage: found.damage, tornBytes: found.tornBytes } };
}
