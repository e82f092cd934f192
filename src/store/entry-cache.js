/** What an entry costs besides its data, roughly. */
const entryOverheadBytes = 96;
export class EntryCache {
  #items = [];
  #head = 0;
  bytes = 0;
  /** Undefined when empty. */
  get firstIndex() {
    return this.#items[this.#head]?.index;
  }
  get length() {
    return this.#items.length - this.#head;
  }
  get(index) {
    const first = this.firstIndex;
    return first === undefined || index < first ? undefined : this.#items[this.#head + index - first];
  }
  push(e) {
    this.#items.push(e);
    this.bytes += e.data.length + entryOverheadBytes;
  }
  /** Forgets entries at `index` and later. */
  truncate(index) {
    while (this.length > 0) {
      const last = this.#items.at(-1);
      if (last === undefined || last.index < index) break;
      this.#items.pop();
      this.bytes -= last.data.length + entryOverheadBytes;
    }
  }
  /** Forgets entries up to and with `index`. */
  dropThrough(index) {
    for (let first = this.firstIndex; first !== undefined && first <= index; first = this.firstIndex) this.shift();
  }
  shift() {
    const e = this.#items[this.#head];
    if (e === undefined) return;
    this.#items[this.#head++] = undefined;
    this.bytes -= e.data.length + entryOverheadBytes;
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
  }
  clear() {
    this.#items = [];
    this.#head = 0;
    this.bytes = 0;
  }
}
//# sourceMappingURL=entry-cache.js.map
