import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CopySpace, copyRange, RangeCopier } from './copy-space.js';

test('copy space: every copy stays as it was, whatever is copied after it', () => {
  const lengths = fc.array(fc.oneof(fc.nat(200), fc.constantFrom(24, 25, 8_191, 8_192, 8_193, 60_000, 70_000)), { maxLength: 60 });
  fc.assert(
    fc.property(lengths, (wanted) => {
      const space = new CopySpace();
      const source = new Uint8Array(80_000);
      const copies = wanted.map((length, i) => {
        source.fill(i + 1);
        const start = i % 7;
        const at = space.copy(source, start, start + length);
        return { bytes: space.bytes, at, length, value: i + 1 };
      });
      source.fill(0xff);
      for (const { bytes, at, length, value } of copies) assert.ok(bytes.subarray(at, at + length).every((b) => b === value));
      for (const { bytes, at, length } of copies) assert.ok(at + length <= bytes.length);
    }),
  );
});

test('copy space: a range is copied alone, by loop and by set', () => {
  const from = Uint8Array.from({ length: 100 }, (_, i) => i + 1);
  for (const length of [0, 1, 24, 25, 90]) {
    const to = new Uint8Array(120);
    copyRange(from, 5, 5 + length, to, 11);
    assert.deepEqual(to.subarray(11, 11 + length), from.subarray(5, 5 + length));
    assert.ok(to.subarray(0, 11).every((b) => b === 0) && to.subarray(11 + length).every((b) => b === 0));
  }
});

test('range copier: copies what is there now, from arrays that come again and from others between them', () => {
  const arrays = [new Uint8Array(400), new Uint8Array(400), new Uint8Array(400)];
  const turn = fc.record({ array: fc.nat(2), times: fc.integer({ min: 1, max: 4 }), start: fc.nat(40), length: fc.nat(300), value: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 80 }), (turns) => {
      const copier = new RangeCopier();
      for (const { array, times, start, length, value } of turns) {
        const from = arrays[array] as Uint8Array;
        for (let i = 0; i < times; i++) {
          from.fill(value ^ i);
          const to = new Uint8Array(400);
          copier.copy(from, start, start + length, to, 3);
          assert.ok(to.every((b, at) => b === (at >= 3 && at < 3 + length ? value ^ i : 0)));
        }
      }
    }),
  );
});
