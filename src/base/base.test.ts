import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteReader, MalformedError } from './byte-reader.js';
import { ByteWriter } from './byte-writer.js';
import { byteString, compareBytes, fromByteString, fromHex, toHex } from './bytes.js';
import { crc32c } from './crc32c.js';
import { Deque } from './deque.js';
import { Heap } from './heap.js';
import { Prng } from './prng.js';
import { utf8Decode, utf8Encode } from './utf8.js';

test('crc32c: the check value of the standard, and continuing from a seed', () => {
  const bytes = utf8Encode('123456789');
  assert.equal(crc32c(bytes), 0xe3069283);
  assert.equal(crc32c(bytes.subarray(4), crc32c(bytes.subarray(0, 4))), 0xe3069283);
});

test('utf8: agrees with the platform on valid text, refuses what it refuses', () => {
  const prng = new Prng(7);
  for (let i = 0; i < 2000; i++) {
    let s = '';
    for (let k = prng.int(20); k > 0; k--) s += String.fromCodePoint(prng.pick([0x41, 0x7ff, 0x800, 0xffff, 0x10000, 0x10ffff, 0xe9]));
    assert.deepEqual(Buffer.from(utf8Encode(s)), Buffer.from(s));
    assert.equal(utf8Decode(Buffer.from(s)), s);
    const junk = prng.bytes(prng.int(6));
    let expected: string | undefined;
    try {
      expected = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(junk);
    } catch {
      expected = undefined;
    }
    assert.equal(utf8Decode(junk), expected);
  }
});

test('bytes: writer and reader agree; short input is malformed', () => {
  const w = new ByteWriter(1);
  const numbers = [0, 1, 127, 128, 2 ** 31, 2 ** 32, 2 ** 53 - 1];
  for (const n of numbers) w.varint(n);
  w.string('grüße');
  w.f64(-1.5);
  w.blob(Uint8Array.of(1, 2, 3));
  const r = new ByteReader(w.finish());
  for (const n of numbers) assert.equal(r.varint(), n);
  assert.equal(r.string(), 'grüße');
  assert.equal(r.f64(), -1.5);
  assert.deepEqual([...r.blob()], [1, 2, 3]);
  r.done();
  assert.throws(() => r.u8(), MalformedError);
});

test('bytes: order, hex and byte strings', () => {
  assert.ok(compareBytes(Uint8Array.of(1), Uint8Array.of(1, 0)) < 0);
  assert.ok(compareBytes(Uint8Array.of(2), Uint8Array.of(1, 255)) > 0);
  const b = new Prng(3).bytes(300);
  assert.deepEqual(fromHex(toHex(b)), b);
  assert.deepEqual(fromByteString(byteString(b)), b);
  assert.equal(fromHex('0g'), undefined);
});

test('deque and heap keep their order', () => {
  const d = new Deque<number>();
  for (let i = 0; i < 100; i++) d.push(i);
  for (let i = 0; i < 50; i++) assert.equal(d.shift(), i);
  for (let i = 100; i < 150; i++) d.push(i);
  for (let i = 50; i < 150; i++) assert.equal(d.shift(), i);
  assert.equal(d.shift(), undefined);
  const h = new Heap<number>((a, b) => a < b);
  const prng = new Prng(1);
  const all = Array.from({ length: 500 }, () => prng.int(1000));
  for (const n of all) h.push(n);
  all.sort((a, b) => a - b);
  for (const n of all) assert.equal(h.pop(), n);
});

test('a deque takes and gives in the middle as an array does', () => {
  const prng = new Prng(7);
  const d = new Deque<number>();
  const model: number[] = [];
  for (let n = 0; n < 3000; n++) {
    const what = prng.int(5);
    if (what < 2) {
      const at = prng.int(model.length + 1);
      d.insert(at, n);
      model.splice(at, 0, n);
    } else if (what === 2) {
      const at = prng.int(model.length + 2) - 1;
      assert.equal(d.removeAt(at), at < 0 ? undefined : model.splice(at, 1)[0]);
    } else if (what === 3) {
      assert.equal(d.shift(), model.shift());
    } else {
      d.push(n);
      model.push(n);
    }
    assert.deepEqual(
      Array.from({ length: d.length }, (_, i) => d.at(i)),
      model,
    );
  }
});

test('a count of items is never more than there are bytes', () => {
  const w = new ByteWriter(16);
  w.varint(2);
  w.u8(1);
  w.u8(2);
  assert.equal(new ByteReader(w.view()).count(), 2);
  assert.throws(() => new ByteReader(w.view().subarray(0, 2)).count(), MalformedError);
});
