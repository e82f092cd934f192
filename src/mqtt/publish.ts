// PUBLISH (3.3): the hot path of the codec. Parsing works on positions in the received chunk, makes the
// packet, one view for its payload and nothing else; writing goes straight into the caller's buffer.
import { assert } from '#base/assert.js';
import type { Properties, ProtocolVersion, PublishPacket, QoS } from './packet.js';
import { PropertySet, parseProperties, propertiesLength, writeProperties } from './properties.js';
import { ReasonCode } from './reason-code.js';
import { decodeText } from './text.js';
import { isTopicName } from './topic.js';
import type { TopicCache, TopicEntry } from './topic-cache.js';
import { isSame } from './topic-cache.js';
import { viewOf, type WireReader } from './wire-reader.js';
import { packetSize, stringSize, varintSize, writeFixedHeader, writeString, writeU16 } from './wire-writer.js';

/** What parsing needs to know of its decoder, and what it leaves there. */
export interface PublishContext {
  readonly protocolVersion: ProtocolVersion | 0;
  readonly fromClient: boolean;
  readonly topics: TopicCache;
  lastTopic: TopicEntry | undefined;
}

/**
 * A PUBLISH as it was received. The frame's view is made when somebody asks for it, and a copy by spread
 * leaves it behind, as a changed packet must.
 */
class ReceivedPublish implements PublishPacket {
  readonly type = 'publish' as const;
  topicName: string;
  payload: Uint8Array;
  qos: QoS;
  retain: boolean;
  dup: boolean;
  packetId: number;
  properties: Properties | undefined;
  readonly #chunk: Uint8Array;
  readonly #start: number;
  readonly #end: number;
  /** 0: the frame is not fit to be sent on, for its Topic Alias or a Remaining Length not in the shortest form. */
  readonly #topicNameAt: number;

  constructor(
    flags: number,
    topicName: string,
    packetId: number,
    properties: Properties | undefined,
    payload: Uint8Array,
    chunk: Uint8Array,
    start: number,
    end: number,
    topicNameAt: number,
  ) {
    this.topicName = topicName;
    this.payload = payload;
    this.qos = ((flags >> 1) & 3) as QoS;
    this.retain = (flags & 1) !== 0;
    this.dup = (flags & 8) !== 0;
    this.packetId = packetId;
    this.properties = properties;
    this.#chunk = chunk;
    this.#start = start;
    this.#end = end;
    this.#topicNameAt = topicNameAt;
  }

  get raw(): Uint8Array | undefined {
    return this.#topicNameAt === 0 ? undefined : viewOf(this.#chunk, this.#start, this.#end);
  }

  get rawChunk(): Uint8Array | undefined {
    return this.#topicNameAt === 0 ? undefined : this.#chunk;
  }

  get rawStart(): number {
    return this.#start;
  }

  get rawEnd(): number {
    return this.#end;
  }

  get rawTopicNameAt(): number | undefined {
    return this.#topicNameAt === 0 ? undefined : this.#topicNameAt;
  }

