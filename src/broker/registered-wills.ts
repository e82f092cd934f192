// Wills that stand with the registry, as the commands of its shards see and change them: a will outlives the node of its
// client's connection. Beside the registry's row of a client id stands one row with the wills of its connections, newest last
// (`willTable`); it belongs to nobody, so that no purge takes it away. A will
//  - stands while its node lives: that one publishes it, or knows that it is withdrawn, and says so (`over`, `waits`);
//  - is an orphan when that node's incarnation is not live any more: the leader of the shard publishes it when it is due, for
//    which it is listed by time in `willDueTable` (will-publisher.ts);
//  - is held while a registration is about to continue the session, which calls it off, unless it comes to nothing.
// Invariant: an orphan is listed if and only if it is not held, under its due time.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes, emptyBytes } from '#base/bytes.js';
import type { CommandContext, Table } from '#db/api.js';

export interface WillTables {
  readonly wills: Table;
  readonly due: Table;
}

export interface RegisteredWill {
  /** Of its connection. */
  readonly epoch: number;
  /** Of the node that answers for it. */
  readonly incarnation: number;
  readonly delayMs: number;
  /** Leader's stamp; 0: its connection lasts, as far as is known. Without a delay, and not an orphan: when it was displaced. */
  readonly dueMs: number;
  readonly orphan: boolean;
  /** The registration that is about to call it off, 0: none, and its node's incarnation. */
  readonly heldBy: number;
  readonly heldIncarnation: number;
  /** will-body.ts. */
  readonly body: Uint8Array;
}

const rowVersion = 1;
/** Of one client id; the oldest goes first. More than one is there only while nodes have yet to say what became of theirs. */
const willsMax = 8;
/** A node that lives has said by then what became of a will that was displaced, or never knew of it: its registration failed. */
const wordMsMax = 30_000;
const scratch = new ByteWriter(512);

/** Throws MalformedError. */
export function decodeWills(bytes: Uint8Array): RegisteredWill[] {
  const r = new ByteReader(bytes);
  if (r.u8() !== rowVersion) throw new MalformedError('wills of another version');
  const wills: RegisteredWill[] = [];
  for (let n = r.u8(); n > 0; n--) {
    wills.push({
      epoch: r.varint(),
      incarnation: r.varint(),
      delayMs: r.varint(),
      dueMs: r.varint(),
      orphan: r.u8() === 1,
      heldBy: r.varint(),
      heldIncarnation: r.varint(),
      body: copyBytes(r.blob()),
    });
  }
  return wills;
}

function encodeWills(wills: readonly RegisteredWill[]): Uint8Array {
  const w = scratch;
  w.reset();
  w.u8(rowVersion);
  w.u8(wills.length);
  for (const will of wills) {
    w.varint(will.epoch);
    w.varint(will.incarnation);
    w.varint(will.delayMs);
    w.varint(will.dueMs);
    w.u8(will.orphan ? 1 : 0);
    w.varint(will.heldBy);
    w.varint(will.heldIncarnation);
    w.blob(will.body);
  }
  return w.view();
}

/** In the order of due times. */
export function dueKey(dueMs: number, epoch: number, key: Uint8Array): Uint8Array {
  const w = new ByteWriter(16 + key.length);
  for (const number of [dueMs, epoch]) {
    w.u32(Math.floor(number / 2 ** 32));
    w.u32(number % 2 ** 32);
  }
  w.raw(key);
  return w.finish();
}

export interface DueWill {
  readonly dueMs: number;
  readonly epoch: number;
  /** The client id. */
  readonly key: Uint8Array;
}

/** Throws MalformedError. */
export function decodeDueKey(bytes: Uint8Array): DueWill {
  const r = new ByteReader(bytes);
  const dueMs = r.u32() * 2 ** 32 + r.u32();
  const epoch = r.u32() * 2 ** 32 + r.u32();
  return { dueMs, epoch, key: copyBytes(r.raw(r.remaining)) };
}

