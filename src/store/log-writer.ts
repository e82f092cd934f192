// The writing half of the log: gathers records into batches, one append and one sync per batch,
// one batch at a time; begins new segments. `store/wal.ts` drives it and decides what to write.
//
// A batch is encoded as it grows: its place in the segment and its chain of checksums are known
// from its first record on, because only one writer exists and a segment is only changed at the
// start of a batch. Before a new segment is begun everything before it is durable.
import { assert } from '#base/assert.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Env } from '#env/env.js';
import { type AppendFile, FilesError } from '#env/files.js';
import { beginRecord, encodeHeader, endRecord, recordHeaderBytes, recordTrailerBytes, recordType, segmentName } from './format.js';
import type { RecordPlace } from './record-index.js';
import { type WalDone, WalError } from './types.js';
import { type Mark, mirrorMark, mirrorName } from './vote-mirror.js';

/** A mark into the mirror each time so much has become durable (and at the close). */
const markEveryBytes = 1024 * 1024;
const bufferBytes = 64 * 1024;
/** A buffer that has grown beyond this is given back. */
const keepBufferBytes = 4 * 1024 * 1024;

export interface WriterHooks {
  /** Writes the records of a segment's head, all but `node` and `headEnd`. `previousBytes`: length of the segment before. */
  head(previousBytes: number): void;
  /** The head of the mirror: every hard state. */
  mirrorHead(w: ByteWriter): void;
  /** A batch has been handed to the file: what is in memory up to here is in it. */
  written(): void;
  /** It is durable; before its callbacks. */
  durable(): void;
  failed(error: WalError): void;
}

export interface WriterStart {
  readonly dir: string;
  readonly nodeId: string;
  readonly segmentBytes: number;
  /** The last segment found, 0 when there is none. */
  readonly segment: number;
  readonly end: number;
  readonly chain: number;
}

export class LogWriter {
  readonly #env: Pick<Env, 'files' | 'clock' | 'metrics'>;
  readonly #hooks: WriterHooks;
  readonly #start: WriterStart;
  #buffer = new ByteWriter(bufferBytes);
  readonly #mirrorBuffer = new ByteWriter(1024);
  readonly #bytesTotal: { value: number };
  readonly #syncsTotal: { value: number };
  readonly #syncSeconds: { observe(value: number): void };
  #chain: number;
  /** Segment that the buffer goes to, and where the buffer begins in it. */
  #segment: number;
  #bufferAt: number;
  /** The buffer begins a new segment. */
  #begins = false;
  /** The log's directory is an entry of its own, durable with the first segment that was begun here. */
  #rooted = false;
  #file: AppendFile | undefined;
  #mirror: AppendFile | undefined;
  #waiting: WalDone[] = [];
  #syncing: WalDone[] | undefined;
  #syncingBytes = 0;
  #durableEnd: Mark = { segment: 0, offset: 0 };
  #markedEnd = 0;
  #scheduled = false;
  #closing: WalDone | undefined;
  failure: WalError | undefined;

