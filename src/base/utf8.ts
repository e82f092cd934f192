// UTF-8 without a platform object, so that pure rooms can use it. Fast for the short, mostly
// ASCII names that MQTT carries; validates strictly (no surrogates, no overlong forms).

/** Length in bytes of `s` in UTF-8. A lone surrogate counts as U+FFFD (3 bytes). */
export function utf8Length(s: string): number {
  let n = 0;
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c < 0x80) n += 1;
    else if (c < 0x800) n += 2;
    else if (c >= 0xd800 && c < 0xdc00 && isLow(s.charCodeAt(i + 1))) {
      n += 4;
      i++;
    } else n += 3;
  }
  return n;
}

/** Writes `s` at `at` and returns the position after it. The caller made room ({@link utf8Length}). */
export function utf8Write(s: string, out: Uint8Array, at: number): number {
  for (let i = 0; i < s.length; i++) {
    let c = s.charCodeAt(i);
    if (c < 0x80) {
      out[at++] = c;
    } else if (c < 0x800) {
      out[at++] = 0xc0 | (c >> 6);
      out[at++] = 0x80 | (c & 63);
    } else if (c >= 0xd800 && c < 0xdc00 && isLow(s.charCodeAt(i + 1))) {
      c = 0x10000 + ((c - 0xd800) << 10) + (s.charCodeAt(++i) - 0xdc00);
      out[at++] = 0xf0 | (c >> 18);
      out[at++] = 0x80 | ((c >> 12) & 63);
      out[at++] = 0x80 | ((c >> 6) & 63);
      out[at++] = 0x80 | (c & 63);
    } else {
      if (c >= 0xd800 && c < 0xe000) c = 0xfffd;
      out[at++] = 0xe0 | (c >> 12);
      out[at++] = 0x80 | ((c >> 6) & 63);
      out[at++] = 0x80 | (c & 63);
    }
  }
  return at;
}

export function utf8Encode(s: string): Uint8Array {
  const out = new Uint8Array(utf8Length(s));
  utf8Write(s, out, 0);
  return out;
}

/** The string in `bytes[start, end)`, or undefined when it is not well-formed UTF-8. */
export function utf8Decode(bytes: Uint8Array, start: number = 0, end: number = bytes.length): string | undefined {
  let s = '';
  let i = start;
  while (i < end) {
    const a = bytes[i] as number;
    if (a < 0x80) {
      s += String.fromCharCode(a);
      i++;
      continue;
    }
    const size = a >= 0xf0 ? 4 : a >= 0xe0 ? 3 : 2;
    if (a < 0xc2 || a > 0xf4 || i + size > end) return undefined;
    let c = size === 2 ? a & 0x1f : size === 3 ? a & 0x0f : a & 0x07;
    for (let k = 1; k < size; k++) {
      const b = bytes[i + k] as number;
      if ((b & 0xc0) !== 0x80) return undefined;
      c = (c << 6) | (b & 0x3f);
    }
    if (size === 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) return undefined;
    if (size === 4 && (c < 0x10000 || c > 0x10ffff)) return undefined;
    s += c < 0x10000 ? String.fromCharCode(c) : String.fromCharCode(0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 1023));
    i += size;
  }
  return s;
}

function isLow(c: number): boolean {
  return c >= 0xdc00 && c < 0xe000;
}
