import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slab } from '#base/slab.js';
import { utf8Encode } from '#base/utf8.js';
import { type Outcome, Streams } from './streams.js';

function outcome(index: number): Outcome {
  return { status: 0, reply: utf8Encode(`reply ${index}`), index };
}

function admitted(): Streams {
  const s = new Streams();
  s.admit('a', 1, 0);
  return s;
}

test('streams: only the next number counts, once', () => {
  const s = admitted();
  assert.equal(s.record(1, 2, 0, outcome(5)), false, 'a gap');
  assert.equal(s.record(1, 1, 0, outcome(5)), true);
  assert.equal(s.record(1, 1, 0, outcome(6)), false, 'again');
  assert.equal(s.record(1, 2, 0, outcome(6)), true);
  assert.equal(s.record(2, 1, 0, outcome(7)), false, 'nobody admitted it');
  assert.equal(s.get(1)?.outcomes.get(1)?.index, 5);
});

test('streams: outcomes are kept until the proposer has them, never the newest', () => {
  const s = admitted();
  for (let seq = 1; seq <= 4; seq++) s.record(1, seq, 0, outcome(seq));
  s.record(1, 5, 3, outcome(5));
  const kept = (): number[] => [1, 2, 3, 4, 5, 6].filter((seq) => s.get(1)?.outcomes.get(seq)?.index === seq);
  assert.deepEqual(kept(), [4, 5]);
  s.record(1, 6, 99, outcome(6));
  assert.deepEqual(kept(), [6]);
  assert.equal(s.get(1)?.receivedUpTo, 5);
  s.record(1, 7, 0, outcome(7));
  assert.equal(s.get(1)?.receivedUpTo, 5, 'an old word takes nothing back');
});

test('streams: a frozen one answers and takes nothing; only it can be released', () => {
  const s = admitted();
  s.record(1, 1, 0, outcome(1));
  s.release(1);
  assert.ok(s.get(1) !== undefined, 'a live one is not released');
  s.freeze(1);
  assert.equal(s.record(1, 2, 0, outcome(2)), false);
  assert.equal(s.get(1)?.outcomes.get(1)?.index, 1);
  s.release(1);
  assert.equal(s.get(1), undefined);
});

test('streams: a transaction that has frozen its own stream is its last', () => {
  const streams = new Streams();
  streams.admit('a', 1, 0);
  streams.freeze(1);
  assert.equal(streams.record(1, 1, 0, outcome(5)), false);
  assert.equal(streams.record(1, 2, 0, outcome(5), true), false);
  assert.equal(streams.record(1, 1, 0, outcome(5), true), true);
  assert.deepEqual([streams.get(1)?.lastSeq, streams.get(1)?.frozen, streams.record(1, 2, 0, outcome(6))], [1, true, false]);
});

test('streams: an admission freezes the one it replaces and drops the node’s older ones, and no other node’s', () => {
  const s = admitted();
  s.admit('b', 2, 0);
  assert.deepEqual(s.admit('a', 3, 1), []);
  assert.equal(s.get(1)?.frozen, true);
  assert.deepEqual(s.admit('a', 4, 3), [1]);
  assert.equal(s.get(1), undefined);
  assert.equal(s.get(3)?.frozen, true);
  assert.equal(s.get(4)?.frozen, false);
  assert.equal(s.get(2)?.frozen, false);
});

test('streams: a clone is its own; what was encoded is loaded', () => {
  const s = admitted();
  s.record(1, 1, 0, outcome(1));
  const clone = s.clone();
  s.record(1, 2, 1, outcome(2));
  assert.equal(clone.get(1)?.lastSeq, 1);
  assert.equal(clone.get(1)?.outcomes.size, 1);
  s.freeze(1);
  const loaded = new Streams();
  const slab = new Slab();
  loaded.load(1, s.encode(1, slab));
  assert.equal(loaded.get(1)?.outcomes.get(2)?.index, 2);
  assert.equal(loaded.get(1)?.frozen, true);
  assert.deepEqual(loaded.encode(1, slab), s.encode(1, slab));
});
