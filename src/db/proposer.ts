// Hands this node's writes of one shard to the shard's leader, wherever it is, exactly once:
// drives the proposer queue over rpc (or a direct call when the leader is here). One redirect is
// usual, retries are paced, every caller hears by its deadline.

import { MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import { utf8Decode } from '#base/utf8.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { Histogram } from '#env/metrics.js';
import type { Links } from '#link/api.js';
import { type Until, type WriteDone, WriteFailure, type WriteOptions, type WriteResult } from './api.js';
import type { DbBounds } from './bounds.js';
import { type Answer, answer, decodeAnswers, type ProposalBatch, type ProposalKind, writeProposalBatch } from './proposal-codec.js';
import { type OutgoingBatch, type Pending, ProposerQueue } from './proposer-queue.js';

export const proposeMethod = 'db.propose';
/** To a core that is not the leader: pass it on. */
export const throughMethod = 'db.proposeThrough';
export const outcomesMethod = 'db.outcomes';

/** How a leader on this very node takes proposals, without a link. */
export type LocalLeader = (batch: ProposalBatch, nodeId: string, done: (answers: readonly Answer[]) => void) => boolean;

export interface ProposerOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly shard: string;
  readonly nodeId: string;
  /** Who leads, as far as this node knows; undefined: try any core. */
  readonly leader: () => string | undefined;
  /** Cores with a link, to ask when nobody knows the leader. */
  readonly cores: () => readonly string[];
  readonly localLeader: () => LocalLeader | undefined;
  /** Answers `db.outcomes` from this node's own copy; undefined when it is no core. */
  readonly localOutcomes: () => ((body: Uint8Array) => Uint8Array) | undefined;
  /** This node has a copy of the shard. */
  readonly holds: () => boolean;
  /** Runs `then` when this node's tables have reached `index`; immediately false when it does not hold the shard. */
  readonly whenApplied: (index: number, deadlineAt: number, then: (reached: boolean) => void) => void;
  /** The stream was refused: this incarnation is dead. */
  readonly onFenced: (incarnation: number) => void;
}

interface Caller {
  readonly done: WriteDone;
  readonly until: Until;
  readonly deadlineAt: number;
  readonly startedAt: number;
}

/** Seconds. */
const latencyBuckets: readonly number[] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

const noResult: WriteResult = { index: 0, reply: emptyBytes };

export class Proposer {
  readonly #o: ProposerOptions;
  readonly #queue: ProposerQueue<Caller> = new ProposerQueue();
  readonly #latency: Histogram;
  /** What is sent is copied by then. */
  readonly #w: ByteWriter = new ByteWriter(1024);
  #incarnation = 0;
  #scheduled = false;
  #retryTimer: Timer | undefined;
  #deadlineTimer: Timer | undefined;
  #deadlineAt = Number.POSITIVE_INFINITY;
  #hint: string | undefined;
  /** Asked while nobody knows the leader: one at a time, for a stream spread over several cores is in order nowhere. */
  #guess: string | undefined;
  #rotate = 0;
  /** The leader is known and not reached: the target is to pass on what it is sent. */
  #through = false;
  /** The incarnation whose numbers are in doubt, while its frozen stream is being asked; 0: none. */
  #doubtful = 0;
  #closed = false;

  constructor(options: ProposerOptions) {
    this.#o = options;
    const help = 'Time from handing in a write to the answer of its leader: committed, or refused.';
    this.#latency = options.env.metrics.histogram('starmesh_proposal_seconds', help, latencyBuckets, { shard: options.shard });
  }

  get pending(): number {
    return this.#queue.length;
  }

