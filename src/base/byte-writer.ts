// A growing byte buffer with the number formats of our own encodings: little-endian fixed
// numbers and LEB128 varints up to 2^53-1. Used for log records, log entries and frames.
import { assert } from './assert.js';
import type { Slab } from './slab.js';
import { utf8Length, utf8Write } from './utf8.js';

const scratchBytes = new Uint8Array(8);
const scratch = new DataView(scratchBytes.buffer);

/** A copy of so few bytes is quickest in a loop: a view and `set` cost as much as 30 of its rounds. */
const shortBytes = 32;

export class ByteWriter {
  bytes: Uint8Array;
  length = 0;

  constructor(capacity: number = 256) {
    this.bytes = new Uint8Array(capacity);
  }

  reset(): void {
    this.length = 0;
  }

  /** The written bytes as a copy. */
  finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  /** As `finish`, in a slab. */
  finishIn(slab: Slab): Uint8Array {
    const { bytes, length } = this;
    const out = slab.take(length);
    if (length > shortBytes) out.set(this.view());
    else for (let i = 0; i < length; i++) out[i] = bytes[i] as number;
    return out;
  }

  /** The written bytes as a view, valid until the next write. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  #room(n: number): void {
    const need = this.length + n;
    if (need <= this.bytes.length) return;
    let size = this.bytes.length * 2;
    while (size < need) size *= 2;
    const next = new Uint8Array(size);
    next.set(this.bytes.subarray(0, this.length));
    this.bytes = next;
  }

  u8(v: number): void {
    this.#room(1);
    this.bytes[this.length++] = v;
  }

  u16(v: number): void {
    this.#room(2);
    this.bytes[this.length++] = v;
    this.bytes[this.length++] = v >>> 8;
  }

  u32(v: number): void {
    this.#room(4);
    this.patchU32(this.length, v);
    this.length += 4;
  }

  f64(v: number): void {
    this.#room(8);
    scratch.setFloat64(0, v, true);
    for (let i = 0; i < 8; i++) this.bytes[this.length++] = scratchBytes[i] as number;
  }

  /** Non-negative safe integer, LEB128. */
  varint(v: number): void {
    assert(Number.isSafeInteger(v) && v >= 0, 'varint: not a non-negative safe integer');
    this.#room(8);
    let x = v;
    while (x >= 0x80) {
      this.bytes[this.length++] = (x % 128) | 0x80;
      x = x < 0x80000000 ? x >>> 7 : Math.floor(x / 128);
    }
    this.bytes[this.length++] = x;
  }

  raw(b: Uint8Array): void {
    this.#room(b.length);
    this.bytes.set(b, this.length);
    this.length += b.length;
  }

  /** Bytes [from, to) of `b`. */
  slice(b: Uint8Array, from: number, to: number): void {
    const n = to - from;
    this.#room(n);
    // Short ones byte by byte: a view of them would cost more.
    if (n > shortBytes) this.bytes.set(b.subarray(from, to), this.length);
    else for (let i = from, at = this.length; i < to; i++, at++) this.bytes[at] = b[i] as number;
    this.length += n;
  }

  /** Length as varint, then the bytes. */
  blob(b: Uint8Array): void {
    this.varint(b.length);
    this.raw(b);
  }

  /** UTF-8 with its length in bytes as varint before it. */
  string(s: string): void {
    const n = utf8Length(s);
    this.varint(n);
    this.#room(n);
    this.length = utf8Write(s, this.bytes, this.length);
  }

  /** Overwrites a u32 written earlier, e.g. a length known only afterwards. */
  patchU32(at: number, v: number): void {
    const b = this.bytes;
    b[at] = v;
    b[at + 1] = v >>> 8;
    b[at + 2] = v >>> 16;
    b[at + 3] = v >>> 24;
  }
}
