// The decoder's own promises: views and no copies, bounded memory, limits, versions, stopping.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { defined } from '#base/assert.js';
import { fromHex } from '#base/bytes.js';
import { clean } from './arbitraries.test.js';
import { connectSizeMax, Decoder, DecoderSettings, smallPacketSize } from './decoder.js';
import { encode } from './encoder.js';
import type { ConnectPacket, Packet, PublishPacket } from './packet.js';
import { ReasonCode } from './reason-code.js';
import { cachedTopicBytesMax, TopicCache } from './topic-cache.js';

const bytesOf = (hex: string): Uint8Array => defined(fromHex(hex.replaceAll(' ', '')), 'hex');
const v4 = new DecoderSettings({ protocolVersion: 4 });
const v5 = new DecoderSettings({ protocolVersion: 5 });

function decode(decoder: Decoder, ...chunks: Uint8Array[]): Packet[] {
  const packets: Packet[] = [];
  for (const chunk of chunks) {
    assert.equal(
      decoder.push(chunk, (p) => packets.push(p)),
      undefined,
    );
  }
  return packets;
}

const message = (payload: Uint8Array): PublishPacket => ({
  type: 'publish',
  topicName: 'a/b',
  payload,
  qos: 0,
  retain: false,
  dup: false,
  packetId: 0,
});

test('decoder: payload and frame are views of the chunk, with the places of name and identifier', () => {
  for (const [settings, version] of [
    [v4, 4],
    [v5, 5],
  ] as const) {
    const frame = encode({ ...message(Uint8Array.of(7, 8, 9)), qos: 1, packetId: 0x1234 }, version);
    const chunk = Buffer.concat([Buffer.of(0xc0, 0), frame, Buffer.of(0xc0, 0)]);
    const [, packet] = decode(new Decoder(settings), chunk) as [Packet, PublishPacket];
    assert.equal(packet.payload.buffer, chunk.buffer);
    assert.equal(packet.payload.byteOffset, chunk.byteOffset + 2 + frame.length - 3);
    assert.deepEqual([packet.raw?.buffer, packet.raw?.byteOffset, packet.raw?.length], [chunk.buffer, chunk.byteOffset + 2, frame.length]);
    assert.deepEqual(packet.raw, Uint8Array.from(frame));
    const raw = defined(packet.raw, 'raw');
    assert.deepEqual(raw.subarray(packet.rawTopicNameAt, packet.rawPacketIdAt), Uint8Array.of(0x61, 0x2f, 0x62));
    const at = defined(packet.rawPacketIdAt, 'rawPacketIdAt');
    assert.deepEqual([raw[at], raw[at + 1]], [0x12, 0x34]);
    assert.equal({ ...packet, topicName: 'x' }.raw, undefined); // a changed copy has no frame
  }
});

test('decoder: PUBLISHes to who wants them apart, whole or in pieces, in their place among the others', () => {
  const stream = Buffer.concat([Buffer.of(0xc0, 0), encode(message(Uint8Array.of(7)), 4), Buffer.of(0xc0, 0), encode(message(Uint8Array.of(8)), 4)]);
  for (const n of [1, 3, stream.length]) {
    const decoder = new Decoder(v4);
    const seen: string[] = [];
    for (let at = 0; at < stream.length; at += n) {
      decoder.push(
        stream.subarray(at, at + n),
        (p) => seen.push(p.type),
        (p) => seen.push(`${p.payload[0]}`),
      );
    }
    assert.deepEqual(seen, ['pingreq', '7', 'pingreq', '8']);
  }
});

test('decoder: no frame to send on with a topic alias or an overlong length', () => {
  const [alias] = decode(new Decoder(v5), bytesOf('30 07 0001 61 03 230001')) as [PublishPacket];
  assert.deepEqual([alias.properties?.topicAlias, alias.raw, alias.rawTopicNameAt, alias.rawPacketIdAt], [1, undefined, undefined, undefined]);
  const [overlong] = decode(new Decoder(v4), bytesOf('30 83 00 0001 61')) as [PublishPacket]; // 3.1.1 allows it
  assert.deepEqual([overlong.topicName, overlong.raw], ['a', undefined]);
});

