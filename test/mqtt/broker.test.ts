// What one broker does, seen from its clients: deterministic, on memory connections.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { ProtocolVersion, Will } from '#mqtt/packet.js';
import { MqttBench } from './mqtt-bench.js';

const lasting = (seconds = 100): { sessionExpiryInterval: number } => ({ sessionExpiryInterval: seconds });

function will(more: Partial<Will> = {}): Will {
  return { topicName: 'w', payload: utf8Encode('gone'), qos: 1, retain: false, ...more };
}

test('every QoS to every QoS, across versions', () => {
  const bench = new MqttBench();
  const versions: ProtocolVersion[] = [3, 4, 5];
  for (const from of versions) {
    for (const to of versions) {
      const publisher = bench.connect({ protocolVersion: from });
      for (const granted of [0, 1, 2] as const) {
        const subscriber = bench.connect({ protocolVersion: to });
        assert.deepEqual(subscriber.subscribe({ topicFilter: 't', qos: granted }), [granted]);
        for (const qos of [0, 1, 2] as const) publisher.publish('t', `m${qos}`, { qos });
        subscriber.acknowledge();
        const got = subscriber.seen().filter((s) => s.startsWith('t='));
        const q = (n: number): string => (Math.min(n, granted) > 0 ? ` q${Math.min(n, granted)}` : '');
        assert.deepEqual(got, ['t=m0', `t=m1${q(1)}`, `t=m2${q(2)}`], `${from} -> ${to} at ${granted}`);
        subscriber.disconnect();
      }
    }
  }
});

test('PUBACK and PUBREC say when nobody listens', () => {
  const bench = new MqttBench();
  const five = bench.connect();
  five.publish('nobody', 'x', { qos: 1 });
  five.publish('nobody', 'x', { qos: 2 });
  assert.deepEqual(five.seen(), ['puback 0x10', 'pubrec 0x10']);
  const four = bench.connect({ protocolVersion: 4 });
  four.publish('nobody', 'x', { qos: 1 });
  assert.deepEqual(four.seen(), ['puback']);
  assert.equal(bench.metrics.read('emqx_messages_dropped_no_subscribers'), 3);
});

test('overlapping subscriptions give one copy with the highest QoS and all identifiers', () => {
  const bench = new MqttBench();
  const subscriber = bench.connect();
  subscriber.subscribe({ topicFilter: 'a/+', qos: 0 }, 1);
  subscriber.subscribe({ topicFilter: 'a/b', qos: 2 }, 2);
  subscriber.subscribe({ topicFilter: 'a/#', qos: 1, noLocal: true }, 3);
  bench.connect().publish('a/b', 'x', { qos: 2 });
  const [packet] = subscriber.take();
  assert.ok(packet?.type === 'publish');
  assert.equal(packet.qos, 2); // [MQTT-3.3.4-2]
  assert.deepEqual([...(packet.properties?.subscriptionIdentifiers ?? [])].sort(), [1, 2, 3]); // [MQTT-3.3.4-4]
  // Of its own, only the subscriptions without no-local count. [MQTT-3.8.3-3]
  subscriber.publish('a/c', 'own');
  const [own] = subscriber.take();
  assert.deepEqual(own?.type === 'publish' ? own.properties?.subscriptionIdentifiers : undefined, [1]);
});

test('a repeated SUBSCRIBE replaces, UNSUBSCRIBE ends', () => {
  const bench = new MqttBench();
  const client = bench.connect();
  const publisher = bench.connect();
  client.subscribe({ topicFilter: 'a/#', qos: 2 }, 1);
  client.subscribe({ topicFilter: 'a/#', qos: 0 }, 9); // [MQTT-3.8.4-3]
  publisher.publish('a/x', '1', { qos: 2 });
  const [packet] = client.take();
  assert.deepEqual(packet?.type === 'publish' ? [packet.qos, packet.properties?.subscriptionIdentifiers] : [], [0, [9]]);
  assert.equal(bench.broker.stats().subscriptions, 1);
  client.send({ type: 'unsubscribe', packetId: 7, topicFilters: ['a/#', 'A/#'] });
  assert.deepEqual(client.take(), [{ type: 'unsuback', packetId: 7, reasonCodes: [0, 0x11], properties: undefined }]);
  publisher.publish('a/x', '2', { qos: 2 });
  assert.deepEqual(client.take(), []);
  assert.equal(bench.broker.stats().filters, 0);
});

