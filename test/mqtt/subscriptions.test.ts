// What becomes of subscriptions: overtaken, refused later, members of groups that have no room.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Access } from '#broker/access.js';
import { FakeCluster } from './fake-cluster.js';
import { MqttBench } from './mqtt-bench.js';

test('a SUBSCRIBE that its UNSUBSCRIBE overtakes was granted, and is over', () => {
  const cluster = new FakeCluster();
  cluster.autoRoutes = false;
  const bench = new MqttBench({ ports: cluster.ports() });
  const client = bench.connect();
  const options = { qos: 1 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const };
  client.send({ type: 'subscribe', packetId: 1, subscriptions: [{ topicFilter: 't', ...options }] });
  client.send({ type: 'unsubscribe', packetId: 2, topicFilters: ['t'] });
  cluster.settleRoutes('failed');
  bench.settle();
  const codes = client.take().map((p) => (p.type === 'suback' || p.type === 'unsuback' ? [p.type, ...p.reasonCodes] : p.type));
  assert.deepEqual(codes, [
    ['unsuback', 0],
    ['suback', 1],
  ]);
  assert.equal(bench.metrics.read('emqx_packets_subscribe_error'), 0);
  assert.equal(bench.broker.stats().subscriptions, 0);
  client.send({ type: 'subscribe', packetId: 3, subscriptions: [{ topicFilter: 't', ...options }] });
  cluster.settleRoutes('failed');
  bench.settle();
  const [refused] = client.take();
  assert.deepEqual(refused?.type === 'suback' ? refused.reasonCodes : [], [0x83], 'one that is still wanted is refused');
});

for (const strategy of ['round_robin_per_group', 'random', 'hash_topic', 'sticky'] as const) {
  test(`a group's member with a full queue is left out while another one has room: ${strategy}`, () => {
    const bench = new MqttBench({ limits: { maxQueuedMessages: 2 }, broker: { sharedStrategy: strategy } });
    const full = bench.connect({ properties: { receiveMaximum: 1 } });
    full.subscribe({ topicFilter: '$share/g/t', qos: 1 });
    // The only one so far: what it does not take fills its queue.
    const publisher = bench.connect();
    for (let i = 0; i < 3; i++) publisher.publish('t', `${i}`, { qos: 1 });
    const other = bench.connect();
    other.subscribe({ topicFilter: '$share/g/t', qos: 1 });
    for (let i = 3; i < 40; i++) {
      publisher.publish('t', `${i}`, { qos: 1 });
      other.acknowledge();
    }
    assert.equal(other.take().length, 37);
    assert.equal(bench.metrics.read('emqx_delivery_dropped'), 0);
    full.acknowledge();
    assert.deepEqual(full.seen(), ['t=0 q1', 't=1 q1', 't=2 q1']);
  });
}

test('a group may have a strategy of its own', () => {
  const bench = new MqttBench({ broker: { sharedStrategy: 'round_robin_per_group', sharedStrategies: new Map([['fixed', 'hash_topic']]) } });
  const members = [bench.connect(), bench.connect(), bench.connect()];
  for (const member of members) {
    member.subscribe({ topicFilter: '$share/fixed/t/+', qos: 0 });
    member.subscribe({ topicFilter: '$share/others/u/+', qos: 0 });
  }
  const publisher = bench.connect();
  const spread = (topicName: string): number[] => {
    for (let i = 0; i < 9; i++) publisher.publish(topicName, 'x');
    return members.map((m) => m.take().length).sort();
  };
  assert.deepEqual(spread('t/1'), [0, 0, 9]);
  assert.deepEqual(spread('u/1'), [3, 3, 3]);
});

class Rules implements Access {
  denied = new Set<string>();
  listener: () => void = () => {};

  authenticate(_request: unknown, answer: (reasonCode: number) => void): void {
    answer(0);
  }

  mayPublish(): boolean {
    return true;
  }

  maySubscribe(client: { readonly username: string | undefined }, topicFilter: string): boolean {
    return !this.denied.has(topicFilter) && !this.denied.has(`${client.username} ${topicFilter}`);
  }

  whenRulesChange(listener: () => void): void {
    this.listener = listener;
  }
}

test('subscriptions that rules do not allow any more end, of all clients, in pieces', () => {
  const access = new Rules();
  const bench = new MqttBench({ access });
  const clients = Array.from({ length: 30 }, (_, i) => {
    const client = bench.connect({ username: i % 2 === 0 ? 'ann' : 'bob' });
    for (let f = 0; f < 40; f++) client.subscribe(`t/${f}`);
    client.subscribe('$share/g/shared');
    return client;
  });
  access.denied = new Set(['t/1', 'ann t/2', 'shared']);
  access.listener();
  access.listener();
  bench.clock.advance(0);
  const publisher = bench.connect();
  for (const topicName of ['t/0', 't/1', 't/2', 'shared']) publisher.publish(topicName, 'x');
  for (const [i, client] of clients.entries()) assert.deepEqual(client.seen(), i % 2 === 0 ? ['t/0=x'] : ['t/0=x', 't/2=x']);
  assert.equal(bench.metrics.read('starmesh_subscriptions_revoked_total'), 30 + 15 + 30);
});

test('a session is continued with what its client may have now', () => {
  const access = new Rules();
  const bench = new MqttBench({ access });
  const lasting = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const client = bench.connect(lasting);
  client.subscribe('kept');
  client.subscribe('lost');
  client.drop();
  access.denied = new Set(['lost']);
  access.listener();
  bench.clock.advance(0);
  const again = bench.connect(lasting);
  assert.equal(again.connack?.sessionPresent, true);
  const publisher = bench.connect();
  publisher.publish('kept', 'x');
  publisher.publish('lost', 'x');
  assert.deepEqual(again.seen(), ['kept=x']);
});

test('mqtt.ignore_loop_deliver: clients before 5.0 do not get their own messages', () => {
  const bench = new MqttBench({ limits: { ignoreLoopDeliver: true } });
  for (const protocolVersion of [4, 5] as const) {
    const client = bench.connect({ protocolVersion });
    client.subscribe(`own/${protocolVersion}`);
    client.publish(`own/${protocolVersion}`, 'mine');
    bench.connect().publish(`own/${protocolVersion}`, 'of another');
    const others = [`own/${protocolVersion}=of another`];
    assert.deepEqual(client.seen(), protocolVersion === 4 ? others : [`own/${protocolVersion}=mine`, ...others]);
  }
});

test('mqtt.message_expiry_interval is that of messages without one', () => {
  const bench = new MqttBench({ limits: { messageExpiryMs: 10_000 } });
  const lasting = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const client = bench.connect(lasting);
  client.subscribe('t');
  client.drop();
  const publisher = bench.connect();
  publisher.publish('t', 'none', { qos: 1 });
  publisher.publish('t', 'longer', { qos: 1, properties: { messageExpiryInterval: 50 } });
  bench.clock.advance(20_000);
  assert.deepEqual(bench.connect(lasting).seen(), ['t=longer q1']);
});
