// The data types of MQTT (1.5) written into a caller's buffer: each function takes the position and
// returns the one after it. The caller has made room with the matching size function. Called by every
// packet's file and by the encoder.
import { assert } from '#base/assert.js';
import { utf8Length, utf8Write } from '#base/utf8.js';

export const stringBytesMax = 65_535;
export const remainingLengthMax = 268_435_455;

/** Bytes that `n` takes as a Variable Byte Integer. */
export function varintSize(n: number): number {
  return n < 0x80 ? 1 : n < 0x4000 ? 2 : n < 0x200000 ? 3 : 4;
}

export function writeVarint(out: Uint8Array, at: number, n: number): number {
  let x = n;
  while (x >= 0x80) {
    out[at++] = (x & 0x7f) | 0x80;
    x >>>= 7;
  }
  out[at++] = x; // the fewest bytes [MQTT-1.5.5-1]
  return at;
}

export function writeU16(out: Uint8Array, at: number, n: number): number {
  out[at] = n >>> 8;
  out[at + 1] = n & 255;
  return at + 2;
}

export function writeU32(out: Uint8Array, at: number, n: number): number {
  out[at] = n >>> 24;
  out[at + 1] = (n >>> 16) & 255;
  out[at + 2] = (n >>> 8) & 255;
  out[at + 3] = n & 255;
  return at + 4;
}

export function stringSize(s: string): number {
  const n = utf8Length(s);
  assert(n <= stringBytesMax, 'mqtt: string longer than 65,535 bytes');
  return 2 + n;
}

export function writeString(out: Uint8Array, at: number, s: string): number {
  const end = utf8Write(s, out, at + 2);
  writeU16(out, at, end - at - 2);
  return end;
}

export function binarySize(b: Uint8Array): number {
  assert(b.length <= stringBytesMax, 'mqtt: binary data longer than 65,535 bytes');
  return 2 + b.length;
}

export function writeBinary(out: Uint8Array, at: number, b: Uint8Array): number {
  writeU16(out, at, b.length);
  out.set(b, at + 2);
  return at + 2 + b.length;
}

/** Size of a whole packet whose variable header and payload take `remainingLength` bytes. */
export function packetSize(remainingLength: number): number {
  assert(remainingLength <= remainingLengthMax, 'mqtt: packet longer than the protocol allows');
  return 1 + varintSize(remainingLength) + remainingLength;
}

export function writeFixedHeader(out: Uint8Array, at: number, firstByte: number, remainingLength: number): number {
  out[at] = firstByte;
  return writeVarint(out, at + 1, remainingLength);
}
