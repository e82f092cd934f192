// The bytes of the write-ahead log. Everything is little-endian.
//
// A segment `wal/0000000042.log` is a header of 128 bytes and records:
//
//   header   magic 8 · version u32 · segment u32 · previousEnd u32 · chain u32 · nodeId (u8 length, bytes)
//            · zeros · crc u32 at 124
//   record   length u32 · type u8 · shard u24 (its high byte first) · headerCrc u32 · payload · crc u32 · end 0xa5
//
// Checksums are chained: `headerCrc` continues from the `crc` of the record before (the header's
// `chain` at the start of a segment), `crc` continues from `headerCrc`. A record that was lost,
// moved or left over from earlier therefore does not check. `length` has a checksum of its own,
// so that a flipped bit in it is not taken for the end of the file. The last byte of a record is
// never zero, so that one whose end was not written is told from one that was changed.
//
// A segment begins with its head: the node's id once more, the complete state of every shard but
// its entries, and `headEnd`. `previousEnd` says where the segment before it ended: it was synced
// up to there before this one was begun.

import { assert } from '#base/assert.js';
import { ByteReader } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import { copyBytes, emptyBytes } from '#base/bytes.js';
import { crc32c, crc32cShared } from '#base/crc32c.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { HardState, LogBase, LogEntry, LogEntryKind, WalDamage } from './types.js';

export const formatVersion = 1;
export const headerBytes = 128;
export const recordHeaderBytes = 12;
/** Checksum and end mark after the payload. */
export const recordTrailerBytes = 5;
const endMark = 0xa5;

const walMagic = utf8Encode('smeshwal');
const crcAt = headerBytes - 4;
const nodeIdBytesMax = 64;

export const recordType: {
  readonly node: 1;
  readonly shard: 2;
  readonly headEnd: 3;
  readonly entries: 4;
  readonly truncate: 5;
  readonly hardState: 6;
  readonly base: 7;
  readonly install: 8;
  readonly repaired: 9;
  readonly drop: 10;
} = { node: 1, shard: 2, headEnd: 3, entries: 4, truncate: 5, hardState: 6, base: 7, install: 8, repaired: 9, drop: 10 };

export interface SegmentHeader {
  readonly version: number;
  readonly segment: number;
  readonly previousEnd: number;
  readonly chain: number;
  readonly nodeId: string;
}

export function segmentName(segment: number): string {
  return `${String(segment).padStart(10, '0')}.log`;
}

/** Undefined for names of other files. */
export function segmentNumber(name: string): number | undefined {
  const match = /^(\d{10})\.log$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** `magic`: of which kind of log. */
export function encodeHeader(h: Omit<SegmentHeader, 'version'>, magic: Uint8Array = walMagic): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  const view = new DataView(bytes.buffer);
  const nodeId = utf8Encode(h.nodeId);
  assert(nodeId.length <= nodeIdBytesMax, 'wal: node id too long');
  bytes.set(magic, 0);
  view.setUint32(8, formatVersion, true);
  view.setUint32(12, h.segment, true);
  view.setUint32(16, h.previousEnd, true);
  view.setUint32(20, h.chain, true);
  bytes[24] = nodeId.length;
  bytes.set(nodeId, 25);
  view.setUint32(crcAt, crc32c(bytes, 0, 0, crcAt), true);
  return bytes;
}

/** Undefined when it is not one. Every version keeps magic, version and checksum where they are. */
export function decodeHeader(bytes: Uint8Array, magic: Uint8Array = walMagic): SegmentHeader | undefined {
  if (bytes.length < headerBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes);
  for (let i = 0; i < magic.length; i++) if (bytes[i] !== magic[i]) return undefined;
  if (view.getUint32(crcAt, true) !== crc32c(bytes, 0, 0, crcAt)) return undefined;
  const nodeId = utf8Decode(bytes, 25, 25 + Math.min(bytes[24] ?? 0, nodeIdBytesMax)) ?? '';
  return {
    version: view.getUint32(8, true),
    segment: view.getUint32(12, true),
    previousEnd: view.getUint32(16, true),
    chain: view.getUint32(20, true),
    nodeId,
  };
}