  submit(kind: ProposalKind, body: Uint8Array, options: WriteOptions, done: WriteDone): void {
    const { bounds, env } = this.#o;
    if (this.#closed) return done(new WriteFailure('closed', 'the database is closed'), noResult);
    if (this.#queue.length >= bounds.pendingProposalsMax || this.#queue.bytes + body.length > bounds.pendingProposalBytesMax) {
      return done(new WriteFailure('refused', `more than ${bounds.pendingProposalsMax} writes wait for shard ${this.#o.shard}`), noResult);
    }
    const until = options.until ?? 'committed';
    const startedAt = env.clock.now();
    const deadlineAt = startedAt + (options.deadlineMs ?? bounds.proposalDeadlineMs);
    this.#queue.push(kind, body, until === 'effective', deadlineAt, { done, until, deadlineAt, startedAt });
    this.#armDeadline(deadlineAt);
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
    if (this.#closed || this.#doubtful !== 0 || this.#incarnation === 0 || this.#retryTimer !== undefined) return;
    const { bounds } = this.#o;
    while (this.#queue.hasWork) {
      const target = this.#target();
      if (target === undefined) return this.#retryLater();
      const batch = this.#queue.next(bounds.batchTransactionsMax, bounds.batchBytesMax, true);
      if (batch === undefined) return;
      this.#send(target, batch);
      if (this.#retryTimer !== undefined) return;
    }
  }

  #target(): string | undefined {
    const { leader, cores, links, nodeId } = this.#o;
    const reachable = (id: string | undefined): id is string =>
      id !== undefined && (id === nodeId ? this.#o.localLeader() !== undefined : links.peer(id) !== undefined);
    const known = leader();
    this.#through = false;
    if (reachable(known)) return known;
    if (reachable(this.#hint)) return this.#hint;
    this.#through = (known ?? this.#hint ?? nodeId) !== nodeId;
    const all = cores().filter((c) => c !== nodeId && links.peer(c) !== undefined);
    if (this.#guess === undefined || !all.includes(this.#guess)) this.#guess = all[this.#rotate++ % Math.max(1, all.length)];
    return this.#guess;
  }

  #send(target: string, out: OutgoingBatch<Caller>): void {
    const { shard, nodeId, links, bounds } = this.#o;
    const localLeader = this.#o.localLeader();
    const batch: ProposalBatch = {
      shard,
      incarnation: this.#incarnation,
      receivedUpTo: out.receivedUpTo,
      effective: out.effective,
      proposals: this.#queue.toProposals(out),
    };
    const incarnation = this.#incarnation;
    if (target === nodeId && localLeader !== undefined) {
      const taken = localLeader(batch, nodeId, (answers) => {
        if (incarnation === this.#incarnation) this.#answered(out, answers);
      });
      if (!taken) this.#failed(out);
      return;
    }
    const w = this.#w;
    w.reset();
    writeProposalBatch(w, batch);
    const through = this.#through;
    links.call(target, through ? throughMethod : proposeMethod, w.view(), Math.max(bounds.proposalAttemptMs, 1), (failure, body) => {
      if (this.#closed || incarnation !== this.#incarnation) return;
      if (failure !== undefined) {
        this.#hint = this.#guess = undefined;
        return this.#failed(out);
      }
      let answers: Answer[];
      try {
        answers = decodeAnswers(body);
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error;
        return this.#failed(out);
      }
      this.#answered(out, answers, target, through);
    });
  }

  #failed(out: OutgoingBatch<Caller>): void {
    this.#queue.again(out);
    this.#retryLater();
  }

  #answered(out: OutgoingBatch<Caller>, answers: readonly Answer[], asked?: string, through: boolean = false): void {
    let retry = false;
    let fenced = false;
    const now = this.#o.env.clock.now();
    for (let i = 0; i < out.items.length; i++) {
      const a = answers[i];
      if (a === undefined || a.code === answer.busy || a.code === answer.gap || a.code === answer.notAdmitted) retry = true;
      else if (a.code === answer.notLeader) {
        retry = true;
        const named = a.reply.length > 0 ? utf8Decode(a.reply) : undefined;
        this.#hint = named;
        // Who names somebody that this node does not reach may reach him.
        this.#guess = named === undefined || through ? undefined : asked;
      } else if (a.code === answer.fenced) fenced = true;
      else this.#finish(this.#queue.resolved((out.items[i] as Pending<Caller>).seq), a, now);
    }
    if (retry || fenced) this.#queue.again(out);
    if (fenced) this.#o.onFenced(this.#incarnation);
    else if (retry) this.#retryLater(answers[0]?.code === answer.notLeader && this.#isNewWay(through) ? 0 : undefined);
    else if (this.#queue.hasWork) this.#schedule();
  }

  /** What was named is another way than the one just tried, and not to be waited for. */
  #isNewWay(through: boolean): boolean {
    const { links, nodeId } = this.#o;
    return this.#hint !== undefined && (!through || this.#hint === nodeId || links.peer(this.#hint) !== undefined);
  }

  #finish(caller: Caller | undefined, a: Answer, now: number): void {
    if (caller === undefined) return;
    this.#latency.observe((now - caller.startedAt) / 1000);
    const result = { index: a.index, reply: a.reply };
    switch (a.code) {
      case answer.refused:
        return caller.done(new WriteFailure('refused', utf8Decode(a.reply) ?? 'refused'), noResult);
      case answer.conflict:
        return caller.done(new WriteFailure('conflict', 'what the transaction read was overtaken'), noResult);
      case answer.void:
        return caller.done(new WriteFailure('unknown', 'given up at its deadline'), noResult);
      case answer.notEffective:
        return caller.done(new WriteFailure('not-effective', 'committed, but not seen everywhere in time'), result);
    }
    // A node that does not hold the shard has nothing of its own to wait for; 'applied' it can never be here.
    if (caller.until === 'committed' || (caller.until === 'effective' && !this.#o.holds())) return caller.done(undefined, result);
    this.#o.whenApplied(a.index, caller.deadlineAt, (reached) => {
      if (reached) caller.done(undefined, result);
      else caller.done(new WriteFailure('not-effective', 'committed, but not applied here in time'), result);
    });
  }

  #retryLater(ms: number = this.#o.bounds.proposalRetryMs): void {
    if (this.#retryTimer !== undefined || this.#closed) return;
    const wait = ms === 0 ? 0 : ms * (0.5 + this.#o.env.random.next());
    this.#retryTimer = this.#o.env.clock.setTimer(wait, () => {
      this.#retryTimer = undefined;
      this.#flush();
    });
  }

  /** A leader became known: no need to wait for the retry. */
  kick(): void {
    this.#retryTimer?.cancel();
    this.#retryTimer = undefined;
    if (this.#queue.hasWork) this.#schedule();
  }

  #armDeadline(at: number): void {
    if (at >= this.#deadlineAt) return;
    this.#deadlineTimer?.cancel();
    this.#deadlineAt = at;
    this.#deadlineTimer = this.#o.env.clock.setTimer(Math.max(0, at - this.#o.env.clock.now()), () => {
      this.#deadlineAt = Number.POSITIVE_INFINITY;
      this.#deadlineTimer = undefined;
      this.#queue.expire(this.#o.env.clock.now(), (caller, unsent) => {
        const kind = unsent ? 'no-quorum' : 'unknown';
        const text = unsent
          ? `no leader of shard ${this.#o.shard} could be reached; nothing was written`
          : `no answer from the leader of shard ${this.#o.shard}; the write may still happen`;
        caller.done(new WriteFailure(kind, text), noResult);
      });
      const next = this.#queue.earliestDeadline();
      // At least a little later, so that many deadlines close together cost one scan.
      if (next !== undefined) this.#armDeadline(Math.max(next, this.#o.env.clock.now() + deadlineGranularityMs));
    });
  }

