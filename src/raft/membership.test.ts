// Single-server membership changes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterOf, TestCluster, type TestNode } from './test-cluster.js';
import type { ChangeConfigResult, ConfigChange } from './types.js';

function compact(n: TestNode, index: number): void {
  n.disk.compact(index, n.raft.config);
  n.step({ type: 'compacted', index });
}

const change = (n: TestNode, kind: ConfigChange['kind'], node: string): ChangeConfigResult => {
  const effects: Parameters<TestNode['perform']>[0] = [];
  const result = n.raft.changeConfig({ kind, node }, 0, effects);
  n.perform(effects);
  return result;
};

test('a learner is added, caught up, promoted and counted', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  a.propose('x');
  c.settle();
  c.add('d', { voters: ['a', 'b', 'c'], learners: [] });
  assert.equal(change(a, 'addLearner', 'd').ok, true);
  c.settle();
  c.advance(300);
  assert.deepEqual(c.node('d').committed(), ['x']);
  assert.equal(change(a, 'promote', 'd').ok, true);
  c.settle();
  assert.deepEqual(c.node('d').raft.config.voters, ['a', 'b', 'c', 'd']);
  c.crash('b');
  c.crash('c');
  a.propose('y');
  c.settle();
  assert.deepEqual(a.committed(), ['x'], 'two of four are no majority');
});

test('one change at a time', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('a');
  assert.equal(change(a, 'addLearner', 'd').ok, true);
  assert.deepEqual(change(a, 'addLearner', 'e'), { ok: false, reason: 'pending' });
});

test('no change before the leader has committed an entry of its term', () => {
  const c = clusterOf(3);
  const a = c.node('a');
  c.drop = (p) => p.message.type === 'append';
  a.step({ type: 'campaign' });
  c.settle();
  assert.deepEqual(change(a, 'addLearner', 'd'), { ok: false, reason: 'notReady' });
});

test('changes that make no sense are refused', () => {
  const c = new TestCluster(['a', 'b'], {}, ['l']);
  const a = c.elect('a');
  for (const [kind, node] of [
    ['addLearner', 'b'],
    ['addLearner', 'l'],
    ['promote', 'z'],
    ['promote', 'b'],
    ['demote', 'l'],
    ['remove', 'z'],
  ] as const) {
    assert.deepEqual(change(a, kind, node), { ok: false, reason: 'invalid' }, `${kind} ${node}`);
  }
  assert.deepEqual(change(c.node('b'), 'remove', 'a'), { ok: false, reason: 'notLeader' });
  const single = clusterOf(1).elect('a');
  assert.deepEqual(change(single, 'remove', 'a'), { ok: false, reason: 'invalid' });
});

test('a removed leader leads until its removal is committed', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  assert.equal(change(a, 'remove', 'a').ok, true);
  assert.equal(a.raft.role, 'leader');
  c.settle();
  assert.equal(a.raft.role, 'follower');
  c.advance(6000);
  assert.equal(c.leaders().length, 1);
  assert.notEqual(c.leaders()[0], 'a');
});

test('removing a voter commits what the smaller majority has', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.crash('b');
  assert.equal(change(a, 'remove', 'b').ok, true);
  c.settle();
  assert.deepEqual(c.node('c').raft.config.voters, ['a', 'c']);
  c.crash('c');
  a.propose('x');
  c.settle();
  assert.deepEqual(a.committed(), []);
});

test('an overwritten change is taken back', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  c.isolate('a');
  change(a, 'remove', 'c');
  assert.deepEqual(a.raft.config.voters, ['a', 'b']);
  c.advance(6000);
  c.heal();
  c.advance(3000);
  assert.deepEqual(a.raft.config.voters, ['a', 'b', 'c']);
});

test('the configuration is found in the log at a restart, and survives compaction', () => {
  const c = clusterOf(3);
  const a = c.elect('a');
  change(a, 'addLearner', 'd');
  c.settle();
  c.restart('a');
  assert.deepEqual(a.raft.config.learners, ['d']);
  c.advance(3000);
  const b = c.node('b');
  compact(b, b.raft.applyTo);
  assert.deepEqual(b.raft.config.learners, ['d']);
  c.restart('b');
  assert.deepEqual(b.raft.config.learners, ['d']);
});

test('removal and demotion end a transfer to the node', () => {
  for (const kind of ['remove', 'demote'] as const) {
    const c = clusterOf(3);
    const a = c.elect('a');
    c.isolate('b');
    change(a, kind, 'b');
    a.step({ type: 'transferLeader', to: 'b' });
    assert.equal(a.raft.transferee, '');
  }
});
