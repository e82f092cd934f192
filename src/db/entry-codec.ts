// A log entry's data: a batch of transactions, encoded once by the leader. The same bytes go to
// disk, to followers and to replicants. Only resolved, idempotent row writes: applying it needs
// no clock, no randomness, no other shard, and cannot fail.
//
//   u8 version · f64 leader stamp (ms since 1970) · varint count · count × transaction
//   transaction: varint incarnation [varint seq, varint received up to] · u8 status · blob reply · varint ops · ops
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import type { OpsCursor } from './proposal-codec.js';

export const entryVersion = 1;

/** Outcome of a numbered proposal, kept with its stream until the proposer has received it. */
export const status: { readonly done: 0; readonly refused: 1; readonly conflict: 2; readonly void: 3 } = {
  done: 0,
  refused: 1,
  conflict: 2,
  void: 3,
};
export type Status = 0 | 1 | 2 | 3;

/**
 * `previousOwner`: whose the row was just before, as the leader saw it (0: nobody's, or no row), so that
 * applying needs no read to keep the owner index small.
 */
export type EntryOp =
  | {
      readonly kind: 'put';
      readonly tableId: number;
      readonly key: Uint8Array;
      readonly owner: number;
      readonly previousOwner: number;
      readonly value: Uint8Array;
    }
  | { readonly kind: 'delete'; readonly tableId: number; readonly key: Uint8Array; readonly previousOwner: number }
  | { readonly kind: 'admit'; readonly nodeId: string; readonly incarnation: number }
  | { readonly kind: 'purge'; readonly nodeId: string; readonly incarnation: number }
  /** Deletes rows still owned by the incarnation whose stored key is in [from, to). */
  | { readonly kind: 'sweep'; readonly incarnation: number; readonly from: Uint8Array; readonly to: Uint8Array; readonly last: boolean }
  /** Forgets a frozen stream. */
  | { readonly kind: 'release'; readonly incarnation: number };

export interface EntryTransaction {
  /** Incarnation of the proposer; 0 for the leader's own and for proposals before joining (no stream). */
  readonly incarnation: number;
  readonly seq: number;
  /** The proposer has received all outcomes up to here. */
  readonly receivedUpTo: number;
  readonly status: Status;
  readonly reply: Uint8Array;
  readonly ops: readonly EntryOp[];
}

export interface EntryBatch {
  readonly stampMs: number;
  readonly transactions: readonly EntryTransaction[];
}

export const opCodes: { readonly put: 1; readonly delete: 2; readonly admit: 3; readonly purge: 4; readonly sweep: 5; readonly release: 6 } = {
  put: 1,
  delete: 2,
  admit: 3,
  purge: 4,
  sweep: 5,
  release: 6,
};

export function writeEntry(w: ByteWriter, batch: EntryBatch): void {
  writeEntryHead(w, batch.stampMs, batch.transactions.length);
  for (const t of batch.transactions) writeTransaction(w, t);
}

export function writeEntryHead(w: ByteWriter, stampMs: number, transactions: number): void {
  w.u8(entryVersion);
  w.f64(stampMs);
  w.varint(transactions);
}

export function writeTransaction(w: ByteWriter, t: EntryTransaction): void {
  writeTransactionHead(w, t, t.ops.length);
  for (const op of t.ops) writeOp(w, op);
}

/** What comes before the operations. */
export function writeTransactionHead(w: ByteWriter, t: Omit<EntryTransaction, 'ops'>, ops: number): void {
  w.varint(t.incarnation);
  if (t.incarnation !== 0) {
    w.varint(t.seq);
    w.varint(t.receivedUpTo);
  }
  w.u8(t.status);
  w.blob(t.reply);
  w.varint(ops);
}

/**
 * An operation of a proposal that needs no resolving (nobody's row in a table without owners), as it is: only the
 * previous owner, nobody, is put in between.
 */
export function writePlainOp(w: ByteWriter, op: OpsCursor): void {
  w.slice(op.bytes, op.start, op.valueStart);
  w.u8(0);
  w.slice(op.bytes, op.valueStart, op.end);
}

function writeOp(w: ByteWriter, op: EntryOp): void {
  w.u8(opCodes[op.kind]);
  switch (op.kind) {
    case 'put':
      w.varint(op.tableId);
      w.blob(op.key);
      w.varint(op.owner);
      w.varint(op.previousOwner);
      w.blob(op.value);
      return;
    case 'delete':
      w.varint(op.tableId);
      w.blob(op.key);
      w.varint(op.previousOwner);
      return;
    case 'admit':
    case 'purge':
      w.string(op.nodeId);
      w.varint(op.incarnation);
      return;
    case 'sweep':
      w.varint(op.incarnation);
      w.blob(op.from);
      w.blob(op.to);
      w.u8(op.last ? 1 : 0);
      return;
    case 'release':
      w.varint(op.incarnation);
      return;
  }
}

/** Keys and values are views of `data`. Throws MalformedError: then the log is damaged or from a newer version. */
export function readEntry(data: Uint8Array): EntryBatch {
  const r = new ByteReader(data);
  const version = r.u8();
  if (version !== entryVersion) throw new MalformedError(`log entry of version ${version}; this build knows ${entryVersion}`);
  const stampMs = r.f64();
  const count = r.varint();
  const transactions: EntryTransaction[] = [];
  for (let i = 0; i < count; i++) {
    const incarnation = r.varint();
    const seq = incarnation === 0 ? 0 : r.varint();
    const receivedUpTo = incarnation === 0 ? 0 : r.varint();
    const s = r.u8();
    if (s > 3) throw new MalformedError(`unknown status ${s}`);
    const reply = r.blob();
    const opCount = r.varint();
    const ops: EntryOp[] = [];
    for (let k = 0; k < opCount; k++) ops.push(readOp(r));
    transactions.push({ incarnation, seq, receivedUpTo, status: s as Status, reply, ops });
  }
  r.done();
  return { stampMs, transactions };
}

export function readOp(r: ByteReader): EntryOp {
  const code = r.u8();
  switch (code) {
    case opCodes.put:
      return { kind: 'put', tableId: r.varint(), key: r.blob(), owner: r.varint(), previousOwner: r.varint(), value: r.blob() };
    case opCodes.delete:
      return { kind: 'delete', tableId: r.varint(), key: r.blob(), previousOwner: r.varint() };
    case opCodes.admit:
      return { kind: 'admit', nodeId: r.string(), incarnation: r.varint() };
    case opCodes.purge:
      return { kind: 'purge', nodeId: r.string(), incarnation: r.varint() };
    case opCodes.sweep:
      return { kind: 'sweep', incarnation: r.varint(), from: r.blob(), to: r.blob(), last: r.u8() === 1 };
    case opCodes.release:
      return { kind: 'release', incarnation: r.varint() };
    default:
      throw new MalformedError(`unknown operation ${code}`);
  }
}
