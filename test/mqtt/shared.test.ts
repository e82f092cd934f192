// Shared subscriptions: on one node, and on two brokers joined by doubles that can be held up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Access, openAccess } from '#broker/access.js';
import type { BrokerOptions } from '#broker/options.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { FakeCluster } from './fake-cluster.js';
import { type BenchClient, MqttBench } from './mqtt-bench.js';

const lasting = { cleanStart: false, properties: { sessionExpiryInterval: 100 } };

function pair(options: Partial<BrokerOptions> = {}): { cluster: FakeCluster; a: MqttBench; b: MqttBench } {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const bench = (): MqttBench => new MqttBench({ clock, ports: cluster.ports(), broker: options });
  return { cluster, a: bench(), b: bench() };
}

function publishMany(publisher: BenchClient, topicName: string, n: number, qos: 0 | 1 | 2 = 0): void {
  for (let i = 1; i <= n; i++) publisher.publish(topicName, `${i}`, { qos });
}

/** What came to whom: every message once, in whichever place. */
function onceEach(members: readonly BenchClient[], topicName: string, n: number): number[] {
  const got = members.map((m) => m.seen().filter((s) => s.startsWith(`${topicName}=`)));
  const texts = got.flat().map((s) => s.split(/[= ]/)[1]);
  assert.deepEqual(
    texts.sort((x, y) => Number(x) - Number(y)),
    Array.from({ length: n }, (_, i) => `${i + 1}`),
  );
  return got.map((g) => g.length);
}

test('one member of each group gets a message, ordinary subscribers get it beside them', () => {
  const bench = new MqttBench();
  const [one, two, other, plain] = [bench.connect(), bench.connect(), bench.connect(), bench.connect()];
  assert.deepEqual(one.subscribe('$share/g/a/+'), [2]); // [MQTT-4.8.2-3]
  two.subscribe({ topicFilter: '$share/g/a/+', qos: 1 });
  other.subscribe('$share/h/a/#');
  plain.subscribe('a/b');
  const publisher = bench.connect();
  publishMany(publisher, 'a/b', 6, 2);
  const seen = [one, two, other, plain].map((c) => c.seen());
  assert.deepEqual(
    seen.map((s) => s.length),
    [3, 3, 6, 6],
  );
  assert.deepEqual(seen[1]?.[0], 'a/b=2 q1');
  assert.equal(publisher.seen().join(), Array(6).fill('pubrec').join());
  // A client's own subscription and its place in a group are two subscriptions.
  plain.subscribe('$share/g/a/+');
  publishMany(publisher, 'a/b', 3);
  assert.deepEqual(
    [one, two, plain].map((c) => c.seen().length),
    [1, 1, 4],
  );
  assert.equal(bench.broker.stats().subscriptions, 5);
});

test('a publisher that stays at one topic: whoever comes and goes meanwhile counts from the next message on', () => {
  const bench = new MqttBench();
  const publisher = bench.connect();
  const [member, plain, other] = [bench.connect(), bench.connect(), bench.connect()];
  const publish = (): number[] => {
    publishMany(publisher, 'a/b', 2);
    return [member, plain, other].map((c) => c.seen().length);
  };
  const leave = (client: BenchClient, topicFilter: string): void => {
    client.send({ type: 'unsubscribe', packetId: 9, topicFilters: [topicFilter] });
    assert.deepEqual(client.seen(), ['unsuback']);
  };
  member.subscribe('$share/g/a/+');
  assert.deepEqual(publish(), [2, 0, 0]);
  plain.subscribe('a/#');
  assert.deepEqual(publish(), [2, 2, 0]);
  other.subscribe('$share/h/#');
  assert.deepEqual(publish(), [2, 2, 2]);
  leave(plain, 'a/#');
  assert.deepEqual(publish(), [2, 0, 2]);
  leave(other, '$share/h/#');
  assert.deepEqual(publish(), [2, 0, 0]);
  other.subscribe('$share/g/a/+');
  assert.deepEqual(publish(), [1, 0, 1]);
  leave(member, '$share/g/a/+');
  assert.deepEqual(publish(), [0, 0, 2]);
  leave(other, '$share/g/a/+');
  assert.deepEqual(publish(), [0, 0, 0]);
  member.subscribe('$share/g/a/+');
  assert.deepEqual(publish(), [2, 0, 0]);
});

