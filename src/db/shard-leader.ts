// The leader's side of writing: takes proposals of all nodes, judges them against the head, makes
// one log entry of what came in a turn, and answers when it is committed (or effective). Lives
// from the moment the leader has applied its term's no-op until it leads no more.
import { assert } from '#base/assert.js';
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import { Deque } from '#base/deque.js';
import type { Env } from '#env/env.js';
import type { DbBounds } from './bounds.js';
import { type EntryOp, status, writeEntryHead, writeTransaction, writeTransactionHead } from './entry-codec.js';
import { positionsPerEntry } from './head-context.js';
import { LeaderHead } from './leader-head.js';
import { type Answer, type AnswerCode, answer, type Proposal, type ProposalBatch, proposalKind } from './proposal-codec.js';
import type { ShardState } from './shard-state.js';
import { type Outcome, outcomeOf } from './streams.js';

export interface LeaderOptions {
  readonly env: Env;
  readonly bounds: DbBounds;
  readonly state: ShardState;
  /** Appends one entry; its index, or undefined when the log takes none now. */
  readonly append: (data: Uint8Array) => number | undefined;
  /** Index that the next appended entry gets. */
  readonly nextIndex: () => number;
  readonly commitIndex: () => number;
  /** Somebody waits until everything up to `index` is effective. */
  readonly wanted: (index: number) => void;
}

interface Request {
  readonly nodeId: string;
  readonly batch: ProposalBatch;
  /** As judged or refused; final once counted off from `missing`. */
  readonly answers: (Answer | undefined)[];
  missing: number;
  readonly done: (answers: readonly Answer[]) => void;
}

/** Proposals of one request that were judged in the same entry: their answers count once it is committed. */
interface Waiter {
  readonly request: Request;
  readonly from: number;
  to: number;
  readonly index: number;
  /** Committed: until then it waits to be effective. */
  lateAt: number;
}

/** Who waits for too long to be effective is looked for so many times at most while one may wait. */
const lateLooks = 16;

/** Of operations. */
const none: readonly never[] = [];
/** A scratch buffer that has grown beyond this is given back. */
const scratchBytesMax = 4 * 1024 * 1024;

/** The common answer, one object per entry. */
let plainAnswer: Answer = { code: answer.done, index: 0, reply: emptyBytes };

function answerOf(o: Outcome): Answer {
  if (o.status !== status.done || o.reply.length > 0) return { code: o.status, index: o.index, reply: o.reply };
  if (plainAnswer.index !== o.index) plainAnswer = { code: answer.done, index: o.index, reply: emptyBytes };
  return plainAnswer;
}

/** Entries appended and not committed before the next batch waits: the log groups better than we do. */
const entriesInFlightMax = 16;

export class ShardLeader {
  readonly #o: LeaderOptions;
  readonly #effectiveLate: { value: number };
  readonly head: LeaderHead;
  readonly #queue: Deque<Request> = new Deque();
  /** Of the first request in the queue: judged already. */
  #taken = 0;
  #queued = 0;
  readonly #own: (readonly EntryOp[])[] = [];
  /** Appended, not committed: in the order of the log. */
  readonly #waiters: Deque<Waiter> = new Deque();
  /** Committed, waiting to be effective. */
  #effective: Waiter[] = [];
  #effectiveIndex = 0;
  #wantedIndex = 0;
  #inFlight: number[] = [];
  #scheduled = false;
  #closed = false;
  #armed = false;
  #stampAnchor = 0;
  /** Transactions put into the log. */
  logged = 0;
  readonly #w: ByteWriter = new ByteWriter(4096);
  readonly #transactions: ByteWriter = new ByteWriter(4096);

