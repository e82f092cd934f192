// One shard's log as the node holds it in memory: hard state, base, where its entries are on
// disk, the terms, and the newest entries themselves. No I/O: recovery and the log fill it.
import { assert } from '#base/assert.js';
import { EntryCache } from './entry-cache.js';
import { RecordIndex } from './record-index.js';
import { TermRuns } from './term-runs.js';
export const emptyBase = { index: 0, term: 0, config: new Uint8Array(0), historyId: '', generation: 0 };
export const emptyHardState = { currentTerm: 0, votedFor: '' };
export class ShardLog {
  name;
  /** In records; unique among the shards that exist at a time. */
  number;
  hardState = emptyHardState;
  base = emptyBase;
  lastIndex = 0;
  damage;
  index = new RecordIndex();
  terms = new TermRuns();
  cache = new EntryCache();
  /** Entries up to here are in a file and may leave the cache. */
  writtenIndex = 0;
  durableIndex = 0;
  /** The durable index once the batch that is being synced is durable. */
  syncingIndex = 0;
  dropped = false;
  constructor(name, number) {
    this.name = name;
    this.number = number;
  }
  get lastTerm() {
    return this.lastIndex === this.base.index ? this.base.term : this.terms.last();
  }
  term(index) {
    if (index < this.base.index || index > this.lastIndex) return undefined;
    return index === this.base.index ? this.base.term : this.terms.at(index);
  }
  /** Forgets entries at `from` and later. */
  truncate(from) {
    assert(from > this.base.index, 'wal: truncation at or below the base');
    if (from > this.lastIndex) return;
    this.index.truncate(from);
    this.terms.truncate(from);
    this.cache.truncate(from);
    this.lastIndex = from - 1;
    this.writtenIndex = Math.min(this.writtenIndex, this.lastIndex);
    this.durableIndex = Math.min(this.durableIndex, this.lastIndex);
    this.syncingIndex = Math.min(this.syncingIndex, this.lastIndex);
  }
  /** Moves the base up, inside the log. */
  compact(base) {
    assert(base.index >= this.base.index && base.index <= this.lastIndex, 'wal: compaction outside the log');
    this.base = base;
    if (base.index === this.lastIndex) {
      this.index.clear();
      this.terms.clear();
      this.cache.clear();
      return;
    }
    this.index.dropBelow(base.index + 1);
    this.terms.dropBelow(base.index + 1);
    this.cache.dropThrough(base.index);
  }
  /** An empty log behind `base`. */
  reset(base) {
    this.base = base;
    this.lastIndex = base.index;
    this.index.clear();
    this.terms.clear();
    this.cache.clear();
    this.writtenIndex = base.index;
    // Until the record that says so is durable, nothing of the new log is.
    this.durableIndex = 0;
    this.syncingIndex = 0;
  }
  /** Takes over what the other log has above `base`. */
  adopt(other, base) {
    this.reset(base);
    if (other.lastIndex <= base.index) return;
    other.compact(base);
    this.index = other.index;
    this.terms = other.terms;
    this.lastIndex = other.lastIndex;
    this.writtenIndex = other.writtenIndex;
    for (let i = other.cache.firstIndex ?? other.lastIndex + 1; i <= other.lastIndex; i++) {
      const entry = other.cache.get(i);
      if (entry !== undefined) this.cache.push(entry);
    }
    other.index = new RecordIndex();
    other.terms = new TermRuns();
    other.cache.clear();
  }
  state() {
    const { name, hardState, base, lastIndex, lastTerm, damage } = this;
    return { name, hardState, base, lastIndex, lastTerm, damage };
  }
}
/** The one that must not be forgotten: the later term, and in the same term the one with a vote. */
export function laterHardState(a, b) {
  if (a.currentTerm !== b.currentTerm) return a.currentTerm > b.currentTerm ? a : b;
  return b.votedFor !== '' ? b : a;
}
//# sourceMappingURL=shard-log.js.map
