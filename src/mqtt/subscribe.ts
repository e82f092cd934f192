// SUBSCRIBE and SUBACK (3.8, 3.9). Filters are checked as text here; whether they are filters is the
// session's business, because a wrong one gets a reason code of its own in the SUBACK.
import type { Properties, ProtocolVersion, QoS, RetainHandling, SubackPacket, SubscribePacket, Subscription } from './packet.js';
import { PropertySet, parseProperties, propertiesLength, propertiesSize, writeProperties } from './properties.js';
import { reasonCodesOf } from './reason-code.js';
import { isSharedFilter } from './topic.js';
import type { WireReader } from './wire-reader.js';
import { stringSize, writeString, writeU16 } from './wire-writer.js';

export function parseSubscribe(reader: WireReader, version: ProtocolVersion): SubscribePacket | undefined {
  const packetId = reader.packetId();
  const properties = version === 5 ? parseProperties(reader, PropertySet.subscribe) : undefined;
  const subscriptions: Subscription[] = [];
  while (reader.remaining > 0) subscriptions.push(parseSubscription(reader, version));
  if (subscriptions.length === 0) reader.protocolError('SUBSCRIBE without a topic filter'); // [MQTT-3.8.3-2]
  return reader.error === undefined ? { type: 'subscribe', packetId, subscriptions, properties } : undefined;
}

function parseSubscription(reader: WireReader, version: ProtocolVersion): Subscription {
  const topicFilter = reader.string(); // [MQTT-3.8.3-1]
  const options = reader.u8();
  const qos = (options & 3) as QoS;
  const noLocal = (options & 4) !== 0;
  const retainHandling = ((options >> 4) & 3) as RetainHandling;
  if ((options & (version === 5 ? 0xc0 : 0xfc)) !== 0) reader.malformed('reserved bits of subscription options'); // [MQTT-3.8.3-5]
  if ((options & 3) === 3) reader.malformed('QoS 3'); // section 3.8.3.1; [MQTT-3.8.3-4] of 3.1.1
  if (((options >> 4) & 3) === 3) reader.protocolError('retain handling 3'); // section 3.8.3.1
  if (noLocal && isSharedFilter(topicFilter)) reader.protocolError('no local on a shared subscription'); // [MQTT-3.8.3-4]
  return { topicFilter, qos, noLocal, retainAsPublished: (options & 8) !== 0, retainHandling };
}

export function subscribeRemaining(packet: SubscribePacket, version: ProtocolVersion): number {
  let n = version === 5 ? 2 + propertiesSize(packet.properties, PropertySet.subscribe) : 2;
  for (const s of packet.subscriptions) n += stringSize(s.topicFilter) + 1;
  return n;
}

export function writeSubscribe(out: Uint8Array, at: number, packet: SubscribePacket, version: ProtocolVersion): number {
  at = writeU16(out, at, packet.packetId);
  if (version === 5) {
    at = writeProperties(out, at, packet.properties, PropertySet.subscribe, propertiesLength(packet.properties, PropertySet.subscribe));
  }
  for (const s of packet.subscriptions) {
    at = writeString(out, at, s.topicFilter);
    out[at++] = version === 5 ? s.qos | (s.noLocal ? 4 : 0) | (s.retainAsPublished ? 8 : 0) | (s.retainHandling << 4) : s.qos;
  }
  return at;
}

export function parseSuback(reader: WireReader, version: ProtocolVersion): SubackPacket | undefined {
  const packetId = reader.packetId();
  const properties: Properties | undefined = version === 5 ? parseProperties(reader, PropertySet.ack) : undefined;
  const reasonCodes: number[] = [];
  while (reader.remaining > 0) {
    const code = reader.u8();
    if (version === 5 ? !reasonCodesOf.suback.has(code) : code > 2 && code !== 0x80) {
      reader.protocolError('reason code that this packet cannot have'); // [MQTT-3.9.3-2], [MQTT-3.9.3-2] of 3.1.1
    }
    reasonCodes.push(code);
  }
  if (reasonCodes.length === 0) reader.protocolError('SUBACK without a reason code'); // [MQTT-3.9.3-1]
  return reader.error === undefined ? { type: 'suback', packetId, reasonCodes, properties } : undefined;
}

export function subackRemaining(packet: SubackPacket, version: ProtocolVersion): number {
  return 2 + (version === 5 ? propertiesSize(packet.properties, PropertySet.ack) : 0) + packet.reasonCodes.length;
}

export function writeSuback(out: Uint8Array, at: number, packet: SubackPacket, version: ProtocolVersion): number {
  at = writeU16(out, at, packet.packetId);
  if (version === 5) at = writeProperties(out, at, packet.properties, PropertySet.ack, propertiesLength(packet.properties, PropertySet.ack));
  for (const code of packet.reasonCodes) out[at++] = version === 5 || code < 0x80 ? code : 0x80; // [MQTT-3.9.3-2] of 3.1.1
  return at;
}
