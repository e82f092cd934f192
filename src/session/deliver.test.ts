import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import { deliver, deliverAs } from './deliver.js';
import type { SessionLimits } from './limits.js';
import { type Message, makeMessage, type Qos } from './message.js';
import { connectPacket, OneSession } from './recorder.test.js';
import { Subscription } from './session.js';

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