/** What a registration says of its client's will: the delay, and what is to be published. */
export function encodeStanding(delayMs: number, body: Uint8Array): Uint8Array {
  const w = new ByteWriter(8 + body.length);
  w.varint(delayMs);
  w.raw(body);
  return w.finish();
}

/** The wills of one client id, within one command. */
class Wills {
  readonly #context: CommandContext;
  readonly #tables: WillTables;
  readonly #key: Uint8Array;
  readonly #before: readonly RegisteredWill[];
  readonly #there: boolean;

  constructor(context: CommandContext, tables: WillTables, key: Uint8Array) {
    this.#context = context;
    this.#tables = tables;
    this.#key = key;
    const row = context.get(tables.wills, key);
    this.#there = row !== undefined;
    this.#before = row === undefined ? [] : decodeWills(row.value);
  }

  get empty(): boolean {
    return this.#before.length === 0;
  }

  /** `change`: what becomes of each; undefined: it is off, or was published. */
  change(change: (will: RegisteredWill) => RegisteredWill | undefined, added?: RegisteredWill): void {
    const after: RegisteredWill[] = [];
    let same = added === undefined;
    for (const will of this.#before) {
      const next = change(will);
      if (next !== undefined) after.push(next);
      if (next !== will) same = false;
    }
    if (same) return;
    if (added !== undefined) after.push(added);
    const kept = after.slice(-willsMax);
    const listed = new Map<string, Uint8Array>();
    for (const will of this.#before) if (isListed(will)) listed.set(`${will.dueMs} ${will.epoch}`, dueKey(will.dueMs, will.epoch, this.#key));
    for (const will of kept) {
      if (!isListed(will) || listed.delete(`${will.dueMs} ${will.epoch}`)) continue;
      this.#context.put(this.#tables.due, dueKey(will.dueMs, will.epoch, this.#key), emptyBytes);
    }
    for (const key of listed.values()) this.#context.delete(this.#tables.due, key);
    if (kept.length > 0) this.#context.put(this.#tables.wills, this.#key, encodeWills(kept));
    else if (this.#there) this.#context.delete(this.#tables.wills, this.#key);
  }

  /** Its connection or session is over: due at once, by its own node, or by the leader if that is gone. */
  ended(will: RegisteredWill): RegisteredWill {
    const { stampMs } = this.#context;
    if (!will.orphan && this.#context.isLive(will.incarnation)) return { ...will, delayMs: 0, dueMs: stampMs, heldBy: 0 };
    const dueMs = will.dueMs === 0 ? stampMs : Math.min(will.dueMs, stampMs);
    return { ...will, delayMs: 0, dueMs, orphan: true, heldBy: 0 };
  }

  /** Nobody is about to call it off any more; its node may have done so already, as the client seemed to go on. */
  released(will: RegisteredWill): RegisteredWill {
    return will.dueMs !== 0 || !this.#context.isLive(will.incarnation) ? this.orphaned(will) : { ...will, heldBy: 0 };
  }

  /** Its node is gone. */
  orphaned(will: RegisteredWill): RegisteredWill {
    return { ...will, orphan: true, heldBy: 0, dueMs: will.dueMs === 0 ? this.#context.stampMs + will.delayMs : will.dueMs };
  }
}

function isListed(will: RegisteredWill): boolean {
  return will.orphan && will.heldBy === 0;
}

/**
 * How a registration finds the client's session: fresh: none, or it shall end · here: at its own node · elsewhere: it is about
 * to be fetched. What was displaced is called off if it has a delay that has not passed and the session goes on [MQTT-3.1.3-9].
 */
export type Continues = 'fresh' | 'here' | 'elsewhere';

/** `standing`: as `encodeStanding` made it; empty: the client has no will. */
export function willsOfRegistration(
  context: CommandContext,
  tables: WillTables,
  key: Uint8Array,
  epoch: number,
  continues: Continues,
  standing: Uint8Array,
): void {
  const wills = new Wills(context, tables, key);
  if (wills.empty && standing.length === 0) return;
  let added: RegisteredWill | undefined;
  if (standing.length > 0) {
    const r = new ByteReader(standing);
    const delayMs = r.varint();
    const body = copyBytes(r.raw(r.remaining));
    added = { epoch, incarnation: context.incarnation, delayMs, dueMs: 0, orphan: false, heldBy: 0, heldIncarnation: 0, body };
  }
  wills.change((will) => {
    const passed = will.delayMs === 0 || (will.dueMs !== 0 && will.dueMs <= context.stampMs);
    if (continues === 'fresh' || passed) return wills.ended(will);
    return continues === 'here' ? undefined : { ...will, heldBy: epoch, heldIncarnation: context.incarnation };
  }, added);
}

/** The session that was registered under `epoch` has been fetched, or begins anew. */
export function willsOfTakeover(context: CommandContext, tables: WillTables, key: Uint8Array, epoch: number, fresh: boolean): void {
  const wills = new Wills(context, tables, key);
  wills.change((will) => (will.heldBy !== epoch ? will : fresh ? wills.ended(will) : undefined));
}

/** What its node says: it was published, or is off · it waits, so many ms · nothing is known of it. */
export type WillWord = 'over' | number | undefined;

/** A connection has ended; with it a registration that was about to continue a session may have come to nothing. */
export function willsOfEnd(context: CommandContext, tables: WillTables, key: Uint8Array, epoch: number, word: WillWord): void {
  const wills = new Wills(context, tables, key);
  wills.change((will) => {
    // Only the node that had the connection speaks of its epoch.
    if (will.epoch === epoch && word === 'over') return undefined;
    if (will.epoch === epoch && typeof word === 'number' && !will.orphan) return { ...will, dueMs: context.stampMs + word };
    return will.heldBy === epoch ? wills.released(will) : will;
  });
}

/** A node that was declared down while it lived has its session again: the will is its business, if it was not published. */
export function willsOfReassertion(context: CommandContext, tables: WillTables, key: Uint8Array, epoch: number, connected: boolean): void {
  const wills = new Wills(context, tables, key);
  wills.change((will) =>
    will.epoch === epoch ? { ...will, incarnation: context.incarnation, orphan: false, dueMs: connected ? 0 : will.dueMs } : will,
  );
}

/** Those of the client ids whose node is gone are the leader's from now on, and those that were held for nothing. */
export function willsOfTheDead(context: CommandContext, tables: WillTables, keys: readonly Uint8Array[]): void {
  for (const key of keys) {
    const wills = new Wills(context, tables, key);
    const isLive = (incarnation: number): boolean => context.isLive(incarnation);
    wills.change((will) => {
      if (isForgotten(will, context.stampMs)) return undefined;
      return isForsaken(will, isLive, context.stampMs) ? wills.released(will) : will;
    });
  }
}

function isForgotten(will: RegisteredWill, stampMs: number): boolean {
  return !will.orphan && will.heldBy === 0 && will.delayMs === 0 && will.dueMs !== 0 && stampMs - will.dueMs > wordMsMax;
}

/** Nobody else will speak of it. */
export function isForsaken(will: RegisteredWill, isLive: (incarnation: number) => boolean, stampMs: number): boolean {
  if (will.heldBy !== 0) return !isLive(will.heldIncarnation);
  return (!will.orphan && !isLive(will.incarnation)) || isForgotten(will, stampMs);
}

/** They have been published. */
export function willsPublished(context: CommandContext, tables: WillTables, list: readonly DueWill[]): void {
  for (const { key, epoch } of list) {
    const wills = new Wills(context, tables, key);
    wills.change((will) => (will.epoch === epoch && will.orphan && will.heldBy === 0 ? undefined : will));
  }
}
