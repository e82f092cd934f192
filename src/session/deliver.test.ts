import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { Packet } from '#mqtt/packet.js';
import { type Channel, settle } from './channel.js';
import { deliver, deliverAs } from './deliver.js';
import type { SessionLimits } from './limits.js';
import { type Message, makeMessage, type Qos } from './message.js';
import { connectPacket, OneSession } from './recorder.test.js';
import { type DeferredAck, type Session, Subscription } from './session.js';

const message = (topicName: string, text: string, qos: Qos = 1): Message =>
  makeMessage(topicName, utf8Encode(text), qos, false, undefined, Number.POSITIVE_INFINITY, 'p');

const lasting = connectPacket(4, { cleanStart: false });

/** Its client is away. */
function away(limits: Partial<SessionLimits>): OneSession {
  const broker = new OneSession(limits);
  broker.open();
  broker.step(lasting);
  broker.channel?.lost(0);
  return broker;
}

function queue(broker: OneSession, m: Message): void {
  assert.ok(broker.session !== undefined);
  broker.frames.begin(m, broker.time);
  deliverAs(broker.session, m, m.qos, false, undefined, broker.frames);
  broker.frames.end();
}

/** What the client gets when it is back. */
function back(broker: OneSession): string[] {
  broker.open();
  broker.step(lasting);
  return broker.out.take().flatMap((p) => (p.type === 'publish' ? [String.fromCharCode(...p.payload)] : []));
}

test('the queue with priorities: who leaves first, and who is dropped', () => {
  const priorities = {
    ranks: new Map([
      ['high', 9],
      ['low', 1],
    ]),
    otherwise: 0,
  };
  const broker = away({ priorities, maxQueuedMessages: 4 });
  queue(broker, message('else', 'a'));
  queue(broker, message('low', 'b'));
  queue(broker, message('high', 'c'));
  queue(broker, message('low', 'd'));
  queue(broker, message('high', 'e')); // for a
  queue(broker, message('low', 'f')); // for b
  queue(broker, message('else', 'g')); // all others are above it
  queue(broker, message('high', 'h', 0)); // QoS 0 pushes nobody out
  assert.equal(broker.counters.droppedQueueFull.value, 4);
  assert.equal(broker.session?.queueDropped, 4);
  assert.deepEqual(back(broker), ['c', 'e', 'd', 'f']);

  const first = away({ priorities: { ...priorities, otherwise: 256 } });
  for (const topicName of ['low', 'else', 'high']) queue(first, message(topicName, topicName));
  assert.deepEqual(back(first), ['else', 'high', 'low']);
});

test('a client that is slower than a flood of high priority gets the others too', () => {
  const priorities = { ranks: new Map([['high', 3]]), otherwise: 0 };
  const broker = new OneSession({ priorities });
  broker.open();
  broker.step(connectPacket(5, { properties: { receiveMaximum: 1 } }));
  const got: string[] = [];
  for (let i = 0; i < 200; i++) {
    if (i < 5) queue(broker, message('else', 'm'));
    queue(broker, message('high', 'm'));
    for (const p of broker.out.take()) {
      if (p.type !== 'publish') continue;
      got.push(p.topicName);
      broker.step({ type: 'puback', packetId: p.packetId, reasonCode: 0 });
    }
  }
  assert.equal(got.filter((name) => name === 'else').length, 5);
  assert.ok(got.lastIndexOf('else') < 60, `${got.lastIndexOf('else')}`);
});

test('every message that is dropped is told once, with the reason that is counted', () => {
  for (const priorities of [undefined, { ranks: new Map([['t', 1]]), otherwise: 0 }]) {
    const told: string[] = [];
    const broker = away({ priorities, maxQueuedMessages: 2, queueQos0: false });
    broker.hooks.undelivered = (session, m, reason) => void told.push(`${session.clientId} ${String.fromCharCode(...m.payload)} ${reason}`);
    for (const text of ['a', 'b', 'c']) queue(broker, message('t', text));
    queue(broker, message('t', 'd', 0));
    queue(broker, { ...message('t', 'e'), expiresAt: 5 });
    broker.time = 10;
    assert.deepEqual(back(broker), ['c']);
    assert.deepEqual(told, ['c a queue_full', 'c d qos0_msg', 'c b queue_full', 'c e expired']);
    assert.equal(broker.counters.dropped.value, 4);
  }
});

