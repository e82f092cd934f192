// Commands of delayed messages, evaluated once at the leader of shard `retain`, and the rows they write.
// Three kinds of keys in one table, by their first byte: a message (in the order of due times), a claim on
// one (it belongs to the incarnation that publishes the message, and vanishes with it), and the one row
// that says how many messages there are.
// `delayedPut` keeps a message; `delayedClaim` gives due messages, each to one node, and answers with the
// leader's stamp; `delayedDone` deletes those that were published, or are not wanted any more.
// Invariant: at any position of the log a message is claimed by at most one live incarnation.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes, emptyBytes, fromHex, toHex } from '#base/bytes.js';
import { type CommandContext, type CommandHandler, CommandRefused, type Reader, type Table } from '#db/api.js';
import { refusing } from '#db/command-body.js';
import type { DelayedPublisher } from './ports.js';

const messageKind = 0;
const claimKind = 1;
const countKey: Uint8Array = Uint8Array.of(2);

/** Kind, due time, position in the log. */
export const delayedKeyLength = 17;
/** Claims of one command, and rows it looks at. */
export const claimMax = 100;
const claimScanMax = 5_000;

/** The first key behind the messages. */
export const messagesEnd: Uint8Array = Uint8Array.of(claimKind);

function encodeKey(dueMs: number, position: number): Uint8Array {
  const key = new Uint8Array(delayedKeyLength);
  key[0] = messageKind;
  writeBigEndian(key, 1, dueMs);
  writeBigEndian(key, 9, position);
  return key;
}

function writeBigEndian(out: Uint8Array, at: number, value: number): void {
  for (let i = 7, rest = Math.max(0, Math.floor(value)); i >= 0; i--, rest = Math.floor(rest / 256)) out[at + i] = rest % 256;
}

export function isMessageKey(key: Uint8Array): boolean {
  return key.length === delayedKeyLength && key[0] === messageKind;
}

/** The leader's stamp at which the message of this key is due. */
export function dueOf(key: Uint8Array): number {
  let value = 0;
  for (let i = 1; i < 9; i++) value = value * 256 + (key[i] as number);
  return value;
}

/** What operators name it by: the key's due time and position. */
export function idOfKey(key: Uint8Array): string {
  return toHex(key.subarray(1));
}

/** Undefined: no message has such a name. */
export function keyOfId(id: string): Uint8Array | undefined {
  const bytes = fromHex(id);
  if (bytes?.length !== delayedKeyLength - 1) return undefined;
  const key = new Uint8Array(delayedKeyLength);
  key[0] = messageKind;
  key.set(bytes, 1);
  return key;
}

function claimOf(key: Uint8Array): Uint8Array {
  const claim = copyBytes(key);
  claim[0] = claimKind;
  return claim;
}

// ---- bodies and rows ----

export interface DelayedPut {
  readonly delayMs: number;
  /** Infinity: it does not expire. */
  readonly lifetimeMs: number;
  readonly retain: boolean;
  readonly topicName: string;
  /** `delayed.max_delayed_messages`; 0: no bound. */
  readonly messagesMax: number;
  readonly publisher: DelayedPublisher | undefined;
  /** retained-row.ts. */
  readonly body: Uint8Array;
}

export function encodeDelayedPut(put: DelayedPut): Uint8Array {
  const w = new ByteWriter(64 + put.topicName.length + put.body.length);
  w.f64(put.delayMs);
  w.f64(put.lifetimeMs);
  w.u8(put.retain ? 1 : 0);
  w.string(put.topicName);
  w.varint(put.messagesMax);
  writePublisher(w, put.publisher);
  w.raw(put.body);
  return w.finish();
}

function decodeDelayedPut(bytes: Uint8Array): DelayedPut {
  const r = new ByteReader(bytes);
  return {
    delayMs: r.f64(),
    lifetimeMs: r.f64(),
    retain: r.u8() === 1,
    topicName: r.string(),
    messagesMax: r.varint(),
    publisher: readPublisher(r),
    body: r.raw(r.remaining),
  };
}

export interface DelayedRow {
  /** Leader's stamp, ms since 1970; Infinity: never. */
  readonly expiresAtMs: number;
  readonly retain: boolean;
  readonly topicName: string;
  /** Undefined: nobody's rights are looked at again. */
  readonly publisher: DelayedPublisher | undefined;
  readonly body: Uint8Array;
}

const rowVersion = 2;

function writePublisher(w: ByteWriter, publisher: DelayedPublisher | undefined): void {
  w.u8(publisher === undefined ? 0 : publisher.username === undefined ? 1 : 2);
  if (publisher === undefined) return;
  w.string(publisher.mountpoint);
  if (publisher.username !== undefined) w.string(publisher.username);
}

