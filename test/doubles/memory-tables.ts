// One copy of a shard's rows in memory: sorted keys, live incarnations, and the log entries that change it.
import { byteString, compareBytes, copyBytes } from '#base/bytes.js';
import type { Reader, Row, Table } from '#db/api.js';

export type MemoryOp =
  | { readonly kind: 'put'; readonly table: Table; readonly key: Uint8Array; readonly value: Uint8Array; readonly owner: number }
  | { readonly kind: 'delete'; readonly table: Table; readonly key: Uint8Array }
  | { readonly kind: 'admit' | 'purge'; readonly nodeId: string; readonly incarnation: number };

export interface MemoryEntry {
  readonly index: number;
  readonly ops: readonly MemoryOp[];
}

interface Stored {
  readonly key: Uint8Array;
  readonly row: Row;
}

class SortedRows {
  readonly byKey: Map<string, Stored> = new Map();
  #sorted: Stored[] | undefined;

  put(key: Uint8Array, row: Row): void {
    const name = byteString(key);
    if (this.#sorted !== undefined && this.byKey.has(name)) this.#sorted = undefined;
    const stored = { key, row };
    this.byKey.set(name, stored);
    this.#sorted?.splice(this.from(key), 0, stored);
  }

  delete(key: Uint8Array): void {
    if (!this.byKey.delete(byteString(key))) return;
    this.#sorted?.splice(this.from(key), 1);
  }

  get sorted(): readonly Stored[] {
    this.#sorted ??= [...this.byKey.values()].sort((a, b) => compareBytes(a.key, b.key));
    return this.#sorted;
  }

  /** Position of the first key at or after `key`. */
  from(key: Uint8Array): number {
    const sorted = this.sorted;
    let lo = 0;
    let hi = sorted.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (compareBytes((sorted[mid] as Stored).key, key) < 0) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }
}

export class MemoryTables implements Reader {
  appliedIndex = 0;
  /** Live incarnation per node. */
  readonly live: Map<string, number> = new Map();
  readonly #liveSet: Set<number> = new Set();
  readonly #highest: Map<string, number> = new Map();
  readonly #tables: Map<number, SortedRows> = new Map();

  isLive(incarnation: number): boolean {
    return this.#liveSet.has(incarnation);
  }

  isGone(nodeId: string, incarnation: number): boolean {
    return (this.#highest.get(nodeId) ?? 0) >= incarnation && this.live.get(nodeId) !== incarnation;
  }

  apply(entry: MemoryEntry): void {
    this.appliedIndex = entry.index;
    for (const op of entry.ops) this.applyOp(op);
  }

  applyOp(op: MemoryOp): void {
    switch (op.kind) {
      case 'put':
        this.#rows(op.table).put(copyBytes(op.key), { value: copyBytes(op.value), owner: op.owner });
        return;
      case 'delete':
        this.#rows(op.table).delete(op.key);
        return;
      case 'admit': {
        if (op.incarnation <= (this.#highest.get(op.nodeId) ?? 0)) return;
        const before = this.live.get(op.nodeId);
        if (before !== undefined) this.#liveSet.delete(before);
        this.#highest.set(op.nodeId, op.incarnation);
        this.live.set(op.nodeId, op.incarnation);
        this.#liveSet.add(op.incarnation);
        return;
      }
      case 'purge':
        if (this.live.get(op.nodeId) !== op.incarnation) return;
        this.live.delete(op.nodeId);
        this.#liveSet.delete(op.incarnation);
        return;
    }
  }

  get(table: Table, key: Uint8Array): Row | undefined {
    const row = this.#rows(table).byKey.get(byteString(key))?.row;
    return row !== undefined && this.#visible(row) ? row : undefined;
  }

  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void {
    const rows = this.#rows(table);
    for (let i = rows.from(start); i < rows.sorted.length; i++) {
      const { key, row } = rows.sorted[i] as Stored;
      if (end !== undefined && compareBytes(key, end) >= 0) return;
      if (this.#visible(row) && !visit(key, row)) return;
    }
  }

  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
    let found: { key: Uint8Array; row: Row } | undefined;
    this.range(table, key, undefined, (k, row) => {
      found = { key: k, row };
      return false;
    });
    return found;
  }

  #visible(row: Row): boolean {
    return row.owner === 0 || this.#liveSet.has(row.owner);
  }

  #rows(table: Table): SortedRows {
    let rows = this.#tables.get(table.id);
    if (rows === undefined) {
      rows = new SortedRows();
      this.#tables.set(table.id, rows);
    }
    return rows;
  }
}
