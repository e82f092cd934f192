// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), eight bytes a step ("slicing by 8").
// Log records chain it: the checksum of a record starts from its predecessor's.

const tables: Int32Array[] = makeTables();

function makeTables(): Int32Array[] {
  const all = Array.from({ length: 8 }, () => new Int32Array(256));
  const first = all[0] as Int32Array;
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
    first[n] = c;
  }
  for (let n = 0; n < 256; n++) {
    let c = first[n] as number;
    for (let t = 1; t < 8; t++) {
      c = (first[c & 255] as number) ^ (c >>> 8);
      (all[t] as Int32Array)[n] = c;
    }
  }
  return all;
}

const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array];

/** Checksum of `bytes[start, end)`, continuing from `seed` (0 to begin). Unsigned 32 bit. */
export function crc32c(bytes: Uint8Array, seed: number = 0, start: number = 0, end: number = bytes.length): number {
  let c = ~seed;
  let i = start;
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
