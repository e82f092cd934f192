// Elections that must not disturb: stickiness, CheckQuorum, what a restarted or isolated member does.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterOf, TestCluster } from './test-cluster.js';
import { heartbeat, vote } from './test-messages.js';

test('stickiness: a voter ignores vote and PreVote requests while it hears its leader', () => {
  const c = clusterOf(3);
  c.elect('a');
  const b = c.node('b');
  for (const preVote of [false, true]) {
    b.take('send');
    b.receive('c', vote(9, 9, 9, { preVote }));
    assert.deepEqual(b.take('send'), []);
    assert.equal(b.raft.term, 1);
  }
});

test('stickiness ends after the minimum election timeout', () => {
  const c = clusterOf(3);
  c.elect('a');
  const b = c.node('b');
  c.now += 1000;
  b.receive('c', vote(2, 9, 9));
  assert.equal(b.raft.term, 2);
  assert.equal(b.raft.votedFor, 'c');
});

test('a leader ignores vote requests, except for a transfer', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.receive('c', vote(9, 9, 9));
  assert.equal(a.raft.role, 'leader');
  a.receive('c', vote(9, 9, 9, { transfer: true }));
  assert.equal(a.raft.role, 'follower');
});

test('a node returning from isolation does not disturb', () => {
  const c = clusterOf(3);
  c.elect('a');
  c.isolate('c');
  c.advance(30_000);
  assert.equal(c.node('c').raft.term, 1);
  c.heal();
  c.advance(3000);
  assert.deepEqual(c.leaders(), ['a']);
  assert.equal(c.node('a').raft.term, 1);
  assert.equal(c.node('c').raft.leader, 'a');
});

test('a candidate with a higher term is not stuck: the leader learns of the term', () => {
  const c = clusterOf(3);
  c.elect('a');
  const stuck = c.node('c');
  c.isolate('c');
  stuck.disk.hardState = { currentTerm: 5, votedFor: 'c' };
  stuck.restart();
  c.heal();
  c.advance(10_000);
  assert.equal(c.leaders().length, 1);
  const leader = c.node(c.leaders()[0] ?? '');
  assert.ok(leader.raft.term > 5);
  leader.propose('x');
  c.settle();
  assert.deepEqual(stuck.committed(), ['x']);
});

test('a node with a smaller term and the better log can complete an election', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('c');
  a.propose('x');
  c.settle();
  c.node('c').disk.hardState = { currentTerm: 4, votedFor: '' };
  c.restart('c');
  c.crash('a');
  c.heal();
  c.advance(10_000);
  assert.deepEqual(c.leaders(), ['b']);
});

test('CheckQuorum: a leader cut off from a majority steps down', () => {
  const c = clusterOf(3);
  c.elect('a');
  c.isolate('a');
  c.advance(1500);
  assert.equal(c.node('a').raft.role, 'leader');
  c.advance(700);
  assert.equal(c.node('a').raft.role, 'follower');
});

test('CheckQuorum: a leader that hears a majority stays', () => {
  const c = clusterOf(5);
  c.elect('a');
  c.crash('d');
  c.crash('e');
  c.advance(20_000);
  assert.equal(c.node('a').raft.role, 'leader');
});

test('CheckQuorum: learners do not keep a leader', () => {
  const c = new TestCluster(['a', 'b', 'c'], {}, ['l']);
  c.elect('a');
  c.crash('b');
  c.crash('c');
  c.advance(3000);
  assert.notEqual(c.node('a').raft.role, 'leader');
});

test('a leader that was paused for long steps down at its first tick', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.now += 30_000;
  a.step({ type: 'tick' });
  assert.equal(a.raft.role, 'follower');
});

test('one-way cut: who cannot hear the leader does not bring it down', () => {
  const c = clusterOf(3);
  c.elect('a');
  c.cut('a', 'c');
  c.advance(20_000);
  assert.deepEqual(c.leaders(), ['a']);
  assert.equal(c.node('a').raft.term, 1);
});

