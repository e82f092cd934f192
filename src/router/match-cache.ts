// Bounded cache topicName → result of a match, kept right by the change feed. A hit costs one Map
// lookup and three array reads, and allocates nothing.
//
// A change of a filter invalidates by its leading literal levels: two literal levels bump one of
// `buckets` counters, one level one of another row of counters, none a global one. An entry is good
// while the three counters of its topic name are what they were when it was made. So a fleet whose
// filters begin with the device's own name does not flush the others' entries. Memory: two
// generations of `entriesMax / 2` entries; what was not asked for during a whole generation goes.

interface Entry<T> {
  readonly value: T;
  readonly stamp: number;
  readonly first: number;
  readonly second: number;
}

const buckets = 4096;
/** Longer names are not cached, so that the cache's memory is bounded. */
const cachedNameLengthMax = 1024;

const slash = 0x2f;
const plus = 0x2b;
const hash = 0x23;

export class MatchCache<T> {
  readonly #generationMax: number;
  #young: Map<string, Entry<T>> = new Map();
  #old: Map<string, Entry<T>> = new Map();
  /** Publishers send bursts on one topic: what was found last, current or not. */
  #lastName: string | undefined = undefined;
  #last: Entry<T> | undefined = undefined;
  #global = 0;
  #changes = 0;
  readonly #byFirst: Float64Array = new Float64Array(buckets);
  readonly #bySecond: Float64Array = new Float64Array(buckets);

  constructor(entriesMax: number = 16_384) {
    this.#generationMax = Math.max(1, entriesMax >> 1);
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(topicName: string): T | undefined {
    const entry = topicName === this.#lastName ? this.#last : this.#find(topicName);
    return entry !== undefined && this.#stamp(entry.first, entry.second) === entry.stamp ? entry.value : undefined;
  }

  #find(topicName: string): Entry<T> | undefined {
    let entry = this.#young.get(topicName);
    if (entry === undefined) {
      entry = this.#old.get(topicName);
      if (entry === undefined) return undefined;
      if (this.#stamp(entry.first, entry.second) === entry.stamp) this.#insert(topicName, entry);
    }
    this.#lastName = topicName;
    this.#last = entry;
    return entry;
  }

  /** `value` must be the result for the state that the feed has reported so far. */
  set(topicName: string, value: T): void {
    if (topicName.length > cachedNameLengthMax) return;
    const first = firstBucket(topicName);
    const second = secondBucket(topicName);
    this.#insert(topicName, { value, stamp: this.#stamp(first, second), first, second });
  }

  /** Grows with each change: while it stays, every result that was given out is good. */
  get changes(): number {
    return this.#changes;
  }

  /** A row of this filter came or went. */
  changed(topicFilter: string): void {
    this.#changes++;
    const literal = literalLevels(topicFilter);
    if (literal === 0) this.#global++;
    else if (literal === 1) (this.#byFirst[firstBucket(topicFilter)] as number)++;
    else (this.#bySecond[secondBucket(topicFilter)] as number)++;
  }

  clear(): void {
    this.#changes++;
    this.#global++;
    this.#young = new Map();
    this.#old = new Map();
    this.#lastName = undefined;
    this.#last = undefined;
  }

  // Counters only grow, so that equal sums mean equal counters.
  #stamp(first: number, second: number): number {
    return this.#global + (this.#byFirst[first] as number) + (this.#bySecond[second] as number);
  }

  #insert(topicName: string, entry: Entry<T>): void {
    if (this.#young.size >= this.#generationMax && !this.#young.has(topicName)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(topicName, entry);
    this.#lastName = topicName;
    this.#last = entry;
  }
}

/** 0: begins with a wildcard · 1: one level that a matching name shares · 2: its first two levels (or its only one). */
function literalLevels(topicFilter: string): 0 | 1 | 2 {
  const first = topicFilter.charCodeAt(0);
  if (first === plus || first === hash) return 0;
  const at = topicFilter.indexOf('/');
  if (at < 0) return 2;
  const second = topicFilter.charCodeAt(at + 1);
  return second === plus || second === hash ? 1 : 2;
}

function firstBucket(name: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (c === slash) break;
    h = Math.imul(h ^ c, 0x01000193);
  }
  return (h ^ (h >>> 15)) & (buckets - 1);
}

function secondBucket(name: string): number {
  let h = 0x811c9dc5;
  let slashes = 0;
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (c === slash && ++slashes === 2) break;
    h = Math.imul(h ^ c, 0x01000193);
  }
  return (h ^ (h >>> 15)) & (buckets - 1);
}
