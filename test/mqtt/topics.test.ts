// Topics with a meaning of their own, seen from clients: mountpoints, `$exclusive`, `$delayed`, `$SYS`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Access } from '#broker/access.js';
import { ReplicatedDelayed } from '#broker/delayed.js';
import { localPorts } from '#broker/local-ports.js';
import type { BrokerPorts, ExclusiveOutcome, ExclusiveStore } from '#broker/ports.js';
import { brokerSchema } from '#broker/schema.js';
import { SysTopics, type SysTopicsOptions, sysTopicsDefaults } from '#broker/sys-topics.js';
import type { Env } from '#env/env.js';
import type { MetricFamily } from '#env/metric-family.js';
import type { PublishPacket } from '#mqtt/packet.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster } from '../doubles/memory-database.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';
import { FakeCluster } from './fake-cluster.js';
import { MqttBench } from './mqtt-bench.js';

const mounted = (mountpoint: string) => ({ listener: { mountpoint } });

test('a mountpoint stands before names and filters, and its clients do not see it', () => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const inside = new MqttBench({ ports: cluster.ports(), clock, ...mounted('tenant/') });
  const outside = new MqttBench({ ports: cluster.ports(), clock });
  const watcher = outside.connect();
  watcher.subscribe('tenant/#');
  const client = inside.connect();
  assert.deepEqual(client.subscribe('a/+'), [2]);
  client.publish('a/b', 'x', { qos: 1 });
  client.acknowledge();
  assert.deepEqual(client.seen().sort(), ['a/b=x q1', 'puback']);
  watcher.acknowledge();
  assert.deepEqual(watcher.seen(), ['tenant/a/b=x q1']);
  outside.connect().publish('tenant/a/c', 'y', { qos: 2 });
  outside.connect().publish('a/c', 'not for them');
  client.acknowledge();
  assert.deepEqual(client.seen(), ['a/c=y q2', 'pubrel']);
  assert.deepEqual(
    [...inside.broker.subscriptions()].map((s) => s.topicFilter),
    ['tenant/a/+'],
  );
  const packetId = client.nextId();
  client.send({ type: 'unsubscribe', packetId, topicFilters: ['a/+', 'tenant/a/+'] });
  assert.deepEqual(
    client.take().map((p) => (p.type === 'unsuback' ? p.reasonCodes : p.type)),
    [[0, 0x11]],
  );
});

test('the mountpoint holds for shared subscriptions, retained messages, wills, aliases and what waits', () => {
  const bench = new MqttBench(mounted('m/'));
  const client = bench.connect({ clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100, topicAliasMaximum: 5 } });
  client.subscribe('$share/g/shared/name');
  client.subscribe('w');
  client.publish('r', 'kept', { retain: true });
  client.subscribe('r');
  assert.deepEqual(client.seen(), ['r=kept retain']);
  client.publish('shared/name', 'shared');
  client.publish('shared/name', 'again');
  const aliased = client.take() as PublishPacket[];
  assert.deepEqual(
    aliased.map((p) => [p.topicName, p.properties?.topicAlias]),
    [
      ['shared/name', 1],
      ['', 1],
    ],
  );
  const dying = bench.connect({ will: { topicName: 'w', payload: utf8Encode('gone'), qos: 0, retain: false } });
  dying.drop();
  assert.deepEqual(client.seen(), ['w=gone']);
  client.drop();
  bench.connect().publish('w', 'later', { qos: 1 });
  const back = bench.connect({ clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } });
  assert.equal(back.connack?.sessionPresent, true);
  assert.deepEqual(back.seen(), ['w=later q1']);
});

