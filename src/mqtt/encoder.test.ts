// The encoder's bytes where a table says them best, the writers of the hot path, and the fan-out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AssertionError } from '#base/assert.js';
import { toHex } from '#base/bytes.js';
import { ackReasonSize, ackSize, writeAckReason, writePuback, writePubcomp, writePubrec, writePubrel } from './acks.js';
import { arbitraryPacket, clean, fcOptions } from './arbitraries.test.js';
import { Decoder, DecoderSettings } from './decoder.js';
import { encode, encodedSize, encodeWithin, pingSize, writePingreq, writePingresp } from './encoder.js';
import { PublishFanout, packetIdOffset, preparePublish, writePrepared } from './fanout.js';
import type { Packet, ProtocolVersion, PublishPacket, QoS } from './packet.js';
import { publishSize, writePublish } from './publish.js';
import { ReasonCode, reasonCodeName, reasonCodesOf, toReturnCode } from './reason-code.js';
import { WireReader } from './wire-reader.js';
import { remainingLengthMax, varintSize, writeVarint } from './wire-writer.js';

const table: readonly [Packet, ProtocolVersion, string][] = [
  [{ type: 'connect', protocolVersion: 3, clientId: 'a', cleanStart: true, keepAlive: 10 }, 3, '100f00064d514973647003 02000a000161'],
  [
    { type: 'connect', protocolVersion: 4, clientId: '', cleanStart: true, keepAlive: 0, username: 'u', password: Uint8Array.of(1) },
    4,
    '101200044d51545404c2000000000001750001 01',
  ],
  [
    {
      type: 'connect',
      protocolVersion: 5,
      clientId: 'a',
      cleanStart: false,
      keepAlive: 258,
      will: { topicName: 't', payload: Uint8Array.of(9), qos: 1, retain: true, properties: { willDelayInterval: 5 } },
      properties: { receiveMaximum: 7 },
    },
    5,
    '101d00044d515454052c0102 03210007 000161 051800000005 000174 000109',
  ],
  [{ type: 'connack', sessionPresent: true, reasonCode: 0 }, 4, '20020100'],
  [{ type: 'connack', sessionPresent: true, reasonCode: 0 }, 3, '20020000'],
  [{ type: 'connack', sessionPresent: true, reasonCode: ReasonCode.notAuthorized }, 4, '20020005'],
  [{ type: 'connack', sessionPresent: false, reasonCode: ReasonCode.serverBusy, properties: { retainAvailable: false } }, 5, '20050089022500'],
  [{ type: 'publish', topicName: 'a', payload: Uint8Array.of(1, 2), qos: 2, retain: true, dup: true, packetId: 5 }, 4, '3d070001610005 0102'],
  [{ type: 'publish', topicName: 'a', payload: new Uint8Array(0), qos: 0, retain: false, dup: false, packetId: 0 }, 5, '300400016100'],
  [{ type: 'puback', packetId: 1, reasonCode: 0 }, 5, '40020001'],
  [{ type: 'pubrec', packetId: 1, reasonCode: 0x10 }, 5, '5003000110'],
  [{ type: 'pubrel', packetId: 1, reasonCode: 0x92 }, 4, '62020001'],
  [{ type: 'pubcomp', packetId: 1, reasonCode: 0, properties: { reasonString: 'x' } }, 5, '70080001 00 041f000178'],
  [
    { type: 'subscribe', packetId: 2, subscriptions: [{ topicFilter: 'a', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 }] },
    5,
    '8207000200 0001612d',
  ],
  [
    { type: 'subscribe', packetId: 2, subscriptions: [{ topicFilter: 'a', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 }] },
    4,
    '82060002 00016101',
  ],
  [{ type: 'suback', packetId: 2, reasonCodes: [1, ReasonCode.topicFilterInvalid] }, 4, '900400020180'],
  [{ type: 'suback', packetId: 2, reasonCodes: [1, ReasonCode.topicFilterInvalid] }, 5, '9005000200018f'],
  [{ type: 'unsubscribe', packetId: 2, topicFilters: ['a', 'b'] }, 4, 'a2080002000161000162'],
  [{ type: 'unsuback', packetId: 2, reasonCodes: [0] }, 4, 'b0020002'],
  [{ type: 'unsuback', packetId: 2, reasonCodes: [0x11] }, 5, 'b00400020011'],
  [{ type: 'pingreq' }, 4, 'c000'],
  [{ type: 'pingresp' }, 5, 'd000'],
  [{ type: 'disconnect', reasonCode: ReasonCode.sessionTakenOver }, 4, 'e000'],
  [{ type: 'disconnect', reasonCode: 0 }, 5, 'e000'],
  [{ type: 'disconnect', reasonCode: ReasonCode.sessionTakenOver }, 5, 'e0018e'],
  [{ type: 'disconnect', reasonCode: ReasonCode.serverMoved, properties: { serverReference: 's' } }, 5, 'e0069d041c000173'],
  [{ type: 'auth', reasonCode: 0 }, 5, 'f000'],
  [{ type: 'auth', reasonCode: 0x18, properties: { authenticationMethod: 'm' } }, 5, 'f006180415 00016d'],
];

