// Proposals on their way to a shard's leader, and the answers: bodies of the rpc `db.propose`.
//
//   request: string shard · varint incarnation · varint received up to · u8 until effective · varint count · count × proposal
//   proposal: varint seq · u8 kind · blob body
//   reply: count × (u8 code · varint index · blob reply), in the order of the request
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes, emptyBytes } from '#base/bytes.js';
import { Slab } from '#base/slab.js';
import type { Op } from './api.js';

export const proposalKind: { readonly ops: 0; readonly command: 1; readonly transaction: 2; readonly void: 3 } = {
  ops: 0,
  command: 1,
  transaction: 2,
  void: 3,
};
export type ProposalKind = 0 | 1 | 2 | 3;

export interface Proposal {
  readonly seq: number;
  readonly kind: ProposalKind;
  readonly body: Uint8Array;
}

export interface ProposalBatch {
  readonly shard: string;
  readonly incarnation: number;
  readonly receivedUpTo: number;
  readonly effective: boolean;
  readonly proposals: readonly Proposal[];
}

/** First four as in a stream's outcomes; the others mean: not executed by this answer, try again or give up. */
export const answer: {
  readonly done: 0;
  readonly refused: 1;
  readonly conflict: 2;
  readonly void: 3;
  /** Committed, but not seen everywhere in time. */
  readonly notEffective: 4;
  /** `reply` names the leader's node id, or is empty. */
  readonly notLeader: 10;
  readonly gap: 11;
  readonly fenced: 12;
  readonly notAdmitted: 13;
  readonly busy: 14;
} = { done: 0, refused: 1, conflict: 2, void: 3, notEffective: 4, notLeader: 10, gap: 11, fenced: 12, notAdmitted: 13, busy: 14 };
export type AnswerCode = 0 | 1 | 2 | 3 | 4 | 10 | 11 | 12 | 13 | 14;

export interface Answer {
  readonly code: AnswerCode;
  readonly index: number;
  readonly reply: Uint8Array;
}

export function writeProposalBatch(w: ByteWriter, b: ProposalBatch): void {
  w.string(b.shard);
  w.varint(b.incarnation);
  w.varint(b.receivedUpTo);
  w.u8(b.effective ? 1 : 0);
  w.varint(b.proposals.length);
  for (const p of b.proposals) {
    w.varint(p.seq);
    w.u8(p.kind);
    w.blob(p.body);
  }
}

/** Bodies are copies: they outlive the frame. */
export function readProposalBatch(bytes: Uint8Array): ProposalBatch {
  const r = new ByteReader(copyBytes(bytes));
  const shard = r.string();
  const incarnation = r.varint();
  const receivedUpTo = r.varint();
  const effective = r.u8() === 1;
  const proposals: Proposal[] = [];
  for (let n = r.varint(); n > 0; n--) {
    const seq = r.varint();
    const kind = r.u8();
    if (kind > 3) throw new MalformedError(`unknown proposal kind ${kind}`);
    proposals.push({ seq, kind: kind as ProposalKind, body: r.blob() });
  }
  r.done();
  return { shard, incarnation, receivedUpTo, effective, proposals };
}

/** For encodings that are copied out at once; none of them calls another. */
const scratch = new ByteWriter(4096);
/** A proposal lives until it is answered and applied. */
const bodies = new Slab();

export function encodeAnswers(answers: readonly Answer[]): Uint8Array {
  const w = scratch;
  w.reset();
  w.varint(answers.length);
  for (const a of answers) {
    w.u8(a.code);
    w.varint(a.index);
    w.blob(a.reply);
  }
  return w.finish();
}

/** Replies are copies. */
export function decodeAnswers(bytes: Uint8Array): Answer[] {
  const r = new ByteReader(copyBytes(bytes));
  const answers: Answer[] = [];
  for (let n = r.varint(); n > 0; n--) answers.push({ code: r.u8() as AnswerCode, index: r.varint(), reply: r.blob() });
  return answers;
}

// ---- bodies ----

/** Stands for the proposing incarnation, whichever it is when the leader takes the proposal. */
export const ownerSelf: number = 2 ** 48 - 1;

/** A put or delete as the proposer wrote it; the leader resolves `ownerSelf`. */
export type ProposedOp =
  | { readonly kind: 'put'; readonly tableId: number; readonly key: Uint8Array; readonly owner: number; readonly value: Uint8Array }
  | { readonly kind: 'delete'; readonly tableId: number; readonly key: Uint8Array };

export function writeOps(w: ByteWriter, ops: readonly ProposedOp[]): void {
  w.varint(ops.length);
  for (const op of ops) {
    w.u8(op.kind === 'put' ? 1 : 2);
    w.varint(op.tableId);
    w.blob(op.key);
    if (op.kind === 'delete') continue;
    w.varint(op.owner);
    w.blob(op.value);
  }
}

