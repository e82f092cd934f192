// Plain messages that are like the last one take a shortcut: what makes it one, and what it must not be taken for.
// That it delivers what the long way does, whatever happens meanwhile, is passing.test.ts's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Access } from '#broker/access.js';
import { Shortcut } from '#broker/shortcut.js';
import { encode } from '#mqtt/encoder.js';
import type { ProtocolVersion, PublishPacket } from '#mqtt/packet.js';
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

  constructor(version: ProtocolVersion = 4, topicFilter: string = 't', more: BenchOptions = {}) {
    const access: Access = {
      authenticate: (_request, answer) => answer(0),
      mayPublish: () => !this.denied,
      maySubscribe: () => true,
      standing: () => ({ untilS: this.untilS, counts: 1 }),
      changes: 0,
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

test('properties of a message are read', () => {
  const world = new World(5).warm();
  world.send(world.message('with', { properties: { contentType: 'text' } }), world.message('without'));
  world.bench.settle();
  const [first, second] = world.subscriber.take() as PublishPacket[];
  assert.equal(first?.properties?.contentType, 'text');
  assert.equal(second?.properties?.contentType, undefined);
  assert.equal(world.stood, 0);
});

test('a message of 5.0 that ends with its name is malformed', () => {
  const world = new World(5).warm();
  world.send(Uint8Array.of(0x30, 3, 0, 1, 0x74));
  world.bench.settle();
  assert.ok(world.publisher.net.closed);
});

test('a name that is longer than the packet is malformed', () => {
  const world = new World(4).warm();
  world.send(Uint8Array.of(0x30, 2, 0, 1), world.message('next'));
  world.bench.settle();
  assert.ok(world.publisher.net.closed);
});

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
