// CONNACK (3.2).
import type { ConnackPacket, Properties, ProtocolVersion } from './packet.js';
import { PropertySet, parseProperties, propertiesLength, propertiesSize, writeProperties } from './properties.js';
import { ReturnCode, reasonCodesOf, toReturnCode } from './reason-code.js';
import type { WireReader } from './wire-reader.js';

export function parseConnack(reader: WireReader, version: ProtocolVersion): ConnackPacket | undefined {
  const flags = reader.u8();
  const reasonCode = reader.u8();
  if (flags > 1) reader.malformed('reserved bits of the acknowledge flags'); // [MQTT-3.2.2-1]
  if (version === 5 ? !reasonCodesOf.connack.has(reasonCode) : reasonCode > ReturnCode.notAuthorized) {
    reader.protocolError('reason code that this packet cannot have'); // [MQTT-3.2.2-8]
  }
  const sessionPresent = (flags & 1) !== 0 && version !== 3; // reserved in 3.1
  if (sessionPresent && reasonCode !== 0) reader.protocolError('session present on a refused connection'); // [MQTT-3.2.2-6]
  const properties: Properties | undefined = version === 5 ? parseProperties(reader, PropertySet.connack) : undefined;
  reader.done();
  return reader.error === undefined ? { type: 'connack', sessionPresent, reasonCode, properties } : undefined;
}

export function connackRemaining(packet: ConnackPacket, version: ProtocolVersion): number {
  return version === 5 ? 2 + propertiesSize(packet.properties, PropertySet.connack) : 2;
}

export function writeConnack(out: Uint8Array, at: number, packet: ConnackPacket, version: ProtocolVersion): number {
  // A refusal never has a session present; 3.1 has no such flag.
  out[at++] = packet.sessionPresent && packet.reasonCode === 0 && version !== 3 ? 1 : 0; // [MQTT-3.2.2-6]
  out[at++] = version === 5 ? packet.reasonCode : toReturnCode(packet.reasonCode);
  if (version !== 5) return at;
  return writeProperties(out, at, packet.properties, PropertySet.connack, propertiesLength(packet.properties, PropertySet.connack));
}
