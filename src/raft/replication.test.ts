// Replication, commit rules, conflicts, persist ordering.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterOf, entry, type TestNode } from './test-cluster.js';
import { ack, append, terms } from './test-messages.js';
import type { RaftMessage } from './types.js';

type Append = Extract<RaftMessage, { type: 'append' }>;
type Response = Extract<RaftMessage, { type: 'appendResponse' }>;

const appends = (n: TestNode, to?: string): Append[] =>
  n
    .take('send')
    .filter((e) => to === undefined || e.to === to)
    .map((e) => e.message)
    .filter((m): m is Append => m.type === 'append');
const responses = (n: TestNode): Response[] =>
  n
    .take('send')
    .map((e) => e.message)
    .filter((m): m is Response => m.type === 'appendResponse');

test('a proposal reaches all and is committed everywhere', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  assert.deepEqual(a.propose('x', 'y'), { ok: true, index: 2, term: 1 });
  c.settle();
  for (const n of c.nodes.values()) assert.deepEqual(n.committed(), ['x', 'y']);
});

test('commit is told to followers at once, without waiting for a heartbeat', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.propose('x');
  c.settle();
  assert.equal(c.node('b').raft.commitIndex, 2);
  assert.equal(c.node('c').raft.commitIndex, 2);
});

test('only leaders accept proposals', () => {
  const c = clusterOf(3);
  c.elect('a');
  assert.deepEqual(c.node('b').propose('x'), { ok: false, reason: 'notLeader' });
});

test('a single node commits what is on its disk', () => {
  const c = clusterOf(1);
  const a = c.elect('a');
  a.autoSync = false;
  a.propose('x');
  c.settle();
  assert.equal(a.raft.commitIndex, 1);
  a.sync();
  assert.equal(a.raft.commitIndex, 2);
});

test('several proposals of one call leave as one message per follower', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.take('send');
  a.propose('1', '2', '3');
  const sent = appends(a, 'b');
  assert.equal(sent.length, 1);
  assert.equal(sent[0]?.entries.length, 3);
});

test('entries leave before the persist effect of the leader', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.take('send');
  a.propose('x');
  const order = a.seen.map((e) => e.type);
  assert.ok(order.indexOf('send') >= 0 && order.indexOf('send') < order.indexOf('persist'));
});

test('the leader counts itself only for what is durable', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.autoSync = false;
  c.crash('c');
  a.propose('x');
  c.settle();
  assert.equal(a.raft.commitIndex, 1, 'one durable copy of three is no majority');
  a.sync();
  assert.equal(a.raft.commitIndex, 2);
});

test('two followers commit without the leader’s disk; the leader applies only what is durable', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.autoSync = false;
  a.propose('x');
  c.settle();
  assert.equal(a.raft.commitIndex, 2);
  assert.equal(a.raft.applyTo, 1);
  a.take('commit');
  a.sync();
  assert.deepEqual(a.take('commit'), [{ type: 'commit', index: 2, applyTo: 2 }]);
});

test('a follower acknowledges only after its sync', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.autoSync = false;
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1)]));
  assert.deepEqual(responses(b), []);
  b.sync();
  assert.equal(responses(b)[0]?.index, 1);
});

test('an acknowledgement waits for the entries it covers, also when another message brought them', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1)]));
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1)]));
  b.receive('a', append(1, 1, 1));
  assert.deepEqual(responses(b), []);
  b.sync();
  assert.deepEqual(
    responses(b).map((r) => r.index),
    [1, 1, 1],
  );
});

test('an acknowledgement of a new term waits until the term is durable', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1)]));
  b.sync();
  responses(b);
  b.receive('c', append(2, 1, 1));
  assert.deepEqual(responses(b), []);
  b.sync();
  assert.equal(responses(b)[0]?.term, 2);
});

test('held acknowledgements of an older term are dropped', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1)]));
  b.receive('c', { type: 'heartbeat', term: 2, commit: 0, round: 1 });
  b.sync();
  assert.deepEqual(responses(b), []);
});

test('ABA: a persist of overwritten entries makes nothing durable', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1), entry(2, 1)]));
  b.receive('c', append(2, 1, 1, 0, [entry(2, 2)]));
  b.receive('a', append(3, 1, 1, 0, [entry(2, 2), entry(3, 3)]));
  b.sync(1);
  assert.equal(b.raft.durableIndex, 1, 'index 2 on disk is of another term');
  b.sync(1);
  assert.equal(b.raft.durableIndex, 2);
  b.sync();
  assert.equal(b.raft.durableIndex, 3);
});

