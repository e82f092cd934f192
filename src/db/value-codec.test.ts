import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Unpackr } from 'msgpackr';
import { MalformedError } from '#base/byte-reader.js';
import { decodeValue, encodeValue, isWellFormed, UnstorableError, valueDepthMax } from './value-codec.js';

const text = fc.string({ unit: 'binary' });
const leaf = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.maxSafeInteger(),
  text,
  fc.string({ minLength: 250, maxLength: 300 }),
  fc.boolean(),
  fc.constantFrom(
    null,
    undefined,
    -0,
    0,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    0xffffffff,
    2 ** 32,
    -32,
    -33,
    -128,
    -129,
    -32_768,
    -32_769,
    -(2 ** 31),
  ),
  fc.bigInt(),
  fc.date({ noInvalidDate: false }),
  fc.uint8Array({ maxLength: 300 }),
);
const value = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(fc.oneof(text, fc.constant('__proto__')), tie('value'), { maxKeys: 20, noNullPrototype: true }),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map((entries) => new Map(entries)),
    fc.array(tie('value'), { maxLength: 4 }).map((elements) => new Set(elements)),
  ),
})).value;

test('values come back as they were', () => {
  fc.assert(fc.property(value, (v) => assert.deepEqual(decodeValue(encodeValue(v)), v)));
});

test('a large string, array, object and byte string come back', () => {
  const many = Array.from({ length: 70_000 }, (_, i) => i);
  const large = [many, 'é'.repeat(40_000), Object.fromEntries(many.map((i) => [`k${i}`, i])), new Uint8Array(70_000).fill(7)];
  assert.deepEqual(decodeValue(encodeValue(large)), large);
});

test('what MessagePack has is MessagePack', () => {
  const foreign = new Unpackr({ useRecords: false });
  const plain = { a: [1, -1, 1.5, 300, -300, 70_000, -70_000, 2 ** 40, 'text', 'é'.repeat(200), true, false, null], b: { c: Uint8Array.of(1, 2) } };
  const read = foreign.unpack(encodeValue(plain)) as typeof plain;
  assert.deepEqual({ ...read, b: { c: new Uint8Array(read.b.c) } }, plain);
});

test('what would not come back as it is, is refused', () => {
  class Point {
    x = 1;
  }
  const self: unknown[] = [];
  self.push(self);
  for (const bad of [() => 1, Symbol('s'), new Point(), /x/, new Error('x'), new Float64Array(1), '\ud800', { a: '\udc00' }, new WeakMap(), self])
    assert.throws(() => encodeValue(bad), UnstorableError);
  assert.ok(!isWellFormed('a\ud800b') && isWellFormed('a😀b'));
});

test('the depth is bounded, and what is as deep as allowed comes back', () => {
  const nest = (n: number): unknown => {
    let v: unknown = 1;
    for (let i = 0; i < n; i++) v = [v];
    return v;
  };
  assert.deepEqual(decodeValue(encodeValue(nest(valueDepthMax))), nest(valueDepthMax));
  assert.throws(() => encodeValue(nest(valueDepthMax + 1)), UnstorableError);
});

test('a value that encodes another one in a getter is not mixed up with it', () => {
  const inner = { n: 1 };
  const outer = {
    get first(): string {
      encodeValue(inner);
      return 'first';
    },
    last: 'last',
  };
  assert.deepEqual(decodeValue(encodeValue(outer)), { first: 'first', last: 'last' });
});

test('no prototype is reached through a value', () => {
  const o = decodeValue(encodeValue(JSON.parse('{"__proto__":{"polluted":true}}'))) as object;
  assert.equal(Object.getPrototypeOf(o), Object.prototype);
  assert.equal(Reflect.get({}, 'polluted'), undefined);
});

test('bytes that are no value are refused, whatever they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (junk) => {
      try {
        decodeValue(junk);
      } catch (error) {
        assert.ok(error instanceof MalformedError);
      }
    }),
  );
  const whole = encodeValue({ a: [1, 'text', new Map([[1, new Set([2n])]]), new Date(5), undefined, 1.5], b: Uint8Array.of(1) });
  for (let n = 0; n < whole.length; n++) assert.throws(() => decodeValue(whole.subarray(0, n)), MalformedError);
});
