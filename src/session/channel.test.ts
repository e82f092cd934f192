import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { Packet, ProtocolVersion, PublishPacket } from '#mqtt/packet.js';
import { settle } from './channel.js';
import { deliver, deliverAs } from './deliver.js';
import type { Message, Qos } from './message.js';
import { makeMessage } from './message.js';
import { connectPacket, OneSession } from './recorder.test.js';
import { Session, Subscription } from './session.js';

function connected(version: ProtocolVersion, more: Parameters<typeof connectPacket>[1] = {}, limits = {}): OneSession {
  const broker = new OneSession(limits);
  broker.open();
  broker.step(connectPacket(version, more));
  broker.out.take();
  return broker;
}

function publish(qos: Qos, packetId: number, more: Partial<PublishPacket> = {}): PublishPacket {
  return { type: 'publish', topicName: 't', payload: utf8Encode('x'), qos, retain: false, dup: false, packetId, ...more };
}

function message(text: string, qos: Qos = 1, expiresAt: number = Number.POSITIVE_INFINITY, publisherId: string = 'p'): Message {
  return makeMessage('t', utf8Encode(text), qos, false, undefined, expiresAt, publisherId);
}

function give(broker: OneSession, m: Message, qos: Qos = m.qos): void {
  assert.ok(broker.session !== undefined);
  broker.frames.begin(m, broker.time);
  deliverAs(broker.session, m, qos, false, undefined, broker.frames);
  broker.frames.end();
}

function short(p: Packet): string {
  switch (p.type) {
    case 'publish':
      return `publish ${String.fromCharCode(...p.payload)} q${p.qos}${p.dup ? ' dup' : ''}${p.retain ? ' retain' : ''} #${p.packetId}`;
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return `${p.type} #${p.packetId}${p.reasonCode === 0 ? '' : ` 0x${p.reasonCode.toString(16)}`}`;
    case 'disconnect':
    case 'connack':
      return `${p.type} 0x${p.reasonCode.toString(16)}`;
    default:
      return p.type;
  }
}

const sent = (broker: OneSession): string[] => broker.out.take().map(short);

test('CONNECT that is refused by itself', () => {
  const will = { topicName: 'w', payload: utf8Encode('x'), qos: 2 as const, retain: true };
  const cases: [string, Parameters<typeof connectPacket>, object, number][] = [
    ['3.1 without client id', [3, { clientId: '' }], {}, 0x85],
    ['[MQTT-3.1.3-8] of 3.1.1: no client id without clean session', [4, { clientId: '', cleanStart: false }], {}, 0x85],
    ['[MQTT-4.12.0-1] authentication method', [5, { properties: { authenticationMethod: 'SCRAM' } }], {}, 0x8c],
    ['client id too long', [5, { clientId: 'abc' }], { maxClientIdLength: 2 }, 0x85],
    ['[MQTT-3.2.2-12] will QoS', [5, { will }], { maxQos: 1 }, 0x9b],
    ['[MQTT-3.2.2-13] will retain', [5, { will }], { retainAvailable: false }, 0x9a],
  ];
  for (const [name, args, limits, code] of cases) {
    const broker = new OneSession(limits);
    broker.open();
    broker.step(connectPacket(...args));
    assert.deepEqual(sent(broker), [`connack 0x${code.toString(16)}`], name);
    assert.ok(broker.out.closed, name);
    assert.deepEqual(broker.ends, [{ by: 'server', reasonCode: code, normal: false }], name);
  }
});

test('CONNACK tells a 5.0 client our limits, and older ones nothing', () => {
  const broker = new OneSession({ maxQos: 1, retainAvailable: false, wildcardSubscription: false, sharedSubscription: false, serverKeepAliveS: 7 });
  broker.open();
  broker.step(connectPacket(5));
  assert.deepEqual(broker.out.take()[0], {
    type: 'connack',
    sessionPresent: false,
    reasonCode: 0,
    properties: {
      receiveMaximum: 100,
      maximumPacketSize: 1024 * 1024,
      topicAliasMaximum: 64,
      maximumQoS: 1,
      retainAvailable: false,
      wildcardSubscriptionAvailable: false,
      sharedSubscriptionAvailable: false,
      serverKeepAlive: 7,
    },
  });
  assert.equal(broker.out.keepAlive, 7); // [MQTT-3.2.2-21]
  const old = new OneSession();
  old.open();
  old.step(connectPacket(4));
  assert.deepEqual(old.out.take()[0], { type: 'connack', sessionPresent: false, reasonCode: 0, properties: undefined });
});

