// PUBACK, PUBREC, PUBREL and PUBCOMP (3.4–3.7): one shape, four meanings. The frequent form, success
// without properties, is four bytes in every version and has its own way in and out.
import type { AckPacket, Properties, ProtocolVersion } from './packet.js';
import { PropertySet, parseProperties, propertiesLength, writeProperties } from './properties.js';
import { reasonCodesOf } from './reason-code.js';
import type { WireReader } from './wire-reader.js';
import { packetSize, varintSize, writeFixedHeader, writeU16 } from './wire-writer.js';

type AckType = AckPacket['type'];

/** First bytes; PUBREL's reserved bits are 0010 [MQTT-3.6.1-1]. */
const firstByteOf = { puback: 0x40, pubrec: 0x50, pubrel: 0x62, pubcomp: 0x70 } as const;

/** Bytes of an acknowledgement that says success and nothing else, in every version. */
export const ackSize = 4;
/** Bytes of one with a reason code and no properties (5.0). */
export const ackReasonSize = 5;

export function parseAck(reader: WireReader, type: AckType, version: ProtocolVersion): AckPacket | undefined {
  const packetId = reader.packetId();
  let reasonCode = 0;
  let properties: Properties | undefined;
  if (version === 5 && reader.remaining > 0) {
    reasonCode = reader.u8();
    if (!reasonCodesOf[type].has(reasonCode)) reader.protocolError('reason code that this packet cannot have'); // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    if (reader.remaining > 0) properties = parseProperties(reader, PropertySet.ack);
  }
  reader.done();
  return reader.error === undefined ? { type, packetId, reasonCode, properties } : undefined;
}

function ackRemaining(packet: AckPacket, version: ProtocolVersion, propertiesBytes: number): number {
  if (version !== 5) return 2;
  if (propertiesBytes === 0) return packet.reasonCode === 0 ? 2 : 3;
  return 3 + varintSize(propertiesBytes) + propertiesBytes;
}

export function ackPacketSize(packet: AckPacket, version: ProtocolVersion): number {
  return packetSize(ackRemaining(packet, version, propertiesLength(packet.properties, PropertySet.ack)));
}

export function writeAckPacket(out: Uint8Array, at: number, packet: AckPacket, version: ProtocolVersion): number {
  const length = propertiesLength(packet.properties, PropertySet.ack);
  const remaining = ackRemaining(packet, version, length);
  at = writeFixedHeader(out, at, firstByteOf[packet.type], remaining);
  at = writeU16(out, at, packet.packetId);
  if (remaining > 2) out[at++] = packet.reasonCode;
  return remaining > 3 ? writeProperties(out, at, packet.properties, PropertySet.ack, length) : at;
}

function writeSuccess(out: Uint8Array, at: number, firstByte: number, packetId: number): number {
  out[at] = firstByte;
  out[at + 1] = 2;
  out[at + 2] = packetId >>> 8;
  out[at + 3] = packetId & 255;
  return at + ackSize;
}

/** Success, in any version; {@link ackSize} bytes. */
export function writePuback(out: Uint8Array, at: number, packetId: number): number {
  return writeSuccess(out, at, firstByteOf.puback, packetId);
}

/** Success, in any version; {@link ackSize} bytes. */
export function writePubrec(out: Uint8Array, at: number, packetId: number): number {
  return writeSuccess(out, at, firstByteOf.pubrec, packetId);
}

/** Success, in any version; {@link ackSize} bytes. */
export function writePubrel(out: Uint8Array, at: number, packetId: number): number {
  return writeSuccess(out, at, firstByteOf.pubrel, packetId);
}

/** Success, in any version; {@link ackSize} bytes. */
export function writePubcomp(out: Uint8Array, at: number, packetId: number): number {
  return writeSuccess(out, at, firstByteOf.pubcomp, packetId);
}

/** With a reason code (5.0 only); {@link ackReasonSize} bytes. */
export function writeAckReason(out: Uint8Array, at: number, type: AckType, packetId: number, reasonCode: number): number {
  out[at] = firstByteOf[type];
  out[at + 1] = 3;
  out[at + 2] = packetId >>> 8;
  out[at + 3] = packetId & 255;
  out[at + 4] = reasonCode;
  return at + ackReasonSize;
}
