// What a replica says to the node that feeds it: how much of the stream it has taken, which gives back credit, and
// up to where everything is seen here. Owned by replica.ts.
//
// It is said at the end of the turn when somebody waits for it, or when much of the credit can be given back. What
// nobody waits for is said with the next request for a lease.
import type { Clock } from '#env/clock.js';

export interface ReplicaAcksOptions {
  readonly clock: Clock;
  readonly creditBytes: number;
  /** Nothing can wait: the one above does not say what is waited for, or the replica is not in service yet. */
  readonly atOnce: () => boolean;
  /** Of the copy that the stream feeds: received and not applied yet. */
  readonly queuedBytes: () => number;
  readonly visible: () => number;
  readonly send: (visible: number, bytes: number) => void;
}

/** An acknowledgement that nobody waits for comes when so large a part of the credit is used up. */
const acksPerCredit = 8;

export class ReplicaAcks {
  readonly #o: ReplicaAcksOptions;
  #takenBytes = 0;
  /** Of those, entries that came before the last rows were written. */
  #earlyBytes = 0;
  /** What was told last. */
  #toldVisible = 0;
  #toldBytes = 0;
  /** Somebody waits until everything up to here is seen. */
  #wanted = 0;
  #scheduled = false;
  #closed = false;

  constructor(options: ReplicaAcksOptions) {
    this.#o = options;
  }

  /** A stream begins. */
  opened(): void {
    this.#takenBytes = this.#toldBytes = this.#toldVisible = 0;
  }

  took(bytes: number, early: boolean = false): void {
    this.#takenBytes += bytes;
    if (early) this.#earlyBytes += bytes;
    this.later();
  }

  /** What came early is queued now, or forgotten. */
  noneEarly(): void {
    this.#earlyBytes = 0;
  }

  /** False: it was known. */
  want(index: number): boolean {
    if (index <= this.#wanted) return false;
    this.#wanted = index;
    this.later();
    return true;
  }

  /** Said otherwise. */
  told(visible: number): void {
    this.#toldVisible = visible;
  }

  later(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#o.clock.endOfTurn(() => {
      this.#scheduled = false;
      if (!this.#closed && this.#due()) this.now();
    });
  }

  #due(): boolean {
    if (this.#o.atOnce() || this.#wanted > this.#toldVisible) return true;
    return this.#credit() - this.#toldBytes >= this.#o.creditBytes / acksPerCredit;
  }

  /** Credit is given back by what has been applied: what waits in a queue still counts against it. */
  #credit(): number {
    return Math.max(0, this.#takenBytes - this.#o.queuedBytes() - this.#earlyBytes);
  }

  now(): void {
    this.#toldBytes = this.#credit();
    this.#toldVisible = this.#o.visible();
    this.#o.send(this.#toldVisible, this.#toldBytes);
  }

  close(): void {
    this.#closed = true;
  }
}
