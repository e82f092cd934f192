// Wills that stand with the registry: who publishes them, when, and what calls them off.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyBytes } from '#base/bytes.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import { decodeDueKey, dueKey, encodeStanding } from '#broker/registered-wills.js';
import { registryTables } from '#broker/schema.js';
import { SeenWills } from '#broker/seen-wills.js';
import { decodeWillBody, encodeWillBody, willBytesMax } from '#broker/will-body.js';
import { makeMessage } from '#session/message.js';
import { cluster, id, type MiniCluster, three } from './mini-cluster.js';

interface Bench extends MiniCluster {
  /** `clientId text` of every will that the leader published. */
  readonly sent: string[];
  /** Those that were published and not accepted yet. */
  readonly held: (() => void)[];
  hold: boolean;
}

function bench(): Bench {
  const c = cluster(3, { wills: { tickMs: 50, everyMs: 1_000, batch: 2 } });
  const out: Bench = { ...c, sent: [], held: [], hold: false };
  three(c)[0].registry.onWill((clientId, _epoch, body, done) => {
    out.sent.push(`${clientId} ${utf8Decode(body)}`);
    if (out.hold) out.held.push(done);
    else done();
  });
  return out;
}

function rowsOf(c: MiniCluster): number {
  let count = 0;
  for (const { wills, shard } of registryTables) {
    for (const table of [wills.wills, wills.due]) {
      c.db.shard(shard).leader.range(table, emptyBytes, undefined, () => {
        count++;
        return true;
      });
    }
  }
  return count;
}

const will = (delayMs: number, text: string): Uint8Array => encodeStanding(delayMs, utf8Encode(text));

test('a will outlives its node, and is published once when its delay has passed', () => {
  const c = bench();
  const [, b] = three(c);
  b.will = will(2_000, 'late');
  c.connect(b, 'x');
  b.will = will(0, 'at once');
  for (const clientId of ['y', 'z', 'u', 'v']) c.connect(b, clientId);
  c.net.kill(id(2));
  c.clock.advance(3_000);
  assert.deepEqual(c.sent, [], 'nobody knows yet that the node is dead');
  c.db.fence(id(2));
  c.clock.advance(1_500);
  assert.deepEqual(c.sent.toSorted(), ['u at once', 'v at once', 'y at once', 'z at once']);
  c.clock.advance(5_000);
  assert.deepEqual(c.sent.slice(4), ['x late']);
  assert.equal(rowsOf(c), 0);
});

test('the node that lives answers for its wills', () => {
  const c = bench();
  const [, b] = three(c);
  b.will = will(0, 'will');
  for (const clientId of ['over', 'ended', 'stays']) c.connect(b, clientId);
  b.will = will(1_000, 'will');
  c.connect(b, 'waits');
  b.disconnect('over', false, 'over');
  b.disconnect('ended', true, 'over');
  b.disconnect('waits', false, 1_000);
  c.clock.advance(500);
  assert.equal(rowsOf(c), 2);
  c.clock.advance(5_000);
  assert.deepEqual(c.sent, []);
  c.net.kill(id(2));
  c.db.fence(id(2));
  c.clock.advance(500);
  assert.deepEqual(c.sent.toSorted(), ['stays will', 'waits will'], 'its delay had passed, and its node never said that it was published');
});

test('whoever goes on with the session in time calls its will off, but for one without a delay', () => {
  for (const delayMs of [0, 5_000]) {
    const c = bench();
    const [, b, third] = three(c);
    b.will = will(delayMs, 'will');
    c.connect(b, 'elsewhere');
    c.connect(b, 'here');
    b.will = undefined;
    assert.equal(c.connect(b, 'here')[0], 'local');
    assert.equal(c.connect(third, 'elsewhere')[0], 'remote');
    assert.equal(rowsOf(c), delayMs === 0 ? 2 : 0);
    c.net.kill(id(2));
    c.db.fence(id(2));
    c.clock.advance(10_000);
    assert.deepEqual(c.sent.toSorted(), delayMs === 0 ? ['elsewhere will', 'here will'] : []);
  }
});

test('what its node does not speak of, while it lives, is forgotten', () => {
  const c = bench();
  const [, b, third] = three(c);
  b.will = will(0, 'will');
  c.connect(b, 'x');
  c.connect(third, 'x');
  c.clock.advance(40_000);
  assert.equal(rowsOf(c), 0);
  assert.deepEqual(c.sent, []);
});

