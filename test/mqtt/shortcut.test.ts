// Plain messages that are like the last one take a shortcut: what makes it one, and what it must not be taken for.
// That it delivers what the long way does, whatever happens meanwhile, is passing.test.ts's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Access, Answer } from '#broker/access.js';
import { ReplicatedDelayed } from '#broker/delayed.js';
import { localPorts } from '#broker/local-ports.js';
import { brokerSchema } from '#broker/schema.js';
import { Shortcut } from '#broker/shortcut.js';
import { encode } from '#mqtt/encoder.js';
import type { ProtocolVersion, PublishPacket } from '#mqtt/packet.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster } from '../doubles/memory-database.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';
import { FakeCluster } from './fake-cluster.js';
import { type BenchClient, type BenchOptions, MqttBench, short } from './mqtt-bench.js';

const untilS = 10_000;

class World {
  readonly bench: MqttBench;
  readonly publisher: BenchClient;
  readonly subscriber: BenchClient;
  /** Messages on shortcuts. */
  stood = 0;
  denied = false;
  untilS = untilS;
  /** As what messages are counted. */
  counts: unknown = 1;
  /** Rights are known from somebody else, who is asked: his answers. */
  asks = false;
  readonly questions: Answer[] = [];
  changes = 0;

  constructor(version: ProtocolVersion = 4, topicFilter: string = 't', more: BenchOptions = {}) {
    const world = this;
    const access: Access = {
      authenticate: (_request, answer) => answer(0),
      mayPublish: () => (this.asks ? undefined : !this.denied),
      maySubscribe: () => true,
      standing: () => ({ untilS: this.untilS, counts: this.counts }),
      whenKnown: (_client, _action, _topic, _qos, _retain, answer) => void this.questions.push(answer),
      get changes(): number {
        return world.changes;
      },
      counted: (n) => {
        this.stood += n;
      },
    };
    this.bench = new MqttBench({ access, ...more });
    this.publisher = this.bench.connect({ clientId: 'publisher', protocolVersion: version });
    this.subscriber = this.bench.connect({ clientId: 'subscriber', protocolVersion: version });
    this.subscriber.subscribe({ topicFilter, qos: 1 });
  }

  /** On the wire. */
  message(text: string, more: Partial<PublishPacket> = {}): Uint8Array {
    const packet: PublishPacket = {
      type: 'publish',
      topicName: 't',
      payload: Buffer.from(text),
      qos: 0,
      retain: false,
      dup: false,
      packetId: 0,
      ...more,
    };
    return encode(packet, this.publisher.version);
  }

  send(...parts: Uint8Array[]): void {
    this.publisher.bytes(Buffer.concat(parts));
  }

  /** What the subscriber has got, as text. */
  got(): string[] {
    this.bench.settle();
    return this.subscriber.take().map((p) => (p.type === 'publish' ? Buffer.from(p.payload).toString() : short(p)));
  }

  /** Two chunks: from here on there is a shortcut. */
  warm(): this {
    for (const text of ['1', '2']) this.send(this.message(text));
    assert.deepEqual(this.got(), ['1', '2']);
    assert.equal(this.stood, 0);
    return this;
  }
}

for (const version of [4, 5] as const) {
  test(`the third chunk with a name takes it, and all messages of a chunk (${version})`, () => {
    const world = new World(version).warm();
    const long = 'x'.repeat(16_300);
    world.send(world.message('3'), world.message('4'), world.message(long), world.message(''));
    assert.deepEqual(world.got(), ['3', '4', long, '']);
    assert.equal(world.stood, 4);
  });
}

test('another name, another kind of message or another packet between them does not', () => {
  const world = new World(4, '#').warm();
  const others: [Partial<PublishPacket>, string][] = [
    [{ topicName: 'u' }, 'other name'],
    [{ topicName: 'tt' }, 'longer name'],
    [{ retain: true }, 'retained'],
    [{ qos: 1, packetId: 7 }, 'qos 1'],
    [{ qos: 2, packetId: 8 }, 'qos 2'],
  ];
  for (const [more, text] of others) {
    const before = world.stood;
    for (let i = 0; i < 3; i++) world.send(world.message('a'));
    const taken = world.stood - before;
    world.send(world.message('b'), world.message(text, more), world.message('c'));
    const got = world.got();
    assert.deepEqual(got.slice(0, 4), ['a', 'a', 'a', 'b']);
    assert.ok(got.includes('c'), text);
    if (more.qos !== 2) assert.ok(got.includes(text), text);
    assert.equal(world.stood - before, taken + 1, `${text}: only what was before it`);
  }
});

