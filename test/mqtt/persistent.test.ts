// Persistent sessions and the disk: what waits for it and what does not, what time does while no process
// runs, and what a client hears when the disk is full.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReplicatedExclusive } from '#broker/exclusive.js';
import { LocalRegistry, localPorts } from '#broker/local-ports.js';
import type { BrokerPorts, TakeoverSource } from '#broker/ports.js';
import { brokerSchema } from '#broker/schema.js';
import type { ConnectPacket } from '#mqtt/packet.js';
import { RecoveringSessions } from '#session/session-record.js';
import { openJournal } from '#store/journal.js';
import { MemoryFiles } from '#store/memory-files.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster, type MemoryDatabase } from '../doubles/memory-database.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';
import { type BenchClient, type BenchOptions, MqttBench } from './mqtt-bench.js';

/** It outlives the processes of its node, and shows them to the test. */
class KeptRegistry extends LocalRegistry {
  source: TakeoverSource | undefined;
  onWill?: () => void;
  keepsWills?: () => boolean;

  override serve(source: TakeoverSource): void {
    this.source = source;
  }
}

/** One node through its processes. */
class Node {
  clock = new ManualClock();
  readonly registry = new KeptRegistry();
  files: MemoryFiles;
  bench: MqttBench;
  #syncs: (() => void)[] = [];

  readonly #options: BenchOptions;

  /** Of one process. */
  readonly #ports: (clock: ManualClock) => Partial<BrokerPorts>;