test('wildcards, and names that begin with $', () => {
  const bench = new MqttBench();
  const client = bench.connect();
  const publisher = bench.connect();
  for (const filter of ['#', '+/x', '$SYS/#', '/+', 'a/+/c/#']) client.subscribe({ topicFilter: filter, qos: 0 });
  const cases: [string, number][] = [
    ['$SYS/x', 1], // [MQTT-4.7.2-1]
    ['$other/x', 0],
    ['/x', 1],
    ['a/b/c', 1],
    ['anything', 1],
  ];
  for (const [topicName, copies] of cases) {
    publisher.publish(topicName, 'm');
    assert.equal(client.take().length, copies, topicName);
  }
});

test('properties travel unchanged, and only to those who can have them', () => {
  const bench = new MqttBench();
  const five = bench.connect();
  const four = bench.connect({ protocolVersion: 4 });
  five.subscribe('p');
  four.subscribe('p');
  const properties = {
    payloadFormatIndicator: 1 as const,
    contentType: 'text/plain',
    responseTopic: 'r',
    correlationData: utf8Encode('id'),
    userProperties: [
      ['a', '1'],
      ['b', '2'],
      ['a', '3'],
    ] as [string, string][],
  };
  bench.connect().publish('p', 'x', { qos: 1, properties });
  const [packet] = five.take();
  assert.ok(packet?.type === 'publish' && packet.properties !== undefined);
  assert.deepEqual(
    { ...packet.properties, correlationData: [...(packet.properties.correlationData ?? [])] },
    { ...properties, correlationData: [...utf8Encode('id')] },
  );
  assert.deepEqual(four.seen(), ['p=x q1']);
});

test('retained: stored, replaced, deleted, given to new subscriptions as asked', () => {
  const bench = new MqttBench();
  const publisher = bench.connect();
  publisher.publish('r/1', 'old', { retain: true, qos: 1 });
  publisher.publish('r/1', 'new', { retain: true, qos: 1 }); // [MQTT-3.3.1-5]
  publisher.publish('r/2', 'two', { retain: true });
  publisher.publish('r/3', 'three', { retain: true });
  publisher.publish('r/3', '', { retain: true }); // [MQTT-3.3.1-6]
  assert.equal(bench.broker.stats().retained, 2);
  const first = bench.connect();
  assert.deepEqual(first.subscribe({ topicFilter: 'r/#', qos: 0, retainHandling: 0 }), [0]);
  assert.deepEqual(first.seen(), ['r/1=new retain', 'r/2=two retain']); // [MQTT-3.3.1-8] of 3.1.1
  first.subscribe({ topicFilter: 'r/#', qos: 1, retainHandling: 0 });
  assert.deepEqual(first.seen(), ['r/1=new q1 retain', 'r/2=two retain']); // again [MQTT-3.3.1-9]
  first.subscribe({ topicFilter: 'r/#', qos: 1, retainHandling: 1 });
  assert.deepEqual(first.seen(), []); // it existed [MQTT-3.3.1-10]
  const second = bench.connect();
  second.subscribe({ topicFilter: 'r/1', retainHandling: 2 });
  assert.deepEqual(second.seen(), []); // [MQTT-3.3.1-11]
  second.subscribe({ topicFilter: 'r/2', retainHandling: 1 });
  assert.deepEqual(second.seen(), ['r/2=two retain']);
  // To those who are subscribed already the flag goes as they asked.
  const asPublished = bench.connect();
  asPublished.subscribe({ topicFilter: 'r/1', retainAsPublished: true, retainHandling: 2 });
  publisher.publish('r/1', 'live', { retain: true });
  assert.deepEqual(second.seen(), ['r/1=live']); // [MQTT-3.3.1-12]
  assert.deepEqual(asPublished.seen(), ['r/1=live retain']); // [MQTT-3.3.1-13]
});

