// env's randomness: a fast generator seeded from the machine, and cryptographic bytes.
import { randomBytes } from 'node:crypto';
import { Prng } from '#base/prng.js';
import type { Random } from '#env/random.js';

export class OsRandom implements Random {
  readonly #prng = new Prng(randomBytes(4).readInt32LE(0));

  next(): number {
    return this.#prng.next();
  }

  int(limit: number): number {
    return this.#prng.int(limit);
  }

  bytes(length: number): Uint8Array {
    return new Uint8Array(randomBytes(length));
  }
}
