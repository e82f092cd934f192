import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import { ReplicatedRetained, type RetainedOptions } from '#broker/retained.js';
import { brokerSchema, retainTable } from '#broker/schema.js';
import type { Message } from '#session/message.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster, type MemoryDatabase } from '../doubles/memory-database.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';

const id = (i: number) => i.toString(16).padStart(32, '0');

interface Node {
  readonly db: MemoryDatabase;
  readonly retained: ReplicatedRetained;
  readonly metrics: ReadableMetrics;
}

function cluster(n: number, options: Partial<RetainedOptions> = {}) {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const nodes = Array.from({ length: n }, (_, i): Node => {
    const metrics = new ReadableMetrics();
    const node = db.join(id(i + 1), i === 0 ? 'core' : 'replicant');
    return { db: node, metrics, retained: new ReplicatedRetained({ clock, metrics, log: quietLog }, node, options) };
  });
  clock.advance(50);
  return { clock, db, nodes };
}

function message(topicName: string, payload: string, more: Partial<Message> = {}): Message {
  return {
    topicName,
    payload: utf8Encode(payload),
    qos: 1,
    retain: true,
    properties: undefined,
    expiresAt: Number.POSITIVE_INFINITY,
    publisherId: 'p',
    originIncarnation: 1,
    originNumber: 2,
    kept: false,
    journalNumber: 0,
    ...more,
  };
}

function scan(node: Node, topicFilter: string, after?: string): string[] {
  const found: string[] = [];
  node.retained.scan(topicFilter, (m) => found.push(`${m.topicName}=${utf8Decode(m.payload)}`) > 0, after);
  return found;
}

