// Logs that diverge, late and lost messages, and how a follower gets back in step.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterOf, entry, TestCluster } from './test-cluster.js';
import { ack, append, terms } from './test-messages.js';
import type { RaftMessage } from './types.js';

type Response = Extract<RaftMessage, { type: 'appendResponse' }>;

test('rejection hints: a long divergence takes a handful of probes', () => {
  const c = clusterOf(3);
  const a = c.node('a');
  const b = c.node('b');
  const mine = [entry(1, 1)];
  const theirs = [entry(1, 1)];
  for (let i = 2; i <= 200; i++) {
    mine.push(entry(i, i < 100 ? 2 : 6));
    theirs.push(entry(i, i < 100 ? 3 : 4));
  }
  a.disk.log = mine;
  a.disk.hardState = { currentTerm: 6, votedFor: '' };
  a.restart();
  b.disk.log = theirs;
  b.disk.hardState = { currentTerm: 4, votedFor: '' };
  b.restart();
  let rejections = 0;
  c.drop = (p) => {
    if (p.message.type === 'appendResponse' && p.message.rejected) rejections++;
    return false;
  };
  c.elect('a');
  assert.deepEqual(terms(b), terms(a));
  assert.ok(rejections <= 8, `${rejections} rejections`);
});

test('logs that diverged in every way converge to the leader’s (paper, figure 7)', () => {
  const leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
  for (const other of [
    [1, 1, 1, 4, 4, 5, 5, 6, 6],
    [1, 1, 1, 4],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    [1, 1, 1, 4, 4, 4, 4],
    [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    [],
  ]) {
    const c = clusterOf(3);
    for (const [id, log] of [
      ['a', leader],
      ['b', other],
    ] as const) {
      const n = c.node(id);
      n.disk.log = log.map((t, i) => entry(i + 1, t));
      n.disk.hardState = { currentTerm: 7, votedFor: '' };
      n.restart();
    }
    const a = c.node('a');
    // The empty third node makes the majority; b may refuse its vote.
    a.step({ type: 'campaign' });
    c.settle();
    assert.equal(a.raft.role, 'leader');
    assert.deepEqual(terms(c.node('b')), terms(a), other.join());
    assert.deepEqual(terms(c.node('c')), terms(a));
  }
});

test('reordered and repeated appends end in the same log', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  const first = append(1, 0, 0, 0, [entry(1, 1)]);
  const second = append(1, 1, 1, 0, [entry(2, 1)]);
  b.receive('a', second);
  b.receive('a', first);
  b.receive('a', second);
  b.receive('a', first);
  assert.deepEqual(terms(b), [1, 1]);
});

test('a lost append is noticed by the next heartbeats and sent again', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  let lost = false;
  c.drop = (p) => {
    if (lost || p.to !== 'b' || p.message.type !== 'append' || p.message.entries.length === 0) return false;
    lost = true;
    return true;
  };
  a.propose('x');
  c.settle();
  assert.deepEqual(c.node('b').committed(), []);
  c.advance(500);
  assert.deepEqual(c.node('b').committed(), ['x']);
});

test('a lost acknowledgement does not stop the follower', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  let lost = 0;
  c.drop = (p) => p.from === 'b' && p.message.type === 'appendResponse' && lost++ < 1;
  a.propose('x');
  c.settle();
  c.advance(500);
  assert.equal(a.raft.followers().find((f) => f.id === 'b')?.matchIndex, a.raft.lastIndex);
});

test('a lost notice of commit is made up by the heartbeat', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.drop = (p) => p.message.type === 'heartbeat' && p.message.round === 0;
  a.propose('x');
  c.settle();
  assert.deepEqual(c.node('b').committed(), []);
  c.advance(200);
  assert.deepEqual(c.node('b').committed(), ['x']);
});

test('acknowledgements beyond the leader’s log are ignored', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.receive('b', ack(1, 99));
  assert.equal(a.raft.followers().find((f) => f.id === 'b')?.matchIndex, 1);
});

test('acknowledgements of an older term are ignored', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('a');
  a.propose('x');
  a.sync();
  a.receive('b', { ...(ack(1, 2) as Response), term: 0 });
  assert.equal(a.raft.commitIndex, 1);
});

test('acknowledgements of nodes that are no members, and of learners, commit nothing', () => {
  const c = new TestCluster(['a', 'b', 'c'], {}, ['l']);
  const a = c.elect('a');
  c.isolate('a');
  a.propose('x');
  a.sync();
  a.receive('z', ack(1, 2));
  a.receive('l', ack(1, 2));
  assert.equal(a.raft.commitIndex, 1);
  a.receive('b', ack(1, 2));
  assert.equal(a.raft.commitIndex, 2);
});

test('learners receive everything', () => {
  const c = new TestCluster(['a', 'b', 'c'], {}, ['l']);
  c.elect('a').propose('x');
  c.settle();
  assert.deepEqual(c.node('l').committed(), ['x']);
});

test('uncommitted proposals of a deposed leader disappear, acknowledged ones stay', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.propose('kept');
  c.settle();
  c.isolate('a');
  a.propose('lost');
  c.settle();
  c.advance(6000);
  const leader = c.node(c.leaders()[0] ?? '');
  leader.propose('new');
  c.settle();
  a.take('send');
  c.heal();
  c.advance(3000);
  for (const n of c.nodes.values()) assert.deepEqual(n.committed(), ['kept', 'new']);
  assert.equal(a.take('proposalsDropped').length, 1);
});

test('all nodes restarted at once keep what was committed', () => {
  const c = clusterOf(3);
  c.elect('a').propose('1', '2', '3');
  c.settle();
  for (const id of c.nodes.keys()) c.restart(id);
  c.queue.length = 0;
  c.advance(5000);
  for (const n of c.nodes.values()) assert.deepEqual(n.committed(), ['1', '2', '3']);
});

test('a restarted follower that lost its unsynced tail catches up', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  const b = c.node('b');
  b.autoSync = false;
  a.propose('1', '2');
  c.settle();
  c.restart('b');
  assert.equal(b.raft.lastIndex, 1);
  b.autoSync = true;
  c.advance(1000);
  assert.deepEqual(b.committed(), ['1', '2']);
});

test('a commit index known from the tables is kept at a restart', () => {
  const c = clusterOf(3);
  c.elect('a').propose('x');
  c.settle();
  const { disk } = c.node('b');
  disk.compact(2, disk.baseConfig);
  c.restart('b');
  assert.equal(c.node('b').raft.commitIndex, 2);
  assert.equal(c.node('b').raft.baseIndex, 2);
});

test('a leader of a later term that contradicts committed entries is a broken invariant', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 2, [entry(1, 1), entry(2, 1)]));
  assert.throws(() => b.receive('c', append(2, 0, 0, 0, [entry(1, 2)])), /committed/);
});

test('persist effects carry the hard state exactly when it changed', () => {
  const c = clusterOf(3);
  const b = c.node('b');
  b.receive('a', append(1, 0, 0, 0, [entry(1, 1)]));
  b.receive('a', append(1, 1, 1, 0, [entry(2, 1)]));
  const persists = b.take('persist');
  assert.deepEqual(
    persists.map((p) => p.hardState),
    [{ currentTerm: 1, votedFor: '' }, undefined],
  );
});

test('a step without changes persists nothing', () => {
  const c = clusterOf(3);
  c.elect('a');
  const b = c.node('b');
  b.take('persist');
  b.receive('a', { type: 'heartbeat', term: 1, commit: 1, round: 5 });
  assert.deepEqual(b.take('persist'), []);
});
