// Reads of one copy of a shard's tables, rows of dead incarnations left out. Plain rows and the
// side rows of long keys are merged by full key. Used for local reads, and below the leader's
// overlay of writes that are not applied yet.
import { compareBytes, copyBytes } from '#base/bytes.js';
import type { Hash } from '#env/hash.js';
import type { TableStore } from '#env/tables.js';
import type { Reader, Row, Table } from './api.js';
import type { LiveSet } from './live-set.js';
import { afterTable, decodeStored, keyInRange, plainKeyBytesMax, sideStart, storedKey } from './stored-row.js';

export class ShardReader implements Reader {
  store: TableStore;
  live: LiveSet;
  readonly #hash: Hash;
  /** Tables that may have rows with long keys; the others are read without the merge. */
  readonly #longTables: Set<number> = new Set();

  constructor(store: TableStore, live: LiveSet, tables: readonly Table[], hash: Hash) {
    this.store = store;
    this.live = live;
    this.#hash = hash;
    for (const t of tables) {
      const first = store.seek(Uint8Array.of(t.id | 0x80));
      if (first !== undefined && first.key[0] === (t.id | 0x80)) this.#longTables.add(t.id);
    }
  }

  /** Told by apply before a row with a long key becomes visible. */
  noteLongKey(tableId: number): void {
    this.#longTables.add(tableId);
  }

  get(table: Table, key: Uint8Array): Row | undefined {
    const row = this.getAny(table.id, key);
    return row === undefined || !this.#visible(row.owner) ? undefined : row;
  }

  /** Like `get`, rows of dead incarnations included. */
  getAny(tableId: number, key: Uint8Array): Row | undefined {
    const side = key.length > plainKeyBytesMax;
    const bytes = this.store.get(storedKey(tableId, key, this.#hash));
    return bytes === undefined ? undefined : decodeStored(bytes, side);
  }

  #visible(owner: number): boolean {
    return owner === 0 || this.live.has(owner);
  }

  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void {
    const long = this.#longTables.has(table.id) ? this.#longRows(table.id, start, end) : undefined;
    let next = 0;
    let going = true;
    const plainStart = plainKey(table.id, start);
    const plainEnd =
      end === undefined ? afterTable(table.id) : end.length > plainKeyBytesMax ? justAfter(plainKey(table.id, end)) : plainKey(table.id, end);
    const clipped = start.length > plainKeyBytesMax || (end !== undefined && end.length > plainKeyBytesMax);
    this.store.range(plainStart, plainEnd, (stored, bytes) => {
      const key = stored.subarray(1);
      if (clipped && !keyInRange(key, start, end)) return true;
      while (long !== undefined && next < long.length && compareBytes((long[next] as LongRow).key, key) < 0) {
        const l = long[next++] as LongRow;
        going = visit(l.key, l.row);
        if (!going) return false;
      }
      const row = decodeStored(bytes, false);
      if (!this.#visible(row.owner)) return true;
      going = visit(key, row);
      return going;
    });
    while (going && long !== undefined && next < long.length) {
      const l = long[next++] as LongRow;
      going = visit(l.key, l.row);
    }
  }

  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
    if (this.#longTables.has(table.id) || key.length > plainKeyBytesMax) return this.#seekMerged(table, key);
    let at = plainKey(table.id, key);
    for (;;) {
      const found = this.store.seek(at);
      if (found === undefined || found.key[0] !== table.id) return undefined;
      const row = decodeStored(found.value, false);
      if (this.#visible(row.owner)) return { key: found.key.subarray(1), row };
      at = justAfter(found.key);
    }
  }

  #seekMerged(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
    let result: { readonly key: Uint8Array; readonly row: Row } | undefined;
    this.range(table, key, undefined, (k, row) => {
      result = { key: copyBytes(k), row: { value: copyBytes(row.value), owner: row.owner } };
      return false;
    });
    return result;
  }

  #longRows(tableId: number, start: Uint8Array, end: Uint8Array | undefined): LongRow[] {
    const rows: LongRow[] = [];
    const stop = end === undefined ? Uint8Array.of((tableId | 0x80) + 1) : justAfterPrefix(sideStart(tableId, end));
    this.store.range(sideStart(tableId, start), tableId === 0x7e && end === undefined ? undefined : stop, (_, bytes) => {
      const row = decodeStored(bytes, true);
      if (row.key !== undefined && this.#visible(row.owner) && keyInRange(row.key, start, end)) {
        rows.push({ key: copyBytes(row.key), row: { value: copyBytes(row.value), owner: row.owner } });
      }
      return true;
    });
    return rows.sort((a, b) => compareBytes(a.key, b.key));
  }
}

interface LongRow {
  readonly key: Uint8Array;
  readonly row: Row;
}

function plainKey(tableId: number, key: Uint8Array): Uint8Array {
  const clipped = key.length > plainKeyBytesMax ? key.subarray(0, plainKeyBytesMax) : key;
  const out = new Uint8Array(1 + clipped.length);
  out[0] = tableId;
  out.set(clipped, 1);
  return out;
}

function justAfter(key: Uint8Array): Uint8Array {
  const out = new Uint8Array(key.length + 1);
  out.set(key);
  return out;
}

/** A key after every key that begins with `prefix` and 16 hash bytes. */
function justAfterPrefix(prefix: Uint8Array): Uint8Array {
  const out = new Uint8Array(prefix.length + 17).fill(0xff);
  out.set(prefix);
  return out;
}