for (const [what, more] of [
  ['with an acknowledgement', { qos: 1, packetId: 7 }],
  ['retained', { retain: true }],
] as const) {
  test(`none for a message ${what} that comes in each chunk behind a plain one`, () => {
    const world = new World();
    world.subscriber.subscribe({ topicFilter: 'u', qos: 1 });
    for (let i = 0; i < 3; i++) world.send(world.message('plain'), world.message('other', { topicName: 'u', ...more }));
    world.got();
    world.send(world.message('other', { topicName: 'u' }));
    assert.deepEqual(world.got(), ['other']);
    assert.equal(world.stood, 0);
  });
}

test('none for a delayed message that comes in each chunk behind a plain one', () => {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema).join('1'.padStart(32, '0'));
  const delayed = new ReplicatedDelayed({ clock, metrics: new ReadableMetrics(), log: quietLog }, db, {});
  const world = new World(4, '#', { clock, ports: { ...localPorts(), delayed } });
  world.subscriber.subscribe('$delayed/#');
  clock.advance(50);
  const later = world.message('later', { topicName: '$delayed/600/t' });
  for (let i = 0; i < 4; i++) world.send(world.message('plain'), later);
  world.send(later);
  clock.advance(100);
  assert.deepEqual(world.got(), ['plain', 'plain', 'plain', 'plain']);
  assert.equal(delayed.count, 5);
});

test('another node gets what it subscribes to from then on, and what came behind a message that only this one gets', () => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const world = new World(4, 't', { clock, ports: cluster.ports() }).warm();
  const there = new MqttBench({ clock, ports: cluster.ports() }).connect();
  world.send(world.message('3'));
  there.subscribe('t');
  world.send(world.message('4'));
  assert.equal(world.stood, 1);
  assert.deepEqual([world.got(), there.seen()], [['3', '4'], ['t=4']]);
  there.send({ type: 'unsubscribe', packetId: 9, topicFilters: ['t'] });
  there.take();
  for (const text of ['5', '6', '7']) world.send(world.message(text));
  assert.deepEqual([world.got(), there.seen()], [['5', '6', '7'], []]);
  assert.equal(world.stood, 3);
  // One of the filters is for both nodes.
  world.subscriber.subscribe('u');
  there.subscribe('u');
  const other = world.message('u', { topicName: 'u' });
  for (let i = 0; i < 3; i++) world.send(world.message('t'), other);
  world.send(other);
  assert.deepEqual([world.got(), there.seen().length], [['t', 'u', 't', 'u', 't', 'u', 'u'], 4]);
});

test('properties of a message are read', () => {
  const world = new World(5).warm();
  world.send(world.message('with', { properties: { contentType: 'text' } }), world.message('without'));
  world.bench.settle();
  const [first, second] = world.subscriber.take() as PublishPacket[];
  assert.equal(first?.properties?.contentType, 'text');
  assert.equal(second?.properties?.contentType, undefined);
  assert.equal(world.stood, 0);
});

// What follows would make them whole.
for (const [what, version, bytes] of [
  ['message of 5.0 that ends with its name', 5, [0x30, 3, 0, 1, 0x74, 0]],
  ['name that is longer than the packet', 4, [0x30, 2, 0, 1, 0x74]],
] as const) {
  test(`a ${what} is malformed`, () => {
    const world = new World(version).warm();
    world.send(Uint8Array.from(bytes));
    assert.deepEqual(world.got(), []);
    assert.ok(world.publisher.net.closed);
  });
}