test('a message is stored everywhere with all it carries, replaced, and deleted by an empty one', () => {
  const { clock, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  const outcomes: string[] = [];
  const properties = { contentType: 'x', correlationData: Uint8Array.of(1, 0, 2), userProperties: [['k', 'v']] as const };
  a.retained.store(message('a/b', 'one', { properties, qos: 2 }), (o) => {
    outcomes.push(o);
    assert.deepEqual(scan(a, 'a/b'), ['a/b=one'], 'readable here when it is stored');
  });
  clock.advance(50);
  assert.deepEqual(outcomes, ['stored']);
  let seen: [Message, number] | undefined;
  b.retained.scan('a/+', (m, index) => {
    seen = [m, index];
    return true;
  });
  const first = seen as unknown as [Message, number];
  assert.deepEqual(
    { ...first[0], payload: utf8Decode(first[0].payload) },
    {
      topicName: 'a/b',
      payload: 'one',
      qos: 2,
      retain: true,
      properties: { contentType: 'x', correlationData: Uint8Array.of(1, 0, 2), userProperties: [['k', 'v']] },
      expiresAt: Number.POSITIVE_INFINITY,
      publisherId: 'p',
      originIncarnation: 1,
      originNumber: 2,
      kept: true,
      journalNumber: 0,
    },
  );
  b.retained.store(message('a/b', 'two'), (o) => outcomes.push(o));
  clock.advance(50);
  assert.deepEqual(scan(a, '#'), ['a/b=two']);
  a.retained.scan('#', (_, index) => {
    assert.ok(index > first[1], 'positions grow');
    return true;
  });
  assert.equal(a.retained.count, 1);
  a.retained.store(message('a/b', ''), (o) => outcomes.push(o));
  a.retained.store(message('never/there', ''), (o) => outcomes.push(o));
  clock.advance(50);
  assert.deepEqual(scan(b, '#'), []);
  assert.deepEqual(outcomes, ['stored', 'stored', 'stored', 'stored']);
  assert.equal(b.retained.count, 0);
});

test('the last write in log order wins on every node', () => {
  const { clock, db, nodes } = cluster(3);
  const prng = new Prng(4);
  db.writeDelayMs = () => prng.int(10);
  db.applyDelayMs = () => prng.int(30);
  for (let i = 0; i < 60; i++) {
    prng.pick(nodes).retained.store(message(`t/${prng.int(3)}`, prng.chance(0.2) ? '' : `${i}`), () => {});
    clock.advance(prng.int(4));
  }
  clock.advance(200);
  const all = nodes.map((n) => scan(n, '#'));
  assert.deepEqual(all[0], all[1]);
  assert.deepEqual(all[0], all[2]);
  for (const n of nodes) assert.equal(n.retained.count, all[0]?.length);
});

test('scans: wildcards, system topics, the longest names, in pieces', () => {
  const { clock, nodes } = cluster(1);
  const [a] = nodes as [Node];
  const long = 'é'.repeat(32_000);
  for (const t of ['a', 'a/b', 'a/c', 'b/b', '$SYS/x', long]) a.retained.store(message(t, '1'), () => {});
  clock.advance(50);
  assert.deepEqual(
    scan(a, '#').map((s) => s.slice(0, 5)),
    ['a=1', 'a/b=1', 'a/c=1', 'b/b=1', `${long.slice(0, 5)}`],
  );
  assert.deepEqual(scan(a, '+/b'), ['a/b=1', 'b/b=1']);
  assert.deepEqual(scan(a, 'a/#', 'a'), ['a/b=1', 'a/c=1']);
  assert.deepEqual(scan(a, '$SYS/#'), ['$SYS/x=1']);
  assert.equal(scan(a, long).length, 1);
});

test('limits: payload, key, number of messages; replacing stays possible', () => {
  const { clock, nodes } = cluster(1, { payloadBytesMax: 10, messagesMax: 2 });
  const [a] = nodes as [Node];
  const got: string[] = [];
  const store = (t: string, p: string) => {
    a.retained.store(message(t, p), (o) => got.push(`${t.slice(0, 5)} ${o}`));
    clock.advance(20);
  };
  store('big', '12345678901');
  store('\u0001'.repeat(60_000), 'x');
  store('one', '1');
  store('two', '1');
  store('three', '1');
  store('two', '2');
  store('one', '');
  store('three', '1');
  const control = '\u0001'.repeat(5);
  assert.deepEqual(got, [
    'big refused',
    `${control} refused`,
    'one stored',
    'two stored',
    'three refused',
    'two stored',
    'one stored',
    'three stored',
  ]);
  assert.equal(a.metrics.read('starmesh_retained_refused_total'), 3);
});

test('without a quorum a message is not stored', () => {
  const { clock, db, nodes } = cluster(1);
  const [a] = nodes as [Node];
  db.fault = () => 'no-quorum';
  const got: string[] = [];
  a.retained.store(message('t', 'x'), (o) => got.push(o));
  clock.advance(5_100);
  assert.deepEqual(got, ['no-quorum']);
});

test('expired messages are invisible at once and deleted by the leader; what is left of the time travels', () => {
  const { clock, db, nodes } = cluster(2, { sweepMs: 5_000 });
  const [a, b] = nodes as [Node, Node];
  a.retained.store(message('short', 'x', { expiresAt: clock.now() + 2_000 }), () => {});
  a.retained.store(message('long', 'x', { expiresAt: clock.now() + 60_000 }), () => {});
  clock.advance(1_000);
  const left = new Map<string, number>();
  b.retained.scan('#', (m) => left.set(m.topicName, m.expiresAt - clock.now()).size > 0);
  assert.ok(Math.abs((left.get('short') ?? 0) - 1_000) < 20);
  assert.ok(Math.abs((left.get('long') ?? 0) - 59_000) < 20);
  clock.advance(1_500);
  assert.deepEqual(scan(b, '#'), ['long=x']);
  clock.advance(6_000);
  const rows: string[] = [];
  db.shard('retain').leader.range(retainTable, new Uint8Array(0), undefined, (key) => rows.push(utf8Decode(key.subarray(0, 4)) ?? '') > 0);
  assert.deepEqual(rows, ['long']);
  assert.equal(a.retained.count, 1);
});

test('the override is of messages that expire, and of all where none may stay for ever', () => {
  for (const allowNeverExpire of [true, false]) {
    const { clock, nodes } = cluster(1, { expiryOverrideMs: 5_000, allowNeverExpire });
    const [a] = nodes as [Node];
    a.retained.store(message('long', 'x', { expiresAt: clock.now() + 60_000 }), () => {});
    a.retained.store(message('short', 'x', { expiresAt: clock.now() + 1_000 }), () => {});
    a.retained.store(message('ever', 'x'), () => {});
    clock.advance(2_000);
    assert.deepEqual(scan(a, '#'), ['ever=x', 'long=x', 'short=x']);
    clock.advance(8_000);
    assert.deepEqual(scan(a, '#'), allowNeverExpire ? ['ever=x'] : []);
  }
});

test('what comes faster than may be is not kept and not cleared', () => {
  const { clock, nodes } = cluster(1, { publishRate: 10 });
  const [a] = nodes as [Node];
  const outcomes: string[] = [];
  const store = (topicName: string, payload: string) => a.retained.store(message(topicName, payload), (o) => outcomes.push(o));
  for (let i = 0; i < 30; i++) store(`t/${i}`, 'x');
  store('t/0', '');
  clock.advance(50);
  assert.equal(outcomes.filter((o) => o === 'stored').length, 10);
  assert.equal(outcomes.filter((o) => o === 'refused').length, 21);
  assert.equal(scan(a, '#').length, 10);
  assert.equal(a.metrics.read('starmesh_retained_rate_limited_total'), 21);
  clock.advance(1_000);
  store('t/0', '');
  clock.advance(50);
  assert.equal(scan(a, '#').length, 9);
});

test('a jump of the wall clock expires nothing, and a jump of the leader only what its stamps say', () => {
  const { clock, nodes } = cluster(2, { sweepMs: 1_000 });
  const [a, b] = nodes as [Node, Node];
  const leaderWall = clock.wallOffset;
  a.retained.store(message('t', 'x', { expiresAt: clock.now() + 10_000 }), () => {});
  clock.advance(50);
  clock.wallOffset = leaderWall - 3_600_000;
  clock.advance(3_000);
  assert.deepEqual(scan(b, '#'), ['t=x']);
  clock.advance(8_000);
  assert.deepEqual(scan(b, '#'), []);
});

test('a scan after the barrier sees what was committed before it; the barrier is bounded', () => {
  const { clock, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  b.db.hold();
  a.retained.store(message('t', 'x'), () => {});
  clock.advance(50);
  let seen: string[] | undefined;
  b.retained.barrier(() => {
    seen = scan(b, '#');
  });
  clock.advance(500);
  assert.equal(seen, undefined);
  b.db.release();
  clock.advance(50);
  assert.deepEqual(seen, ['t=x']);
  b.db.hold();
  a.retained.store(message('u', 'x'), () => {});
  let done = false;
  b.retained.barrier(() => {
    done = true;
  });
  clock.advance(1_100);
  assert.equal(done, true);
});

test('after a swap the count is made again', () => {
  const { clock, nodes } = cluster(2, { sliceRows: 7 });
  const [a, b] = nodes as [Node, Node];
  b.db.hold();
  for (let i = 0; i < 40; i++) a.retained.store(message(`t/${i}`, 'x'), () => {});
  clock.advance(50);
  b.db.swap('retain');
  b.db.release();
  clock.advance(500);
  assert.equal(b.retained.count, 40);
});
