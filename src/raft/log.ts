// The machine's view of its log: what it has produced and not yet seen on disk, above the durable
// source. Nothing here writes; `persist` effects do.
import { assert } from '#base/assert.js';
import type { Entry, LogSource } from './types.js';

export class RaftLog {
  readonly source: LogSource;
  /** Entries from `#offset` on; those in the source below it are valid, those at or above it are overruled. */
  #unstable: Entry[] = [];
  #offset: number;
  /** On this node's disk up to here. */
  persistedIndex: number;

  constructor(source: LogSource) {
    this.source = source;
    this.#offset = source.lastIndex + 1;
    this.persistedIndex = source.lastIndex;
  }

  get firstIndex(): number {
    return this.source.firstIndex;
  }

  get lastIndex(): number {
    return this.#offset + this.#unstable.length - 1;
  }

  get lastTerm(): number {
    return this.term(this.lastIndex) ?? 0;
  }

  term(index: number): number | undefined {
    if (index >= this.#offset) return this.#unstable[index - this.#offset]?.term;
    return index === 0 && this.source.firstIndex === 1 ? 0 : this.source.term(index);
  }

  /** [from, to), at least one, then what fits in `maxBytes`. */
  entries(from: number, to: number, maxBytes: number): readonly Entry[] {
    assert(from >= this.firstIndex && from < to && to <= this.lastIndex + 1, 'entries: out of range');
    if (from < this.#offset) return this.source.entries(from, Math.min(to, this.#offset), maxBytes);
    const out: Entry[] = [];
    let bytes = 0;
    for (let i = from; i < to; i++) {
      const e = this.#unstable[i - this.#offset] as Entry;
      bytes += e.data.length + 16;
      if (out.length > 0 && bytes > maxBytes) break;
      out.push(e);
    }
    return out;
  }

  /** Replaces everything from `entries[0].index` on. Returns the first index that was overruled, if any. */
  append(entries: readonly Entry[]): number | undefined {
    const first = (entries[0] as Entry).index;
    assert(first <= this.lastIndex + 1 && first >= this.firstIndex, 'append: contiguous and above the base');
    const truncated = first <= this.lastIndex ? first : undefined;
    if (first < this.#offset) {
      this.#unstable = [];
      this.#offset = first;
    } else this.#unstable.length = first - this.#offset;
    for (const e of entries) this.#unstable.push(e);
    if (truncated !== undefined && this.persistedIndex >= first) this.persistedIndex = first - 1;
    return truncated;
  }

  /** On disk up to `index`, whose entry had `term`. Ignored when that entry has been overruled since. */
  persisted(index: number, term: number): void {
    if (this.term(index) !== term || index < this.#offset) return;
    this.#unstable.splice(0, index - this.#offset + 1);
    this.#offset = index + 1;
    if (index > this.persistedIndex) this.persistedIndex = index;
  }

  /** The source was replaced by one that begins at `index`. */
  restore(index: number): void {
    assert(this.source.firstIndex === index + 1, 'restore: the source has its new base');
    this.#unstable = [];
    this.#offset = this.source.lastIndex + 1;
    this.persistedIndex = this.source.lastIndex;
  }

  /** Is a log that ends with (index, term) at least as up-to-date as this one? (Raft 5.4.1) */
  isUpToDate(index: number, term: number): boolean {
    const lastTerm = this.lastTerm;
    return term > lastTerm || (term === lastTerm && index >= this.lastIndex);
  }

  /** Largest index ≤ `index` whose term is ≤ `term`: where two logs may agree. */
  findConflictByTerm(index: number, term: number): number {
    let i = Math.min(index, this.lastIndex);
    while (i >= this.firstIndex && (this.term(i) ?? 0) > term) i--;
    return i;
  }
}
