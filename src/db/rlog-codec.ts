// Messages of the lane `rlog`: a core streams a shard's committed log to a replicant (or to a core
// that fell behind its leader's log), bootstraps it first when the log alone is not enough.
//
// `entries` carries no stream id, so that its bytes can be the same for all replicants at the same
// place; what belongs to an abandoned stream is told apart by order: after `open` a receiver
// ignores everything of the shard until the `opened` that answers it.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import type { AppliedEntry } from './apply.js';

/**
 * resume: entries follow · bootstrap: chunks follow, then entries · continue: as bootstrap, from where the
 * copy stands that the receiver has begun · later: try again, or elsewhere.
 */
export type OpenedMode = 'resume' | 'bootstrap' | 'later' | 'continue';

/** A copy of the tables that was begun with another core. */
export interface CopyPlace {
  readonly historyId: string;
  /** Entries are wanted from the next index on; term of the entry at this one. */
  readonly index: number;
  readonly term: number;
  /** Highest stamp of the rows that are there. */
  readonly stamp: number;
  /** Last key that is there; empty: only what apply consults. Undefined: all rows are there. */
  readonly key: Uint8Array | undefined;
}

export type RlogMessage =
  /** receiver → core. `force`: bootstrap whatever the position. */
  | {
      readonly type: 'open';
      readonly shard: string;
      readonly stream: number;
      readonly historyId: string;
      readonly appliedIndex: number;
      readonly appliedTerm: number;
      readonly force: boolean;
      readonly copy: CopyPlace | undefined;
    }
  /** core → receiver */
  | {
      readonly type: 'opened';
      readonly shard: string;
      readonly stream: number;
      readonly mode: OpenedMode;
      readonly historyId: string;
      readonly commitIndex: number;
      readonly rows: number;
      readonly why: string;
    }
  /** Rows as they lie in the store, in key order; `stamp`: index of the tables they were read at. */
  | {
      readonly type: 'chunk';
      readonly shard: string;
      readonly stream: number;
      readonly stamp: number;
      readonly last: boolean;
      readonly rows: readonly StoredRow[];
    }
  | {
      readonly type: 'entries';
      readonly shard: string;
      readonly commitIndex: number;
      readonly committedTransactions: number;
      readonly entries: readonly AppliedEntry[];
    }
  /** receiver → core: everything up to `visible` is applied and seen; `bytes` of chunks and entries taken since `opened`. */
  | { readonly type: 'ack'; readonly shard: string; readonly stream: number; readonly visible: number; readonly bytes: number }
  /** core → receiver: somebody waits until everything up to `index` is seen; what nobody waits for need not be acknowledged at once. */
  | { readonly type: 'wanted'; readonly shard: string; readonly index: number }
  /** Either side: the stream is over. */
  | { readonly type: 'close'; readonly shard: string; readonly stream: number; readonly why: string };

