// Probe, replicate, pipelining, inflight windows, bounds of messages and proposals; the log in memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RaftLog } from './log.js';
import { Progress } from './progress.js';
import { majorityValue, voteOutcome } from './quorum.js';
import { clusterOf, entry, type TestCluster, TestDisk, type TestNode } from './test-cluster.js';
import type { FollowerStatus, RaftMessage } from './types.js';

type Append = Extract<RaftMessage, { type: 'append' }>;

const appendsTo = (n: TestNode, to: string): Append[] =>
  n
    .take('send')
    .filter((e) => e.to === to)
    .map((e) => e.message)
    .filter((m): m is Append => m.type === 'append');
const follower = (n: TestNode, id: string): FollowerStatus => {
  const f = n.raft.followers().find((one) => one.id === id);
  assert.ok(f !== undefined);
  return f;
};
const loseAppends = (c: TestCluster, to: string): void => {
  c.drop = (p) => p.to === to && p.message.type === 'append';
};

test('a new leader probes, and replicates after the first acknowledgement', () => {
  const c = clusterOf(3);
  loseAppends(c, 'b');
  const a = c.elect('a');
  assert.equal(follower(a, 'b').state, 'probe');
  assert.equal(follower(a, 'c').state, 'replicate');
});

test('a probing leader has one message under way', () => {
  const c = clusterOf(3);
  loseAppends(c, 'b');
  const a = c.elect('a');
  a.take('send');
  a.propose('1');
  a.propose('2');
  assert.deepEqual(appendsTo(a, 'b'), []);
});

test('a lost probe is repeated without entries after a heartbeat', () => {
  const c = clusterOf(3);
  loseAppends(c, 'b');
  const a = c.elect('a');
  a.take('send');
  c.advance(160);
  const repeated = appendsTo(a, 'b');
  assert.equal(repeated.length, 1);
  assert.equal(repeated[0]?.entries.length, 0);
  c.drop = () => false;
  c.advance(300);
  assert.equal(follower(a, 'b').state, 'replicate');
});

test('a replicating leader pipelines', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.take('send');
  for (const v of ['1', '2', '3']) a.propose(v);
  assert.deepEqual(
    appendsTo(a, 'b').map((m) => [m.prevIndex, m.entries.length]),
    [
      [1, 1],
      [2, 1],
      [3, 1],
    ],
  );
  assert.equal(follower(a, 'b').inflightMessages, 3);
});

test('the window of messages holds the stream, an acknowledgement moves it', () => {
  const c = clusterOf(3, { inflightMessagesMax: 2 });
  const a = c.elect('a');
  a.take('send');
  for (const v of ['1', '2', '3', '4']) a.propose(v);
  assert.equal(appendsTo(a, 'b').length, 2);
  a.receive('b', { type: 'appendResponse', term: 1, stream: 1, rejected: false, index: 2, hintIndex: 0, hintTerm: 0, recovery: 0 });
  const next = appendsTo(a, 'b');
  assert.equal(next.length, 1);
  assert.equal(next[0]?.entries.length, 2, 'what has gathered goes out as one batch');
  c.settle();
  assert.deepEqual(c.node('b').committed(), ['1', '2', '3', '4']);
});

test('the window of bytes holds the stream', () => {
  const c = clusterOf(3, { inflightBytesMax: 100 });
  const a = c.elect('a');
  a.take('send');
  for (let i = 0; i < 4; i++) a.propose('x'.repeat(60));
  assert.equal(appendsTo(a, 'b').length, 2);
  assert.equal(follower(a, 'b').inflightBytes, 120);
  c.settle();
  assert.equal(follower(a, 'b').inflightBytes, 0);
  assert.equal(c.node('b').committed().length, 4);
});

test('a full window whose messages were lost gets going again', () => {
  const c = clusterOf(3, { inflightMessagesMax: 2 });
  const a = c.elect('a');
  loseAppends(c, 'b');
  for (const v of ['1', '2', '3', '4']) a.propose(v);
  c.settle();
  c.drop = () => false;
  c.advance(1000);
  assert.deepEqual(c.node('b').committed(), ['1', '2', '3', '4']);
});

test('messages respect the bounds of entries and bytes; one entry always fits', () => {
  for (const options of [{ messageEntriesMax: 2 }, { messageBytesMax: 5 }]) {
    const c = clusterOf(3, options);
    const a = c.elect('a');
    a.take('send');
    a.propose('abc', 'de', 'f', 'longer than five');
    const sizes = appendsTo(a, 'b').map((m) => m.entries.length);
    assert.deepEqual(sizes, 'messageEntriesMax' in options ? [2, 2] : [2, 1, 1]);
    c.settle();
    assert.equal(c.node('b').committed().length, 4);
  }
});