test('placeholders of a mountpoint stand for one level, and a session stays behind its own', () => {
  const ports = localPorts();
  const clock = new ManualClock();
  const bench = new MqttBench({ ports, clock, ...mounted('u/${username}/${clientid}/') });
  const client = bench.connect({ clientId: 'dev', username: 'ann' });
  client.subscribe('t');
  assert.deepEqual(
    [...bench.broker.subscriptions()].map((s) => s.topicFilter),
    ['u/ann/dev/t'],
  );
  for (const clientId of ['+', '#', 'a/b', 'x#']) assert.equal(bench.connect({ clientId, username: 'ann' }).connack?.reasonCode, 0x85, clientId);
  for (const username of ['+', 'a/b', '', undefined]) {
    const more = username === undefined ? {} : { username };
    assert.equal(bench.connect({ clientId: 'dev2', ...more }).connack?.reasonCode, 0x86, String(username));
  }
  const lasting = { clientId: 'dev', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const one = bench.connect({ ...lasting, username: 'ann' });
  one.subscribe('t');
  one.drop();
  assert.equal(bench.connect({ ...lasting, username: 'bob' }).connack?.sessionPresent, false, 'its subscriptions are those of another place');
});

test('behind a mountpoint rights are asked for what the client says', () => {
  const asked: string[] = [];
  const access: Access = {
    authenticate: (_request, answer) => answer(0),
    mayPublish: (_client, topicName) => asked.push(`publish ${topicName}`) > 0,
    maySubscribe: (_client, topicFilter) => asked.push(`subscribe ${topicFilter}`) > 0,
  };
  const bench = new MqttBench({ access, ...mounted('m/') });
  const client = bench.connect({ will: { topicName: 'w', payload: utf8Encode(''), qos: 0, retain: false } });
  client.subscribe('$share/g/a');
  client.publish('a', 'x');
  client.drop();
  assert.deepEqual(asked, ['publish w', 'subscribe a', 'publish a', 'publish w']);
});

// ---- $exclusive ----

class OneHolder implements ExclusiveStore {
  readonly rows = new Map<string, string>();
  readonly waiting: (() => void)[] = [];

  take(topicFilter: string, clientId: string, done: (outcome: ExclusiveOutcome) => void): void {
    this.waiting.push(() => {
      const holder = this.rows.get(topicFilter) ?? clientId;
      this.rows.set(topicFilter, holder);
      done(holder === clientId ? 'taken' : 'held');
    });
  }

  keep(topicFilter: string, clientId: string): void {
    this.rows.set(topicFilter, clientId);
  }

  release(topicFilter: string, clientId: string): void {
    if (this.rows.get(topicFilter) === clientId) this.rows.delete(topicFilter);
  }

  list(): void {}

  go(): void {
    for (const next of this.waiting.splice(0)) next();
  }
}

test('an exclusive subscription has one client, and is free when that one leaves it', () => {
  const exclusive = new OneHolder();
  const ports: BrokerPorts = { ...localPorts(), exclusive };
  const bench = new MqttBench({ ports, limits: { exclusiveSubscription: true } });
  const subscribe = (client: ReturnType<MqttBench['connect']>, topicFilter: string): number[] => {
    const packetId = client.nextId();
    const options = { qos: 1 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const };
    client.send({ type: 'subscribe', packetId, subscriptions: [{ topicFilter, ...options }] });
    exclusive.go();
    bench.settle();
    return client.take().flatMap((p) => (p.type === 'suback' ? p.reasonCodes : []));
  };
  const [a, b] = [bench.connect(), bench.connect()];
  assert.deepEqual(subscribe(a, '$exclusive/t'), [1]);
  assert.deepEqual(subscribe(b, '$exclusive/t'), [0x97]);
  assert.deepEqual(subscribe(b, 't'), [1], 'an ordinary one is nobody`s business');
  assert.deepEqual(subscribe(a, '$exclusive/t'), [1], 'again');
  bench.connect().publish('t', 'x');
  assert.deepEqual([a.seen(), b.seen()], [['t=x'], ['t=x']]);
  a.send({ type: 'unsubscribe', packetId: a.nextId(), topicFilters: ['$exclusive/t'] });
  assert.equal(exclusive.rows.size, 0);
  assert.deepEqual(subscribe(b, '$exclusive/t'), [1]);
  b.drop();
  assert.equal(exclusive.rows.size, 0, 'the session has ended');
  assert.deepEqual(subscribe(a, '$exclusive/$share/g/t'), [0x8f]);
});

test('exclusive subscriptions are refused where they are off', () => {
  const bench = new MqttBench();
  assert.deepEqual(bench.connect().subscribe('$exclusive/t'), [0x8f]);
});

test('a client that leaves while its exclusive subscription is decided does not keep it', () => {
  const exclusive = new OneHolder();
  const bench = new MqttBench({ ports: { ...localPorts(), exclusive }, limits: { exclusiveSubscription: true } });
  const client = bench.connect();
  client.subscribe('$exclusive/t');
  client.drop();
  exclusive.go();
  assert.equal(exclusive.rows.size, 0);
});

// ---- $delayed ----

function delayedBench(messagesMax = 0) {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema).join('1'.padStart(32, '0'));
  const metrics = new ReadableMetrics();
  const delayed = new ReplicatedDelayed({ clock, metrics, log: quietLog }, db, { messagesMax });
  const bench = new MqttBench({ clock, ports: { ...localPorts(), delayed } });
  clock.advance(50);
  return { clock, bench, delayed, metrics };
}

