// Reads what ByteWriter wrote. Every read is checked: input may come from a peer or a damaged
// disk. A violation throws MalformedError, which the room that owns the input catches at its edge.
import { utf8Decode } from './utf8.js';

/** The bytes are not what the format says. Caught where the input enters; never an assertion. */
export class MalformedError extends Error {
  override readonly name = 'MalformedError';
}

export class ByteReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  #view: DataView;

  constructor(bytes: Uint8Array, start: number = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.end - this.at;
  }

  #take(n: number): number {
    const at = this.at;
    if (n > this.end - at) throw new MalformedError(`need ${n} bytes, have ${this.end - at}`);
    this.at = at + n;
    return at;
  }

  u8(): number {
    return this.bytes[this.#take(1)] as number;
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  f64(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }

  varint(): number {
    let shift = 1;
    let v = 0;
    for (let i = 0; i < 8; i++) {
      const b = this.u8();
      v += (b & 0x7f) * shift;
      if (b < 0x80) {
        if (!Number.isSafeInteger(v)) throw new MalformedError('varint beyond 2^53-1');
        return v;
      }
      shift *= 128;
    }
    throw new MalformedError('varint too long');
  }

  /** A view of the next `n` bytes, not a copy. */
  raw(n: number): Uint8Array {
    const at = this.#take(n);
    return this.bytes.subarray(at, at + n);
  }

  /** A view of a length-prefixed blob, not a copy. */
  blob(): Uint8Array {
    return this.raw(this.varint());
  }

  string(): string {
    const n = this.varint();
    const at = this.#take(n);
    const s = utf8Decode(this.bytes, at, at + n);
    if (s === undefined) throw new MalformedError('string is not UTF-8');
    return s;
  }

  /** Throws unless everything was read. */
  done(): void {
    if (this.at !== this.end) throw new MalformedError(`${this.end - this.at} bytes left over`);
  }
}