export interface StoredRow {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

const codes = { open: 1, opened: 2, chunk: 3, entries: 4, ack: 5, close: 7, wanted: 8 } as const;
const modes: readonly OpenedMode[] = ['resume', 'bootstrap', 'later', 'continue'];

const scratch = new ByteWriter(4096);

/** `continued`: the reader knows of copies that go on with another core; of another, none is told. */
export function encodeRlog(m: RlogMessage, continued: boolean = true): Uint8Array {
  const w = scratch;
  w.reset();
  w.u8(codes[m.type]);
  w.string(m.shard);
  switch (m.type) {
    case 'open':
      w.varint(m.stream);
      w.string(m.historyId);
      w.varint(m.appliedIndex);
      w.varint(m.appliedTerm);
      w.u8(m.force ? 1 : 0);
      if (continued) writeCopy(w, m.copy);
      break;
    case 'opened':
      w.varint(m.stream);
      w.u8(modes.indexOf(m.mode));
      w.string(m.historyId);
      w.varint(m.commitIndex);
      w.varint(m.rows);
      w.string(m.why);
      break;
    case 'chunk':
      writeChunkHead(w, m, m.rows.length);
      for (const row of m.rows) writeChunkRow(w, row.key, row.value);
      break;
    case 'entries':
      w.varint(m.commitIndex);
      w.varint(m.committedTransactions);
      w.varint(m.entries.length);
      for (const e of m.entries) {
        w.varint(e.index);
        w.varint(e.term);
        w.u8(e.kind);
        w.blob(e.data);
      }
      break;
    case 'ack':
      w.varint(m.stream);
      w.varint(m.visible);
      w.varint(m.bytes);
      break;
    case 'wanted':
      w.varint(m.index);
      break;
    case 'close':
      w.varint(m.stream);
      w.string(m.why);
      break;
  }
  return w.finish();
}

/** The rows of a chunk, written one by one as they are read; what comes before them is `chunkHead`. */
export function writeChunkRow(w: ByteWriter, key: Uint8Array, value: Uint8Array): void {
  w.blob(key);
  w.blob(value);
}

/** A `chunk` without its rows. */
export function chunkHead(m: Omit<Extract<RlogMessage, { type: 'chunk' }>, 'rows'>, rows: number): Uint8Array {
  const w = scratch;
  w.reset();
  w.u8(codes.chunk);
  w.string(m.shard);
  writeChunkHead(w, m, rows);
  return w.finish();
}

function writeChunkHead(w: ByteWriter, m: Omit<Extract<RlogMessage, { type: 'chunk' }>, 'rows'>, rows: number): void {
  w.varint(m.stream);
  w.varint(m.stamp);
  w.u8(m.last ? 1 : 0);
  w.varint(rows);
}

function writeCopy(w: ByteWriter, copy: CopyPlace | undefined): void {
  w.u8(copy === undefined ? 0 : copy.key === undefined ? 1 : 2);
  if (copy === undefined) return;
  w.string(copy.historyId);
  w.varint(copy.index);
  w.varint(copy.term);
  w.varint(copy.stamp);
  if (copy.key !== undefined) w.blob(copy.key);
}

function readCopy(r: ByteReader): CopyPlace | undefined {
  const kind = r.u8();
  if (kind === 0) return undefined;
  return { historyId: r.string(), index: r.varint(), term: r.varint(), stamp: r.varint(), key: kind === 1 ? undefined : r.blob() };
}

/** Contents are copies of the frame, so that they may be kept. Throws MalformedError. */
export function decodeRlog(frame: Uint8Array): RlogMessage {
  const r = new ByteReader(copyBytes(frame));
  const code = r.u8();
  const shard = r.string();
  switch (code) {
    case codes.open:
      return {
        type: 'open',
        shard,
        stream: r.varint(),
        historyId: r.string(),
        appliedIndex: r.varint(),
        appliedTerm: r.varint(),
        force: r.u8() === 1,
        copy: r.remaining === 0 ? undefined : readCopy(r),
      };
    case codes.opened: {
      const stream = r.varint();
      const mode = modes[r.u8()];
      if (mode === undefined) throw new MalformedError('unknown mode');
      return { type: 'opened', shard, stream, mode, historyId: r.string(), commitIndex: r.varint(), rows: r.varint(), why: r.string() };
    }
    case codes.chunk: {
      const stream = r.varint();
      const stamp = r.varint();
      const last = r.u8() === 1;
      const rows: StoredRow[] = [];
      for (let n = r.varint(); n > 0; n--) rows.push({ key: r.blob(), value: r.blob() });
      return { type: 'chunk', shard, stream, stamp, last, rows };
    }
    case codes.entries: {
      const commitIndex = r.varint();
      const committedTransactions = r.varint();
      const entries: AppliedEntry[] = [];
      for (let n = r.varint(); n > 0; n--) entries.push({ index: r.varint(), term: r.varint(), kind: r.u8(), data: r.blob() });
      return { type: 'entries', shard, commitIndex, committedTransactions, entries };
    }
    case codes.ack:
      return { type: 'ack', shard, stream: r.varint(), visible: r.varint(), bytes: r.varint() };
    case codes.wanted:
      return { type: 'wanted', shard, index: r.varint() };
    case codes.close:
      return { type: 'close', shard, stream: r.varint(), why: r.string() };
    default:
      throw new MalformedError(`unknown rlog message ${code}`);
  }
}

/** What a row of a chunk counts against the receiver's credit. */
export function rowBytes(key: Uint8Array, value: Uint8Array): number {
  return key.length + value.length + 4;
}

/** What a chunk or an entries message counts against the receiver's credit. */
export function rowsBytes(rows: readonly StoredRow[]): number {
  let n = 0;
  for (const row of rows) n += rowBytes(row.key, row.value);
  return n;
}

export function entriesBytes(entries: readonly AppliedEntry[]): number {
  let n = 0;
  for (const e of entries) n += e.data.length + 16;
  return n;
}
