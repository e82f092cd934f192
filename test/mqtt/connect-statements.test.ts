// Statements about CONNECT, CONNACK, DISCONNECT, AUTH, sessions and wills, each named where it is looked at.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { Access } from '#broker/access.js';
import { LocalRegistry, localPorts } from '#broker/local-ports.js';
import type { Packet, Properties, ProtocolVersion } from '#mqtt/packet.js';
import { FakeCluster } from './fake-cluster.js';
import { type BenchClient, MqttBench } from './mqtt-bench.js';

const lasting = { sessionExpiryInterval: 100 };

function connacks(client: BenchClient): Packet[] {
  return [...(client.connack === undefined ? [] : [client.connack]), ...client.received.filter((p) => p.type === 'connack')];
}

test('CONNACK is the first packet and the only one of its kind', () => {
  const order: string[] = [];
  let decide: (code: number) => void = () => {};
  const access: Access = {
    authenticate: (_r, answer) => {
      decide = answer;
    },
    mayPublish: () => true,
    maySubscribe: () => true,
  };
  const bench = new MqttBench({ access });
  for (const version of [3, 4, 5] as const) {
    const client = bench.open(version);
    const onBytes = client.net.onBytes;
    client.net.onBytes = (bytes) => {
      order.push(`${version}:${(bytes[0] as number) >> 4}`);
      onBytes(bytes);
    };
    client.push({ type: 'connect', protocolVersion: version, clientId: `c${version}`, cleanStart: true, keepAlive: 0 });
    client.push({ type: 'pingreq' });
    client.publish('t', 'x', { qos: 1 });
    assert.deepEqual(order.splice(0), [], 'nothing before the decision'); // [MQTT-3.2.0-1]
    decide(0);
    bench.settle();
    assert.equal(order.splice(0)[0], `${version}:2`);
    assert.equal(client.connack?.reasonCode, 0); // [MQTT-3.1.4-5]
    client.send({ type: 'pingreq' });
    assert.equal(connacks(client).length, 1); // [MQTT-3.2.0-2]
    order.length = 0;
  }
});