test('one-way cut: a leader that hears nobody gives way', () => {
  const c = clusterOf(3);
  c.elect('a');
  c.cut('b', 'a');
  c.cut('c', 'a');
  c.advance(8000);
  const leaders = c.leaders();
  assert.equal(leaders.length, 1);
  assert.notEqual(leaders[0], 'a');
});

test('a learner does not campaign', () => {
  const c = new TestCluster(['a', 'b', 'c'], {}, ['l']);
  const l = c.node('l');
  assert.equal(l.raft.nextTimerAt, Number.POSITIVE_INFINITY);
  c.now = 60_000;
  l.step({ type: 'tick' });
  l.step({ type: 'campaign' });
  assert.equal(l.raft.role, 'follower');
});

test('a learner answers a vote request: the candidate may know a newer configuration', () => {
  const c = new TestCluster(['a', 'b', 'c'], {}, ['l']);
  const l = c.node('l');
  l.receive('a', vote(1, 0, 0));
  l.sync();
  const m = l.take('send')[0]?.message;
  assert.ok(m?.type === 'voteResponse' && m.granted);
});

test('a new leader begins with a no-op of its term', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  assert.equal(a.raft.lastIndex, 1);
  assert.equal(a.raft.entries(1, 2, 1)?.[0]?.kind, 'noop');
  assert.equal(a.raft.termStartIndex, 1);
  assert.equal(a.raft.commitIndex, 1);
  assert.equal(a.raft.committedInTerm, true);
});

test('a lost leader is replaced within the short delay, not the long timeout', () => {
  const c = clusterOf(3);
  c.elect('a');
  c.crash('a');
  for (const id of ['b', 'c']) c.node(id).step({ type: 'peerLost', peer: 'a' });
  c.advance(600);
  assert.equal(c.leaders().length, 1);
});

test('only who knows the leader to be dead grants before the long timeout', () => {
  const c = clusterOf(3);
  c.elect('a');
  c.crash('a');
  c.node('b').step({ type: 'peerLost', peer: 'a' });
  c.advance(600);
  assert.deepEqual(c.leaders(), []);
  c.node('c').step({ type: 'peerLost', peer: 'a' });
  c.advance(1000);
  assert.equal(c.leaders().length, 1);
});

test('a lost peer that does not lead changes nothing', () => {
  const c = clusterOf(3);
  c.elect('a');
  const before = c.node('b').raft.nextTimerAt;
  c.node('b').step({ type: 'peerLost', peer: 'c' });
  assert.equal(c.node('b').raft.nextTimerAt, before);
});

test('a leader that is heard again after it was thought dead is followed and protected', () => {
  const c = clusterOf(3);
  c.elect('a');
  const b = c.node('b');
  b.step({ type: 'peerLost', peer: 'a' });
  b.receive('a', heartbeat(1));
  b.take('send');
  b.receive('c', vote(2, 9, 9, { preVote: true }));
  assert.deepEqual(b.take('send'), []);
});

test('role effects tell leader and term', () => {
  const c = clusterOf(3);
  c.elect('a');
  assert.deepEqual(
    c
      .node('a')
      .take('role')
      .map((e) => e.role),
    ['preCandidate', 'candidate', 'leader'],
  );
  const last = c.node('b').take('role').at(-1);
  assert.deepEqual(last, { type: 'role', role: 'follower', term: 1, leader: 'a' });
});

test('a node that is not among the voters of its configuration never campaigns', () => {
  const c = clusterOf(3);
  const z = c.add('z', { voters: ['a', 'b', 'c'], learners: [] });
  c.now = 60_000;
  z.step({ type: 'tick' });
  assert.equal(z.raft.role, 'follower');
});

test('a message from itself is ignored', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.receive('a', heartbeat(1));
  assert.equal(a.raft.role, 'leader');
});
