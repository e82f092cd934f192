// A session as bytes, for its move to another node: the state (subscriptions, inflight, QoS 2
// identifiers) and, apart, the rest: the messages that wait, and what has become of the QoS 2 identifiers
// by then. Written by the holder, read by the new owner, which may run another version: the first byte
// is the format. Times are carried as what is left of them.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { InflightEntry } from './inflight.js';
import { type MessageWriter, readInflight, readQueued, writeInflight, writeQueued } from './item-codec.js';
import { checkedPacketId, readMessage, readOptional, readOptions, readPacketId, writeMessage, writeOptional, writeOptions } from './message-codec.js';
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
  for (const entry of inflight) writeInflight(w, entry, whole(now));
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
  for (let n = r.varint(); n > 0; n--) inflight.push(readInflight(r, (bytes) => readMessage(bytes, now)));
  const awaitingRel: number[] = [];
  for (let n = r.varint(); n > 0; n--) awaitingRel.push(readPacketId(r));
  const recent: [number, number][] = [];
  for (let n = r.varint(); n > 0; n--) recent.push([r.varint(), r.varint()]);
  r.done();
  return { expiryIntervalS, username, mountpoint, lastPacketId, subscriptions, inflight, awaitingRel, recent };
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
  for (let i = 0; queue !== undefined && i < queue.length; i++) writeQueued(w, queue.at(i) as QueuedMessage, whole(now));
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
  for (let n = r.varint(); n > 0; n--) queue.push(readQueued(r, (bytes) => readMessage(bytes, now)));
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

/** Expiry is written as what is left of it at `now`. */
function whole(now: number): MessageWriter {
  return (w, message) => writeMessage(w, message, now);
}

function readFormat(r: ByteReader): void {
  const found = r.u8();
  if (found !== format) throw new MalformedError(`session format ${found} is not known`);
}
