// Random conversations between a client that keeps the rules and a channel, against a simple model of
// what each side is owed. Connections break at any moment; acknowledgements come in any order.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Packet } from '#mqtt/packet.js';
import { settle } from './channel.js';
import { deliverAs } from './deliver.js';
import type { Qos } from './message.js';
import { makeMessage } from './message.js';
import { connectPacket, OneSession } from './recorder.test.js';
import type { DeferredAck } from './session.js';

type Op =
  | { readonly op: 'deliver'; readonly qos: Qos }
  | { readonly op: 'answer'; readonly pick: number }
  | { readonly op: 'publish'; readonly qos: Qos }
  | { readonly op: 'settle'; readonly pick: number; readonly code: number }
  | { readonly op: 'release'; readonly pick: number }
  | { readonly op: 'break' }
  | { readonly op: 'resume'; readonly window: number }
  | { readonly op: 'stall' }
  | { readonly op: 'drain' };

const qos = fc.constantFrom<Qos>(0, 1, 2);
const operation: fc.Arbitrary<Op> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ op: fc.constant('deliver' as const), qos }) },
  { weight: 8, arbitrary: fc.record({ op: fc.constant('answer' as const), pick: fc.nat(7) }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('publish' as const), qos }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('settle' as const), pick: fc.nat(7), code: fc.constantFrom(0, 0, 0, 0x10, 0x97) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('release' as const), pick: fc.nat(7) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('break' as const) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('resume' as const), window: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('stall' as const) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('drain' as const) }) },
);

/** The client and the books on both directions. */
class Conversation {
  readonly broker = new OneSession({ maxInflight: 4 });
  connected = false;
  #next = 0;
  // Broker to client.
  /** Given to the session with QoS 1 or 2, by text, in order. */
  readonly owed: { readonly text: string; readonly qos: Qos }[] = [];
  /** First arrivals at the client's application, in order. */
  readonly got: string[] = [];
  /** Packets that the client has not answered, in the order they came on this connection. */
  unanswered: Packet[] = [];
  /** QoS 2 identifiers that the client knows and has not seen a PUBREL for: it takes a repetition for one. */
  readonly known = new Set<number>();
  #window = 4;
  // Client to broker.
  #packetId = 0;
  /** Published and not settled by the "cluster". */
  pending: { readonly ack: DeferredAck; readonly packetId: number; readonly qos: Qos }[] = [];
  /** QoS 2 messages that were refused while their client was away: to the broker their repetition is a new message. */
  readonly refused = new Set<number>();
  /** What the channel owes, in order: [kind, id]. */
  expected: string[] = [];
  /** QoS 2 messages of the client: sent, and whether PUBREC came. */
  readonly outgoing = new Map<number, 'sent' | 'received'>();
  published = 0;

  run(op: Op): void {
    switch (op.op) {
      case 'deliver':
        this.#deliver(op.qos);
        break;
      case 'answer':
        this.#answer(op.pick);
        break;
      case 'publish':
        this.#publish(op.qos);
        break;
      case 'settle':
        this.#settle(op.pick, op.code);
        break;
      case 'release':
        this.#release(op.pick);
        break;
      case 'break':
        if (this.connected) this.broker.channel?.lost(0);
        this.connected = false;
        this.unanswered = [];
        break;
      case 'resume':
        this.#resume(op.window);
        break;
      case 'stall':
        this.broker.out.writable = false;
        break;
      case 'drain':
        this.broker.out.writable = true;
        this.broker.channel?.drained();
    }
    this.#read();
  }

