// Packets to bytes: the exact size first, then one buffer. `encode` is for packets that are sent one at a
// time; messages that go to many go through `PublishFanout`, acknowledgements and PUBLISHes of the hot
// path are written straight into the connection's output (`acks.ts`, `publish.ts`).
// What a packet says is the caller's duty: strings above 65,535 bytes, or a Packet Identifier that does
// not fit the QoS, are assertions.
import { assert, unreachable } from '#base/assert.js';
import { ackPacketSize, writeAckPacket } from './acks.js';
import { connackRemaining, writeConnack } from './connack.js';
import { connectRemaining, writeConnect } from './connect.js';
import { authRemaining, disconnectRemaining, writeAuth, writeDisconnect } from './disconnect.js';
import type { Packet, ProtocolVersion, PublishPacket } from './packet.js';
import { publishSize, writePublish } from './publish.js';
import { subackRemaining, subscribeRemaining, writeSuback, writeSubscribe } from './subscribe.js';
import { unsubackRemaining, unsubscribeRemaining, writeUnsuback, writeUnsubscribe } from './unsubscribe.js';
import { packetSize, writeFixedHeader } from './wire-writer.js';

/** Bytes that the packet takes in that version; to be compared with the receiver's Maximum Packet Size. */
export function encodedSize(packet: Packet, version: ProtocolVersion): number {
  switch (packet.type) {
    case 'publish':
      return publishSize(packet, version);
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return ackPacketSize(packet, version);
    default:
      return packetSize(remainingLength(packet, version));
  }
}

type PlainPacket = Exclude<Packet, PublishPacket | { type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp' }>;

function remainingLength(packet: PlainPacket, version: ProtocolVersion): number {
  switch (packet.type) {
    case 'connect':
      return connectRemaining(packet);
    case 'connack':
      return connackRemaining(packet, version);
    case 'subscribe':
      return subscribeRemaining(packet, version);
    case 'suback':
      return subackRemaining(packet, version);
    case 'unsubscribe':
      return unsubscribeRemaining(packet, version);
    case 'unsuback':
      return unsubackRemaining(packet, version);
    case 'disconnect':
      return disconnectRemaining(packet, version);
    case 'auth':
      return authRemaining(packet);
    case 'pingreq':
    case 'pingresp':
      return 0;
    default:
      return unreachable(packet);
  }
}

/** Writes the packet at `at` and returns the position after it; the caller made room for {@link encodedSize} bytes. */
export function writePacket(out: Uint8Array, at: number, packet: Packet, version: ProtocolVersion): number {
  switch (packet.type) {
    case 'publish':
      return writePublish(out, at, packet, version);
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return writeAckPacket(out, at, packet, version);
    default:
      return writeBody(out, writeFixedHeader(out, at, firstByteOf[packet.type], remainingLength(packet, version)), packet, version);
  }
}

const firstByteOf = {
  connect: 0x10,
  connack: 0x20,
  subscribe: 0x82, // [MQTT-3.8.1-1]
  suback: 0x90,
  unsubscribe: 0xa2, // [MQTT-3.10.1-1]
  unsuback: 0xb0,
  pingreq: 0xc0,
  pingresp: 0xd0,
  disconnect: 0xe0,
  auth: 0xf0,
} as const;

function writeBody(out: Uint8Array, at: number, packet: PlainPacket, version: ProtocolVersion): number {
  switch (packet.type) {
    case 'connect':
      return writeConnect(out, at, packet);
    case 'connack':
      return writeConnack(out, at, packet, version);
    case 'subscribe':
      return writeSubscribe(out, at, packet, version);
    case 'suback':
      return writeSuback(out, at, packet, version);
    case 'unsubscribe':
      return writeUnsubscribe(out, at, packet, version);
    case 'unsuback':
      return writeUnsuback(out, at, packet, version);
    case 'disconnect':
      return writeDisconnect(out, at, packet, version);
    case 'auth':
      assert(version === 5, 'mqtt: AUTH before 5.0');
      return writeAuth(out, at, packet);
    case 'pingreq':
    case 'pingresp':
      return at;
    default:
      return unreachable(packet);
  }
}

/** The packet's bytes in a buffer of their own. A CONNECT is written in its own version. */
export function encode(packet: Packet, version: ProtocolVersion): Uint8Array {
  const out = new Uint8Array(encodedSize(packet, version));
  const end = writePacket(out, 0, packet, version);
  assert(end === out.length, 'mqtt: a packet is not as long as its size said');
  return out;
}

/**
 * The packet's bytes if they fit the receiver's Maximum Packet Size. An answer that is too large loses its
 * User Properties first and its Reason String then; undefined when it does not fit even so: it must not be
 * sent, and a PUBLISH is dropped as if it had been delivered [MQTT-3.1.2-24] [MQTT-3.1.2-25].
 */
export function encodeWithin(packet: Packet, version: ProtocolVersion, maximumPacketSize: number): Uint8Array | undefined {
  const shorter = shorten(packet, version, maximumPacketSize);
  return shorter === undefined ? undefined : encode(shorter, version);
}

/** Whether {@link encodeWithin} would give bytes. */
export function fitsWithin(packet: Packet, version: ProtocolVersion, maximumPacketSize: number): boolean {
  return shorten(packet, version, maximumPacketSize) !== undefined;
}

function shorten(packet: Packet, version: ProtocolVersion, limit: number): Packet | undefined {
  if (encodedSize(packet, version) <= limit) return packet;
  if (!isAnswer(packet) || packet.properties === undefined) return undefined;
  // Reason String: [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2] [MQTT-3.7.2-2] [MQTT-3.9.2-1] [MQTT-3.11.2-1] [MQTT-3.14.2-3]
  // [MQTT-3.15.2-2]; User Properties: [MQTT-3.2.2-20] [MQTT-3.4.2-3] [MQTT-3.5.2-3] [MQTT-3.6.2-3] [MQTT-3.7.2-3] [MQTT-3.9.2-2] [MQTT-3.11.2-2]
  // [MQTT-3.14.2-4] [MQTT-3.15.2-3]
  const withoutUser: Answer = { ...packet, properties: { ...packet.properties, userProperties: undefined } };
  if (encodedSize(withoutUser, version) <= limit) return withoutUser;
  const bare: Answer = { ...packet, properties: { ...packet.properties, userProperties: undefined, reasonString: undefined } };
  return encodedSize(bare, version) <= limit ? bare : undefined;
}

type Answer = Extract<Packet, { properties?: unknown; reasonCode: number } | { reasonCodes: number[] }>;

function isAnswer(packet: Packet): packet is Answer {
  return 'reasonCode' in packet || 'reasonCodes' in packet;
}

/** Bytes of PINGREQ and PINGRESP. */
export const pingSize = 2;

export function writePingreq(out: Uint8Array, at: number): number {
  out[at] = 0xc0;
  out[at + 1] = 0;
  return at + pingSize;
}

export function writePingresp(out: Uint8Array, at: number): number {
  out[at] = 0xd0;
  out[at + 1] = 0;
  return at + pingSize;
}
