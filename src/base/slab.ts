// Short arrays of bytes cut from larger ones: making an array of its own for each costs more than
// filling it. For bytes that live shortly and together: one that is kept keeps its whole slab.
import { emptyBytes } from './bytes.js';

const slabBytes = 64 * 1024;
/** The first array of each is so long, every further one twice as long as the one before: many slabs are little used. */
const firstSlabBytes = 2 * 1024;
/** A longer one gets an array of its own. */
const sharedBytesMax = 8 * 1024;
/** Up to this length a loop is faster than `set`. */
const loopBytesMax = 64;

export class Slab {
  /** Asked for its buffer a typed array takes its time, so the buffer is what is kept. */
  #buffer: ArrayBuffer = new ArrayBuffer(0);
  #size = 0;
  #at = 0;

  /** Zeros, as long as asked for. */
  take(length: number): Uint8Array {
    if (length > sharedBytesMax) return new Uint8Array(length);
    if (length > this.#size - this.#at) {
      this.#size = Math.min(slabBytes, Math.max(firstSlabBytes, 2 * this.#size));
      while (this.#size < length) this.#size *= 2;
      this.#buffer = new ArrayBuffer(this.#size);
      this.#at = 0;
    }
    const from = this.#at;
    this.#at = from + length;
    return new Uint8Array(this.#buffer, from, length);
  }

  /** A copy. */
  copy(bytes: Uint8Array): Uint8Array {
    if (bytes.length === 0) return emptyBytes;
    const out = this.take(bytes.length);
    if (bytes.length > loopBytesMax) out.set(bytes);
    else for (let i = 0; i < bytes.length; i++) out[i] = bytes[i] as number;
    return out;
  }
}