  #deliver(q: Qos): void {
    const { session } = this.broker;
    if (session === undefined) return;
    const text = `m${this.#next++}`;
    const message = makeMessage('t', utf8Encode(text), q, false, undefined, Number.POSITIVE_INFINITY, 'p');
    if (q > 0) this.owed.push({ text, qos: q });
    this.broker.frames.begin(message, 0);
    deliverAs(session, message, q, false, undefined, this.broker.frames);
    this.broker.frames.end();
  }

  #answer(pick: number): void {
    if (!this.connected || this.unanswered.length === 0) return;
    const [packet] = this.unanswered.splice(pick % this.unanswered.length, 1);
    if (packet?.type === 'publish') {
      this.broker.step({ type: packet.qos === 1 ? 'puback' : 'pubrec', packetId: packet.packetId, reasonCode: 0 });
    } else if (packet?.type === 'pubrel') {
      this.broker.step({ type: 'pubcomp', packetId: packet.packetId, reasonCode: 0 });
    }
  }

  /** What the client gets. */
  #read(): void {
    for (const packet of this.broker.out.take()) {
      if (packet.type === 'publish') this.#receive(packet);
      else if (packet.type === 'pubrel') {
        this.known.delete(packet.packetId);
        this.unanswered.push(packet);
      } else if (packet.type === 'puback' || packet.type === 'pubrec') this.#acknowledged(packet.type, packet.packetId, packet.reasonCode);
    }
    const open = this.unanswered.filter((p) => p.type === 'publish').length;
    assert.ok(open <= this.#window, `${open} unacknowledged in a window of ${this.#window}`); // [MQTT-3.3.4-9]
  }

  #receive(packet: Packet & { type: 'publish' }): void {
    const text = utf8Decode(packet.payload) ?? '';
    if (packet.qos === 0) return;
    this.unanswered.push(packet);
    if (packet.qos === 2) {
      if (this.known.has(packet.packetId)) {
        assert.ok(packet.dup, 'a repetition without DUP'); // [MQTT-3.3.1-1]
        return;
      }
      assert.ok(!this.got.includes(text), `${text} came twice with QoS 2`); // [MQTT-4.3.3-6]
      this.known.add(packet.packetId);
    } else if (this.got.includes(text)) {
      assert.ok(packet.dup, 'a repetition without DUP');
      return;
    }
    this.got.push(text);
  }

  #publish(q: Qos): void {
    const { broker } = this;
    if (!this.connected || broker.channel === undefined) return;
    this.#packetId = (this.#packetId % 0xffff) + 1;
    const packetId = q === 0 ? 0 : this.#packetId;
    broker.step({ type: 'publish', topicName: 't', payload: utf8Encode('x'), qos: q, retain: false, dup: false, packetId });
    this.published++;
    assert.equal(broker.published.length, this.published);
    if (q === 0) return;
    this.pending.push({ ack: broker.channel.defer(packetId, q), packetId, qos: q });
    this.expected.push(`${q === 1 ? 'puback' : 'pubrec'} ${packetId}`);
    if (q === 2) this.outgoing.set(packetId, 'sent');
  }

  #settle(pick: number, code: number): void {
    if (this.pending.length === 0) return;
    const [chosen] = this.pending.splice(pick % this.pending.length, 1);
    if (chosen === undefined) return;
    if (code >= 0x80 && chosen.qos === 2 && !this.connected) this.refused.add(chosen.packetId);
    settle(chosen.ack, code);
  }

  /** In the order of the PUBLISHes, each once, nothing else. */
  #acknowledged(type: string, packetId: number, reasonCode: number): void {
    assert.equal(`${type} ${packetId}`, this.expected.shift());
    if (type !== 'pubrec') return;
    if (reasonCode >= 0x80) this.outgoing.delete(packetId);
    else this.outgoing.set(packetId, 'received');
  }

  #release(pick: number): void {
    const ready = [...this.outgoing].filter(([, state]) => state === 'received');
    const chosen = ready[pick % Math.max(1, ready.length)];
    if (!this.connected || chosen === undefined) return;
    this.broker.step({ type: 'pubrel', packetId: chosen[0], reasonCode: 0 });
    const last = this.broker.out.packets.at(-1);
    assert.deepEqual(last, { type: 'pubcomp', packetId: chosen[0], reasonCode: 0 });
    this.outgoing.delete(chosen[0]);
  }

  #resume(window: number): void {
    if (this.connected) return;
    const { broker } = this;
    // What was owed on the old connection is not sent on the new one, unless the client repeats it.
    this.expected = [];
    this.unanswered = [];
    this.#window = window;
    broker.open();
    broker.step(connectPacket(5, { cleanStart: broker.session === undefined, properties: { sessionExpiryInterval: 100, receiveMaximum: window } }));
    this.connected = true;
    assert.equal(broker.out.packets[0]?.type, 'connack');
    // QoS 2 messages without a PUBREC are repeated; the channel must not take one for a new message.
    for (const [packetId, state] of this.outgoing) {
      if (state !== 'sent') continue;
      this.expected.push(`pubrec ${packetId}`);
      broker.step({ type: 'publish', topicName: 't', payload: utf8Encode('x'), qos: 2, retain: false, dup: true, packetId });
      if (!this.refused.delete(packetId) || broker.channel === undefined) continue;
      this.published++;
      this.pending.push({ ack: broker.channel.defer(packetId, 2), packetId, qos: 2 });
    }
    assert.equal(broker.published.length, this.published);
  }

  /** No more faults: everything must come to its end. */
  finish(): void {
    this.run({ op: 'resume', window: 4 });
    this.run({ op: 'drain' });
    while (this.pending.length > 0) this.run({ op: 'settle', pick: 0, code: 0 });
    for (let i = 0; this.unanswered.length > 0; i++) {
      assert.ok(i < 10_000, 'the conversation does not end');
      this.run({ op: 'answer', pick: 0 });
    }
    assert.deepEqual(
      this.got,
      this.owed.map((m) => m.text),
    ); // all of them, in order [MQTT-4.6.0-5]
    assert.deepEqual(this.expected, []);
    assert.equal(this.broker.session?.inflightCount, 0);
    assert.equal(this.broker.session?.queuedCount, 0);
  }
}

test('a channel keeps its promises in every conversation', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
      const conversation = new Conversation();
      conversation.run({ op: 'resume', window: 4 });
      for (const op of operations) conversation.run(op);
      conversation.finish();
    }),
    { numRuns: 400 },
  );
});
