import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c, crc32cShared } from './crc32c.js';
import { Prng } from './prng.js';

function bitByBit(bytes: Uint8Array, seed: number): number {
  let c = ~seed;
  for (const b of bytes) {
    c ^= b;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  }
  return ~c >>> 0;
}

test('crc32c: the known value, and of every length what bit by bit gives, chained and inside a larger array', () => {
  assert.equal(crc32c(new TextEncoder().encode('123456789')), 0xe3069283);
  const prng = new Prng(5);
  for (const length of [0, 1, 7, 8, 9, 15, 16, 17, 100, 511, 512, 513, 527, 528, 529, 5_000]) {
    const bytes = prng.bytes(length + 3);
    const seed = prng.int(2 ** 31);
    const part = bytes.subarray(3);
    assert.equal(crc32c(part, seed), bitByBit(part, seed), `${length}`);
    assert.equal(crc32c(bytes, seed, 3), bitByBit(part, seed), `${length}, from 3`);
    const half = length >> 1;
    assert.equal(crc32c(part, crc32c(part, seed, 0, half), half), bitByBit(part, seed), `${length}, in two parts`);
  }
});

test('crc32c: continued with shared bytes it is that of both', () => {
  const prng = new Prng(6);
  for (const length of [0, 1, 511, 512, 513, 1_000, 4_096, 65_537, 100_000]) {
    const shared = prng.bytes(length);
    for (let i = 0; i < 3; i++) {
      const before = crc32c(prng.bytes(prng.int(40)), prng.int(2 ** 31));
      assert.equal(crc32cShared(shared, before), crc32c(shared, before), `${length}`);
    }
  }
});
