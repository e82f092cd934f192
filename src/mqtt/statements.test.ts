// Statements about the wire alone, each named where it is looked at. What a decoder refuses is in
// `malformed-table.test.ts`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder, DecoderSettings } from './decoder.js';
import { encode, encodedSize, encodeWithin } from './encoder.js';
import type { Packet, Properties, UserProperty } from './packet.js';
import { isTopicFilter, isTopicName, matches, parseTopicFilter, topicBytesMax } from './topic.js';

const settings = new DecoderSettings({ protocolVersion: 5 });

function refused(hex: string): number | undefined {
  return new Decoder(settings).push(Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex')), () => {})?.reasonCode;
}

test('[MQTT-1.5.7-1] both strings of a User Property are strings', () => {
  const publish = (name: string, value: string): string => `30 0d 0001 74 08 26 00 01 ${name} 00 02 ${value} 00`;
  assert.equal(refused(publish('6b', '7676')), undefined);
  assert.equal(refused(publish('ff', '7676')), 0x81);
  assert.equal(refused(publish('6b', 'c328')), 0x81);
  assert.equal(refused(publish('00', '7676')), 0x81);
});

test('[MQTT-2.2.2-1] no properties are a length of 0, or nothing where that is allowed', () => {
  const bytes = (packet: Packet): string => Buffer.from(encode(packet, 5)).toString('hex');
  assert.equal(
    bytes({ type: 'publish', topicName: 't', payload: new Uint8Array(0), qos: 0, retain: false, dup: false, packetId: 0 }),
    '3004000174' + '00',
  );
  assert.equal(bytes({ type: 'connack', sessionPresent: false, reasonCode: 0 }), '2003000000');
  assert.equal(bytes({ type: 'suback', packetId: 1, reasonCodes: [0] }), '9004000100' + '00');
  assert.equal(bytes({ type: 'unsuback', packetId: 1, reasonCodes: [0] }), 'b004000100' + '00');
  assert.equal(bytes({ type: 'puback', packetId: 1, reasonCode: 0 }), '40020001');
  assert.equal(refused('30 03 0001 74'), 0x81); // a PUBLISH without the length
});

test('Reason String and User Properties never make an answer too large', () => {
  const reasonString = 'r'.repeat(30);
  const userProperties: UserProperty[] = [['name', 'v'.repeat(30)]];
  const answers: readonly [string, Packet][] = [
    ['[MQTT-3.2.2-19] [MQTT-3.2.2-20]', { type: 'connack', sessionPresent: false, reasonCode: 0x87 }],
    ['[MQTT-3.4.2-2] [MQTT-3.4.2-3]', { type: 'puback', packetId: 1, reasonCode: 0x10 }],
    ['[MQTT-3.5.2-2] [MQTT-3.5.2-3]', { type: 'pubrec', packetId: 1, reasonCode: 0x10 }],
    ['[MQTT-3.6.2-2] [MQTT-3.6.2-3]', { type: 'pubrel', packetId: 1, reasonCode: 0x92 }],
    ['[MQTT-3.7.2-2] [MQTT-3.7.2-3]', { type: 'pubcomp', packetId: 1, reasonCode: 0x92 }],
    ['[MQTT-3.9.2-1] [MQTT-3.9.2-2]', { type: 'suback', packetId: 1, reasonCodes: [0] }],
    ['[MQTT-3.11.2-1] [MQTT-3.11.2-2]', { type: 'unsuback', packetId: 1, reasonCodes: [0] }],
    ['[MQTT-3.14.2-3] [MQTT-3.14.2-4]', { type: 'disconnect', reasonCode: 0x8b }],
    ['[MQTT-3.15.2-2] [MQTT-3.15.2-3]', { type: 'auth', reasonCode: 0x18 }],
  ];
  const propertiesAt = (packet: Packet, limit: number): Properties | undefined => {
    const bytes = encodeWithin(packet, 5, limit) ?? assert.fail('nothing left to leave out');
    assert.ok(bytes.length <= limit);
    let got: Properties | undefined;
    const client = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: 5 }));
    assert.equal(
      client.push(bytes, (p) => {
        got = 'properties' in p ? p.properties : undefined;
      }),
      undefined,
    );
    return got;
  };
  for (const [name, bare] of answers) {
    const full = { ...bare, properties: { reasonString, userProperties } } as Packet;
    const size = encodedSize(full, 5);
    assert.deepEqual(propertiesAt(full, size), { reasonString, userProperties }, name);
    assert.deepEqual(propertiesAt(full, size - 1), { reasonString }, name);
    const { reasonString: _, ...none } = propertiesAt(full, size - 70) ?? { reasonString: undefined };
    assert.deepEqual(none, {}, name);
    assert.equal(propertiesAt(full, size - 70)?.reasonString, undefined, name);
  }
});

test('Topic Names and Topic Filters', () => {
  for (const name of ['#', '+', 'a/#', 'a/+/b', 'a+', 'a#b']) assert.equal(isTopicName(name), false); // [MQTT-4.7.0-1]
  const filters: readonly [string, boolean][] = [
    ['#', true], // [MQTT-4.7.1-1]
    ['a/#', true],
    ['a#', false],
    ['a/#/b', false],
    ['##', false],
    ['+', true], // [MQTT-4.7.1-2]
    ['+/a/+', true],
    ['a+', false],
    ['a/+b', false],
    ['++', false],
    ['', false], // [MQTT-4.7.3-1]
    ['/', true],
    ['a\u0000', false], // [MQTT-4.7.3-2]
    ['x'.repeat(topicBytesMax), true], // [MQTT-4.7.3-3]
    ['x'.repeat(topicBytesMax + 1), false],
    ['é'.repeat(32_768), false],
  ];
  for (const [filter, valid] of filters) assert.equal(isTopicFilter(filter), valid, filter.slice(0, 9));
  assert.equal(isTopicName('a\u0000'), false);
  assert.equal(isTopicName('é'.repeat(32_768)), false);
  for (const shared of ['$share', '$share/', '$share//a', '$share/g', '$share/g/', '$share/g+/a', '$share/#/a']) {
    assert.equal(parseTopicFilter(shared), undefined, shared); // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
  }
  // Nothing is normalized: [MQTT-4.7.3-4].
  assert.deepEqual(
    [matches('a', 'A'), matches('a//b', 'a/b'), matches('/a', 'a'), matches('e\u0301', '\u00e9'), matches(' a', 'a'), matches('a/', 'a')],
    [false, false, false, false, false, false],
  );
});
