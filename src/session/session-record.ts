// A persistent session as records of a journal: whole (`session`), or what changed in it since (`ops`).
// Messages stand in records of their own and are named by number, so that one that many sessions wait for
// is written once. Pure: `broker/durable-sessions.ts` writes the records, `RecoveringSessions` reads them.
// The first byte of a session's record is its format. Times are of the wall clock, so that they run on
// while no process does.
import { type ByteReader, MalformedError } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import type { InflightEntry } from './inflight.js';
import { type MessageReader, readInflight, readQueued, writeInflight, writeQueued } from './item-codec.js';
import type { Message } from './message.js';
import { readMessage, readOptions, readPacketId, writeMessage, writeOptions } from './message-codec.js';
import type { QueuedMessage } from './queue.js';
import type { Session, Subscription, SubscriptionOptions } from './session.js';
import { readMeta, type SessionMeta, writeMeta } from './session-meta.js';

/** The first had no origins at its end. */
const format = 2;
const formatMin = 1;

/** Types of the journal's records. */
export const sessionRecord: { readonly message: 1; readonly session: 2; readonly ops: 3; readonly end: 4 } = {
  message: 1,
  session: 2,
  ops: 3,
  end: 4,
};

/** A slot of the journal that no session has: messages stand under it. */
export const messageSlot = 0xff_ffff;

/** A session as it was when its node ended. */
export interface RecoveredSession extends SessionMeta {
  readonly slot: number;
  readonly clientId: string;
  readonly createdAtMs: number;
  readonly lastPacketId: number;
  readonly queueDropped: number;
  readonly subscriptions: ReadonlyMap<string, SubscriptionOptions>;
  /** In the order they were first sent. */
  readonly inflight: ReadonlyMap<number, InflightEntry>;
  readonly received: ReadonlySet<number>;
  /** QoS 1 and 2. */
  readonly queue: readonly QueuedMessage[];
  /** What it got lately for itself, not as a member of a group, its client has it or not: the newest last, those that the journal still says. */
  readonly got: readonly Message[];
  /** Incarnation and number of what it had got on other nodes before it came. */
  readonly known: readonly (readonly [number, number])[];
}

/** Of what a session got, so many are remembered at the least. */
const gotMax = 2_000;

const op: {
  readonly subscribed: 1;
  readonly unsubscribed: 2;
  readonly queued: 3;
  readonly unqueued: 4;
  readonly sent: 5;
  readonly sentFromQueue: 6;
  readonly released: 7;
  readonly completed: 8;
  readonly received: 9;
  readonly freed: 10;
  readonly meta: 11;
  readonly lost: 12;
  readonly queuedBefore: 13;
  readonly unqueuedAt: 14;
} = {
  subscribed: 1,
  unsubscribed: 2,
  queued: 3,
  unqueued: 4,
  sent: 5,
  sentFromQueue: 6,
  released: 7,
  completed: 8,
  received: 9,
  freed: 10,
  meta: 11,
  lost: 12,
  queuedBefore: 13,
  unqueuedAt: 14,
};

// ---- writing ----

/** `offset`: what the monotonic clock shows less than the wall clock. */
export function writeMessageRecord(w: ByteWriter, number: number, message: Message, offset: number): void {
  w.varint(number);
  writeMessage(w, message, -offset);
}

/** The messages in it have numbers. QoS 0 messages are left out. */
export function writeSessionRecord(w: ByteWriter, session: Session, meta: SessionMeta, queue: Iterable<QueuedMessage>): void {
  w.u8(format);
  w.string(session.clientId);
  w.f64(session.createdAt);
  w.varint(session.lastPacketId);
  w.varint(session.queueDropped);
  writeMeta(w, meta);
  w.varint(session.subscriptions.size);
  for (const s of session.subscriptions.values()) {
    w.string(s.topicFilter);
    writeOptions(w, s, s.identifiers?.[0]);
  }
  const { inflight, awaitingRel } = session;
  w.varint(inflight?.size ?? 0);
  if (inflight !== undefined) for (const entry of inflight.entries()) writeInflight(w, entry, writeNumber);
  // One whose acknowledgement is owed is not known to be accepted.
  const received: number[] = [];
  if (awaitingRel !== undefined) for (const [id, owed] of awaitingRel) if (owed === undefined) received.push(id);
  w.varint(received.length);
  for (const id of received) w.varint(id);
  for (const item of queue) {
    if (item.qos === 0) continue;
    w.u8(1);
    writeQueued(w, item, writeNumber);
  }
  w.u8(0);
  const known = session.gate?.known?.().slice(0, gotMax) ?? [];
  w.varint(known.length);
  for (const [incarnation, number] of known) {
    w.varint(incarnation);
    w.varint(number);
  }
}

function writeNumber(w: ByteWriter, message: Message): void {
  w.varint(message.journalNumber);
}

