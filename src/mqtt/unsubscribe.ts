// UNSUBSCRIBE and UNSUBACK (3.10, 3.11).
import type { ProtocolVersion, UnsubackPacket, UnsubscribePacket } from './packet.js';
import { PropertySet, parseProperties, propertiesLength, propertiesSize, writeProperties } from './properties.js';
import { reasonCodesOf } from './reason-code.js';
import type { WireReader } from './wire-reader.js';
import { stringSize, writeString, writeU16 } from './wire-writer.js';

export function parseUnsubscribe(reader: WireReader, version: ProtocolVersion): UnsubscribePacket | undefined {
  const packetId = reader.packetId();
  const properties = version === 5 ? parseProperties(reader, PropertySet.unsubscribe) : undefined;
  const topicFilters: string[] = [];
  while (reader.remaining > 0) topicFilters.push(reader.string()); // [MQTT-3.10.3-1]
  if (topicFilters.length === 0) reader.protocolError('UNSUBSCRIBE without a topic filter'); // [MQTT-3.10.3-2]
  return reader.error === undefined ? { type: 'unsubscribe', packetId, topicFilters, properties } : undefined;
}

export function unsubscribeRemaining(packet: UnsubscribePacket, version: ProtocolVersion): number {
  let n = version === 5 ? 2 + propertiesSize(packet.properties, PropertySet.unsubscribe) : 2;
  for (const filter of packet.topicFilters) n += stringSize(filter);
  return n;
}

export function writeUnsubscribe(out: Uint8Array, at: number, packet: UnsubscribePacket, version: ProtocolVersion): number {
  at = writeU16(out, at, packet.packetId);
  if (version === 5) {
    at = writeProperties(out, at, packet.properties, PropertySet.unsubscribe, propertiesLength(packet.properties, PropertySet.unsubscribe));
  }
  for (const filter of packet.topicFilters) at = writeString(out, at, filter);
  return at;
}

export function parseUnsuback(reader: WireReader, version: ProtocolVersion): UnsubackPacket | undefined {
  const packetId = reader.packetId();
  const reasonCodes: number[] = [];
  if (version !== 5) {
    reader.done();
    return reader.error === undefined ? { type: 'unsuback', packetId, reasonCodes, properties: undefined } : undefined;
  }
  const properties = parseProperties(reader, PropertySet.ack);
  while (reader.remaining > 0) {
    const code = reader.u8();
    if (!reasonCodesOf.unsuback.has(code)) reader.protocolError('reason code that this packet cannot have'); // [MQTT-3.11.3-2]
    reasonCodes.push(code);
  }
  if (reasonCodes.length === 0) reader.protocolError('UNSUBACK without a reason code'); // [MQTT-3.11.3-1]
  return reader.error === undefined ? { type: 'unsuback', packetId, reasonCodes, properties } : undefined;
}

export function unsubackRemaining(packet: UnsubackPacket, version: ProtocolVersion): number {
  return version === 5 ? 2 + propertiesSize(packet.properties, PropertySet.ack) + packet.reasonCodes.length : 2;
}

export function writeUnsuback(out: Uint8Array, at: number, packet: UnsubackPacket, version: ProtocolVersion): number {
  at = writeU16(out, at, packet.packetId);
  if (version !== 5) return at;
  at = writeProperties(out, at, packet.properties, PropertySet.ack, propertiesLength(packet.properties, PropertySet.ack));
  for (const code of packet.reasonCodes) out[at++] = code;
  return at;
}
