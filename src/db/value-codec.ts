// JavaScript values as bytes, for the library's tables and commands: MessagePack, with extension
// types for what it lacks. Pure; called by the library (`node/library`). What cannot come back as it
// went in is refused, never bent: a function, a class instance, half a surrogate pair.
//
// Carried: null, booleans, numbers (NaN, -0 and infinities too), strings, bigint, undefined, Date,
// Uint8Array (a Buffer comes back as a plain one), arrays (holes come back as undefined), plain
// objects (own enumerable string keys; symbol keys are left out), Map, Set. Unlike structuredClone:
// no other typed arrays, no errors, no regular expressions, no cycles, and an object that occurs
// twice comes back as two.
import { MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import { utf8Decode } from '#base/utf8.js';

/** A key or value that the database cannot keep. Thrown where it is handed in; nothing was written. */
export class UnstorableError extends TypeError {
  override readonly name = 'UnstorableError';
}

/** Arrays, objects, maps and sets inside one another. A cycle is one that never ends. */
export const valueDepthMax = 100;

const firstBytes = 128;
const ext = { undefined: 1, bigint: 2, date: 3, map: 4, set: 5 } as const;

/** Of the value being written. A getter of a value may write another one meanwhile. */
let writer = new ByteWriter(0);
const scratch = new Uint8Array(8);
const scratchView = new DataView(scratch.buffer);

/** Throws {@link UnstorableError}. */
export function encodeValue(value: unknown): Uint8Array {
  const outer = writer;
  writer = new ByteWriter(firstBytes);
  try {
    write(value, 0);
    return writer.view();
  } finally {
    writer = outer;
  }
}

export function isWellFormed(s: string): boolean {
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c < 0xd800 || c > 0xdfff) continue;
    const next = s.charCodeAt(i + 1);
    if (c > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) return false;
    i++;
  }
  return true;
}

// ---- writing ----

function write(v: unknown, depth: number): void {
  switch (typeof v) {
    case 'string':
      return writeString(v);
    case 'number':
      return writeNumber(v);
    case 'boolean':
      return writer.u8(v ? 0xc3 : 0xc2);
    case 'undefined':
      return shortExt(ext.undefined, 0);
    case 'bigint':
      return writeExt(ext.bigint, () => writeBigint(v));
    case 'object':
      return v === null ? writer.u8(0xc0) : writeObject(v, depth);
    default:
      throw new UnstorableError(`a ${typeof v} cannot be stored`);
  }
}

function writeObject(v: object, depth: number): void {
  if (v instanceof Uint8Array) return writeBytes(v);
  if (v instanceof Date) {
    shortExt(ext.date, 8);
    return float(v.getTime());
  }
  if (depth >= valueDepthMax) throw new UnstorableError(`a value nested more than ${valueDepthMax} deep, or in itself`);
  if (Array.isArray(v)) {
    head(v.length, 0x90, 15, undefined, 0xdc);
    for (let i = 0; i < v.length; i++) write(v[i], depth + 1);
    return;
  }
  if (v instanceof Map) {
    return writeExt(ext.map, () => {
      for (const [key, value] of v) {
        write(key, depth + 1);
        write(value, depth + 1);
      }
    });
  }
  if (v instanceof Set) {
    return writeExt(ext.set, () => {
      for (const element of v) write(element, depth + 1);
    });
  }
  const prototype: unknown = Object.getPrototypeOf(v);
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw new UnstorableError('an instance of a class cannot be stored; make a plain object of it');
  }
  const entries = Object.entries(v);
  head(entries.length, 0x80, 15, undefined, 0xde);
  for (const [key, value] of entries) {
    writeString(key);
    write(value, depth + 1);
  }
}

/** MessagePack's heads: a short form inside the tag, then 8 (strings and bytes), 16 and 32 bits. */
function head(n: number, short: number, shortMax: number, tag8: number | undefined, tag16: number): void {
  if (n <= shortMax) writer.u8(short | n);
  else if (n < 0x100 && tag8 !== undefined) {
    writer.u8(tag8);
    writer.u8(n);
  } else if (n < 0x10000) {
    writer.u8(tag16);
    big(n, 2);
  } else {
    writer.u8(tag16 + 1);
    big(n, 4);
  }
}

function big(n: number, bytes: number): void {
  for (let shift = (bytes - 1) * 8; shift >= 0; shift -= 8) writer.u8((n >>> shift) & 0xff);
}

function float(n: number): void {
  scratchView.setFloat64(0, n);
  writer.raw(scratch);
}

function writeString(s: string): void {
  if (!isWellFormed(s)) throw new UnstorableError('a string with half a surrogate pair cannot be stored');
  const bytes = utf8Of(s);
  head(bytes.length, 0xa0, 31, 0xd9, 0xda);
  writer.raw(bytes);
}

const text = new ByteWriter(256);

function utf8Of(s: string): Uint8Array {
  text.reset();
  text.string(s);
  const all = text.view();
  // The length before it is a varint.
  let skip = 1;
  while (((all[skip - 1] as number) & 0x80) !== 0) skip++;
  return all.subarray(skip);
}

function writeBytes(b: Uint8Array): void {
  if (b.length < 0x100) {
    writer.u8(0xc4);
    writer.u8(b.length);
  } else head(b.length, 0, -1, undefined, 0xc5);
  writer.raw(b);
}

function writeNumber(n: number): void {
  if (!Number.isInteger(n) || n < -0x80000000 || n > 0xffffffff || Object.is(n, -0)) {
    writer.u8(0xcb);
    float(n);
  } else if (n >= 0) {
    if (n < 0x80) writer.u8(n);
    else tagged(n < 0x100 ? 0xcc : n < 0x10000 ? 0xcd : 0xce, n, n < 0x100 ? 1 : n < 0x10000 ? 2 : 4);
  } else if (n >= -32) writer.u8(n & 0xff);
  else tagged(n >= -0x80 ? 0xd0 : n >= -0x8000 ? 0xd1 : 0xd2, n, n >= -0x80 ? 1 : n >= -0x8000 ? 2 : 4);
}