test('a refused CONNECT closes, and nothing behind it is looked at', () => {
  for (const version of [3, 4, 5] as const) {
    const access: Access = { authenticate: (_r, answer) => answer(0x87), mayPublish: () => true, maySubscribe: () => true };
    const bench = new MqttBench({ access });
    const client = bench.open(version);
    client.push({ type: 'connect', protocolVersion: version, clientId: 'c', cleanStart: true, keepAlive: 0 });
    client.push({
      type: 'subscribe',
      packetId: 1,
      subscriptions: [{ topicFilter: 't', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
    });
    client.push({ type: 'publish', topicName: 't', payload: utf8Encode('x'), qos: 0, retain: true, dup: false, packetId: 0 });
    bench.settle();
    assert.equal(client.connack?.reasonCode, version === 5 ? 0x87 : 5);
    assert.equal(client.connack.sessionPresent, false);
    assert.ok(client.net.closed); // [MQTT-3.2.2-7]
    assert.deepEqual(client.seen(), []); // [MQTT-3.14.0-1]
    assert.deepEqual([bench.broker.stats().subscriptions, bench.broker.stats().retained], [0, 0]); // [MQTT-3.1.4-6]
  }
});

test('Client Identifiers: allowed, refused, assigned, and what they identify', () => {
  const bench = new MqttBench({ limits: { maxClientIdLength: 23 } });
  const letters = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
  for (const version of [3, 4, 5] as const) {
    // [MQTT-3.1.3-5]
    for (const clientId of [...letters, letters.slice(0, 23), letters.slice(-23)]) {
      assert.equal(bench.connect({ protocolVersion: version, clientId }).connack?.reasonCode, 0);
    }
    const long = bench.connect({ protocolVersion: version, clientId: 'x'.repeat(24) });
    assert.equal(long.connack?.reasonCode, version === 5 ? 0x85 : 2);
    assert.ok(long.net.closed); // [MQTT-3.1.3-8]
  }
  // [MQTT-3.1.3-7] of 3.1.1 [MQTT-3.1.3-8] of 3.1.1
  const unclean = bench.connect({ protocolVersion: 4, clientId: '', cleanStart: false });
  assert.equal(unclean.connack?.reasonCode, 2);
  assert.ok(unclean.net.closed);
  const [one, two] = [bench.connect({ clientId: '', properties: lasting }), bench.connect({ clientId: '' })];
  const assigned = one.connack?.properties?.assignedClientIdentifier ?? '';
  assert.ok(assigned !== '' && assigned !== two.connack?.properties?.assignedClientIdentifier); // [MQTT-3.1.3-7] [MQTT-3.2.2-16]
  one.drop();
  // The same session under its name, none under another. [MQTT-3.1.3-2]
  assert.equal(bench.connect({ clientId: `${assigned}x`, cleanStart: false }).connack?.reasonCode, 0x85);
  assert.equal(bench.connect({ clientId: assigned.slice(0, 22), cleanStart: false }).connack?.sessionPresent, false);
});

test('Clean Start and Session Present', () => {
  const bench = new MqttBench();
  const present = (cleanStart: boolean, version: ProtocolVersion = 5): boolean | undefined => {
    const client = bench.connect({ protocolVersion: version, clientId: 's', cleanStart, properties: version === 5 ? lasting : undefined });
    assert.equal(client.connack?.reasonCode, 0);
    client.drop();
    return client.connack.sessionPresent;
  };
  assert.equal(present(false), false); // there was none: it is made [MQTT-3.1.2-6]
  assert.equal(present(false), true); // and continued [MQTT-3.1.2-5] [MQTT-3.2.2-3]
  assert.equal(present(true), false); // [MQTT-3.1.4-4] [MQTT-3.2.2-2]
  assert.equal(present(false, 4), true);
  assert.equal(present(true, 4), false); // and leaves none [MQTT-3.1.2-6] of 3.1.1
  assert.equal(present(false, 4), false);
});

test('a session lives as long as its connection, and then as long as it was asked to', () => {
  const bench = new MqttBench();
  const client = bench.connect({ clientId: 's', properties: { sessionExpiryInterval: 10 } });
  client.subscribe({ topicFilter: 't', qos: 1 });
  bench.clock.advance(3_600_000);
  bench.connect().publish('t', '1', { qos: 1 });
  assert.deepEqual(client.seen(), ['t=1 q1']); // [MQTT-4.1.0-1]
  client.drop();
  bench.clock.advance(9_000);
  bench.connect().publish('t', '2', { qos: 1 });
  const again = bench.connect({ clientId: 's', cleanStart: false, properties: { sessionExpiryInterval: 10 } });
  assert.deepEqual(again.seen(), ['t=1 q1 dup', 't=2 q1']); // [MQTT-3.1.2-23] [MQTT-3.1.2-5] of 3.1.1
  again.drop();
  bench.clock.advance(11_000);
  assert.equal(bench.connect({ clientId: 's', cleanStart: false }).connack?.sessionPresent, false); // [MQTT-4.1.0-2]
});

test('Session Expiry Interval at DISCONNECT: longer, shorter, none; not where the session was to end', () => {
  class Told extends LocalRegistry {
    expiry: (number | undefined)[] = [];

    override disconnected(_clientId: string, _epoch: number, _will?: unknown, expiryS?: number): void {
      this.expiry.push(expiryS);
    }
  }
  const registry = new Told();
  const bench = new MqttBench({ ports: { ...localPorts(), registry } });
  const lives = (before: number | undefined, after: number): boolean | string => {
    const properties: Properties | undefined = before === undefined ? undefined : { sessionExpiryInterval: before };
    const client = bench.connect({ clientId: 's', cleanStart: true, properties });
    client.disconnect(0, { sessionExpiryInterval: after });
    const answer = client.seen().join();
    bench.clock.advance(50_000);
    const present = bench.connect({ clientId: 's', cleanStart: false }).connack?.sessionPresent === true;
    return answer === '' ? present : answer;
  };
  assert.equal(lives(10, 100), true);
  assert.equal(lives(100, 10), false);
  assert.deepEqual(registry.expiry, [100, 10], 'what is kept of it in the cluster follows');
  assert.equal(lives(100, 0), false);
  assert.equal(lives(undefined, 0), false);
  assert.equal(lives(undefined, 100), 'disconnect 0x82');
  assert.equal(lives(0, 100), 'disconnect 0x82');
});

test('response information: asked for or not; reasons only where they are wanted', () => {
  const bench = new MqttBench({ limits: { responseInformation: 'answers/' } });
  const told = (properties?: Properties): string | undefined => bench.connect({ properties }).connack?.properties?.responseInformation;
  assert.equal(told({ requestResponseInformation: true }), 'answers/');
  assert.equal(told({ requestResponseInformation: false }), undefined); // [MQTT-3.1.2-28]
  assert.equal(told(), undefined);
  // [MQTT-3.1.2-29]: nothing but codes in every answer there is.
  const client = bench.connect({ properties: { requestProblemInformation: false } });
  client.subscribe('t');
  client.publish('t', 'x', { qos: 2 });
  client.publish('nobody', 'x', { qos: 1 });
  client.acknowledge();
  client.send({ type: 'pubrel', packetId: 2, reasonCode: 0 });
  client.send({ type: 'pubrel', packetId: 99, reasonCode: 0 });
  client.send({ type: 'unsubscribe', packetId: 3, topicFilters: ['t', 'none'] });
  client.send({
    type: 'subscribe',
    packetId: 4,
    subscriptions: [{ topicFilter: 'a/'.repeat(200), qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
  });
  const answers = client.take();
  assert.deepEqual([...new Set(answers.map((p) => p.type))].sort(), ['puback', 'pubcomp', 'publish', 'pubrec', 'pubrel', 'suback', 'unsuback']);
  for (const p of answers) {
    const properties = 'properties' in p ? p.properties : undefined;
    assert.deepEqual([properties?.reasonString, properties?.userProperties], [undefined, undefined]);
  }
});

test("CONNACK's Reason String where it fits", () => {
  const cluster = new FakeCluster();
  const bench = new MqttBench({ ports: cluster.ports(), broker: { withoutQuorum: 'refuse' } });
  cluster.quorum = false;
  const refused = (maximumPacketSize: number): string | undefined => {
    const { connack } = bench.connect({ properties: { maximumPacketSize } });
    assert.equal(connack?.reasonCode, 0x88);
    return connack.properties?.reasonString;
  };
  assert.equal(refused(1000), 'no quorum of cores');
  assert.equal(refused(10), undefined); // [MQTT-3.2.2-19]
});

test('Server Keep Alive is told and counts; otherwise the client decides', () => {
  const own = new MqttBench({ limits: { serverKeepAliveS: 10 } });
  const client = own.connect({ keepAlive: 100 });
  assert.equal(client.connack?.properties?.serverKeepAlive, 10);
  own.clock.advance(17_000);
  assert.deepEqual(client.seen(), ['disconnect 0x8d']); // [MQTT-3.2.2-21]
  const theirs = new MqttBench();
  const [hasty, calm] = [theirs.connect({ keepAlive: 10 }), theirs.connect({ keepAlive: 0 })];
  theirs.clock.advance(14_000);
  assert.equal(hasty.net.closed, false);
  theirs.clock.advance(3_000);
  assert.ok(hasty.net.closed); // [MQTT-3.2.2-22] [MQTT-3.1.2-22]
  theirs.clock.advance(10_000_000);
  assert.equal(calm.net.closed, false);
});

test('Maximum QoS is told, and a higher SUBSCRIBE is granted what there is', () => {
  const bench = new MqttBench({ limits: { maxQos: 1 } });
  const client = bench.connect();
  assert.equal(client.connack?.properties?.maximumQoS, 1); // [MQTT-3.2.2-9]
  assert.deepEqual(client.subscribe({ topicFilter: 't', qos: 2 }), [1]); // [MQTT-3.2.2-10]
  bench.connect().publish('t', 'x', { qos: 2 });
  assert.deepEqual(client.seen(), []);
});

test('wills: stored, published with RETAIN as asked and properties in order, or not at all', () => {
  const bench = new MqttBench();
  const watcher = bench.connect();
  watcher.subscribe({ topicFilter: 'w/#', retainAsPublished: true });
  const userProperties: [string, string][] = [
    ['b', '1'],
    ['a', '2'],
    ['b', '3'],
  ];
  const will = {
    topicName: 'w/1',
    payload: utf8Encode('gone'),
    qos: 1 as const,
    retain: false,
    properties: { userProperties, correlationData: utf8Encode('c') },
  };
  bench.connect({ will }).drop(); // [MQTT-3.1.2-7]
  const [packet] = watcher.take();
  assert.ok(packet?.type === 'publish');
  assert.deepEqual(packet.properties?.userProperties, userProperties); // [MQTT-3.1.3-10]
  assert.equal(packet.retain, false);
  assert.equal(bench.broker.stats().retained, 0); // [MQTT-3.1.2-14]
  bench.connect({ will: { ...will, topicName: 'w/2', retain: true } }).drop();
  assert.deepEqual(watcher.seen(), ['w/2=gone q1 retain']);
  assert.equal(bench.broker.stats().retained, 1); // [MQTT-3.1.2-15]
  // [MQTT-3.1.2-12] of 3.1.1
  for (const version of [3, 4, 5] as const) bench.connect({ protocolVersion: version }).drop();
  assert.deepEqual(watcher.seen(), []);
  // 0x04 leaves it standing, 0x00 takes it back. [MQTT-3.14.4-3]
  bench.connect({ will }).disconnect(4);
  bench.connect({ will }).disconnect(0);
  assert.deepEqual(watcher.seen(), ['w/1=gone q1']);
  // Malformed is the end of the connection, not of the will.
  bench.connect({ will }).bytes(Uint8Array.of(0));
  bench.settle();
  assert.deepEqual(watcher.seen(), ['w/1=gone q1']);
});

test('the server ends a connection: DISCONNECT is the last packet, then it is closed', () => {
  for (const version of [4, 5] as const) {
    const bench = new MqttBench();
    const client = bench.connect({ protocolVersion: version });
    client.subscribe('t');
    client.push({ type: 'connect', protocolVersion: version, clientId: 'again', cleanStart: true, keepAlive: 0 });
    client.push({ type: 'publish', topicName: 't', payload: utf8Encode('x'), qos: 0, retain: false, dup: false, packetId: 0 });
    bench.connect().publish('t', 'y');
    bench.settle();
    assert.deepEqual(client.seen(), version === 5 ? ['disconnect 0x82'] : []); // [MQTT-3.14.4-1] [MQTT-4.13.1-1]
    assert.ok(client.net.closed); // [MQTT-3.14.4-2] [MQTT-4.13.2-1]
  }
  // [MQTT-4.13.2-1]
  const bench = new MqttBench();
  const small = bench.connect({ properties: { maximumPacketSize: 20 } });
  assert.equal(small.connack?.reasonCode, 0);
  small.bytes(Uint8Array.of(0));
  bench.settle();
  assert.deepEqual([small.seen(), small.net.closed], [['disconnect 0x81'], true]);
  // One that would not even take a CONNACK.
  const tiny = bench.connect({ clientId: 'tiny', properties: { maximumPacketSize: 2, sessionExpiryInterval: 100 } });
  assert.deepEqual([tiny.connack, tiny.seen(), tiny.net.closed], [undefined, [], true]);
  assert.equal(bench.broker.stats().connections, 0);
});

test('AUTH: the server says 0x18, failure closes, and who named no method gets none', () => {
  const access: Access = {
    authenticate: (_r, answer) => answer(0),
    exchange: (_c, method) =>
      method !== 'm'
        ? undefined
        : {
            step: (data) =>
              data?.[0] === 1 ? { kind: 'continue', data } : data?.[0] === 2 ? { kind: 'success', data } : { kind: 'failed', reasonCode: 0x87 },
          },
    mayPublish: () => true,
    maySubscribe: () => true,
  };
  const bench = new MqttBench({ access });
  const begin = (authenticationMethod: string, first: number): BenchClient =>
    bench.connect({ properties: { authenticationMethod, authenticationData: Uint8Array.of(first) } });
  const answer = (client: BenchClient, reasonCode: number, data: number): void =>
    client.send({ type: 'auth', reasonCode, properties: { authenticationMethod: 'm', authenticationData: Uint8Array.of(data) } });
  const client = begin('m', 1);
  const [auth] = client.take();
  assert.ok(auth?.type === 'auth' && auth.reasonCode === 0x18); // [MQTT-4.12.0-2]
  assert.equal(auth.properties?.authenticationMethod, 'm'); // [MQTT-4.12.0-5]
  assert.deepEqual([auth.properties.reasonString, auth.properties.userProperties], [undefined, undefined]); // [MQTT-3.15.2-2] [MQTT-3.15.2-3]
  answer(client, 0x18, 2); // [MQTT-4.12.0-3]
  assert.equal(client.connack?.properties?.authenticationMethod, 'm');
  answer(client, 0x19, 1); // [MQTT-4.12.1-1]
  answer(client, 0x18, 2);
  assert.deepEqual(client.seen(), ['auth 0x18', 'auth']);
  answer(client, 0x19, 9);
  assert.deepEqual(client.seen(), ['disconnect 0x87']); // [MQTT-4.12.1-2]
  assert.ok(client.net.closed);
  const failed = begin('m', 9);
  assert.equal(failed.connack?.reasonCode, 0x87);
  assert.ok(failed.net.closed); // [MQTT-4.12.0-4]
  assert.equal(begin('other', 1).connack?.reasonCode, 0x8c); // [MQTT-4.12.0-1]
  const plain = bench.connect();
  assert.equal(plain.connack?.properties?.authenticationMethod, undefined); // [MQTT-4.12.0-6]
  answer(plain, 0x19, 1); // [MQTT-4.12.0-7]
  assert.deepEqual(plain.seen(), ['disconnect 0x82']);
});
