// ReadIndex and leader transfer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterOf, TestCluster, type TestNode } from './test-cluster.js';

const readable = (n: TestNode): [number, number][] => n.take('readable').map((e) => [e.token, e.index]);

test('a read is answered with the commit index after a round of heartbeats', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.propose('x');
  c.settle();
  a.step({ type: 'readIndex', token: 7 });
  assert.deepEqual(readable(a), [], 'not before a majority has answered');
  c.settle();
  assert.deepEqual(readable(a), [[7, 2]]);
});

test('a single node answers reads by itself', () => {
  const c = clusterOf(1);
  const a = c.elect('a');
  a.step({ type: 'readIndex', token: 1 });
  assert.deepEqual(readable(a), [[1, 1]]);
});

test('a follower refuses reads', () => {
  const c = clusterOf(3);
  c.elect('a');
  const b = c.node('b');
  b.step({ type: 'readIndex', token: 1 });
  assert.deepEqual(b.take('readFailed'), [{ type: 'readFailed', token: 1 }]);
});

test('a read before the first commit of the term waits for it', () => {
  const c = clusterOf(3);
  const a = c.node('a');
  c.drop = (p) => p.message.type === 'append';
  a.step({ type: 'campaign' });
  c.settle();
  assert.equal(a.raft.role, 'leader');
  a.step({ type: 'readIndex', token: 1 });
  c.advance(300);
  assert.deepEqual(readable(a), []);
  c.drop = () => false;
  c.advance(500);
  assert.deepEqual(readable(a), [[1, 1]]);
});

test('a cut off leader answers no read, and fails it when it steps down', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('a');
  a.step({ type: 'readIndex', token: 1 });
  c.advance(1500);
  assert.equal(a.seen.filter((e) => e.type === 'readable').length, 0);
  c.advance(1000);
  assert.deepEqual(a.take('readFailed'), [{ type: 'readFailed', token: 1 }]);
});

test('a late answer to an earlier heartbeat confirms no later read', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.advance(200);
  a.take('send');
  c.isolate('a');
  a.step({ type: 'readIndex', token: 1 });
  const round = a.take('send')[0]?.message;
  assert.ok(round?.type === 'heartbeat');
  a.receive('b', { type: 'heartbeatResponse', term: 1, round: round.round - 1, recovery: 0 });
  assert.deepEqual(readable(a), []);
  a.receive('b', { type: 'heartbeatResponse', term: 1, round: round.round, recovery: 0 });
  assert.deepEqual(readable(a), [[1, 1]]);
});

test('an answer to a round that was never sent confirms nothing', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('a');
  a.receive('b', { type: 'heartbeatResponse', term: 1, round: 1000, recovery: 0 });
  a.step({ type: 'readIndex', token: 1 });
  assert.deepEqual(readable(a), []);
});

test('reads that come during a round share the next one', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.take('send');
  for (let token = 1; token <= 5; token++) a.step({ type: 'readIndex', token });
  assert.equal(a.seen.filter((e) => e.type === 'send' && e.to === 'b').length, 1);
  c.settle();
  assert.equal(readable(a).length, 5);
});

test('a learner confirms no read', () => {
  const c = new TestCluster(['a', 'b', 'c'], {}, ['l']);
  const a = c.elect('a');
  c.cut('b', 'a');
  c.cut('c', 'a');
  a.step({ type: 'readIndex', token: 1 });
  c.settle();
  assert.deepEqual(readable(a), []);
});

test('waiting reads are bounded', () => {
  const c = clusterOf(3, { readsMax: 2 });
  const a = c.elect('a');
  for (let token = 1; token <= 3; token++) a.step({ type: 'readIndex', token });
  assert.deepEqual(a.take('readFailed'), [{ type: 'readFailed', token: 3 }]);
});

test('a lost round of heartbeats is followed by the next', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  let lost = 0;
  c.drop = (p) => p.message.type === 'heartbeat' && lost++ < 2;
  a.step({ type: 'readIndex', token: 1 });
  c.settle();
  assert.deepEqual(readable(a), []);
  c.advance(200);
  assert.deepEqual(readable(a), [[1, 1]]);
});

test('transfer to an up-to-date follower happens at once', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.step({ type: 'transferLeader', to: 'b' });
  c.settle();
  assert.deepEqual(c.leaders(), ['b']);
  assert.equal(c.node('b').raft.term, 2);
  assert.equal(a.raft.leader, 'b');
});

test('transfer to a slow follower waits until it has everything', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('b');
  a.propose('x');
  c.settle();
  c.heal();
  a.step({ type: 'transferLeader', to: 'b' });
  assert.equal(a.raft.transferee, 'b');
  c.advance(500);
  assert.deepEqual(c.leaders(), ['b']);
  assert.deepEqual(c.node('b').committed(), ['x']);
});

test('proposals are refused during a transfer, and accepted after it was given up', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('b');
  a.step({ type: 'transferLeader', to: 'b' });
  assert.deepEqual(a.propose('x'), { ok: false, reason: 'transferring' });
  c.advance(1100);
  assert.equal(a.raft.transferee, '');
  assert.equal(a.raft.role, 'leader');
  assert.equal(a.propose('x').ok, true);
});

test('transfer to itself, to nobody known, or to a learner is ignored', () => {
  const c = new TestCluster(['a', 'b', 'c'], {}, ['l']);
  const a = c.elect('a');
  for (const to of ['a', 'z', 'l']) {
    a.step({ type: 'transferLeader', to });
    assert.equal(a.raft.transferee, '');
  }
  c.settle();
  assert.deepEqual(c.leaders(), ['a']);
});

test('a second transfer replaces the first; the same one again changes nothing', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('b');
  a.step({ type: 'transferLeader', to: 'b' });
  const due = a.raft.nextTimerAt;
  c.now += 100;
  a.step({ type: 'transferLeader', to: 'b' });
  assert.equal(a.raft.nextTimerAt, due);
  a.step({ type: 'transferLeader', to: 'c' });
  c.settle();
  assert.deepEqual(c.leaders(), ['c']);
});

test('transfer there and back', () => {
  const c = clusterOf(3);
  c.elect('a').step({ type: 'transferLeader', to: 'b' });
  c.settle();
  c.node('b').step({ type: 'transferLeader', to: 'a' });
  c.settle();
  assert.deepEqual(c.leaders(), ['a']);
  assert.equal(c.node('a').raft.term, 3);
});

test('a late timeoutNow of an older term starts no election', () => {
  const c = clusterOf(3);
  c.elect('a');
  const b = c.node('b');
  b.receive('c', { type: 'heartbeat', term: 5, commit: 0, round: 1 });
  b.receive('a', { type: 'timeoutNow', term: 1 });
  assert.equal(b.raft.role, 'follower');
  assert.equal(b.raft.term, 5);
});

test('a transfer survives a higher-term vote by stepping down', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('b');
  a.step({ type: 'transferLeader', to: 'b' });
  a.receive('c', { type: 'requestVote', term: 9, preVote: false, lastIndex: 9, lastTerm: 9, transfer: true });
  assert.equal(a.raft.role, 'follower');
  assert.equal(a.raft.transferee, '');
});
