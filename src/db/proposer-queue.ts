// The proposer's side of a shard's exactly-once stream, as a pure machine: what was proposed, under
// which number, what is on its way, what must be sent again. `proposer.ts` drives it.
//
// A proposal gets its number when it is first sent, never before: one that was never sent can be
// given up for good. One that was sent and whose deadline passes is answered 'unknown', and its
// number is consumed by a `void`, which returns the earlier outcome if there is one.
import { assert } from '#base/assert.js';
import { emptyBytes } from '#base/bytes.js';
import { Deque } from '#base/deque.js';
import { type Proposal, type ProposalKind, proposalKind } from './proposal-codec.js';

export interface Pending<T> {
  /** 0 until first sent. */
  seq: number;
  kind: ProposalKind;
  body: Uint8Array;
  readonly effective: boolean;
  readonly deadlineAt: number;
  /** Attempt that carries it now; 0: waits to be sent (again). */
  attempt: number;
  /** Undefined once the caller has been answered. */
  caller: T | undefined;
}

export interface OutgoingBatch<T> {
  readonly attempt: number;
  readonly receivedUpTo: number;
  readonly effective: boolean;
  readonly items: readonly Pending<T>[];
}

export class ProposerQueue<T> {
  /** Sent at least once, in the order of their numbers; the first is `receivedUpTo + 1`. */
  readonly #sent: Map<number, Pending<T>> = new Map();
  /** Not sent yet, in order. */
  readonly #waiting: Deque<Pending<T>> = new Deque();
  #nextSeq = 1;
  #receivedUpTo = 0;
  #attempts = 0;
  #bytes = 0;
  /** From here on everything is sent again, lowest first, before anything new. */
  #resendFrom: number | undefined;

  get length(): number {
    return this.#sent.size + this.#waiting.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get receivedUpTo(): number {
    return this.#receivedUpTo;
  }

  push(kind: ProposalKind, body: Uint8Array, effective: boolean, deadlineAt: number, caller: T): void {
    this.#waiting.push({ seq: 0, kind, body, effective, deadlineAt, attempt: 0, caller });
    this.#bytes += body.length;
  }

  get hasWork(): boolean {
    return this.#resendFrom !== undefined || this.#waiting.length > 0;
  }

