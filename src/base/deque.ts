// A queue over a ring that grows by doubling: push at the end, shift at the front, both O(1).
import { assert } from './assert.js';

export class Deque<T> {
  #items: (T | undefined)[] = new Array(8);
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(item: T): void {
    if (this.#length === this.#items.length) this.#grow();
    this.#items[(this.#head + this.#length) & (this.#items.length - 1)] = item;
    this.#length++;
  }

  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#items.length - 1);
    this.#length--;
    return item;
  }

  peek(): T | undefined {
    return this.#length === 0 ? undefined : this.#items[this.#head];
  }

  /** The i-th from the front. */
  at(i: number): T | undefined {
    return i < 0 || i >= this.#length ? undefined : this.#items[(this.#head + i) & (this.#items.length - 1)];
  }

  /** Puts the item before the i-th, or at the end: those behind it move. */
  insert(i: number, item: T): void {
    assert(i >= 0 && i <= this.#length, 'deque: no such place');
    this.push(item);
    const mask = this.#items.length - 1;
    let at = (this.#head + this.#length - 1) & mask;
    for (let n = this.#length - 1 - i; n > 0; n--) {
      const before = (at - 1) & mask;
      this.#items[at] = this.#items[before];
      at = before;
    }
    this.#items[at] = item;
  }

  /** Takes the i-th out: those behind it move. */
  removeAt(i: number): T | undefined {
    if (i < 0 || i >= this.#length) return undefined;
    const mask = this.#items.length - 1;
    let at = (this.#head + i) & mask;
    const item = this.#items[at];
    for (let n = this.#length - 1 - i; n > 0; n--) {
      const next = (at + 1) & mask;
      this.#items[at] = this.#items[next];
      at = next;
    }
    this.#items[at] = undefined;
    this.#length--;
    return item;
  }

  clear(): void {
    this.#items = new Array(8);
    this.#head = 0;
    this.#length = 0;
  }

  #grow(): void {
    const next: (T | undefined)[] = new Array(this.#items.length * 2);
    for (let i = 0; i < this.#length; i++) next[i] = this.#items[(this.#head + i) & (this.#items.length - 1)];
    this.#items = next;
    this.#head = 0;
  }
}