test('a session that begins anew ends the delay', () => {
  const c = bench();
  const [, b, third] = three(c);
  b.will = will(600_000, 'will');
  c.connect(b, 'x');
  c.connect(b, 'y');
  c.net.kill(id(2));
  third.will = undefined;
  assert.equal(c.connect(third, 'x')[0], 'fresh');
  assert.deepEqual(c.sent, []);
  c.db.fence(id(2));
  c.clock.advance(2_000);
  assert.deepEqual(c.sent, ['x will']);
  assert.equal(c.connect(third, 'y', true)[0], 'fresh');
  c.clock.advance(1_000);
  assert.deepEqual(c.sent, ['x will', 'y will']);
});

test('a takeover that comes to nothing calls nothing off', () => {
  const c = bench();
  const [, b, third] = three(c);
  b.will = will(1_000, 'will');
  c.connect(b, 'x');
  b.disconnect('x', false, 1_000);
  third.buildMs = () => 60_000;
  third.connect('x', false);
  c.clock.advance(100);
  c.net.kill(id(3));
  c.db.fence(id(3));
  c.clock.advance(3_000);
  assert.deepEqual(c.sent, ['x will']);
});

test('a node that was declared down while it lived has its wills back, unless they were published', () => {
  const c = bench();
  const [, b] = three(c);
  b.will = will(0, 'sent');
  c.connect(b, 'x');
  b.will = will(60_000, 'kept');
  c.connect(b, 'y');
  c.db.fence(id(2));
  c.clock.advance(1_000);
  c.db.renew(id(2));
  c.clock.advance(1_000);
  assert.deepEqual(c.sent, ['x sent']);
  b.disconnect('y', false, 'over');
  c.clock.advance(100_000);
  assert.deepEqual(c.sent, ['x sent']);
  assert.equal(rowsOf(c), 0);
});

test('a will is deleted when it was accepted, and not published twice meanwhile', () => {
  const c = bench();
  const [, b] = three(c);
  c.hold = true;
  b.will = will(0, 'will');
  c.connect(b, 'x');
  c.net.kill(id(2));
  c.db.fence(id(2));
  c.clock.advance(5_000);
  assert.deepEqual([c.sent, rowsOf(c)], [['x will'], 2]);
  for (const done of c.held) done();
  c.clock.advance(500);
  assert.deepEqual([c.sent, rowsOf(c)], [['x will'], 0]);
});

test('bodies and keys of wills', () => {
  const standing = {
    topicName: 't',
    payload: utf8Encode('p'),
    qos: 1,
    retain: true,
    properties: { willDelayInterval: 3, contentType: 'x' },
  } as const;
  const body = encodeWillBody({ username: 'ann', mountpoint: 'm/' }, standing, true);
  assert.ok(body !== undefined);
  const back = decodeWillBody(body);
  assert.deepEqual(
    [back.underRules, back.username, back.mountpoint, back.will?.topicName, back.will?.properties?.contentType],
    [true, 'ann', 'm/', 't', 'x'],
  );
  assert.equal(encodeWillBody({ username: undefined, mountpoint: '' }, { ...standing, payload: new Uint8Array(willBytesMax + 1) }, true), undefined);
  const due = { dueMs: 1_790_000_000_123, epoch: 2 ** 40 + 5, key: utf8Encode('c') };
  assert.deepEqual(decodeDueKey(dueKey(due.dueMs, due.epoch, due.key)), due);
  assert.throws(() => decodeWillBody(body.subarray(1)));
});

test('a node delivers a will once, as long as it remembers', () => {
  const seen = new SeenWills();
  const message = (epoch: number) => ({
    ...makeMessage('t', emptyBytes, 0, false, undefined, Number.POSITIVE_INFINITY, 'c'),
    originIncarnation: 2 ** 45,
    originNumber: epoch,
  });
  assert.deepEqual([seen.isFirst(message(1)), seen.isFirst(message(1)), seen.isFirst(message(2))], [true, false, true]);
  for (let i = 3; i < 30_000; i++) seen.isFirst(message(i));
  assert.equal(seen.isFirst(message(1)), true);
});
