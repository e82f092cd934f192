// Bodies of the rpc `db.read`: what a node that does not hold a shard reads of one that does, all of it from one
// state of the tables.
//
//   request: string shard · u8 fresh · varint at least · varint have · reads known · reads wanted
//   reads: varint count · count × (varint table · u8 kind · blob key or start · kind 2: blob end · kinds 1, 2: varint rows)
//   reply: varint index · u8 all · results
//   results: varint count · for each get: u8 found (0, 1) · [row]   for each range: u8 2 · varint count · count × (blob key · row) · u8 0 or 1 · [blob up to]
//   row: varint owner · blob value
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import type { Row } from './api.js';

/** A row by its key, or at most `rows` of the rows in [key, end); `end` undefined: to the table's last. */
export type RemoteRead =
  | { readonly kind: 'get'; readonly tableId: number; readonly key: Uint8Array }
  | { readonly kind: 'range'; readonly tableId: number; readonly key: Uint8Array; readonly end: Uint8Array | undefined; readonly rows: number };

export interface KeyedRow {
  readonly key: Uint8Array;
  readonly row: Row;
}

export type RemoteResult =
  | { readonly kind: 'get'; readonly row: Row | undefined }
  /** `upTo`: the rows end before this key, there may be more from there on; undefined: these are all of them. */
  | { readonly kind: 'range'; readonly rows: readonly KeyedRow[]; readonly upTo: Uint8Array | undefined };

export interface ReadRequest {
  readonly shard: string;
  /** Everything that was committed when the request came must be seen. */
  readonly fresh: boolean;
  /** The state must be at this index at least. */
  readonly atLeast: number;
  /** The state that `known` was read at: while it is the present one, only `wanted` is answered. 0: nothing is known. */
  readonly have: number;
  readonly known: readonly RemoteRead[];
  readonly wanted: readonly RemoteRead[];
}

export interface ReadReply {
  readonly index: number;
  /** Answers to `known` and `wanted`, else to `wanted` alone. */
  readonly all: boolean;
  readonly results: readonly RemoteResult[];
}

const kinds = { get: 0, open: 1, range: 2 } as const;

function writeReads(w: ByteWriter, reads: readonly RemoteRead[]): void {
  w.varint(reads.length);
  for (const read of reads) {
    w.varint(read.tableId);
    w.u8(read.kind === 'get' ? kinds.get : read.end === undefined ? kinds.open : kinds.range);
    w.blob(read.key);
    if (read.kind === 'get') continue;
    if (read.end !== undefined) w.blob(read.end);
    w.varint(read.rows);
  }
}

function readReads(r: ByteReader): RemoteRead[] {
  const reads: RemoteRead[] = [];
  for (let n = r.count(); n > 0; n--) {
    const tableId = r.varint();
    const kind = r.u8();
    const key = r.blob();
    if (kind === kinds.get) reads.push({ kind: 'get', tableId, key });
    else if (kind === kinds.open || kind === kinds.range)
      reads.push({ kind: 'range', tableId, key, end: kind === kinds.range ? r.blob() : undefined, rows: r.varint() });
    else throw new MalformedError(`unknown kind of read ${kind}`);
  }
  return reads;
}

export function writeReadRequest(w: ByteWriter, q: ReadRequest): void {
  w.string(q.shard);
  w.u8(q.fresh ? 1 : 0);
  w.varint(q.atLeast);
  w.varint(q.have);
  writeReads(w, q.known);
  writeReads(w, q.wanted);
}

/** Keys are copies: the answer may wait. */
export function decodeReadRequest(bytes: Uint8Array): ReadRequest {
  const r = new ByteReader(copyBytes(bytes));
  const shard = r.string();
  const fresh = r.u8() === 1;
  const q = { shard, fresh, atLeast: r.varint(), have: r.varint(), known: readReads(r), wanted: readReads(r) };
  r.done();
  return q;
}

function writeRow(w: ByteWriter, row: Row): void {
  w.varint(row.owner);
  w.blob(row.value);
}

export function writeReadReply(w: ByteWriter, reply: ReadReply): void {
  w.varint(reply.index);
  w.u8(reply.all ? 1 : 0);
  w.varint(reply.results.length);
  for (const result of reply.results) {
    if (result.kind === 'get') {
      w.u8(result.row === undefined ? 0 : 1);
      if (result.row !== undefined) writeRow(w, result.row);
      continue;
    }
    w.u8(2);
    w.varint(result.rows.length);
    for (const { key, row } of result.rows) {
      w.blob(key);
      writeRow(w, row);
    }
    w.u8(result.upTo === undefined ? 0 : 1);
    if (result.upTo !== undefined) w.blob(result.upTo);
  }
}

/** Rows are copies. */
export function decodeReadReply(bytes: Uint8Array): ReadReply {
  const r = new ByteReader(copyBytes(bytes));
  const row = (): Row => {
    const owner = r.varint();
    return { owner, value: r.blob() };
  };
  const index = r.varint();
  const all = r.u8() === 1;
  const results: RemoteResult[] = [];
  for (let n = r.count(); n > 0; n--) {
    const kind = r.u8();
    if (kind < 2) results.push({ kind: 'get', row: kind === 1 ? row() : undefined });
    else if (kind === 2) {
      const rows: KeyedRow[] = [];
      for (let m = r.count(); m > 0; m--) rows.push({ key: r.blob(), row: row() });
      results.push({ kind: 'range', rows, upTo: r.u8() === 1 ? r.blob() : undefined });
    } else throw new MalformedError(`unknown kind of result ${kind}`);
  }
  r.done();
  return { index, all, results };
}