test('packets before CONNECT and twice', () => {
  const broker = new OneSession();
  broker.open();
  broker.step({ type: 'pingreq' }); // [MQTT-3.1.0-1]
  assert.deepEqual(sent(broker), []);
  assert.ok(broker.out.closed);
  const twice = connected(5);
  twice.step(connectPacket(5)); // [MQTT-3.1.0-2]
  assert.deepEqual(sent(twice), ['disconnect 0x82']);
  assert.equal(twice.session?.channel, undefined);
});

test('packets that come while CONNECT is decided are handled after CONNACK', () => {
  const broker = new OneSession();
  broker.accepts = false;
  const channel = broker.open();
  broker.step(connectPacket(4));
  assert.equal(broker.out.reading, true, 'who waits for CONNACK need not be held');
  broker.step(publish(0, 0));
  assert.equal(broker.out.reading, false);
  broker.step({ type: 'pingreq' });
  assert.deepEqual(broker.published, []);
  broker.accepts = true;
  broker.connect(channel, connectPacket(4));
  assert.deepEqual(sent(broker), ['connack 0x0', 'pingresp']);
  assert.equal(broker.published.length, 1);
  assert.equal(broker.out.reading, true);
});

test('acknowledgements leave in the order of the PUBLISHes', () => {
  const broker = connected(5);
  const channel = broker.channel;
  assert.ok(channel !== undefined);
  for (const id of [1, 2, 3]) broker.step(publish(id === 2 ? 2 : 1, id));
  const first = channel.defer(1, 1);
  const second = channel.defer(2, 2);
  channel.acknowledge(3, 1, 0x10);
  assert.deepEqual(sent(broker), []);
  settle(second, 0);
  assert.deepEqual(sent(broker), []);
  settle(first, 0);
  assert.deepEqual(sent(broker), ['puback #1', 'pubrec #2', 'puback #3 0x10']); // [MQTT-4.6.0-2] [MQTT-4.6.0-3]
});

test('a publisher to whom many acknowledgements are owed is not read', () => {
  const broker = connected(4);
  const channel = broker.channel;
  assert.ok(channel !== undefined);
  const owed = Array.from({ length: 1000 }, (_, i) => channel.defer(i + 1, 1));
  assert.equal(broker.out.reading, false);
  for (const ack of owed) settle(ack, 0);
  assert.equal(broker.out.reading, true);
  assert.equal(sent(broker).length, 1000);
});

test('QoS 2 from the client: once, whatever is repeated', () => {
  const broker = connected(5, { properties: { sessionExpiryInterval: 100 }, cleanStart: false });
  const channel = broker.channel;
  assert.ok(channel !== undefined);
  broker.step(publish(2, 9));
  const ack = channel.defer(9, 2);
  broker.step(publish(2, 9, { dup: true })); // still under way: one answer is enough
  assert.equal(broker.published.length, 1);
  // The connection breaks; the client repeats on the next one, and gets the answer there.
  channel.lost(0);
  broker.open();
  broker.step(connectPacket(5, { cleanStart: false, properties: { sessionExpiryInterval: 100 } }));
  broker.out.take();
  broker.step(publish(2, 9, { dup: true }));
  assert.deepEqual(sent(broker), []);
  settle(ack, 0);
  assert.deepEqual(sent(broker), ['pubrec #9']);
  broker.step(publish(2, 9, { dup: true })); // [MQTT-4.3.3-10]
  assert.deepEqual(sent(broker), ['pubrec #9']);
  broker.step({ type: 'pubrel', packetId: 9, reasonCode: 0 });
  broker.step({ type: 'pubrel', packetId: 9, reasonCode: 0 });
  assert.deepEqual(sent(broker), ['pubcomp #9', 'pubcomp #9 0x92']); // [MQTT-4.3.3-11]
  assert.equal(broker.published.length, 1);
  broker.step(publish(2, 9));
  assert.equal(broker.published.length, 2); // after PUBREL the identifier means a new message
});