test('$queue is a group, no-local and names of no group are refused', () => {
  const bench = new MqttBench();
  const [one, two] = [bench.connect(), bench.connect()];
  one.subscribe('$queue/t');
  two.subscribe('$share/$queue/t');
  publishMany(bench.connect(), 't', 4);
  assert.deepEqual(onceEach([one, two], 't', 4), [2, 2]);
  for (const topicFilter of ['$share/g', '$share//t', '$share/+/t', '$share/g/']) {
    const rude = bench.connect();
    rude.subscribe(topicFilter); // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    assert.deepEqual(rude.seen(), ['disconnect 0x8f']);
  }
  assert.deepEqual(one.subscribe('$share/g/$share/h/t'), [0x8f]);
  for (const topicFilter of ['$share/g/t', '$queue/t']) {
    const rude = bench.connect();
    rude.subscribe({ topicFilter, noLocal: true }); // [MQTT-3.8.3-4]
    assert.deepEqual(rude.seen(), ['disconnect 0x82']);
  }
  const off = new MqttBench({ limits: { sharedSubscription: false } });
  const client = off.connect();
  assert.equal(client.connack?.properties?.sharedSubscriptionAvailable, false);
  assert.deepEqual(client.subscribe('$share/g/t'), [0x9e]);
  assert.equal(one.connack?.properties?.sharedSubscriptionAvailable, undefined);
});

test('retained messages do not go to shared subscriptions', () => {
  const bench = new MqttBench();
  bench.connect().publish('t', 'kept', { retain: true });
  const member = bench.connect();
  member.subscribe('$share/g/t');
  assert.deepEqual(member.seen(), []);
  member.subscribe('t');
  assert.deepEqual(member.seen(), ['t=kept retain']);
});

test('UNSUBSCRIBE takes the member out, the rest get all', () => {
  const bench = new MqttBench();
  const [one, two] = [bench.connect(), bench.connect()];
  one.subscribe('$share/g/t');
  two.subscribe('$share/g/t');
  two.send({ type: 'unsubscribe', packetId: 9, topicFilters: ['$share/h/t', '$share/g/t', 't'] });
  assert.deepEqual(two.take(), [{ type: 'unsuback', packetId: 9, reasonCodes: [0x11, 0, 0x11], properties: undefined }]);
  const publisher = bench.connect();
  publishMany(publisher, 't', 3);
  assert.deepEqual(onceEach([one, two], 't', 3), [3, 0]);
  one.disconnect();
  publisher.publish('t', 'nobody', { qos: 1 });
  assert.deepEqual(publisher.seen(), ['puback 0x10']);
  assert.equal(bench.broker.stats().filters, 0);
});

test('access control is asked about what is matched', () => {
  const asked: string[] = [];
  const access: Access = {
    ...openAccess,
    maySubscribe: (_client, topicFilter) => {
      asked.push(topicFilter);
      return topicFilter !== 'secret/#';
    },
  };
  const client = new MqttBench({ access }).connect();
  assert.deepEqual(
    [...client.subscribe('$share/g/secret/#'), ...client.subscribe('$queue/secret/#'), ...client.subscribe('$share/g/open')],
    [0x87, 0x87, 2],
  );
  assert.deepEqual(asked, ['secret/#', 'secret/#', 'open']);
});

test('the session ends: unacknowledged QoS 1 and what waits goes to others, sent QoS 2 to nobody', () => {
  const bench = new MqttBench();
  const publisher = bench.connect();
  const first = bench.connect({ properties: { receiveMaximum: 2 } });
  first.subscribe('$share/g/t');
  publisher.publish('t', 'one', { qos: 1 });
  publisher.publish('t', 'two', { qos: 2 });
  publisher.publish('t', 'waits', { qos: 2 });
  assert.deepEqual(first.seen(), ['t=one q1', 't=two q2']);
  assert.deepEqual(publisher.seen(), ['puback', 'pubrec', 'pubrec']);
  const second = bench.connect();
  second.subscribe('$share/g/t');
  assert.deepEqual(second.seen(), []);
  first.drop();
  bench.settle();
  assert.deepEqual(second.seen(), ['t=one q1', 't=waits q2']); // [MQTT-4.8.2-5]
  second.drop();
  bench.settle();
  assert.equal(bench.metrics.read('starmesh_shared_redispatched_total'), 3);
});

test('a member that refuses a message has had it', () => {
  const bench = new MqttBench();
  const [one, two] = [bench.connect(), bench.connect()];
  one.subscribe('$share/g/t');
  two.subscribe('$share/g/t');
  const publisher = bench.connect();
  publisher.publish('t', 'x', { qos: 1 });
  const [packet] = one.take();
  assert.ok(packet?.type === 'publish');
  one.send({ type: 'puback', packetId: packet.packetId, reasonCode: 0x80 }); // [MQTT-4.8.2-6]
  one.drop();
  bench.settle();
  assert.deepEqual(two.seen(), []);
});

test('a member that comes back completes what it was sent, though others were there', () => {
  const bench = new MqttBench();
  const first = bench.connect({ clientId: 'first', ...lasting });
  first.subscribe('$share/g/t');
  bench.connect().publish('t', 'x', { qos: 2 });
  assert.deepEqual(first.seen(), ['t=x q2']);
  const other = bench.connect();
  other.subscribe('$share/g/t');
  first.drop();
  assert.deepEqual(other.seen(), []);
  assert.deepEqual(bench.connect({ clientId: 'first', ...lasting }).seen(), ['t=x q2 dup']); // [MQTT-4.8.2-4]
});

