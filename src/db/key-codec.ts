// JavaScript keys as bytes whose order is the keys' order, for the library's tables. Pure; called by
// the library (`node/library`), not by the broker, which builds its keys itself.
//
// Order: numbers, then strings, then bytes, then tuples. Numbers by value (-Infinity first), strings
// by code point (which is the order of their UTF-8, not that of `<`), bytes as unsigned numbers with
// the shorter first on a tie, tuples element by element with the shorter first on a tie.
//
//   number  10, sign-adjusted IEEE 754 in 8 bytes, big-endian
//   string  20, UTF-8, 00        bytes  30, content, 00      (a 00 inside is written 00 ff)
//   tuple   40, its elements one after the other, 00
import { MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import { isWellFormed, UnstorableError } from './value-codec.js';

/** What a table can be keyed by. Tuples nest up to {@link keyDepthMax} deep. */
export type Key = string | number | Uint8Array | readonly Key[];

export const keyDepthMax = 16;

const tag = { number: 0x10, string: 0x20, bytes: 0x30, tuple: 0x40 } as const;
/** Ends strings, bytes and tuples; below every tag. */
const end = 0x00;
const escaped = 0xff;

const writer = new ByteWriter(256);
const scratch = new Uint8Array(8);
const scratchView = new DataView(scratch.buffer);

/** Throws {@link UnstorableError} for NaN, lone surrogates, tuples nested too deep, and what is no key at all. */
export function encodeKey(key: Key): Uint8Array {
  writer.reset();
  write(key, 0);
  return writer.finish();
}

/** Keys of tuples that begin with the elements of `prefix`: [start, end) in bytes. */
export function prefixRange(prefix: readonly Key[]): { readonly start: Uint8Array; readonly end: Uint8Array } {
  writer.reset();
  writer.u8(tag.tuple);
  for (const k of prefix) write(k, 1);
  const start = writer.finish();
  // No element and no end of a tuple begins with ff.
  writer.u8(escaped);
  return { start, end: writer.finish() };
}

function write(key: Key, depth: number): void {
  if (typeof key === 'string') {
    if (!isWellFormed(key)) throw new UnstorableError('a key with half a surrogate pair');
    writer.u8(tag.string);
    writeEscaped(utf8Encode(key));
  } else if (typeof key === 'number') writeNumber(key);
  else if (key instanceof Uint8Array) {
    writer.u8(tag.bytes);
    writeEscaped(key);
  } else if (Array.isArray(key)) {
    if (depth >= keyDepthMax) throw new UnstorableError(`a key nested more than ${keyDepthMax} deep`);
    writer.u8(tag.tuple);
    for (const k of key as readonly Key[]) write(k, depth + 1);
    writer.u8(end);
  } else throw new UnstorableError(`a key is a string, a number, bytes, or a tuple of these, not ${key === null ? 'null' : typeof key}`);
}

function writeNumber(n: number): void {
  if (Number.isNaN(n)) throw new UnstorableError('NaN is no key: it has no place in an order');
  // One zero only.
  scratchView.setFloat64(0, n === 0 ? 0 : n);
  if (n < 0) for (let i = 0; i < 8; i++) scratch[i] = ~(scratch[i] as number);
  else scratch[0] = (scratch[0] as number) | 0x80;
  writer.u8(tag.number);
  writer.raw(scratch);
}

function writeEscaped(bytes: Uint8Array): void {
  let from = 0;
  for (let i = bytes.indexOf(0); i >= 0; i = bytes.indexOf(0, from)) {
    writer.raw(bytes.subarray(from, i + 1));
    writer.u8(escaped);
    from = i + 1;
  }
  writer.raw(bytes.subarray(from));
  writer.u8(end);
}

/** Throws {@link MalformedError} for bytes that `encodeKey` did not make. Nothing of the result shares memory with `bytes`. */
export function decodeKey(bytes: Uint8Array): Key {
  const at = { i: 0 };
  const key = read(bytes, at, 0);
  if (at.i !== bytes.length) throw new MalformedError('a key goes on after its end');
  return key;
}

function read(bytes: Uint8Array, at: { i: number }, depth: number): Key {
  switch (bytes[at.i++]) {
    case tag.number:
      return readNumber(bytes, at);
    case tag.string: {
      const text = utf8Decode(readEscaped(bytes, at));
      if (text === undefined) throw new MalformedError('a key is not UTF-8');
      return text;
    }
    case tag.bytes:
      return readEscaped(bytes, at);
    case tag.tuple: {
      if (depth >= keyDepthMax) throw new MalformedError('a key is nested too deep');
      const elements: Key[] = [];
      while (bytes[at.i] !== end) elements.push(read(bytes, at, depth + 1));
      at.i++;
      return elements;
    }
    default:
      throw new MalformedError('no key begins like this');
  }
}

function readNumber(bytes: Uint8Array, at: { i: number }): number {
  if (at.i + 8 > bytes.length) throw new MalformedError('a key ends too early');
  scratch.set(bytes.subarray(at.i, at.i + 8));
  at.i += 8;
  if (((scratch[0] as number) & 0x80) !== 0) scratch[0] = (scratch[0] as number) & 0x7f;
  else for (let i = 0; i < 8; i++) scratch[i] = ~(scratch[i] as number);
  return scratchView.getFloat64(0);
}

function readEscaped(bytes: Uint8Array, at: { i: number }): Uint8Array {
  const from = at.i;
  let zeros = 0;
  for (;;) {
    const i = bytes.indexOf(end, at.i);
    if (i < 0) throw new MalformedError('a key ends too early');
    at.i = i + 1;
    if (bytes[at.i] !== escaped) break;
    at.i++;
    zeros++;
  }
  const content = bytes.subarray(from, at.i - 1);
  if (zeros === 0) return copyBytes(content);
  const out = new Uint8Array(content.length - zeros);
  let n = 0;
  for (let i = 0; i < content.length; i++) {
    out[n++] = content[i] as number;
    if (content[i] === 0) i++;
  }
  return out;
}
