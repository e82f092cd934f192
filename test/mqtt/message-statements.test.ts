// Statements about PUBLISH, its acknowledgements, SUBSCRIBE and UNSUBSCRIBE, each named where it is looked at.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { Access } from '#broker/access.js';
import type { Packet, Properties, PublishPacket } from '#mqtt/packet.js';
import { reasonCodesOf } from '#mqtt/reason-code.js';
import { type BenchClient, MqttBench } from './mqtt-bench.js';

const lasting = { cleanStart: false, properties: { sessionExpiryInterval: 100 } };

const plain = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;

function publishes(client: BenchClient): PublishPacket[] {
  return client.take().filter((p) => p.type === 'publish');
}

/** `puback#7`, with the code if there is one. */
const numbered = (p: Packet): string =>
  `${p.type}#${'packetId' in p ? p.packetId : ''}${'reasonCode' in p && p.reasonCode > 0 ? ` 0x${p.reasonCode.toString(16)}` : ''}`;

test('every answer has the identifier of its question, and one of its own Reason Codes', () => {
  for (const protocolVersion of [3, 4, 5] as const) {
    const bench = new MqttBench();
    const client = bench.connect({ protocolVersion });
    const ask = (packet: Packet): string[] => {
      client.send(packet);
      const got = client.take();
      for (const p of got) {
        if (p.type === 'puback' || p.type === 'pubrec' || p.type === 'pubcomp') assert.ok(reasonCodesOf[p.type].has(p.reasonCode)); // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.7.2-1]
        if (p.type === 'suback' || p.type === 'unsuback') for (const code of p.reasonCodes) assert.ok(reasonCodesOf[p.type].has(code)); // [MQTT-3.9.3-2] [MQTT-3.11.3-2]
        // None has a Reason String or User Property that could make it too large. [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3]
        // [MQTT-3.7.2-2] [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2]
        if ('properties' in p && p.type !== 'publish') assert.equal(p.properties, undefined);
      }
      return got.map(numbered);
    };
    const publish = (qos: 0 | 1 | 2, packetId: number): Packet => ({
      type: 'publish',
      topicName: 't',
      payload: utf8Encode('x'),
      qos,
      retain: false,
      dup: false,
      packetId,
    });
    const nobody = protocolVersion === 5 ? ' 0x10' : '';
    // [MQTT-3.3.4-1] [MQTT-2.2.1-5]
    assert.deepEqual(ask(publish(0, 0)), []);
    assert.deepEqual(ask(publish(1, 7)), [`puback#7${nobody}`]); // [MQTT-4.3.2-4]
    assert.deepEqual(ask(publish(2, 65_535)), [`pubrec#65535${nobody}`]); // [MQTT-4.3.3-8]
    assert.deepEqual(ask({ type: 'pubrel', packetId: 65_535, reasonCode: 0 }), ['pubcomp#65535']); // [MQTT-4.3.3-11]
    const filters = ['a', 'b/#', 'c/'.repeat(200)].map((topicFilter) => ({ topicFilter, qos: 1 as const, ...plain }));
    client.send({ type: 'subscribe', packetId: 513, subscriptions: filters });
    const [suback] = client.take(); // [MQTT-3.8.4-1]
    // [MQTT-2.2.1-6] [MQTT-3.8.4-2] [MQTT-3.8.4-6] [MQTT-3.8.4-7], and only 0, 1, 2 and 0x80 before 5.0 [MQTT-3.9.3-2] of 3.1.1
    assert.deepEqual(
      [suback?.type, suback],
      ['suback', { type: 'suback', packetId: 513, reasonCodes: [1, 1, protocolVersion === 5 ? 0x8f : 0x80], properties: undefined }],
    );
    client.send({ type: 'unsubscribe', packetId: 514, topicFilters: ['a', 'never', 'b/#'] });
    const [unsuback] = client.take(); // [MQTT-3.10.4-4]
    // [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]
    assert.deepEqual(unsuback, { type: 'unsuback', packetId: 514, reasonCodes: protocolVersion === 5 ? [0, 0x11, 0] : [], properties: undefined });
    assert.equal(bench.broker.stats().subscriptions, 0);
    assert.deepEqual(ask({ type: 'unsubscribe', packetId: 515, topicFilters: ['never'] }), ['unsuback#515']);
  }
});

