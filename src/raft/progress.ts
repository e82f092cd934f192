// What a leader knows of one follower, and how fast it may send (probe, replicate, snapshot).
import { Deque } from '#base/deque.js';

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

interface Inflight {
  readonly last: number;
  readonly bytes: number;
}

export class Progress {
  match = 0;
  next: number;
  state: ProgressState = 'probe';
  /** A probe is under way: wait for an answer or a heartbeat's. */
  probeSent = false;
  /** Heard from since the last quorum check. */
  recentActive = false;
  /** Its acknowledgements count for commit (not while it recovers from a damaged log). */
  counts = true;
  /** Commit index last told. */
  toldCommit = 0;
  readonly #inflight: Deque<Inflight> = new Deque();
  #inflightBytes = 0;

  constructor(next: number) {
    this.next = next;
  }

  become(state: ProgressState): void {
    this.state = state;
    this.probeSent = false;
    this.#inflight.clear();
    this.#inflightBytes = 0;
    if (state !== 'snapshot') this.next = Math.max(this.match + 1, state === 'replicate' ? this.match + 1 : this.next);
  }

  full(messagesMax: number, bytesMax: number): boolean {
    return this.#inflight.length >= messagesMax || this.#inflightBytes >= bytesMax;
  }

  sent(last: number, bytes: number): void {
    this.#inflight.push({ last, bytes });
    this.#inflightBytes += bytes;
  }

  /** Acknowledged up to `index`. */
  freeTo(index: number): void {
    for (let head = this.#inflight.peek(); head !== undefined && head.last <= index; head = this.#inflight.peek()) {
      this.#inflight.shift();
      this.#inflightBytes -= head.bytes;
    }
  }
}