test('encoder: bytes of every packet', () => {
  for (const [packet, version, hex] of table) {
    assert.equal(toHex(encode(packet, version)), hex.replaceAll(' ', ''), `${packet.type} ${version}`);
    assert.equal(encodedSize(packet, version), hex.replaceAll(' ', '').length / 2);
  }
});

test('encoder: the writers of the hot path write what encode writes', () => {
  const out = new Uint8Array(40);
  for (const [type, write] of [
    ['puback', writePuback],
    ['pubrec', writePubrec],
    ['pubrel', writePubrel],
    ['pubcomp', writePubcomp],
  ] as const) {
    for (const version of [3, 4, 5] as const) {
      assert.equal(write(out, 3, 0xabcd), 3 + ackSize);
      assert.deepEqual(out.slice(3, 3 + ackSize), encode({ type, packetId: 0xabcd, reasonCode: 0 }, version));
    }
    for (const reasonCode of reasonCodesOf[type]) {
      if (reasonCode === 0) continue;
      assert.equal(writeAckReason(out, 1, type, 0xabcd, reasonCode), 1 + ackReasonSize);
      assert.deepEqual(out.slice(1, 1 + ackReasonSize), encode({ type, packetId: 0xabcd, reasonCode }, 5));
    }
  }
  assert.equal(writePingreq(out, 2), 2 + pingSize);
  assert.deepEqual(out.slice(2, 4), encode({ type: 'pingreq' }, 4));
  assert.equal(writePingresp(out, 2), 2 + pingSize);
  assert.deepEqual(out.slice(2, 4), encode({ type: 'pingresp' }, 4));
});

const publishes = (version: ProtocolVersion): fc.Arbitrary<PublishPacket> =>
  arbitraryPacket(version, 'fromClient').filter((p): p is PublishPacket => p.type === 'publish');

test('encoder: a fan-out gives every receiver its packet', () => {
  for (const source of [4, 5] as const) {
    fc.assert(
      fc.property(
        publishes(source),
        fc.constantFrom(3 as const, 4 as const, 5 as const),
        fc.constantFrom<QoS>(0, 1, 2),
        fc.boolean(),
        fc.boolean(),
        (sent, version, qos, retain, redelivered) => {
          const frame = encode(sent, source);
          const packets: PublishPacket[] = [];
          new Decoder(new DecoderSettings({ protocolVersion: source })).push(frame, (p) => packets.push(p as PublishPacket));
          const packet = packets[0] as PublishPacket;
          if (packet.properties?.topicAlias !== undefined) packet.properties.topicAlias = undefined; // as the session does
          if (packet.topicName === '') packet.topicName = 'resolved';
          const fanout = new PublishFanout(packet, source);
          const prepared = fanout.frame(version, qos, retain);
          assert.equal(fanout.frame(version, qos, retain), prepared);
          const dup = redelivered && qos > 0;
          const packetId = qos === 0 ? 0 : 0x7071;
          const out = new Uint8Array(prepared.bytes.length + 3);
          assert.equal(writePrepared(out, 3, prepared, packetId, dup), out.length);
          const expected: PublishPacket = { ...packet, qos, retain, dup, packetId };
          assert.deepEqual(out.slice(3), encode(expected, version));
          assert.deepEqual(clean(preparePublish(packet, version, qos, retain)), clean(prepared));
          if (qos > 0) assert.equal(packetIdOffset(prepared.bytes), prepared.packetIdAt);
        },
      ),
      { ...fcOptions, numRuns: 500 },
    );
  }
});

