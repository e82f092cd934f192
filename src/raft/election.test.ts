// Elections, PreVote, stickiness, CheckQuorum, terms.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterOf, entry } from './test-cluster.js';
import { append, heartbeat, vote } from './test-messages.js';

test('a node starts as follower of nobody', () => {
  const n = clusterOf(3).node('a');
  assert.equal(n.raft.role, 'follower');
  assert.equal(n.raft.leader, '');
  assert.equal(n.raft.term, 0);
});

test('silence leads to an election, and one round of votes to a leader', () => {
  const c = clusterOf(3);
  c.advance(1100);
  assert.deepEqual(c.leaders(), ['a']);
  assert.equal(c.node('b').raft.leader, 'a');
  assert.equal(c.node('b').raft.term, 1);
});

test('a single voter elects itself once its vote is on disk', () => {
  const c = clusterOf(1);
  const n = c.node('a');
  n.autoSync = false;
  n.step({ type: 'campaign' });
  assert.equal(n.raft.role, 'candidate');
  n.sync();
  assert.equal(n.raft.role, 'leader');
});

test('five voters elect with two of them down', () => {
  const c = clusterOf(5);
  c.crash('d');
  c.crash('e');
  c.elect('a');
  assert.deepEqual(c.leaders(), ['a']);
});

test('without a majority nobody becomes leader and no term grows', () => {
  const c = clusterOf(5);
  for (const id of ['c', 'd', 'e']) c.crash(id);
  c.advance(20_000);
  assert.deepEqual(c.leaders(), []);
  assert.equal(c.node('a').raft.term, 0, 'PreVote leaves the term alone');
});

test('leadership can go round all nodes', () => {
  const c = clusterOf(3);
  let term = 0;
  for (const id of ['a', 'b', 'c', 'a']) {
    c.advance(1);
    for (const n of c.nodes.values()) if (n.raft.role === 'leader') n.step({ type: 'transferLeader', to: id });
    c.settle();
    if (term === 0) c.elect(id);
    assert.deepEqual(c.leaders(), [id]);
    assert.equal(c.node(id).raft.term, ++term);
  }
});

test('the election timeout is drawn between its bounds', () => {
  const c = clusterOf(1);
  const n = c.node('a');
  for (const [draw, due] of [
    [0, 1000],
    [0.5, 1500],
    [0.999, 1999],
  ] as const) {
    n.draw = draw;
    n.restart();
    assert.equal(n.raft.nextTimerAt, due);
  }
});

test('a follower that hears its leader does not campaign', () => {
  const c = clusterOf(3);
  c.elect('a');
  c.advance(30_000);
  assert.deepEqual(c.leaders(), ['a']);
  assert.equal(c.node('a').raft.term, 1);
});

test('a vote needs a log that is as complete: higher last term wins', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  n.receive('b', append(2, 0, 0, 0, [entry(1, 1), entry(2, 2)]));
  c.settle();
  for (const [lastIndex, lastTerm, granted] of [
    [1, 1, false],
    [9, 1, false],
    [1, 2, false],
    [2, 2, true],
    [3, 2, true],
    [1, 3, true],
  ] as const) {
    n.restart();
    n.take('send');
    n.receive('c', vote(9, lastIndex, lastTerm));
    n.sync();
    const [response] = n.take('send');
    assert.equal(response?.message.type === 'voteResponse' && response.message.granted, granted, `${lastIndex}/${lastTerm}`);
    n.disk.hardState = { currentTerm: 2, votedFor: '' };
  }
});

test('one vote per term, repeated to the same candidate', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  const granted = (from: string): boolean => {
    n.take('send');
    n.receive(from, vote(1, 0, 0));
    n.sync();
    const m = n.take('send')[0]?.message;
    return m?.type === 'voteResponse' && m.granted;
  };
  assert.equal(granted('b'), true);
  assert.equal(granted('c'), false);
  assert.equal(granted('b'), true);
});

test('a vote survives a restart', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  n.receive('b', vote(1, 0, 0));
  n.sync();
  n.restart();
  assert.equal(n.raft.term, 1);
  n.receive('c', vote(1, 0, 0));
  const m = n.take('send')[0]?.message;
  assert.equal(m?.type === 'voteResponse' && m.granted, false);
});

test('a vote that was not synced was never given', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  n.receive('b', vote(1, 0, 0));
  assert.deepEqual(n.take('send'), [], 'nothing leaves before the sync');
  n.restart();
  assert.equal(n.raft.term, 0);
});