test('decoder: an announced length takes no memory, what has arrived at most twice its size', () => {
  const payload = new Uint8Array(500_000).fill(1);
  const stream = encode(message(payload), 4);
  const decoder = new Decoder(v4);
  const packets: PublishPacket[] = [];
  let arrived = 0;
  for (let at = 0; at < stream.length; at += 10_000) {
    const chunk = stream.subarray(at, at + 10_000);
    decoder.push(chunk, (p) => packets.push(p as PublishPacket));
    arrived += chunk.length;
    assert.ok(decoder.heldBytes <= Math.max(smallPacketSize, 2 * arrived), `${decoder.heldBytes} held after ${arrived}`);
  }
  assert.deepEqual(packets[0]?.payload, payload);
  assert.equal(decoder.heldBytes, 0);
  const greedy = new Decoder(v4);
  decode(greedy, bytesOf('30 ff ff 3e 00'));
  assert.ok(greedy.heldBytes <= smallPacketSize);
});

test('decoder: the limit is on the whole packet, to the byte, also when it comes in pieces', () => {
  const frame = encode(message(new Uint8Array(200)), 4);
  const exact = new DecoderSettings({ protocolVersion: 4, maxPacketSize: frame.length });
  assert.equal(decode(new Decoder(exact), frame).length, 1);
  assert.equal(decode(new Decoder(exact), ...Array.from(frame, (b) => Uint8Array.of(b))).length, 1);
  const less = new DecoderSettings({ protocolVersion: 4, maxPacketSize: frame.length - 1 });
  for (const size of [1, 2, 3, frame.length]) {
    const error = new Decoder(less).push(frame.subarray(0, size), () => assert.fail('accepted'));
    assert.equal(error?.reasonCode, size < 3 ? undefined : ReasonCode.packetTooLarge); // refused as soon as the header is known
  }
  const slow = new Decoder(less);
  for (const b of frame.subarray(0, 3)) slow.push(Uint8Array.of(b), () => assert.fail('accepted'));
  assert.equal(slow.error?.reasonCode, ReasonCode.packetTooLarge);
});

const hello: ConnectPacket = { type: 'connect', protocolVersion: 5, clientId: 'c', cleanStart: true, keepAlive: 60 };

test('decoder: a stranger gets less room than a client', () => {
  const huge = encode(
    { ...hello, username: 'u', password: new Uint8Array(65_000), will: { topicName: 't', payload: new Uint8Array(1000), qos: 0, retain: false } },
    5,
  );
  assert.ok(huge.length > connectSizeMax);
  assert.equal(new Decoder(new DecoderSettings()).push(huge, () => assert.fail('accepted'))?.reasonCode, ReasonCode.packetTooLarge);
  assert.equal(decode(new Decoder(new DecoderSettings({ maxConnectSize: huge.length })), huge).length, 1);
  const large = encode(message(new Uint8Array(100_000)), 5);
  assert.equal(decode(new Decoder(new DecoderSettings()), Buffer.concat([encode(hello, 5), large])).length, 2);
});

test('decoder: the version is known after CONNECT, and packets may follow in the same chunk', () => {
  for (const version of [3, 4, 5] as const) {
    const decoder = new Decoder(new DecoderSettings());
    assert.equal(decoder.protocolVersion, 0);
    const packets = decode(
      decoder,
      Buffer.concat([encode({ ...hello, protocolVersion: version }, version), encode(message(new Uint8Array(1)), version)]),
    );
    assert.deepEqual(
      packets.map((p) => p.type),
      ['connect', 'publish'],
    );
    assert.equal(decoder.protocolVersion, version);
  }
});

