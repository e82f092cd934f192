// How QoS 2 messages end whose publisher's session has moved to another node while they were on their
// way: the node that took them in keeps the answer under a ticket, which travels with the session, and
// the session's new node asks for it (implements Outcomes of ports.ts; forward.ts owns it).
//
// Invariants: every question is answered once, at `askMsMax` at the latest; an answer is kept for
// `keptMs`, longer than a message can be under way; at most `ticketsMax` are kept, the oldest go first,
// and who asks for one that is gone learns that nobody knows.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Clock, Timer } from '#env/clock.js';
import type { Links } from '#link/api.js';
import type { AckOutcome, Outcomes, OutcomeTicket } from './ports.js';

/** A retained message may wait for its commit before it is forwarded: 5 s each. */
const askMsMax = 12_000;
const retryMs = 100;
const keptMs = 30_000;
const ticketsMax = 10_000;
const waitingMax = 16;
const housekeepingMs = 5_000;
const method = 'session.outcomes';
const nodeIdLength = 32;

interface Kept {
  readonly since: number;
  outcomes: readonly AckOutcome[] | undefined;
  /** Who asked before it was known. */
  readonly waiting: ((outcomes: readonly AckOutcome[] | undefined) => void)[];
}

export class NodeOutcomes implements Outcomes {
  readonly #clock: Clock;
  readonly #links: Links;
  readonly #nodeId: string;
  readonly #run: number;
  readonly #kept: Map<string, Kept> = new Map();
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
    links.handle(method, (_from, body, reply) => {
      this.#find(utf8Decode(body) ?? '', (outcomes) => reply(undefined, encodeOutcomes(outcomes)));
    });
  }

  offer(): OutcomeTicket {
    const ticket = `${this.#nodeId}/${this.#run}/${++this.#number}`;
    const kept: Kept = { since: this.#clock.now(), outcomes: undefined, waiting: [] };
    this.#kept.set(ticket, kept);
    if (this.#kept.size > ticketsMax) this.#dropOldest();
    this.#timer ??= this.#clock.setTimer(housekeepingMs, () => this.#keepHouse());
    return {
      ticket,
      known: (outcomes) => {
        kept.outcomes = outcomes;
        for (const answer of kept.waiting.splice(0)) answer(outcomes);
      },
    };
  }

  ask(ticket: string, done: (outcomes: readonly AckOutcome[] | undefined) => void): void {
    const nodeId = ticket.slice(0, nodeIdLength);
    if (nodeId === this.#nodeId) this.#find(ticket, done);
    else this.#ask(nodeId, utf8Encode(ticket), this.#clock.now() + askMsMax, done);
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #find(ticket: string, done: (outcomes: readonly AckOutcome[] | undefined) => void): void {
    const kept = this.#kept.get(ticket);
    if (kept === undefined || kept.outcomes !== undefined) {
      done(kept?.outcomes);
      return;
    }
    kept.waiting.push(done);
    // Who asks again has given up its earlier question.
    if (kept.waiting.length > waitingMax) kept.waiting.shift()?.(undefined);
  }

  #ask(nodeId: string, body: Uint8Array, deadline: number, done: (outcomes: readonly AckOutcome[] | undefined) => void): void {
    const left = deadline - this.#clock.now();
    if (left <= 0 || this.#dead.has(nodeId)) {
      done(undefined);
      return;
    }
    this.#links.call(nodeId, method, body, left, (failure, reply) => {
      if (failure === undefined) done(decodeOutcomes(reply));
      else this.#clock.setTimer(retryMs, () => this.#ask(nodeId, body, deadline, done));
    });
  }

  #keepHouse(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    for (const [ticket, kept] of this.#kept) if (now - kept.since >= keptMs) this.#drop(ticket);
    if (this.#kept.size > 0) this.#timer = this.#clock.setTimer(housekeepingMs, () => this.#keepHouse());
  }

  #dropOldest(): void {
    const oldest = this.#kept.keys().next();
    if (oldest.done !== true) this.#drop(oldest.value);
  }

  #drop(ticket: string): void {
    const kept = this.#kept.get(ticket);
    this.#kept.delete(ticket);
    if (kept !== undefined) for (const answer of kept.waiting.splice(0)) answer(undefined);
  }
}

function encodeOutcomes(outcomes: readonly AckOutcome[] | undefined): Uint8Array {
  const w = new ByteWriter(64);
  w.u8(outcomes === undefined ? 0 : 1);
  if (outcomes === undefined) return w.finish();
  w.varint(outcomes.length);
  for (const { packetId, reasonCode } of outcomes) {
    w.varint(packetId);
    w.u8(reasonCode);
  }
  return w.finish();
}

/** Undefined: nobody knows, or the bytes are not an answer. */
function decodeOutcomes(bytes: Uint8Array): readonly AckOutcome[] | undefined {
  try {
    const r = new ByteReader(bytes);
    if (r.u8() === 0) return undefined;
    const out: AckOutcome[] = [];
    for (let n = r.varint(); n > 0; n--) out.push({ packetId: r.varint(), reasonCode: r.u8() });
    r.done();
    return out;
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return undefined;
  }
}
