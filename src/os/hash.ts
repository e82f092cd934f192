// env's hashing over node:crypto.
import { createHash, createHmac } from 'node:crypto';
import type { Hash } from '#env/hash.js';

export class OsHash implements Hash {
  hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array {
    return new Uint8Array(createHmac('sha256', key).update(data).digest());
  }

  sha256(data: Uint8Array): Uint8Array {
    return new Uint8Array(createHash('sha256').update(data).digest());
  }
}