test('a length that is not in its shortest form, or of three bytes, is no shortcut', () => {
  const world = new World(4).warm();
  const large = 'y'.repeat(20_000);
  world.send(Uint8Array.of(0x30, 0x84, 0, 0, 1, 0x74, 0x33), world.message(large));
  assert.deepEqual(world.got(), ['3', large]);
  assert.equal(world.stood, 0);
});

test('the rest of a message that contains messages is none of them', () => {
  for (const taking of [false, true]) {
    const world = new World(4).warm();
    if (taking) world.send(world.message('3'));
    const inner = Buffer.from(world.message('inner')).toString('latin1');
    const outer = world.message(`....${inner}${inner}`);
    const at = outer.length - 2 * inner.length;
    world.send(world.message('whole'), outer.subarray(0, at));
    world.send(outer.subarray(at, at + inner.length));
    world.send(outer.subarray(at + inner.length));
    const got = world.got();
    assert.deepEqual(got.slice(-2), ['whole', `....${inner}${inner}`]);
  }
});

test('a name of more bytes than there is room for has none', () => {
  const topicName = 'n'.repeat(127);
  const world = new World(4, topicName);
  for (let i = 0; i < 4; i++) world.send(world.message(`${i}`, { topicName }));
  assert.deepEqual(world.got(), ['0', '1', '2', '3']);
  assert.equal(world.stood, 0);
  const shorter = topicName.slice(1);
  world.subscriber.subscribe(shorter);
  for (let i = 0; i < 4; i++) world.send(world.message(`${i}`, { topicName: shorter }));
  assert.deepEqual(world.got(), ['0', '1', '2', '3']);
  assert.equal(world.stood, 2);
});

test('a right ends with its time', () => {
  const world = new World(4);
  world.untilS = Math.floor(world.bench.clock.now() / 1000) + 2;
  world.warm();
  world.send(world.message('3'));
  assert.equal(world.stood, 1);
  world.denied = true;
  world.bench.clock.advance(1_900);
  world.send(world.message('4'));
  world.bench.clock.advance(2_000);
  world.send(world.message('5'));
  assert.deepEqual(world.got(), ['3', '4']);
});

test('none while a message of the client waits until its right is known', () => {
  const world = new World(4).warm();
  world.asks = true;
  world.changes++;
  for (const text of ['3', '4']) world.send(world.message(text));
  assert.deepEqual(world.got(), []);
  world.asks = false;
  world.questions.shift()?.(true);
  assert.deepEqual(world.got(), ['3', '4']);
  assert.equal(world.stood, 0);
  for (const text of ['5', '6']) world.send(world.message(text));
  assert.deepEqual(world.got(), ['5', '6']);
  assert.equal(world.stood, 1);
});

test('messages on rights that are not counted are not', () => {
  const world = new World(4);
  world.counts = undefined;
  world.warm();
  world.send(world.message('3'));
  assert.equal(world.stood, 0);
  world.changes++;
  world.counts = 1;
  for (const text of ['4', '5']) world.send(world.message(text));
  assert.equal(world.stood, 1);
});

test('memory is looked at after so many bytes, also those on shortcuts', () => {
  const world = new World(4).warm();
  const { listener } = world.bench;
  const message = world.message('3');
  let looks = 0;
  listener.look = () => {
    looks++;
    listener.lookAtBytes = Number.POSITIVE_INFINITY;
  };
  listener.lookAtBytes = listener.metrics.bytesReceived.value + 10 * message.length;
  for (let n = 1; n < 10; n++) world.send(message);
  assert.equal(looks, 0);
  world.send(message);
  assert.equal(looks, 1);
  assert.equal(world.stood, 10);
});

