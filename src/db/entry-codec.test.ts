import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import {
  type EntryBatch,
  type EntryOp,
  type EntryTransaction,
  opCodes,
  readEntry,
  type Status,
  writeEntry,
  writePlainOp,
  writeTransaction,
  writeTransactionHead,
} from './entry-codec.js';
import { EntryCursor, hasSweep } from './entry-cursor.js';
import { OpsCursor, writeOps } from './proposal-codec.js';

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

test('entries: the cursor sees what the reader sees, and refuses what it refuses', () => {
  const walk = (data: Uint8Array): unknown => {
    const e = new EntryCursor();
    const transactions: unknown[] = [];
    e.begin(data);
    const part = (from: number, to: number): Uint8Array => data.subarray(from, to);
    while (e.nextTransaction()) {
      const { incarnation, seq, receivedUpTo, status } = e;
      const reply = part(e.replyFrom, e.replyTo);
      const ops: EntryOp[] = [];
      while (e.nextOp()) {
        const { tableId, owner, previousOwner } = e;
        const key = part(e.keyFrom, e.keyTo);
        if (e.code === opCodes.put) ops.push({ kind: 'put', tableId, key, owner, previousOwner, value: part(e.valueFrom, e.valueTo) });
        else if (e.code === opCodes.delete) ops.push({ kind: 'delete', tableId, key, previousOwner });
        else ops.push(e.rare());
      }
      transactions.push({ incarnation, seq, receivedUpTo, status, reply, ops });
    }
    return { stampMs: e.stampMs, transactions };
  };
  fc.assert(
    fc.property(batch, fc.nat(), (b, at) => {
      const whole = encode(b);
      assert.deepEqual(plain(walk(whole) as EntryBatch), plain(b));
      assert.equal(
        hasSweep(new EntryCursor(), whole),
        b.transactions.some((t) => t.ops.some((op) => op.kind === 'sweep')),
      );
      assert.throws(() => walk(whole.subarray(0, at % whole.length)), MalformedError);
      assert.throws(() => walk(Buffer.concat([whole, Buffer.of(0)])), MalformedError);
    }),
  );
});

test('entries: operations that need no resolving are those of the proposal with nobody as previous owner', () => {
  const op = fc.record({
    put: fc.boolean(),
    tableId: fc.integer({ min: 1, max: 126 }),
    key: fc.uint8Array({ maxLength: 90 }),
    value: fc.uint8Array({ maxLength: 90 }),
  });
  fc.assert(
    fc.property(fc.array(op, { maxLength: 4 }), (ops) => {
      const proposed = new ByteWriter();
      writeOps(
        proposed,
        ops.map((o) =>
          o.put ? { kind: 'put', tableId: o.tableId, key: o.key, owner: 0, value: o.value } : { kind: 'delete', tableId: o.tableId, key: o.key },
        ),
      );
      const transaction = { incarnation: 3, seq: 4, receivedUpTo: 1, status: 0, reply: new Uint8Array(0) } as const;
      const whole = ops.map((o): EntryOp => {
        const { tableId, key, value } = o;
        return o.put ? { kind: 'put', tableId, key, owner: 0, previousOwner: 0, value } : { kind: 'delete', tableId, key, previousOwner: 0 };
      });
      const w = new ByteWriter(8);
      const cursor = new OpsCursor();
      cursor.begin(proposed.finish());
      writeTransactionHead(w, transaction, cursor.count);
      while (cursor.next()) writePlainOp(w, cursor);
      const expected = new ByteWriter();
      writeTransaction(expected, { ...transaction, ops: whole });
      assert.deepEqual(w.finish(), expected.finish());
    }),
  );
});
