// Bad input: nothing throws, every connection that breaks a rule is told what it may be told and closed,
// and nobody else notices.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { utf8Encode } from '#base/utf8.js';
import { encode } from '#mqtt/encoder.js';
import type { Packet, ProtocolVersion } from '#mqtt/packet.js';
import { MqttBench } from './mqtt-bench.js';

const names = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'valueOf',
  '__defineGetter__',
  'prototype',
  'length',
  '0',
  'null',
  '\u{1f600}',
  '$SYS',
];

/** A healthy pair of clients that must not notice anything. */
function witness(bench: MqttBench): () => void {
  const subscriber = bench.connect({ clientId: 'witness' });
  subscriber.subscribe({ topicFilter: 'witness', qos: 1 });
  const publisher = bench.connect({ clientId: 'witness-publisher' });
  let n = 0;
  return () => {
    publisher.publish('witness', `${++n}`, { qos: 1 });
    subscriber.acknowledge();
    assert.deepEqual(publisher.seen(), ['puback']);
    assert.deepEqual(subscriber.seen(), [`witness=${n} q1`]);
    assert.deepEqual(bench.errors, []);
  };
}

const versions = fc.constantFrom<ProtocolVersion>(3, 4, 5);

test('random bytes, before and after CONNECT', () => {
  const bench = new MqttBench();
  const check = witness(bench);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), versions, fc.boolean(), (bytes, protocolVersion, connected) => {
      const client = connected ? bench.connect({ protocolVersion, clientId: 'fuzz' }) : bench.open(protocolVersion);
      client.bytes(bytes);
      bench.settle();
      client.drop();
    }),
    { numRuns: 1500 },
  );
  check();
  assert.equal(bench.broker.stats().connections, 2);
});

const packets: Packet[] = [
  { type: 'connect', protocolVersion: 5, clientId: 'fuzz', cleanStart: true, keepAlive: 10 },
  { type: 'publish', topicName: 'a/b', payload: utf8Encode('x'), qos: 0, retain: false, dup: false, packetId: 0 },
  { type: 'publish', topicName: 'a/b', payload: utf8Encode('x'), qos: 1, retain: true, dup: false, packetId: 1 },
  {
    type: 'publish',
    topicName: 'a/b',
    payload: utf8Encode('x'),
    qos: 2,
    retain: false,
    dup: true,
    packetId: 2,
    properties: { topicAlias: 1, messageExpiryInterval: 1 },
  },
  { type: 'puback', packetId: 1, reasonCode: 0 },
  { type: 'pubrec', packetId: 1, reasonCode: 0 },
  { type: 'pubrel', packetId: 2, reasonCode: 0 },
  { type: 'pubcomp', packetId: 1, reasonCode: 0 },
  { type: 'subscribe', packetId: 3, subscriptions: [{ topicFilter: 'a/#', qos: 2, noLocal: false, retainAsPublished: true, retainHandling: 0 }] },
  { type: 'unsubscribe', packetId: 4, topicFilters: ['a/#'] },
  { type: 'pingreq' },
  { type: 'disconnect', reasonCode: 0 },
];

test('valid packets in any order, with any byte changed or the end cut off', () => {
  const bench = new MqttBench();
  const check = witness(bench);
  const damaged = fc.record({
    packet: fc.constantFrom(...packets),
    at: fc.nat(),
    value: fc.nat(255),
    damage: fc.constantFrom('none', 'byte', 'cut'),
  });
  fc.assert(
    fc.property(versions, fc.array(damaged, { maxLength: 12 }), (protocolVersion, steps) => {
      const client = bench.connect({ protocolVersion, clientId: 'fuzz', cleanStart: false });
      for (const { packet, at, value, damage } of steps) {
        const bytes = packet.type === 'connect' ? encode({ ...packet, protocolVersion }, protocolVersion) : encode(packet, protocolVersion);
        if (damage === 'byte') bytes[at % bytes.length] = value;
        client.bytes(damage === 'cut' ? bytes.subarray(0, at % bytes.length) : bytes);
      }
      bench.settle();
      client.drop();
    }),
    { numRuns: 1500 },
  );
  check();
});

test('every pair of packets in every state', () => {
  const bench = new MqttBench();
  const check = witness(bench);
  for (const version of [3, 4, 5] as const) {
    for (const connected of [false, true]) {
      for (const first of packets) {
        for (const second of packets) {
          const client = connected ? bench.connect({ clientId: 'fuzz', protocolVersion: version }) : bench.open(version);
          for (const p of [first, second]) client.push(p.type === 'connect' ? { ...p, protocolVersion: version } : p);
          bench.settle();
          if (!connected && first.type !== 'connect') assert.ok(client.net.closed, `${first.type} before CONNECT`); // [MQTT-3.1.0-1]
          client.drop();
        }
      }
    }
  }
  check();
});

