// A broker that gives its clients and sessions away: at which pace, who is told what, and what becomes of a session that
// nobody takes at first.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { Adopted } from '#broker/adopted.js';
import type { Handover } from '#broker/ports.js';
import type { ConnectPacket } from '#mqtt/packet.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { FakeCluster } from './fake-cluster.js';
import { MqttBench } from './mqtt-bench.js';

type Take = (adopted: Adopted, done: (taken: boolean) => void) => void;

/** Two brokers of one cluster; sessions go from the first to the second as `way` says. */
function pair(way: (take: Take, adopted: Adopted, done: (taken: boolean) => void) => void = (take, ...rest) => take(...rest)) {
  const clock = new ManualClock();
  const cluster = new FakeCluster();
  let take: Take = (_adopted, done) => done(false);
  const given: string[] = [];
  const from: Handover = {
    recipients: () => [{ nodeId: '2', name: 'two@h' }],
    give: (_nodeId, adopted, done) => {
      given.push(adopted.clientId);
      way(take, adopted, done);
    },
    onGiven: () => {},
  };
  const to: Handover = {
    recipients: () => [],
    give: (_nodeId, _adopted, done) => done(false),
    onGiven: (t) => {
      take = t;
    },
  };
  const one = new MqttBench({ clock, ports: { ...cluster.ports(), handover: from } });
  const two = new MqttBench({ clock, ports: { ...cluster.ports(), handover: to } });
  return { clock, cluster, one, two, given };
}

const lasting = (clientId: string, more: Partial<ConnectPacket> = {}): Partial<ConnectPacket> => ({
  clientId,
  cleanStart: false,
  properties: { sessionExpiryInterval: 100 },
  ...more,
});

test('connections end at the given pace, and say where to go; nobody is let in meanwhile', () => {
  const { clock, one } = pair();
  const clients = Array.from({ length: 30 }, (_, i) => one.connect({ protocolVersion: i === 0 ? 4 : 5 }));
  one.broker.evacuate({ connectionRate: 10, waitHealthCheckMs: 2_000, waitTakeoverMs: 1_000, redirectTo: 'b:1' });
  clock.advance(1_900);
  assert.equal(one.broker.evacuation?.state, 'waiting_health_check');
  assert.equal(one.broker.stats().connections, 30);
  const late = one.connect();
  assert.deepEqual([late.connack?.reasonCode, late.connack?.properties?.serverReference], [0x9c, 'b:1']);
  assert.equal(one.connect({ protocolVersion: 4 }).connack?.reasonCode, 3);
  clock.advance(1_000);
  const left = one.broker.stats().connections;
  assert.ok(left >= 10 && left <= 22, `${left} of 30`);
  clock.advance(3_000);
  assert.equal(one.broker.stats().connections, 0);
  assert.deepEqual(clients[0]?.seen(), []);
  const [bye] = clients[1]?.take() ?? [];
  assert.deepEqual(bye?.type === 'disconnect' ? [bye.reasonCode, bye.properties?.serverReference] : [], [0x9c, 'b:1']);
  clock.advance(2_000);
  assert.equal(one.broker.evacuation?.state, 'prohibiting');
  one.broker.stopEvacuation();
  assert.equal(one.connect().connack?.reasonCode, 0);
});

test('a session goes with what waits, what is left of its time, and its will', () => {
  const { clock, one, two } = pair();
  const watcher = two.connect();
  watcher.subscribe('w');
  const will = { topicName: 'w', payload: utf8Encode('gone'), qos: 0, retain: false, properties: { willDelayInterval: 50 } } as const;
  const client = one.connect(lasting('c', { will, username: 'ann' }));
  client.subscribe('t');
  client.drop();
  clock.advance(30_000);
  one.connect().publish('t', 'x', { qos: 1 });
  let over = 0;
  one.broker.evacuate({ waitHealthCheckMs: 0, waitTakeoverMs: 0, forGood: true }, () => void over++);
  clock.advance(1_000);
  assert.deepEqual([over, one.broker.stats().sessions], [1, 0]);
  assert.deepEqual([two.broker.client('c')?.queued, two.broker.client('c')?.username], [1, 'ann']);
  clock.advance(15_000);
  assert.deepEqual(watcher.seen(), [], 'the delay of 50 s began when the client went');
  clock.advance(6_000);
  assert.deepEqual(watcher.seen(), ['w=gone']);
  clock.advance(40_000);
  assert.notEqual(two.broker.client('c'), undefined);
  clock.advance(10_000);
  assert.equal(two.broker.client('c'), undefined, 'its 100 s are over');
});

test('a tick looks at a bounded number of sessions, and none is forgotten', () => {
  const { clock, one, two, given } = pair();
  for (let i = 0; i < 40; i++) one.connect(lasting(`away ${i}`)).drop();
  for (let i = 0; i < 5; i++) one.connect();
  let over = 0;
  one.broker.evacuate({ waitHealthCheckMs: 0, waitTakeoverMs: 0, connectionRate: 1_000, sessionRate: 1_000, scanMax: 10 }, () => void over++);
  assert.equal(one.broker.stats().connections, 5, 'those that are connected come behind forty that are not');
  clock.advance(350);
  assert.equal(one.broker.stats().connections, 5);
  clock.advance(100);
  assert.equal(one.broker.stats().connections, 0);
  const before = given.length;
  clock.advance(100);
  assert.ok(given.length - before <= 10, `${given.length - before} in one tick`);
  clock.advance(2_000);
  assert.deepEqual([over, one.broker.stats().sessions, two.broker.stats().sessions, given.length], [1, 0, 40, 40]);
});