test('an unreachable follower is probed, not streamed to, until it is reachable', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.step({ type: 'peerUnreachable', peer: 'b' });
  assert.equal(follower(a, 'b').state, 'probe');
  a.take('send');
  a.propose('1');
  assert.deepEqual(appendsTo(a, 'b'), []);
  a.step({ type: 'peerReachable', peer: 'b' });
  assert.equal(appendsTo(a, 'b').length, 1);
  c.settle();
  assert.equal(follower(a, 'b').state, 'replicate');
});

test('a probing follower that has everything returns to replicate by a heartbeat', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.step({ type: 'peerUnreachable', peer: 'b' });
  c.advance(400);
  assert.equal(follower(a, 'b').state, 'replicate');
});

test('a rejection of an overtaken message is stale', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.propose('1', '2');
  c.settle();
  a.receive('b', { type: 'appendResponse', term: 1, stream: 1, rejected: true, index: 2, hintIndex: 0, hintTerm: 0, recovery: 0 });
  assert.equal(follower(a, 'b').state, 'replicate');
});

test('proposals beyond the uncommitted bound are refused, one always fits, commits free it', () => {
  const c = clusterOf(3, { uncommittedBytesMax: 100 });
  const a = c.elect('a');
  c.isolate('a');
  assert.equal(a.propose('x'.repeat(150)).ok, true);
  assert.deepEqual(a.propose('y'), { ok: false, reason: 'tooMuchUncommitted' });
  assert.equal(a.raft.uncommittedBytes, 150);
  c.heal();
  c.advance(1000);
  assert.equal(a.raft.uncommittedBytes, 0);
  assert.equal(a.propose('y').ok, true);
});

test('the uncommitted count starts anew with each leadership', () => {
  const c = clusterOf(3, { uncommittedBytesMax: 100 });
  const a = c.elect('a');
  c.isolate('a');
  a.propose('x'.repeat(90));
  c.settle();
  c.advance(3000);
  c.heal();
  c.advance(6000);
  c.node(c.leaders()[0] ?? '').step({ type: 'transferLeader', to: 'a' });
  c.settle();
  assert.deepEqual(c.leaders(), ['a']);
  assert.equal(a.raft.uncommittedBytes, 0);
});

test('a far lagging follower is fed from the disk', () => {
  const c = clusterOf(3, { memoryBytesMax: 50, messageBytesMax: 40 });
  const a = c.elect('a');
  c.isolate('b');
  for (let i = 0; i < 50; i++) {
    a.propose(`value ${i}`);
    c.settle();
  }
  c.heal();
  c.advance(1000);
  assert.equal(c.node('b').committed().length, 50);
});

test('progress: acknowledgements free the window in order', () => {
  const p = new Progress(1, 0);
  p.becomeReplicate();
  p.sent(1, 10);
  p.sent(3, 20);
  p.sent(4, 5);
  assert.equal(p.full(3, 1000), true);
  assert.equal(p.full(4, 35), true);
  assert.equal(p.acknowledged(2), true);
  assert.equal(p.inflightMessages, 2);
  assert.equal(p.inflightBytes, 25);
  assert.equal(p.acknowledged(1), false);
  assert.equal(p.acknowledged(4), true);
  assert.equal(p.inflightBytes, 0);
  assert.equal(p.nextIndex, 5);
  p.becomeProbe(2);
  assert.equal(p.nextIndex, 5, 'never below what matched');
});

test('quorum: the majority value equals the naive one', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { minLength: 1, maxLength: 9 }), (values) => {
      const ids = values.map((_, i) => `n${i}`);
      const naive = Math.max(...[...values, 0].filter((v) => values.filter((w) => w >= v).length * 2 > values.length));
      assert.equal(
        majorityValue(ids, (id) => values[Number(id.slice(1))] ?? 0),
        naive,
      );
    }),
  );
});