export function readOps(r: ByteReader): ProposedOp[] {
  const ops: ProposedOp[] = [];
  for (let n = r.varint(); n > 0; n--) {
    const code = r.u8();
    const tableId = r.varint();
    const key = r.blob();
    if (code === 1) ops.push({ kind: 'put', tableId, key, owner: r.varint(), value: r.blob() });
    else if (code === 2) ops.push({ kind: 'delete', tableId, key });
    else throw new MalformedError(`unknown operation ${code}`);
  }
  return ops;
}

/** Walks through a body of kind `ops` without making an object of each operation: the leader's hot path. */
export class OpsCursor {
  bytes: Uint8Array = emptyBytes;
  /** Of the body. */
  count = 0;
  tableId = 0;
  isPut = false;
  owner = 0;
  /** Places in `bytes` of the operation, its key and its value; `valueStart` is where the value's length lies. */
  start = 0;
  keyFrom = 0;
  keyTo = 0;
  valueStart = 0;
  valueBytes = 0;
  end = 0;
  #left = 0;

  /** Throws MalformedError, as `next` does. */
  begin(body: Uint8Array): void {
    this.bytes = body;
    this.end = 0;
    this.count = this.#varint();
    this.#left = this.count;
  }

  /** Moves to the next operation; false at the end. */
  next(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    this.start = this.end;
    const code = this.#varint();
    if (code !== 1 && code !== 2) throw new MalformedError(`unknown operation ${code}`);
    this.isPut = code === 1;
    this.tableId = this.#varint();
    const keyBytes = this.#varint();
    this.keyFrom = this.end;
    this.#skip(keyBytes);
    this.keyTo = this.end;
    this.owner = this.isPut ? this.#varint() : 0;
    this.valueStart = this.end;
    this.valueBytes = this.isPut ? this.#varint() : 0;
    this.#skip(this.valueBytes);
    return true;
  }

  #skip(n: number): void {
    this.end += n;
    if (this.end > this.bytes.length) throw new MalformedError('the operation is cut off');
  }

  #varint(): number {
    let v = 0;
    for (let scale = 1, i = 0; i < 8; i++, scale *= 128) {
      const b = this.bytes[this.end++];
      if (b === undefined) throw new MalformedError('the operation is cut off');
      v += (b & 127) * scale;
      if (b < 128) return v;
    }
    throw new MalformedError('varint too long');
  }
}

export interface ReadSet {
  readonly snapshotIndex: number;
  readonly keys: readonly { readonly tableId: number; readonly key: Uint8Array }[];
  /** [start, end); `end` undefined: to the end of the table. */
  readonly ranges: readonly { readonly tableId: number; readonly start: Uint8Array; readonly end: Uint8Array | undefined }[];
}

export interface TransactionBody {
  readonly reads: ReadSet;
  readonly ops: readonly ProposedOp[];
  readonly reply: Uint8Array;
}

export function encodeTransaction(t: TransactionBody): Uint8Array {
  const w = scratch;
  w.reset();
  w.varint(t.reads.snapshotIndex);
  w.varint(t.reads.keys.length);
  for (const k of t.reads.keys) {
    w.varint(k.tableId);
    w.blob(k.key);
  }
  w.varint(t.reads.ranges.length);
  for (const g of t.reads.ranges) {
    w.varint(g.tableId);
    w.blob(g.start);
    w.u8(g.end === undefined ? 0 : 1);
    if (g.end !== undefined) w.blob(g.end);
  }
  writeOps(w, t.ops);
  w.blob(t.reply);
  return w.finish();
}

export function decodeTransaction(body: Uint8Array): TransactionBody {
  const r = new ByteReader(body);
  const snapshotIndex = r.varint();
  const keys: { tableId: number; key: Uint8Array }[] = [];
  for (let n = r.varint(); n > 0; n--) keys.push({ tableId: r.varint(), key: r.blob() });
  const ranges: { tableId: number; start: Uint8Array; end: Uint8Array | undefined }[] = [];
  for (let n = r.varint(); n > 0; n--) {
    const tableId = r.varint();
    const start = r.blob();
    ranges.push({ tableId, start, end: r.u8() === 1 ? r.blob() : undefined });
  }
  const ops = readOps(r);
  const reply = r.blob();
  r.done();
  return { reads: { snapshotIndex, keys, ranges }, ops, reply };
}

/** A body of kind `ops`, from what the caller of `write` gave. */
export function encodeWrites(ops: readonly Op[]): Uint8Array {
  const w = scratch;
  w.reset();
  w.varint(ops.length);
  for (const op of ops) {
    w.u8(op.kind === 'put' ? 1 : 2);
    w.varint(op.table.id);
    w.blob(op.key);
    if (op.kind === 'delete') continue;
    w.varint(op.owner === 'self' ? ownerSelf : (op.owner ?? 0));
    w.blob(op.value);
  }
  return w.finishIn(bodies);
}

export function encodeCommand(name: string, body: Uint8Array): Uint8Array {
  const w = scratch;
  w.reset();
  w.string(name);
  w.blob(body);
  return w.finish();
}

export function decodeCommand(bytes: Uint8Array): { readonly name: string; readonly body: Uint8Array } {
  const r = new ByteReader(bytes);
  const name = r.string();
  const body = r.blob();
  r.done();
  return { name, body };
}