test('DUP and Packet Identifiers of what the server sends', () => {
  const bench = new MqttBench();
  const client = bench.connect({ clientId: 's', ...lasting });
  client.subscribe('t');
  const publisher = bench.connect();
  for (const qos of [0, 1, 2, 1] as const) publisher.publish('t', `${qos}`, { qos, dup: qos > 0, packetId: qos }); // the publisher's DUP says nothing [MQTT-3.3.1-3]
  const first = publishes(client);
  assert.ok(first.every((p) => !p.dup)); // [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
  const ids = first.map((p) => p.packetId);
  assert.equal(ids[0], 0); // [MQTT-2.2.1-2]
  assert.equal(new Set(ids).size, 4); // unused ones, and not 0 for the rest [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]
  // Round once: the identifiers of two that stay open are not used again.
  for (let i = 0; i < 65_600; i++) {
    publisher.publish('t', 'x', { qos: 1, packetId: 1 });
    publisher.take();
    const [next] = publishes(client);
    assert.ok(next !== undefined && next.packetId !== 0 && !ids.slice(1).includes(next.packetId));
    client.push({ type: 'puback', packetId: next.packetId, reasonCode: 0 });
  }
});

test('QoS 1 and 2 towards the client: open until acknowledged, refused is done, nothing twice', () => {
  const bench = new MqttBench();
  const again = (): BenchClient => bench.connect({ clientId: 's', ...lasting });
  let client = again();
  client.subscribe('t');
  const publisher = bench.connect();
  publisher.publish('t', 'one', { qos: 1, properties: { messageExpiryInterval: 2 } });
  publisher.publish('t', 'two', { qos: 2, properties: { messageExpiryInterval: 2 } });
  const [one, two] = publishes(client).map((p) => p.packetId);
  client.drop();
  bench.clock.advance(50_000);
  client = again();
  assert.deepEqual(client.seen(), ['t=one q1 dup', 't=two q2 dup']); // [MQTT-4.3.2-3] [MQTT-4.3.3-3], expired or not [MQTT-4.3.3-7]
  client.send({ type: 'puback', packetId: one ?? 0, reasonCode: 0x80 }); // [MQTT-4.4.0-2]
  client.send({ type: 'pubrec', packetId: two ?? 0, reasonCode: 0x10 });
  assert.deepEqual(client.take().map(numbered), [`pubrel#${two}`]); // [MQTT-4.3.3-4]
  client.drop();
  client = again();
  assert.deepEqual(client.take().map(numbered), [`pubrel#${two}`]); // [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1]
  client.send({ type: 'pubcomp', packetId: two ?? 0, reasonCode: 0 });
  publisher.publish('t', 'three', { qos: 2 });
  const [three] = publishes(client);
  client.send({ type: 'pubrec', packetId: three?.packetId ?? 0, reasonCode: 0x97 }); // [MQTT-4.4.0-2]
  assert.deepEqual(client.take(), []);
  client.drop();
  assert.deepEqual(again().take(), []);
});

test('QoS 1 and 2 towards the client: an answer that the state does not allow ends the connection', () => {
  for (const protocolVersion of [4, 5] as const) {
    for (const [qos, answers] of [
      [1, ['pubrec']],
      [1, ['pubcomp']],
      [2, ['puback']],
      [2, ['pubcomp']],
      [2, ['pubrec', 'puback']],
    ] as const) {
      const bench = new MqttBench();
      const client = bench.connect({ protocolVersion });
      client.subscribe('t');
      bench.connect().publish('t', 'x', { qos });
      const [packet] = publishes(client);
      for (const type of answers) client.send({ type, packetId: packet?.packetId ?? 0, reasonCode: 0 });
      assert.deepEqual(
        client.seen().filter((s) => s !== 'pubrel'),
        protocolVersion === 5 ? ['disconnect 0x82'] : [],
      );
      assert.ok(client.net.closed); // [MQTT-3.3.4-1] [MQTT-4.13.1-1]
    }
  }
  // What nobody asked for is answered where it can be, and not with a PUBREL to a refusal. [MQTT-4.3.3-4]
  const stray = new MqttBench().connect();
  stray.send({ type: 'puback', packetId: 1, reasonCode: 0 });
  stray.send({ type: 'pubcomp', packetId: 1, reasonCode: 0 });
  stray.send({ type: 'pubrec', packetId: 1, reasonCode: 0x80 });
  assert.deepEqual(stray.seen(), []);
  stray.send({ type: 'pubrec', packetId: 1, reasonCode: 0 });
  assert.deepEqual(stray.seen(), ['pubrel 0x92']);
});

