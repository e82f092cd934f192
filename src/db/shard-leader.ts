// The leader's side of writing: takes proposals of all nodes, judges them against the head, makes
// one log entry of what came in a turn, and answers when it is committed (or effective). Lives
// from the moment the leader has applied its term's no-op until it leads no more.
import { assert } from '#base/assert.js';
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import { Deque } from '#base/deque.js';
import type { Env } from '#env/env.js';
import type { DbBounds } from './bounds.js';
import { type EntryOp, type EntryTransaction, status, writeEntry } from './entry-codec.js';
import { LeaderHead, positionsPerEntry } from './leader-head.js';
import { type Answer, type AnswerCode, answer, type Proposal, type ProposalBatch, proposalKind } from './proposal-codec.js';
import type { ShardState } from './shard-state.js';

export interface LeaderOptions {
  readonly env: Env;
  readonly bounds: DbBounds;
  readonly state: ShardState;
  /** Appends one entry; its index, or undefined when the log takes none now. */
  readonly append: (data: Uint8Array) => number | undefined;
  /** Index that the next appended entry gets. */
  readonly nextIndex: () => number;
  readonly commitIndex: () => number;
}

interface Request {
  readonly nodeId: string;
  readonly batch: ProposalBatch;
  readonly answers: (Answer | undefined)[];
  missing: number;
  readonly done: (answers: readonly Answer[]) => void;
}

interface Waiter {
  readonly request: Request;
  readonly at: number;
  readonly index: number;
  readonly code: AnswerCode;
  readonly reply: Uint8Array;
}

interface Queued {
  readonly request: Request;
  readonly at: number;
}

/** Entries appended and not committed before the next batch waits: the log groups better than we do. */
const entriesInFlightMax = 16;

export class ShardLeader {
  readonly #o: LeaderOptions;
  readonly head: LeaderHead;
  readonly #queue: Deque<Queued> = new Deque();
  readonly #own: (readonly EntryOp[])[] = [];
  /** Appended, not committed: in the order of the log. */
  readonly #waiters: Deque<Waiter> = new Deque();
  /** Committed, waiting to be effective. */
  #effective: Waiter[] = [];
  #effectiveIndex = 0;
  #inFlight: number[] = [];
  #scheduled = false;
  #closed = false;
  #armed = false;
  #stampAnchor = 0;

  constructor(options: LeaderOptions) {
    this.#o = options;
    this.head = new LeaderHead(options.state, options.bounds);
  }

  get queueLength(): number {
    return this.#queue.length;
  }

  /** Proposals of one node; `done` once, with an answer for each. */
  submit(nodeId: string, batch: ProposalBatch, done: (answers: readonly Answer[]) => void): void {
    const count = batch.proposals.length;
    if (count === 0) return done([]);
    const request: Request = { nodeId, batch, answers: new Array(count).fill(undefined), missing: count, done };
    if (this.#queue.length + count > this.#o.bounds.pendingProposalsMax) {
      for (let i = 0; i < count; i++) this.#answer(request, i, answer.busy, 0, emptyBytes);
      return;
    }
    for (let at = 0; at < count; at++) this.#queue.push({ request, at });
    this.#schedule();
  }

  /** A transaction of the leader's own: admissions, purges, sweeps. */
  submitOwn(ops: readonly EntryOp[]): void {
    this.#own.push(ops);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    this.#o.env.clock.endOfTurn(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { bounds } = this.#o;
    while (!this.#closed && (this.#queue.length > 0 || this.#own.length > 0)) {
      if (this.#inFlight.length >= entriesInFlightMax) return;
      if (!this.#appendOne(Math.min(bounds.batchTransactionsMax, positionsPerEntry), bounds.batchBytesMax)) return;
    }
  }

  #appendOne(countMax: number, bytesMax: number): boolean {
    const index = this.#o.nextIndex();
    const transactions: EntryTransaction[] = [];
    const waiters: Waiter[] = [];
    this.#stamp();
    for (let ops = this.#own.shift(); ops !== undefined; ops = this.#own.shift()) {
      const resolved = this.#resolveOwn(ops, index);
      if (resolved.length > 0) transactions.push({ incarnation: 0, seq: 0, receivedUpTo: 0, status: status.done, reply: emptyBytes, ops: resolved });
    }
    let bytes = 0;
    while (transactions.length < countMax && bytes < bytesMax) {
      const next = this.#queue.shift();
      if (next === undefined) break;
      const proposal = next.request.batch.proposals[next.at] as Proposal;
      const t = this.#take(next, proposal, index, transactions.length, waiters);
      if (t === undefined) continue;
      transactions.push(t);
      bytes += proposal.body.length + 16;
    }
    if (transactions.length === 0) {
      for (const waiter of waiters) this.#waiters.push(waiter);
      return true;
    }
    const w = new ByteWriter(Math.max(1024, bytes + transactions.length * 32));
    writeEntry(w, { stampMs: this.head.stampMs, transactions });
    // Registered first: a group of one commits inside `append`.
    this.#inFlight.push(index);
    for (const waiter of waiters) this.#waiters.push(waiter);
    const appended = this.#o.append(w.finish());
    if (appended === undefined) {
      // The log takes nothing (leadership is being handed on): the head is ahead of it and of no use any more.
      this.close(undefined);
      return false;
    }
    assert(appended === index, `entry judged for ${index} was appended at ${appended}`);
    return true;
  }

  /** Wall time, never going back: rows carry it, replicas never look at a clock. */
  #stamp(): void {
    const now = this.#o.env.clock.wallNow();
    this.#stampAnchor = Math.max(now, this.#stampAnchor, this.head.stampMs);
    this.head.stampMs = this.#stampAnchor;
  }

