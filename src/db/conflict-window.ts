// Which keys were written lately, for the leader to tell whether a transaction's reads are still
// true. Bounded: a transaction whose snapshot is older than the window is retried by its caller.
import { byteString } from '#base/bytes.js';
import { Deque } from '#base/deque.js';
import type { ReadSet } from './proposal-codec.js';
import { keyInRange } from './stored-row.js';

interface Written {
  readonly index: number;
  readonly id: string;
  readonly tableId: number;
  readonly key: Uint8Array;
}

/** A key of a table as one string, for maps. */
export function cellId(tableId: number, key: Uint8Array): string {
  return String.fromCharCode(tableId) + byteString(key);
}

export class ConflictWindow {
  readonly #written: Deque<Written> = new Deque();
  readonly #lastWrite: Map<string, number> = new Map();
  readonly #keysMax: number;
  /** Snapshots below this index cannot be judged. */
  #start: number;
  /** Index of the newest purge: it changes rows that no key here names. */
  #lastPurge = 0;

  constructor(start: number, keysMax: number) {
    this.#start = start;
    this.#keysMax = keysMax;
  }

  note(index: number, id: string, tableId: number, key: Uint8Array): void {
    this.#written.push({ index, id, tableId, key });
    this.#lastWrite.set(id, index);
    while (this.#written.length > this.#keysMax) {
      const oldest = this.#written.shift() as Written;
      if (this.#lastWrite.get(oldest.id) === oldest.index) this.#lastWrite.delete(oldest.id);
      if (oldest.index > this.#start) this.#start = oldest.index;
    }
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
      const last = this.#lastWrite.get(cellId(k.tableId, k.key));
      if (last !== undefined && last > since) return false;
    }
    for (const g of reads.ranges) if (purged && owned(g.tableId)) return false;
    if (reads.ranges.length === 0) return true;
    for (let i = this.#written.length - 1; i >= 0; i--) {
      const w = this.#written.at(i) as Written;
      if (w.index <= since) break;
      for (const g of reads.ranges) if (g.tableId === w.tableId && keyInRange(w.key, g.start, g.end)) return false;
    }
    return true;
  }
}
