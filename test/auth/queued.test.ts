// Rights that are lost while something is on its way: what waits in queues, in memory and on disk, here and on another
// node, delayed messages, and subscriptions for which somebody has to be asked.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Access, AccessClient, Answer, Cleaned } from '#broker/access.js';
import { ReplicatedDelayed } from '#broker/delayed.js';
import { localPorts } from '#broker/local-ports.js';
import { brokerSchema } from '#broker/schema.js';
import type { ConnectPacket } from '#mqtt/packet.js';
import { matches } from '#mqtt/topic.js';
import { RecoveringSessions } from '#session/session-record.js';
import { openJournal } from '#store/journal.js';
import { MemoryFiles } from '#store/memory-files.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster } from '../doubles/memory-database.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';
import { FakeCluster } from '../mqtt/fake-cluster.js';
import { MqttBench } from '../mqtt/mqtt-bench.js';

/** Denies what `denied` matches, and filters that stand there; topics that begin with `ask` have to be asked for. */
class Rights implements Access {
  readonly provesUsers = false;
  denied: readonly string[] = [];
  readonly questions: { readonly topic: string; readonly answer: Answer }[] = [];
  changed: (cleaned?: Cleaned) => void = () => {};
  superuser = '';

  authenticate: Access['authenticate'] = (_request, answer) => answer(0);

  deny(...filters: readonly string[]): void {
    this.denied = filters;
    this.changed();
  }

  #may(client: AccessClient, topic: string): boolean {
    return client.clientId === this.superuser || !this.denied.some((d) => d === topic || d === `${client.username}` || matches(d, topic));
  }

  mayPublish: Access['mayPublish'] = (client, topicName) => this.#may(client, topicName);

  maySubscribe: Access['maySubscribe'] = (client, filter) => (filter.startsWith('ask') ? undefined : this.#may(client, filter));

  isUnderRules(client: AccessClient): boolean {
    return client.clientId !== this.superuser;
  }

  whenKnown(_client: AccessClient, _action: string, topic: string, _qos: number, _retain: boolean, answer: Answer): void {
    this.questions.push({ topic, answer });
  }

  whenRulesChange(listener: (cleaned?: Cleaned) => void): void {
    this.changed = listener;
  }

  answer(allowed: boolean, sure: boolean = true): string | undefined {
    const question = this.questions.shift();
    question?.answer(allowed, sure);
    return question?.topic;
  }
}

const lasting = (clientId: string, more: Partial<ConnectPacket> = {}): Partial<ConnectPacket> => ({
  clientId,
  cleanStart: false,
  properties: { sessionExpiryInterval: 100 },
  ...more,
});

test('what waits for a client that is away is not given to it once it has lost the right', () => {
  const access = new Rights();
  const bench = new MqttBench({ access });
  const client = bench.connect(lasting('c'));
  for (const filter of ['open/#', 'secret/#', '+/both']) client.subscribe(filter);
  client.drop();
  const publisher = bench.connect();
  for (const name of ['open/1', 'secret/1', 'secret/both', 'open/2']) publisher.publish(name, 'x', { qos: 1 });
  publisher.publish('secret/0', 'x');
  access.deny('secret/#');
  bench.settle();
  const again = bench.connect(lasting('c'));
  assert.equal(again.connack?.sessionPresent, true);
  assert.deepEqual(again.seen(), ['open/1=x q1', 'secret/both=x q1', 'open/2=x q1'], 'a subscription that stands matches one of them');
  assert.equal(bench.metrics.read('starmesh_queued_revoked_total'), 2);
  assert.equal(bench.metrics.read('starmesh_subscriptions_revoked_total'), 1);
});

test('what came for a subscription that the client has given back is judged by its topic', () => {
  const access = new Rights();
  const bench = new MqttBench({ access });
  const client = bench.connect(lasting('c', { properties: { sessionExpiryInterval: 100, receiveMaximum: 1 } }));
  client.subscribe('#');
  const publisher = bench.connect();
  for (const name of ['a', 'secret', 'b']) publisher.publish(name, 'x', { qos: 1 });
  client.send({ type: 'unsubscribe', packetId: client.nextId(), topicFilters: ['#'] });
  assert.deepEqual(client.seen(), ['a=x q1', 'unsuback'], 'the others wait for its acknowledgement');
  access.denied = ['secret'];
  client.send({ type: 'puback', packetId: 1, reasonCode: 0 });
  assert.deepEqual(client.seen(), ['secret=x q1'], 'the rules have not changed, as far as anybody was told');
  client.drop();
  publisher.publish('c', 'x', { qos: 1 });
  access.deny('b');
  const again = bench.connect(lasting('c'));
  again.acknowledge();
  assert.deepEqual(again.seen(), ['secret=x q1 dup'], 'what was sent once is sent again');
});