/** Changes of one session, each appended to an open record of type `ops`. */
export const writeOp: {
  readonly subscribed: (w: ByteWriter, s: Subscription) => void;
  readonly unsubscribed: (w: ByteWriter, topicFilter: string) => void;
  readonly queued: (w: ByteWriter, item: QueuedMessage, behind: number) => void;
  readonly unqueued: (w: ByteWriter, place: number) => void;
  readonly lost: (w: ByteWriter, queueDropped: number) => void;
  readonly sent: (w: ByteWriter, entry: InflightEntry, fromQueue: boolean) => void;
  readonly id: (w: ByteWriter, what: 'released' | 'completed' | 'received' | 'freed', packetId: number) => void;
  readonly meta: (w: ByteWriter, meta: SessionMeta) => void;
} = {
  subscribed: (w, s) => {
    w.u8(op.subscribed);
    w.string(s.topicFilter);
    writeOptions(w, s, s.identifiers?.[0]);
  },
  unsubscribed: (w, topicFilter) => {
    w.u8(op.unsubscribed);
    w.string(topicFilter);
  },
  queued: (w, item, behind) => {
    w.u8(behind === 0 ? op.queued : op.queuedBefore);
    if (behind > 0) w.varint(behind);
    writeQueued(w, item, writeNumber);
  },
  unqueued: (w, place) => {
    w.u8(place === 0 ? op.unqueued : op.unqueuedAt);
    if (place > 0) w.varint(place);
  },
  lost: (w, queueDropped) => {
    w.u8(op.lost);
    w.varint(queueDropped);
  },
  sent: (w, entry, fromQueue) => {
    if (fromQueue) {
      w.u8(op.sentFromQueue);
      w.varint(entry.packetId);
    } else {
      w.u8(op.sent);
      writeInflight(w, entry, writeNumber);
    }
  },
  id: (w, what, packetId) => {
    w.u8(op[what]);
    w.varint(packetId);
  },
  meta: (w, meta) => {
    w.u8(op.meta);
    writeMeta(w, meta);
  },
};

// ---- reading ----

interface Building {
  slot: number;
  clientId: string;
  createdAtMs: number;
  lastPacketId: number;
  queueDropped: number;
  meta: SessionMeta;
  subscriptions: Map<string, SubscriptionOptions>;
  inflight: Map<number, InflightEntry>;
  received: Set<number>;
  queue: QueuedMessage[];
  /** Of `queue`: those before have left it. */
  first: number;
  got: Message[];
  known: readonly (readonly [number, number])[];
}

