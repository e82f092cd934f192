// What nodes send each other about the database: read back as it was written, and whatever the bytes, a
// MalformedError is all that comes of them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Table } from './api.js';
import { type LeaseGrant, type LeaseRequest, readLeaseGrants, readLeaseRequests, writeLeaseGrants, writeLeaseRequests } from './lease-codec.js';
import {
  type Answer,
  decodeAnswers,
  decodeCommand,
  decodeTransaction,
  encodeAnswers,
  encodeCommand,
  encodeTransaction,
  encodeWrites,
  OpsCursor,
  type ProposalBatch,
  readOps,
  readProposalBatch,
  type TransactionBody,
  writeProposalBatch,
} from './proposal-codec.js';
import { decodeRlog, encodeRlog, type RlogMessage } from './rlog-codec.js';

const runs = { numRuns: 400, seed: 38 };
const n = fc.nat(2 ** 31 - 1);
const word = fc.string({ maxLength: 12 });
const bytes = fc.uint8Array({ maxLength: 20 });
const table: Table = { id: 7, name: 't', shard: 's' };

const copy = fc.record({ historyId: word, index: n, term: n, stamp: n, key: fc.option(bytes, { nil: undefined }) });
const rlog: fc.Arbitrary<RlogMessage> = fc.oneof(
  fc.record({
    type: fc.constant('open' as const),
    shard: word,
    stream: n,
    historyId: word,
    appliedIndex: n,
    appliedTerm: n,
    force: fc.boolean(),
    copy: fc.option(copy, { nil: undefined }),
  }),
  fc.record({
    type: fc.constant('opened' as const),
    shard: word,
    stream: n,
    mode: fc.constantFrom('resume' as const, 'bootstrap' as const, 'later' as const, 'continue' as const),
    historyId: word,
    commitIndex: n,
    rows: n,
    why: word,
  }),
  fc.record({
    type: fc.constant('chunk' as const),
    shard: word,
    stream: n,
    stamp: n,
    last: fc.boolean(),
    rows: fc.array(fc.record({ key: bytes, value: bytes }), { maxLength: 4 }),
  }),
  fc.record({ type: fc.constant('wanted' as const), shard: word, index: n }),
  fc.record({ type: fc.constant('ack' as const), shard: word, stream: n, visible: n, bytes: n }),
  fc.record({ type: fc.constant('close' as const), shard: word, stream: n, why: word }),
);

const transaction: fc.Arbitrary<TransactionBody> = fc.record({
  reads: fc.record({
    snapshotIndex: n,
    keys: fc.array(fc.record({ tableId: fc.nat(126), key: bytes }), { maxLength: 3 }),
    ranges: fc.array(fc.record({ tableId: fc.nat(126), start: bytes, end: fc.option(bytes, { nil: undefined }) }), { maxLength: 3 }),
  }),
  ops: fc.array(fc.record({ kind: fc.constant('delete' as const), tableId: fc.nat(126), key: bytes }), { maxLength: 3 }),
  reply: bytes,
});

const batch: fc.Arbitrary<ProposalBatch> = fc.record({
  shard: word,
  incarnation: n,
  receivedUpTo: n,
  effective: fc.boolean(),
  proposals: fc.array(fc.record({ seq: n, kind: fc.constantFrom(0 as const, 1 as const, 2 as const, 3 as const), body: bytes }), { maxLength: 4 }),
});

const answers: fc.Arbitrary<readonly Answer[]> = fc.array(fc.record({ code: fc.constantFrom(...([0, 1, 2] as const)), index: n, reply: bytes }), {
  maxLength: 4,
});
const leaseKind = fc.constantFrom('follow' as const, 'lead' as const, 'stream' as const);
const requests: fc.Arbitrary<readonly LeaseRequest[]> = fc.array(fc.record({ shard: word, kind: leaseKind, n, visible: n }), { maxLength: 4 });
const grants: fc.Arbitrary<readonly LeaseGrant[]> = fc.array(fc.record({ shard: word, kind: leaseKind, n, ms: n, floor: n }), { maxLength: 4 });

function written(write: (w: ByteWriter) => void): Uint8Array {
  const w = new ByteWriter(64);
  write(w);
  return w.finish();
}

