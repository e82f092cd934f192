// The properties of MQTT 5.0 (2.2.2): one table says each one's identifier, data type, range and the
// packets it belongs to; parsing, sizing and writing follow it. Called by each packet's file.
import type { Properties, UserProperty } from './packet.js';
import { ReasonCode } from './reason-code.js';
import type { WireReader } from './wire-reader.js';
import { binarySize, stringSize, varintSize, writeBinary, writeString, writeU16, writeU32, writeVarint } from './wire-writer.js';

/** Where a property list stands. Bits, so that a table entry can name several. */
export const PropertySet = {
  connect: 1,
  will: 2,
  connack: 4,
  publishFromClient: 8,
  publishFromServer: 16,
  /** PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK carry the same. */
  ack: 32,
  subscribe: 64,
  unsubscribe: 128,
  disconnectFromClient: 256,
  disconnectFromServer: 512,
  auth: 1024,
  /** Either direction: for writing, where the direction does not matter. */
  publish: 24,
  disconnect: 768,
} as const;

type Kind = 'byte' | 'boolean' | 'u16' | 'u32' | 'varint' | 'string' | 'binary' | 'pair';
type Value = number | boolean | string | Uint8Array | number[] | UserProperty[] | undefined;

interface PropertySpec {
  readonly id: number;
  readonly name: keyof Properties;
  readonly kind: Kind;
  readonly sets: number;
  /** Smallest and largest value of a number. */
  readonly min: number;
  readonly max: number;
}

const S = PropertySet;
const message = S.will | S.publish;

const table: readonly PropertySpec[] = [
  spec(1, 'payloadFormatIndicator', 'byte', message, 0, 1),
  spec(2, 'messageExpiryInterval', 'u32', message),
  spec(3, 'contentType', 'string', message), // [MQTT-3.3.2-19]
  spec(8, 'responseTopic', 'string', message), // [MQTT-3.3.2-13]
  spec(9, 'correlationData', 'binary', message),
  spec(11, 'subscriptionIdentifiers', 'varint', S.publishFromServer | S.subscribe, 1), // never from a client in PUBLISH [MQTT-3.3.4-6]
  spec(17, 'sessionExpiryInterval', 'u32', S.connect | S.connack | S.disconnectFromClient), // [MQTT-3.14.2-2]
  spec(18, 'assignedClientIdentifier', 'string', S.connack),
  spec(19, 'serverKeepAlive', 'u16', S.connack),
  spec(21, 'authenticationMethod', 'string', S.connect | S.connack | S.auth),
  spec(22, 'authenticationData', 'binary', S.connect | S.connack | S.auth),
  spec(23, 'requestProblemInformation', 'boolean', S.connect),
  spec(24, 'willDelayInterval', 'u32', S.will),
  spec(25, 'requestResponseInformation', 'boolean', S.connect),
  spec(26, 'responseInformation', 'string', S.connack),
  spec(28, 'serverReference', 'string', S.connack | S.disconnectFromServer),
  spec(31, 'reasonString', 'string', S.connack | S.ack | S.disconnect | S.auth),
  spec(33, 'receiveMaximum', 'u16', S.connect | S.connack, 1),
  spec(34, 'topicAliasMaximum', 'u16', S.connect | S.connack),
  spec(35, 'topicAlias', 'u16', S.publish, 1), // [MQTT-3.3.2-8]
  spec(36, 'maximumQoS', 'byte', S.connack, 0, 1),
  spec(37, 'retainAvailable', 'boolean', S.connack),
  spec(38, 'userProperties', 'pair', 2047),
  spec(39, 'maximumPacketSize', 'u32', S.connect | S.connack, 1),
  spec(40, 'wildcardSubscriptionAvailable', 'boolean', S.connack),
  spec(41, 'subscriptionIdentifiersAvailable', 'boolean', S.connack),
  spec(42, 'sharedSubscriptionAvailable', 'boolean', S.connack),
];

const byId: (PropertySpec | undefined)[] = new Array(43).fill(undefined);
// Without a prototype: a key that is no property finds nothing, whatever its name.
const byName: { [name: string]: PropertySpec | undefined } = Object.create(null);
for (const p of table) {
  byId[p.id] = p;
  byName[p.name] = p;
}

function spec(id: number, name: keyof Properties, kind: Kind, sets: number, min = 0, max: number = Number.MAX_SAFE_INTEGER): PropertySpec {
  return { id, name, kind, sets, min, max };
}

/** Reads a property list of `set`, its length included. Undefined when it is empty or, with `reader.error`, wrong. */
export function parseProperties(reader: WireReader, set: number): Properties | undefined {
  const length = reader.varint();
  if (length === 0) return undefined;
  if (length > reader.remaining) {
    reader.malformed('property length beyond the end of the packet');
    return undefined;
  }
  const packetEnd = reader.end;
  const end = reader.at + length;
  reader.end = end; // no property reaches beyond the list
  const properties: Properties = {};
  while (reader.at < end) parseProperty(reader, properties, set);
  if (reader.error !== undefined) return undefined;
  reader.end = packetEnd;
  return properties;
}

