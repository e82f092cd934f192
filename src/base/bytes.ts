// Helpers for Uint8Array. Buffers of Node are Uint8Arrays too, but nothing here needs Node.

export const emptyBytes: Uint8Array = new Uint8Array(0);

/** Order of keys everywhere: unsigned bytes, the shorter one first on a tie. Returns <0, 0 or >0. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    const d = (a[i] as number) - (b[i] as number);
    if (d !== 0) return d;
  }
  return a.length - b.length;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let total = 0;
  for (const p of parts) total += p.length;
  const out = new Uint8Array(total);
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

/** A copy that does not share memory: for bytes that are kept past the turn they arrived in. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length);
  out.set(bytes);
  return out;
}

const hexPairs: readonly string[] = Array.from({ length: 256 }, (_, b) => b.toString(16).padStart(2, '0'));

export function toHex(bytes: Uint8Array): string {
  let s = '';
  for (let i = 0; i < bytes.length; i++) s += hexPairs[bytes[i] as number] as string;
  return s;
}

/** Undefined when `hex` is not an even number of hexadecimal digits. */
export function fromHex(hex: string): Uint8Array | undefined {
  if (hex.length % 2 !== 0) return undefined;
  const out = new Uint8Array(hex.length / 2);
  for (let i = 0; i < out.length; i++) {
    const high = hexDigit(hex.charCodeAt(2 * i));
    const low = hexDigit(hex.charCodeAt(2 * i + 1));
    if (high < 0 || low < 0) return undefined;
    out[i] = (high << 4) | low;
  }
  return out;
}

/** -1: it is none. */
function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const lower = c | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Bytes as a string with one character per byte: a Map key for byte keys, ordered like the bytes. */
export function byteString(bytes: Uint8Array): string {
  const n = bytes.length;
  if (n <= 64) {
    let s = '';
    let i = 0;
    // Eight at a time: a string of its own for every character and for every step of joining them costs more than all else.
    for (; i + 8 <= n; i += 8) s += eightCharacters(bytes, i);
    for (; i < n; i++) s += String.fromCharCode(bytes[i] as number);
    return s;
  }
  let s = '';
  for (let i = 0; i < n; i += 4096) s += String.fromCharCode.apply(null, bytes.subarray(i, i + 4096) as unknown as number[]);
  return s;
}

function eightCharacters(b: Uint8Array, i: number): string {
  return String.fromCharCode(
    b[i] as number,
    b[i + 1] as number,
    b[i + 2] as number,
    b[i + 3] as number,
    b[i + 4] as number,
    b[i + 5] as number,
    b[i + 6] as number,
    b[i + 7] as number,
  );
}

/** Inverse of {@link byteString}. */
export function fromByteString(s: string): Uint8Array {
  const out = new Uint8Array(s.length);
  for (let i = 0; i < s.length; i++) out[i] = s.charCodeAt(i);
  return out;
}