test('a delayed message is acknowledged when it is kept and published when it is due', () => {
  const { clock, bench, delayed } = delayedBench();
  const subscriber = bench.connect();
  subscriber.subscribe('#');
  const publisher = bench.connect();
  publisher.publish('$delayed/5/a/b', 'later', { qos: 1 });
  publisher.publish('$delayed/2/c', 'sooner', { retain: true });
  publisher.publish('$delayed/0/d', 'at once', { qos: 2 });
  clock.advance(100);
  assert.deepEqual(publisher.seen(), ['puback', 'pubrec']);
  assert.deepEqual(subscriber.seen(), ['d=at once q2']);
  assert.equal(delayed.count, 2);
  clock.advance(2_000);
  assert.deepEqual(subscriber.seen(), ['c=sooner']);
  clock.advance(2_500);
  assert.deepEqual(subscriber.seen(), []);
  clock.advance(500);
  subscriber.acknowledge();
  assert.deepEqual(subscriber.seen(), ['a/b=later q1']);
  clock.advance(100);
  assert.equal(delayed.count, 0);
  const late = bench.connect();
  late.subscribe('c');
  assert.deepEqual(late.seen(), ['c=sooner retain'], 'retained from then on');
});

test('what is no delay, and what is too much, is refused', () => {
  const { clock, bench, metrics } = delayedBench(1);
  const publisher = bench.connect();
  for (const name of [
    '$delayed/x/a',
    '$delayed/5',
    '$delayed/5/',
    '$delayed/-1/a',
    '$delayed/1/$delayed/1/a',
    '$delayed//a',
    '$delayed/99999999999/a',
  ])
    publisher.publish(name, 'x', { qos: 1 });
  clock.advance(50);
  assert.deepEqual(publisher.seen(), Array(7).fill('puback 0x90'));
  publisher.publish('$delayed/5/a', 'x', { qos: 1 });
  publisher.publish('$delayed/5/a', 'x', { qos: 2 });
  clock.advance(50);
  assert.deepEqual(publisher.seen(), ['puback', 'pubrec 0x97']);
  assert.equal(metrics.read('starmesh_delayed_refused_total'), 1);
});

