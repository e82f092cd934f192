// Compaction and snapshots.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeConfig } from './codec.js';
import { clusterOf, entry, type TestCluster, type TestNode } from './test-cluster.js';

/** The driver's part: tables, log base and configuration replaced in one durable step. */
function install(n: TestNode, index: number, term: number): void {
  n.disk.base = { index, term };
  n.disk.log = [];
  n.pendingPersists.length = 0;
  n.step({ type: 'snapshotInstalled', index, term, config: n.disk.baseConfig });
}

function compact(n: TestNode, index: number): void {
  n.disk.compact(index, n.raft.config);
  n.step({ type: 'compacted', index });
}

/** Follower c is cut off while the leader goes on and compacts. */
function behind(): { c: TestCluster; a: TestNode; late: TestNode } {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('c');
  for (let i = 0; i < 5; i++) a.propose(`v${i}`);
  c.settle();
  compact(a, 4);
  c.heal();
  c.advance(500);
  return { c, a, late: c.node('c') };
}

const state = (n: TestNode, id: string): string | undefined => n.raft.followers().find((f) => f.id === id)?.state;

test('compaction forgets entries and keeps the term of the base', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.propose('1', '2', '3');
  c.settle();
  compact(a, 3);
  assert.equal(a.raft.baseIndex, 3);
  assert.equal(a.raft.termOf(3), 1);
  assert.equal(a.raft.termOf(2), undefined);
  assert.equal(a.raft.entries(3, 4, 10), undefined);
  assert.deepEqual(a.values(), ['3']);
});

test('compaction beyond what may be applied is a broken invariant', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('a');
  a.propose('1');
  a.sync();
  assert.throws(() => a.step({ type: 'compacted', index: 2 }), /compacted/);
});

test('a follower behind the log’s start is offered a snapshot and nothing else', () => {
  const { a, late } = behind();
  assert.equal(state(a, 'c'), 'snapshot');
  assert.deepEqual(
    a.take('needSnapshot').map((e) => e.to),
    ['c'],
  );
  const [offer] = late.take('installSnapshot');
  assert.deepEqual([offer?.from, offer?.index, offer?.term], ['a', 4, 1]);
  a.propose('more');
  assert.equal(a.seen.filter((e) => e.type === 'send' && e.to === 'c' && e.message.type === 'append').length, 0);
});

test('after the installation the follower goes on from there', () => {
  const { c, a, late } = behind();
  install(late, 5, 1);
  assert.equal(late.raft.commitIndex, 5);
  c.settle();
  c.advance(300);
  assert.equal(state(a, 'c'), 'replicate');
  assert.equal(late.raft.lastIndex, a.raft.lastIndex);
  assert.equal(late.raft.commitIndex, a.raft.commitIndex);
});

test('a node that installs takes no entries and does not campaign, but votes by its old log', () => {
  const { c, late } = behind();
  assert.equal(late.raft.installing, true);
  assert.equal(late.raft.nextTimerAt, Number.POSITIVE_INFINITY);
  late.receive('a', { type: 'append', term: 1, prevIndex: 1, prevTerm: 1, commit: 0, stream: 1, entries: [entry(2, 1)] });
  assert.equal(late.raft.lastIndex, 1);
  c.now += 60_000;
  late.step({ type: 'tick' });
  assert.equal(late.raft.role, 'follower');
  late.take('send');
  late.receive('b', { type: 'requestVote', term: 2, preVote: false, lastIndex: 1, lastTerm: 1, transfer: false });
  late.sync();
  assert.equal(late.raft.votedFor, 'b');
});

test('an aborted installation leaves the old log and starts again', () => {
  const { c, late } = behind();
  late.step({ type: 'snapshotAborted' });
  assert.equal(late.raft.installing, false);
  late.take('send');
  c.advance(1300);
  assert.equal(late.raft.installing, true, 'the offer is repeated');
});