test('ABA: the same entry written again is durable only with its own persist', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(3, 0, 0, 0, [entry(1, 1), entry(2, 1)]));
  b.receive('c', append(4, 1, 1, 0, [entry(2, 2)]));
  b.receive('a', append(5, 1, 1, 0, [entry(2, 1)]));
  assert.deepEqual(terms(b), [1, 1]);
  b.sync(1);
  assert.equal(b.raft.durableIndex, 1);
  b.sync(1);
  assert.equal(b.raft.durableIndex, 1);
  b.sync();
  assert.equal(b.raft.durableIndex, 2);
});

test('a persist effect overwrites from its first entry', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)]));
  b.sync();
  b.receive('c', append(2, 1, 1, 0, [entry(2, 2)]));
  b.sync();
  assert.deepEqual(
    b.disk.log.map((e) => e.term),
    [1, 2],
  );
  b.restart();
  assert.deepEqual(terms(b), [1, 2]);
});

test('an entry of an older term is not committed by counting (paper, figure 8)', () => {
  const c = clusterOf(3);
  const a = c.node('a');
  a.disk.hardState = { currentTerm: 2, votedFor: '' };
  a.disk.log = [entry(1, 1), entry(2, 2)];
  a.restart();
  c.drop = (p) => p.message.type === 'append' && p.message.entries.some((e) => e.term === 3);
  a.step({ type: 'campaign' });
  c.settle();
  assert.equal(a.raft.role, 'leader');
  a.receive('b', ack(3, 2));
  a.receive('c', ack(3, 2));
  assert.equal(a.raft.commitIndex, 0);
  a.receive('b', ack(3, 3));
  assert.equal(a.raft.commitIndex, 3, 'with an entry of its own term everything before it');
});

test('the no-op commits what earlier terms left', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.cut('b', 'a');
  c.cut('c', 'a');
  a.propose('x');
  c.settle();
  assert.equal(a.raft.commitIndex, 1);
  c.crash('a');
  c.advance(6000);
  const leader = c.node(c.leaders()[0] ?? '');
  assert.deepEqual(leader.committed(), ['x']);
});

test('a follower’s commit index stops at the last entry it knows to share', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)]));
  b.sync();
  b.receive('c', append(2, 1, 1, 9, []));
  assert.equal(b.raft.commitIndex, 1, 'entries 2 and 3 may differ from the leader’s');
});

test('a heartbeat’s commit stops at the end of the log', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1)]));
  b.receive('a', { type: 'heartbeat', term: 1, commit: 9, round: 1 });
  assert.equal(b.raft.commitIndex, 1);
});

test('the commit index never falls', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 2, [entry(1, 1), entry(2, 1)]));
  b.receive('a', append(1, 0, 0, 1, [entry(1, 1)]));
  b.receive('a', { type: 'heartbeat', term: 1, commit: 0, round: 1 });
  assert.equal(b.raft.commitIndex, 2);
});

test('a late append with a prefix removes nothing', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)]));
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1)]));
  assert.equal(b.raft.lastIndex, 3);
});

test('conflicting entries are overwritten from the first difference, and reported', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 1)]));
  b.take('persist');
  b.receive('c', append(2, 1, 1, 0, [entry(2, 2)]));
  assert.deepEqual(terms(b), [1, 2]);
  assert.deepEqual(b.take('proposalsDropped'), [{ type: 'proposalsDropped', from: 2, to: 3 }]);
});

test('an append whose predecessor is missing or differs is rejected with a hint', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(3, 0, 0, 0, [entry(1, 1), entry(2, 1), entry(3, 3)]));
  b.sync();
  responses(b);
  b.receive('a', append(3, 9, 3));
  const [missing] = responses(b);
  assert.ok(missing?.rejected);
  assert.deepEqual([missing.index, missing.hintIndex, missing.hintTerm], [9, 3, 3]);
  b.receive('c', append(4, 3, 2));
  const [differs] = responses(b);
  assert.ok(differs?.rejected);
  assert.deepEqual([differs.index, differs.hintIndex, differs.hintTerm], [3, 2, 1]);
});
