// Nodes whose log was damaged: they neither vote nor count until a leader has repaired them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterOf } from './test-cluster.js';

test('a damaged node does not vote, answer or campaign', () => {
  const c = clusterOf(3);
  const n = c.node('a');
  n.restart(77);
  assert.equal(n.raft.nextTimerAt, Number.POSITIVE_INFINITY);
  for (const preVote of [true, false]) n.receive('b', { type: 'requestVote', term: 5, preVote, lastIndex: 9, lastTerm: 4, transfer: true });
  assert.deepEqual(n.take('send'), []);
  assert.equal(n.raft.term, 0);
});

test('a damaged node does not count until it is past the leader’s commit index', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.propose('x');
  c.settle();
  c.crash('b');
  c.node('c').disk.log = [];
  c.restart('c', 77);
  a.propose('y');
  c.advance(1000);
  assert.equal(c.node('c').raft.recovering, true);
  assert.deepEqual(a.committed(), ['x'], 'a and a damaged c are no majority');
  c.restart('b');
  c.advance(2000);
  assert.equal(c.node('c').raft.recovering, false);
  assert.deepEqual(c.node('c').committed(), ['x', 'y']);
  c.crash('b');
  a.propose('z');
  c.advance(500);
  assert.deepEqual(a.committed(), ['x', 'y', 'z'], 'now it counts');
});

test('a damaged node that forgot what was committed does not help to lose it', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('b');
  a.propose('x');
  c.settle();
  assert.deepEqual(a.committed(), ['x']);
  // c forgets x; a is away: b and c together must not elect anybody.
  c.crash('a');
  c.node('c').disk.log = c.node('c').disk.log.slice(0, 1);
  c.restart('c', 5);
  c.heal();
  c.advance(20_000);
  assert.deepEqual(c.leaders(), []);
  c.restart('a');
  c.advance(5000);
  for (const n of c.nodes.values()) assert.deepEqual(n.committed(), ['x']);
  assert.equal(c.node('c').raft.recovering, false);
});

test('an acknowledgement from before the damage does not count afterwards', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.crash('b');
  c.isolate('c');
  a.propose('x');
  a.sync();
  a.receive('c', { type: 'heartbeatResponse', term: 1, round: 0, recovery: 9 });
  a.receive('c', { type: 'appendResponse', term: 1, stream: 1, rejected: false, index: 2, hintIndex: 0, hintTerm: 0, recovery: 0 });
  assert.equal(a.raft.commitIndex, 1);
});

test('a second damage starts over', () => {
  const c = clusterOf(3);
  c.elect('a').propose('x');
  c.settle();
  c.node('c').disk.log = [];
  c.restart('c', 5);
  c.advance(50);
  c.node('c').disk.log = [];
  c.restart('c', 6);
  c.advance(3000);
  assert.equal(c.node('c').raft.recovering, false);
  assert.deepEqual(c.node('c').committed(), ['x']);
});

test('a damaged node votes in no election of the term in which it was repaired', () => {
  const c = clusterOf(3);
  c.elect('a');
  c.node('c').disk.log = [];
  c.node('c').disk.hardState = { currentTerm: 0, votedFor: '' };
  c.restart('c', 5);
  c.advance(3000);
  assert.equal(c.node('c').raft.votedFor, 'a');
});

test('a late mark of an earlier damage does not silence a sound member', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  for (const recovery of [9, 10]) a.receive('c', { type: 'heartbeatResponse', term: 1, round: 0, recovery });
  c.advance(500);
  assert.equal(a.raft.followers().find((f) => f.id === 'c')?.recovering, false);
  c.crash('b');
  a.propose('x');
  c.advance(500);
  assert.deepEqual(a.committed(), ['x']);
});

test('a damaged node whose release was lost is told again', () => {
  const c = clusterOf(3);
  c.elect('a');
  c.crash('b');
  c.restart('b', 7);
  c.drop = (p) => p.message.type === 'recovered';
  c.advance(1000);
  assert.equal(c.node('b').raft.recovering, true);
  assert.equal(
    c
      .node('a')
      .raft.followers()
      .find((f) => f.id === 'b')?.recovering,
    false,
    'released, but it does not know',
  );
  c.drop = () => false;
  c.advance(300);
  assert.equal(c.node('b').raft.recovering, false);
});
