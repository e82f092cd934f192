// What a leader knows about one other member, and how it paces what it sends to it.
//
// probe: one AppendEntries at a time, until one is accepted · replicate: pipelined, up to the
// inflight window · snapshot: nothing, until the copy of the tables has arrived.
import { Deque } from '#base/deque.js';

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

interface Inflight {
  readonly lastIndex: number;
  readonly bytes: number;
}

export class Progress {
  state: ProgressState = 'probe';
  matchIndex = 0;
  nextIndex: number;
  /** Counts the times that this leader started over with this member. */
  stream = 1;
  /** Probe only: a message is on its way; wait for its answer or the next heartbeat's. */
  paused = false;
  lastHeardAt: number;
  /** Highest commit index that was sent in a form the follower can use. */
  commitSent = 0;
  /** Highest heartbeat round that it answered. */
  round = 0;
  /** matchIndex at its last heartbeat response: standing still with messages in flight means that one was lost. */
  matchAtHeartbeat = -1;
  offeredSnapshotAt: number = Number.NEGATIVE_INFINITY;
  /** Not 0: its log was damaged, and it does not count (recovery.ts). */
  recovery = 0;
  /** The entry that a recovering member must hold, committed without it, to count again. 0: not chosen yet. */
  recoverAt = 0;
  /** Heartbeat round when `recovery` was noted. */
  markedRound = 0;
  /** The last mark that was lifted: it may come again in a late message. */
  releasedRecovery = 0;
  inflightBytes = 0;
  readonly #inflight: Deque<Inflight> = new Deque();

  constructor(nextIndex: number, now: number) {
    this.nextIndex = nextIndex;
    this.lastHeardAt = now;
  }

  get inflightMessages(): number {
    return this.#inflight.length;
  }

  /** Whether its acknowledgements and answers may be counted. */
  get counts(): boolean {
    return this.recovery === 0;
  }

  becomeProbe(nextIndex: number): void {
    this.state = 'probe';
    this.stream++;
    this.paused = false;
    this.nextIndex = Math.max(nextIndex, this.matchIndex + 1);
    this.#clearInflight();
  }

  becomeReplicate(): void {
    this.state = 'replicate';
    this.paused = false;
    this.nextIndex = this.matchIndex + 1;
    this.matchAtHeartbeat = -1;
    this.#clearInflight();
  }

  becomeSnapshot(): void {
    this.state = 'snapshot';
    this.#clearInflight();
  }

  #clearInflight(): void {
    this.#inflight.clear();
    this.inflightBytes = 0;
  }

  /** An AppendEntries with entries up to `lastIndex` went out in state replicate. */
  sent(lastIndex: number, bytes: number): void {
    this.#inflight.push({ lastIndex, bytes });
    this.inflightBytes += bytes;
    this.nextIndex = lastIndex + 1;
  }

  /** The follower has everything up to `index`. True when that is news. */
  acknowledged(index: number): boolean {
    for (let first = this.#inflight.peek(); first !== undefined && first.lastIndex <= index; first = this.#inflight.peek()) {
      this.#inflight.shift();
      this.inflightBytes -= first.bytes;
    }
    if (this.nextIndex <= index) this.nextIndex = index + 1;
    if (index <= this.matchIndex) return false;
    this.matchIndex = index;
    return true;
  }

  full(messagesMax: number, bytesMax: number): boolean {
    return this.#inflight.length >= messagesMax || this.inflightBytes >= bytesMax;
  }
}