test('very many retained messages come paced, all of them, whatever the window', () => {
  const bench = new MqttBench({ limits: { maxQueuedMessages: 50, maxInflight: 10 }, broker: { retainedBatch: 7 } });
  const publisher = bench.connect();
  for (let i = 0; i < 500; i++) publisher.publish(`many/${i}`, `${i}`, { retain: true, qos: 1 });
  const subscriber = bench.connect();
  subscriber.subscribe({ topicFilter: 'many/#', qos: 1 });
  for (let i = 0; i < 200; i++) {
    subscriber.acknowledge();
    bench.clock.advance(100);
  }
  const names = new Set(subscriber.take().map((p) => (p.type === 'publish' ? p.topicName : '')));
  assert.equal(names.size, 500);
  assert.equal(bench.metrics.read('emqx_delivery_dropped'), 0);
});

test('retained messages expire', () => {
  const bench = new MqttBench();
  bench.connect().publish('e', 'x', { retain: true, properties: { messageExpiryInterval: 10 } });
  bench.clock.advance(4000);
  const early = bench.connect();
  early.subscribe('e');
  const [packet] = early.take();
  assert.equal(packet?.type === 'publish' ? packet.properties?.messageExpiryInterval : undefined, 6);
  bench.clock.advance(6000);
  const late = bench.connect();
  late.subscribe('e');
  assert.deepEqual(late.seen(), []);
});

test('a session waits for its client: messages, subscriptions, order, then expiry', () => {
  const bench = new MqttBench();
  const client = bench.connect({ clientId: 's', cleanStart: false, properties: lasting(10) });
  assert.equal(client.connack?.sessionPresent, false);
  client.subscribe({ topicFilter: 't', qos: 1 });
  client.drop();
  const publisher = bench.connect();
  for (const text of ['1', '2', '3']) publisher.publish('t', text, { qos: 1 });
  assert.deepEqual(publisher.seen(), ['puback', 'puback', 'puback']);
  bench.clock.advance(9000);
  const again = bench.connect({ clientId: 's', cleanStart: false, properties: lasting(10) });
  assert.equal(again.connack?.sessionPresent, true); // [MQTT-3.2.2-3]
  assert.deepEqual(again.seen(), ['t=1 q1', 't=2 q1', 't=3 q1']);
  again.drop();
  bench.clock.advance(11_000);
  assert.equal(bench.broker.stats().sessions, 1);
  const late = bench.connect({ clientId: 's', cleanStart: false, properties: lasting(10) });
  assert.equal(late.connack?.sessionPresent, false);
  assert.deepEqual(late.seen(), []);
});

test('0xFFFFFFFF never expires, and long intervals do not fire early', () => {
  const bench = new MqttBench({ broker: { timerTickMs: 60_000 } });
  for (const [clientId, seconds] of [
    ['forever', 0xffffffff],
    ['long', 0xfffffffe],
    ['month', 2_678_400],
  ] as const) {
    bench.connect({ clientId, cleanStart: false, properties: lasting(seconds) }).drop();
  }
  bench.clock.advance(2_678_000_000);
  assert.equal(bench.broker.stats().sessions, 3);
  bench.clock.advance(2_000_000);
  assert.equal(bench.broker.stats().sessions, 2);
  bench.clock.advance(2 ** 40);
  assert.deepEqual(
    [...bench.broker.clients()].map((c) => c.clientId),
    ['forever', 'long'],
  );
});

