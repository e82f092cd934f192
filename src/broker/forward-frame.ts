// Frames of the forward lane as bytes: messages on their way to the nodes that have receivers.
//   0x01 loose:    message…                                             QoS 0, nobody answers
//   0x02 reliable: stream f64, floor f64, first f64, count u32, message… QoS 1/2, numbered from `first`
//   0x03 ack:      stream f64, next f64, from f64, count u32, bits…      all below `next` were taken;
//                  bit i: message `from + i` had a receiver
//   0x04 gap:      stream f64, next f64                                  please go on from `next`
//   0x05 probe:    token f64                                             say when all before is sent
//   0x06 probed:   token f64                                             it was
// A message for one member of a shared subscription says so in its flags, and names the group; its bit in
// the acknowledgement then tells whether the member was there.
// A stream is one run of the sending process; `floor` says below which number everything is settled.
// Frames come from a peer: every reader throws MalformedError on bytes that are not a frame.
import { type ByteReader, MalformedError } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import type { Message, MessageProperties } from '#session/message.js';
import type { SharedAddress } from './ports.js';

export const frameKind: { readonly loose: 1; readonly reliable: 2; readonly ack: 3; readonly gap: 4; readonly probe: 5; readonly probed: 6 } = {
  loose: 1,
  reliable: 2,
  ack: 3,
  gap: 4,
  probe: 5,
  probed: 6,
};

/** Bytes before the first message of a reliable frame. */
export const reliableHeaderLength = 29;
const floorAt = 9;

const qosMask = 0x03;
const retainFlag = 0x04;
const expiryFlag = 0x08;
const propertiesFlag = 0x10;
const sharedFlag = 0x20;

const awayBit = 0x01;
const stickyBit = 0x02;

const formatBit = 0x01;
const contentTypeBit = 0x02;
const responseTopicBit = 0x04;
const correlationBit = 0x08;
const userBit = 0x10;
const userPropertiesMax = 65_535;

export function writeProperties(w: ByteWriter, p: MessageProperties | undefined): void {
  if (p === undefined) {
    w.u8(0);
    return;
  }
  const user = p.userProperties;
  w.u8(
    (p.payloadFormatIndicator === undefined ? 0 : formatBit) |
      (p.contentType === undefined ? 0 : contentTypeBit) |
      (p.responseTopic === undefined ? 0 : responseTopicBit) |
      (p.correlationData === undefined ? 0 : correlationBit) |
      (user === undefined ? 0 : userBit),
  );
  if (p.payloadFormatIndicator !== undefined) w.u8(p.payloadFormatIndicator);
  if (p.contentType !== undefined) w.string(p.contentType);
  if (p.responseTopic !== undefined) w.string(p.responseTopic);
  if (p.correlationData !== undefined) w.blob(p.correlationData);
  if (user === undefined) return;
  w.varint(user.length);
  for (const [name, value] of user) {
    w.string(name);
    w.string(value);
  }
}

/** Copies what it reads. */
export function readProperties(r: ByteReader): MessageProperties | undefined {
  const bits = r.u8();
  if (bits === 0) return undefined;
  const p: { -readonly [K in keyof MessageProperties]: MessageProperties[K] } = {};
  if (bits & formatBit) p.payloadFormatIndicator = r.u8();
  if (bits & contentTypeBit) p.contentType = r.string();
  if (bits & responseTopicBit) p.responseTopic = r.string();
  if (bits & correlationBit) p.correlationData = copyBytes(r.blob());
  if (bits & userBit) {
    const n = r.varint();
    if (n > userPropertiesMax) throw new MalformedError('too many user properties');
    const user: [string, string][] = [];
    for (let i = 0; i < n; i++) user.push([r.string(), r.string()]);
    p.userProperties = user;
  }
  return p;
}

/** Appends the message. `now`: the expiry travels as the time that is left. */
export function writeMessage(w: ByteWriter, m: Message, now: number, to?: SharedAddress | undefined): void {
  const expires = m.expiresAt !== Number.POSITIVE_INFINITY;
  w.u8(
    m.qos |
      (m.retain ? retainFlag : 0) |
      (expires ? expiryFlag : 0) |
      (m.properties === undefined ? 0 : propertiesFlag) |
      (to === undefined ? 0 : sharedFlag),
  );
  if (to !== undefined) writeAddress(w, to);
  w.string(m.topicName);
  w.string(m.publisherId);
  w.varint(m.originIncarnation);
  w.varint(m.originNumber);
  if (expires) w.varint(Math.max(0, Math.ceil(m.expiresAt - now)));
  if (m.properties !== undefined) writeProperties(w, m.properties);
  w.blob(m.payload);
}

function writeAddress(w: ByteWriter, to: SharedAddress): void {
  w.u8((to.presence === 'away' ? awayBit : 0) | (to.sticky ? stickyBit : 0));
  w.varint(to.place);
  w.string(to.name);
}

function readAddress(r: ByteReader): SharedAddress {
  const bits = r.u8();
  if (bits > (awayBit | stickyBit)) throw new MalformedError('address of a forwarded message');
  return { presence: bits & awayBit ? 'away' : 'here', sticky: (bits & stickyBit) !== 0, place: r.varint(), name: r.string() };
}

/** Which member the message read last was for. */
export interface AddressRead {
  to: SharedAddress | undefined;
}

/** The next message of a frame; its payload is a view of the frame. */
export function readMessage(r: ByteReader, now: number, address?: AddressRead): Message {
  const flags = r.u8();
  const qos = flags & qosMask;
  if (qos === 3 || flags > 0x3f) throw new MalformedError('flags of a forwarded message');
  const to = flags & sharedFlag ? readAddress(r) : undefined;
  if (address !== undefined) address.to = to;
  const topicName = r.string();
  if (topicName.length === 0) throw new MalformedError('forwarded message without a topic name');
  const publisherId = r.string();
  const originIncarnation = r.varint();
  const originNumber = r.varint();
  const expiresAt = flags & expiryFlag ? now + r.varint() : Number.POSITIVE_INFINITY;
  const properties = flags & propertiesFlag ? readProperties(r) : undefined;
  return {
    topicName,
    payload: r.blob(),
    qos: qos as 0 | 1 | 2,
    retain: (flags & retainFlag) !== 0,
    properties,
    expiresAt,
    publisherId,
    originIncarnation,
    originNumber,
    kept: false,
    journalNumber: 0,
  };
}

export function writeReliableHeader(w: ByteWriter, stream: number, floor: number, first: number, count: number): void {
  w.u8(frameKind.reliable);
  w.f64(stream);
  w.f64(floor);
  w.f64(first);
  w.u32(count);
}

/** Brings the floor of a kept frame up to date before it is sent (again). */
export function patchFloor(frame: Uint8Array, floor: number): void {
  new DataView(frame.buffer, frame.byteOffset, frame.byteLength).setFloat64(floorAt, floor, true);
}

/** Numbers on the wire: safe integers that are not negative. */
export function readNumber(r: ByteReader): number {
  const v = r.f64();
  if (!Number.isSafeInteger(v) || v < 0) throw new MalformedError('number of a forward frame');
  return v;
}