test('a refused QoS 2 message frees its identifier', () => {
  const broker = connected(5);
  broker.step(publish(2, 4));
  broker.channel?.acknowledge(4, 2, 0x87);
  assert.deepEqual(sent(broker), ['pubrec #4 0x87']);
  broker.step(publish(2, 4));
  assert.equal(broker.published.length, 2);
});

test('limits on what a client publishes', () => {
  const cases: [string, PublishPacket, object, string][] = [
    ['[MQTT-3.2.2-11]', publish(2, 1), { maxQos: 1 }, 'disconnect 0x9b'],
    ['[MQTT-3.2.2-14]', publish(0, 0, { retain: true }), { retainAvailable: false }, 'disconnect 0x9a'],
    ['[MQTT-3.3.2-9]', publish(0, 0, { properties: { topicAlias: 65 } }), {}, 'disconnect 0x94'],
    ['unknown alias', publish(0, 0, { topicName: '', properties: { topicAlias: 3 } }), {}, 'disconnect 0x82'],
  ];
  for (const [name, packet, limits, expected] of cases) {
    const broker = connected(5, {}, limits);
    broker.step(packet);
    assert.deepEqual(sent(broker), [expected], name);
    assert.deepEqual(broker.published, [], name);
  }
  const many = connected(5, {}, { receiveMaximum: 2 });
  for (const id of [1, 2, 3]) {
    many.step(publish(1, id));
    if (id < 3) many.channel?.defer(id, 1);
  }
  assert.deepEqual(sent(many), ['disconnect 0x93']); // [MQTT-3.3.4-7]
  const full = connected(5, {}, { maxAwaitingRel: 1 });
  full.step(publish(2, 1));
  full.step(publish(2, 2));
  assert.deepEqual(sent(full), ['pubrec #2 0x97']);
});

test('topic aliases are of their connection', () => {
  const broker = connected(5, { properties: { sessionExpiryInterval: 9 } });
  broker.step(publish(0, 0, { topicName: 'long/name', properties: { topicAlias: 1 } }));
  broker.step(publish(0, 0, { topicName: '', properties: { topicAlias: 1 } }));
  broker.step(publish(0, 0, { topicName: 'other', properties: { topicAlias: 1 } }));
  broker.step(publish(0, 0, { topicName: '', properties: { topicAlias: 1 } }));
  assert.deepEqual(
    broker.published.map((p) => p.message.topicName),
    ['long/name', 'long/name', 'other', 'other'],
  );
  broker.channel?.lost(0);
  broker.open();
  broker.step(connectPacket(5, { cleanStart: false }));
  broker.out.take();
  broker.step(publish(0, 0, { topicName: '', properties: { topicAlias: 1 } }));
  assert.deepEqual(sent(broker), ['disconnect 0x82']); // [MQTT-3.3.2-7]
});

test('QoS 1 and 2 to the client: the window, the queue, the order', () => {
  const broker = connected(5, { properties: { receiveMaximum: 2 } });
  for (const m of ['a', 'b', 'c', 'd']) give(broker, message(m, m === 'b' ? 2 : 1));
  give(broker, message('z', 0));
  assert.deepEqual(sent(broker), ['publish a q1 #1', 'publish b q2 #2', 'publish z q0 #0']); // [MQTT-3.3.4-9]
  assert.equal(broker.session?.queuedCount, 2);
  broker.step({ type: 'pubrec', packetId: 2, reasonCode: 0 });
  assert.deepEqual(sent(broker), ['pubrel #2']);
  broker.step({ type: 'puback', packetId: 1, reasonCode: 0 });
  assert.deepEqual(sent(broker), ['publish c q1 #3']);
  broker.step({ type: 'pubcomp', packetId: 2, reasonCode: 0 });
  assert.deepEqual(sent(broker), ['publish d q1 #4']);
  broker.step({ type: 'puback', packetId: 77, reasonCode: 0 });
  broker.step({ type: 'pubcomp', packetId: 78, reasonCode: 0 });
  assert.equal(broker.counters.pubackMissed.value, 1);
  assert.equal(broker.counters.pubcompMissed.value, 1);
  assert.equal(broker.session?.inflightCount, 2);
});

