// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), eight bytes a step ("slicing by 8"), of long
// inputs sixteen (half as fast again; a short one does not earn back the view that this needs).
// Log records chain it: the checksum of a record starts from its predecessor's.

const tables: Int32Array[] = makeTables();

function makeTables(): Int32Array[] {
  const all = Array.from({ length: 16 }, () => new Int32Array(256));
  const first = all[0] as Int32Array;
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
    first[n] = c;
  }
  for (let n = 0; n < 256; n++) {
    let c = first[n] as number;
    for (let t = 1; t < 16; t++) {
      c = (first[c & 255] as number) ^ (c >>> 8);
      (all[t] as Int32Array)[n] = c;
    }
  }
  return all;
}

type Sixteen<T> = [T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T];
const [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15] = tables as Sixteen<Int32Array>;

/** From so many bytes on. */
const longBytes = 512;

/** Checksum of `bytes[start, end)`, continuing from `seed` (0 to begin). Unsigned 32 bit. */
export function crc32c(bytes: Uint8Array, seed: number = 0, start: number = 0, end: number = bytes.length): number {
  let c = ~seed;
  let i = start;
  if (end - start >= longBytes) {
    i = end - ((end - start) & 15);
    c = sixteens(bytes, c, start, i);
  }
  const b = bytes as { [i: number]: number };
  for (; i + 8 <= end; i += 8) {
    const lo = c ^ ((b[i] as number) | ((b[i + 1] as number) << 8) | ((b[i + 2] as number) << 16) | ((b[i + 3] as number) << 24));
    c =
      (t7[lo & 255] as number) ^
      (t6[(lo >>> 8) & 255] as number) ^
      (t5[(lo >>> 16) & 255] as number) ^
      (t4[lo >>> 24] as number) ^
      (t3[b[i + 4] as number] as number) ^
      (t2[b[i + 5] as number] as number) ^
      (t1[b[i + 6] as number] as number) ^
      (t0[b[i + 7] as number] as number);
  }
  for (; i < end; i++) c = (t0[(c ^ (b[i] as number)) & 255] as number) ^ (c >>> 8);
  return ~c >>> 0;
}

/** `end - start` is a multiple of 16. */
function sixteens(bytes: Uint8Array, from: number, start: number, end: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let c = from;
  for (let i = start; i < end; i += 16) {
    const w = c ^ view.getInt32(i, true);
    const x = view.getInt32(i + 4, true);
    const y = view.getInt32(i + 8, true);
    const z = view.getInt32(i + 12, true);
    c =
      (t15[w & 255] as number) ^
      (t14[(w >>> 8) & 255] as number) ^
      (t13[(w >>> 16) & 255] as number) ^
      (t12[w >>> 24] as number) ^
      (t11[x & 255] as number) ^
      (t10[(x >>> 8) & 255] as number) ^
      (t9[(x >>> 16) & 255] as number) ^
      (t8[x >>> 24] as number) ^
      (t7[y & 255] as number) ^
      (t6[(y >>> 8) & 255] as number) ^
      (t5[(y >>> 16) & 255] as number) ^
      (t4[y >>> 24] as number) ^
      (t3[z & 255] as number) ^
      (t2[(z >>> 8) & 255] as number) ^
      (t1[(z >>> 16) & 255] as number) ^
      (t0[z >>> 24] as number);
  }
  return c;
}

// ---- of bytes that are sent and written several times ----

let remembered: Uint8Array | undefined;
let rememberedCrc = 0;

/**
 * Checksum of what is written already, continued with `bytes`. These are never changed: the checksum of the last
 * ones is remembered, so that an entry on its way to the log and to every peer is read once.
 */
export function crc32cShared(bytes: Uint8Array, seed: number): number {
  if (bytes.length < longBytes) return crc32c(bytes, seed);
  if (bytes !== remembered) {
    rememberedCrc = crc32c(bytes);
    remembered = bytes;
  }
  return (multiply(powerOf(bytes.length), seed) ^ rememberedCrc) >>> 0;
}

/** The highest bit is the lowest power, as everywhere here. */
function multiply(a: number, b: number): number {
  let product = 0;
  let factor = b;
  for (let bit = 0x80000000; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= factor;
    factor = factor & 1 ? (factor >>> 1) ^ 0x82f63b78 : factor >>> 1;
  }
  return product;
}

/** x to the powers 8, 16, 32, … modulo the polynomial. */
const powers: readonly number[] = makePowers();

function makePowers(): number[] {
  let p = 0x40000000;
  for (let i = 0; i < 3; i++) p = multiply(p, p);
  return Array.from({ length: 32 }, () => {
    const power = p;
    p = multiply(p, p);
    return power;
  });
}

let lastLength = 0;
let lastPower = 0x80000000;

/** What so many bytes more multiply a checksum by. */
function powerOf(length: number): number {
  if (length === lastLength) return lastPower;
  let p = 0x80000000;
  for (let n = length, i = 0; n !== 0; n >>>= 1, i++) if (n & 1) p = multiply(powers[i] as number, p);
  lastLength = length;
  lastPower = p;
  return p;
}
