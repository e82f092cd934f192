// Short arrays of bytes cut from larger ones: making an array of its own for each costs more than
// filling it. For bytes that live shortly and together: one that is kept keeps its whole slab.

const slabBytes = 64 * 1024;
/** A longer one gets an array of its own. */
const sharedBytesMax = 8 * 1024;

export class Slab {
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;

  /** Zeros, as long as asked for. */
  take(length: number): Uint8Array {
    if (length > sharedBytesMax) return new Uint8Array(length);
    if (length > this.#bytes.length - this.#at) {
      this.#bytes = new Uint8Array(slabBytes);
      this.#at = 0;
    }
    const from = this.#at;
    this.#at = from + length;
    // A view made so costs half of what `subarray` does.
    return new Uint8Array(this.#bytes.buffer, from, length);
  }
}