test('what waits for the window of a client is judged before it leaves, in the turn in which rules change', () => {
  const access = new Rights();
  const bench = new MqttBench({ access });
  const client = bench.connect({ properties: { receiveMaximum: 1 } });
  client.subscribe('t/+');
  client.subscribe('secret');
  const publisher = bench.connect();
  for (const name of ['t/1', 'secret', 't/2', 'secret']) publisher.publish(name, 'x', { qos: 1 });
  access.denied = ['secret'];
  access.changed();
  // The turn goes on: the client's acknowledgement is there before all sessions have been looked at.
  client.push({ type: 'puback', packetId: 1, reasonCode: 0 });
  client.acknowledge();
  assert.deepEqual(client.seen(), ['t/1=x q1', 't/2=x q1']);
  assert.equal(bench.metrics.read('starmesh_queued_revoked_total'), 2);
});

test('members of a group who may get what another one has lost', () => {
  const access = new Rights();
  const bench = new MqttBench({ access });
  const ann = bench.connect(lasting('ann', { username: 'ann', properties: { sessionExpiryInterval: 100, receiveMaximum: 1 } }));
  ann.subscribe('$share/g/t');
  const publisher = bench.connect();
  for (let i = 0; i < 3; i++) publisher.publish('t', `${i}`, { qos: 1 });
  const bob = bench.connect({ username: 'bob' });
  bob.subscribe('$share/g/t');
  access.deny('ann');
  bench.settle();
  assert.deepEqual(ann.seen(), ['t=0 q1']);
  assert.deepEqual(bob.seen(), ['t=1 q1', 't=2 q1']);
});

test('a session that comes from another node, whose rules were other ones', () => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const [one, other] = [new Rights(), new Rights()];
  const [a, b] = [one, other].map((access) => new MqttBench({ clock, ports: cluster.ports(), access })) as [MqttBench, MqttBench];
  const client = a.connect(lasting('c'));
  client.subscribe('t');
  client.subscribe('secret');
  client.drop();
  for (const name of ['t', 'secret']) a.connect().publish(name, 'x', { qos: 1 });
  other.denied = ['secret'];
  const moved = b.connect(lasting('c'));
  assert.equal(moved.connack?.sessionPresent, true);
  assert.deepEqual(moved.seen(), ['t=x q1']);
});

test('a session that comes back from the disk, with rules that have changed meanwhile; what was taken out stays out', () => {
  const access = new Rights();
  const clock = new ManualClock();
  let files = new MemoryFiles((done) => done());
  const registry = localPorts().registry;
  const start = (): MqttBench => {
    const bench = new MqttBench({ clock, access, ports: { ...localPorts(), registry } });
    const found = new RecoveringSessions(clock.wallNow() - clock.now());
    const { journal } = openJournal({ clock, files, metrics: new ReadableMetrics(), log: quietLog }, { nodeId: 'b'.repeat(32) }, found);
    bench.broker.keepSessions(journal, found);
    bench.settle();
    return bench;
  };
  let bench = start();
  const restart = (): void => {
    clock.advance(20);
    files = files.crash({ int: () => 0, chance: () => false });
    bench = start();
  };
  const client = bench.connect(lasting('c'));
  clock.advance(20);
  for (const filter of ['t', 'secret']) client.subscribe(filter);
  clock.advance(20);
  client.drop();
  const publisher = bench.connect();
  for (const name of ['t', 'secret', 't']) publisher.publish(name, 'x', { qos: 2 });
  restart();
  assert.equal(bench.broker.client('c')?.queued, 3);
  access.deny('secret');
  // It comes, takes nothing, and its node dies again.
  const busy = bench.connect(lasting('c', { properties: { sessionExpiryInterval: 100, receiveMaximum: 1 } }));
  clock.advance(20);
  assert.equal(busy.connack?.sessionPresent, true);
  restart();
  access.deny();
  const again = bench.connect(lasting('c'));
  clock.advance(20);
  const names = again.seen().map((s) => s.slice(0, 1));
  assert.deepEqual(names, ['t', 't']);
  assert.deepEqual(
    [...bench.broker.subscriptions('c')].map((s) => s.topicFilter),
    ['t'],
  );
});

