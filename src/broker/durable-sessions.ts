// The persistent sessions of this node, written down as they change (`SessionLog`), in a journal that is
// synced once per turn for all of them. `sessions.ts`, `connect.ts` and the acknowledgements call it;
// `durable-recovery.ts` brings the sessions back after a restart.
//
// The journal stays bounded: when it has grown to a multiple of what lives, every session is stated anew,
// some at a time, in later segments, and the earlier ones go. When the disk refuses, nothing is taken for
// persistent sessions any more, and whoever waits is told, until every session has been stated anew.
// Invariants: what is said of a session applies to what was said of it before; a message stands in the
// journal, in segments that stay, before a session names it.
import type { ByteWriter } from '#base/byte-writer.js';
import type { Timer } from '#env/clock.js';
import type { FilesError } from '#env/files.js';
import type { Counter } from '#env/metrics.js';
import { keep, type Message } from '#session/message.js';
import type { QueuedMessage } from '#session/queue.js';
import type { Session, SessionLog } from '#session/session.js';
import type { WillRecord } from '#session/session-meta.js';
import { messageSlot, sessionRecord, writeMessageRecord, writeOp, writeSessionRecord } from '#session/session-record.js';
import { WrittenChanges } from './durable-changes.js';
import {
  type DurableEnv,
  type DurableOptions,
  durableDefaults,
  type Held,
  heldBack,
  type JournalPort,
  messagesOf,
  metaOf,
  queueOf,
} from './durable-options.js';
import { isWillOrigin } from './will-body.js';

/** Slots are 24 bits, the last one is the messages'. */
const sessionsMax = messageSlot;

/** Everything is being stated anew. */
interface Round {
  readonly segment: number;
  readonly sessions: Session[];
  next: number;
  readonly writtenThen: number;
}

export interface FullMemory {
  /** Whether there is some for messages that would wait for the session. */
  has(session: Session): boolean;
  /** A message was refused. */
  refused(): void;
}

export class DurableSessions extends WrittenChanges implements SessionLog {
  readonly #env: DurableEnv;
  readonly #journal: JournalPort;
  readonly #options: DurableOptions;
  readonly #held: Map<Session, Held> = new Map();
  readonly #freeSlots: number[] = [];
  #nextSlot: number;
  /** Slot of the record that is open, -1: none. */
  #openSlot = -1;
  #writer: ByteWriter | undefined;
  #changes = 0;
  #lastRefusal = 0;
  /** ok: all is well · failed: the disk refuses · restoring: sessions are being stated anew after that. */
  #state: 'ok' | 'failed' | 'restoring' = 'ok';
  #round: Round | undefined;
  #wantsRound = false;
  /** What lived when the last round ended, and what had been written then. */
  #liveBytes = 0;
  #writtenThen = 0;
  /** Numbers of messages: the last one given, and the first one that stands in segments that stay. */
  #number: number;
  #floor = 1;
  #kept: (() => void)[] = [];
  #timer: Timer | undefined;
  #closed = false;
  /** Set while memory is full. */
  memoryFull: FullMemory | undefined = undefined;
  /** Is set while messages are delivered whose publisher has his acknowledgement, and could not be told any more. */
  owed = false;
  readonly #refused: Counter;
  readonly #rounds: Counter;