function walkOps(body: Uint8Array): void {
  const cursor = new OpsCursor();
  cursor.begin(body);
  while (cursor.next()) assert.ok(cursor.end <= body.length);
}

interface Codec {
  readonly name: string;
  readonly sample: fc.Arbitrary<Uint8Array>;
  readonly read: (bytes: Uint8Array) => unknown;
}

function codec<T>(name: string, values: fc.Arbitrary<T>, write: (value: T) => Uint8Array, read: (bytes: Uint8Array) => unknown): Codec {
  return { name, sample: values.map(write), read };
}

const puts = fc.array(fc.record({ kind: fc.constant('put' as const), table: fc.constant(table), key: bytes, value: bytes }), { maxLength: 4 });
const codecs: readonly Codec[] = [
  codec('log stream', rlog, encodeRlog, decodeRlog),
  codec('proposals', batch, (b) => written((w) => writeProposalBatch(w, b)), readProposalBatch),
  codec('answers', answers, encodeAnswers, decodeAnswers),
  codec('writes', puts, encodeWrites, (b) => readOps(new ByteReader(b))),
  codec('writes, walked through', puts, encodeWrites, walkOps),
  codec('transaction', transaction, encodeTransaction, decodeTransaction),
  codec('command', fc.tuple(word, bytes), ([name, body]) => encodeCommand(name, body), decodeCommand),
  codec(
    'lease requests',
    requests,
    (r) => written((w) => writeLeaseRequests(w, 1, r)).subarray(1),
    (b) => readLeaseRequests(new ByteReader(b)),
  ),
  codec(
    'lease grants',
    grants,
    (g) => written((w) => writeLeaseGrants(w, 1, g)).subarray(1),
    (b) => readLeaseGrants(new ByteReader(b)),
  ),
];

/** 2^53 - 1. */
const hugeVarint = Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 15);

for (const { name, sample, read } of codecs) {
  test(`${name}: damaged bytes are malformed or something else that is well-formed, and never more`, () => {
    const damage = fc.tuple(sample, fc.nat(), fc.constantFrom('cut', 'flip', 'huge', 'more'), fc.uint8Array({ minLength: 1, maxLength: 8 }));
    let refused = 0;
    fc.assert(
      fc.property(damage, ([whole, where, how, noise]) => {
        read(whole);
        const at = where % (whole.length + 1);
        const [head, tail] = [whole.subarray(0, at), whole.subarray(at)];
        const flipped = Uint8Array.from(whole, (b, i) => (i === at ? b ^ (noise[0] ?? 1) : b));
        const bad =
          how === 'cut'
            ? head
            : how === 'flip'
              ? flipped
              : how === 'huge'
                ? Buffer.concat([head, hugeVarint, tail])
                : Buffer.concat([head, noise, tail]);
        try {
          read(Uint8Array.from(bad));
        } catch (error) {
          assert.ok(error instanceof MalformedError, String(error));
          refused++;
        }
      }),
      runs,
    );
    assert.ok(refused > 0);
  });
}

/** Bytes as plain lists: views and copies are the same. */
function plain(m: RlogMessage): unknown {
  return JSON.parse(JSON.stringify(m, (_key, value: unknown) => (value instanceof Uint8Array ? [...value] : value)));
}

test('log stream: what is sent is what is read', () => {
  fc.assert(
    fc.property(rlog, (m) => assert.deepEqual(plain(decodeRlog(encodeRlog(m))), plain(m))),
    runs,
  );
});

// As version 1 of the protocol wrote it, byte for byte: it has no place of a copy.
const openOfVersion1 = '01056974656d732a0963696432 2f6974656d8f4e0701'.replaceAll(' ', '');

test('log stream: the request of a receiver that speaks version 1 is read, and written for a core that does', () => {
  const open: RlogMessage = {
    type: 'open',
    shard: 'items',
    stream: 42,
    historyId: 'cid2/item',
    appliedIndex: 9999,
    appliedTerm: 7,
    force: true,
    copy: undefined,
  };
  assert.equal(Buffer.from(encodeRlog(open, false)).toString('hex'), openOfVersion1);
  assert.deepEqual(plain(decodeRlog(Buffer.from(openOfVersion1, 'hex'))), plain(open));
});
