// A session as bytes, for its move to another node: the state (subscriptions, inflight, QoS 2
// identifiers) and, apart, the rest: the messages that wait, and what has become of the QoS 2 identifiers
// by then. Written by the holder, read by the new owner, which may run another version: the first byte
// is the format. Times are carried as what is left of them.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { InflightEntry } from './inflight.js';
import {
  checkedPacketId,
  readIdentifiers,
  readMessage,
  readOptional,
  readOptions,
  readPacketId,
  readQos,
  writeIdentifiers,
  writeMessage,
  writeOptional,
  writeOptions,
} from './message-codec.js';
import type { QueuedMessage } from './queue.js';
import type { Session, SubscriptionOptions } from './session.js';

const format = 4;

/** What a session is made of again. */
export interface SessionState {
  readonly expiryIntervalS: number;
  readonly username: string | undefined;
  readonly mountpoint: string;
  readonly lastPacketId: number;
  readonly subscriptions: readonly { readonly topicFilter: string; readonly options: SubscriptionOptions }[];
  readonly inflight: readonly InflightEntry[];
  readonly awaitingRel: readonly number[];
  /** Origins (incarnation, number) of messages that the session got lately, copies of which may still come elsewhere. */
  readonly recent: readonly (readonly [number, number])[];
}

/** The state without the queue. */
export function encodeSession(session: Session, now: number, recent: readonly (readonly [number, number])[] = []): Uint8Array {
  const w = new ByteWriter();
  w.u8(format);
  w.varint(session.expiryIntervalS);
  writeOptional(w, session.username);
  w.string(session.mountpoint);
  w.varint(session.lastPacketId);
  w.varint(session.subscriptions.size);
  for (const s of session.subscriptions.values()) {
    w.string(s.topicFilter);
    writeOptions(w, s, s.identifiers?.[0]);
  }
  const inflight = session.inflight === undefined ? [] : [...session.inflight.entries()];
  w.varint(inflight.length);
  for (const entry of inflight) {
    w.varint(entry.packetId);
    w.u8(
      entry.qos | (entry.retain ? 4 : 0) | (entry.released ? 8 : 0) | (entry.message === undefined ? 0 : 16) | (entry.group === undefined ? 0 : 32),
    );
    writeIdentifiers(w, entry.subscriptionIdentifiers);
    if (entry.group !== undefined) w.string(entry.group);
    if (entry.message !== undefined) writeMessage(w, entry.message, now);
  }
  w.varint(session.awaitingRel?.size ?? 0);
  if (session.awaitingRel !== undefined) for (const id of session.awaitingRel.keys()) w.varint(id);
  w.varint(recent.length);
  for (const [incarnation, number] of recent) {
    w.varint(incarnation);
    w.varint(number);
  }
  return w.finish();
}

/** Throws {@link MalformedError}. */
export function decodeSession(bytes: Uint8Array, now: number): SessionState {
  const r = new ByteReader(bytes);
  readFormat(r);
  const expiryIntervalS = r.varint();
  const username = readOptional(r);
  const mountpoint = r.string();
  const lastPacketId = readPacketId(r);
  const subscriptions: { topicFilter: string; options: SubscriptionOptions }[] = [];
  for (let n = r.varint(); n > 0; n--) {
    const topicFilter = r.string();
    subscriptions.push({ topicFilter, options: readOptions(r) });
  }
  const inflight: InflightEntry[] = [];
  for (let n = r.varint(); n > 0; n--) inflight.push(readInflight(r, now));
  const awaitingRel: number[] = [];
  for (let n = r.varint(); n > 0; n--) awaitingRel.push(readPacketId(r));
  const recent: [number, number][] = [];
  for (let n = r.varint(); n > 0; n--) recent.push([r.varint(), r.varint()]);
  r.done();
  return { expiryIntervalS, username, mountpoint, lastPacketId, subscriptions, inflight, awaitingRel, recent };
}

function readInflight(r: ByteReader, now: number): InflightEntry {
  const packetId = readPacketId(r);
  const bits = r.u8();
  const qos = readQos(bits);
  if (qos === 0 || packetId === 0) throw new MalformedError('inflight entry without QoS or packet identifier');
  const subscriptionIdentifiers = readIdentifiers(r);
  const group = (bits & 32) !== 0 ? r.string() : undefined;
  const message = (bits & 16) !== 0 ? readMessage(r, now) : undefined;
  return { packetId, qos, message, retain: (bits & 4) !== 0, subscriptionIdentifiers, group, released: (bits & 8) !== 0, sent: false };
}

/** What the holder hands over last. */
export interface SessionRest {
  /** Everything that waits, in order. */
  readonly queue: QueuedMessage[];
  /** QoS 2 identifiers received and not released. */
  readonly awaitingRel: readonly number[];
  /** Those of them whose messages are not accepted yet by all who must. */
  readonly unsettled: readonly number[];
  /** Where to ask how those end; empty when there are none. */
  readonly ticket: string;
  /** Messages that the session has lost to the bounds of its queue. */
  readonly queueDropped: number;
}

/** `ticket`: where to ask about the identifiers whose acknowledgement is still owed. */
export function encodeRest(session: Session, now: number, ticket: string): Uint8Array {
  const w = new ByteWriter(1024);
  const { queue } = session;
  w.u8(format);
  w.varint(queue?.length ?? 0);
  for (let i = 0; queue !== undefined && i < queue.length; i++) {
    const item = queue.at(i) as QueuedMessage;
    w.u8(item.qos | (item.retain ? 4 : 0) | (item.group === undefined ? 0 : 32));
    writeIdentifiers(w, item.subscriptionIdentifiers);
    if (item.group !== undefined) w.string(item.group);
    writeMessage(w, item.message, now);
  }
  w.varint(session.awaitingRel?.size ?? 0);
  if (session.awaitingRel !== undefined) for (const [id, owed] of session.awaitingRel) w.varint(id * 2 + (owed === undefined ? 0 : 1));
  w.string(ticket);
  w.varint(session.queueDropped);
  return w.finish();
}

/** Throws {@link MalformedError}. */
export function decodeRest(bytes: Uint8Array, now: number): SessionRest {
  const r = new ByteReader(bytes);
  readFormat(r);
  const queue: QueuedMessage[] = [];
  for (let n = r.varint(); n > 0; n--) {
    const bits = r.u8();
    const subscriptionIdentifiers = readIdentifiers(r);
    const group = (bits & 32) !== 0 ? r.string() : undefined;
    queue.push({ message: readMessage(r, now), qos: readQos(bits), retain: (bits & 4) !== 0, subscriptionIdentifiers, group });
  }
  const awaitingRel: number[] = [];
  const unsettled: number[] = [];
  for (let n = r.varint(); n > 0; n--) {
    const bits = r.varint();
    const id = checkedPacketId(Math.floor(bits / 2));
    awaitingRel.push(id);
    if (bits % 2 === 1) unsettled.push(id);
  }
  const ticket = r.string();
  const queueDropped = r.varint();
  r.done();
  return { queue, awaitingRel, unsettled, ticket, queueDropped };
}

function readFormat(r: ByteReader): void {
  const found = r.u8();
  if (found !== format) throw new MalformedError(`session format ${found} is not known`);
}