test('a group message that was picked for a member whose queue is full goes to one with room', () => {
  for (const lends of [true, false]) {
    const world = new World(4, 'unused', { lends, limits: { maxQueuedMessages: 2 } });
    const [full, free] = ['full', 'free'].map((clientId) => {
      const member = world.bench.connect({ clientId, protocolVersion: 5, properties: { receiveMaximum: 1 } });
      member.subscribe({ topicFilter: '$share/g/t', qos: 1 });
      return member;
    }) as [BenchClient, BenchClient];
    const publisher = world.bench.connect({ clientId: 'p5', protocolVersion: 5 });
    const message = encode({ type: 'publish', topicName: 't', payload: Buffer.of(0x78), qos: 0, retain: false, dup: false, packetId: 0 }, 5);
    for (let i = 0; i < 3; i++) publisher.bytes(message);
    const { stood } = world;
    full.subscribe({ topicFilter: 'full', qos: 1 });
    for (let i = 0; i < 3; i++) world.publisher.publish('full', 'q', { qos: 1 });
    world.bench.settle();
    full.take();
    free.take();
    for (let i = 0; i < 8; i++) publisher.bytes(message);
    world.bench.settle();
    assert.deepEqual([full.seen().length, free.seen().length], [0, 8]);
    if (lends) assert.ok(world.stood > stood, 'there is a shortcut');
  }
});

/** What a member that takes one message at a time gets, when others wait for it. */
function memberWithQueue(lends: boolean): { readonly seen: readonly string[]; readonly stood: number } {
  const world = new World(4, 'unused', { lends });
  const member = world.bench.connect({ clientId: 'member', protocolVersion: 5, properties: { receiveMaximum: 1 } });
  member.subscribe({ topicFilter: '$share/g/t', qos: 1 });
  // The publisher has to speak as the member does.
  const publisher = world.bench.connect({ clientId: 'p5', protocolVersion: 5 });
  const send = (text: string): void =>
    publisher.bytes(encode({ type: 'publish', topicName: 't', payload: Buffer.from(text), qos: 0, retain: false, dup: false, packetId: 0 }, 5));
  for (const text of ['1', '2', '3']) send(text);
  const other = world.bench.connect({ clientId: 'other', protocolVersion: 4 });
  for (const text of ['q1', 'q2']) other.publish('t', text, { qos: 1 });
  send('4');
  other.publish('t', 'q3', { qos: 1 });
  send('5');
  world.bench.settle();
  member.acknowledge();
  world.bench.settle();
  return { seen: member.seen(), stood: world.stood };
}

test('a group message that was picked for a member with a queue gets there as on the long way', () => {
  const [short, long] = [memberWithQueue(true), memberWithQueue(false)];
  assert.deepEqual(short.seen, long.seen);
  assert.equal(short.seen.length, 8);
  assert.deepEqual([short.stood, long.stood], [3, 0]);
});

test('who sends nothing but messages on shortcuts is not silent', () => {
  const world = new World(4);
  const busy = world.bench.connect({ clientId: 'busy', protocolVersion: 4, keepAlive: 10 });
  for (let i = 0; i < 20; i++) {
    busy.bytes(world.message(`${i}`));
    world.bench.clock.advance(9_000);
  }
  assert.ok(world.stood > 10);
  assert.equal(busy.net.closed, false);
  world.bench.clock.advance(30_000);
  assert.ok(busy.net.closed);
});

test('limits of a listener hold', () => {
  const world = new World(4, 't', { listener: { messagesRate: 10 } });
  for (let i = 0; i < 12; i++) world.send(world.message(`${i}`));
  assert.equal(world.publisher.net.reading, false);
  assert.equal(world.stood, 0);
});

test('a shortcut ends with its connection, however that ends', () => {
  const before = Shortcut.count;
  for (const end of ['lost', 'closed', 'malformed', 'replaced', 'disconnect']) {
    const world = new World(4).warm();
    const { publisher } = world;
    world.send(world.message('3'));
    assert.equal(Shortcut.count, before + 1, end);
    // One that is not good now is there, too.
    if (end === 'closed') publisher.push({ type: 'pingreq' });
    if (end === 'lost') publisher.net.destroy();
    else if (end === 'closed') world.bench.listener.closeAll();
    else if (end === 'malformed') publisher.bytes(Uint8Array.of(0));
    else if (end === 'replaced') world.bench.connect({ clientId: 'publisher', protocolVersion: 4 });
    else publisher.push({ type: 'disconnect', reasonCode: 0 });
    world.bench.settle();
    world.bench.clock.advance(60_000);
    assert.equal(Shortcut.count, before, end);
    // What is read after the end is not looked at.
    publisher.net.handler?.onLent?.(world.message('late'), 0, 5);
    assert.equal(world.stood, 1);
  }
});