test('encoder: the frames of one fan-out do not get mixed up', () => {
  const packet: PublishPacket = { type: 'publish', topicName: 'a', payload: Uint8Array.of(1), qos: 1, retain: false, dup: false, packetId: 1 };
  const fanout = new PublishFanout(packet, 4);
  for (let round = 0; round < 2; round++) {
    for (const version of [3, 4, 5] as const) {
      for (const qos of [0, 1, 2] as const) {
        for (const retain of [false, true]) {
          const expected = encode({ ...packet, qos, retain, packetId: qos === 0 ? 0 : 1 }, version);
          assert.deepEqual(fanout.frame(version, qos, retain).bytes, expected);
        }
      }
    }
  }
});

test('encoder: an unchanged QoS 0 message is passed through as the received bytes', () => {
  const frame = encode({ type: 'publish', topicName: 'a/b', payload: Uint8Array.of(1, 2), qos: 0, retain: false, dup: false, packetId: 0 }, 4);
  const packets: PublishPacket[] = [];
  new Decoder(new DecoderSettings({ protocolVersion: 4 })).push(frame, (p) => packets.push(p as PublishPacket));
  const fanout = new PublishFanout(packets[0] as PublishPacket, 4);
  assert.equal(fanout.frame(3, 0, false).bytes.buffer, frame.buffer);
  assert.notEqual(fanout.frame(5, 0, false).bytes.buffer, frame.buffer);
  assert.notEqual(fanout.frame(4, 0, true).bytes.buffer, frame.buffer);
  assert.notEqual(fanout.frame(4, 1, false).bytes.buffer, frame.buffer);
});

test('encoder: properties that a PUBLISH cannot have are not written', () => {
  const will: PublishPacket = {
    type: 'publish',
    topicName: 'a',
    payload: new Uint8Array(0),
    qos: 0,
    retain: false,
    dup: false,
    packetId: 0,
    properties: { willDelayInterval: 9, contentType: 'c' },
  };
  const out = new Uint8Array(publishSize(will, 5));
  assert.equal(writePublish(out, 0, will, 5), out.length);
  assert.equal(toHex(out), '3008000161 04 03000163'.replaceAll(' ', ''));
});

test('encoder: what is too large loses the user properties, then the reason string, then is not sent', () => {
  const packet: Packet = {
    type: 'puback',
    packetId: 1,
    reasonCode: 0x87,
    properties: { reasonString: 'why', userProperties: [['k', 'v'.repeat(10)]] },
  };
  const sizes = [40, 25, 12, 11, 10, 5, 4].map((limit) => encodeWithin(packet, 5, limit)?.length);
  assert.deepEqual(sizes, [28, 12, 12, 5, 5, 5, undefined]);
  assert.equal(packet.properties?.userProperties?.length, 1); // the packet itself is left as it was
});

test('encoder: a packet that cannot be is a programmer error', () => {
  const base: PublishPacket = { type: 'publish', topicName: 'a', payload: new Uint8Array(0), qos: 0, retain: false, dup: false, packetId: 0 };
  for (const packet of [
    { ...base, qos: 1 as const },
    { ...base, dup: true },
    { ...base, topicName: 'a'.repeat(65_536) },
  ]) {
    assert.throws(() => encode(packet, 4), AssertionError);
  }
});

test('encoder: the bounds of variable byte integers (table 1-1)', () => {
  for (const [n, hex] of [
    [0, '00'],
    [127, '7f'],
    [128, '8001'],
    [16_383, 'ff7f'],
    [16_384, '808001'],
    [2_097_151, 'ffff7f'],
    [2_097_152, '80808001'],
    [remainingLengthMax, 'ffffff7f'],
  ] as const) {
    const out = new Uint8Array(varintSize(n));
    assert.equal(writeVarint(out, 0, n), out.length);
    assert.equal(toHex(out), hex);
    const reader = new WireReader();
    reader.reset(out, 0, out.length);
    assert.deepEqual([reader.varint(), reader.error, reader.remaining], [n, undefined, 0]);
  }
});

test('reason codes: names, and what 3.1.1 is told instead', () => {
  assert.deepEqual([reasonCodeName(0), reasonCodeName(0x95), reasonCodeName(0xff)], ['success', 'packetTooLarge', '0xff']);
  const told = [0, 0x84, 0x85, 0x86, 0x87, 0x88, 0x8a, 0x97, 2].map(toReturnCode);
  assert.deepEqual(told, [0, 1, 2, 4, 5, 3, 5, 3, 2]);
});