test('QoS 1 and 2 from the client: what an identifier means before and after its end', () => {
  let allow = true;
  const access: Access = { authenticate: (_r, answer) => answer(0), mayPublish: () => allow, maySubscribe: () => true };
  const bench = new MqttBench({ access });
  const [watcher, client] = [bench.connect(), bench.connect()];
  watcher.subscribe({ topicFilter: 't', qos: 0 });
  const send = (qos: 1 | 2, text: string, dup: boolean = false, properties?: Properties): string[] => {
    client.send({ type: 'publish', topicName: 't', payload: utf8Encode(text), qos, retain: false, dup, packetId: 9, properties });
    return [...client.seen(), ...watcher.seen()];
  };
  assert.deepEqual(send(1, 'a'), ['puback', 't=a']);
  assert.deepEqual(send(1, 'a', true), ['puback', 't=a']); // [MQTT-4.3.2-5]
  assert.deepEqual(send(2, 'b'), ['pubrec', 't=b']);
  assert.deepEqual(send(2, 'b', true), ['pubrec']); // [MQTT-4.3.3-10]
  client.send({ type: 'pubrel', packetId: 9, reasonCode: 0 });
  assert.deepEqual(client.seen(), ['pubcomp']);
  assert.deepEqual(send(2, 'b', true), ['pubrec', 't=b']); // [MQTT-4.3.3-12]
  client.send({ type: 'pubrel', packetId: 9, reasonCode: 0 });
  client.take();
  allow = false;
  assert.deepEqual(send(2, 'c'), ['pubrec 0x87']);
  allow = true;
  assert.deepEqual(send(2, 'c'), ['pubrec', 't=c']); // [MQTT-4.3.3-9]
  client.send({ type: 'pubrel', packetId: 9, reasonCode: 0 });
  client.take();
  // One that has expired on arrival is acknowledged to its end. [MQTT-4.3.3-13]
  watcher.drop();
  assert.deepEqual(send(2, 'd', false, { messageExpiryInterval: 0 }), ['pubrec 0x10']);
  client.send({ type: 'pubrel', packetId: 9, reasonCode: 0 });
  assert.deepEqual(client.seen(), ['pubcomp']);
});

test('[MQTT-3.3.5-2] of 3.1.1: a PUBLISH that is not allowed is acknowledged all the same, or ends the connection', () => {
  for (const denyAction of ['ignore', 'disconnect'] as const) {
    const access: Access = { authenticate: (_r, answer) => answer(0), mayPublish: () => false, maySubscribe: () => true, denyAction };
    const client = new MqttBench({ access }).connect({ protocolVersion: 4 });
    client.publish('t', 'x', { qos: 1 });
    client.publish('t', 'x', { qos: 2 });
    if (denyAction === 'ignore') assert.deepEqual(client.seen(), ['puback', 'pubrec']);
    else assert.ok(client.net.closed);
  }
});