test('a resumed session repeats what was not completed, in order, within the new window', () => {
  const lasting = { cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const broker = connected(5, lasting);
  for (const m of ['a', 'b', 'c', 'd']) give(broker, message(m, m === 'b' ? 2 : 1));
  broker.step({ type: 'pubrec', packetId: 2, reasonCode: 0 });
  broker.step({ type: 'puback', packetId: 3, reasonCode: 0 });
  broker.channel?.lost(0);
  give(broker, message('e'));
  give(broker, message('f', 0));
  broker.open();
  broker.step(connectPacket(5, { ...lasting, properties: { sessionExpiryInterval: 100, receiveMaximum: 2 } }));
  // [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.3.1-1]
  assert.deepEqual(sent(broker), ['connack 0x0', 'publish a q1 dup #1', 'pubrel #2']);
  broker.step({ type: 'pubcomp', packetId: 2, reasonCode: 0 });
  assert.deepEqual(sent(broker), ['publish d q1 dup #4']);
  broker.step({ type: 'puback', packetId: 1, reasonCode: 0 });
  assert.deepEqual(sent(broker), ['publish e q1 #5', 'publish f q0 #0']);
});

test('a session that ends with its connection keeps no messages for it', () => {
  const broker = connected(4);
  give(broker, message('a'));
  assert.equal([...(broker.session?.inflight?.entries() ?? [])][0]?.message, undefined);
  const lasting = connected(4, { cleanStart: false });
  const m = message('a');
  give(lasting, m);
  assert.equal([...(lasting.session?.inflight?.entries() ?? [])][0]?.message, m);
  assert.ok(m.kept);
});

test('the queue: bounds, drop policy, expiry', () => {
  const lasting = { cleanStart: false };
  const broker = connected(4, lasting, { maxQueuedMessages: 2 });
  broker.channel?.lost(0);
  for (const m of ['a', 'b', 'c']) give(broker, message(m));
  give(broker, message('z', 0));
  assert.equal(broker.counters.droppedQueueFull.value, 2);
  assert.equal(broker.session?.queueDropped, 2);
  broker.open();
  broker.step(connectPacket(4, lasting));
  assert.deepEqual(sent(broker), ['connack 0x0', 'publish b q1 #1', 'publish c q1 #2']);

  const byBytes = connected(4, lasting, { maxQueuedBytes: 400 });
  byBytes.channel?.lost(0);
  for (const m of ['a', 'b', 'c', 'd']) give(byBytes, message(m));
  assert.equal(byBytes.session?.queuedCount, 3);
  give(byBytes, message('x'.repeat(500)));
  assert.equal(byBytes.session?.queuedCount, 3);

  const old = connected(4, lasting);
  old.channel?.lost(0);
  give(old, message('a', 1, 50));
  give(old, message('b', 1, 150));
  old.time = 100;
  old.open();
  old.step(connectPacket(4, lasting));
  assert.deepEqual(sent(old), ['connack 0x0', 'publish b q1 #1']); // [MQTT-3.3.2-5]
  assert.equal(old.counters.droppedExpired.value, 1);
});

test('the interval that is left travels with the message', () => {
  const broker = connected(5, { cleanStart: false, properties: { sessionExpiryInterval: 100 } });
  give(broker, message('a', 1, 10_000));
  broker.time = 2500;
  give(broker, message('b', 0, 10_000));
  const intervals = broker.out.take().map((p) => (p.type === 'publish' ? p.properties?.messageExpiryInterval : undefined));
  assert.deepEqual(intervals, [10, 8]); // [MQTT-3.3.2-6]
});

test('output that is full: QoS 0 is dropped, the rest waits', () => {
  const broker = connected(4);
  broker.out.writable = false;
  give(broker, message('a', 0));
  give(broker, message('b', 1));
  assert.deepEqual(sent(broker), []);
  assert.equal(broker.counters.droppedQos0.value, 1);
  broker.out.writable = true;
  give(broker, message('c', 1));
  broker.channel?.drained();
  assert.deepEqual(sent(broker), ['publish b q1 #1', 'publish c q1 #2']);
});

test('QoS 0 messages do not overtake those that wait', () => {
  const broker = connected(4, { cleanStart: false }, { maxInflight: 1 });
  broker.channel?.lost(0);
  for (const m of ['a', 'b']) give(broker, message(m, 1));
  give(broker, message('c', 0));
  broker.open();
  broker.step(connectPacket(4, { cleanStart: false }));
  give(broker, message('d', 0));
  assert.deepEqual(sent(broker), ['connack 0x0', 'publish a q1 #1']);
  broker.step({ type: 'puback', packetId: 1, reasonCode: 0 });
  broker.step({ type: 'puback', packetId: 2, reasonCode: 0 });
  assert.deepEqual(sent(broker), ['publish b q1 #2', 'publish c q0 #0', 'publish d q0 #0']);
});

test('a packet longer than the client takes is left out', () => {
  const broker = connected(5, { properties: { maximumPacketSize: 20 } });
  give(broker, message('x'.repeat(30), 1));
  give(broker, message('x'.repeat(30), 0));
  give(broker, message('y', 1));
  assert.deepEqual(sent(broker), ['publish y q1 #1']); // [MQTT-3.1.2-24] [MQTT-3.1.2-25]
  assert.equal(broker.counters.droppedTooLarge.value, 2);
});

test('packet identifiers skip those in use and wrap', () => {
  const broker = connected(4, {}, { maxInflight: 3 });
  assert.ok(broker.session !== undefined);
  broker.session.lastPacketId = 65_534;
  for (const m of ['a', 'b', 'c']) give(broker, message(m));
  broker.step({ type: 'puback', packetId: 1, reasonCode: 0 });
  broker.session.lastPacketId = 65_534;
  give(broker, message('d'));
  assert.deepEqual(sent(broker), ['publish a q1 #65535', 'publish b q1 #1', 'publish c q1 #2', 'publish d q1 #1']);
});

test('DISCONNECT and the will', () => {
  const will = { topicName: 'w', payload: utf8Encode('x'), qos: 0 as const, retain: false };
  const cases: [ProtocolVersion, Packet, boolean][] = [
    [4, { type: 'disconnect', reasonCode: 0 }, true],
    [5, { type: 'disconnect', reasonCode: 0 }, true], // [MQTT-3.1.2-10]
    [5, { type: 'disconnect', reasonCode: 4 }, false],
    [5, { type: 'disconnect', reasonCode: 0x93 }, false],
  ];
  for (const [version, packet, normal] of cases) {
    const broker = connected(version, { will });
    broker.step(packet);
    assert.equal(broker.ends[0]?.normal, normal);
    assert.deepEqual(sent(broker), []);
  }
});

test('DISCONNECT may change the expiry of a session, but not give it one', () => {
  const broker = connected(5, { properties: { sessionExpiryInterval: 10 } });
  broker.step({ type: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 0xffffffff } });
  assert.equal(broker.session?.expiryIntervalS, 0xffffffff);
  const none = connected(5);
  none.step({ type: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 10 } });
  assert.deepEqual(sent(none), ['disconnect 0x82']);
});