test('mqtt.upgrade_qos: the subscription decides where it grants more', () => {
  for (const [published, granted, upgraded, usual] of [
    [0, 1, 1, 0],
    [0, 2, 2, 0],
    [2, 1, 2, 1],
    [1, 1, 1, 1],
  ] as const) {
    for (const upgradeQos of [true, false]) {
      const broker = new OneSession({ upgradeQos });
      broker.open();
      broker.step(connectPacket(5));
      broker.out.take();
      assert.ok(broker.session !== undefined);
      const options = { qos: granted, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: undefined } as const;
      const m = message('t', 'm', published);
      broker.frames.begin(m, 0);
      deliver(new Subscription(broker.session, 't', options), m, broker.frames);
      broker.frames.end();
      const [sent] = broker.out.take();
      assert.equal(sent?.type === 'publish' && sent.qos, upgradeQos ? upgraded : usual);
    }
  }
});

test('who wants to hear of complete deliveries hears of those that the client has', () => {
  const broker = new OneSession();
  broker.open();
  broker.step(connectPacket(5, { cleanStart: false, properties: { sessionExpiryInterval: 60 } }));
  const told: string[] = [];
  const listen = (): void => {
    broker.hooks.completed = (_s, m, qos, latencyMs) => told.push(`${m.topicName} ${qos} ${latencyMs}`);
  };
  const send = (topicName: string, qos: Qos): number => {
    broker.out.take();
    queue(broker, message(topicName, 'm', qos));
    const [sent] = broker.out.take();
    return sent?.type === 'publish' ? sent.packetId : 0;
  };
  const early = send('early', 2); // nobody listened when it was sent
  listen();
  const whole = send('whole', 2);
  const refused = send('refused', 2);
  const one = send('one', 1);
  send('zero', 0);
  broker.time += 7;
  broker.step({ type: 'puback', packetId: one, reasonCode: 0 });
  broker.step({ type: 'puback', packetId: one, reasonCode: 0 });
  broker.step({ type: 'pubrec', packetId: refused, reasonCode: 0x97 });
  for (const packetId of [early, whole]) broker.step({ type: 'pubrec', packetId, reasonCode: 0 });
  assert.deepEqual(told, ['one 1 7']);
  for (const packetId of [whole, early]) broker.step({ type: 'pubcomp', packetId, reasonCode: 0 });
  assert.deepEqual(told, ['one 1 7', 'whole 2 7', 'early 2 undefined']);
});

test('who wants to hear of acknowledgements hears of each once, with the message that it answers', () => {
  const broker = new (class extends OneSession {
    owed: DeferredAck[] = [];
    override publish(channel: Channel, _session: Session, m: Message, { packetId }: Packet & { type: 'publish' }): void {
      if (m.qos === 0) return;
      if (m.topicName === 'later') this.owed.push(channel.defer(packetId, m.qos));
      else channel.acknowledge(packetId, m.qos, m.topicName === 'now' ? 0 : 0x87);
    }
  })();
  broker.open();
  broker.step(connectPacket(5));
  const told: string[] = [];
  broker.hooks.answered = (_c, m, reasonCode) => told.push(`${m.topicName} ${m.qos} ${reasonCode}`);
  const publish = (topicName: string, qos: Qos, packetId: number, dup = false): void =>
    broker.step({ type: 'publish', topicName, payload: utf8Encode('m'), qos, retain: false, dup, packetId });
  publish('now', 2, 1);
  publish('now', 2, 1, true); // acknowledged again, and no message of its own
  publish('later', 1, 2);
  publish('refused', 1, 3);
  publish('now', 0, 0);
  assert.deepEqual(told, ['now 2 0']);
  for (const ack of broker.owed) settle(ack, 0x10);
  assert.deepEqual(told, ['now 2 0', 'later 1 16', 'refused 1 135']);
  assert.deepEqual(
    broker.out.take().flatMap((p) => (p.type === 'connack' || !('packetId' in p) ? [] : [p.packetId])),
    [1, 1, 2, 3],
  );
});