test('members who are away come after all who are there, and keep what they have got', () => {
  const { cluster, a, b } = pair();
  const sleeper = a.connect({ clientId: 'sleeper', ...lasting });
  sleeper.subscribe('$share/g/t');
  const publisher = a.connect();
  publisher.publish('t', 'held', { qos: 1 });
  assert.deepEqual(sleeper.seen(), ['t=held q1']);
  sleeper.drop();
  // On the other node somebody is there.
  const awake = b.connect();
  awake.subscribe('$share/g/t');
  publishMany(publisher, 't', 3, 1);
  awake.acknowledge();
  assert.deepEqual(onceEach([awake], 't', 3), [3]);
  awake.disconnect();
  publisher.publish('t', 'queued', { qos: 1 });
  assert.deepEqual(publisher.seen(), Array(5).fill('puback'));
  const back = a.connect({ clientId: 'sleeper', ...lasting });
  assert.deepEqual(back.seen(), ['t=held q1 dup', 't=queued q1']);
  assert.equal(cluster.nodes[1]?.filters.size, 0);
});

for (const sharedStrategy of ['round_robin', 'random', 'hash_topic', 'hash_clientid', 'sticky', 'local', 'round_robin_per_group'] as const) {
  test(`members on two nodes: each message once, with ${sharedStrategy}`, () => {
    const { a, b } = pair({ sharedStrategy });
    const members = [a.connect(), b.connect(), b.connect()];
    for (const m of members) m.subscribe('$share/g/t');
    const [here, there] = [a.connect(), b.connect()];
    publishMany(here, 't', 9, 1);
    const counts = onceEach(members, 't', 9);
    if (sharedStrategy.startsWith('round_robin')) assert.deepEqual(counts, [3, 3, 3]);
    else if (sharedStrategy !== 'random') assert.equal(Math.max(...counts), 9);
    if (sharedStrategy === 'local') assert.equal(counts[0], 9);
    assert.deepEqual(here.seen(), Array(9).fill('puback'));
    publishMany(there, 't', 6, 0);
    onceEach(members, 't', 6);
  });
}

test('PUBACK waits for the node that was picked; a node without a member refuses, and another is picked', () => {
  const { cluster, a, b } = pair();
  const gone = b.connect();
  gone.subscribe('$share/g/t');
  cluster.autoForward = false;
  const publisher = a.connect();
  publisher.publish('t', '1', { qos: 1 });
  assert.deepEqual(publisher.seen(), []);
  const late = a.connect();
  late.subscribe('$share/g/t');
  gone.disconnect();
  cluster.run(cluster.frames);
  a.settle();
  assert.deepEqual(late.seen(), ['t=1 q1']);
  assert.deepEqual(publisher.seen(), ['puback']);
  assert.equal(a.metrics.read('starmesh_shared_repicked_total'), 1);
  // Nobody is left.
  const again = b.connect();
  again.subscribe('$share/h/u');
  publisher.publish('u', '2', { qos: 2 });
  again.disconnect();
  cluster.run(cluster.frames);
  a.settle();
  assert.deepEqual(publisher.seen(), ['pubrec 0x10']);
});

test('a node that is lost: its message goes to a member of another', () => {
  const { cluster, a, b } = pair();
  b.connect().subscribe('$share/g/t');
  cluster.autoForward = false;
  const publisher = a.connect();
  publisher.publish('t', '1', { qos: 1 });
  const member = a.connect();
  member.subscribe('$share/g/t');
  // As long as the forwarder waits for a node that does not answer.
  a.clock.advance(5_250);
  cluster.loseFrames();
  a.settle();
  assert.deepEqual(member.seen(), ['t=1 q1']);
  assert.deepEqual(publisher.seen(), ['puback']);
});

test('a session moves with its place in a group; what it had is not given to others', () => {
  const { cluster, a, b } = pair();
  const old = a.connect({ clientId: 's', ...lasting });
  old.subscribe('$share/g/t', 7);
  const publisher = a.connect();
  publisher.publish('t', 'inflight', { qos: 1 });
  const other = a.connect({ clientId: 'o', ...lasting });
  other.subscribe('$share/g/t');
  other.drop();
  old.take();
  cluster.autoFinish = false;
  const moved = b.connect({ clientId: 's', ...lasting });
  assert.deepEqual(moved.take(), []);
  // Both members of the group are away, one of them twice.
  publishMany(publisher, 't', 6, 1);
  cluster.run(cluster.finishes);
  b.settle();
  publishMany(publisher, 't', 2, 1);
  const got = moved.seen();
  assert.equal(got[0], 't=inflight q1 dup');
  assert.equal(a.broker.client('s'), undefined);
  other.bench.settle();
  const back = a.connect({ clientId: 'o', ...lasting });
  const rest = back.seen();
  const texts = [...got.slice(1, -2), ...rest].map((s) => s.split(/[= ]/)[1]);
  assert.deepEqual(texts.sort(), ['1', '2', '3', '4', '5', '6']);
  assert.deepEqual(got.slice(-2), ['t=1 q1', 't=2 q1']);
});