test('a moment may stand for the delay, and rights are asked for the name that is published', () => {
  const asked: string[] = [];
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema).join('1'.padStart(32, '0'));
  const delayed = new ReplicatedDelayed({ clock, metrics: new ReadableMetrics(), log: quietLog }, db);
  const access: Access = {
    authenticate: (_request, answer) => answer(0),
    mayPublish: (_client, topicName) => asked.push(topicName) > 0 && topicName !== 'secret',
    maySubscribe: () => true,
  };
  const bench = new MqttBench({ clock, access, ports: { ...localPorts(), delayed } });
  clock.advance(50);
  const subscriber = bench.connect();
  subscriber.subscribe('#');
  const publisher = bench.connect();
  publisher.publish(`$delayed/${Math.floor(clock.wallNow() / 1000) + 3}/a`, 'x', { qos: 1 });
  publisher.publish('$delayed/1/secret', 'x', { qos: 1 });
  clock.advance(50);
  assert.deepEqual(publisher.seen(), ['puback', 'puback 0x87']);
  assert.deepEqual([...new Set(asked)], ['a', 'secret']);
  clock.advance(4_000);
  assert.deepEqual(subscriber.seen(), ['a=x q1']);
});

test('a delayed message that expires before it is due is not published; other properties travel', () => {
  const { clock, bench } = delayedBench();
  const subscriber = bench.connect();
  subscriber.subscribe('#');
  const publisher = bench.connect();
  publisher.publish('$delayed/5/a', 'x', { properties: { messageExpiryInterval: 3 } });
  publisher.publish('$delayed/5/b', 'y', { properties: { messageExpiryInterval: 30, contentType: 'text', userProperties: [['k', 'v']] } });
  clock.advance(6_000);
  const got = subscriber.take() as PublishPacket[];
  assert.deepEqual(
    got.map((p) => [p.topicName, p.properties?.contentType, p.properties?.messageExpiryInterval]),
    [['b', 'text', 25]],
  );
  assert.deepEqual(got[0]?.properties?.userProperties, [['k', 'v']]);
});

test('a will may be delayed and mounted', () => {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema).join('1'.padStart(32, '0'));
  const delayed = new ReplicatedDelayed({ clock, metrics: new ReadableMetrics(), log: quietLog }, db);
  const bench = new MqttBench({ clock, ports: { ...localPorts(), delayed }, ...mounted('m/') });
  clock.advance(50);
  const subscriber = bench.connect();
  subscriber.subscribe('w');
  bench.connect({ will: { topicName: '$delayed/2/w', payload: utf8Encode('gone'), qos: 0, retain: false } }).drop();
  clock.advance(1_000);
  assert.deepEqual(subscriber.seen(), []);
  clock.advance(2_000);
  assert.deepEqual(subscriber.seen(), ['w=gone']);
});

// ---- $SYS ----

function sysBench(more: Partial<SysTopicsOptions> = {}, families: readonly MetricFamily[] = []) {
  const bench = new MqttBench();
  const env = { clock: bench.clock } as unknown as Env;
  const options = { ...sysTopicsDefaults, nodeName: 'core1@h', version: '1.2.3', ...more };
  const sys = new SysTopics(env, bench.broker, options, { brokers: () => ['core1@h', 'core2@h'], collect: () => families });
  bench.broker.tellSystem(sys);
  sys.start();
  return { bench, sys };
}

test('$SYS tells of alarms, since when and until when', () => {
  const { bench, sys } = sysBench();
  const client = bench.connect();
  client.subscribe('$SYS/brokers/+/alarms/#');
  const since = bench.clock.wallNow() * 1000;
  sys.alarm('high_process_memory_usage', true, 'memory is short', { level: 'high' });
  bench.clock.advance(5_000);
  sys.alarm('high_process_memory_usage', false, 'there is enough memory again', { level: 'normal' });
  bench.settle();
  const told = client.take().flatMap((p) => (p.type === 'publish' ? [[p.topicName, JSON.parse(utf8Decode(p.payload) ?? '')]] : []));
  const name = 'high_process_memory_usage';
  assert.deepEqual(told, [
    ['$SYS/brokers/core1@h/alarms/activate', { name, message: 'memory is short', details: { level: 'high' }, activate_at: since }],
    [
      '$SYS/brokers/core1@h/alarms/deactivate',
      {
        name,
        message: 'there is enough memory again',
        details: { level: 'normal' },
        activate_at: since,
        deactivate_at: since + 5_000_000,
      },
    ],
  ]);
  sys.stop();
});

