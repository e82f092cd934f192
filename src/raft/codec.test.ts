// Messages and configurations as bytes, and bad bytes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { decodeConfig, decodeMessage, encodeConfig, encodeMessage } from './codec.js';
import { entry } from './test-cluster.js';
import type { RaftMessage } from './types.js';

const id = fc.string({ minLength: 1, maxLength: 8 });
const n = fc.nat(2 ** 31 - 1);
const positive = fc.integer({ min: 1, max: 2 ** 31 - 1 });
const configArb = fc
  .uniqueArray(id, { maxLength: 6 })
  .chain((ids) => fc.nat(ids.length).map((k) => ({ voters: ids.slice(0, k), learners: ids.slice(k) })));
const message: fc.Arbitrary<RaftMessage> = fc.oneof(
  fc.record({ type: fc.constant('requestVote' as const), term: positive, preVote: fc.boolean(), transfer: fc.boolean(), lastIndex: n, lastTerm: n }),
  fc.record({ type: fc.constant('voteResponse' as const), term: positive, preVote: fc.boolean(), granted: fc.boolean() }),
  fc.record({
    type: fc.constant('appendResponse' as const),
    term: positive,
    stream: n,
    rejected: fc.boolean(),
    index: n,
    hintIndex: n,
    hintTerm: n,
    recovery: n,
  }),
  fc.record({ type: fc.constant('heartbeat' as const), term: positive, commit: n, round: n }),
  fc.record({ type: fc.constant('heartbeatResponse' as const), term: positive, round: n, recovery: n }),
  fc.record({ type: fc.constant('installSnapshot' as const), term: positive, index: n, indexTerm: n, config: configArb }),
  fc.record({ type: fc.constant('timeoutNow' as const), term: positive }),
  fc.record({ type: fc.constant('recovered' as const), term: positive, recovery: n }),
  fc
    .record({
      prevIndex: n,
      prevTerm: fc.nat(5),
      commit: n,
      steps: fc.array(fc.record({ up: fc.nat(2), data: fc.uint8Array({ maxLength: 9 }), noop: fc.boolean() }), { maxLength: 5 }),
    })
    .map(({ prevIndex, prevTerm, commit, steps }): RaftMessage => {
      let term = prevTerm + 1;
      const entries = steps.map((s, i) => {
        term += s.up;
        return { index: prevIndex + 1 + i, term, kind: s.noop ? ('noop' as const) : ('normal' as const), data: s.data };
      });
      return { type: 'append', term, prevIndex, prevTerm, commit, stream: commit, entries };
    }),
);

function encode(m: RaftMessage): Uint8Array {
  const w = new ByteWriter();
  encodeMessage(w, m);
  return w.finish();
}

test('codec: every message survives a round trip', () => {
  fc.assert(
    fc.property(message, (m) => {
      // fast-check's records have no prototype.
      assert.deepEqual(decodeMessage(new ByteReader(encode(m))), { ...m });
    }),
  );
});

test('codec: configurations survive a round trip', () => {
  fc.assert(
    fc.property(configArb, (config) => {
      assert.deepEqual(decodeConfig(encodeConfig(config)), config);
    }),
  );
});

test('codec: damaged bytes give MalformedError and nothing else', () => {
  const attempt = (bytes: Uint8Array): void => {
    try {
      decodeMessage(new ByteReader(bytes));
    } catch (error) {
      assert.ok(error instanceof MalformedError, String(error));
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), attempt), { numRuns: 2000 });
  fc.assert(
    fc.property(message, fc.nat(), fc.nat(255), fc.boolean(), (m, at, value, cut) => {
      const bytes = encode(m);
      const i = at % bytes.length;
      if (cut) attempt(bytes.subarray(0, i));
      else {
        bytes[i] = value;
        attempt(bytes);
      }
    }),
    { numRuns: 2000 },
  );
});

test('codec: what a machine must never see is refused', () => {
  const bad: RaftMessage[] = [
    { type: 'append', term: 3, prevIndex: 0, prevTerm: 0, commit: 0, stream: 1, entries: [entry(1, 2), entry(2, 1)] },
    { type: 'append', term: 3, prevIndex: 0, prevTerm: 0, commit: 0, stream: 1, entries: [entry(1, 4)] },
    { type: 'append', term: 3, prevIndex: 1, prevTerm: 4, commit: 0, stream: 1, entries: [] },
    {
      type: 'append',
      term: 3,
      prevIndex: 0,
      prevTerm: 0,
      commit: 0,
      stream: 1,
      entries: [{ index: 1, term: 3, kind: 'config', data: Uint8Array.of(9) }],
    },
    { type: 'installSnapshot', term: 1, index: 1, indexTerm: 1, config: { voters: ['a', 'a'], learners: [] } },
    { type: 'installSnapshot', term: 1, index: 1, indexTerm: 1, config: { voters: ['a'], learners: ['a'] } },
    { type: 'timeoutNow', term: 0 },
  ];
  for (const m of bad) assert.throws(() => decodeMessage(new ByteReader(encode(m))), MalformedError, JSON.stringify(m));
});

test('codec: decoded entries do not share memory with the frame', () => {
  const bytes = encode({ type: 'append', term: 1, prevIndex: 0, prevTerm: 0, commit: 0, stream: 1, entries: [entry(1, 1, 'abc')] });
  const m = decodeMessage(new ByteReader(bytes));
  bytes.fill(0);
  assert.ok(m.type === 'append');
  assert.deepEqual([...(m.entries[0]?.data ?? [])], [97, 98, 99]);
});
