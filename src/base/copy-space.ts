// Where bytes are copied to by position, without an array object for each: several copies share an array, and whoever
// wants one says which part of it. For bytes that live shortly and together: one that is kept keeps the whole array.
import { emptyBytes } from './bytes.js';

const spaceBytes = 64 * 1024;
/** Longer ones get an array of their own. */
const sharedBytesMax = 8 * 1024;
/** Up to this length a loop is faster than `set`, which needs a view. */
const loopBytesMax = 24;

/** Copies `bytes[start, end)` to `to[at, …)`. */
export function copyRange(bytes: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start > loopBytesMax) to.set(bytes.subarray(start, end), at);
  else for (let from = start; from < end; from++, at++) to[at] = bytes[from] as number;
}

/** Views that are kept; a power of two. */
const viewsKept = 256;

/**
 * Copies ranges of an array that stays the same, as that into which sockets are read. What is read comes in the same lengths
 * again and again, and to make a view costs four times as much as to copy a hundred bytes, so views are kept.
 */
export class RangeCopier {
  /** Whose views are kept, and which array came last: one that comes once is not worth it. */
  #of: Uint8Array = emptyBytes;
  #last: Uint8Array = emptyBytes;
  readonly #views: Uint8Array[] = new Array<Uint8Array>(viewsKept).fill(emptyBytes);
  readonly #starts = new Int32Array(viewsKept);
  readonly #ends = new Int32Array(viewsKept);

  /** As {@link copyRange}. */
  copy(bytes: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
    if (end - start <= loopBytesMax || bytes !== this.#of) {
      copyRange(bytes, start, end, to, at);
      if (bytes !== this.#of) this.#adopt(bytes);
      return;
    }
    const i = (start * 31 + end) & (viewsKept - 1);
    let view = this.#views[i] as Uint8Array;
    if (this.#starts[i] !== start || this.#ends[i] !== end) {
      view = bytes.subarray(start, end);
      this.#views[i] = view;
      this.#starts[i] = start;
      this.#ends[i] = end;
    }
    to.set(view, at);
  }

  #adopt(bytes: Uint8Array): void {
    if (bytes === this.#last) {
      this.#of = bytes;
      this.#ends.fill(0);
    }
    this.#last = bytes;
  }
}

export class CopySpace {
  /** The array that holds what was copied last. */
  bytes: Uint8Array = emptyBytes;
  #space: Uint8Array = emptyBytes;
  #at = 0;

  /** Copies `bytes[start, end)` and returns where in {@link CopySpace.bytes} it begins. */
  copy(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    if (length > sharedBytesMax) {
      this.bytes = new Uint8Array(length);
      this.bytes.set(bytes.subarray(start, end));
      return 0;
    }
    if (this.#at + length > this.#space.length) {
      this.#space = new Uint8Array(spaceBytes);
      this.#at = 0;
    }
    const at = this.#at;
    this.#at = at + length;
    this.bytes = this.#space;
    copyRange(bytes, start, end, this.#space, at);
    return at;
  }
}
