// Messages and the parts of a session as bytes, for its move to another node (session-codec.ts) and for
// the journal on disk (session-record.ts). Readers throw MalformedError.
import { type ByteReader, MalformedError } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import type { Message, MessageProperties, Qos } from './message.js';
import { makeMessage } from './message.js';
import type { SubscriptionOptions } from './session.js';

/** Options of a subscription and its identifier. */
export function writeOptions(
  w: ByteWriter,
  s: { readonly [K in keyof Omit<SubscriptionOptions, 'subscriptionIdentifier'>]: SubscriptionOptions[K] },
  identifier: number | undefined,
): void {
  w.u8(s.qos | (s.noLocal ? 4 : 0) | (s.retainAsPublished ? 8 : 0) | (s.retainHandling << 4) | (s.exclusive ? 64 : 0));
  w.varint(identifier ?? 0);
}

export function readOptions(r: ByteReader): SubscriptionOptions {
  const bits = r.u8();
  const identifier = r.varint();
  return {
    qos: readQos(bits),
    noLocal: (bits & 4) !== 0,
    retainAsPublished: (bits & 8) !== 0,
    retainHandling: readHandling((bits >> 4) & 3),
    subscriptionIdentifier: identifier === 0 ? undefined : identifier,
    exclusive: (bits & 64) !== 0,
  };
}

export function readPacketId(r: ByteReader): number {
  return checkedPacketId(r.varint());
}

export function checkedPacketId(id: number): number {
  if (id > 0xffff) throw new MalformedError('packet identifier above 65,535');
  return id;
}

export function readQos(bits: number): Qos {
  const qos = bits & 3;
  if (qos === 0 || qos === 1 || qos === 2) return qos;
  throw new MalformedError('QoS 3');
}

function readHandling(n: number): 0 | 1 | 2 {
  if (n === 0 || n === 1 || n === 2) return n;
  throw new MalformedError('retain handling out of range');
}

export function writeIdentifiers(w: ByteWriter, ids: readonly number[] | undefined): void {
  w.varint(ids?.length ?? 0);
  if (ids !== undefined) for (const id of ids) w.varint(id);
}

export function readIdentifiers(r: ByteReader): number[] | undefined {
  const n = r.varint();
  if (n === 0) return undefined;
  const ids: number[] = [];
  for (let i = 0; i < n; i++) ids.push(r.varint());
  return ids;
}

export function writeOptional(w: ByteWriter, s: string | undefined): void {
  w.u8(s === undefined ? 0 : 1);
  if (s !== undefined) w.string(s);
}

export function readOptional(r: ByteReader): string | undefined {
  return r.u8() === 0 ? undefined : r.string();
}

/** `now`: a time from which what is left of its life is counted. */
export function writeMessage(w: ByteWriter, m: Message, now: number): void {
  const expires = m.expiresAt !== Number.POSITIVE_INFINITY;
  const p = m.properties;
  w.u8(m.qos | (m.retain ? 4 : 0) | (expires ? 8 : 0) | (p === undefined ? 0 : 16));
  w.string(m.topicName);
  w.blob(m.payload);
  if (expires) w.f64(m.expiresAt - now);
  w.string(m.publisherId);
  w.varint(m.originIncarnation);
  w.varint(m.originNumber);
  if (p !== undefined) writeMessageProperties(w, p);
}

export function writeMessageProperties(w: ByteWriter, p: MessageProperties): void {
  w.u8(p.payloadFormatIndicator ?? 255);
  writeOptional(w, p.contentType);
  writeOptional(w, p.responseTopic);
  w.u8(p.correlationData === undefined ? 0 : 1);
  if (p.correlationData !== undefined) w.blob(p.correlationData);
  w.varint(p.userProperties?.length ?? 0);
  if (p.userProperties === undefined) return;
  for (const [name, value] of p.userProperties) {
    w.string(name);
    w.string(value);
  }
}

export function readMessage(r: ByteReader, now: number): Message {
  const bits = r.u8();
  const topicName = r.string();
  const payload = copyBytes(r.blob());
  const expiresAt = (bits & 8) !== 0 ? now + r.f64() : Number.POSITIVE_INFINITY;
  const publisherId = r.string();
  const originIncarnation = r.varint();
  const originNumber = r.varint();
  const properties = (bits & 16) !== 0 ? readMessageProperties(r) : undefined;
  const message = makeMessage(topicName, payload, readQos(bits), (bits & 4) !== 0, properties, expiresAt, publisherId);
  message.originIncarnation = originIncarnation;
  message.originNumber = originNumber;
  message.kept = true;
  return message;
}

export function readMessageProperties(r: ByteReader): MessageProperties {
  const out: { -readonly [K in keyof MessageProperties]: MessageProperties[K] } = {};
  const format = r.u8();
  if (format !== 255) out.payloadFormatIndicator = format;
  const contentType = readOptional(r);
  if (contentType !== undefined) out.contentType = contentType;
  const responseTopic = readOptional(r);
  if (responseTopic !== undefined) out.responseTopic = responseTopic;
  if (r.u8() !== 0) out.correlationData = copyBytes(r.blob());
  const n = r.varint();
  if (n === 0) return out;
  const pairs: [string, string][] = [];
  for (let i = 0; i < n; i++) pairs.push([r.string(), r.string()]);
  out.userProperties = pairs;
  return out;
}
