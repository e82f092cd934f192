// How rows lie in a shard's table store: one ordered keyspace for all tables of the shard.
//
//   00 …                     system rows (system-rows.ts)
//   T  key                   rows of table T (1–126), keys up to `plainKeyBytesMax`
//   7f incarnation(6) key    owner index: the stored keys that an incarnation may own
//   80|T prefix hash(16)     rows of table T with longer keys: the full key lies in the value
//
// A stored value is: owner as varint, then (long keys only) the full key as blob, then the value.
import { assert } from '#base/assert.js';
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { compareBytes } from '#base/bytes.js';
import type { Slab } from '#base/slab.js';
import type { Hash } from '#env/hash.js';

/** Longest table key stored as it is; longer ones go to the side rows. LMDB itself stops at 1,978. */
export const plainKeyBytesMax = 1024;
/** Part of a long key that its side row is ordered by. */
export const longKeyPrefixBytes = 512;
const hashBytes = 16;
/** Fewer are quicker copied in a loop than by a view and `set`. */
const shortBytes = 32;
/** Longest table key at all: two 65,535-byte names and some. */
export const tableKeyBytesMax: number = 140 * 1024;
export const ownerIndexByte = 0x7f;
const sideBit = 0x80;

/** A copy of `key` with its table's byte before it, or its side-row key when it is long. */
export function storedKey(tableId: number, key: Uint8Array, hash: Hash): Uint8Array {
  if (key.length <= plainKeyBytesMax) return shortKey(new Uint8Array(1 + key.length), tableId, key, 0, key.length);
  const out = new Uint8Array(1 + longKeyPrefixBytes + hashBytes);
  out[0] = tableId | sideBit;
  out.set(key.subarray(0, longKeyPrefixBytes), 1);
  out.set(hash.sha256(key).subarray(0, hashBytes), 1 + longKeyPrefixBytes);
  return out;
}

/** As `storedKey` and `storedValue`, for bytes [from, to) of an entry and into a slab. */
export function storedKeyIn(slab: Slab, tableId: number, bytes: Uint8Array, from: number, to: number, hash: Hash): Uint8Array {
  if (to - from > plainKeyBytesMax) return storedKey(tableId, bytes.subarray(from, to), hash);
  return shortKey(slab.take(1 + to - from), tableId, bytes, from, to);
}

function shortKey(out: Uint8Array, tableId: number, bytes: Uint8Array, from: number, to: number): Uint8Array {
  out[0] = tableId;
  if (to - from > shortBytes) out.set(bytes.subarray(from, to), 1);
  else for (let i = from, at = 1; i < to; i++, at++) out[at] = bytes[i] as number;
  return out;
}

/** Of a row whose key is short; every other is `storedValue`'s. */
export function shortValueIn(slab: Slab, owner: number, bytes: Uint8Array, from: number, to: number): Uint8Array {
  const out = slab.take(varintLength(owner) + to - from);
  let at = 0;
  let x = owner;
  for (; x >= 0x80; x = Math.floor(x / 128)) out[at++] = (x % 128) | 0x80;
  out[at++] = x;
  if (to - from > shortBytes) out.set(bytes.subarray(from, to), at);
  else for (let i = from; i < to; i++, at++) out[at] = bytes[i] as number;
  return out;
}

function varintLength(v: number): number {
  let n = 1;
  for (let x = v; x >= 0x80; x = Math.floor(x / 128)) n++;
  return n;
}

export function isSideKey(stored: Uint8Array): boolean {
  return ((stored[0] as number) & sideBit) !== 0;
}

export function tableOfStored(stored: Uint8Array): number {
  return (stored[0] as number) & ~sideBit;
}

/** Smallest stored key of the table's side rows whose full key can be at or after `key`. */
export function sideStart(tableId: number, key: Uint8Array): Uint8Array {
  const prefix = key.subarray(0, longKeyPrefixBytes);
  const out = new Uint8Array(1 + prefix.length);
  out[0] = tableId | sideBit;
  out.set(prefix, 1);
  return out;
}

export function ownerIndexKey(incarnation: number, stored: Uint8Array): Uint8Array {
  return fillIndexKey(new Uint8Array(7 + stored.length), incarnation, stored);
}

export function ownerIndexKeyIn(slab: Slab, incarnation: number, stored: Uint8Array): Uint8Array {
  return fillIndexKey(slab.take(7 + stored.length), incarnation, stored);
}

function fillIndexKey(out: Uint8Array, incarnation: number, stored: Uint8Array): Uint8Array {
  writeOwner(out, incarnation);
  if (stored.length > shortBytes) out.set(stored, 7);
  else for (let i = 0; i < stored.length; i++) out[7 + i] = stored[i] as number;
  return out;
}

/** The stored key inside an owner index key. */
export function storedOfOwnerIndex(indexKey: Uint8Array): Uint8Array {
  return indexKey.subarray(7);
}

export function ownerIndexStart(incarnation: number): Uint8Array {
  const out = new Uint8Array(7);
  writeOwner(out, incarnation);
  return out;
}

function writeOwner(out: Uint8Array, incarnation: number): void {
  assert(incarnation < 2 ** 48, 'incarnation beyond 48 bits');
  out[0] = ownerIndexByte;
  let x = incarnation;
  for (let i = 6; i >= 1; i--) {
    out[i] = x % 256;
    x = Math.floor(x / 256);
  }
}

const scratch = new ByteWriter(1024);

export function storedValue(owner: number, key: Uint8Array, value: Uint8Array): Uint8Array {
  scratch.reset();
  scratch.varint(owner);
  if (key.length > plainKeyBytesMax) scratch.blob(key);
  scratch.raw(value);
  return scratch.finish();
}

export interface DecodedRow {
  owner: number;
  /** Full key, for side rows; undefined otherwise. */
  key: Uint8Array | undefined;
  value: Uint8Array;
}

/** Views into `stored`. */
export function decodeStored(stored: Uint8Array, side: boolean): DecodedRow {
  const first = stored[0] as number;
  if (!side && first < 0x80) return { owner: first, key: undefined, value: stored.subarray(1) };
  const r = new ByteReader(stored);
  const owner = r.varint();
  const key = side ? r.blob() : undefined;
  return { owner, key, value: r.raw(r.remaining) };
}

/** End of a table's plain rows: the next table's first key. */
export function afterTable(tableId: number): Uint8Array {
  return Uint8Array.of(tableId + 1);
}

export function keyInRange(key: Uint8Array, start: Uint8Array, end: Uint8Array | undefined): boolean {
  return compareBytes(key, start) >= 0 && (end === undefined || compareBytes(key, end) < 0);
}
