// UTF-8 Encoded Strings of MQTT (1.5.4): strict, and built flat. Most names are short ASCII, so that is
// the fast way; anything else goes through a block of code units, because adding one character at a time
// would make a rope that costs thirty times the bytes it was sent with.
import { utf8Decode } from '#base/utf8.js';

const blockUnits = 1024;
const block: Uint16Array = new Uint16Array(blockUnits);
// Function.apply takes any array-like; the declared type knows arrays only.
const fromUnits = (units: Uint8Array | Uint16Array): string => String.fromCharCode.apply(null, units as unknown as number[]);

/** The string in `bytes[start, end)`, or undefined when it is not well-formed UTF-8 or holds U+0000. */
export function decodeText(bytes: Uint8Array, start: number, end: number): string | undefined {
  for (let i = start; i < end; i++) {
    const b = bytes[i] as number;
    if (b === 0 || b >= 0x80) return decodeAny(bytes, start, end);
  }
  if (end - start <= blockUnits) return fromUnits(bytes.subarray(start, end));
  let s = '';
  for (let i = start; i < end; i += blockUnits) s += fromUnits(bytes.subarray(i, Math.min(i + blockUnits, end)));
  return s;
}

function decodeAny(bytes: Uint8Array, start: number, end: number): string | undefined {
  let s = '';
  let n = 0;
  let i = start;
  while (i < end) {
    if (n > blockUnits - 2) {
      s += fromUnits(block.subarray(0, n));
      n = 0;
    }
    const a = bytes[i] as number;
    if (a < 0x80) {
      if (a === 0) return undefined; // [MQTT-1.5.4-2]
      block[n++] = a;
      i++;
      continue;
    }
    const size = a >= 0xf0 ? 4 : a >= 0xe0 ? 3 : 2;
    if (a < 0xc2 || a > 0xf4 || i + size > end) return undefined; // [MQTT-1.5.4-1]
    let c = size === 2 ? a & 0x1f : size === 3 ? a & 0x0f : a & 0x07;
    for (let k = 1; k < size; k++) {
      const b = bytes[i + k] as number;
      if ((b & 0xc0) !== 0x80) return undefined; // [MQTT-1.5.4-1]
      c = (c << 6) | (b & 0x3f);
    }
    if (size === 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) return undefined; // [MQTT-1.5.4-1]
    if (size === 4 && (c < 0x10000 || c > 0x10ffff)) return undefined; // [MQTT-1.5.4-1]
    if (c < 0x10000) {
      block[n++] = c; // U+FEFF too: it is a character, never a byte order mark to skip [MQTT-1.5.4-3]
    } else {
      block[n++] = 0xd800 + ((c - 0x10000) >> 10);
      block[n++] = 0xdc00 + ((c - 0x10000) & 1023);
    }
    i += size;
  }
  return s + fromUnits(block.subarray(0, n));
}

/** Whether a payload is what its Payload Format Indicator says: with 1, well-formed UTF-8 (in which U+0000 may occur). */
export function isOfFormat(payload: Uint8Array, properties: { readonly payloadFormatIndicator?: number | undefined } | undefined): boolean {
  return properties?.payloadFormatIndicator !== 1 || utf8Decode(payload) !== undefined;
}

/** True when `s` can be sent: no U+0000, no lone surrogate. For text that did not come from the decoder. */
export function isSendableText(s: string): boolean {
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c === 0) return false; // [MQTT-1.5.4-2]
    if (c < 0xd800 || c >= 0xe000) continue;
    const next = s.charCodeAt(i + 1);
    if (c >= 0xdc00 || !(next >= 0xdc00 && next < 0xe000)) return false; // [MQTT-1.5.4-1]
    i++;
  }
  return true;
}
