// Sorted byte keys with values, for the model of the table store: chunks of sorted keys, each key
// as a byte string (so that comparing is the platform's own). Fast enough for some 100,000 rows.

const chunkRowsMax = 256;

interface Chunk {
  readonly keys: string[];
  readonly values: Uint8Array[];
}

export class SortedRows {
  readonly #chunks: Chunk[] = [];
  rows = 0;
  bytes = 0;

  get(key: string): Uint8Array | undefined {
    const chunk = this.#chunks[this.#chunkOf(key)];
    if (chunk === undefined) return undefined;
    const at = lowerBound(chunk.keys, key);
    return chunk.keys[at] === key ? chunk.values[at] : undefined;
  }

  /** Stores or (with undefined) removes; returns what was there. */
  set(key: string, value: Uint8Array | undefined): Uint8Array | undefined {
    const index = this.#chunkOf(key);
    const chunk = this.#chunks[index];
    if (chunk === undefined) {
      if (value !== undefined) {
        this.#chunks.push({ keys: [key], values: [value] });
        this.#count(1, key.length + value.length);
      }
      return undefined;
    }
    const at = lowerBound(chunk.keys, key);
    const old = chunk.keys[at] === key ? (chunk.values[at] as Uint8Array) : undefined;
    if (value === undefined) {
      if (old === undefined) return undefined;
      chunk.keys.splice(at, 1);
      chunk.values.splice(at, 1);
      this.#count(-1, -key.length - old.length);
      if (chunk.keys.length === 0) this.#chunks.splice(index, 1);
    } else if (old !== undefined) {
      chunk.values[at] = value;
      this.#count(0, value.length - old.length);
    } else {
      chunk.keys.splice(at, 0, key);
      chunk.values.splice(at, 0, value);
      this.#count(1, key.length + value.length);
      if (chunk.keys.length > chunkRowsMax) {
        const half = chunk.keys.length >> 1;
        this.#chunks.splice(index + 1, 0, { keys: chunk.keys.splice(half), values: chunk.values.splice(half) });
      }
    }
    return old;
  }

  /** Rows in [start, end) in ascending order until `visit` returns false. */
  ascend(start: string, end: string | undefined, visit: (key: string, value: Uint8Array) => boolean): void {
    let index = this.#chunkOf(start);
    let at = lowerBound(this.#chunks[index]?.keys ?? [], start);
    for (; index < this.#chunks.length; index++, at = 0) {
      const { keys, values } = this.#chunks[index] as Chunk;
      for (; at < keys.length; at++) {
        const key = keys[at] as string;
        if (end !== undefined && key >= end) return;
        if (!visit(key, values[at] as Uint8Array)) return;
      }
    }
  }

  /** Rows in [start, end) in descending order until `visit` returns false. */
  descend(start: string, end: string | undefined, visit: (key: string, value: Uint8Array) => boolean): void {
    let index = end === undefined ? this.#chunks.length - 1 : this.#chunkOf(end);
    if (index < 0 || this.#chunks.length === 0) return;
    const first = this.#chunks[index] as Chunk;
    let at = (end === undefined ? first.keys.length : lowerBound(first.keys, end)) - 1;
    for (;;) {
      const { keys, values } = this.#chunks[index] as Chunk;
      for (; at >= 0; at--) {
        const key = keys[at] as string;
        if (key < start) return;
        if (!visit(key, values[at] as Uint8Array)) return;
      }
      if (--index < 0) return;
      at = (this.#chunks[index] as Chunk).keys.length - 1;
    }
  }

  #count(rows: number, bytes: number): void {
    this.rows += rows;
    this.bytes += bytes;
  }

  /** The last chunk whose first key is at or before `key`; 0 when there is none. */
  #chunkOf(key: string): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (((this.#chunks[middle] as Chunk).keys[0] as string) <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** First position whose key is at or after `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((keys[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