test('what a wrong packet is answered with', () => {
  const bench = new MqttBench();
  const cases: [string, ProtocolVersion, number[], string[]][] = [
    ['oversized', 5, [0x30, 0xff, 0xff, 0xff, 0x7f], ['disconnect 0x95']],
    ['length of five bytes', 5, [0x30, 0xff, 0xff, 0xff, 0xff, 0x01], ['disconnect 0x81']],
    ['invalid UTF-8', 5, [0x30, 5, 0, 2, 0xc3, 0x28, 0], ['disconnect 0x81']],
    ['U+0000', 5, [0x30, 5, 0, 2, 0x61, 0, 0], ['disconnect 0x81']],
    ['wildcard in a name', 5, [0x30, 4, 0, 1, 0x23, 0], ['disconnect 0x90']],
    ['packet identifier 0', 5, [0x32, 6, 0, 1, 0x61, 0, 0, 0], ['disconnect 0x82']],
    ['QoS 3', 5, [0x36, 6, 0, 1, 0x61, 0, 1, 0], ['disconnect 0x81']],
    ['DUP with QoS 0', 5, [0x38, 4, 0, 1, 0x61, 0], ['disconnect 0x81']],
    ['subscription identifier from a client', 5, [0x30, 6, 0, 1, 0x61, 2, 0x0b, 1], ['disconnect 0x82']],
    ['reserved type', 5, [0x00, 0], ['disconnect 0x81']],
    ['a packet of servers', 5, [0x20, 2, 0, 0], ['disconnect 0x82']],
    ['the same before 5.0', 4, [0x20, 2, 0, 0], []],
    ['oversized before 5.0', 4, [0x30, 0xff, 0xff, 0xff, 0x7f], []],
  ];
  for (const [name, protocolVersion, bytes, answer] of cases) {
    const client = bench.connect({ protocolVersion });
    client.bytes(Uint8Array.from(bytes));
    bench.settle();
    assert.deepEqual(client.seen(), answer, name);
    assert.ok(client.net.closed, name);
  }
  assert.equal(bench.metrics.read('starmesh_malformed_packets'), cases.length);
});

test('what a wrong CONNECT is answered with', () => {
  const bench = new MqttBench();
  const connect = (name: string, level: number, flags = 2): number[] => {
    const body = [0, name.length, ...utf8Encode(name), level, flags, 0, 0, ...(level === 5 ? [0] : []), 0, 1, 0x63];
    return [0x10, body.length, ...body];
  };
  const cases: [string, number[], number | undefined][] = [
    ['protocol name', connect('MQTX', 4), undefined],
    ['protocol name of another protocol', [...utf8Encode('GET / HTTP/1.1\r\n')], undefined],
    ['old version', connect('MQTT', 2), 1],
    ['reserved flag', connect('MQTT', 4, 3), undefined],
    ['fits', connect('MQTT', 4), 0],
  ];
  for (const [name, bytes, code] of cases) {
    const client = bench.open(4);
    client.bytes(Uint8Array.from(bytes));
    bench.settle();
    assert.equal(client.connack?.reasonCode, code, name);
    assert.equal(client.net.closed, code !== 0, name);
  }
  const future = bench.open(5);
  future.bytes(Uint8Array.from(connect('MQTT', 6)));
  bench.settle();
  assert.equal(future.connack?.reasonCode, 0x84); // [MQTT-3.1.2-2]
  const malformed = bench.open(5);
  malformed.bytes(Uint8Array.from(connect('MQTT', 5, 3)));
  bench.settle();
  assert.equal(malformed.connack?.reasonCode, 0x81); // [MQTT-3.1.4-1]
});

