// Rows that were written and are not in a table store yet, one per key and in the order of the keys: chunks
// of sorted rows. Used by buffered-tables.ts. A row without a value is a deletion, and stays as one.
import { compareBytes } from '#base/bytes.js';
import type { TableWrite } from '#env/tables.js';

/** A full chunk is halved. */
const chunkRowsMax = 128;

export class RowLayer {
  readonly #chunks: TableWrite[][] = [];
  rows = 0;
  bytes = 0;

  get(key: Uint8Array): TableWrite | undefined {
    const chunk = this.#chunks[this.#chunkOf(key)];
    if (chunk === undefined) return undefined;
    const row = chunk[lowerBound(chunk, key)];
    return row !== undefined && compareBytes(row.key, key) === 0 ? row : undefined;
  }

  /** In place of an earlier row of the same key. */
  set(row: TableWrite): void {
    const index = this.#chunkOf(row.key);
    const chunk = this.#chunks[index];
    if (chunk === undefined) {
      this.#chunks.push([row]);
      this.#count(1, row);
      return;
    }
    const at = lowerBound(chunk, row.key);
    const old = chunk[at];
    if (old !== undefined && compareBytes(old.key, row.key) === 0) {
      this.#count(-1, old);
      chunk[at] = row;
    } else {
      chunk.splice(at, 0, row);
      if (chunk.length > chunkRowsMax) this.#chunks.splice(index + 1, 0, chunk.splice(chunk.length >> 1));
    }
    this.#count(1, row);
  }

  /** All rows in order. Not by `flat`, which defines each element as a property. */
  list(): TableWrite[] {
    const rows: TableWrite[] = [];
    for (const chunk of this.#chunks) for (const row of chunk) rows.push(row);
    return rows;
  }

  /** From the first row at or after `key` on. The layer must not change while the cursor is in use. */
  from(key: Uint8Array): LayerCursor {
    const index = this.#chunkOf(key);
    const chunk = this.#chunks[index];
    return new LayerCursor(this.#chunks, index, chunk === undefined ? 0 : lowerBound(chunk, key));
  }

  #count(sign: 1 | -1, row: TableWrite): void {
    this.rows += sign;
    this.bytes += sign * (row.key.length + (row.value?.length ?? 0));
  }

  /** The last chunk whose first key is at or before `key`; 0 when there is none. */
  #chunkOf(key: Uint8Array): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (compareBytes(((this.#chunks[middle] as TableWrite[])[0] as TableWrite).key, key) <= 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

export class LayerCursor {
  /** Where it stands; undefined at the end. */
  row: TableWrite | undefined;
  readonly #chunks: readonly (readonly TableWrite[])[];
  #index: number;
  #at: number;

  constructor(chunks: readonly (readonly TableWrite[])[], index: number, at: number) {
    this.#chunks = chunks;
    this.#index = index;
    this.#at = at - 1;
    this.next();
  }

  next(): void {
    if (++this.#at >= (this.#chunks[this.#index]?.length ?? 0)) {
      this.#index++;
      this.#at = 0;
    }
    this.row = this.#chunks[this.#index]?.[this.#at];
  }
}

/** First position whose key is at or after `key`. */
function lowerBound(rows: readonly TableWrite[], key: Uint8Array): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareBytes((rows[middle] as TableWrite).key, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