test('decoder: an error in CONNECT says in which version to answer, if at all', () => {
  const cases: [string, 3 | 4 | 5 | undefined][] = [
    ['10 0d 0004 4d515454 06 02 0000 0001 61', 5], // level 6
    ['10 0d 0004 4d515454 02 02 0000 0001 61', 4], // level 2
    ['10 0f 0006 4d5149736470 04 02 0000 0001 61', 4], // MQIsdp at level 4
    ['10 0d 0004 58585858 04 02 0000 0001 61', undefined], // another protocol
    ['10 0d 0004 4d515454 04 03 0000 0001 61', undefined], // 3.1.1 is closed without an answer
    ['10 0e 0004 4d515454 05 03 0000 00 0001 61', 5],
    ['10 02 0004', undefined],
  ];
  for (const [hex, version] of cases) {
    const error = new Decoder(new DecoderSettings()).push(bytesOf(hex), () => assert.fail(`${hex} accepted`));
    assert.ok(error !== undefined);
    assert.equal(error.connackVersion, version, hex);
  }
});

test('decoder: what 3.1 allows', () => {
  const connect = bytesOf('10 0f 0006 4d5149736470 03 c2 0000 0001 61'); // user name and password flags, no fields
  const packets = decode(
    new Decoder(new DecoderSettings()),
    connect,
    bytesOf('8a 06 0001 0001 61 01'),
    bytesOf('6a 02 0001'),
    bytesOf('aa 05 0001 0001 61'),
  );
  assert.deepEqual(
    packets.map((p) => p.type),
    ['connect', 'subscribe', 'pubrel', 'unsubscribe'],
  );
  assert.deepEqual(clean(packets[0]), { type: 'connect', protocolVersion: 3, clientId: 'a', cleanStart: true, keepAlive: 0 });
});

test('decoder: the bridge bit', () => {
  for (const [hex, version] of [
    ['10 0f 0006 4d5149736470 83 02 0000 0001 61', 3],
    ['10 0d 0004 4d515454 84 02 0000 0001 61', 4],
  ] as const) {
    const [packet] = decode(new Decoder(new DecoderSettings()), bytesOf(hex)) as [ConnectPacket];
    assert.deepEqual([packet.protocolVersion, packet.bridgeMode], [version, true]);
    assert.deepEqual(encode(packet, version), bytesOf(hex));
  }
});

test('decoder: close within the callback leaves the rest of the chunk alone', () => {
  const decoder = new Decoder(v4);
  let seen = 0;
  const error = decoder.push(bytesOf('c000 c000 ff'), () => {
    seen++;
    decoder.close();
  });
  assert.deepEqual([seen, error], [1, undefined]);
  assert.deepEqual(decode(decoder, bytesOf('c000')), []);
  assert.equal(decoder.heldBytes, 0);
});

test('decoder: packets before the malformed one are delivered', () => {
  const seen: string[] = [];
  const error = new Decoder(v4).push(bytesOf('c000 4002 0001 c001'), (p) => seen.push(p.type));
  assert.deepEqual([seen, error?.reasonCode], [['pingreq', 'puback'], undefined]);
  const wrong = new Decoder(v4).push(bytesOf('c000 4002 0000 c000'), (p) => seen.push(p.type));
  assert.deepEqual([seen.length, wrong?.reasonCode], [3, ReasonCode.protocolError]);
});

test('decoder: names come from the shared cache as the same string, whatever was there before', () => {
  const topics = new TopicCache(1, 4); // every name evicts every other
  const settings = new DecoderSettings({ protocolVersion: 4, topics });
  const a = new Decoder(settings);
  const b = new Decoder(settings);
  for (const topicName of ['x/1', 'x/2', 'x/1', 'grüße/€/😀', 'x/2', 'n'.repeat(300), 'x/1']) {
    const frame = encode({ ...message(new Uint8Array(0)), topicName }, 4);
    for (const decoder of [a, b, a]) assert.equal((decode(decoder, frame)[0] as PublishPacket).topicName, topicName);
  }
  const deep = encode({ ...message(new Uint8Array(0)), topicName: '1/2/3/4/5' }, 4);
  assert.equal(a.push(deep, () => assert.fail('accepted'))?.reasonCode, ReasonCode.topicNameInvalid);
});