test('$SYS tells of nodes, versions, counters and gauges, at its intervals', () => {
  const sample = (value: number) => [{ labels: {}, value }];
  const { bench, sys } = sysBench({}, [
    { type: 'gauge', name: 'emqx_connections_count', help: '', samples: sample(3) },
    { type: 'counter', name: 'emqx_messages_dropped_no_subscribers', help: '', samples: sample(4) },
    { type: 'counter', name: 'starmesh_own', help: '', samples: sample(5) },
  ]);
  const client = bench.connect();
  client.subscribe('$SYS/#');
  client.subscribe('#');
  bench.clock.advance(30_000);
  bench.settle();
  const beat = client.seen();
  assert.deepEqual(beat[0], '$SYS/brokers/core1@h/uptime=30000');
  assert.match(beat[1] ?? '', /^\$SYS\/brokers\/core1@h\/datetime=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  bench.clock.advance(30_000);
  bench.settle();
  const tick = client.seen().filter((s) => !/uptime|datetime/.test(s));
  assert.deepEqual(tick, [
    '$SYS/brokers=core1@h,core2@h',
    '$SYS/brokers/core1@h/version=1.2.3',
    '$SYS/brokers/core1@h/sysdescr=Starmesh',
    '$SYS/brokers/core1@h/stats/connections/count=3',
    '$SYS/brokers/core1@h/metrics/messages/dropped/no_subscribers=4',
  ]);
  const late = bench.connect();
  late.subscribe('$SYS/brokers/+/version');
  assert.deepEqual(late.seen(), ['$SYS/brokers/core1@h/version=1.2.3 retain']);
  sys.stop();
  bench.clock.advance(120_000);
  assert.deepEqual(
    client.seen().filter((s) => !s.includes('/clients/')),
    [],
  );
});

test('$SYS tells of clients, of those events that are wanted', () => {
  const { bench } = sysBench({ clientSubscribed: true });
  const watcher = bench.connect();
  watcher.subscribe('$SYS/brokers/+/clients/+/+');
  watcher.take();
  const client = bench.connect({ clientId: 'a+#', username: 'ann', keepAlive: 60, protocolVersion: 4 });
  client.subscribe('t');
  client.send({ type: 'unsubscribe', packetId: 9, topicFilters: ['t'] });
  client.drop();
  const got = (watcher.take() as PublishPacket[]).map((p): [string, Record<string, unknown>] => [
    p.topicName,
    JSON.parse(utf8Decode(p.payload) ?? ''),
  ]);
  const at = '$SYS/brokers/core1@h/clients/a%2B%23';
  assert.deepEqual(
    got.map(([topicName]) => topicName),
    [`${at}/connected`, `${at}/subscribed`, `${at}/disconnected`],
  );
  const [connected, subscribed, disconnected] = got.map(([, about]) => about);
  assert.equal(connected?.clientid, 'a+#');
  assert.deepEqual([connected?.username, connected?.ipaddress, connected?.proto_ver, connected?.keepalive], ['ann', '127.0.0.1', 4, 60]);
  assert.equal(subscribed?.topic, 't');
  assert.equal(disconnected?.reason, 'tcp_closed');
});

test('rights decide who hears $SYS', () => {
  const access: Access = {
    authenticate: (_request, answer) => answer(0),
    mayPublish: () => true,
    maySubscribe: (client, topicFilter) => client.username === 'dashboard' || !topicFilter.startsWith('$SYS'),
  };
  const bench = new MqttBench({ access });
  assert.deepEqual(bench.connect({ username: 'dashboard' }).subscribe('$SYS/#'), [2]);
  assert.deepEqual(bench.connect({ username: 'ann' }).subscribe('$share/g/$SYS/#'), [0x87]);
});