function readPublisher(r: ByteReader): DelayedPublisher | undefined {
  const kind = r.u8();
  if (kind === 0) return undefined;
  const mountpoint = r.string();
  return { mountpoint, username: kind === 2 ? r.string() : undefined };
}

function encodeRow(row: DelayedRow): Uint8Array {
  const w = new ByteWriter(32 + row.topicName.length + row.body.length);
  w.u8(rowVersion);
  w.f64(row.expiresAtMs);
  w.u8(row.retain ? 1 : 0);
  w.string(row.topicName);
  writePublisher(w, row.publisher);
  w.raw(row.body);
  return w.finish();
}

/** A view; throws MalformedError. */
export function decodeDelayedRow(bytes: Uint8Array): DelayedRow {
  const r = new ByteReader(bytes);
  if (r.u8() !== rowVersion) throw new MalformedError('delayed message of another version');
  return { expiresAtMs: r.f64(), retain: r.u8() === 1, topicName: r.string(), publisher: readPublisher(r), body: r.raw(r.remaining) };
}

export interface Claimed {
  /** The leader's. */
  readonly stampMs: number;
  /** When the next message is due that nobody publishes yet; Infinity: there is none. */
  readonly nextDueMs: number;
  readonly keys: readonly Uint8Array[];
}

/** Throws MalformedError. */
export function decodeClaimed(bytes: Uint8Array): Claimed {
  const r = new ByteReader(bytes);
  const stampMs = r.f64();
  const nextDueMs = r.f64();
  const keys: Uint8Array[] = [];
  while (r.remaining > 0) keys.push(copyBytes(r.raw(delayedKeyLength)));
  return { stampMs, nextDueMs, keys };
}

export function encodeDelayedKeys(keys: readonly Uint8Array[]): Uint8Array {
  const w = new ByteWriter(keys.length * delayedKeyLength + 1);
  for (const key of keys) w.raw(key);
  return w.finish();
}

/** How many messages wait. */
export function countDelayed(reader: Reader, table: Table): number {
  const row = reader.get(table, countKey);
  return row === undefined ? 0 : new ByteReader(row.value).f64();
}

// ---- commands ----

export function delayedCommands(table: Table): Readonly<Record<string, CommandHandler>> {
  return { delayedPut: refusing(putCommand(table)), delayedClaim: refusing(claimCommand(table)), delayedDone: refusing(doneCommand(table)) };
}

function setCount(context: CommandContext, table: Table, count: number): void {
  const w = new ByteWriter(8);
  w.f64(Math.max(0, count));
  context.put(table, countKey, w.finish(), 0);
}

function putCommand(table: Table): CommandHandler {
  return (context, bytes) => {
    const { delayMs, lifetimeMs, messagesMax, ...row } = decodeDelayedPut(bytes);
    const count = countDelayed(context, table);
    if (messagesMax > 0 && count >= messagesMax) throw new CommandRefused('the limit of delayed messages is reached');
    const value = encodeRow({ expiresAtMs: context.stampMs + lifetimeMs, ...row });
    context.put(table, encodeKey(context.stampMs + delayMs, context.position), value, 0);
    setCount(context, table, count + 1);
    return emptyBytes;
  };
}

function claimCommand(table: Table): CommandHandler {
  return (context) => {
    const keys: Uint8Array[] = [];
    let looked = 0;
    let next = Number.POSITIVE_INFINITY;
    context.range(table, Uint8Array.of(messageKind), messagesEnd, (key) => {
      if (context.get(table, claimOf(key)) !== undefined) return ++looked < claimScanMax;
      const due = dueOf(key);
      if (due > context.stampMs || keys.length === claimMax) {
        next = due;
        return false;
      }
      keys.push(copyBytes(key));
      return true;
    });
    for (const key of keys) context.put(table, claimOf(key), emptyBytes, context.incarnation);
    const reply = new ByteWriter(16 + keys.length * delayedKeyLength);
    reply.f64(context.stampMs);
    reply.f64(next);
    for (const key of keys) reply.raw(key);
    return reply.finish();
  };
}

function doneCommand(table: Table): CommandHandler {
  return (context, bytes) => {
    const r = new ByteReader(bytes);
    let count = countDelayed(context, table);
    while (r.remaining > 0) {
      const key = r.raw(delayedKeyLength);
      if (!isMessageKey(key) || context.get(table, key) === undefined) continue;
      context.delete(table, key);
      context.delete(table, claimOf(key));
      count--;
    }
    setCount(context, table, count);
    return emptyBytes;
  };
}