  get rawPacketIdAt(): number | undefined {
    const at = this.#topicNameAt;
    if (at === 0) return undefined;
    if (this.qos === 0) return 0;
    const lengthAt = this.#start + at - 2;
    return at + (((this.#chunk[lengthAt] as number) << 8) | (this.#chunk[lengthAt + 1] as number));
  }
}

/**
 * Parses the PUBLISH in `chunk[start, end)` whose variable header begins at `bodyAt`. Undefined, with
 * the reason in `reader.error`, when it is wrong. The reader is touched only for that and for properties.
 */
export function parsePublish(
  context: PublishContext,
  reader: WireReader,
  chunk: Uint8Array,
  start: number,
  bodyAt: number,
  end: number,
): PublishPacket | undefined {
  const flags = (chunk[start] as number) & 15;
  const version = context.protocolVersion;
  const topicNameAt = bodyAt + 2;
  if (topicNameAt > end) return refuse(reader, ReasonCode.malformedPacket, 'packet ends early');
  let at = topicNameAt + (((chunk[bodyAt] as number) << 8) | (chunk[bodyAt + 1] as number));
  if (at > end) return refuse(reader, ReasonCode.malformedPacket, 'packet ends early');
  const topicEnd = at;

  let packetId = 0;
  if ((flags & 6) !== 0) {
    if (at + 2 > end) return refuse(reader, ReasonCode.malformedPacket, 'packet ends early');
    packetId = ((chunk[at] as number) << 8) | (chunk[at + 1] as number);
    if (packetId === 0) return refuse(reader, ReasonCode.protocolError, 'packet identifier 0'); // [MQTT-2.2.1-3]
    at += 2;
  }

  let properties: Properties | undefined;
  if (version === 5) {
    if (at < end && chunk[at] === 0) {
      at++;
    } else {
      reader.reset(chunk, at, end);
      properties = parseProperties(reader, context.fromClient ? PropertySet.publishFromClient : PropertySet.publishFromServer);
      at = reader.at;
      reader.release();
      if (reader.error !== undefined) return undefined;
    }
  }

  let topicName = '';
  if (topicEnd > topicNameAt) {
    let topic = context.lastTopic;
    if (topic === undefined || !isSame(topic, chunk, topicNameAt, topicEnd)) {
      topic = context.topics.find(chunk, topicNameAt, topicEnd);
      if (topic === undefined) return refuseTopicName(reader, chunk, topicNameAt, topicEnd);
      context.lastTopic = topic;
    }
    topicName = topic.topicName;
  } else if (properties?.topicAlias === undefined) {
    return refuse(reader, ReasonCode.protocolError, 'no topic name and no topic alias'); // [MQTT-4.7.3-1], section 3.3.2.1
  }
  if (properties?.responseTopic !== undefined && !isTopicName(properties.responseTopic, context.topics.levelsMax)) {
    return refuse(reader, ReasonCode.protocolError, 'response topic is not a topic name'); // [MQTT-3.3.2-14]
  }

  const asItIs = (bodyAt - start === 2 || chunk[bodyAt - 1] !== 0) && properties?.topicAlias === undefined;
  const payload = viewOf(chunk, at, end);
  return new ReceivedPublish(flags, topicName, packetId, properties, payload, chunk, start, end, asItIs ? topicNameAt - start : 0);
}

function refuse(reader: WireReader, reasonCode: number, message: string): undefined {
  reader.error = { reasonCode, message };
  return undefined;
}

function refuseTopicName(reader: WireReader, chunk: Uint8Array, start: number, end: number): undefined {
  return decodeText(chunk, start, end) === undefined
    ? refuse(reader, ReasonCode.malformedPacket, 'topic name is not UTF-8 or holds U+0000') // [MQTT-3.3.2-1] [MQTT-1.5.4-2]
    : refuse(reader, ReasonCode.topicNameInvalid, 'topic name has a wildcard or too many levels'); // [MQTT-3.3.2-2]
}

/** Bytes of the whole PUBLISH; for a receiver's Maximum Packet Size and for making room. */
export function publishSize(packet: PublishPacket, version: ProtocolVersion): number {
  return packetSize(publishRemaining(packet, version, packet.qos));
}

function publishRemaining(packet: PublishPacket, version: ProtocolVersion, qos: QoS): number {
  let n = stringSize(packet.topicName) + packet.payload.length + (qos === 0 ? 0 : 2);
  if (version === 5) {
    const length = propertiesLength(packet.properties, PropertySet.publish);
    n += varintSize(length) + length;
  }
  return n;
}

/** Writes the packet at `at` and returns the position after it; the caller made room for {@link publishSize} bytes. */
export function writePublish(out: Uint8Array, at: number, packet: PublishPacket, version: ProtocolVersion): number {
  return writePublishAs(out, at, packet, version, packet.qos, packet.retain, packet.dup, packet.packetId);
}

/** Bytes of {@link writePublishAs}. */
export function publishSizeAs(packet: PublishPacket, version: ProtocolVersion, qos: QoS): number {
  return packetSize(publishRemaining(packet, version, qos));
}

/** The same message with another QoS, RETAIN, DUP and Packet Identifier, without a changed packet in between. */
export function writePublishAs(
  out: Uint8Array,
  at: number,
  packet: PublishPacket,
  version: ProtocolVersion,
  qos: QoS,
  retain: boolean,
  dup: boolean,
  packetId: number,
): number {
  assert(qos === 0 ? !dup : packetId > 0 && packetId <= 0xffff, 'mqtt: packet identifier and DUP must fit the QoS'); // [MQTT-3.3.1-2] [MQTT-2.2.1-2]
  const first = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  at = writeFixedHeader(out, at, first, publishRemaining(packet, version, qos));
  at = writeString(out, at, packet.topicName);
  if (qos !== 0) at = writeU16(out, at, packetId);
  if (version === 5) {
    at = writeProperties(out, at, packet.properties, PropertySet.publish, propertiesLength(packet.properties, PropertySet.publish));
  }
  out.set(packet.payload, at);
  return at + packet.payload.length;
}
