import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MalformedError } from '#base/byte-reader.js';
import { compareBytes } from '#base/bytes.js';
import { decodeKey, encodeKey, type Key, keyDepthMax, prefixRange } from './key-codec.js';
import { UnstorableError } from './value-codec.js';

const text = fc.string({ unit: fc.constantFrom('a', 'b', '\u0000', '\u0001', 'ÿ', '\uffff', '😀') });
const number = fc.oneof(
  fc.double({ noNaN: true }).map((n) => (n === 0 ? 0 : n)),
  fc.integer(),
);
const bytes = fc.uint8Array({ max: 3, maxLength: 6 });
const key: fc.Arbitrary<Key> = fc.letrec<{ key: Key }>((tie) => ({
  key: fc.oneof({ maxDepth: 3 }, number, text, bytes, fc.array(tie('key'), { maxLength: 4 })),
})).key;

function rank(k: Key): number {
  return typeof k === 'number' ? 0 : typeof k === 'string' ? 1 : k instanceof Uint8Array ? 2 : 3;
}

function compareLists<T>(a: readonly T[], b: readonly T[], compare: (x: T, y: T) => number): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const d = compare(a[i] as T, b[i] as T);
    if (d !== 0) return d;
  }
  return a.length - b.length;
}

/** The documented order, written down a second time. */
function compareKeys(a: Key, b: Key): number {
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (typeof a === 'number') return a < (b as number) ? -1 : a > (b as number) ? 1 : 0;
  const minus = (x: number, y: number): number => x - y;
  if (typeof a === 'string') {
    const points = (s: string): number[] => [...s].map((c) => c.codePointAt(0) as number);
    return compareLists(points(a), points(b as string), minus);
  }
  if (a instanceof Uint8Array) return compareBytes(a, b as Uint8Array);
  return compareLists(a, b as readonly Key[], compareKeys);
}

test('keys come back as they were', () => {
  fc.assert(fc.property(key, (k) => assert.deepEqual(decodeKey(encodeKey(k)), k)));
});

test('the order of the bytes is the order of the keys', () => {
  fc.assert(
    fc.property(key, key, (a, b) => assert.equal(Math.sign(compareBytes(encodeKey(a), encodeKey(b))), Math.sign(compareKeys(a, b)))),
    { numRuns: 2_000 },
  );
});

test('a prefix covers the tuples that begin with it, and no others', () => {
  fc.assert(
    fc.property(fc.array(key, { maxLength: 2 }), key, (prefix, k) => {
      const { start, end } = prefixRange(prefix);
      const bytes = encodeKey(k);
      const inside = compareBytes(bytes, start) >= 0 && compareBytes(bytes, end) < 0;
      const begins = rank(k) === 3 && prefix.every((p, i) => (k as Key[]).length > i && compareKeys((k as Key[])[i] as Key, p) === 0);
      assert.equal(inside, begins);
    }),
    { numRuns: 1_000 },
  );
  const { start, end } = prefixRange(['a']);
  for (const k of [['a'], ['a', 1], ['a', [1]]]) {
    assert.ok(compareBytes(encodeKey(k), start) >= 0 && compareBytes(encodeKey(k), end) < 0);
  }
});

test('both zeros are one key', () => {
  assert.deepEqual(encodeKey(-0), encodeKey(0));
});

test('what is no key is refused', () => {
  let deep: Key = 1;
  for (let i = 0; i <= keyDepthMax; i++) deep = [deep];
  for (const bad of [Number.NaN, '\ud800', 'a\udc00', true, null, undefined, {}, 1n, [Number.NaN], deep])
    assert.throws(() => encodeKey(bad as Key), UnstorableError);
});

test('bytes that are no key are refused, whatever they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20 }), (junk) => {
      try {
        decodeKey(junk);
      } catch (error) {
        assert.ok(error instanceof MalformedError);
      }
    }),
  );
  const whole = encodeKey(['ab', 7, Uint8Array.of(0, 1)]);
  for (let n = 0; n < whole.length; n++) assert.throws(() => decodeKey(whole.subarray(0, n)), MalformedError);
});
