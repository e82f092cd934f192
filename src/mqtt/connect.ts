// CONNECT (3.1): the one packet that says which version it is in, and the one that strangers can send.
import { assert } from '#base/assert.js';
import type { ConnectPacket, Properties, ProtocolVersion, QoS, Will } from './packet.js';
import { PropertySet, parseProperties, propertiesLength, propertiesSize, writeProperties } from './properties.js';
import { ReasonCode } from './reason-code.js';
import { isTopicName } from './topic.js';
import type { WireReader } from './wire-reader.js';
import { binarySize, stringSize, writeBinary, writeString, writeU16 } from './wire-writer.js';

const bridgeBit = 0x80;

interface Flags {
  readonly byte: number;
  readonly will: boolean;
  readonly username: boolean;
  readonly password: boolean;
}

/** On a violation `reader.error` also says in which version a CONNACK may answer, if any. */
export function parseConnect(reader: WireReader, levelsMax: number): ConnectPacket | undefined {
  const protocolName = reader.string();
  const level = reader.u8();
  if (reader.error !== undefined) return undefined;
  const version = versionOf(protocolName, level);
  if (version === undefined) {
    refuseVersion(reader, protocolName, level);
    return undefined;
  }
  const packet = parseConnectBody(reader, version, levelsMax);
  const error = reader.error as WireReader['error'];
  if (error === undefined) {
    if (level >= bridgeBit) packet.bridgeMode = true;
    return packet;
  }
  // A malformed CONNECT is answered in 5.0 only [MQTT-3.1.4-1].
  if (version === 5) reader.error = { reasonCode: error.reasonCode, message: error.message, connackVersion: 5 };
  return undefined;
}

function versionOf(protocolName: string, level: number): ProtocolVersion | undefined {
  if (protocolName === 'MQTT') return level === 5 ? 5 : (level & ~bridgeBit) === 4 ? 4 : undefined; // [MQTT-3.1.2-1]
  if (protocolName === 'MQIsdp') return (level & ~bridgeBit) === 3 ? 3 : undefined;
  return undefined;
}

function refuseVersion(reader: WireReader, protocolName: string, level: number): void {
  const known = protocolName === 'MQTT' || protocolName === 'MQIsdp';
  const answer = known ? (level > 5 && level < bridgeBit ? 5 : 4) : undefined;
  reader.fail(ReasonCode.unsupportedProtocolVersion, known ? 'protocol version not supported' : 'protocol name not supported', answer); // [MQTT-3.1.2-2]
}

function parseConnectBody(reader: WireReader, version: ProtocolVersion, levelsMax: number): ConnectPacket {
  const flags = parseFlags(reader, version);
  const keepAlive = reader.u16();
  const properties: Properties | undefined = version === 5 ? parseProperties(reader, PropertySet.connect) : undefined;
  if (properties?.authenticationData !== undefined && properties.authenticationMethod === undefined) {
    reader.protocolError('authentication data without a method'); // section 3.1.2.11.10
  }
  const clientId = reader.string(); // [MQTT-3.1.3-4]
  const will = flags.will ? parseWill(reader, version, flags.byte, levelsMax) : undefined; // [MQTT-3.1.2-9]
  // MQTT 3.1 lets the Remaining Length win over the flags: the fields may be missing.
  const username = flags.username && !(version === 3 && reader.remaining === 0) ? reader.string() : undefined; // [MQTT-3.1.2-17]
  const password = flags.password && !(version === 3 && reader.remaining === 0) ? reader.binary() : undefined; // [MQTT-3.1.2-19]
  reader.done();
  return {
    type: 'connect',
    protocolVersion: version,
    clientId,
    cleanStart: (flags.byte & 2) !== 0,
    keepAlive,
    will,
    username,
    password,
    properties,
  };
}

function parseFlags(reader: WireReader, version: ProtocolVersion): Flags {
  const byte = reader.u8();
  const will = (byte & 4) !== 0;
  const willQos = (byte >> 3) & 3;
  const username = (byte & 0x80) !== 0;
  const password = (byte & 0x40) !== 0;
  if ((byte & 1) !== 0 && version !== 3) reader.malformed('reserved connect flag'); // [MQTT-3.1.2-3]; 3.1 does not look at it
  if (willQos === 3) reader.malformed('will QoS 3'); // [MQTT-3.1.2-12]
  if (!will && willQos !== 0) reader.malformed('will QoS without a will'); // [MQTT-3.1.2-11]
  if (!will && (byte & 0x20) !== 0) reader.malformed('will retain without a will'); // [MQTT-3.1.2-13]
  if (password && !username && version !== 5) reader.malformed('password without a user name'); // [MQTT-3.1.2-22] of 3.1.1
  return { byte, will, username, password };
}

function parseWill(reader: WireReader, version: ProtocolVersion, flags: number, levelsMax: number): Will {
  const properties: Properties | undefined = version === 5 ? parseProperties(reader, PropertySet.will) : undefined;
  const topicName = reader.string(); // [MQTT-3.1.3-11]
  const payload = reader.binary();
  if (!isTopicName(topicName, levelsMax)) reader.fail(ReasonCode.topicNameInvalid, 'will topic is not a topic name');
  if (properties?.responseTopic !== undefined && !isTopicName(properties.responseTopic, levelsMax)) {
    reader.protocolError('response topic is not a topic name'); // [MQTT-3.3.2-14]
  }
  return { topicName, payload, qos: ((flags >> 3) & 3) as QoS, retain: (flags & 0x20) !== 0, properties };
}

export function connectRemaining(packet: ConnectPacket): number {
  const v5 = packet.protocolVersion === 5;
  let n = (packet.protocolVersion === 3 ? 8 : 6) + 4 + stringSize(packet.clientId);
  if (v5) n += propertiesSize(packet.properties, PropertySet.connect);
  const will = packet.will;
  if (will !== undefined) {
    n += stringSize(will.topicName) + binarySize(will.payload);
    if (v5) n += propertiesSize(will.properties, PropertySet.will);
  }
  if (packet.username !== undefined) n += stringSize(packet.username);
  if (packet.password !== undefined) n += binarySize(packet.password);
  return n;
}

export function writeConnect(out: Uint8Array, at: number, packet: ConnectPacket): number {
  const { protocolVersion: version, will, username, password } = packet;
  assert(version === 5 || password === undefined || username !== undefined, 'mqtt: password without a user name'); // [MQTT-3.1.2-22] of 3.1.1
  at = writeString(out, at, version === 3 ? 'MQIsdp' : 'MQTT');
  out[at++] = version | (packet.bridgeMode === true && version !== 5 ? bridgeBit : 0);
  let flags = packet.cleanStart ? 2 : 0;
  if (will !== undefined) flags |= 4 | (will.qos << 3) | (will.retain ? 0x20 : 0);
  if (username !== undefined) flags |= 0x80;
  if (password !== undefined) flags |= 0x40;
  out[at++] = flags;
  at = writeU16(out, at, packet.keepAlive);
  if (version === 5) at = writeProperties(out, at, packet.properties, PropertySet.connect, propertiesLength(packet.properties, PropertySet.connect));
  at = writeString(out, at, packet.clientId);
  if (will !== undefined) {
    if (version === 5) at = writeProperties(out, at, will.properties, PropertySet.will, propertiesLength(will.properties, PropertySet.will));
    at = writeString(out, at, will.topicName);
    at = writeBinary(out, at, will.payload);
  }
  if (username !== undefined) at = writeString(out, at, username);
  return password === undefined ? at : writeBinary(out, at, password);
}