test('flow control: the window holds PUBLISHes back, and nothing else', () => {
  const bench = new MqttBench();
  const client = bench.connect({ properties: { receiveMaximum: 2 } });
  client.subscribe('t');
  const publisher = bench.connect();
  for (let i = 0; i < 5; i++) publisher.publish('t', `${i}`, { qos: 1 });
  publisher.publish('t', 'zero');
  assert.deepEqual(publisher.seen().length, 5);
  // [MQTT-4.9.0-1] [MQTT-4.9.0-2]; QoS 0 keeps its place behind what waits only if it had to wait itself
  const got = client.take();
  const open = got.filter((p) => p.type === 'publish' && p.qos > 0);
  assert.equal(open.length, 2);
  // [MQTT-4.9.0-3] [MQTT-3.3.4-10]
  client.send({ type: 'pingreq' });
  client.publish('other', 'x', { qos: 1 });
  client.send({ type: 'unsubscribe', packetId: 50, topicFilters: ['none'] });
  assert.deepEqual(client.seen(), ['pingresp', 'puback 0x10', 'unsuback']);
  client.send({ type: 'puback', packetId: open[0]?.type === 'publish' ? open[0].packetId : 0, reasonCode: 0 });
  assert.deepEqual(client.seen(), ['t=2 q1']);
});

test('what a PUBLISH says travels with it', () => {
  const bench = new MqttBench();
  const client = bench.connect();
  client.subscribe('t');
  const properties = {
    payloadFormatIndicator: 1 as const, // [MQTT-3.3.2-4]
    contentType: '\uFEFFtext/😀', // [MQTT-3.3.2-20] [MQTT-3.3.2-19] [MQTT-1.5.4-3]
    responseTopic: 'réponse/\uFEFF', // [MQTT-3.3.2-15] [MQTT-3.3.2-13]
    correlationData: Uint8Array.of(0, 255, 128), // [MQTT-3.3.2-16]
    // [MQTT-3.3.2-17] [MQTT-3.3.2-18]
    userProperties: [
      ['b', '\uFEFF'],
      ['', ''],
      ['b', 'é'],
    ] as [string, string][],
  };
  bench.connect().publish('t', 'x', { properties });
  assert.deepEqual(publishes(client)[0]?.properties, properties);
  bench.connect().publish('t', 'y', { qos: 1, properties });
  assert.deepEqual(publishes(client)[0]?.properties, properties);
});

test('aliases on long packets, and when a slow reader lets them pile up', () => {
  const bench = new MqttBench();
  const client = bench.connect({ properties: { topicAliasMaximum: 5 } });
  client.subscribe({ topicFilter: '#', qos: 1 });
  client.net.taking = false;
  const publisher = bench.connect();
  const sent: string[] = [];
  for (let i = 0; i < 24; i++) {
    const topicName = `topic/${i % 3}`;
    const size = [0, 100, 20_000, 70_000][i % 4] as number;
    publisher.publish(topicName, `${i % 10}`.repeat(size), { qos: i % 2 === 0 ? 0 : 1 });
    sent.push(`${topicName} ${size === 0 ? '' : i % 10} ${size}`);
  }
  client.net.drain();
  const names = new Map<number, string>();
  const got = publishes(client).map((p) => {
    const alias = p.properties?.topicAlias ?? 0;
    if (p.topicName !== '') names.set(alias, p.topicName);
    return `${names.get(alias)} ${p.payload.length === 0 ? '' : p.payload[0] === p.payload.at(-1) ? (p.payload[0] ?? 0) - 48 : 'torn'} ${p.payload.length}`;
  });
  assert.deepEqual(got, sent);
});

test('[MQTT-3.3.2-12] every alias up to the maximum is taken', () => {
  const bench = new MqttBench({ limits: { maxTopicAlias: 300 } });
  const client = bench.connect();
  client.subscribe({ topicFilter: '#', qos: 0 });
  for (const alias of [1, 2, 255, 256, 300]) {
    client.publish(`n/${alias}`, 'set', { properties: { topicAlias: alias } });
    client.publish('', 'use', { properties: { topicAlias: alias } });
    assert.deepEqual(client.seen(), [`n/${alias}=set`, `n/${alias}=use`]);
  }
});

