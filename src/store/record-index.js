// Where the entries of one shard's log are on disk: one item per record of entries, in columns
// of typed arrays (24 bytes an item). An item covers the indexes from its first up to the next
// item's first; entries of the record beyond that were overwritten by a later record.
import { assert } from '#base/assert.js';
export class RecordIndex {
  #first = new Float64Array(16);
  #segment = new Uint32Array(16);
  #offset = new Uint32Array(16);
  #bytes = new Uint32Array(16);
  #crc = new Uint32Array(16);
  /** Items before it have been forgotten. */
  #head = 0;
  #end = 0;
  get length() {
    return this.#end - this.#head;
  }
  /** Payload bytes of all items. */
  bytes() {
    let total = 0;
    for (let i = this.#head; i < this.#end; i++) total += this.#bytes[i];
    return total;
  }
  at(i) {
    const at = this.#head + i;
    if (i < 0 || at >= this.#end) return undefined;
    return {
      firstIndex: this.#first[at],
      segment: this.#segment[at],
      offset: this.#offset[at],
      length: this.#bytes[at],
      crc: this.#crc[at],
    };
  }
  firstSegment() {
    return this.length === 0 ? undefined : this.#segment[this.#head];
  }
  /** The number of the item that covers `index`, -1 when it lies before all items. */
  find(index) {
    let low = this.#head;
    let high = this.#end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#first[middle] <= index) low = middle + 1;
      else high = middle;
    }
    return low - 1 - this.#head;
  }
  push(p) {
    assert(this.length === 0 || this.#first[this.#end - 1] < p.firstIndex, 'wal: items out of order');
    if (this.#end === this.#first.length) this.#grow();
    const at = this.#end++;
    this.#first[at] = p.firstIndex;
    this.#segment[at] = p.segment;
    this.#offset[at] = p.offset;
    this.#bytes[at] = p.length;
    this.#crc[at] = p.crc;
  }
  /** Forgets items that begin at `index` or later. */
  truncate(index) {
    while (this.#end > this.#head && this.#first[this.#end - 1] >= index) this.#end--;
  }
  /** Forgets items of which no entry at `index` or later is left. */
  dropBelow(index) {
    while (this.#end - this.#head > 1 && this.#first[this.#head + 1] <= index) this.#head++;
  }
  clear() {
    this.#head = 0;
    this.#end = 0;
  }
  #grow() {
    const n = this.length;
    const capacity = n * 2 > this.#first.length ? this.#first.length * 2 : this.#first.length;
    const move = (from, to) => {
      to.set(from.subarray(this.#head, this.#end));
      return to;
    };
    this.#first = move(this.#first, new Float64Array(capacity));
    this.#segment = move(this.#segment, new Uint32Array(capacity));
    this.#offset = move(this.#offset, new Uint32Array(capacity));
    this.#bytes = move(this.#bytes, new Uint32Array(capacity));
    this.#crc = move(this.#crc, new Uint32Array(capacity));
    this.#head = 0;
    this.#end = n;
  }
}
//# sourceMappingURL=record-index.js.map