  /** `nextSlot`, `lastNumber`: above those the journal holds already. */
  constructor(env: DurableEnv, journal: JournalPort, options: Partial<DurableOptions>, nextSlot: number = 0, lastNumber: number = 0) {
    super();
    this.#env = env;
    this.#journal = journal;
    this.#options = { ...durableDefaults, ...options };
    this.#nextSlot = nextSlot;
    this.#number = lastNumber;
    journal.onSegment = (segment) => this.#onSegment(segment);
    journal.beforeFlush = () => this.#close();
    journal.onFailure = (error) => this.#failed(error);
    const { metrics } = env;
    this.#refused = metrics.counter(
      'starmesh_session_journal_refused_total',
      'Messages, subscriptions and connections refused because persistent sessions could not be written down',
    );
    this.#rounds = metrics.counter(
      'starmesh_session_journal_compactions_total',
      'Times that the journal of persistent sessions was made small again',
    );
    metrics.gaugeFn('starmesh_session_journal_disk_bytes', 'Size of the journal of persistent sessions', {}, () => this.#journal.diskBytes);
    metrics.gaugeFn('starmesh_session_journal_failed', '1 while persistent sessions cannot be written down', {}, () =>
      this.#state === 'ok' ? 0 : 1,
    );
    metrics.gaugeFn('starmesh_durable_sessions', 'Persistent sessions in the journal of this node', {}, () => this.#held.size);
  }

  get count(): number {
    return this.#held.size;
  }

  /** Grows with every change of a persistent session, and with everything that is refused. */
  get position(): number {
    return this.#changes;
  }

  /** Whether persistent sessions can be begun and changed. */
  get well(): boolean {
    return this.#state === 'ok' && !this.#full();
  }

  get status(): { readonly state: 'ok' | 'failed' | 'full' | 'restoring'; readonly sessions: number; readonly diskBytes: number } {
    const state = this.#state === 'ok' && this.#full() ? 'full' : this.#state;
    return { state, sessions: this.#held.size, diskBytes: this.#journal.diskBytes };
  }

  // ---- sessions ----

  /** From now on the session is written down. `leftAtMs` 0: its client is connected. False: it cannot be. */
  begin(session: Session, leftAtMs: number, will: WillRecord | undefined): boolean {
    const slot = this.#freeSlots.pop() ?? this.#nextSlot;
    if (slot >= sessionsMax) {
      this.#refuse();
      return false;
    }
    if (slot === this.#nextSlot) this.#nextSlot++;
    const held: Held = { slot, leftAtMs, will, stale: this.#state !== 'ok' };
    this.#held.set(session, held);
    session.log = this;
    this.#whole(session, held, queueOf(session));
    return true;
  }

  /** One that the journal holds already. */
  adopt(session: Session, slot: number, leftAtMs: number, will: WillRecord | undefined): void {
    this.#held.set(session, { slot, leftAtMs, will, stale: false });
    session.log = this;
  }

  /** A slot below the next one that nobody has. What the journal says of it is void. */
  release(slot: number, written: boolean): void {
    this.#freeSlots.push(slot);
    if (!written || !this.#writable()) return;
    this.#journal.ensureBatch();
    this.#close();
    this.#journal.begin(sessionRecord.end, slot);
    this.#journal.end();
    this.#changes++;
  }

  has(session: Session): boolean {
    return this.#held.has(session);
  }

  leftAtMs(session: Session): number {
    return this.#held.get(session)?.leftAtMs ?? 0;
  }

  /** Its client has come, or gone, or its will has changed: epoch, expiry and user are written too. */
  presence(session: Session, leftAtMs: number, will: WillRecord | undefined): void {
    const held = this.#held.get(session);
    if (held === undefined) return;
    held.leftAtMs = leftAtMs;
    held.will = will;
    this.changed(session);
  }

  /** Its epoch, expiry or user has changed. */
  changed(session: Session): void {
    const held = this.#held.get(session);
    const w = this.ops(session);
    if (w !== undefined && held !== undefined) writeOp.meta(w, metaOf(session, held));
  }

  /** States the session anew with this queue: while it moves, its messages stand elsewhere. */
  rewrite(session: Session, queue: Iterable<QueuedMessage> = queueOf(session)): void {
    const held = this.#held.get(session);
    if (held !== undefined) this.#whole(session, held, queue);
  }

  /** The session is over, or is none that lasts. */
  forget(session: Session): void {
    const held = this.#held.get(session);
    if (held === undefined) return;
    this.#held.delete(session);
    session.log = undefined;
    this.release(held.slot, true);
  }

  /** Until `resume` its changes are not written: it is stated anew then. */
  suspend(session: Session): void {
    session.log = undefined;
  }

  resume(session: Session): void {
    if (!this.#held.has(session)) return;
    session.log = this;
    this.rewrite(session);
  }

  // ---- what waits ----

  /** Everything since `position` was `from` is on disk (true), or some of it never will be (false). */
  kept(from: number, done: (ok: boolean) => void): void {
    if (this.refusedSince(from)) done(false);
    else this.whenDurable(done);
  }

  refusedSince(from: number): boolean {
    return this.#lastRefusal > from;
  }

  whenDurable(done: (ok: boolean) => void): void {
    this.#close();
    if (this.#state !== 'ok') done(false);
    else this.#journal.whenDurable((error) => done(error === undefined));
  }

  whenKept(done: () => void): void {
    this.#close();
    if (this.#state !== 'ok') {
      this.#kept.push(done);
      return;
    }
    this.#journal.whenDurable((error) => {
      if (error === undefined) done();
      else this.#kept.push(done);
    });
  }

  // ---- SessionLog ----

  admits(): boolean {
    if (this.#state === 'ok' && !this.#full()) return true;
    this.#refuse();
    return false;
  }

  mayWait(session: Session, message: Message): boolean {
    if (this.#hasMemory(session, message)) return true;
    this.memoryFull?.refused();
    this.#refuse();
    return false;
  }

  takes(session: Session, message: Message): boolean {
    if (this.well && this.#hasMemory(session, message)) return true;
    return !this.#held.has(session);
  }

  /** A will has nobody who could be told, either; there is one per client. */
  #hasMemory(session: Session, message: Message): boolean {
    return this.owed || isWillOrigin(message.originIncarnation) || this.memoryFull?.has(session) !== false;
  }

  close(done: () => void): void {
    this.#close();
    this.#closed = true;
    this.#timer?.cancel();
    for (const session of this.#held.keys()) session.log = undefined;
    this.#journal.close(() => done());
  }

  // ---- writing ----

  /** The journal fails before it says so: those who wait hear of it first, and may go on with their sessions. */
  #writable(): boolean {
    return this.#state !== 'failed' && !this.#closed && this.#journal.failure === undefined;
  }

  #full(): boolean {
    return this.#journal.diskBytes > this.#options.diskBytesMax || this.#journal.pendingBytes > this.#options.pendingBytesMax;
  }

  #refuse(): void {
    this.#refused.value++;
    this.#lastRefusal = ++this.#changes;
  }

  /** The open record of the session's changes; `message` stands in the journal by then. Undefined: it is stated anew later. */
  protected override ops(session: Session, message?: Message): ByteWriter | undefined {
    const held = this.#held.get(session);
    if (held === undefined) return undefined;
    this.#changes++;
    if (!this.#writable() || held.stale) return undefined;
    this.#journal.ensureBatch();
    if (message !== undefined) this.#declare(message);
    if (this.#openSlot !== held.slot || this.#writer === undefined) {
      this.#close();
      this.#writer = this.#journal.begin(sessionRecord.ops, held.slot);
      this.#openSlot = held.slot;
    }
    return this.#writer;
  }

  #close(): void {
    if (this.#openSlot === -1) return;
    this.#openSlot = -1;
    this.#writer = undefined;
    if (this.#journal.failure === undefined) this.#journal.end();
  }

  /** Bytes written. */
  #declare(message: Message): number {
    if (message.journalNumber >= this.#floor) return 0;
    this.#close();
    keep(message);
    message.journalNumber = ++this.#number;
    const { clock } = this.#env;
    const w = this.#journal.begin(sessionRecord.message, messageSlot);
    writeMessageRecord(w, message.journalNumber, message, clock.wallNow() - clock.now());
    this.#journal.end();
    return message.payload.length + message.topicName.length;
  }

  /** States the whole session. */
  #whole(session: Session, held: Held, queue: Iterable<QueuedMessage>): number {
    this.#changes++;
    if (!this.#writable() || held.stale) return 0;
    const items = [...queue].filter((item) => item.qos > 0);
    this.#journal.ensureBatch();
    const before = this.#journal.pendingBytes;
    for (const message of messagesOf(session, items)) this.#declare(message);
    this.#close();
    const w = this.#journal.begin(sessionRecord.session, held.slot);
    writeSessionRecord(w, session, metaOf(session, held), items);
    this.#journal.end();
    return this.#journal.pendingBytes - before;
  }

  // ---- rounds ----

  #onSegment(segment: number): void {
    if (this.#wantsRound || this.#state === 'restoring') {
      this.#wantsRound = false;
      this.#floor = this.#number + 1;
      this.#round = { segment, sessions: [...this.#held.keys()], next: 0, writtenThen: this.#journal.writtenBytes };
      this.#timer?.cancel();
      this.#timer = this.#env.clock.setTimer(this.#options.slicePauseMs, () => this.#slice());
      return;
    }
    // A segment is full: the time to look.
    const { compactBytesMin, compactFactor } = this.#options;
    const written = this.#journal.writtenBytes - this.#writtenThen;
    if (this.#round !== undefined || written < Math.max(compactBytesMin, (compactFactor - 1) * this.#liveBytes)) return;
    this.#wantsRound = true;
    this.#journal.rotate();
  }

  #slice(): void {
    this.#timer = undefined;
    const round = this.#round;
    if (round === undefined || this.#closed || !this.#writable()) return;
    let budget = this.#options.sliceBytes;
    this.#journal.ensureBatch();
    while (budget > 0 && this.#round === round) {
      const session = round.sessions[round.next];
      if (session === undefined) {
        this.#endRound(round);
        return;
      }
      const held = this.#held.get(session);
      if (held === undefined) {
        round.next++;
        continue;
      }
      budget -= this.#messagesOf(session, budget);
      // The messages of a large session come first, some at a time.
      if (budget <= 0) break;
      held.stale = false;
      budget -= 1 + this.#whole(session, held, heldBack(session));
      round.next++;
    }
    // The next slice when this one is on disk: a slow disk is not buried.
    this.#journal.whenDurable((error) => {
      if (error === undefined && this.#round === round) this.#timer ??= this.#env.clock.setTimer(this.#options.slicePauseMs, () => this.#slice());
    });
  }

  /** Bytes written, about `budget` at the most. */
  #messagesOf(session: Session, budget: number): number {
    let spent = 0;
    for (const message of messagesOf(session, heldBack(session))) {
      spent += this.#declare(message);
      if (spent >= budget) break;
    }
    return spent;
  }

  #endRound(round: Round): void {
    this.#round = undefined;
    this.#writtenThen = this.#journal.writtenBytes;
    this.#liveBytes = this.#writtenThen - round.writtenThen;
    this.#rounds.value++;
    this.#close();
    this.#journal.forgetBefore(round.segment);
    if (this.#state !== 'restoring') return;
    this.#journal.whenDurable((error) => {
      if (error !== undefined || this.#state !== 'restoring') return;
      this.#state = 'ok';
      this.#env.log.info('persistent sessions are written down again', { sessions: this.#held.size });
      const kept = this.#kept;
      this.#kept = [];
      for (const done of kept) done();
    });
  }

  // ---- a disk that refuses ----

  #failed(error: FilesError): void {
    this.#state = 'failed';
    this.#round = undefined;
    this.#wantsRound = false;
    this.#openSlot = -1;
    this.#writer = undefined;
    for (const held of this.#held.values()) held.stale = true;
    this.#env.log.error('persistent sessions cannot be written down; nothing is taken for them until they can', {
      path: error.path,
      reason: error.message,
    });
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    this.#timer = this.#env.clock.setTimer(this.#options.retryMs, () => this.#retry());
  }

  #retry(): void {
    this.#timer = undefined;
    if (this.#closed) return;
    if (!this.#journal.restart()) {
      this.#retryLater();
      return;
    }
    this.#state = 'restoring';
    // Its first record begins a new segment, and with it the round.
    this.#journal.ensureBatch();
  }
}