test('quorum: votes are won, lost or open', () => {
  const v = (...votes: (boolean | undefined)[]): string => {
    const ids = votes.map((_, i) => `n${i}`);
    const map = new Map<string, boolean>();
    votes.forEach((vote, i) => {
      if (vote !== undefined) map.set(`n${i}`, vote);
    });
    return voteOutcome(ids, map);
  };
  assert.equal(v(true), 'won');
  assert.equal(v(true, undefined), 'open');
  assert.equal(v(true, false), 'lost');
  assert.equal(v(true, true, undefined), 'won');
  assert.equal(v(true, false, false), 'lost');
  assert.equal(v(true, true, false, false, undefined), 'open');
});

const base0 = { index: 0, term: 0 };
const config = { voters: ['a'], learners: [] };

test('log: terms, slices, truncation and compaction agree with a plain array', () => {
  const command = fc.oneof(
    fc.record({ op: fc.constant('append' as const), n: fc.integer({ min: 1, max: 5 }), up: fc.nat(1) }),
    fc.record({ op: fc.constant('truncate' as const), n: fc.nat(4), up: fc.nat(0) }),
    fc.record({ op: fc.constant('durable' as const), n: fc.nat(10), up: fc.nat(0) }),
    fc.record({ op: fc.constant('compact' as const), n: fc.nat(3), up: fc.nat(0) }),
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), fc.integer({ min: 0, max: 30 }), (commands, memoryBytesMax) => {
      const disk = new TestDisk(config);
      const log = new RaftLog(disk, base0, base0, memoryBytesMax);
      let model: { term: number; text: string }[] = [];
      let term = 1;
      let base = 0;
      let durable = 0;
      for (const c of commands) {
        if (c.op === 'append') {
          term += c.up;
          const fresh = Array.from({ length: c.n }, (_, i) => entry(model.length + 1 + i, term, `${term}.${model.length + i}`));
          log.append(fresh);
          model.push(...fresh.map((e) => ({ term: e.term, text: String(e.data) })));
        } else if (c.op === 'truncate') {
          const from = Math.max(base + 1, model.length + 1 - c.n);
          log.truncate(from);
          model = model.slice(0, from - 1);
          durable = Math.min(durable, from - 1);
        } else if (c.op === 'durable') {
          const to = Math.max(durable, Math.min(model.length, durable + c.n));
          // The source has at least what is called durable.
          const all = log.entries(durable + 1, to + 1, Number.POSITIVE_INFINITY, 1000) ?? [];
          disk.write({ type: 'persist', id: 1, hardState: undefined, entries: all });
          log.durableTo(to);
          durable = to;
        } else {
          const to = Math.min(durable, base + c.n);
          log.compact(to);
          base = to;
        }
        assert.equal(log.lastIndex, model.length);
        assert.equal(log.durableIndex, durable);
        assert.equal(log.baseIndex, base);
        for (let i = base + 1; i <= model.length; i++) {
          assert.equal(log.term(i), model[i - 1]?.term);
          const got = log.entries(i, i + 1, 1, 1)?.[0];
          assert.equal(String(got?.data), model[i - 1]?.text);
        }
        assert.equal(log.entries(base, model.length + 1, 10, 10), undefined);
        assert.equal(log.term(model.length + 1), undefined);
      }
    }),
    { numRuns: 300 },
  );
});

test('log: up to date means higher last term, then longer', () => {
  const log = new RaftLog(new TestDisk(config), base0, base0, 1000);
  log.append([entry(1, 1), entry(2, 3)]);
  assert.equal(log.isUpToDate(1, 4), true);
  assert.equal(log.isUpToDate(2, 3), true);
  assert.equal(log.isUpToDate(1, 3), false);
  assert.equal(log.isUpToDate(9, 2), false);
});

test('log: the last index within a term', () => {
  const log = new RaftLog(new TestDisk(config), base0, base0, 1000);
  log.append([1, 1, 3, 3, 5].map((t, i) => entry(i + 1, t)));
  for (const [index, term, expected] of [
    [5, 5, 5],
    [5, 4, 4],
    [5, 2, 2],
    [3, 2, 2],
    [1, 9, 1],
    [5, 0, 0],
    [99, 9, 5],
  ] as const) {
    assert.equal(log.lastIndexWithin(index, term), expected, `${index}/${term}`);
  }
});

test('log: gaps, falling terms and truncation below the base are broken invariants', () => {
  const log = new RaftLog(new TestDisk(config), { index: 5, term: 2 }, { index: 5, term: 2 }, 1000);
  assert.throws(() => log.append([entry(7, 2)]), /gap/);
  assert.throws(() => log.append([entry(6, 1)]), /terms/);
  assert.throws(() => log.truncate(5), /base/);
});
