// DISCONNECT and AUTH (3.14, 3.15): an optional reason code and optional properties.
import type { AuthPacket, DisconnectPacket, Properties, ProtocolVersion } from './packet.js';
import { PropertySet, parseProperties, propertiesLength, writeProperties } from './properties.js';
import { reasonCodesOf } from './reason-code.js';
import type { WireReader } from './wire-reader.js';
import { varintSize } from './wire-writer.js';

export function parseDisconnect(reader: WireReader, version: ProtocolVersion, fromClient: boolean): DisconnectPacket | undefined {
  let reasonCode = 0;
  let properties: Properties | undefined;
  if (version === 5 && reader.remaining > 0) {
    reasonCode = reader.u8();
    if (!reasonCodesOf.disconnect.has(reasonCode)) reader.protocolError('reason code that this packet cannot have'); // [MQTT-3.14.2-1]
    const set = fromClient ? PropertySet.disconnectFromClient : PropertySet.disconnectFromServer;
    if (reader.remaining > 0) properties = parseProperties(reader, set);
  }
  reader.done();
  return reader.error === undefined ? { type: 'disconnect', reasonCode, properties } : undefined;
}

export function disconnectRemaining(packet: DisconnectPacket, version: ProtocolVersion): number {
  if (version !== 5) return 0;
  const length = propertiesLength(packet.properties, PropertySet.disconnect);
  if (length === 0) return packet.reasonCode === 0 ? 0 : 1;
  return 1 + varintSize(length) + length;
}

export function writeDisconnect(out: Uint8Array, at: number, packet: DisconnectPacket, version: ProtocolVersion): number {
  const remaining = disconnectRemaining(packet, version);
  if (remaining === 0) return at;
  out[at++] = packet.reasonCode;
  if (remaining === 1) return at;
  return writeProperties(out, at, packet.properties, PropertySet.disconnect, propertiesLength(packet.properties, PropertySet.disconnect));
}

export function parseAuth(reader: WireReader): AuthPacket | undefined {
  let reasonCode = 0;
  let properties: Properties | undefined;
  if (reader.remaining > 0) {
    reasonCode = reader.u8();
    if (!reasonCodesOf.auth.has(reasonCode)) reader.protocolError('reason code that this packet cannot have'); // [MQTT-3.15.2-1]
    properties = parseProperties(reader, PropertySet.auth);
  }
  reader.done();
  return reader.error === undefined ? { type: 'auth', reasonCode, properties } : undefined;
}

export function authRemaining(packet: AuthPacket): number {
  const length = propertiesLength(packet.properties, PropertySet.auth);
  return length === 0 && packet.reasonCode === 0 ? 0 : 1 + varintSize(length) + length;
}

export function writeAuth(out: Uint8Array, at: number, packet: AuthPacket): number {
  if (authRemaining(packet) === 0) return at;
  out[at] = packet.reasonCode;
  return writeProperties(out, at + 1, packet.properties, PropertySet.auth, propertiesLength(packet.properties, PropertySet.auth));
}