test('Clean Start ends what there was; 3.1.1 without it keeps', () => {
  const bench = new MqttBench();
  const old = bench.connect({ clientId: 's', cleanStart: false, properties: lasting() });
  old.subscribe('t');
  const fresh = bench.connect({ clientId: 's', cleanStart: true, properties: lasting() }); // [MQTT-3.1.2-4]
  assert.equal(fresh.connack?.sessionPresent, false);
  assert.deepEqual(old.seen(), ['disconnect 0x8e']); // [MQTT-3.1.4-3]
  assert.ok(old.net.closed);
  assert.equal(bench.broker.stats().subscriptions, 0);
  fresh.drop();
  const four = bench.connect({ clientId: 's', protocolVersion: 4, cleanStart: false });
  assert.equal(four.connack?.sessionPresent, true);
  four.subscribe('t');
  four.disconnect();
  assert.equal(bench.connect({ clientId: 's', protocolVersion: 4, cleanStart: false }).connack?.sessionPresent, true);
  assert.equal(bench.connect({ clientId: 's', protocolVersion: 4, cleanStart: true }).connack?.sessionPresent, false);
  assert.equal(bench.broker.stats().subscriptions, 0);
});

test('a second connection takes the session over, with what was under way', () => {
  const bench = new MqttBench();
  const first = bench.connect({ clientId: 's', cleanStart: false, properties: lasting() });
  first.subscribe('t');
  bench.connect().publish('t', 'm', { qos: 2 });
  assert.deepEqual(first.seen(), ['t=m q2']);
  const second = bench.connect({ clientId: 's', cleanStart: false, properties: lasting() });
  assert.deepEqual(first.seen(), ['disconnect 0x8e']);
  assert.equal(second.connack?.sessionPresent, true);
  assert.deepEqual(second.seen(), ['t=m q2 dup']);
  assert.equal(bench.broker.stats().connections, 2);
  assert.equal(bench.metrics.read('emqx_session_takenover'), 1);
  // A session that was to end with its connection is not continued. [MQTT-3.1.2-6] of 3.1.1
  bench.connect({ clientId: 'x' }).subscribe('t');
  assert.equal(bench.connect({ clientId: 'x', cleanStart: false }).connack?.sessionPresent, false);
});

test('wills: on a broken connection, not after DISCONNECT, retained and with properties', () => {
  const bench = new MqttBench();
  const watcher = bench.connect();
  watcher.subscribe('w');
  bench.connect({ will: will() }).drop();
  assert.deepEqual(watcher.seen(), ['w=gone q1']); // [MQTT-3.1.2-8]
  bench.connect({ will: will() }).disconnect();
  assert.deepEqual(watcher.seen(), []); // [MQTT-3.14.4-3]
  bench.connect({ protocolVersion: 4, will: will() }).disconnect();
  assert.deepEqual(watcher.seen(), []);
  bench.connect({ will: will() }).disconnect(4);
  assert.deepEqual(watcher.seen(), ['w=gone q1']);
  const rude = bench.connect({ will: will({ retain: true, properties: { contentType: 'c', messageExpiryInterval: 60 } }) });
  rude.send({ type: 'auth', reasonCode: 0x18 });
  assert.deepEqual(rude.seen(), ['disconnect 0x82']);
  const [packet] = watcher.take();
  assert.deepEqual(packet?.type === 'publish' ? packet.properties : undefined, { messageExpiryInterval: 60, contentType: 'c' });
  assert.equal(bench.broker.stats().retained, 1);
});

