// Short arrays of bytes cut from larger ones: making an array of its own for each costs more than
// filling it. For bytes that live shortly and together: one that is kept keeps its whole slab.

const slabBytes = 64 * 1024;
/** A longer one gets an array of its own. */
const sharedBytesMax = 8 * 1024;

export class Slab {
  /** Asked for its buffer a typed array takes its time, so the buffer is what is kept. */
  #buffer: ArrayBuffer = new ArrayBuffer(0);
  #at = slabBytes + 1;

  /** Zeros, as long as asked for. */
  take(length: number): Uint8Array {
    if (length > sharedBytesMax) return new Uint8Array(length);
    if (length > slabBytes - this.#at) {
      this.#buffer = new ArrayBuffer(slabBytes);
      this.#at = 0;
    }
    const from = this.#at;
    this.#at = from + length;
    return new Uint8Array(this.#buffer, from, length);
  }
}
