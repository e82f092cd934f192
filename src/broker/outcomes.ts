// How QoS 2 messages end whose publisher's session has moved to another node while they were on their
// way: the node that took them in answers for them under a ticket, which travels with the session, and
// the session's new node asks until they are known (implements Outcomes of ports.ts; forward.ts owns it).
//
// Invariants: `done` runs once, at `askMsMax` at the latest; a ticket is kept for `keptMs`, longer than a
// message can be under way; at most `ticketsMax` are kept, the oldest go first, and who asks for one that
// is gone learns that nobody knows.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Links } from '#link/api.js';
import type { AckOutcome, Outcomes } from './ports.js';

/** A retained message may wait for its commit before it is forwarded: 5 s each. */
const askMsMax = 12_000;
const askAgainMs = 50;
const attemptMs = 1_000;
const keptMs = 30_000;
const ticketsMax = 10_000;
const housekeepingMs = 5_000;
const method = 'session.outcomes';
const nodeIdLength = 32;

/** `unknown`: nobody can say any more. `pending`: not all are known. */
type Answer = readonly AckOutcome[] | 'unknown' | 'pending';

interface Offer {
  readonly since: number;
  readonly read: () => readonly AckOutcome[] | undefined;
}

interface Question {
  readonly ticket: string;
  readonly nodeId: string;
  readonly deadline: number;
  readonly done: (outcomes: readonly AckOutcome[] | undefined) => void;
}

export class NodeOutcomes implements Outcomes {
  readonly #clock: Clock;
  readonly #links: Links;
  readonly #nodeId: string;
  readonly #run: number;
  readonly #offers: Map<string, Offer> = new Map();
  /** Nodes whose host refuses connections: their process is gone, and what it knew. */
  readonly #dead: Set<string> = new Set();
  #number = 0;
  #timer: Timer | undefined;

  /** `run`: tells this process from earlier ones of the node. */
  constructor(clock: Clock, links: Links, nodeId: string, run: number) {
    this.#clock = clock;
    this.#links = links;
    this.#nodeId = nodeId;
    this.#run = run;
    links.listen({
      onDead: (peer) => this.#dead.add(peer.nodeId),
      onUp: (peer) => this.#dead.delete(peer.nodeId),
    });
    links.handle(method, (_from, body, reply) => reply(undefined, encodeAnswer(this.#answer(utf8Decode(body) ?? ''))));
  }

  offer(read: () => readonly AckOutcome[] | undefined): string {
    const ticket = `${this.#nodeId}/${this.#run}/${++this.#number}`;
    this.#offers.set(ticket, { since: this.#clock.now(), read });
    if (this.#offers.size > ticketsMax) {
      const oldest = this.#offers.keys().next();
      if (oldest.done !== true) this.#offers.delete(oldest.value);
    }
    this.#timer ??= this.#clock.setTimer(housekeepingMs, () => this.#keepHouse());
    return ticket;
  }

  ask(ticket: string, done: (outcomes: readonly AckOutcome[] | undefined) => void): void {
    this.#ask({ ticket, nodeId: ticket.slice(0, nodeIdLength), deadline: this.#clock.now() + askMsMax, done });
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #answer(ticket: string): Answer {
    const offer = this.#offers.get(ticket);
    return offer === undefined ? 'unknown' : (offer.read() ?? 'pending');
  }

  #ask(q: Question): void {
    if (q.nodeId === this.#nodeId) {
      this.#answered(q, this.#answer(q.ticket));
      return;
    }
    this.#links.call(q.nodeId, method, utf8Encode(q.ticket), attemptMs, (failure, body) => {
      const silent = this.#dead.has(q.nodeId) ? 'unknown' : 'pending';
      this.#answered(q, failure === undefined ? decodeAnswer(body) : silent);
    });
  }

  #answered(q: Question, answer: Answer): void {
    if (answer === 'pending' && this.#clock.now() < q.deadline) this.#clock.setTimer(askAgainMs, () => this.#ask(q));
    else q.done(typeof answer === 'string' ? undefined : answer);
  }

  #keepHouse(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    for (const [ticket, offer] of this.#offers) {
      if (now - offer.since < keptMs) break;
      this.#offers.delete(ticket);
    }
    if (this.#offers.size > 0) this.#timer = this.#clock.setTimer(housekeepingMs, () => this.#keepHouse());
  }
}

const answerCode: { readonly unknown: 0; readonly pending: 1; readonly known: 2 } = { unknown: 0, pending: 1, known: 2 };

function encodeAnswer(answer: Answer): Uint8Array {
  if (typeof answer === 'string') return Uint8Array.of(answerCode[answer]);
  const w = new ByteWriter(64);
  w.u8(answerCode.known);
  w.varint(answer.length);
  for (const { packetId, reasonCode } of answer) {
    w.varint(packetId);
    w.u8(reasonCode);
  }
  return w.finish();
}

function decodeAnswer(bytes: Uint8Array): Answer {
  try {
    const r = new ByteReader(bytes);
    const code = r.u8();
    if (code !== answerCode.known) return code === answerCode.pending ? 'pending' : 'unknown';
    const out: AckOutcome[] = [];
    for (let n = r.varint(); n > 0; n--) out.push({ packetId: r.varint(), reasonCode: r.u8() });
    r.done();
    return out;
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return 'unknown';
  }
}