  constructor(env: Pick<Env, 'files' | 'clock' | 'metrics'>, start: WriterStart, hooks: WriterHooks) {
    this.#env = env;
    this.#start = start;
    this.#hooks = hooks;
    this.#segment = start.segment;
    this.#bufferAt = start.end;
    this.#chain = start.chain;
    this.#bytesTotal = env.metrics.counter('starmesh_wal_bytes_total', 'Bytes appended to the write-ahead log.');
    this.#syncsTotal = env.metrics.counter('starmesh_wal_syncs_total', 'Syncs of the write-ahead log.');
    this.#syncSeconds = env.metrics.histogram(
      'starmesh_wal_sync_seconds',
      'Time from append to durable.',
      [0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1],
    );
  }

  /**
   * What was found may be in the page cache only (the process was killed, not the machine), and
   * counts as durable from now on: so it is synced before anything else is written.
   */
  syncFound(): void {
    const { dir, segment, end } = this.#start;
    if (segment === 0) return;
    this.#durableEnd = { segment, offset: end };
    this.#markedEnd = end;
    this.#syncing = [];
    const began = this.#env.clock.now();
    const { files } = this.#env;
    try {
      const found = [`${dir}/${segmentName(segment)}`, `${dir}/${mirrorName(segment)}`].filter((path) => files.exists(path));
      let left = found.length + 2;
      const done = (error: FilesError | undefined): void => {
        if (this.failure !== undefined) return;
        if (error !== undefined) this.#fail(error);
        else if (--left === 0) this.#durable(began, this.#durableEnd);
      };
      for (const path of found) {
        const file = files.openAppend(path);
        file.sync(done);
        file.close();
      }
      for (const path of [dir, parentOf(dir)]) files.syncDir(path, done);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Segment that the next record goes to. */
  get segment(): number {
    return this.#segment;
  }

  /** Segment of the last batch that became durable, 0 before the first. */
  get durableSegment(): number {
    return this.#durableEnd.segment;
  }

  get pendingBytes(): number {
    return this.#buffer.length + this.#syncingBytes;
  }

  /** Bytes of the newest segment, what is still in the buffer included. */
  get segmentEnd(): number {
    return this.#bufferAt + this.#buffer.length;
  }

  /** The hard states' second place; synced together with the batch. */
  get mirror(): ByteWriter {
    return this.#mirrorBuffer;
  }

  /** Adds a record to the batch, which has begun, and returns where it lies. `shared`: see `endRecord`. */
  record(type: number, shard: number, fill: (w: ByteWriter) => void, shared?: Uint8Array): Omit<RecordPlace, 'firstIndex'> {
    // A batch that grew while its predecessor was synced is written right after the callbacks of that sync.
    assert(this.#scheduled || this.#syncing !== undefined || this.#buffer.length > 0, 'wal: record outside a batch');
    return this.#put(type, shard, fill, shared);
  }

  #put(type: number, shard: number, fill: (w: ByteWriter) => void, shared?: Uint8Array): Omit<RecordPlace, 'firstIndex'> {
    const w = this.#buffer;
    const at = beginRecord(w, type, shard);
    fill(w);
    this.#chain = endRecord(w, at, this.#chain, shared);
    const length = w.length - at - recordHeaderBytes - recordTrailerBytes;
    return { segment: this.#segment, offset: this.#bufferAt + at, length, crc: this.#chain };
  }

  /**
   * Before anything is changed in memory: a batch that begins a new segment states in its head
   * how everything was before the batch, so that a crash in between tears nothing apart.
   */
  begin(): void {
    if (this.#buffer.length > 0) return;
    this.#schedule();
    if (this.#file !== undefined && this.#bufferAt < this.#start.segmentBytes) return;
    this.#begins = true;
    this.#segment++;
    const { nodeId } = this.#start;
    const previousEnd = this.#bufferAt;
    const header = encodeHeader({ segment: this.#segment, previousEnd, chain: this.#chain, nodeId });
    this.#bufferAt = 0;
    this.#buffer.raw(header);
    this.#put(recordType.node, 0, (w) => w.string(nodeId));
    this.#hooks.head(previousEnd);
    this.#put(recordType.headEnd, 0, () => undefined);
  }

  /** For `hooks.head`. */
  headRecord(type: number, shard: number, fill: (w: ByteWriter) => void): void {
    this.#put(type, shard, fill);
  }

  /** `done` runs when everything recorded so far is durable. */
  whenDurable(done: WalDone): void {
    if (this.failure !== undefined) {
      const { failure } = this;
      this.#env.clock.endOfTurn(() => done(failure));
    } else if (this.#buffer.length > 0) this.#waiting.push(done);
    else if (this.#syncing !== undefined) this.#syncing.push(done);
    else this.#env.clock.endOfTurn(() => done(this.failure));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#env.clock.endOfTurn(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  /** Writes the batch, unless one is being synced: then it goes out right after. */
  flush(): void {
    if (this.failure !== undefined || this.#syncing !== undefined) return;
    if (this.#buffer.length === 0) {
      this.#finishClose();
      return;
    }
    const began = this.#env.clock.now();
    const batch = this.#waiting;
    this.#waiting = [];
    this.#syncing = batch;
    this.#syncingBytes = this.#buffer.length;
    try {
      this.#write(began);
    } catch (error) {
      this.#fail(error);
    }
  }

  #write(began: number): void {
    const begins = this.#begins;
    if (begins) this.#open();
    const file = this.#file as AppendFile;
    file.append([this.#buffer.view()]);
    this.#bytesTotal.value += this.#buffer.length;
    this.#syncsTotal.value++;
    this.#bufferAt += this.#buffer.length;
    this.#begins = false;
    if (this.#buffer.bytes.length > keepBufferBytes) this.#buffer = new ByteWriter(bufferBytes);
    else this.#buffer.reset();
    // The buffer may begin the next segment before this one is synced.
    const end = { segment: this.#segment, offset: this.#bufferAt };
    let left = 1;
    const done = (error: FilesError | undefined): void => {
      if (this.failure !== undefined) return;
      if (error !== undefined) this.#fail(error);
      else if (--left === 0) this.#durable(began, end);
    };
    this.#hooks.written();
    if ((begins || this.#mirrorBuffer.length > 0) && this.#mirror !== undefined) {
      left++;
      this.#mirror.append([this.#mirrorBuffer.view()]);
      this.#mirrorBuffer.reset();
      this.#mirror.sync(done);
    }
    if (begins) {
      // The log's own directory may be as new as the segment.
      const { dir } = this.#start;
      for (const path of this.#rooted ? [dir] : [dir, parentOf(dir)]) {
        left++;
        this.#env.files.syncDir(path, done);
      }
      this.#rooted = true;
    }
    file.sync(done);
  }

  #open(): void {
    const { files } = this.#env;
    const { dir } = this.#start;
    const path = `${dir}/${segmentName(this.#segment)}`;
    const mirror = `${dir}/${mirrorName(this.#segment)}`;
    // Left over from a crash before anything in them was acknowledged.
    for (const leftover of [path, mirror]) if (files.exists(leftover)) files.remove(leftover);
    this.#file?.close();
    this.#mirror?.close();
    this.#file = files.openAppend(path);
    this.#mirror = files.openAppend(mirror);
    const states = new ByteWriter(1024);
    this.#hooks.mirrorHead(states);
    if (states.length > 0) this.#mirror.append([states.view()]);
  }

  #durable(began: number, end: Mark): void {
    const batch = this.#syncing ?? [];
    this.#syncing = undefined;
    this.#syncingBytes = 0;
    if (end.segment !== this.#durableEnd.segment) this.#markedEnd = 0;
    this.#durableEnd = end;
    this.#syncSeconds.observe((this.#env.clock.now() - began) / 1000);
    if (end.offset - this.#markedEnd >= markEveryBytes) this.#mark();
    this.#hooks.durable();
    try {
      for (const done of batch) done(undefined);
    } finally {
      this.flush();
    }
  }

  #mark(): void {
    const mark = new ByteWriter(32);
    mirrorMark(mark, this.#durableEnd);
    this.#markedEnd = this.#durableEnd.offset;
    try {
      this.#mirror?.append([mark.view()]);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** From outside: what was read back is not what was written. */
  fail(message: string): void {
    this.#fail(new FilesError('EIO', this.#start.dir, message));
  }

  #fail(error: unknown): void {
    if (!(error instanceof FilesError)) throw error;
    if (this.failure !== undefined) return;
    const failure = new WalError('failed', `${error.path}: ${error.message}`);
    this.failure = failure;
    const waiting = [...(this.#syncing ?? []), ...this.#waiting];
    this.#syncing = undefined;
    this.#waiting = [];
    this.#env.clock.endOfTurn(() => {
      this.#hooks.failed(failure);
      for (const done of waiting) done(failure);
      this.#finishClose();
    });
  }

  /** Writes and syncs the rest, then closes. */
  close(done: WalDone): void {
    this.#closing = done;
    this.flush();
    if (this.failure !== undefined) this.#env.clock.endOfTurn(() => this.#finishClose());
  }

  #finishClose(): void {
    const closing = this.#closing;
    if (closing === undefined) return;
    this.#closing = undefined;
    const end = (): void => {
      this.#file?.close();
      this.#mirror?.close();
      const { failure } = this;
      this.failure ??= new WalError('closed', 'the log is closed');
      closing(failure);
    };
    const mirror = this.#mirror;
    if (this.failure !== undefined || mirror === undefined || this.#markedEnd === this.#durableEnd.offset) {
      this.#env.clock.endOfTurn(end);
      return;
    }
    this.#mark();
    // Only a help against cuts from outside: an error here loses nothing.
    mirror.sync(end);
  }
}

function parentOf(dir: string): string {
  return dir.slice(0, Math.max(0, dir.lastIndexOf('/')));
}
