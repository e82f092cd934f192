// Reads what ByteWriter wrote. Every read is checked: input may come from a peer or a damaged
// disk. A violation throws MalformedError, which the room that owns the input catches at its edge.
import { utf8Decode } from './utf8.js';

// A view of each reader's own bytes would cost more than most readers read: small arrays get memory outside of the heap for it.
const scratchBytes = new Uint8Array(8);
const scratch = new DataView(scratchBytes.buffer);

/** The bytes are not what the format says. Caught where the input enters; never an assertion. */
export class MalformedError extends Error {
  override readonly name = 'MalformedError';
}

/**
 * Names of nodes and shards come again and again: the string of the last time is found sooner than a new one is made, and
 * maps know its hash. One string per place, short ones of ASCII only.
 */
const places = 1_024;
const placedBytesMax = 40;
const placed: string[] = Array.from({ length: places }, () => '');

function isPlaced(s: string, bytes: Uint8Array, at: number, n: number): boolean {
  if (s.length !== n) return false;
  for (let i = 0; i < n; i++) if (s.charCodeAt(i) !== bytes[at + i]) return false;
  return true;
}

export class ByteReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, start: number = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
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
    const at = this.#take(2);
    return (this.bytes[at] as number) | ((this.bytes[at + 1] as number) << 8);
  }

  u32(): number {
    const at = this.#take(4);
    const b = this.bytes;
    return ((b[at] as number) | ((b[at + 1] as number) << 8) | ((b[at + 2] as number) << 16) | ((b[at + 3] as number) << 24)) >>> 0;
  }

  f64(): number {
    const at = this.#take(8);
    for (let i = 0; i < 8; i++) scratchBytes[i] = this.bytes[at + i] as number;
    return scratch.getFloat64(0, true);
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

  /** How many items follow, of one byte each at least: so that nobody makes room for more than there can be. */
  count(): number {
    const n = this.varint();
    if (n > this.remaining) throw new MalformedError('more items than bytes');
    return n;
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
    const { bytes } = this;
    let place = -1;
    if (n <= placedBytesMax) {
      let hash = n;
      for (let i = at; i < at + n; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
      place = (hash ^ (hash >>> 15)) & (places - 1);
      const s = placed[place] as string;
      if (isPlaced(s, bytes, at, n)) return s;
    }
    const s = utf8Decode(bytes, at, at + n);
    if (s === undefined) throw new MalformedError('string is not UTF-8');
    if (place >= 0 && s.length === n) placed[place] = s;
    return s;
  }

  /** Throws unless everything was read. */
  done(): void {
    if (this.at !== this.end) throw new MalformedError(`${this.end - this.at} bytes left over`);
  }
}