/** Starts a record; the payload follows, then {@link endRecord}. Returns where it starts. */
export function beginRecord(w: ByteWriter, type: number, shard: number): number {
  const at = w.length;
  w.u32(0);
  w.u8(type);
  w.u8(shard >>> 16);
  w.u16(shard & 0xffff);
  w.u32(0);
  return at;
}

export function isEndMark(byte: number | undefined): boolean {
  return byte === endMark;
}

/** Returns the chain for the next record. `shared`: the payload's end, bytes that are never changed and whose checksum others need too. */
export function endRecord(w: ByteWriter, at: number, chain: number, shared: Uint8Array = emptyBytes): number {
  w.patchU32(at, w.length - at - recordHeaderBytes);
  const headerCrc = crc32c(w.bytes, chain, at, at + 8);
  w.patchU32(at + 8, headerCrc);
  const head = crc32c(w.bytes, headerCrc, at + recordHeaderBytes, w.length - shared.length);
  const crc = shared.length === 0 ? head : crc32cShared(shared, head);
  w.u32(crc);
  w.u8(endMark);
  return crc;
}

export function writeHardState(w: ByteWriter, s: HardState): void {
  w.varint(s.currentTerm);
  w.string(s.votedFor);
}

export function readHardState(r: ByteReader): HardState {
  const currentTerm = r.varint();
  return { currentTerm, votedFor: r.string() };
}

export function writeBase(w: ByteWriter, b: LogBase): void {
  w.varint(b.index);
  w.varint(b.term);
  w.blob(b.config);
  w.string(b.historyId);
  w.varint(b.generation);
}

export function readBase(r: ByteReader): LogBase {
  const index = r.varint();
  const term = r.varint();
  const config = copyBytes(r.blob());
  const historyId = r.string();
  return { index, term, config, historyId, generation: r.varint() };
}

/** Everything about a shard but its entries. */
export interface ShardState {
  readonly name: string;
  readonly hardState: HardState;
  readonly base: LogBase;
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly damage: WalDamage | undefined;
}

export function writeShardState(w: ByteWriter, s: ShardState): void {
  w.string(s.name);
  writeHardState(w, s.hardState);
  writeBase(w, s.base);
  w.varint(s.lastIndex);
  w.varint(s.lastTerm);
  w.u8(s.damage === undefined ? 0 : 1);
  if (s.damage === undefined) return;
  w.string(s.damage.file);
  w.varint(s.damage.offset);
  w.string(s.damage.reason);
}

export function readShardState(r: ByteReader): ShardState {
  const name = r.string();
  const hardState = readHardState(r);
  const base = readBase(r);
  const lastIndex = r.varint();
  const lastTerm = r.varint();
  if (r.u8() === 0) return { name, hardState, base, lastIndex, lastTerm, damage: undefined };
  const file = r.string();
  const offset = r.varint();
  return { name, hardState, base, lastIndex, lastTerm, damage: { file, offset, reason: r.string() } };
}

const kinds: readonly LogEntryKind[] = ['normal', 'noop', 'config'];

/** Entries `from` up to and without `to` of a list; `previousTerm` is the term of the index before. */
export function writeEntries(w: ByteWriter, entries: readonly LogEntry[], from: number, to: number, previousTerm: number): void {
  const first = entries[from];
  assert(first !== undefined && to > from, 'wal: no entries');
  w.varint(first.index);
  w.varint(previousTerm);
  w.varint(to - from);
  for (let i = from; i < to; i++) {
    const e = entries[i] as LogEntry;
    w.varint(e.term);
    w.u8(kinds.indexOf(e.kind));
    w.blob(e.data);
  }
}

/** Walks a payload of entries without copying; `data` is a view. */
export class EntriesReader {
  readonly firstIndex: number;
  readonly previousTerm: number;
  readonly count: number;
  readonly #reader: ByteReader;
  #next: number;

  /** Throws MalformedError, as does `next`. */
  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#reader = new ByteReader(bytes, start, end);
    this.firstIndex = this.#reader.varint();
    this.previousTerm = this.#reader.varint();
    this.count = this.#reader.varint();
    this.#next = this.firstIndex;
  }

  next(): LogEntry | undefined {
    if (this.#next >= this.firstIndex + this.count) return undefined;
    const term = this.#reader.varint();
    const kind = kinds[this.#reader.u8()] ?? 'normal';
    return { index: this.#next++, term, kind, data: this.#reader.blob() };
  }
}