  #resolveOwn(ops: readonly EntryOp[], index: number): EntryOp[] {
    return ops.flatMap((op) => {
      if (op.kind === 'admit') return this.head.admit(op.nodeId, op.incarnation, index);
      if (op.kind === 'purge') return this.head.purge(op.nodeId, op.incarnation, index);
      return [op];
    });
  }

  /** The transaction to log for a proposal, or undefined when it was answered (or waits) without one. */
  #take(q: Queued, p: Proposal, index: number, n: number, waiters: Waiter[]): EntryTransaction | undefined {
    const { request } = q;
    const { incarnation, receivedUpTo } = request.batch;
    if (incarnation !== 0 && this.#repeatedOrRefused(q, p, incarnation, waiters)) return undefined;
    if (incarnation === 0 && p.kind !== proposalKind.command) {
      this.#answer(request, q.at, answer.notAdmitted, 0, emptyBytes);
      return undefined;
    }
    const judged = this.head.judge(p, incarnation, index, n);
    const t: EntryTransaction = { incarnation, seq: p.seq, receivedUpTo, status: judged.status, reply: judged.reply, ops: judged.ops };
    if (incarnation !== 0) this.head.record(t, index);
    waiters.push({ request, at: q.at, index, code: judged.status, reply: judged.reply });
    return t;
  }

  #repeatedOrRefused(q: Queued, p: Proposal, incarnation: number, waiters: Waiter[]): boolean {
    const stream = this.head.streams.get(incarnation);
    const { request, at } = q;
    if (stream === undefined || stream.frozen) {
      const known = incarnation <= this.head.live.highest(request.nodeId);
      this.#answer(request, at, known ? answer.fenced : answer.notAdmitted, 0, emptyBytes);
      return true;
    }
    if (p.seq === stream.lastSeq + 1) {
      // What the proposer has received by now is forgotten with this very entry, so it does not count.
      const received = Math.max(stream.receivedUpTo, request.batch.receivedUpTo);
      if (stream.lastSeq - received < this.#o.bounds.streamOutcomesMax) return false;
      this.#answer(request, at, answer.busy, 0, emptyBytes);
      return true;
    }
    const first = p.seq <= stream.lastSeq ? stream.outcomes.get(p.seq) : undefined;
    if (first === undefined) this.#answer(request, at, answer.gap, 0, emptyBytes);
    else if (first.index > this.#o.commitIndex()) waiters.push({ request, at, index: first.index, code: first.status, reply: first.reply });
    else this.#resolve({ request, at, index: first.index, code: first.status, reply: first.reply });
    return true;
  }

  #answer(request: Request, at: number, code: AnswerCode, index: number, reply: Uint8Array): void {
    if (request.answers[at] !== undefined) return;
    request.answers[at] = { code, index, reply };
    request.missing--;
    if (request.missing === 0) request.done(request.answers as Answer[]);
  }

  #resolve(w: Waiter): void {
    if (w.request.batch.effective && w.code === answer.done && w.index > this.#effectiveIndex) {
      this.#effective.push(w);
      this.#armEffectiveBound();
    } else this.#answer(w.request, w.at, w.code, w.index, w.reply);
  }

  committed(index: number): void {
    while (this.#inFlight.length > 0 && (this.#inFlight[0] as number) <= index) this.#inFlight.shift();
    const later: Waiter[] = [];
    for (let w = this.#waiters.peek(); w !== undefined && w.index <= index; w = this.#waiters.peek()) {
      this.#waiters.shift();
      later.push(w);
    }
    for (const w of later) this.#resolve(w);
    if (this.#queue.length > 0 || this.#own.length > 0) this.#schedule();
  }

  /** Tables have everything up to `index`. */
  applied(index: number): void {
    this.head.applied(index);
  }

  /** Everybody who counts has seen everything up to `index`. */
  effective(index: number): void {
    if (index <= this.#effectiveIndex) return;
    this.#effectiveIndex = index;
    const ready = this.#effective.filter((w) => w.index <= index);
    if (ready.length === 0) return;
    this.#effective = this.#effective.filter((w) => w.index > index);
    for (const w of ready) this.#answer(w.request, w.at, w.code, w.index, w.reply);
  }

  #armEffectiveBound(): void {
    if (this.#armed) return;
    this.#armed = true;
    const newest = this.#effective[this.#effective.length - 1]?.index ?? 0;
    this.#o.env.clock.setTimer(this.#o.bounds.effectiveWaitMs, () => {
      this.#armed = false;
      if (this.#closed) return;
      const late = this.#effective.filter((w) => w.index <= newest);
      this.#effective = this.#effective.filter((w) => w.index > newest);
      for (const w of late) this.#answer(w.request, w.at, answer.notEffective, w.index, w.reply);
      if (this.#effective.length > 0) this.#armEffectiveBound();
    });
  }

  get effectiveIndex(): number {
    return this.#effectiveIndex;
  }

  /** Leads no more: everybody who waits is sent on, to ask again there. */
  close(leaderHint: Uint8Array | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    const hint = leaderHint ?? emptyBytes;
    for (let q = this.#queue.shift(); q !== undefined; q = this.#queue.shift()) this.#answer(q.request, q.at, answer.notLeader, 0, hint);
    for (let w = this.#waiters.shift(); w !== undefined; w = this.#waiters.shift()) this.#answer(w.request, w.at, answer.notLeader, 0, hint);
    for (const w of this.#effective) this.#answer(w.request, w.at, answer.notEffective, w.index, w.reply);
    this.#effective = [];
  }

  get closed(): boolean {
    return this.#closed;
  }
}