test('decoder: lent bytes give the same packets as chunks, whoever refuses which, and nothing refers to them later', () => {
  const publish = fc.record({
    topicName: fc.constantFrom('a/b', 'a', 'grüße', 'n'.repeat(200)),
    payload: fc.uint8Array({ maxLength: 300 }),
    qos: fc.constantFrom(0, 0, 0, 1, 2),
    retain: fc.boolean(),
    properties: fc.option(fc.record({ messageExpiryInterval: fc.nat(100) }), { nil: undefined }),
  });
  const stream = fc.array(fc.oneof({ weight: 5, arbitrary: publish }, { weight: 1, arbitrary: fc.constant('ping' as const) }), { maxLength: 20 });
  const splits = fc.array(fc.nat(400), { maxLength: 20 });
  fc.assert(
    fc.property(fc.constantFrom(v4, v5), stream, splits, fc.infiniteStream(fc.boolean()), (settings, packets, lengths, refusals) => {
      const version = settings === v4 ? 4 : 5;
      const bytes = Buffer.concat(
        packets.map((p) =>
          p === 'ping'
            ? Buffer.of(0xc0, 0)
            : encode({ ...message(p.payload), ...p, qos: p.qos as 0 | 1 | 2, packetId: p.qos === 0 ? 0 : 7 }, version),
        ),
      );
      const decoder = new Decoder(settings);
      const memory = new Uint8Array(bytes.length + 50);
      const seen: (() => unknown)[] = [];
      const keep = (p: Packet): void => void seen.push(() => (p.type === 'publish' ? [p.topicName, [...p.payload], p.qos, p.retain] : p.type));
      for (let at = 0; at < bytes.length; ) {
        const end = Math.min(bytes.length, at + 1 + (lengths.shift() ?? bytes.length));
        memory.set(bytes.subarray(at, end), 9);
        const take = (topicName: string, from: Uint8Array, start: number, stop: number): boolean => {
          if (refusals.next().value) return false;
          const [packet] = decode(new Decoder(settings), from.slice(start, stop)) as [PublishPacket];
          assert.deepEqual([topicName, packet.qos, packet.retain, clean(packet.properties)], [packet.topicName, 0, false, undefined]);
          keep(packet);
          return true;
        };
        assert.equal(decoder.pushLent(memory, 9, 9 + end - at, take, keep, keep), undefined);
        memory.fill(0xee);
        at = end;
      }
      const expected = decode(new Decoder(settings), bytes).map((p) =>
        p.type === 'publish' ? [p.topicName, [...p.payload], p.qos, p.retain] : p.type,
      );
      assert.deepEqual(
        seen.map((f) => f()),
        expected,
      );
    }),
  );
});

test('decoder: what is wrong with lent bytes is found as in a chunk', () => {
  for (const hex of [
    '3002',
    '30 03 0005 61',
    '30 02 0000',
    '3003 0001 2b',
    '36 05 0001 61 0001',
    '3081808000',
    '30ffffffff7f',
    '3005 0002 c328 00',
    'f000',
  ])
    for (const settings of [v4, v5]) {
      const chunk = bytesOf((settings === v5 ? '30 06 0003 612f62 00' : '30 05 0003 612f62') + hex);
      const [owning, lent] = [new Decoder(settings), new Decoder(settings)];
      const told: string[] = [];
      const error = owning.push(chunk, () => {});
      assert.deepEqual(
        lent.pushLent(
          chunk,
          0,
          chunk.length,
          (topicName) => told.push(topicName) > 0,
          () => {},
          () => {},
        ),
        error,
        hex,
      );
      assert.deepEqual(told, ['a/b']);
      assert.equal(lent.heldBytes, owning.heldBytes);
    }
});

test('topic cache: keeps short names only', () => {
  const topics = new TopicCache();
  const name = new Uint8Array(cachedTopicBytesMax + 1).fill(0x61);
  assert.ok(topics.find(name, 1, name.length) !== undefined);
  assert.equal(topics.find(name, 1, name.length), topics.find(name, 0, name.length - 1));
  assert.notEqual(topics.find(name, 0, name.length), topics.find(name, 0, name.length));
});