  constructor(options: LeaderOptions) {
    this.#o = options;
    this.#effectiveLate = options.env.metrics.counter(
      'starmesh_effective_late_total',
      'Answers that did not wait any longer for a committed write to be effective',
      {
        shard: options.state.schema.name,
      },
    );
    this.head = new LeaderHead(options.state, options.bounds, options.env.random.int(2 ** 31));
  }

  /** Proposals of one node; `done` once, with an answer for each. */
  submit(nodeId: string, batch: ProposalBatch, done: (answers: readonly Answer[]) => void): void {
    const count = batch.proposals.length;
    if (count === 0) return done([]);
    const request: Request = { nodeId, batch, answers: new Array(count).fill(undefined), missing: count, done };
    if (this.#queued + count > this.#o.bounds.pendingProposalsMax) {
      for (let i = 0; i < count; i++) this.#refuse(request, i, answer.busy);
      return;
    }
    this.#queued += count;
    this.#queue.push(request);
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
    const waiters: Waiter[] = [];
    const w = this.#transactions;
    w.reset();
    let transactions = 0;
    this.#stamp();
    for (let ops = this.#own.shift(); ops !== undefined; ops = this.#own.shift()) {
      const resolved = this.#resolveOwn(ops, index);
      if (resolved.length === 0) continue;
      writeTransaction(w, { incarnation: 0, seq: 0, receivedUpTo: 0, status: status.done, reply: emptyBytes, ops: resolved });
      transactions++;
    }
    const bodies = w.length + bytesMax;
    while (transactions < countMax && w.length < bodies) {
      const request = this.#queue.peek();
      if (request === undefined) break;
      const at = this.#taken;
      this.#queued--;
      if (at + 1 < request.batch.proposals.length) this.#taken++;
      else {
        this.#queue.shift();
        this.#taken = 0;
      }
      if (this.#take(request, at, index, transactions, waiters)) transactions++;
    }
    const append = transactions > 0;
    // Registered first: a group of one commits inside `append`.
    if (append) this.#inFlight.push(index);
    for (const waiter of waiters) this.#waiters.push(waiter);
    if (this.head.broken) {
      this.close(undefined);
      return false;
    }
    if (!append) return true;
    this.logged += transactions;
    const appended = this.#o.append(this.#entry(transactions));
    if (appended === undefined) {
      // The log takes nothing (leadership is being handed on): the head is ahead of it and of no use any more.
      this.close(undefined, true);
      return false;
    }
    assert(appended === index, `entry judged for ${index} was appended at ${appended}`);
    // With the entry, so that nobody waits for the word; and of one that was in the log before, once it is committed.
    if (waiters.some((waiter) => waiter.request.batch.effective)) this.#want(index);
    return true;
  }

  #entry(transactions: number): Uint8Array {
    const w = this.#w;
    w.reset();
    writeEntryHead(w, this.head.stampMs, transactions);
    w.raw(this.#transactions.view());
    const data = w.finish();
    // One large entry must not keep its memory for ever.
    for (const scratch of [w, this.#transactions]) if (scratch.bytes.length > scratchBytesMax) scratch.bytes = new Uint8Array(4096);
    return data;
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

  /** Writes the transaction to log for a proposal. False: it was answered (or waits) without one. */
  #take(request: Request, at: number, index: number, n: number, waiters: Waiter[]): boolean {
    const { incarnation, receivedUpTo, proposals } = request.batch;
    const p = proposals[at] as Proposal;
    if (incarnation !== 0 && this.#repeatedOrRefused(request, at, p, incarnation, waiters)) return false;
    if (incarnation === 0 && p.kind !== proposalKind.command) {
      this.#refuse(request, at, answer.notAdmitted);
      return false;
    }
    const judged = this.head.judge(p, incarnation, index, n);
    const w = this.#transactions;
    const { reply } = judged;
    // One shape: a copy with something added has a new one each time.
    const t = { incarnation, seq: p.seq, receivedUpTo, status: judged.status, reply, ops: judged.ops ?? none };
    if (judged.ops === undefined) {
      writeTransactionHead(w, t, this.head.plainCount(p.body));
      this.head.writePlain(w, p.body, index);
    } else writeTransaction(w, t);
    const outcome = outcomeOf(judged.status, reply, index);
    if (incarnation !== 0) this.head.record(incarnation, p.seq, receivedUpTo, outcome);
    this.#await(waiters, request, at, outcome);
    return true;
  }

  /** The answer to a proposal, final once the entry of the outcome is committed. */
  #await(waiters: Waiter[], request: Request, at: number, outcome: Outcome): void {
    request.answers[at] = answerOf(outcome);
    const last = waiters[waiters.length - 1];
    if (last?.request === request && last.to === at && last.index === outcome.index) last.to++;
    else waiters.push({ request, from: at, to: at + 1, index: outcome.index, lateAt: 0 });
  }

  #repeatedOrRefused(request: Request, at: number, p: Proposal, incarnation: number, waiters: Waiter[]): boolean {
    const stream = this.head.streams.get(incarnation);
    if (stream === undefined || stream.frozen) {
      const known = incarnation <= this.head.live.highest(request.nodeId);
      this.#refuse(request, at, known ? answer.fenced : answer.notAdmitted);
      return true;
    }
    if (p.seq === stream.lastSeq + 1) {
      // What the proposer has received by now is forgotten with this very entry, so it does not count.
      const received = Math.max(stream.receivedUpTo, request.batch.receivedUpTo);
      if (stream.lastSeq - received < this.#o.bounds.streamOutcomesMax) return false;
      this.#refuse(request, at, answer.busy);
      return true;
    }
    const first = p.seq <= stream.lastSeq ? stream.outcomes.get(p.seq) : undefined;
    if (first === undefined) this.#refuse(request, at, answer.gap);
    else if (first.index > this.#o.commitIndex()) this.#await(waiters, request, at, first);
    else {
      request.answers[at] = answerOf(first);
      this.#resolve({ request, from: at, to: at + 1, index: first.index, lateAt: 0 });
    }
    return true;
  }

  /** Not executed: nothing to wait for. */
  #refuse(request: Request, at: number, code: AnswerCode): void {
    request.answers[at] = { code, index: 0, reply: emptyBytes };
    this.#settled(request, 1);
  }

  /** So many more answers of the request are final. */
  #settled(request: Request, count: number): void {
    if (count === 0) return;
    request.missing -= count;
    if (request.missing === 0) request.done(request.answers as Answer[]);
  }

  #want(index: number): void {
    if (index <= this.#wantedIndex) return;
    this.#wantedIndex = index;
    this.#o.wanted(index);
  }

  #resolve(w: Waiter): void {
    const { request } = w;
    let later = 0;
    if (request.batch.effective && w.index > this.#effectiveIndex) {
      for (let at = w.from; at < w.to; at++) if (request.answers[at]?.code === answer.done) later++;
    }
    if (later > 0) {
      w.lateAt = this.#o.env.clock.now() + this.#o.bounds.effectiveWaitMs;
      this.#effective.push(w);
      this.#want(w.index);
      this.#armEffectiveBound();
    }
    this.#settled(request, w.to - w.from - later);
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
    for (const w of ready) this.#seen(w);
  }

  /** Those of the waiter that had to be effective: they are, or it took too long. */
  #seen(w: Waiter, late: boolean = false): void {
    let count = 0;
    for (let at = w.from; at < w.to; at++) {
      const a = w.request.answers[at] as Answer;
      if (a.code !== answer.done) continue;
      count++;
      if (late) w.request.answers[at] = { ...a, code: answer.notEffective };
    }
    this.#settled(w.request, count);
  }

  #armEffectiveBound(): void {
    const first = this.#effective[0];
    if (this.#armed || first === undefined) return;
    this.#armed = true;
    const { clock } = this.#o.env;
    const { effectiveWaitMs } = this.#o.bounds;
    clock.setTimer(Math.max(first.lateAt - clock.now(), effectiveWaitMs / lateLooks), () => {
      this.#armed = false;
      if (this.#closed) return;
      const now = clock.now();
      const late = this.#effective.filter((w) => w.lateAt <= now);
      this.#effectiveLate.value += late.length;
      this.#effective = this.#effective.filter((w) => w.lateAt > now);
      for (const w of late) this.#seen(w, true);
      this.#armEffectiveBound();
    });
  }

  get effectiveIndex(): number {
    return this.#effectiveIndex;
  }

  /**
   * Leads no more: everybody who waits is sent on, to ask again there. Who waits for a committed write to be effective
   * only if there is going to be a leader at once (`handedOn`); it knows the write by its number, and waits on.
   */
  close(leaderHint: Uint8Array | undefined, handedOn: boolean = false): void {
    if (this.#closed) return;
    this.#closed = true;
    const nobody: Answer = { code: answer.notLeader, index: 0, reply: leaderHint ?? emptyBytes };
    const sendOn = (request: Request, from: number, to: number): void => {
      request.answers.fill(nobody, from, to);
      this.#settled(request, to - from);
    };
    let from = this.#taken;
    for (let r = this.#queue.shift(); r !== undefined; r = this.#queue.shift(), from = 0) sendOn(r, from, r.answers.length);
    for (let w = this.#waiters.shift(); w !== undefined; w = this.#waiters.shift()) sendOn(w.request, w.from, w.to);
    for (const w of this.#effective) {
      if (handedOn) this.#sendOnSeen(w, nobody);
      else this.#seen(w, true);
    }
    this.#effective = [];
  }

  #sendOnSeen({ request, from, to }: Waiter, nobody: Answer): void {
    let count = 0;
    for (let at = from; at < to; at++) {
      if (request.answers[at]?.code !== answer.done) continue;
      request.answers[at] = nobody;
      count++;
    }
    this.#settled(request, count);
  }

  get closed(): boolean {
    return this.#closed;
  }
}
