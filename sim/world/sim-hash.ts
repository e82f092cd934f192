// Stands in for SHA-256 in the simulator: 32 bytes that depend on every byte, and cheap. Nobody in the
// simulated world forges anything; the real one is used, and tested, in `os`.
import type { Hash } from '#env/hash.js';

const words = 8;

/** Four bytes a step: each is one number's worth of work. */
function mix(data: Uint8Array, state: Int32Array): void {
  let [a, b, c, d] = state as unknown as [number, number, number, number];
  const step = (x: number, i: number): void => {
    a = Math.imul(a ^ x, 0x01000193) ^ (a >>> 16);
    b = Math.imul(b ^ (x + i), 0x5bd1e995) ^ (b >>> 15);
    c = (Math.imul(c, 0x85ebca6b) + x + a) | 0;
    d = Math.imul(d ^ (c >>> 13) ^ x, 0xc2b2ae35);
  };
  const whole = data.length & ~3;
  for (let i = 0; i < whole; i += 4)
    step((data[i] as number) | ((data[i + 1] as number) << 8) | ((data[i + 2] as number) << 16) | ((data[i + 3] as number) << 24), i);
  for (let i = whole; i < data.length; i++) step(data[i] as number, i);
  state[0] = a;
  state[1] = b;
  state[2] = c;
  state[3] = d ^ data.length;
}

function digest(state: Int32Array): Uint8Array {
  const out = new Uint8Array(4 * words);
  let h = 0;
  for (let i = 0; i < words; i++) {
    h = Math.imul(h ^ (state[i & 3] as number) ^ i, 0x9e3779b1);
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h ^= h >>> 13;
    out[4 * i] = h;
    out[4 * i + 1] = h >>> 8;
    out[4 * i + 2] = h >>> 16;
    out[4 * i + 3] = h >>> 24;
  }
  return out;
}

function fresh(): Int32Array {
  return Int32Array.of(0x6a09e667, 0x3b67ae85, 0x3c6ef372, 0x254ff53a);
}

export const simHash: Hash = {
  hmacSha256: (key, data) => {
    const state = fresh();
    mix(key, state);
    mix(data, state);
    return digest(state);
  },
  sha256: (data) => {
    const state = fresh();
    mix(data, state);
    return digest(state);
  },
};
