import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Packet } from '#mqtt/packet.js';
import { deliver } from './deliver.js';
import { makeMessage } from './message.js';
import { OutAliases } from './out-aliases.js';
import { connectPacket, OneSession } from './recorder.test.js';
import { Subscription } from './session.js';

/** The client's side of Topic Aliases: names by alias, as the specification has it. */
class Receiver {
  readonly names = new Map<number, string>();
  aliased = 0;

  read(packets: readonly Packet[], max: number): string[] {
    const out: string[] = [];
    for (const p of packets) {
      if (p.type !== 'publish') continue;
      const alias = p.properties?.topicAlias;
      if (alias !== undefined) assert.ok(alias >= 1 && alias <= max); // [MQTT-3.1.2-26] [MQTT-3.3.2-8] [MQTT-3.3.2-11]
      let name = p.topicName;
      if (alias !== undefined && name === '') {
        this.aliased++;
        name = this.names.get(alias) ?? assert.fail(`alias ${alias} means nothing`);
      } else if (alias !== undefined) this.names.set(alias, name);
      out.push(`${name}=${utf8Decode(p.payload)} q${p.qos}`);
    }
    return out;
  }
}

const names = ['a/b/c', 'fleet/7/position', 'x', 'long/'.repeat(40), 'temperature', 'äöü/日本/😀'];

function give(broker: OneSession, topicName: string, text: string, qos: 0 | 1 | 2, identifier?: number): void {
  const session = broker.session ?? assert.fail();
  const options = { qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: identifier } as const;
  const properties = text.length % 2 === 0 ? { contentType: 'c'.repeat(126 - (text.length % 7)), userProperties: [['k', text] as const] } : undefined;
  const message = makeMessage(topicName, utf8Encode(text), qos, false, properties, Number.POSITIVE_INFINITY, 'p');
  broker.frames.begin(message, broker.time);
  deliver(new Subscription(session, '#', options), message, broker.frames);
  broker.frames.end();
}

test('[MQTT-3.1.2-26] [MQTT-3.3.2-11] whatever is sent, the client understands it, with aliases it allowed', () => {
  const step = fc.record({
    name: fc.constantFrom(...names),
    text: fc.string({ maxLength: 8 }),
    qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
    identifier: fc.option(fc.constantFrom(1, 200), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 5 }), fc.integer({ min: 0, max: 3 }), (steps, max, ours) => {
      const broker = new OneSession({ maxTopicAliasOut: ours, maxInflight: 1000 });
      broker.open();
      broker.step(connectPacket(5, { properties: { topicAliasMaximum: max } }));
      broker.out.take();
      const receiver = new Receiver();
      const seen: string[] = [];
      for (const s of steps) {
        give(broker, s.name, s.text, s.qos, s.identifier);
        seen.push(...receiver.read(broker.out.take(), Math.min(max, ours)));
      }
      assert.deepEqual(
        seen,
        steps.map((s) => `${s.name}=${s.text} q${s.qos}`),
      );
    }),
    { numRuns: 300 },
  );
});

test('a name gets its alias with the first message and is not sent again, but with QoS 2', () => {
  const broker = new OneSession();
  broker.open();
  broker.step(connectPacket(5, { properties: { topicAliasMaximum: 1 } }));
  broker.out.take();
  for (const qos of [0, 1, 2] as const) give(broker, 'some/topic', 'm', qos);
  give(broker, 'other/topic', 'm', 0); // takes the mark
  give(broker, 'x', 'm', 0); // too short to gain anything
  give(broker, 'other/topic', 'm', 0); // takes the alias
  give(broker, 'some/topic', 'm', 0); // which is not lost at once
  const got = broker.out.take().map((p) => (p.type === 'publish' ? `${p.topicName}#${p.properties?.topicAlias}` : p.type));
  assert.deepEqual(got, ['some/topic#1', '#1', 'some/topic#1', 'other/topic#undefined', 'x#undefined', 'other/topic#1', 'some/topic#undefined']);
});

test('[MQTT-3.1.2-27] no aliases to who allows none, [MQTT-3.3.2-7] and none from an earlier connection', () => {
  for (const [version, properties] of [
    [5, undefined],
    [5, { topicAliasMaximum: 0 }],
    [4, undefined],
  ] as const) {
    const broker = new OneSession();
    broker.open();
    broker.step(connectPacket(version, { properties }));
    broker.out.take();
    for (let i = 0; i < 3; i++) give(broker, 'some/topic', 'm', 0);
    for (const p of broker.out.take()) assert.equal(p.type === 'publish' && p.topicName, 'some/topic');
  }
  const broker = new OneSession();
  const again = { cleanStart: false, properties: { topicAliasMaximum: 9, sessionExpiryInterval: 100 } };
  for (let connection = 0; connection < 2; connection++) {
    broker.open();
    broker.step(connectPacket(5, again));
    if (connection === 0) give(broker, 'some/topic', 'm', 1);
    const [, publish] = broker.out.take();
    // The second connection gets it again, with its name and DUP.
    assert.ok(publish?.type === 'publish');
    assert.deepEqual([publish.topicName, publish.dup, publish.properties?.topicAlias], ['some/topic', connection === 1, 1]);
    broker.channel?.lost(0);
  }
});

test('an alias that would make a packet too large is not set; one that makes it small enough is used', () => {
  const broker = new OneSession();
  broker.open();
  const name = 'n'.repeat(20);
  broker.step(connectPacket(5, { properties: { topicAliasMaximum: 9, maximumPacketSize: 32 } }));
  broker.out.take();
  give(broker, name, '1234567', 0); // exactly as much as it takes without an alias
  give(broker, name, '123', 0);
  give(broker, name, '123456789012345', 0);
  give(broker, name, '123456789012345678901234567', 0);
  const got = broker.out.take().map((p) => (p.type === 'publish' ? `${p.topicName === ''}#${p.properties?.topicAlias}` : p.type));
  assert.deepEqual(got, ['false#undefined', 'false#1', 'true#1']);
  assert.equal(broker.counters.droppedTooLarge.value, 1); // [MQTT-3.1.2-24]
});

test('what is sent often keeps its alias in a stream of names that come once', () => {
  const aliases = new OutAliases(8);
  let known = 0;
  for (let i = 0; i < 10_000; i++) {
    if (aliases.find('often') > 0) known++;
    else aliases.claim('often');
    if (aliases.find(`once/${i}`) === 0) aliases.claim(`once/${i}`);
  }
  assert.equal(known, 9_999);
});
