// Both ends of a reliable stream of messages between two nodes, without I/O (forward.ts drives them).
//
// SendWindow keeps what one destination has not acknowledged: frames in order, each with the outcomes
// that wait for its messages. ReceiveState drops duplicates and notices gaps.
// Invariants: numbers of a stream grow by one and are never reused; frames are sent in order, and
// after a reconnect from the oldest unsettled one; every outcome is called exactly once; the receiver
// hands each number to the broker at most once.
import { Deque } from '#base/deque.js';

/** The wait of one publish for all its destinations. */
export interface PendingForward {
  /** `matched`: the destination had a receiver. `lost`: it never said. `unkept`: it could not keep the message as it must. */
  settle(matched: boolean, lost: boolean, unkept: boolean): void;
}

interface Batch {
  readonly first: number;
  readonly count: number;
  readonly frame: Uint8Array;
  readonly pending: (PendingForward | undefined)[];
  readonly since: number;
  open: number;
}

export class SendWindow {
  readonly #batches: Deque<Batch> = new Deque();
  /** Batches from the front that were sent on this connection. */
  #sent = 0;
  #next = 1;
  bytes = 0;
  messages = 0;

  /** Number of the next message. */
  get next(): number {
    return this.#next;
  }

  /** Everything below is settled. */
  get floor(): number {
    return this.#batches.peek()?.first ?? this.#next;
  }

  get empty(): boolean {
    return this.#batches.length === 0;
  }

  /** When the oldest unsettled message was handed in. */
  get oldestSince(): number | undefined {
    return this.#batches.peek()?.since;
  }

  /** A frame of messages numbered from {@link next}; keeps `frame` and `pending`. */
  push(frame: Uint8Array, pending: PendingForward[], since: number): void {
    const count = pending.length;
    this.#batches.push({ first: this.#next, count, frame, pending, since, open: count });
    this.#next += count;
    this.bytes += frame.length;
    this.messages += count;
  }

  /** The next frame to send, or undefined when all are sent. */
  unsent(): Uint8Array | undefined {
    return this.#batches.at(this.#sent)?.frame;
  }

  markSent(): void {
    this.#sent++;
  }

  /** A new connection, or a gap at the receiver: everything unsettled from `from` on is sent again. */
  rewind(from: number = 0): void {
    while (this.#sent > 0) {
      const last = this.#batches.at(this.#sent - 1);
      if (last === undefined || last.first + last.count <= from) return;
      this.#sent--;
    }
  }

  /** The receiver took all below `next`; `matched(number)` tells whether it had a receiver, `unkept(number)` that it could not keep it. */
  acknowledge(next: number, matched: (number: number) => boolean, unkept: (number: number) => boolean): void {
    for (let i = 0; ; i++) {
      const batch = this.#batches.at(i);
      if (batch === undefined || batch.first >= next) break;
      const upTo = Math.min(batch.count, next - batch.first);
      for (let k = 0; k < upTo; k++) {
        const pending = batch.pending[k];
        if (pending === undefined) continue;
        batch.pending[k] = undefined;
        batch.open--;
        pending.settle(matched(batch.first + k), false, unkept(batch.first + k));
      }
    }
    this.#dropSettled();
  }

  /** Gives up what was handed in before `since` (default: all). Returns how many messages were lost. */
  giveUp(since: number = Number.POSITIVE_INFINITY): number {
    let lost = 0;
    for (let batch = this.#batches.peek(); batch !== undefined && batch.since < since; batch = this.#batches.peek()) {
      this.#shift(batch);
      lost += batch.open;
      for (const pending of batch.pending) pending?.settle(false, true, false);
    }
    return lost;
  }

  #dropSettled(): void {
    for (let batch = this.#batches.peek(); batch !== undefined && batch.open === 0; batch = this.#batches.peek()) this.#shift(batch);
  }

  #shift(batch: Batch): void {
    this.#batches.shift();
    this.#sent = Math.max(0, this.#sent - 1);
    this.bytes -= batch.frame.length;
    this.messages -= batch.count;
  }
}

/** What the receiver knows of one stream. */
export class ReceiveState {
  /** All below were taken. */
  #next = 0;
  #gapReported = false;
  /** Messages for members that were not there: their sender must hear that once more if it asks. */
  readonly #refused: Map<number, 'no receiver' | 'unkept'> = new Map();
  /** All below may be acknowledged: what had to be kept on disk is there. */
  confirmed = 0;

  get next(): number {
    return this.#next;
  }

  /** A frame begins whose sender has settled everything below `floor`. */
  begin(floor: number): void {
    if (floor > this.#next) this.#next = floor;
    if (floor > this.confirmed) this.confirmed = floor;
    for (const number of this.#refused.keys()) {
      if (number >= floor) break;
      this.#refused.delete(number);
    }
  }

  refuse(number: number, why: 'no receiver' | 'unkept'): void {
    this.#refused.set(number, why);
  }

  isUnkept(number: number): boolean {
    return this.#refused.get(number) === 'unkept';
  }

  /** Undefined when there is none that its sender may still ask for. */
  get firstRefused(): number | undefined {
    let first: number | undefined;
    for (const number of this.#refused.keys()) if (first === undefined || number < first) first = number;
    return first;
  }

  wasRefused(number: number): boolean {
    return this.#refused.has(number);
  }

  /** new: to be delivered now · old: a duplicate · gap: something before it is missing. */
  take(number: number): 'new' | 'old' | 'gap' {
    if (number < this.#next) return 'old';
    if (number > this.#next) return 'gap';
    this.#next++;
    this.#gapReported = false;
    return 'new';
  }

  /** True the first time since the last message that was taken: a gap is reported once. */
  reportGap(): boolean {
    if (this.#gapReported) return false;
    this.#gapReported = true;
    return true;
  }

  /** A new connection: what was reported may have been lost. */
  reconnected(): void {
    this.#gapReported = false;
  }
}
