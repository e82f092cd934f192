import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Confirmations } from './confirmations.js';

test('what was confirmed of a leader counts for those after it', () => {
  const c = new Confirmations(100, 1_000);
  assert.equal(c.earlier(5), 1_100, 'a process before this one may have confirmed anybody');
  c.confirm(5, 2_000);
  assert.equal(c.earlier(5), 1_100);
  c.confirm(5, 1_900);
  assert.equal(c.earlier(6), 2_000);
  c.confirm(6, 2_500);
  c.confirm(7, 2_400);
  assert.equal(c.earlier(7), 2_500);
  assert.equal(c.earlier(8), 2_500);
});

test('a change of the voters is noted when it is seen', () => {
  const c = new Confirmations(100, 1_000);
  assert.equal(c.changedAt(['a', 'b'], 200), 200);
  assert.equal(c.changedAt(['a', 'b'], 300), 200);
  assert.equal(c.changedAt(['a', 'b', 'c'], 400), 400);
  assert.equal(c.changedAt(['a', 'b', 'c'], 500), 400);
  const voters = ['a', 'b', 'c'];
  const learners = ['d'];
  assert.equal(c.groupChangedAt(voters, learners, 600), 600, 'a learner more');
  assert.equal(c.groupChangedAt(voters, learners, 700), 600);
  const none: string[] = [];
  assert.equal(c.groupChangedAt(voters, none, 800), 800, 'and one less');
  assert.equal(c.groupChangedAt(voters, none, 850), 800);
  assert.equal(c.groupChangedAt([...voters], [], 900), 900, 'one came and went since the last look');
  assert.equal(c.changedAt(voters, 950), 400, 'the voters are the same');
});
