// Which routes this node wants, what is known to be stored, and what must be written next: the pure
// half of the broker's route-sync.ts, which performs the writes and reports how they ended.
//
// Invariants:
//  - at most one change per filter is in flight, so that a late delete never overtakes a new put;
//  - a filter whose route is effective costs one map entry pointing to a shared object;
//  - every waiter is answered exactly once, at its deadline at the latest;
//  - after quiet, stored = wanted: whatever failed is tried again until it succeeds or is refused.
import { Deque } from '#base/deque.js';

export type RouteOutcome = 'effective' | 'committed' | 'failed';

/** How a batch ended. `retry`: it may or may not have happened. `refused`: it did not, and would not again. */
export type BatchResult = 'effective' | 'committed' | 'retry' | 'refused';

export interface RouteBatch {
  readonly puts: readonly string[];
  readonly deletes: readonly string[];
  /** A put is of a row that not everybody is known to have. */
  readonly fresh: boolean;
}

export interface RouteSyncOptions {
  /** Changes in one write. */
  readonly batchMax: number;
  /** Batches in flight. */
  readonly flyingMax: number;
  /** A waiter is answered `failed` this long after it came. */
  readonly waitMs: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** With 'committed', nobody waits for more: `mqtt.suback`. */
  readonly until: 'effective' | 'committed';
}

export const routeSyncDefaults: RouteSyncOptions = {
  batchMax: 1000,
  flyingMax: 8,
  waitMs: 6000,
  retryMinMs: 50,
  retryMaxMs: 2000,
  until: 'effective',
};

interface Waiter {
  done: ((outcome: RouteOutcome) => void) | undefined;
  readonly deadline: number;
  readonly entry: Entry;
}

interface Entry {
  wanted: boolean;
  stored: 'absent' | 'present' | 'unknown';
  flying: 'put' | 'delete' | undefined;
  /** What is in flight was overtaken by a new incarnation or a loss: its success proves nothing. */
  again: boolean;
  /** What the row says changed while it was in flight: it is written once more. */
  stale: boolean;
  /** The row is there for everybody, whatever it says: later subscribers need not wait for what is in flight. */
  seen: boolean;
  waiters: Waiter[] | undefined;
}

/** A stored route that nothing happens with. Compared by identity; a new incarnation makes new ones. */
type Settled = Readonly<Pick<Entry, 'wanted' | 'stored'>> & { readonly settled: true };

export class RouteSyncState {
  readonly #options: RouteSyncOptions;
  readonly #entries: Map<string, Entry | Settled> = new Map();
  #effective: Settled = settled();
  #committed: Settled = settled();
  readonly #urgent: Deque<string> = new Deque();
  readonly #later: Deque<string> = new Deque();
  /** Filters of a refused batch, tried again one by one to find the culprit. */
  readonly #solo: Deque<string> = new Deque();
  /** Filters still to be asserted under a new incarnation. */
  #reassert: Iterator<string> | undefined;
  readonly #deadlines: Deque<Waiter> = new Deque();
  #sweep: Iterator<string> | undefined;
  #flying = 0;
  #failures = 0;
  #notBefore = Number.NEGATIVE_INFINITY;

  constructor(options: Partial<RouteSyncOptions> = {}) {
    this.#options = { ...routeSyncDefaults, ...options };
  }

  /** Filters that are wanted or not yet known to be gone. */
  get size(): number {
    return this.#entries.size;
  }

  get waiting(): boolean {
    return this.#deadlines.length > 0;
  }