  /**
   * This node's incarnation, once admitted anywhere. When it replaces an older one, the older one's
   * frozen stream is asked what became of the numbers in doubt before anything is proposed again.
   */
  setIncarnation(incarnation: number): void {
    // Renewed again before the frozen stream was asked: the numbers in doubt are still the older one's.
    const old = this.#doubtful === 0 ? this.#incarnation : this.#doubtful;
    if (incarnation === this.#incarnation) return;
    this.#incarnation = incarnation;
    if (old === 0) return this.kick();
    const doubt = this.#queue.unresolved();
    if (doubt.length === 0) {
      this.#queue.restart();
      return this.kick();
    }
    this.#doubtful = old;
    this.#askOutcomes(old, incarnation, doubt);
  }

  #askOutcomes(old: number, incarnation: number, doubt: readonly number[]): void {
    if (this.#closed || incarnation !== this.#incarnation) return;
    const retry = (): void => {
      this.#o.env.clock.setTimer(this.#o.bounds.proposalRetryMs, () => this.#askOutcomes(old, incarnation, doubt));
    };
    const target = this.#target();
    if (target === undefined) return retry();
    const w = new ByteWriter(64 + doubt.length * 4);
    w.string(this.#o.shard);
    w.varint(old);
    w.varint(incarnation);
    w.varint(doubt.length);
    for (const seq of doubt) w.varint(seq);
    const { links, bounds, nodeId } = this.#o;
    const localOutcomes = this.#o.localOutcomes();
    const take = (body: Uint8Array): void => {
      const answers = decodeAnswers(body);
      // A core that does not know the new incarnation yet may still know the old stream as a live one.
      if (answers.length !== doubt.length || answers[0]?.code === answer.notAdmitted) return retry();
      doubt.forEach((seq, i) => {
        const a = answers[i] as Answer;
        // `gap`: the frozen stream never saw the number, so it never happened and never will.
        if (a.code !== answer.gap) this.#found(this.#queue.resolved(seq), a);
      });
      this.#doubtful = 0;
      this.#queue.restart();
      this.kick();
    };
    if (target === nodeId && localOutcomes !== undefined) return take(localOutcomes(w.finish()));
    links.call(target, outcomesMethod, w.view(), bounds.proposalAttemptMs, (failure, body) => {
      if (this.#closed || incarnation !== this.#incarnation) return;
      if (failure === undefined) return take(body);
      this.#hint = undefined;
      retry();
    });
  }

  /** A frozen stream says what happened, and nothing of who has seen it. */
  #found(caller: Caller | undefined, a: Answer): void {
    const unseen = a.code === answer.done && caller?.until === 'effective';
    this.#finish(caller, unseen ? { ...a, code: answer.notEffective } : a, this.#o.env.clock.now());
  }

  close(): void {
    this.#closed = true;
    this.#retryTimer?.cancel();
    this.#deadlineTimer?.cancel();
    this.#queue.drain((caller, unsent) => {
      const failure = unsent
        ? new WriteFailure('closed', 'the database was closed; nothing was written')
        : new WriteFailure('unknown', 'the database was closed while the write was on its way; it may still happen');
      caller.done(failure, noResult);
    });
  }
}

const deadlineGranularityMs = 20;