test('names that mean something to JavaScript are names', () => {
  const bench = new MqttBench();
  for (const name of names) {
    const client = bench.connect({
      clientId: name,
      username: name,
      cleanStart: false,
      properties: { sessionExpiryInterval: 10 },
      will: { topicName: name, payload: utf8Encode('w'), qos: 0, retain: false },
    });
    assert.equal(client.connack?.sessionPresent, false, name);
    assert.deepEqual(client.subscribe(name), [2]);
    assert.deepEqual(client.subscribe(`${name}/+/${name}`), [2]);
    client.publish(name, 'x', { retain: true, properties: { userProperties: [[name, name]] } });
    client.publish(`${name}/${name}/${name}`, 'y');
    assert.deepEqual(client.seen(), [`${name}=x`, `${name}/${name}/${name}=y`]);
    assert.equal(bench.broker.client(name)?.username, name);
    client.drop();
    const again = bench.connect({ clientId: name, cleanStart: false, properties: { sessionExpiryInterval: 10 } });
    assert.equal(again.connack?.sessionPresent, true, name);
    again.disconnect(0, { sessionExpiryInterval: 0 });
    assert.equal(bench.broker.client(name), undefined);
  }
  assert.equal(bench.broker.stats().retained, names.length);
});

test('the longest of everything', () => {
  const bench = new MqttBench();
  const long = 'x'.repeat(65_535);
  const client = bench.connect({
    clientId: long,
    username: long.slice(1),
    will: { topicName: long, payload: new Uint8Array(9), qos: 0, retain: false },
  });
  assert.equal(client.connack?.reasonCode, 0);
  assert.deepEqual(client.subscribe({ topicFilter: long, qos: 1 }), [1]);
  client.publish(long, 'x', { qos: 1 });
  client.acknowledge();
  assert.deepEqual(client.seen().sort(), ['puback', `${long}=x q1`]);
  assert.deepEqual(client.subscribe('/'.repeat(65_535)), [0x8f]);
  assert.deepEqual(client.subscribe(`${'/'.repeat(126)}#`), [2]);
  client.publish('/'.repeat(127), 'deep');
  assert.equal(client.take().length, 1);
  client.publish('/'.repeat(65_000), 'too deep');
  assert.deepEqual(client.seen(), ['disconnect 0x90']);
});

test('a SUBSCRIBE of very many filters, and very many user properties', () => {
  const bench = new MqttBench({ limits: { maxSubscriptions: 1000 } });
  const client = bench.connect();
  const subscriptions = Array.from({ length: 20_000 }, (_, i) => ({
    topicFilter: `f/${i}/+`,
    qos: 0 as const,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0 as const,
  }));
  client.send({ type: 'subscribe', packetId: 1, subscriptions });
  const [suback] = client.take();
  assert.deepEqual(
    suback?.type === 'suback' ? [suback.reasonCodes.length, suback.reasonCodes.filter((c) => c === 0x97).length] : [],
    [20_000, 19_000],
  );
  client.publish('f/7/x', 'x', { properties: { userProperties: Array.from({ length: 100_000 }, () => ['', ''] as [string, string]) } });
  const [packet] = client.take();
  assert.equal(packet?.type === 'publish' ? packet.properties?.userProperties?.length : 0, 100_000);
});

test('QoS 2 identifiers that are never released', () => {
  const bench = new MqttBench();
  const five = bench.connect();
  for (let i = 0; i < 101; i++) five.publish('t', 'x', { qos: 2 }); // [MQTT-3.3.4-7]
  const seen = five.seen();
  assert.equal(seen.filter((s) => s === 'pubrec 0x10').length, 100);
  assert.deepEqual(seen.slice(100), ['disconnect 0x93']);
  const roomy = new MqttBench({ limits: { receiveMaximum: 65_535 } }).connect();
  for (let i = 0; i < 300; i++) roomy.publish('t', 'x', { qos: 2 });
  assert.equal(roomy.seen().filter((s) => s === 'pubrec 0x97').length, 200);
  const four = bench.connect({ protocolVersion: 4 });
  for (let i = 0; i < 101; i++) four.publish('t', 'x', { qos: 2 });
  assert.ok(four.net.closed);
});

// [MQTT-4.8.0-2] of 3.1.1
test('a failure inside costs one connection', () => {
  const bench = new MqttBench({
    access: {
      authenticate: (_r, answer) => answer(0),
      mayPublish: (_c, topicName) => {
        if (topicName === 'bug') throw new TypeError('a bug');
        return true;
      },
      maySubscribe: () => true,
    },
  });
  const check = witness(bench);
  const client = bench.connect({ clientId: 'unlucky' });
  client.push({ type: 'publish', topicName: 'bug', payload: utf8Encode('x'), qos: 0, retain: false, dup: false, packetId: 0 });
  assert.equal(bench.errors.splice(0).length, 1);
  assert.ok(client.net.closed);
  assert.equal(bench.broker.client('unlucky'), undefined);
  assert.equal(bench.metrics.read('starmesh_connection_failures'), 1);
  check();
});