function tagged(tag: number, n: number, bytes: number): void {
  writer.u8(tag);
  big(n, bytes);
}

function shortExt(type: number, bytes: number): void {
  writer.u8(0xc7);
  writer.u8(bytes);
  writer.u8(type);
}

/** The content's length is known once it is written, so the long form of the head is used throughout. */
function writeExt(type: number, content: () => void): void {
  writer.u8(0xc9);
  const at = writer.length;
  big(0, 4);
  writer.u8(type);
  const from = writer.length;
  content();
  const n = writer.length - from;
  for (let i = 0; i < 4; i++) writer.bytes[at + i] = (n >>> (8 * (3 - i))) & 0xff;
}

/** Sign (0 or 1), then the magnitude, most significant byte first. */
function writeBigint(v: bigint): void {
  writer.u8(v < 0n ? 1 : 0);
  let hex = (v < 0n ? -v : v).toString(16);
  if (hex.length % 2 === 1) hex = `0${hex}`;
  for (let i = 0; i < hex.length; i += 2) writer.u8(Number.parseInt(hex.slice(i, i + 2), 16));
}

// ---- reading ----

/** Throws {@link MalformedError} for bytes that `encodeValue` did not make. Nothing of the result shares memory with `bytes`. */
export function decodeValue(bytes: Uint8Array): unknown {
  const r = new ValueReader(bytes);
  const value = r.read(0);
  if (r.at !== bytes.length) throw new MalformedError('a value goes on after its end');
  return value;
}

class ValueReader {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Moves on by `n` and says where that was. */
  #take(n: number): number {
    const at = this.at;
    if (at + n > this.#bytes.length) throw new MalformedError('a value ends too early');
    this.at = at + n;
    return at;
  }

  #uint(bytes: number): number {
    const at = this.#take(bytes);
    return bytes === 1 ? this.#view.getUint8(at) : bytes === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  read(depth: number): unknown {
    if (depth > valueDepthMax) throw new MalformedError('a value is nested too deep');
    const tag = this.#uint(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#object(tag & 15, depth);
    if (tag < 0xa0) return this.#array(tag & 15, depth);
    if (tag < 0xc0) return this.#string(tag & 31);
    if (tag >= 0xe0) return tag - 0x100;
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#copy(this.#uint(1 << (tag - 0xc4)));
      case 0xc7:
        return this.#ext(this.#uint(1), depth);
      case 0xc9:
        return this.#ext(this.#uint(4), depth);
      case 0xcb:
        return this.#view.getFloat64(this.#take(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(1 << (tag - 0xcc));
      case 0xd0:
        return this.#view.getInt8(this.#take(1));
      case 0xd1:
        return this.#view.getInt16(this.#take(2));
      case 0xd2:
        return this.#view.getInt32(this.#take(4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#string(this.#uint(1 << (tag - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(2 << (tag - 0xdc)), depth);
      case 0xde:
      case 0xdf:
        return this.#object(this.#uint(2 << (tag - 0xde)), depth);
      default:
        throw new MalformedError(`no value begins with ${tag}`);
    }
  }

  #copy(n: number): Uint8Array {
    const at = this.#take(n);
    return copyBytes(this.#bytes.subarray(at, at + n));
  }

  #string(n: number): string {
    const at = this.#take(n);
    const s = utf8Decode(this.#bytes, at, at + n);
    if (s === undefined) throw new MalformedError('a string is not UTF-8');
    return s;
  }

  #array(n: number, depth: number): unknown[] {
    const all: unknown[] = [];
    for (let i = 0; i < n; i++) all.push(this.read(depth + 1));
    return all;
  }

  #object(n: number, depth: number): object {
    const o: Record<string, unknown> = {};
    for (let i = 0; i < n; i++) {
      const key = this.read(depth + 1);
      if (typeof key !== 'string') throw new MalformedError('an object has a key that is no string');
      const value = this.read(depth + 1);
      // An assignment to this name would change the prototype.
      if (key === '__proto__') Object.defineProperty(o, key, { value, enumerable: true, configurable: true, writable: true });
      else o[key] = value;
    }
    return o;
  }

  #ext(n: number, depth: number): unknown {
    const type = this.#uint(1);
    const end = this.at + n;
    if (end > this.#bytes.length) throw new MalformedError('a value ends too early');
    const value = this.#extOf(type, end, depth);
    if (this.at !== end) throw new MalformedError('an extension has another length than it says');
    return value;
  }

  #extOf(type: number, end: number, depth: number): unknown {
    switch (type) {
      case ext.undefined:
        return undefined;
      case ext.bigint: {
        const negative = this.#uint(1) === 1;
        let hex = '';
        while (this.at < end) hex += this.#uint(1).toString(16).padStart(2, '0');
        const magnitude = BigInt(`0x${hex === '' ? '0' : hex}`);
        return negative ? -magnitude : magnitude;
      }
      case ext.date:
        return new Date(this.#view.getFloat64(this.#take(8)));
      case ext.map: {
        const map = new Map<unknown, unknown>();
        while (this.at < end) map.set(this.read(depth + 1), this.read(depth + 1));
        return map;
      }
      case ext.set: {
        const set = new Set<unknown>();
        while (this.at < end) set.add(this.read(depth + 1));
        return set;
      }
      default:
        throw new MalformedError(`no extension type ${type}`);
    }
  }
}
