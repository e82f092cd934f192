// An inflight entry and a waiting message as bytes: the same in a session that moves (session-codec.ts, with
// the whole message) and in the journal (session-record.ts, with the number of the message's own record).
import { type ByteReader, MalformedError } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import type { InflightEntry } from './inflight.js';
import type { Message } from './message.js';
import { readIdentifiers, readPacketId, readQos, writeIdentifiers } from './message-codec.js';
import type { QueuedMessage } from './queue.js';

const retained = 4;
const released = 8;
const hasMessage = 16;
const hasGroup = 32;

export type MessageWriter = (w: ByteWriter, message: Message) => void;
export type MessageReader = (r: ByteReader) => Message;

export function writeInflight(w: ByteWriter, entry: InflightEntry, writeMessage: MessageWriter): void {
  w.varint(entry.packetId);
  const { message, group } = entry;
  const state = (entry.retain ? retained : 0) | (entry.released ? released : 0);
  w.u8(entry.qos | state | (message === undefined ? 0 : hasMessage) | (group === undefined ? 0 : hasGroup));
  writeIdentifiers(w, entry.subscriptionIdentifiers);
  if (group !== undefined) w.string(group);
  if (message !== undefined) writeMessage(w, message);
}

/** Throws {@link MalformedError}. */
export function readInflight(r: ByteReader, readMessage: MessageReader): InflightEntry {
  const packetId = readPacketId(r);
  const bits = r.u8();
  const qos = readQos(bits);
  if (qos === 0 || packetId === 0) throw new MalformedError('inflight entry without QoS or packet identifier');
  const subscriptionIdentifiers = readIdentifiers(r);
  const group = (bits & hasGroup) !== 0 ? r.string() : undefined;
  const message = (bits & hasMessage) !== 0 ? readMessage(r) : undefined;
  const retain = (bits & retained) !== 0;
  return { packetId, qos, message, retain, subscriptionIdentifiers, group, released: (bits & released) !== 0, sent: false };
}

export function writeQueued(
  w: ByteWriter,
  { message, qos, retain, subscriptionIdentifiers, group }: QueuedMessage,
  writeMessage: MessageWriter,
): void {
  w.u8(qos | (retain ? retained : 0) | (group === undefined ? 0 : hasGroup));
  writeIdentifiers(w, subscriptionIdentifiers);
  if (group !== undefined) w.string(group);
  writeMessage(w, message);
}

/** Throws {@link MalformedError}. */
export function readQueued(r: ByteReader, readMessage: MessageReader): QueuedMessage {
  const bits = r.u8();
  const subscriptionIdentifiers = readIdentifiers(r);
  const group = (bits & hasGroup) !== 0 ? r.string() : undefined;
  return { message: readMessage(r), qos: readQos(bits), retain: (bits & retained) !== 0, subscriptionIdentifiers, group };
}
