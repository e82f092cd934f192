// The log as the machine sees it: recent entries in memory, durable older ones through the
// LogSource. Knows how far this node's own disk is (`durableIndex`). Called by all other parts.
//
// Invariants: memory holds [#first, lastIndex] without gaps; an entry leaves memory only when it is
// durable; durableIndex falls when entries are overwritten, and never counts overwritten ones.
import { assert, defined } from '#base/assert.js';
import type { Entry, LogSource } from './types.js';

/** Dead slots at the front of the array before it is copied down. */
const slackMax = 1024;

export class RaftLog {
  baseIndex: number;
  baseTerm: number;
  lastIndex: number;
  lastTerm: number;
  durableIndex: number;
  readonly #source: LogSource;
  readonly #memoryBytesMax: number;
  #memory: Entry[] = [];
  #head = 0;
  #first: number;
  #bytes = 0;

  constructor(source: LogSource, base: { index: number; term: number }, last: { index: number; term: number }, memoryBytesMax: number) {
    assert(last.index >= base.index, 'log: last before base');
    this.#source = source;
    this.#memoryBytesMax = memoryBytesMax;
    this.baseIndex = base.index;
    this.baseTerm = base.term;
    this.lastIndex = last.index;
    this.lastTerm = last.term;
    this.durableIndex = last.index;
    this.#first = last.index + 1;
  }

  /** Data bytes held in memory. */
  get memoryBytes(): number {
    return this.#bytes;
  }

  /** Undefined below the base and above the last index. */
  term(index: number): number | undefined {
    if (index === this.lastIndex) return this.lastTerm;
    if (index === this.baseIndex) return this.baseTerm;
    if (index < this.baseIndex || index > this.lastIndex) return undefined;
    if (index >= this.#first) return this.#at(index).term;
    return this.#source.term(index);
  }

  #at(index: number): Entry {
    return this.#memory[this.#head + index - this.#first] as Entry;
  }

  /** Entries [from, to), at least one, at most `maxCount` and `maxBytes` of data. Undefined when not all there. */
  entries(from: number, to: number, maxBytes: number, maxCount: number): readonly Entry[] | undefined {
    const end = Math.min(to, this.lastIndex + 1);
    if (from <= this.baseIndex || from >= end) return undefined;
    if (from < this.#first) {
      const found = this.#source.entries(from, Math.min(end, this.#first, from + maxCount), maxBytes);
      return found === undefined || found.length === 0 ? undefined : found;
    }
    let bytes = 0;
    let count = 0;
    const most = Math.min(end - from, maxCount);
    while (count < most) {
      bytes += this.#at(from + count).data.length;
      if (count > 0 && bytes > maxBytes) break;
      count++;
    }
    const start = this.#head + from - this.#first;
    return this.#memory.slice(start, start + count);
  }

  /** From memory; they were appended in this step, so they are there. */
  fresh(from: number): readonly Entry[] {
    assert(from >= this.#first, 'log: a new entry has left memory');
    return this.#memory.slice(this.#head + from - this.#first);
  }

  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      assert(entry.index === this.lastIndex + 1, 'log: append leaves a gap');
      assert(entry.term >= this.lastTerm, 'log: terms must not fall');
      this.#memory.push(entry);
      this.#bytes += entry.data.length;
      this.lastIndex = entry.index;
      this.lastTerm = entry.term;
    }
  }

  /** Forgets `from` and everything above. */
  truncate(from: number): void {
    assert(from > this.baseIndex, 'log: truncation below the base');
    if (from > this.lastIndex) return;
    const term = defined(this.term(from - 1), 'log: term before the truncation is unknown');
    while (this.lastIndex >= from && this.lastIndex >= this.#first) {
      this.#bytes -= this.#at(this.lastIndex).data.length;
      this.#memory.pop();
      this.lastIndex--;
    }
    this.lastIndex = from - 1;
    this.lastTerm = term;
    if (this.#first > from) this.#first = from;
    if (this.durableIndex >= from) this.durableIndex = from - 1;
  }

  /** Everything up to `index` is on disk. The caller has made sure that it means these very entries. */
  durableTo(index: number): void {
    assert(index <= this.lastIndex, 'log: durable beyond the end');
    if (index <= this.durableIndex) return;
    this.durableIndex = index;
    this.#evict();
  }

  #evict(): void {
    while (this.#bytes > this.#memoryBytesMax && this.#first <= this.durableIndex) this.#dropFirst();
    this.#tidy();
  }

  #dropFirst(): void {
    this.#bytes -= (this.#memory[this.#head] as Entry).data.length;
    this.#head++;
    this.#first++;
  }

  #tidy(): void {
    if (this.#head < slackMax || this.#head * 2 < this.#memory.length) return;
    this.#memory = this.#memory.slice(this.#head);
    this.#head = 0;
  }

  /** The log begins after `index` from now on. */
  compact(index: number): void {
    if (index <= this.baseIndex) return;
    assert(index <= this.durableIndex, 'log: compaction beyond what is durable');
    this.baseTerm = defined(this.term(index), 'log: term at the new base is unknown');
    this.baseIndex = index;
    while (this.#first <= index && this.#head < this.#memory.length) this.#dropFirst();
    if (this.#first <= index) this.#first = index + 1;
    this.#tidy();
  }

  /** Replaced by what a snapshot brought. */
  reset(base: { index: number; term: number }, last: { index: number; term: number }): void {
    assert(last.index >= base.index, 'log: last before base');
    this.baseIndex = base.index;
    this.baseTerm = base.term;
    this.lastIndex = last.index;
    this.lastTerm = last.term;
    this.durableIndex = last.index;
    this.#memory = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#first = last.index + 1;
  }

  /** Whether a log that ends with (index, term) is at least as complete as this one (paper 5.4.1). */
  isUpToDate(index: number, term: number): boolean {
    return term > this.lastTerm || (term === this.lastTerm && index >= this.lastIndex);
  }

  /** The largest index up to `index` whose term is at most `term`, not below the base. Terms never fall, so a binary search finds it. */
  lastIndexWithin(index: number, term: number): number {
    let low = this.baseIndex;
    let high = Math.min(index, this.lastIndex);
    if (high <= low) return low;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const at = this.term(middle);
      if (at !== undefined && at > term) high = middle - 1;
      else low = middle;
    }
    return low;
  }
}