  /** The next batch to send, bounded, in order, of one kind of waiting; undefined when there is none. Numbers new ones. */
  next(countMax: number, bytesMax: number, numbered: boolean): OutgoingBatch<T> | undefined {
    const items: Pending<T>[] = [];
    let bytes = 0;
    let effective: boolean | undefined;
    const take = (p: Pending<T>): boolean => {
      if (effective !== undefined && p.effective !== effective) return false;
      if (items.length >= countMax || (items.length > 0 && bytes + p.body.length > bytesMax)) return false;
      effective = p.effective;
      items.push(p);
      bytes += p.body.length;
      return true;
    };
    const attempt = this.#attempts + 1;
    if (this.#resendFrom !== undefined) {
      let seq = this.#resendFrom;
      for (; seq < this.#nextSeq; seq++) {
        const p = this.#sent.get(seq);
        // Answered ones in between need no second sending: the leader knows their numbers. Those under way do: what
        // came to the leader before the number that is sent again now is refused for the gap, one by one.
        if (p === undefined) continue;
        if (!take(p)) break;
        p.attempt = attempt;
      }
      this.#resendFrom = seq < this.#nextSeq ? seq : undefined;
    }
    while (this.#resendFrom === undefined && this.#waiting.length > 0) {
      const p = this.#waiting.peek() as Pending<T>;
      if (p.caller === undefined) {
        this.#waiting.shift();
        continue;
      }
      if (!take(p)) break;
      this.#waiting.shift();
      p.seq = this.#nextSeq++;
      p.attempt = attempt;
      this.#sent.set(p.seq, p);
    }
    if (items.length === 0) return undefined;
    this.#attempts = attempt;
    assert(numbered || items.every((p) => p.seq > 0), 'numbered');
    return { attempt, receivedUpTo: this.#receivedUpTo, effective: effective === true, items };
  }

  toProposals(batch: OutgoingBatch<T>): Proposal[] {
    return batch.items.map((p) => ({ seq: p.seq, kind: p.kind, body: p.body }));
  }

  /** The leader's final word on a number. The caller, if it still waits. */
  resolved(seq: number): T | undefined {
    const p = this.#sent.get(seq);
    if (p === undefined) return undefined;
    this.#sent.delete(seq);
    this.#bytes -= p.body.length;
    while (this.#receivedUpTo + 1 < this.#nextSeq && !this.#sent.has(this.#receivedUpTo + 1)) this.#receivedUpTo++;
    return p.caller;
  }

  /** An attempt failed, or was answered 'not by me': its unresolved numbers are sent again. */
  again(batch: OutgoingBatch<T>): void {
    for (const p of batch.items) {
      if (p.attempt !== batch.attempt || this.#sent.get(p.seq) !== p) continue;
      p.attempt = 0;
      if (this.#resendFrom === undefined || p.seq < this.#resendFrom) this.#resendFrom = p.seq;
    }
  }

  /** Callers whose deadline has passed: `unsent` never left this node. */
  expire(now: number, expired: (caller: T, unsent: boolean) => void): void {
    for (const p of this.#sent.values()) {
      if (p.caller === undefined || p.deadlineAt > now) continue;
      const caller = p.caller;
      p.caller = undefined;
      // Whatever is sent for this number from now on must not execute anything new.
      this.#bytes -= p.body.length;
      p.kind = proposalKind.void;
      p.body = emptyBytes;
      expired(caller, false);
    }
    for (let i = 0; i < this.#waiting.length; i++) {
      const p = this.#waiting.at(i) as Pending<T>;
      if (p.caller === undefined || p.deadlineAt > now) continue;
      const caller = p.caller;
      p.caller = undefined;
      this.#bytes -= p.body.length;
      p.body = emptyBytes;
      expired(caller, true);
    }
  }

  /** Earliest deadline of a caller that waits, or undefined. */
  earliestDeadline(): number | undefined {
    let at: number | undefined;
    for (const p of this.#sent.values()) if (p.caller !== undefined && (at === undefined || p.deadlineAt < at)) at = p.deadlineAt;
    for (let i = 0; i < this.#waiting.length; i++) {
      const p = this.#waiting.at(i) as Pending<T>;
      if (p.caller !== undefined && (at === undefined || p.deadlineAt < at)) at = p.deadlineAt;
    }
    return at;
  }

  /** Numbers sent under the old incarnation and not answered. */
  unresolved(): number[] {
    return [...this.#sent.keys()];
  }

  /**
   * A new incarnation: its stream begins at 1. What the old one's frozen stream did not contain
   * never happened and is proposed again, in order, before what was waiting.
   */
  restart(): void {
    const old = [...this.#sent.values()].filter((p) => p.caller !== undefined && p.kind !== proposalKind.void);
    const waiting: Pending<T>[] = [];
    for (let p = this.#waiting.shift(); p !== undefined; p = this.#waiting.shift()) waiting.push(p);
    this.#sent.clear();
    this.#nextSeq = 1;
    this.#receivedUpTo = 0;
    this.#resendFrom = undefined;
    this.#bytes = 0;
    for (const p of [...old, ...waiting]) {
      p.seq = 0;
      p.attempt = 0;
      this.#waiting.push(p);
      this.#bytes += p.body.length;
    }
  }

  /** Everybody who waits, for closing; `unsent` never left this node. */
  drain(visit: (caller: T, unsent: boolean) => void): void {
    for (const p of this.#sent.values()) if (p.caller !== undefined) visit(p.caller, false);
    for (let i = 0; i < this.#waiting.length; i++) {
      const p = this.#waiting.at(i) as Pending<T>;
      if (p.caller !== undefined) visit(p.caller, true);
    }
    this.#sent.clear();
    this.#waiting.clear();
  }
}