test('a delayed will waits, is called off in time, and never outlives its session', () => {
  const bench = new MqttBench();
  const watcher = bench.connect();
  watcher.subscribe('w');
  const delayed = will({ properties: { willDelayInterval: 5 } });
  const connect = (seconds: number, cleanStart = false) => bench.connect({ clientId: 's', cleanStart, properties: lasting(seconds), will: delayed });
  connect(100).drop();
  bench.clock.advance(4000);
  assert.deepEqual(watcher.seen(), []);
  const back = connect(100); // in time [MQTT-3.1.3-9]
  bench.clock.advance(9000);
  assert.deepEqual(watcher.seen(), []);
  back.drop();
  bench.clock.advance(5200);
  assert.deepEqual(watcher.seen(), ['w=gone q1']);
  connect(2).drop();
  bench.clock.advance(2200);
  assert.deepEqual(watcher.seen(), ['w=gone q1']); // the session ended first
  // Taken over: a will without delay is published, a delayed one is not, unless the session is over.
  connect(100);
  connect(100);
  assert.deepEqual(watcher.seen(), []);
  connect(100, true);
  assert.deepEqual(watcher.seen(), ['w=gone q1']);
  bench.connect({ clientId: 'now', cleanStart: false, properties: lasting(), will: will() });
  bench.connect({ clientId: 'now', cleanStart: false, properties: lasting() });
  assert.deepEqual(watcher.seen(), ['w=gone q1']);
});

test('silence beyond 1.5 times Keep Alive ends a connection, packets keep it', () => {
  const bench = new MqttBench();
  const watcher = bench.connect();
  watcher.subscribe('w');
  const client = bench.connect({ keepAlive: 10, will: will() });
  for (let i = 0; i < 5; i++) {
    bench.clock.advance(10_000);
    client.send({ type: 'pingreq' });
  }
  assert.deepEqual(client.seen(), Array(5).fill('pingresp')); // [MQTT-3.12.4-1]
  bench.clock.advance(14_900);
  assert.deepEqual(client.seen(), []);
  bench.clock.advance(1500);
  assert.deepEqual(client.seen(), ['disconnect 0x8d']); // [MQTT-3.1.2-22]
  assert.ok(client.net.closed);
  assert.deepEqual(watcher.seen(), ['w=gone q1']);
  const off = bench.connect({ keepAlive: 0 });
  bench.clock.advance(100_000_000);
  assert.ok(!off.net.closed);
});

test('who does not send CONNECT is cut off, even if bytes trickle in', () => {
  const bench = new MqttBench();
  const silent = bench.open();
  const slow = bench.open();
  for (const byte of [0x10, 0x7f, 0]) {
    slow.bytes(Uint8Array.of(byte));
    bench.clock.advance(4900);
    assert.ok(!slow.net.closed);
  }
  bench.clock.advance(600);
  assert.ok(slow.net.closed && silent.net.closed);
  assert.equal(bench.metrics.read('starmesh_idle_timeouts'), 2);
});

test('an empty client id is given one', () => {
  const bench = new MqttBench();
  const client = bench.connect({ clientId: '' });
  const assigned = client.connack?.properties?.assignedClientIdentifier;
  assert.match(assigned ?? '', /^sm-[0-9a-f]{24}$/); // [MQTT-3.1.3-6] [MQTT-3.2.2-16]
  assert.ok(bench.broker.client(assigned ?? '')?.connected);
  assert.equal(bench.connect({ clientId: '', protocolVersion: 4 }).connack?.reasonCode, 0);
  assert.equal(bench.connect({ clientId: '', protocolVersion: 4, cleanStart: false }).connack?.reasonCode, 2);
});

test('access: authentication, publish, subscribe, wills', () => {
  const bench = new MqttBench({
    access: {
      authenticate: (request, answer) => answer(request.username === 'bad' ? 0x86 : 0),
      mayPublish: (_client, topicName) => topicName !== 'secret',
      maySubscribe: (_client, topicFilter) => topicFilter !== 'secret',
    },
  });
  const refused = bench.connect({ username: 'bad' });
  assert.equal(refused.connack?.reasonCode, 0x86); // [MQTT-3.1.4-2]
  assert.ok(refused.net.closed);
  assert.equal(bench.connect({ username: 'bad', protocolVersion: 4 }).connack?.reasonCode, 4);
  assert.equal(bench.connect({ will: will({ topicName: 'secret' }) }).connack?.reasonCode, 0x87);
  const client = bench.connect({ username: 'good' });
  assert.deepEqual(client.subscribe('secret'), [0x87]);
  client.publish('secret', 'x');
  client.publish('secret', 'x', { qos: 1 });
  client.publish('secret', 'x', { qos: 2 });
  assert.deepEqual(client.seen(), ['puback 0x87', 'pubrec 0x87']);
});

