// Keys in the order in which they were written, findable by key, in plain arrays: a note makes no
// object, and nothing here is work for the collector. One generation of the conflict window.

/** Bytes of keys of one generation; one key always fits. */
const bytesMax = 16 * 1024 * 1024;

export class NotedKeys {
  count = 0;
  /** Of the newest note; 0 when there is none. */
  lastIndex = 0;
  readonly #seed: number;
  #indexes = new Float64Array(64);
  #tables = new Uint8Array(64);
  #hashes = new Int32Array(64);
  /** Where each key ends in `#bytes`; it begins where the one before ends. */
  #ends = new Uint32Array(64);
  #bytes = new Uint8Array(1024);
  /** Number of the newest note of a key, plus one; 0: free. A power of two, at most half full. */
  #slots = new Int32Array(128);

  constructor(seed: number) {
    this.#seed = seed;
  }

  full(more: number): boolean {
    return this.count > 0 && this.#end(this.count - 1) + more > bytesMax;
  }

  clear(): void {
    this.count = 0;
    this.lastIndex = 0;
    this.#slots.fill(0);
  }

  note(index: number, tableId: number, bytes: Uint8Array, from: number, to: number): void {
    const n = this.count;
    const start = this.#end(n - 1);
    const end = start + to - from;
    if (n === this.#indexes.length) this.#grow();
    if (end > this.#bytes.length) this.#growBytes(end);
    for (let i = from, at = start; i < to; i++, at++) this.#bytes[at] = bytes[i] as number;
    const hash = this.#hash(tableId, bytes, from, to);
    this.#indexes[n] = index;
    this.#tables[n] = tableId;
    this.#hashes[n] = hash;
    this.#ends[n] = end;
    this.#slots[this.#slot(hash, tableId, bytes, from, to)] = n + 1;
    this.count = n + 1;
    this.lastIndex = index;
  }

  /** Index of the newest note of the key. */
  lastWrite(tableId: number, key: Uint8Array): number | undefined {
    const n = this.#slots[this.#slot(this.#hash(tableId, key, 0, key.length), tableId, key, 0, key.length)] as number;
    return n === 0 ? undefined : (this.#indexes[n - 1] as number);
  }

  /** The i-th note; the key is a view. */
  at(i: number): { readonly index: number; readonly tableId: number; readonly key: Uint8Array } {
    const key = this.#bytes.subarray(this.#end(i - 1), this.#end(i));
    return { index: this.#indexes[i] as number, tableId: this.#tables[i] as number, key };
  }

  #end(i: number): number {
    return i < 0 ? 0 : (this.#ends[i] as number);
  }

  #hash(tableId: number, bytes: Uint8Array, from: number, to: number): number {
    let h = Math.imul(this.#seed ^ tableId ^ (to - from), 0x9e3779b1);
    for (let i = from; i < to; i++) {
      h = Math.imul(h ^ (bytes[i] as number), 0x01000193);
      h ^= h >>> 15;
    }
    return Math.imul(h ^ (h >>> 13), 0x85ebca6b);
  }

  /** Where the key is, or would be. */
  #slot(hash: number, tableId: number, bytes: Uint8Array, from: number, to: number): number {
    const mask = this.#slots.length - 1;
    let at = (hash ^ (hash >>> 16)) & mask;
    for (let n = this.#slots[at] as number; n !== 0; n = this.#slots[at] as number) {
      if (this.#hashes[n - 1] === hash && this.#tables[n - 1] === tableId && this.#same(n - 1, bytes, from, to)) return at;
      at = (at + 1) & mask;
    }
    return at;
  }

  #same(i: number, bytes: Uint8Array, from: number, to: number): boolean {
    const start = this.#end(i - 1);
    if (this.#end(i) - start !== to - from) return false;
    for (let k = 0; k < to - from; k++) if (this.#bytes[start + k] !== bytes[from + k]) return false;
    return true;
  }

  #grow(): void {
    const size = 2 * this.#indexes.length;
    const moved = <T extends Float64Array | Uint8Array | Uint32Array | Int32Array>(old: T, next: T): T => {
      next.set(old);
      return next;
    };
    this.#indexes = moved(this.#indexes, new Float64Array(size));
    this.#tables = moved(this.#tables, new Uint8Array(size));
    this.#hashes = moved(this.#hashes, new Int32Array(size));
    this.#ends = moved(this.#ends, new Uint32Array(size));
    const old = this.#slots;
    this.#slots = new Int32Array(2 * old.length);
    const mask = this.#slots.length - 1;
    for (const n of old) {
      if (n === 0) continue;
      const hash = this.#hashes[n - 1] as number;
      let at = (hash ^ (hash >>> 16)) & mask;
      while (this.#slots[at] !== 0) at = (at + 1) & mask;
      this.#slots[at] = n;
    }
  }

  #growBytes(need: number): void {
    const next = new Uint8Array(Math.max(need, 2 * this.#bytes.length));
    next.set(this.#bytes);
    this.#bytes = next;
  }
}