test('a session is handed over whose client was here when the round came by, and is not any more', () => {
  for (let ticks = 0; ticks < 6; ticks++) {
    let taken = (): void => {};
    const { clock, cluster, one, two, given } = pair((take, adopted, done) => {
      if (adopted.clientId === 'first') taken = () => take(adopted, done);
      else take(adopted, done);
    });
    one.connect();
    one.connect(lasting('first')).drop();
    two.connect(lasting('late')).drop();
    cluster.autoFinish = false;
    const late = one.connect(lasting('late'));
    const over: number[] = [];
    one.broker.evacuate({ waitHealthCheckMs: 0, waitTakeoverMs: 0, connectionRate: 1, scanMax: 1 }, () => over.push(one.broker.stats().sessions));
    while (one.broker.stats().connections > 0) clock.advance(100);
    clock.advance(100 * ticks);
    cluster.run(cluster.finishes);
    cluster.autoFinish = true;
    assert.equal(one.broker.stats().connections, 1, 'it was on its way in');
    clock.advance(100);
    late.drop();
    taken();
    clock.advance(60_000);
    assert.deepEqual([over, [...new Set(given)]], [[0], ['first', 'late']], `${ticks} ticks`);
  }
});

test('what nobody takes is tried again, some times', () => {
  let refusals = 2;
  const { clock, one, two, given } = pair((take, adopted, done) => {
    if (adopted.clientId === 'never') done(false);
    else if (refusals-- > 0) done(false);
    else take(adopted, done);
  });
  for (const clientId of ['later', 'never']) one.connect(lasting(clientId)).drop();
  let over = 0;
  one.broker.evacuate({ waitHealthCheckMs: 0, waitTakeoverMs: 0 }, () => void over++);
  clock.advance(60_000);
  assert.equal(over, 1);
  assert.deepEqual([given.filter((c) => c === 'later').length, given.filter((c) => c === 'never').length], [3, 5]);
  assert.notEqual(two.broker.client('later'), undefined);
  const { stuck, sessions, state } = one.broker.evacuation ?? {};
  assert.deepEqual([stuck, sessions, state], [1, 1, 'prohibiting']);
});

test('a session that was asked for and not taken has its will still', () => {
  for (const taken of [true, false]) {
    const { clock, cluster, one, two } = pair();
    const watcher = one.connect();
    watcher.subscribe('w');
    const will = { topicName: 'w', payload: utf8Encode('gone'), qos: 0, retain: false, properties: { willDelayInterval: 50 } } as const;
    one.connect(lasting('c', { will })).drop();
    watcher.disconnect();
    const other = two.connect();
    other.subscribe('w');
    cluster.autoFinish = false;
    one.broker.evacuate({ waitHealthCheckMs: 0, waitTakeoverMs: 0 });
    clock.advance(200);
    cluster.quorum = false;
    cluster.run(cluster.finishes);
    cluster.quorum = true;
    assert.notEqual(one.broker.client('c'), undefined);
    if (taken) {
      clock.advance(3_000);
      cluster.run(cluster.finishes);
      assert.equal(one.broker.client('c'), undefined);
    } else one.broker.stopEvacuation();
    clock.advance(40_000);
    assert.deepEqual(other.seen(), []);
    clock.advance(12_000);
    assert.deepEqual(other.seen(), ['w=gone']);
  }
});

test('a client that is back while an adoption fails has its will off', () => {
  const refused: ((taken: boolean) => void)[] = [];
  const { clock, cluster, one, two } = pair((_take, _adopted, done) => void refused.push(done));
  const watcher = two.connect();
  watcher.subscribe('w');
  const will = { topicName: 'w', payload: utf8Encode('gone'), qos: 0, retain: false, properties: { willDelayInterval: 50 } } as const;
  one.connect(lasting('c', { will })).drop();
  one.broker.evacuate({ waitHealthCheckMs: 0, waitTakeoverMs: 0 });
  clock.advance(200);
  assert.equal(refused.length, 1);
  cluster.autoFinish = false;
  const back = two.connect(lasting('c'));
  for (const done of refused) done(false);
  cluster.run(cluster.finishes);
  clock.advance(100);
  assert.equal(back.connack?.sessionPresent, true);
  assert.equal(one.broker.stats().sessions, 0);
  clock.advance(60_000);
  assert.deepEqual(watcher.seen(), []);
});

test('a client that comes while its session is being adopted gets it', () => {
  const { clock, one, two } = pair();
  const cluster = one.connect(lasting('c'));
  cluster.subscribe('t');
  cluster.drop();
  one.connect().publish('t', 'x', { qos: 1 });
  one.broker.evacuate({ waitHealthCheckMs: 0, waitTakeoverMs: 0 });
  clock.advance(0);
  const back = two.connect(lasting('c'));
  clock.advance(100);
  assert.equal(back.connack?.sessionPresent, true);
  assert.deepEqual(back.seen(), ['t=x q1']);
  clock.advance(10_000);
  assert.equal(two.broker.client('c')?.connected, true);
  assert.equal(one.broker.stats().sessions, 0);
});