test('the server sets aliases over the wire as a client can read them', () => {
  const bench = new MqttBench();
  const client = bench.connect({ properties: { topicAliasMaximum: 2 } });
  const without = bench.connect();
  for (const c of [client, without]) c.subscribe({ topicFilter: 'some/#', qos: 1 });
  const publisher = bench.connect();
  for (let i = 0; i < 3; i++) {
    publisher.publish('some/topic', `${i}`, { qos: 1, properties: { contentType: 'x' } });
    publisher.publish('some/other', '', {});
    publisher.publish('some/large', 'l'.repeat(20_000), {});
  }
  const seen = publishes(client).map((p) => `${p.topicName}#${p.properties?.topicAlias}=${p.payload.length} ${p.properties?.contentType}`);
  assert.deepEqual(seen.slice(0, 4), ['some/topic#1=1 x', 'some/other#2=0 undefined', 'some/large#undefined=20000 undefined', '#1=1 x']);
  assert.equal(seen.length, 9);
  assert.ok(publishes(without).every((p) => p.topicName !== '' && p.properties?.topicAlias === undefined)); // [MQTT-3.1.2-27]
});

test('retained: an empty one is not stored, RETAIN 0 changes nothing, and they outlive sessions', () => {
  for (const protocolVersion of [3, 4, 5] as const) {
    const bench = new MqttBench();
    const publisher = bench.connect({ protocolVersion, cleanStart: true });
    publisher.publish('r', '', { retain: true });
    assert.equal(bench.broker.stats().retained, 0); // [MQTT-3.3.1-7]
    publisher.publish('r', 'kept', { retain: true, qos: 1 });
    publisher.publish('r', 'live', { qos: 1 });
    publisher.publish('r', '', { qos: 1 });
    publisher.disconnect();
    const late = bench.connect({ protocolVersion });
    late.subscribe('r');
    assert.deepEqual(late.seen(), ['r=kept q1 retain']); // [MQTT-3.3.1-8] [MQTT-3.1.2-7] of 3.1.1
  }
});

test('SUBSCRIBE again: retained messages come again, and nothing in between is lost or doubled', () => {
  const bench = new MqttBench();
  const client = bench.connect();
  const publisher = bench.connect();
  publisher.publish('t/r', 'kept', { retain: true });
  client.subscribe({ topicFilter: 't/#', qos: 1 });
  assert.deepEqual(client.seen(), ['t/r=kept retain']);
  publisher.push({ type: 'publish', topicName: 't/1', payload: utf8Encode('a'), qos: 0, retain: false, dup: false, packetId: 0 });
  client.push({ type: 'subscribe', packetId: 99, subscriptions: [{ topicFilter: 't/#', qos: 0, ...plain }] });
  publisher.publish('t/1', 'b');
  assert.deepEqual(client.seen().sort(), ['suback', 't/1=a', 't/1=b', 't/r=kept retain']); // [MQTT-3.8.4-4]
});

test('several filters in one SUBSCRIBE are as several, in their order', () => {
  const bench = new MqttBench();
  bench.connect().publish('a/1', 'kept', { retain: true, qos: 2 });
  const client = bench.connect();
  const filters = ['a/1', 'a/+', 'a/1'].map((topicFilter, i) => ({ topicFilter, qos: i as 0 | 1 | 2, ...plain }));
  client.send({ type: 'subscribe', packetId: 1, subscriptions: filters });
  // [MQTT-3.8.4-5]: the last of two equal ones holds
  assert.deepEqual(client.seen(), ['suback', 'a/1=kept q2 retain', 'a/1=kept q1 retain', 'a/1=kept q2 retain']);
  bench.connect().publish('a/1', 'live', { qos: 2 });
  assert.deepEqual(client.seen(), ['a/1=live q2']); // [MQTT-3.8.4-8]
});