/** Puts sessions together from the records of a journal, in their order (a `JournalVisitor` of the store). */
export class RecoveringSessions {
  readonly #offset: number;
  readonly #messages: Map<number, Message> = new Map();
  readonly #message: MessageReader = (r) => {
    const number = r.varint();
    const message = this.#messages.get(number);
    if (message === undefined) throw new MalformedError(`message ${number} is missing`);
    return message;
  };
  readonly #sessions: Map<number, Building> = new Map();
  /** Sessions that were there and cannot be put together, since they were last said whole. */
  readonly #damaged: Set<number> = new Set();
  #lost = 0;
  #lastNumber = 0;
  #nextSlot = 0;

  /** `offset`: what the monotonic clock shows less than the wall clock, now. */
  constructor(offset: number) {
    this.#offset = offset;
  }

  /** The highest number of a message. */
  get lastNumber(): number {
    return this.#lastNumber;
  }

  /** Above all slots of sessions. */
  get nextSlot(): number {
    return this.#nextSlot;
  }

  /** Sessions that damage has cost, at the least. */
  get damagedCount(): number {
    return this.#damaged.size + this.#lost;
  }

  record(type: number, slot: number, r: ByteReader): void {
    if (slot !== messageSlot) this.#nextSlot = Math.max(this.#nextSlot, slot + 1);
    switch (type) {
      case sessionRecord.message: {
        const number = r.varint();
        this.#lastNumber = Math.max(this.#lastNumber, number);
        const message = readMessage(r, -this.#offset);
        message.journalNumber = number;
        this.#messages.set(number, message);
        return;
      }
      case sessionRecord.session:
        this.#damaged.delete(slot);
        this.#sessions.set(slot, this.#session(slot, r, this.#sessions.get(slot)));
        return;
      case sessionRecord.ops: {
        // Of a session whose beginning was forgotten with an old segment: it is said whole later, or has ended.
        const session = this.#sessions.get(slot);
        if (session !== undefined) while (r.remaining > 0) this.#op(session, r);
        return;
      }
      case sessionRecord.end:
        this.#damaged.delete(slot);
        this.#sessions.delete(slot);
        return;
      default:
        throw new MalformedError(`a record of unknown type ${type}`);
    }
  }

  /** A message that is broken shows by the sessions that want it. */
  broken(slot: number): void {
    if (slot === messageSlot) return;
    if (!this.#sessions.delete(slot)) this.#lost++;
    else this.#damaged.add(slot);
  }

  gap(): void {
    for (const slot of this.#sessions.keys()) this.#damaged.add(slot);
    this.#sessions.clear();
  }

  *sessions(): IterableIterator<RecoveredSession> {
    for (const s of this.#sessions.values()) {
      const { slot, clientId, createdAtMs, lastPacketId, queueDropped, meta, subscriptions, inflight, received, got, known } = s;
      yield {
        slot,
        clientId,
        createdAtMs,
        lastPacketId,
        queueDropped,
        ...meta,
        subscriptions,
        inflight,
        received,
        queue: s.queue.slice(s.first),
        got,
        known,
      };
    }
  }

  /** `before`: what the slot was until now; the same session, when it is stated anew. */
  #session(slot: number, r: ByteReader, before: Building | undefined): Building {
    const found = r.u8();
    if (found < formatMin || found > format) throw new MalformedError(`session record of format ${found}`);
    const clientId = r.string();
    const createdAtMs = r.f64();
    const lastPacketId = readPacketId(r);
    const queueDropped = r.varint();
    const meta = readMeta(r);
    const subscriptions = new Map<string, SubscriptionOptions>();
    for (let n = r.varint(); n > 0; n--) subscriptions.set(r.string(), readOptions(r));
    const inflight = new Map<number, InflightEntry>();
    for (let n = r.varint(); n > 0; n--) {
      const entry = readInflight(r, this.#message);
      inflight.set(entry.packetId, entry);
    }
    const received = new Set<number>();
    for (let n = r.varint(); n > 0; n--) received.add(readPacketId(r));
    const queue: QueuedMessage[] = [];
    while (r.u8() !== 0) queue.push(readQueued(r, this.#message));
    const known: [number, number][] = [];
    for (let n = found === formatMin ? 0 : r.varint(); n > 0; n--) known.push([r.varint(), r.varint()]);
    r.done();
    const got = before?.clientId === clientId && before.createdAtMs === createdAtMs ? before.got : [];
    const s: Building = {
      slot,
      clientId,
      createdAtMs,
      lastPacketId,
      queueDropped,
      meta,
      subscriptions,
      inflight,
      received,
      queue,
      first: 0,
      got,
      known,
    };
    for (const item of inflight.values()) remember(s, item);
    for (const item of queue) remember(s, item);
    return s;
  }

  #op(s: Building, r: ByteReader): void {
    const kind = r.u8();
    switch (kind) {
      case op.subscribed:
        s.subscriptions.set(r.string(), readOptions(r));
        return;
      case op.unsubscribed:
        s.subscriptions.delete(r.string());
        return;
      case op.queued: {
        const item = readQueued(r, this.#message);
        s.queue.push(item);
        remember(s, item);
        return;
      }
      case op.queuedBefore: {
        const at = s.queue.length - r.varint();
        const item = readQueued(r, this.#message);
        if (at < s.first) throw new MalformedError('no such place in the queue');
        s.queue.splice(at, 0, item);
        remember(s, item);
        return;
      }
      case op.unqueued:
        takeFirst(s);
        return;
      case op.unqueuedAt:
        if (s.queue.splice(s.first + r.varint(), 1).length === 0) throw new MalformedError('no such place in the queue');
        return;
      case op.lost:
        s.queueDropped = r.varint();
        return;
      case op.sent: {
        const entry = readInflight(r, this.#message);
        s.inflight.set(entry.packetId, entry);
        s.lastPacketId = entry.packetId;
        remember(s, entry);
        return;
      }
      case op.sentFromQueue:
        sendFirst(s, readPacketId(r));
        return;
      case op.released: {
        const entry = s.inflight.get(readPacketId(r));
        if (entry === undefined) return;
        entry.released = true;
        entry.message = undefined;
        return;
      }
      case op.completed:
        s.inflight.delete(readPacketId(r));
        return;
      case op.received:
        s.received.add(readPacketId(r));
        return;
      case op.freed:
        s.received.delete(readPacketId(r));
        return;
      case op.meta:
        s.meta = readMeta(r);
        return;
      default:
        throw new MalformedError(`unknown change ${kind} of a session`);
    }
  }
}

function remember(s: Building, { message, group }: Pick<InflightEntry, 'message' | 'group'>): void {
  if (message === undefined || group !== undefined) return;
  s.got.push(message);
  if (s.got.length >= 2 * gotMax) s.got = s.got.slice(-gotMax);
}

/** Forgotten places at the front of a queue are given back when there are so many. */
const compactQueueAt = 1024;

function takeFirst(s: Building): QueuedMessage {
  const item = s.queue[s.first];
  if (item === undefined) throw new MalformedError('nothing is queued');
  if (++s.first >= compactQueueAt && s.first * 2 >= s.queue.length) {
    s.queue = s.queue.slice(s.first);
    s.first = 0;
  }
  return item;
}

function sendFirst(s: Building, packetId: number): void {
  const { message, qos, retain, subscriptionIdentifiers, group } = takeFirst(s);
  if (qos === 0) throw new MalformedError('a QoS 0 message has no packet identifier');
  s.inflight.set(packetId, { packetId, qos, message, retain, subscriptionIdentifiers, group, released: false, sent: false });
  s.lastPacketId = packetId;
}