test('SUBSCRIBE: why a filter is not taken is said per filter', () => {
  const broker = connected(5, {}, { wildcardSubscription: false, sharedSubscription: false, maxSubscriptions: 1, maxTopicLevels: 3, maxQos: 1 });
  const filter = (topicFilter: string) => ({ topicFilter, qos: 2 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const });
  const filters = ['ok', '$share/g/x', 'a/+', 'a/b/c/d', 'second'];
  broker.step({ type: 'subscribe', packetId: 5, subscriptions: filters.map(filter) });
  assert.deepEqual(
    broker.subscribed[0]?.requests.map((r) => r.reasonCode),
    [1, 0x9e, 0xa2, 0x8f, 0x97],
  );
});

test('SUBSCRIBE and UNSUBSCRIBE: what is no filter ends the connection', () => {
  for (const topicFilter of ['', 'a/#/b', 'a+', '$share//x', '$share/g', '$share/g/', '$share/+/x']) {
    for (const version of [3, 4, 5] as const) {
      const subscribing = connected(version);
      const rest = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
      subscribing.step({
        type: 'subscribe',
        packetId: 5,
        subscriptions: [
          { topicFilter: 'ok', ...rest },
          { topicFilter, ...rest },
        ],
      });
      const unsubscribing = connected(version);
      unsubscribing.step({ type: 'unsubscribe', packetId: 5, topicFilters: ['ok', topicFilter] });
      // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.13.1-1]
      for (const broker of [subscribing, unsubscribing]) assert.deepEqual(sent(broker), version === 5 ? ['disconnect 0x8f'] : []);
      assert.deepEqual([subscribing.subscribed, unsubscribing.unsubscribed], [[], []]);
    }
  }
});