function parseProperty(reader: WireReader, properties: Properties, set: number): void {
  const p = byId[reader.u8()];
  if (p === undefined) {
    reader.malformed('unknown property');
  } else if ((p.sets & set) === 0) {
    refuseProperty(reader, p, set);
  } else if (p.kind === 'pair') {
    const pair: UserProperty = [reader.string(), reader.string()]; // [MQTT-1.5.7-1]
    if (properties.userProperties === undefined) properties.userProperties = [pair];
    else properties.userProperties.push(pair);
  } else if (p.kind === 'varint') {
    parseSubscriptionIdentifier(reader, properties, set);
  } else {
    const slots = properties as { [name: string]: Value };
    if (slots[p.name] !== undefined) reader.protocolError('property given twice');
    else slots[p.name] = p.kind === 'string' ? reader.string() : p.kind === 'binary' ? reader.binary() : parseNumber(reader, p);
  }
}

/** A property that the packet has only when it comes from the other side is a Protocol Error; any other makes it malformed (2.2.2.2). */
function refuseProperty(reader: WireReader, p: PropertySpec, set: number): void {
  const bothWays = (set & S.publish) !== 0 ? S.publish : (set & S.disconnect) !== 0 ? S.disconnect : 0;
  if ((p.sets & bothWays) !== 0)
    reader.protocolError('property that only the other side may send'); // [MQTT-3.3.4-6] [MQTT-3.14.2-2]
  else reader.malformed('property that this packet cannot have');
}

function parseSubscriptionIdentifier(reader: WireReader, properties: Properties, set: number): void {
  const id = reader.varint();
  if (id === 0) reader.protocolError('subscription identifier 0'); // section 3.8.2.1.2
  if (properties.subscriptionIdentifiers === undefined) properties.subscriptionIdentifiers = [id];
  else if (set === S.subscribe)
    reader.protocolError('property given twice'); // section 3.8.2.1.2
  else properties.subscriptionIdentifiers.push(id);
}

function parseNumber(reader: WireReader, p: PropertySpec): number | boolean {
  const n = p.kind === 'u16' ? reader.u16() : p.kind === 'u32' ? reader.u32() : reader.u8();
  if (p.kind === 'boolean') {
    if (n > 1) reader.protocolError('property value out of range');
    return n === 1;
  }
  if (n < p.min || n > p.max) {
    if (p.name === 'topicAlias')
      reader.fail(ReasonCode.topicAliasInvalid, 'topic alias 0'); // [MQTT-3.3.2-8]
    else reader.protocolError('property value out of range');
  }
  return n;
}

/** Bytes of the list without its length. Properties that `set` cannot have count for nothing: they are not written. */
export function propertiesLength(properties: Properties | undefined, set: number): number {
  if (properties === undefined) return 0;
  let n = 0;
  const slots = properties as { [name: string]: Value };
  for (const name in slots) {
    const value = slots[name];
    const p = byName[name];
    if (value !== undefined && p !== undefined && (p.sets & set) !== 0) n += propertySize(p, value);
  }
  return n;
}

/** Bytes of the list with its length before it. */
export function propertiesSize(properties: Properties | undefined, set: number): number {
  const n = propertiesLength(properties, set);
  return varintSize(n) + n;
}

function propertySize(p: PropertySpec, value: Value): number {
  switch (p.kind) {
    case 'byte':
    case 'boolean':
      return 2;
    case 'u16':
      return 3;
    case 'u32':
      return 5;
    case 'string':
      return 1 + stringSize(value as string);
    case 'binary':
      return 1 + binarySize(value as Uint8Array);
    case 'varint': {
      let n = 0;
      for (const id of value as number[]) n += 1 + varintSize(id);
      return n;
    }
    case 'pair':
      return userPropertiesSize(value as UserProperty[]);
  }
}

/** Bytes that user properties take in a list. */
export function userPropertiesSize(pairs: readonly UserProperty[]): number {
  let n = 0;
  for (const pair of pairs) n += 1 + stringSize(pair[0]) + stringSize(pair[1]);
  return n;
}

/** Writes the list with its length before it; `length` is {@link propertiesLength}. */
export function writeProperties(out: Uint8Array, at: number, properties: Properties | undefined, set: number, length: number): number {
  at = writeVarint(out, at, length);
  if (length === 0) return at; // [MQTT-2.2.2-1]
  const slots = properties as { [name: string]: Value };
  for (const name in slots) {
    const value = slots[name];
    const p = byName[name];
    if (value !== undefined && p !== undefined && (p.sets & set) !== 0) at = writeProperty(out, at, p, value);
  }
  return at;
}

function writeProperty(out: Uint8Array, at: number, p: PropertySpec, value: Value): number {
  switch (p.kind) {
    case 'byte':
    case 'boolean':
      out[at] = p.id;
      out[at + 1] = Number(value);
      return at + 2;
    case 'u16':
      out[at] = p.id;
      return writeU16(out, at + 1, value as number);
    case 'u32':
      out[at] = p.id;
      return writeU32(out, at + 1, value as number);
    case 'string':
      out[at] = p.id;
      return writeString(out, at + 1, value as string);
    case 'binary':
      out[at] = p.id;
      return writeBinary(out, at + 1, value as Uint8Array);
    case 'varint':
      for (const id of value as number[]) {
        out[at] = p.id;
        at = writeVarint(out, at + 1, id);
      }
      return at;
    case 'pair':
      for (const pair of value as UserProperty[]) {
        out[at] = p.id;
        at = writeString(out, at + 1, pair[0]);
        at = writeString(out, at, pair[1]);
      }
      return at;
  }
}