  /** True when every wanted filter is stored and nothing is in flight: for tests and status. */
  get quiet(): boolean {
    if (this.#flying > 0 || this.#reassert !== undefined) return false;
    for (const e of this.#entries.values()) if (e !== this.#effective && e !== this.#committed) return false;
    return true;
  }

  wants(topicFilter: string): boolean {
    return this.#entries.get(topicFilter)?.wanted === true;
  }

  /** True when a change of the filter is queued or in flight. */
  busy(topicFilter: string): boolean {
    const e = this.#entries.get(topicFilter);
    return e !== undefined && !isSettled(e);
  }

  /** True when the route is effective already; otherwise `done` will be called. */
  add(topicFilter: string, done: (outcome: RouteOutcome) => void, now: number): boolean {
    const known = this.#entries.get(topicFilter);
    if (known !== undefined && (known === this.#effective || (!isSettled(known) && known.seen && known.wanted))) return true;
    const entry = this.#activate(topicFilter, known, 'absent');
    entry.wanted = true;
    const waiter: Waiter = { done, deadline: now + this.#options.waitMs, entry };
    if (entry.waiters === undefined) entry.waiters = [waiter];
    else entry.waiters.push(waiter);
    this.#deadlines.push(waiter);
    if (entry.flying === undefined) this.#urgent.push(topicFilter);
    return false;
  }

  remove(topicFilter: string): void {
    const known = this.#entries.get(topicFilter);
    if (known === undefined || !known.wanted) return;
    const entry = this.#activate(topicFilter, known, 'present');
    entry.wanted = false;
    entry.seen = false;
    answer(entry, 'failed');
    if (entry.flying !== undefined) return;
    if (entry.stored === 'absent') this.#entries.delete(topicFilter);
    else this.#later.push(topicFilter);
  }

  /** What the row of a wanted filter says has changed: it is written again. Nobody waits. */
  touch(topicFilter: string): void {
    const known = this.#entries.get(topicFilter);
    if (known === undefined || !known.wanted) return;
    if (!isSettled(known)) {
      if (known.flying !== undefined) known.stale = true;
      return;
    }
    this.#activate(topicFilter, known, 'present').seen = known === this.#effective;
    this.#later.push(topicFilter);
  }

  /** This node's row is not in the table as it should be (a wanted one absent, an unwanted one present): write again. */
  mend(topicFilter: string): void {
    const known = this.#entries.get(topicFilter);
    if (known !== undefined && !isSettled(known)) return;
    const entry = this.#activate(topicFilter, known, 'unknown');
    entry.stored = 'unknown';
    this.#later.push(topicFilter);
  }

  /** A new incarnation: everything stored before is purged, all that is wanted is written again, urgent changes first. */
  renew(): void {
    this.#effective = settled();
    this.#committed = settled();
    for (const e of this.#entries.values()) {
      if (isSettled(e)) continue;
      if (e.flying !== undefined) e.again = true;
      e.stored = 'unknown';
      e.seen = false;
    }
    this.#reassert = this.#entries.keys();
    this.#notBefore = Number.NEGATIVE_INFINITY;
  }

  /** The next write, or undefined when there is none or it must wait until {@link retryAt}. */
  take(now: number): RouteBatch | undefined {
    if (this.#flying >= this.#options.flyingMax || now < this.#notBefore) return undefined;
    const puts: string[] = [];
    const deletes: string[] = [];
    while (this.#solo.length > 0 && puts.length + deletes.length === 0) this.#takeOne(this.#solo.shift(), puts, deletes);
    if (puts.length + deletes.length === 0) {
      for (const queue of [this.#urgent, this.#later]) {
        while (queue.length > 0 && puts.length + deletes.length < this.#options.batchMax) this.#takeOne(queue.shift(), puts, deletes);
      }
      this.#takeReasserted(puts, deletes);
    }
    if (puts.length + deletes.length === 0) return undefined;
    this.#flying++;
    return { puts, deletes, fresh: puts.some((f) => !this.#isSeen(f)) };
  }

  /** When `take` may be asked again after a failure; undefined when it need not wait. */
  retryAt(now: number): number | undefined {
    return now < this.#notBefore ? this.#notBefore : undefined;
  }

  finished(batch: RouteBatch, result: BatchResult, now: number): void {
    this.#flying--;
    if (result === 'retry') {
      const { retryMinMs, retryMaxMs } = this.#options;
      this.#notBefore = now + Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(this.#failures++, 20));
    } else this.#failures = 0;
    const alone = batch.puts.length + batch.deletes.length === 1;
    for (const f of batch.puts) this.#putFinished(f, result, alone);
    for (const f of batch.deletes) this.#deleteFinished(f, result, alone);
  }

  /** Answers the waiters whose time is up. The filter stays wanted until `remove`. */
  expire(now: number): void {
    for (let w = this.#deadlines.peek(); w !== undefined; w = this.#deadlines.peek()) {
      if (w.done !== undefined && w.deadline > now) return;
      this.#deadlines.shift();
      const done = w.done;
      if (done === undefined) continue;
      w.done = undefined;
      // Waiters of one filter come in the order of their deadlines, so that this one stands in front.
      const waiters = w.entry.waiters;
      if (waiters?.[0] === w) waiters.shift();
      if (waiters?.length === 0) w.entry.waiters = undefined;
      done('failed');
    }
  }

  /** Up to `n` filters believed stored, going round and round: the caller compares them with the table. */
  sweep(n: number, check: (topicFilter: string) => void): void {
    this.#sweep ??= this.#entries.keys();
    for (let i = 0; i < n; i++) {
      const next = this.#sweep.next();
      if (next.done === true) {
        this.#sweep = undefined;
        return;
      }
      const e = this.#entries.get(next.value);
      if (e === this.#effective || e === this.#committed) check(next.value);
    }
  }

  #isSeen(topicFilter: string): boolean {
    const e = this.#entries.get(topicFilter);
    return e !== undefined && !isSettled(e) && e.seen;
  }

  #activate(topicFilter: string, known: Entry | Settled | undefined, storedOtherwise: Entry['stored']): Entry {
    if (known !== undefined && !isSettled(known)) return known;
    let stored = storedOtherwise;
    if (known !== undefined) stored = known === this.#effective || known === this.#committed ? 'present' : 'unknown';
    const entry: Entry = { wanted: known?.wanted ?? false, stored, flying: undefined, again: false, stale: false, seen: false, waiters: undefined };
    this.#entries.set(topicFilter, entry);
    return entry;
  }

  #takeReasserted(puts: string[], deletes: string[]): void {
    while (this.#reassert !== undefined && puts.length + deletes.length < this.#options.batchMax) {
      const next = this.#reassert.next();
      if (next.done === true) {
        this.#reassert = undefined;
        return;
      }
      const e = this.#entries.get(next.value);
      if (e === undefined || e === this.#effective || e === this.#committed) continue;
      if (isSettled(e)) this.#activate(next.value, e, 'unknown');
      this.#takeOne(next.value, puts, deletes);
    }
  }

  // A filter may stand in the queues more than once; what its entry says decides.
  #takeOne(topicFilter: string | undefined, puts: string[], deletes: string[]): void {
    if (topicFilter === undefined) return;
    const e = this.#entries.get(topicFilter);
    if (e === undefined || isSettled(e) || e.flying !== undefined) return;
    if (e.wanted) {
      e.flying = 'put';
      e.stale = false;
      puts.push(topicFilter);
    } else if (e.stored === 'absent') {
      this.#entries.delete(topicFilter);
    } else {
      e.flying = 'delete';
      deletes.push(topicFilter);
    }
  }

  #putFinished(topicFilter: string, result: BatchResult, alone: boolean): void {
    const e = this.#landed(topicFilter);
    if (e === undefined) return;
    if (result === 'refused') {
      if (!alone) {
        this.#solo.push(topicFilter);
        return;
      }
      this.#entries.delete(topicFilter);
      answer(e, 'failed');
      return;
    }
    const sure = result !== 'retry' && !e.again;
    e.again = false;
    e.stored = sure ? 'present' : 'unknown';
    if (!sure || !e.wanted) {
      this.#requeue(topicFilter, e);
      return;
    }
    const effective = e.seen || result === 'effective' || this.#options.until === 'committed';
    const outcome = result === 'committed' && !e.seen ? 'committed' : 'effective';
    if (e.stale) {
      e.seen = effective;
      this.#later.push(topicFilter);
    } else this.#entries.set(topicFilter, effective ? this.#effective : this.#committed);
    answer(e, outcome);
  }

  #deleteFinished(topicFilter: string, result: BatchResult, alone: boolean): void {
    const e = this.#landed(topicFilter);
    if (e === undefined) return;
    if (result === 'refused' && !alone) {
      this.#solo.push(topicFilter);
      return;
    }
    // A delete that is refused for good: nothing of that name can be stored.
    e.stored = result === 'retry' ? 'unknown' : 'absent';
    e.again = false;
    if (!e.wanted && e.stored === 'absent') this.#entries.delete(topicFilter);
    else this.#requeue(topicFilter, e);
  }

  #landed(topicFilter: string): Entry | undefined {
    const e = this.#entries.get(topicFilter);
    if (e === undefined || isSettled(e)) return undefined;
    e.flying = undefined;
    return e;
  }

  #requeue(topicFilter: string, e: Entry): void {
    (e.waiters === undefined ? this.#later : this.#urgent).push(topicFilter);
  }
}

function settled(): Settled {
  return { settled: true, wanted: true, stored: 'present' };
}

function isSettled(e: Entry | Settled): e is Settled {
  return 'settled' in e;
}

function answer(entry: Entry, outcome: RouteOutcome): void {
  const waiters = entry.waiters;
  if (waiters === undefined) return;
  entry.waiters = undefined;
  for (const w of waiters) {
    const done = w.done;
    w.done = undefined;
    done?.(outcome);
  }
}