test('a bridge gets nothing back and sees RETAIN as published', () => {
  const broker = connected(4, { bridgeMode: true });
  broker.step({
    type: 'subscribe',
    packetId: 5,
    subscriptions: [{ topicFilter: 'a', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
  });
  assert.deepEqual(broker.subscribed[0]?.requests[0]?.options, {
    qos: 0,
    noLocal: true,
    retainAsPublished: true,
    retainHandling: 0,
    subscriptionIdentifier: undefined,
  });
  // There is no no-local among the members of a group. [MQTT-3.8.3-4]
  broker.step({
    type: 'subscribe',
    packetId: 6,
    subscriptions: [{ topicFilter: '$share/g/a', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
  });
  assert.equal(broker.subscribed[1]?.requests[0]?.options.noLocal, false);
});

test('no-local, retain-as-published and subscription identifiers', () => {
  const broker = connected(5);
  assert.ok(broker.session instanceof Session);
  const options = { qos: 1 as const, noLocal: true, retainAsPublished: true, retainHandling: 0 as const, subscriptionIdentifier: 7 };
  const subscription = new Subscription(broker.session, 't', options);
  const own = makeMessage('t', utf8Encode('a'), 2, true, undefined, Number.POSITIVE_INFINITY, 'c');
  broker.frames.begin(own, 0);
  assert.equal(deliver(subscription, own, broker.frames), false); // [MQTT-3.8.3-3]
  const other = makeMessage('t', utf8Encode('b'), 2, true, undefined, Number.POSITIVE_INFINITY, 'd');
  broker.frames.begin(other, 0);
  assert.equal(deliver(subscription, other, broker.frames), true);
  const packet = broker.out.take()[0];
  assert.equal(packet === undefined ? '' : short(packet), 'publish b q1 retain #1');
  assert.deepEqual(packet?.type === 'publish' ? packet.properties?.subscriptionIdentifiers : undefined, [7]); // [MQTT-3.3.4-3]
});

test("the publisher's own frame is passed on when nothing in it changes", () => {
  const broker = connected(4);
  broker.wire(publish(0, 0), 4);
  const { frames, published } = broker;
  const m = published[0]?.message;
  assert.ok(m !== undefined);
  // Seen from the packet, as `broker` does it.
  let source: PublishPacket | undefined;
  const spy = new OneSession();
  spy.publish = (_c, _s, _m, p) => {
    source = p;
  };
  spy.open();
  spy.step(connectPacket(4));
  spy.wire(publish(0, 0), 4);
  assert.ok(source !== undefined);
  frames.begin(m, 0, source, 4);
  assert.equal(frames.frame(3, 0, false, undefined, false).bytes, source.rawChunk);
  assert.notEqual(frames.frame(5, 0, false, undefined, false).bytes, source.rawChunk);
  assert.notEqual(frames.frame(4, 0, true, undefined, false).bytes, source.rawChunk);
});