  constructor(options: BenchOptions = {}, ports: (clock: ManualClock) => Partial<BrokerPorts> = () => ({})) {
    this.#options = options;
    this.#ports = ports;
    this.files = new MemoryFiles((fn) => this.#syncs.push(fn));
    this.bench = this.#start();
    this.sync();
  }

  #start(): MqttBench {
    const ports = { ...localPorts(), registry: this.registry, ...this.#ports(this.clock) };
    const bench = new MqttBench({ ...this.#options, clock: this.clock, ports });
    const { clock, files } = this;
    const found = new RecoveringSessions(clock.wallNow() - clock.now());
    const env = { clock, files, metrics: new ReadableMetrics(), log: quietLog };
    const { journal } = openJournal(env, { nodeId: 'b'.repeat(32) }, found);
    bench.broker.keepSessions(journal, found, { retryMs: 50 });
    return bench;
  }

  /** What was asked of the disk is done. */
  sync(): void {
    for (let i = 0; i < 5; i++) {
      this.clock.advance(0);
      for (const fn of this.#syncs.splice(0)) fn();
    }
    this.clock.advance(0);
  }

  /** `kill -9` and power cut: what was synced is there. `downMs`: until the next start. */
  restart(downMs = 0): MqttBench {
    this.files = this.files.crash({ int: () => 0, chance: () => false });
    this.#syncs = [];
    // Another process, with a clock of its own: only the wall clock has run on.
    const wall = this.clock.wallNow() + downMs;
    this.clock = new ManualClock();
    this.clock.wallOffset = wall - this.clock.now();
    this.bench = this.#start();
    this.sync();
    return this.bench;
  }

  confirm(): void {
    for (const { clientId, epoch } of this.registry.source?.held?.() ?? []) this.registry.source?.confirmed?.(clientId, epoch);
  }
}

function lasting(clientId: string, more: Partial<ConnectPacket> = {}): Partial<ConnectPacket> {
  return { clientId, cleanStart: false, properties: { sessionExpiryInterval: 100 }, ...more };
}

test('what is said of a persistent session waits for the disk; clean sessions and QoS 0 do not', () => {
  const node = new Node();
  const { bench } = node;
  const session = bench.connect(lasting('p'));
  const answers = [session.connack === undefined];
  node.sync();
  answers.push(session.connack === undefined);
  assert.deepEqual(answers, [true, false], 'CONNACK waits');
  const clean = bench.connect({ clientId: 'clean' });
  assert.equal(clean.connack?.reasonCode, 0);
  assert.deepEqual(clean.subscribe('both'), [2]);
  assert.deepEqual(session.subscribe('both'), [], 'SUBACK waits');
  node.sync();
  assert.deepEqual(session.seen(), ['suback']);

  const publisher = bench.connect();
  for (const [qos, answer] of [
    [1, 'puback'],
    [2, 'pubrec'],
  ] as const) {
    publisher.publish('both', `q${qos}`, { qos });
    assert.deepEqual(clean.seen(), [`both=q${qos} q${qos}`]);
    // The client may forget a QoS 2 message only when the node will not.
    assert.deepEqual(session.seen(), qos === 1 ? ['both=q1 q1'] : []);
    assert.deepEqual(publisher.seen(), []);
    node.sync();
    assert.deepEqual(publisher.seen(), [answer]);
    assert.deepEqual(session.seen(), qos === 1 ? [] : ['both=q2 q2']);
  }
  publisher.publish('both', 'q0');
  assert.deepEqual(session.seen(), ['both=q0']);
  publisher.publish('nobody', 'q1', { qos: 1 });
  assert.deepEqual(publisher.seen(), ['puback 0x10'], 'nothing to write, nothing to wait for');

  session.send({ type: 'pubrec', packetId: 2, reasonCode: 0 });
  assert.deepEqual(session.seen(), [], 'PUBREL waits');
  node.sync();
  assert.deepEqual(session.seen(), ['pubrel']);

  session.publish('nobody', 'mine', { qos: 2 });
  assert.deepEqual(session.seen(), [], 'PUBREC waits for the identifier');
  node.sync();
  assert.deepEqual(session.seen(), ['pubrec 0x10']);
  session.send({ type: 'pubrel', packetId: 2, reasonCode: 0 });
  assert.deepEqual(session.seen(), [], 'PUBCOMP waits for its end');
  node.sync();
  assert.deepEqual(session.seen(), ['pubcomp']);
  session.send({ type: 'unsubscribe', packetId: 9, topicFilters: ['both'] });
  assert.deepEqual(session.seen(), []);
  node.sync();
  assert.deepEqual(session.seen(), ['unsuback']);
});

test('a QoS 1 message does not overtake a QoS 2 message that waits for the disk', () => {
  const node = new Node();
  const session = node.bench.connect(lasting('p'));
  node.sync();
  session.subscribe('t');
  node.sync();
  session.take();
  const publisher = node.bench.connect();
  publisher.publish('t', 'first', { qos: 2 });
  publisher.publish('t', 'second', { qos: 1 });
  assert.deepEqual(session.seen(), []);
  node.sync();
  assert.deepEqual(session.seen(), ['t=first q2', 't=second q1']);
});

test('what was not on the disk was told to nobody, what was is there', () => {
  const node = new Node();
  let session = node.bench.connect(lasting('p'));
  node.sync();
  session.subscribe('t');
  node.sync();
  session.drop();
  const publisher = node.bench.connect();
  publisher.publish('t', 'kept', { qos: 1 });
  node.sync();
  assert.deepEqual(publisher.seen(), ['puback']);
  publisher.publish('t', 'lost', { qos: 1 });
  assert.deepEqual(publisher.seen(), []);
  const bench = node.restart();
  session = bench.connect(lasting('p'));
  node.sync();
  assert.equal(session.connack?.sessionPresent, true);
  assert.deepEqual(session.seen(), ['t=kept q1']);
});

test('time runs on while no process does: messages and sessions expire, delayed wills are due', () => {
  const node = new Node();
  const session = node.bench.connect(lasting('p'));
  node.sync();
  session.subscribe('t');
  node.sync();
  session.drop();
  const will = { topicName: 'wills', payload: Buffer.from('gone'), qos: 1 as const, retain: false, properties: { willDelayInterval: 30 } };
  const willing = node.bench.connect(lasting('w', { will }));
  node.sync();
  willing.drop();
  node.sync();
  const publisher = node.bench.connect();
  publisher.publish('t', 'short', { qos: 1, properties: { messageExpiryInterval: 5 } });
  publisher.publish('t', 'long', { qos: 1, properties: { messageExpiryInterval: 60 } });
  node.sync();

  const bench = node.restart(20_000);
  const listener = bench.connect();
  listener.subscribe('wills');
  node.confirm();
  const back = bench.connect(lasting('p'));
  node.sync();
  const [first, ...rest] = back.take();
  assert.equal(rest.length, 0);
  assert.ok(first?.type === 'publish' && first.properties?.messageExpiryInterval === 40, 'what is left of its life');
  node.clock.advance(8_000);
  assert.deepEqual(listener.seen(), []);
  node.clock.advance(3_000);
  assert.deepEqual(listener.seen(), ['wills=gone q1']);
  back.drop();
  node.sync();

  // 100 s after its client has gone.
  const late = node.restart(101_000);
  const over = late.connect(lasting('p'));
  node.sync();
  assert.equal(over.connack?.sessionPresent, false);
});

test('of a client that was connected when the node ended the time is counted from its restart', () => {
  const node = new Node();
  const will = { topicName: 'wills', payload: Buffer.from('gone'), qos: 0 as const, retain: false };
  node.bench.connect(lasting('p', { will }));
  node.sync();
  const bench = node.restart(1_000_000);
  const listener = bench.connect();
  listener.subscribe('wills');
  node.confirm();
  node.clock.advance(200);
  assert.deepEqual(listener.seen(), ['wills=gone']);
  node.sync();
  node.clock.advance(90_000);
  const back = node.restart(0).connect(lasting('p'));
  node.sync();
  assert.equal(back.connack?.sessionPresent, true);
});

for (const [stands, what] of [
  [true, 'is left to the registry'],
  [false, 'that stood with nobody else, because an older node was there, is published by its node'],
] as const) {
  test(`a will ${what} after a restart`, () => {
    const node = new Node();
    node.registry.onWill = () => {};
    node.registry.keepsWills = () => stands;
    const will = { topicName: 'wills', payload: Buffer.from('gone'), qos: 1 as const, retain: false, properties: { willDelayInterval: 30 } };
    node.bench.connect(lasting('here', { will }));
    node.sync();
    const away = node.bench.connect(lasting('away', { will }));
    node.sync();
    away.drop();
    node.sync();
    // By now all know.
    node.registry.keepsWills = () => true;
    const listener = node.restart(1_000).connect();
    listener.subscribe('wills');
    node.confirm();
    node.clock.advance(31_000);
    assert.deepEqual(listener.seen(), stands ? [] : ['wills=gone q1', 'wills=gone q1']);
    node.sync();
    const again = node.restart(0).connect();
    again.subscribe('wills');
    node.confirm();
    node.clock.advance(31_000);
    assert.deepEqual(again.seen(), [], 'once');
  });
}

test('a session that nobody confirms neither expires nor publishes its will', () => {
  const node = new Node();
  const will = { topicName: 'wills', payload: Buffer.from('gone'), qos: 0 as const, retain: false };
  node.bench.connect(lasting('p', { will }));
  node.sync();
  const bench = node.restart(0);
  const listener = bench.connect();
  listener.subscribe('wills');
  node.clock.advance(500_000);
  assert.deepEqual(listener.seen(), []);
  assert.equal(bench.broker.client('p')?.connected, false);
});

test('the SUBSCRIBE that finds the disk full is refused, and its subscription is not there, behind a mountpoint either', () => {
  for (const mountpoint of ['', 'm/']) {
    const node = new Node({ listener: { mountpoint } });
    const { bench } = node;
    const session = bench.connect(lasting('p'));
    node.sync();
    node.files.capacity = 0;
    // The log tells of it.
    bench.settle = () => bench.clock.advance(0);
    assert.deepEqual(session.subscribe('t'), [0x97]);
    assert.deepEqual([...bench.broker.subscriptions('p')], []);
  }
});

test('whatever finds the disk full, the node goes on, and forgets nothing that it said', () => {
  const first: readonly ((node: Node, v5: BenchClient, v4: BenchClient) => void)[] = [
    (_, v5) => v5.publish('t', 'x', { qos: 1 }),
    (_, v5) => v5.publish('t', 'x', { qos: 2 }),
    (_, _v5, v4) => v4.publish('t', 'x', { qos: 1 }),
    (_, _v5, v4) => v4.publish('t', 'x', { qos: 2 }),
    (_, _v5, v4) => v4.subscribe('u'),
    (_, v5) => v5.subscribe('t'),
    (_, v5) => v5.send({ type: 'unsubscribe', packetId: 9, topicFilters: ['t'] }),
    (_, v5) => v5.net.destroy(),
    (_, v5) => v5.send({ type: 'disconnect', reasonCode: 4, properties: { sessionExpiryInterval: 0 } }),
    (node) => node.bench.connect(lasting('new')),
    (node) => node.bench.connect(lasting('v5', { cleanStart: true })),
    (node) => node.bench.connect({ clientId: 'v5', cleanStart: false }),
    (node) => void node.bench.broker.kick('v4', () => {}),
  ];
  for (const [i, act] of first.entries()) {
    const node = new Node();
    const { bench } = node;
    const v5 = bench.connect(lasting('v5', { will: { topicName: 'w', payload: new Uint8Array(1), qos: 1, retain: false } }));
    const v4 = bench.connect({ clientId: 'v4', protocolVersion: 4, cleanStart: false });
    node.sync();
    v5.subscribe('t');
    v4.subscribe('t');
    node.sync();
    node.files.capacity = 0;
    bench.settle = () => bench.clock.advance(0);
    act(node, v5, v4);
    node.sync();
    assert.equal(bench.connect().connack?.reasonCode, 0, `case ${i}`);
    assert.deepEqual(
      bench.errors.filter((text) => !text.startsWith('persistent sessions cannot be written down')),
      [],
      `case ${i}`,
    );
    node.files.capacity = Number.POSITIVE_INFINITY;
    for (let n = 0; n < 10; n++) {
      node.clock.advance(100);
      node.sync();
    }
    const kept = new Set([...bench.broker.clients()].filter((c) => c.sessionExpiryInterval > 0).map((c) => c.clientId));
    const again = node.restart();
    for (const id of kept) {
      const back = again.connect(lasting(id));
      node.sync();
      assert.equal(back.connack?.sessionPresent, true, `case ${i}, ${id}`);
    }
  }
});

test('a full disk: persistent sessions are refused with 0x97, everything else goes on', () => {
  const node = new Node();
  const { bench } = node;
  const session = bench.connect(lasting('p'));
  node.sync();
  session.subscribe('t');
  node.sync();
  session.take();
  const clean = bench.connect();
  clean.subscribe('t');
  clean.subscribe('other');
  node.files.capacity = 0;
  // The log tells of it.
  bench.settle = () => bench.clock.advance(0);
  const publisher = bench.connect();
  const old = bench.connect({ protocolVersion: 4 });
  publisher.publish('t', 'one', { qos: 1 });
  node.sync();
  assert.deepEqual(publisher.seen(), ['puback 0x97']);
  publisher.publish('t', 'two', { qos: 2 });
  assert.deepEqual(publisher.seen(), ['pubrec 0x97']);
  assert.deepEqual(clean.seen(), ['t=one q1', 't=two q2']);
  publisher.publish('other', 'three', { qos: 1 });
  publisher.publish('t', 'four');
  assert.deepEqual(publisher.seen(), ['puback']);
  assert.deepEqual(clean.seen(), ['other=three q1', 't=four']);
  old.publish('t', 'five', { qos: 1 });
  node.clock.advance(0);
  assert.equal(old.net.closed || old.net.ended, true, 'before 5.0 the connection says it');
  assert.deepEqual(session.subscribe('more'), [0x97]);
  const refused = bench.connect(lasting('q'));
  assert.equal(refused.connack?.reasonCode, 0x97);
  assert.equal(bench.connect().connack?.reasonCode, 0);

  node.files.capacity = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 10; i++) {
    node.clock.advance(100);
    node.sync();
  }
  publisher.publish('t', 'six', { qos: 1 });
  node.sync();
  assert.deepEqual(publisher.seen(), ['puback']);
  const again = node.restart().connect(lasting('p'));
  node.sync();
  assert.equal(again.connack?.sessionPresent, true);
  assert.ok(again.seen().some((text) => text.startsWith('t=six q1')));
});

test('exclusive subscriptions of sessions that come back without a quorum are decided when there is one', () => {
  let quorum = true;
  let cluster: MemoryCluster | undefined;
  let here: ReplicatedExclusive | undefined;
  const nodeId = (n: number): string => String(n).padStart(32, '0');
  const store = (clock: ManualClock, db: MemoryDatabase): ReplicatedExclusive =>
    new ReplicatedExclusive({ clock, metrics: new ReadableMetrics() }, db);
  const node = new Node({ limits: { exclusiveSubscription: true } }, (clock) => {
    // The rows of the process before are gone with its incarnation.
    cluster = new MemoryCluster(clock, brokerSchema);
    cluster.fault = (id) => (quorum || id !== nodeId(1) ? 'none' : 'no-quorum');
    here = store(clock, cluster.join(nodeId(1)));
    return { exclusive: here };
  });
  const pass = (ms: number): void => {
    for (let left = ms; left > 0; left -= 500) {
      node.clock.advance(500);
      node.sync();
    }
  };
  const client = node.bench.connect(lasting('c'));
  pass(500);
  for (const filter of ['$exclusive/mine', '$exclusive/theirs']) client.subscribe(filter);
  pass(500);
  quorum = false;
  const bench = node.restart();
  const unsubscribed: string[] = [];
  bench.broker.hooks.unsubscribed = (session, filter) => void unsubscribed.push(`${session.clientId} ${filter}`);
  if (here !== undefined) here.onLost = (filter, clientId) => void bench.broker.endSubscription(clientId, filter);
  bench.broker.resumeSessions();
  assert.ok(cluster !== undefined);
  const elsewhere = store(node.clock, cluster.join(nodeId(2)));
  let other = '';
  elsewhere.take('theirs', 'c2', (outcome) => {
    other = outcome;
  });
  pass(60_000);
  assert.equal(other, 'taken');
  assert.deepEqual([...bench.broker.subscriptions('c')].map((s) => s.topicFilter).sort(), ['mine', 'theirs']);
  assert.equal(elsewhere.holder('mine'), undefined);
  quorum = true;
  pass(20_000);
  assert.deepEqual(
    [...bench.broker.subscriptions('c')].map((s) => s.topicFilter),
    ['mine'],
  );
  assert.equal(elsewhere.holder('mine'), 'c');
  assert.deepEqual(unsubscribed, ['c theirs']);
});