test('a candidate counts its own vote, and asks, only once term and vote are durable', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  n.autoSync = false;
  n.receive('x', heartbeat(3));
  n.sync();
  n.take('send');
  c.queue.length = 0;
  c.now = 5000;
  n.step({ type: 'tick' });
  n.receive('b', { type: 'voteResponse', term: 4, preVote: true, granted: true });
  assert.equal(n.raft.role, 'candidate');
  assert.deepEqual(
    n.take('send').filter((e) => e.message.type === 'requestVote' && !e.message.preVote),
    [],
  );
  n.sync();
  assert.equal(n.take('send').filter((e) => e.message.type === 'requestVote' && !e.message.preVote).length, 2);
});

test('a second vote response of the same voter does not count twice', () => {
  const c = clusterOf(5);
  const n = c.node('a');
  c.now = 5000;
  n.step({ type: 'tick' });
  for (const from of ['b', 'c']) n.receive(from, { type: 'voteResponse', term: 1, preVote: true, granted: true });
  n.sync();
  n.receive('b', { type: 'voteResponse', term: 1, preVote: false, granted: true });
  n.receive('b', { type: 'voteResponse', term: 1, preVote: false, granted: true });
  assert.equal(n.raft.role, 'candidate');
  n.receive('d', { type: 'voteResponse', term: 1, preVote: false, granted: true });
  assert.equal(n.raft.role, 'leader');
});

test('votes of nodes that are no voters do not count', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  c.now = 5000;
  n.step({ type: 'tick' });
  n.receive('z', { type: 'voteResponse', term: 1, preVote: true, granted: true });
  assert.equal(n.raft.role, 'preCandidate');
});

test('PreVote and vote responses are not mixed up', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  c.now = 5000;
  n.step({ type: 'tick' });
  n.receive('b', { type: 'voteResponse', term: 1, preVote: false, granted: true });
  assert.notEqual(n.raft.role, 'leader');
  n.restart();
  c.now = 10_000;
  n.step({ type: 'tick' });
  n.receive('b', { type: 'voteResponse', term: 1, preVote: true, granted: true });
  n.sync();
  n.receive('c', { type: 'voteResponse', term: 1, preVote: true, granted: true });
  assert.equal(n.raft.role, 'candidate', 'a late PreVote answer is not a vote');
});

test('a candidate that loses goes back to follower', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  c.now = 5000;
  n.step({ type: 'tick' });
  for (const from of ['b', 'c']) n.receive(from, { type: 'voteResponse', term: 0, preVote: true, granted: false });
  assert.equal(n.raft.role, 'follower');
  assert.equal(n.raft.term, 0);
});

test('a candidate gives way to a leader of its term', () => {
  for (const message of [append(1, 0, 0), heartbeat(1)]) {
    const c = clusterOf(3);
    const n = c.node('a');
    c.now = 5000;
    n.step({ type: 'tick' });
    n.receive('b', { type: 'voteResponse', term: 1, preVote: true, granted: true });
    assert.equal(n.raft.role, 'candidate');
    n.receive('c', message);
    assert.equal(n.raft.role, 'follower');
    assert.equal(n.raft.leader, 'c');
    assert.equal(n.raft.term, 1);
  }
});

test('every role follows a leader of a later term', () => {
  for (const prepare of ['follower', 'preCandidate', 'leader'] as const) {
    const c = clusterOf(3);
    if (prepare === 'leader') c.elect('a');
    const n = c.node('a');
    if (prepare === 'preCandidate') {
      c.now = 5000;
      n.step({ type: 'tick' });
    }
    assert.equal(n.raft.role, prepare);
    n.receive('b', heartbeat(7));
    assert.equal(n.raft.role, 'follower');
    assert.equal(n.raft.term, 7);
    assert.equal(n.raft.leader, 'b');
  }
});

test('messages of older terms change nothing; leaders of them are told', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  n.receive('b', heartbeat(5));
  n.sync();
  n.take('send');
  n.receive('c', append(4, 0, 0, 0, [entry(1, 4)]));
  assert.equal(n.raft.lastIndex, 0);
  assert.equal(n.raft.leader, 'b');
  const m = n.take('send')[0]?.message;
  assert.ok(m?.type === 'appendResponse' && m.rejected && m.term === 5);
});

test('dueling candidates: a split vote is resolved', () => {
  const c = clusterOf(3);
  c.cut('a', 'c');
  c.cut('c', 'a');
  c.node('a').step({ type: 'campaign' });
  c.node('c').step({ type: 'campaign' });
  c.settle();
  c.heal();
  c.advance(10_000);
  assert.equal(c.leaders().length, 1);
});

test('dueling pre-candidates: the one with the older log gives up', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('c');
  a.propose('x');
  c.settle();
  c.crash('a');
  c.heal();
  c.advance(1500);
  c.node('c').step({ type: 'campaign' });
  c.settle();
  c.advance(5000);
  assert.deepEqual(c.leaders(), ['b']);
});