test('a client that does not read: bounded, QoS 0 dropped, the rest queued, others not delayed', () => {
  const bench = new MqttBench({ listener: { outputBytesMax: 100_000 }, limits: { maxQueuedMessages: 10, maxInflight: 1000 } });
  const slow = bench.connect();
  slow.subscribe('t');
  const good = bench.connect();
  good.subscribe('t');
  slow.net.taking = false;
  const publisher = bench.connect();
  const text = 'x'.repeat(1000);
  for (let i = 0; i < 500; i++) publisher.publish('t', text, { qos: i % 2 === 0 ? 0 : 1 });
  assert.ok(slow.net.bufferedBytes < 110_000, `${slow.net.bufferedBytes} bytes wait`);
  assert.ok(bench.metrics.read('emqx_delivery_dropped_qos0_msg') > 100);
  assert.ok(bench.metrics.read('emqx_delivery_dropped_queue_full') > 100);
  assert.equal(good.take().length, 500);
  assert.equal(slow.net.reading, false);
  slow.net.drain();
  bench.settle();
  assert.equal(slow.net.reading, true);
  const q1 = slow.take().filter((p) => p.type === 'publish' && p.qos === 1);
  assert.ok(q1.length > 40);
});

test('a client that takes nothing for too long is cut off', () => {
  const bench = new MqttBench();
  const slow = bench.connect({ clientId: 'slow' });
  slow.subscribe('t');
  slow.net.taking = false;
  const publisher = bench.connect();
  for (let i = 0; i < 100; i++) publisher.publish('t', 'x'.repeat(1000));
  bench.clock.advance(14_000);
  assert.ok(!slow.net.closed);
  bench.clock.advance(3000);
  assert.ok(slow.net.closed);
  assert.equal(bench.metrics.read('starmesh_send_timeouts'), 1);
  assert.equal(bench.broker.client('slow'), undefined);
});

test('the output of a turn is one write per client', () => {
  const bench = new MqttBench();
  const subscriber = bench.connect();
  subscriber.subscribe({ topicFilter: 't', qos: 1 });
  const publishers = [bench.connect(), bench.connect()];
  const before = subscriber.net.writes;
  for (let i = 0; i < 10; i++) {
    for (const p of publishers)
      p.push({ type: 'publish', topicName: 't', payload: utf8Encode('x'), qos: (i % 2) as 0 | 1, retain: false, dup: false, packetId: i + 1 });
  }
  bench.settle();
  assert.equal(subscriber.net.writes, before + 1);
  assert.equal(subscriber.take().length, 20);
});

test('too many connections on a listener', () => {
  const bench = new MqttBench({ listener: { maxConnections: 1 } });
  const first = bench.connect();
  assert.ok(bench.connect().net.closed);
  first.disconnect();
  assert.equal(bench.connect().connack?.reasonCode, 0);
});

test('kick, and stopping', () => {
  const bench = new MqttBench();
  const client = bench.connect({ clientId: 'k', cleanStart: false, properties: lasting() });
  let found: boolean | undefined;
  bench.broker.kick('k', (f) => {
    found = f;
  });
  bench.settle();
  assert.equal(found, true);
  assert.deepEqual(client.seen(), ['disconnect 0x98']);
  assert.equal(bench.broker.stats().sessions, 0);
  const last = bench.connect();
  bench.broker.stop();
  bench.settle();
  assert.deepEqual(last.seen(), ['disconnect 0x8b']);
  assert.equal(bench.connect().connack?.reasonCode, 0x88);
});