test('who has to be asked is asked before CONNACK, and nothing is sent until then', () => {
  const access = new Rights();
  const bench = new MqttBench({ access });
  const client = bench.connect(lasting('c'));
  for (const filter of ['ask/a/#', 'ask/b/#']) client.send({ type: 'subscribe', packetId: client.nextId(), subscriptions: [wanted(filter)] });
  access.answer(true);
  access.answer(true);
  bench.settle();
  client.drop();
  const publisher = bench.connect();
  for (const name of ['ask/a/1', 'ask/b/1']) publisher.publish(name, 'x', { qos: 1 });
  const again = bench.connect(lasting('c'));
  const answered = (): boolean | undefined => again.connack?.sessionPresent;
  assert.equal(answered(), undefined);
  assert.equal(access.questions.length, 2);
  publisher.publish('ask/a/2', 'x', { qos: 1 });
  access.answer(false);
  assert.equal(answered(), undefined);
  access.answer(true);
  bench.settle();
  assert.equal(answered(), true);
  assert.deepEqual(again.seen(), ['ask/b/1=x q1']);
  again.drop();
  // One that goes meanwhile leaves its session as it is.
  bench.connect(lasting('c')).drop();
  access.answer(true);
  bench.settle();
  assert.deepEqual([bench.broker.client('c')?.connected, bench.broker.client('c')?.subscriptions], [false, 1]);
  const last = bench.connect(lasting('c'));
  access.answer(true);
  bench.settle();
  assert.equal(last.connack?.sessionPresent, true);
});

test('cached verdicts are thrown away: who has to be asked is asked again, and only an answer takes anything', () => {
  const access = new Rights();
  const bench = new MqttBench({ access });
  const clients = Array.from({ length: 60 }, (_, i) => {
    const client = bench.connect({ clientId: `c${i}` });
    client.send({ type: 'subscribe', packetId: 1, subscriptions: [wanted(`ask/${i}`)] });
    return client;
  });
  while (access.answer(true) !== undefined) {}
  bench.settle();
  access.changed();
  bench.settle();
  assert.equal(access.questions.length, 0, 'rules of the table say nothing about it');
  access.changed({ clientId: 'c7' });
  assert.equal(access.answer(false), 'ask/7');
  assert.equal(bench.broker.client('c7')?.subscriptions, 0);
  access.changed({ clientId: undefined });
  bench.settle();
  assert.equal(access.questions.length, 50, 'so many at a time');
  access.changed();
  for (let next = access.questions[0]; next !== undefined; next = access.questions[0]) {
    const kind = Number(next.topic.slice(4)) % 3;
    access.answer(kind === 0, kind !== 2);
    bench.settle();
  }
  const left = clients.map((_, i) => bench.broker.client(`c${i}`)?.subscriptions);
  assert.deepEqual(
    left,
    clients.map((_, i) => (i % 3 === 1 ? 0 : 1)),
  );
});

test('a delayed message is published when whoever sent it still may; superusers are asked once', () => {
  for (const superuser of ['', 'p']) {
    const access = new Rights();
    access.superuser = superuser;
    const clock = new ManualClock();
    const db = new MemoryCluster(clock, brokerSchema).join('1'.padStart(32, '0'));
    const delayed = new ReplicatedDelayed({ clock, metrics: new ReadableMetrics(), log: quietLog }, db);
    const bench = new MqttBench({ clock, access, ports: { ...localPorts(), delayed }, listener: { mountpoint: 'm/' } });
    clock.advance(50);
    const subscriber = bench.connect();
    subscriber.subscribe('#');
    const publisher = bench.connect({ clientId: 'p', username: 'ann' });
    for (const name of ['a', 'b']) publisher.publish(`$delayed/5/${name}`, 'x', { qos: 1 });
    clock.advance(50);
    assert.deepEqual(publisher.seen(), ['puback', 'puback']);
    publisher.drop();
    access.deny('b');
    clock.advance(6_000);
    assert.deepEqual(subscriber.seen(), superuser === '' ? ['a=x q1'] : ['a=x q1', 'b=x q1']);
    assert.equal(delayed.count, 0);
  }
});

test('a will to a delayed name is judged again when it is due', () => {
  for (const superuser of ['', 'p']) {
    const access = new Rights();
    access.superuser = superuser;
    const clock = new ManualClock();
    const db = new MemoryCluster(clock, brokerSchema).join('1'.padStart(32, '0'));
    const delayed = new ReplicatedDelayed({ clock, metrics: new ReadableMetrics(), log: quietLog }, db);
    const bench = new MqttBench({ clock, access, ports: { ...localPorts(), delayed } });
    clock.advance(50);
    const subscriber = bench.connect();
    subscriber.subscribe('#');
    for (const name of ['a', 'b']) {
      const will = { topicName: `$delayed/5/${name}`, payload: Uint8Array.of(0x78), qos: 1, retain: false } as const;
      bench.connect({ clientId: superuser || name, will }).drop();
      clock.advance(50);
    }
    assert.equal(delayed.count, 2);
    access.deny('b');
    clock.advance(6_000);
    assert.deepEqual(subscriber.seen(), superuser === '' ? ['a=x q1'] : ['a=x q1', 'b=x q1']);
    assert.equal(delayed.count, 0);
  }
});

function wanted(topicFilter: string): { topicFilter: string; qos: 1; noLocal: false; retainAsPublished: false; retainHandling: 0 } {
  return { topicFilter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 };
}