test('a failed transfer makes the leader probe again', () => {
  const { c, a } = behind();
  a.step({ type: 'snapshotStatus', to: 'c', ok: false });
  assert.equal(state(a, 'c'), 'probe');
  a.take('send');
  c.advance(300);
  assert.equal(state(a, 'c'), 'snapshot');
});

test('an offer of what the follower has is answered with an acknowledgement', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.propose('1', '2');
  c.settle();
  const b = c.node('b');
  b.take('send');
  b.receive('a', { type: 'installSnapshot', term: 1, index: 2, indexTerm: 1, config: { voters: ['a', 'b', 'c'], learners: [] } });
  assert.equal(b.raft.installing, false);
  const m = b.take('send')[0]?.message;
  assert.ok(m?.type === 'appendResponse' && !m.rejected && m.index === 3);
});

test('a snapshot brings its configuration', () => {
  const { late } = behind();
  late.disk.baseConfig = { voters: ['a', 'b', 'c', 'd'], learners: ['e'] };
  install(late, 4, 1);
  assert.deepEqual(late.raft.config, { voters: ['a', 'b', 'c', 'd'], learners: ['e'] });
});

test('a snapshot may come with an adopted log', () => {
  const { late } = behind();
  late.disk.base = { index: 4, term: 1 };
  late.disk.log = [entry(5, 1, 'v3'), entry(6, 1, 'v4')];
  late.step({ type: 'snapshotInstalled', index: 4, term: 1, config: late.disk.baseConfig, last: { index: 6, term: 1 } });
  assert.equal(late.raft.lastIndex, 6);
  assert.equal(late.raft.durableIndex, 6);
  assert.deepEqual(late.values(), ['v3', 'v4']);
});

test('a persist under way when a snapshot is installed makes nothing durable', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', { type: 'append', term: 1, prevIndex: 0, prevTerm: 0, commit: 0, stream: 1, entries: [entry(1, 1), entry(2, 1)] });
  b.receive('a', { type: 'installSnapshot', term: 1, index: 9, indexTerm: 1, config: { voters: ['a', 'b', 'c'], learners: [] } });
  b.step({ type: 'snapshotInstalled', index: 9, term: 1, config: b.disk.baseConfig });
  b.step({ type: 'persisted', id: 1 });
  assert.equal(b.raft.durableIndex, 9);
  assert.equal(b.raft.lastIndex, 9);
});

test('a silent follower is not offered a snapshot', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('c');
  for (let i = 0; i < 5; i++) a.propose(`v${i}`);
  c.settle();
  c.advance(1500);
  compact(a, 4);
  a.take('send');
  a.step({ type: 'peerReachable', peer: 'c' });
  assert.equal(a.take('needSnapshot').length, 0);
});

test('a restarted leader serves from its base on', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.propose('1', '2', '3');
  c.settle();
  compact(a, 2);
  c.restart('a');
  c.advance(3000);
  assert.equal(c.leaders().length, 1);
  assert.equal(a.raft.commitIndex, c.node('b').raft.commitIndex);
});

test('an adopted log brings its configurations, the last one in force', () => {
  const c = clusterOf(3);
  const n = c.node('c');
  n.receive('a', { type: 'installSnapshot', term: 1, index: 5, indexTerm: 1, config: n.disk.baseConfig });
  n.sync();
  n.disk.base = { index: 5, term: 1 };
  const later = { voters: ['a', 'b', 'c'], learners: ['d'] };
  n.disk.log = [entry(6, 1), { index: 7, term: 1, kind: 'config', data: encodeConfig(later) }];
  n.step({ type: 'snapshotInstalled', index: 5, term: 1, config: n.disk.baseConfig, last: { index: 7, term: 1 } });
  assert.deepEqual(n.raft.config, later);
  assert.equal(n.raft.lastIndex, 7);
  assert.equal(n.raft.commitIndex, 5);
});
