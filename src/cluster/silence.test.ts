import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CoreRow, Member } from './schema.js';
import { isForgettable, Silence } from './silence.js';

test('silence counts from the last sign of life, and from the beginning of the watch', () => {
  const silence = new Silence();
  silence.round(1_000);
  assert.equal(silence.ofNode('a', 200, 1_000), 0);
  silence.round(1_100);
  assert.equal(silence.ofNode('a', 200, 1_100), 100);
  assert.equal(silence.ofNode('a', 1_080, 1_100), 20);
  silence.round(1_200);
  // A link that is gone says nothing; what was heard stays known.
  assert.equal(silence.ofNode('a', undefined, 1_200), 120);
  silence.stop();
  silence.round(9_000);
  assert.equal(silence.ofNode('a', undefined, 9_000), 0);
});

test('a node that is new counts from when it was first asked about', () => {
  const silence = new Silence();
  silence.round(0);
  silence.ofNode('a', 0, 0);
  for (let now = 100; now <= 60_000; now += 100) silence.round(now);
  assert.equal(silence.ofNode('new', undefined, 60_000), 0);
  silence.round(60_100);
  assert.equal(silence.ofNode('new', undefined, 60_100), 100);
});

test('the standstill of the watcher itself is held against nobody', () => {
  const silence = new Silence();
  silence.round(0);
  silence.ofNode('a', 0, 0);
  silence.round(100);
  assert.equal(silence.ofNode('a', 0, 100), 100);
  silence.round(5_100);
  assert.equal(silence.ofNode('a', 0, 5_100), 100);
  // What had come meanwhile is read now.
  assert.equal(silence.ofNode('a', 5_110, 5_110), 0);
});

test('a watcher that stands still again and again still finds the dead', () => {
  const silence = new Silence();
  let now = 0;
  silence.round(now);
  silence.ofNode('dead', 0, now);
  for (let i = 0; i < 100; i++) {
    now += i % 5 === 0 ? 2_000 : 100;
    silence.round(now);
    silence.ofNode('dead', 0, now);
  }
  assert.equal(silence.ofNode('dead', 0, now), 80 * 100);
});

test('autoclean: a replicant when it is late, a core only while three are left, one that was taken out at once', () => {
  const member = (nodeId: string, role: 'core' | 'replicant'): Member => ({
    nodeId,
    name: nodeId,
    role,
    host: 'h',
    port: 1,
    incarnation: 1,
    up: false,
    changedMs: 0,
  });
  const cores = (...ids: string[]): Map<string, CoreRow> =>
    new Map(ids.map((id) => [id, { nodeId: id, name: id, wanted: id.startsWith('x') ? 'removed' : 'voter', changedMs: 0 }]));
  assert.equal(isForgettable(member('r', 'replicant'), false, cores('a')), false);
  assert.equal(isForgettable(member('r', 'replicant'), true, cores('a')), true);
  assert.equal(isForgettable(member('a', 'core'), true, cores('a', 'b', 'c')), false);
  assert.equal(isForgettable(member('a', 'core'), true, cores('a', 'b', 'c', 'x')), false);
  assert.equal(isForgettable(member('a', 'core'), true, cores('a', 'b', 'c', 'd')), true);
  assert.equal(isForgettable(member('a', 'core'), false, cores('a', 'b', 'c', 'd')), false);
  assert.equal(isForgettable(member('x', 'core'), false, cores('a', 'x')), true);
});