test('UNSUBSCRIBE: exactly that filter, nothing new, and what is under way is completed', () => {
  const bench = new MqttBench();
  const client = bench.connect({ clientId: 's', ...lasting });
  for (const filter of ['t/#', 't/+', 'T/#']) client.subscribe(filter);
  const publisher = bench.connect();
  publisher.publish('t/1', 'open', { qos: 2 });
  const [open] = publishes(client);
  client.send({ type: 'unsubscribe', packetId: 60, topicFilters: ['t/#', 't/*', '+/1'] }); // [MQTT-3.10.4-1]
  client.send({ type: 'unsubscribe', packetId: 61, topicFilters: ['t/+'] });
  client.take();
  publisher.publish('t/1', 'new', { qos: 2 });
  assert.deepEqual(client.take(), []); // [MQTT-3.10.4-2]
  publisher.publish('T/1', 'other');
  assert.deepEqual(client.seen(), ['T/1=other']);
  client.drop();
  const again = bench.connect({ clientId: 's', ...lasting });
  assert.deepEqual(again.seen(), ['t/1=open q2 dup']); // [MQTT-3.10.4-3]
  again.send({ type: 'pubrec', packetId: open?.packetId ?? 0, reasonCode: 0 });
  assert.deepEqual(again.seen(), ['pubrel']);
});

test('[MQTT-3.8.3-2] of 3.1.1: wildcards that are not supported are refused', () => {
  for (const protocolVersion of [4, 5] as const) {
    const bench = new MqttBench({ limits: { wildcardSubscription: false } });
    const client = bench.connect({ protocolVersion });
    assert.deepEqual(client.subscribe('a/#'), [protocolVersion === 5 ? 0xa2 : 0x80]);
    assert.deepEqual(client.subscribe('a/b'), [2]);
  }
});

test('names are matched as they are written, and go to every session that subscribes', () => {
  const bench = new MqttBench();
  const composed = bench.connect({ clientId: 'away', ...lasting });
  composed.subscribe('caf\u00e9/+');
  composed.drop();
  const here = bench.connect();
  here.subscribe('caf\u00e9/+');
  const decomposed = bench.connect();
  for (const filter of ['cafe\u0301/+', 'CAF\u00c9/+', 'caf\u00e9//', '/caf\u00e9/+', 'caf\u00e9']) decomposed.subscribe(filter);
  const publisher = bench.connect();
  for (const text of ['1', '2', '3']) publisher.publish('caf\u00e9/x', text, { qos: 1 });
  assert.deepEqual(decomposed.seen(), []); // [MQTT-4.7.3-4] [MQTT-3.3.2-3]
  const all = ['1', '2', '3'].map((text) => `caf\u00e9/x=${text} q1`);
  assert.deepEqual(here.seen(), all); // [MQTT-4.6.0-5] [MQTT-4.6.0-6]
  assert.deepEqual(bench.connect({ clientId: 'away', ...lasting }).seen(), all); // [MQTT-4.5.0-1]
});

test('a payload is what its Payload Format Indicator says, if that is to be checked', () => {
  const wrong = { payload: Uint8Array.of(0xff), properties: { payloadFormatIndicator: 1 as const } };
  const bench = new MqttBench({ limits: { payloadFormatCheck: true } });
  const watcher = bench.connect();
  watcher.subscribe('t');
  const client = bench.connect();
  client.publish('t', '', { ...wrong, qos: 1 });
  client.publish('t', '', { ...wrong, qos: 2 });
  client.publish('t', '', { ...wrong, qos: 2, packetId: 77 });
  client.publish('t', 'é\u0000', { properties: { payloadFormatIndicator: 1 } });
  client.publish('t', '', { payload: Uint8Array.of(0xff), properties: { payloadFormatIndicator: 0 } });
  assert.deepEqual(client.seen(), ['puback 0x99', 'pubrec 0x99', 'pubrec 0x99']);
  assert.equal(publishes(watcher).length, 2);
  client.publish('t', '', wrong);
  assert.deepEqual(client.seen(), ['disconnect 0x99']);
  const will = { topicName: 'w', payload: Uint8Array.of(0xff), qos: 0 as const, retain: false, properties: { payloadFormatIndicator: 1 as const } };
  assert.equal(bench.connect({ will }).connack?.reasonCode, 0x99);
  const trusting = new MqttBench();
  const other = trusting.connect();
  other.subscribe('t');
  other.publish('t', '', wrong);
  assert.equal(publishes(other).length, 1);
});
