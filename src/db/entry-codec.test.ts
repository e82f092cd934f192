import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { type EntryBatch, type EntryOp, type EntryTransaction, readEntry, type Status, writeEntry } from './entry-codec.js';

const bytes = fc.uint8Array({ maxLength: 40 });
const number = fc.oneof(fc.nat({ max: 300 }), fc.nat(), fc.constant(2 ** 48 - 1));
const nodeId = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), maxLength: 32 });

const op: fc.Arbitrary<EntryOp> = fc.oneof(
  fc.record({
    kind: fc.constant('put' as const),
    tableId: fc.integer({ min: 1, max: 126 }),
    key: bytes,
    owner: number,
    previousOwner: number,
    value: bytes,
  }),
  fc.record({ kind: fc.constant('delete' as const), tableId: fc.integer({ min: 1, max: 126 }), key: bytes, previousOwner: number }),
  fc.record({ kind: fc.constantFrom('admit' as const, 'purge' as const), nodeId, incarnation: number }),
  fc.record({ kind: fc.constant('sweep' as const), incarnation: number, from: bytes, to: bytes, last: fc.boolean() }),
  fc.record({ kind: fc.constant('release' as const), incarnation: number }),
);

const transaction: fc.Arbitrary<EntryTransaction> = fc
  .record({
    incarnation: number,
    seq: number,
    receivedUpTo: number,
    status: fc.constantFrom<Status>(0, 1, 2, 3),
    reply: bytes,
    ops: fc.array(op, { maxLength: 5 }),
  })
  .map((t) => (t.incarnation === 0 ? { ...t, seq: 0, receivedUpTo: 0 } : t));

const batch: fc.Arbitrary<EntryBatch> = fc.record({
  stampMs: fc.double({ min: 0, max: 2 ** 52, noNaN: true }),
  transactions: fc.array(transaction, { maxLength: 5 }),
});

function encode(b: EntryBatch): Uint8Array {
  const w = new ByteWriter(8);
  writeEntry(w, b);
  return w.finish();
}

/** fast-check's records have no prototype. */
function plain<T>(value: T): T {
  return structuredClone(value);
}

test('entries: what was written is read', () => {
  fc.assert(fc.property(batch, (b) => assert.deepEqual(plain(readEntry(encode(b))), plain(b))));
});

test('entries: cut or longer ones are malformed, whatever their bytes nothing else is thrown', () => {
  fc.assert(
    fc.property(batch, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 4 }), (b, at, noise) => {
      const whole = encode(b);
      assert.throws(() => readEntry(whole.subarray(0, at % whole.length)), MalformedError);
      assert.throws(() => readEntry(Buffer.concat([whole, noise])), MalformedError);
      const changed = Uint8Array.from(whole);
      noise.forEach((x, i) => {
        changed[(at + i) % changed.length] = x;
      });
      try {
        readEntry(changed);
      } catch (error) {
        assert.ok(error instanceof MalformedError, String(error));
      }
    }),
  );
});

test('entries: another version is refused by name', () => {
  const whole = encode({ stampMs: 1, transactions: [] });
  whole[0] = 9;
  assert.throws(() => readEntry(whole), /version 9/);
});
