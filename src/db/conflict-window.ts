// Which keys were written lately, for the leader to tell whether a transaction's reads are still
// true. Bounded: a transaction whose snapshot is older than the window is retried by its caller.
//
// Every write of a leader is noted here, so a note makes no object: the keys lie in two
// generations of plain arrays. When the younger one is full the older one is forgotten.
import { byteString } from '#base/bytes.js';
import { NotedKeys } from './noted-keys.js';
import type { ReadSet } from './proposal-codec.js';
import { keyInRange } from './stored-row.js';

/** A key of a table as one string, for maps. */
export function cellId(tableId: number, key: Uint8Array): string {
  return String.fromCharCode(tableId) + byteString(key);
}

export class ConflictWindow {
  readonly #keysMax: number;
  #young: NotedKeys;
  #old: NotedKeys;
  /** Snapshots below this index cannot be judged. */
  #start: number;
  /** Index of the newest purge: it changes rows that no key here names. */
  #lastPurge = 0;

  /** `keysMax`: at least so many of the last writes are remembered, unless their keys are very long. `seed`: of the hashes. */
  constructor(start: number, keysMax: number, seed: number = 0) {
    this.#start = start;
    this.#keysMax = keysMax;
    this.#young = new NotedKeys(seed);
    this.#old = new NotedKeys(seed);
  }

  /** The key is bytes [from, to). */
  note(index: number, tableId: number, bytes: Uint8Array, from: number = 0, to: number = bytes.length): void {
    if (this.#young.count >= this.#keysMax || this.#young.full(to - from)) this.#turn();
    this.#young.note(index, tableId, bytes, from, to);
  }

  #turn(): void {
    const forgotten = this.#old;
    if (forgotten.lastIndex > this.#start) this.#start = forgotten.lastIndex;
    forgotten.clear();
    this.#old = this.#young;
    this.#young = forgotten;
  }

  notePurge(index: number): void {
    this.#lastPurge = index;
  }

  /** True when nothing that was read has been written after the snapshot. `owned`: tables whose rows vanish in a purge. */
  holds(reads: ReadSet, owned: (tableId: number) => boolean): boolean {
    const since = reads.snapshotIndex;
    if (since < this.#start) return false;
    const purged = this.#lastPurge > since;
    for (const k of reads.keys) {
      if (purged && owned(k.tableId)) return false;
      const last = this.#young.lastWrite(k.tableId, k.key) ?? this.#old.lastWrite(k.tableId, k.key);
      if (last !== undefined && last > since) return false;
    }
    for (const g of reads.ranges) if (purged && owned(g.tableId)) return false;
    return reads.ranges.length === 0 || (this.#rangesHold(this.#young, reads) && this.#rangesHold(this.#old, reads));
  }

  #rangesHold(noted: NotedKeys, reads: ReadSet): boolean {
    for (let i = noted.count - 1; i >= 0; i--) {
      const w = noted.at(i);
      if (w.index <= reads.snapshotIndex) break;
      for (const g of reads.ranges) if (g.tableId === w.tableId && keyInRange(w.key, g.start, g.end)) return false;
    }
    return true;
  }
}
