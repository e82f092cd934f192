// What happens in a run, in time: one heap of events ordered by (time, sequence). Used by world.ts and
// by what it is made of.
import { Heap } from '#base/heap.js';
import type { RaftMessage } from '#raft/types.js';

export const kinds = {
  deliver: 1,
  tick: 2,
  sync: 3,
  snapshot: 4,
  fault: 5,
  propose: 6,
  restart: 7,
  hint: 8,
  heal: 9,
  resume: 10,
  kill: 11,
  read: 12,
  comeback: 13,
  campaign: 14,
} as const;

export interface Event {
  readonly at: number;
  readonly seq: number;
  readonly kind: number;
  readonly node: number;
  readonly life: number;
  readonly from: number;
  readonly message: RaftMessage | undefined;
  /** tick: the time asked for · hint: what (see #hint) · snapshot: the index wanted. */
  readonly value: number;
}

/** Kinds of hints about a peer, by their number in an event. */
export const hints: readonly ['peerLost', 'peerUnreachable', 'peerReachable'] = ['peerLost', 'peerUnreachable', 'peerReachable'];

export class Timeline {
  now = 0;
  readonly #heap: Heap<Event> = new Heap((a, b) => a.at < b.at || (a.at === b.at && a.seq < b.seq));
  #seq = 0;

  push(at: number, kind: number, node: number, life = 0, from = 0, message?: RaftMessage, value = 0): void {
    this.#heap.push({ at, seq: this.#seq++, kind, node, life, from, message, value });
  }

  /** The next event up to `end`, and it is its time; without one it is `end`. */
  next(end: number): Event | undefined {
    const event = this.#heap.peek();
    if (event === undefined || event.at > end) {
      this.now = end;
      return undefined;
    }
    this.#heap.pop();
    this.now = Math.max(this.now, event.at);
    return event;
  }
}
