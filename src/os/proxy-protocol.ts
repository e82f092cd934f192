// The header that a load balancer puts before a client's first byte (PROXY protocol, versions 1 and 2):
// who really connects. Pure: bytes in, header and rest out; the acceptor feeds it.
// Invariants: never throws; a wrong byte is refused as soon as it is seen; at most `headerBytesMax` bytes
// are held; what follows the header is handed back untouched.
import { isIPv4, isIPv6 } from 'node:net';
import { crc32c } from '#base/crc32c.js';
import { utf8Decode } from '#base/utf8.js';
import type { NetAddress } from '#env/net.js';

export interface ProxyHeader {
  /** Undefined: the proxy speaks for itself (LOCAL, UNKNOWN), or names no Internet address. */
  readonly source: NetAddress | undefined;
  /** Common name of the certificate that the client has shown to the proxy, and that the proxy has verified. */
  readonly commonName: string | undefined;
}

export type ProxyResult = Undecided | { readonly kind: 'done'; readonly header: ProxyHeader; readonly rest: Uint8Array };

type Undecided = { readonly kind: 'more' } | { readonly kind: 'invalid'; readonly reason: string };

/** Version 2 could say 65,551 bytes; addresses and the values in use need a few hundred. */
export const headerBytesMax = 4096;

/** The longest line of version 1, its end included. */
const lineBytesMax = 107;
const signature = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const linePrefix = Uint8Array.of(0x50, 0x52, 0x4f, 0x58, 0x59, 0x20);
const fixedBytes = 16;

const more: Undecided = { kind: 'more' };

export class ProxyParser {
  #held: Uint8Array = new Uint8Array(0);
  #end: ProxyResult | undefined = undefined;

  /** Once it has answered `done` or `invalid`, it says so for ever. */
  push(chunk: Uint8Array): ProxyResult {
    if (this.#end !== undefined) return this.#end;
    const before = this.#held.length;
    // Nothing beyond the longest header is looked at, so nothing beyond it is held.
    const take = Math.min(chunk.length, headerBytesMax - before);
    const bytes = before === 0 ? chunk.subarray(0, take) : joined(this.#held, chunk.subarray(0, take));
    const result = parse(bytes);
    if (result.kind === 'more') {
      this.#held = before === 0 ? bytes.slice() : bytes;
      return result;
    }
    this.#held = new Uint8Array(0);
    this.#end = result.kind === 'done' ? { ...result, rest: chunk.subarray(result.length - before) } : result;
    return this.#end;
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

type Parsed = Undecided | { readonly kind: 'done'; readonly header: ProxyHeader; readonly length: number };

function invalid(reason: string): Undecided {
  return { kind: 'invalid', reason };
}

function parse(bytes: Uint8Array): Parsed {
  if (begins(bytes, signature)) return bytes.length < fixedBytes ? more2(bytes) : parse2(bytes);
  if (begins(bytes, linePrefix)) return parse1(bytes);
  return invalid('no PROXY header');
}

/** As far as there are bytes. */
function begins(bytes: Uint8Array, prefix: Uint8Array): boolean {
  const end = Math.min(bytes.length, prefix.length);
  for (let i = 0; i < end; i++) if (bytes[i] !== prefix[i]) return false;
  return true;
}

// ---- version 1: a line of text ----

function parse1(bytes: Uint8Array): Parsed {
  const end = Math.min(bytes.length, lineBytesMax);
  let at = linePrefix.length;
  for (; at < end && bytes[at] !== 0x0d; at++) {
    const byte = bytes[at] as number;
    if (byte < 0x20 || byte > 0x7e) return invalid('a byte that is no text in a line of version 1');
  }
  if (at + 1 >= lineBytesMax) return invalid(`a line of more than ${lineBytesMax} bytes`);
  if (at + 1 >= bytes.length) return more;
  if (bytes[at + 1] !== 0x0a) return invalid('a line of version 1 that ends in the middle');
  const line = String.fromCharCode(...bytes.subarray(linePrefix.length, at));
  const header = parseLine(line);
  return typeof header === 'string' ? invalid(header) : { kind: 'done', header, length: at + 2 };
}

function parseLine(line: string): ProxyHeader | string {
  // Whatever follows UNKNOWN is to be ignored.
  if (line === 'UNKNOWN' || line.startsWith('UNKNOWN ')) return { source: undefined, commonName: undefined };
  const [family, source = '', destination = '', sourcePort = '', destinationPort = '', ...rest] = line.split(' ');
  if (family !== 'TCP4' && family !== 'TCP6') return 'neither TCP4, TCP6 nor UNKNOWN';
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6Plain;
  if (!isAddress(source) || !isAddress(destination)) return `an address that is none of ${family}`;
  const port = portOf(sourcePort);
  if (port === undefined || portOf(destinationPort) === undefined || rest.length > 0) return 'a port that is none';
  return { source: { host: source, port }, commonName: undefined };
}

function isIPv6Plain(host: string): boolean {
  return isIPv6(host) && !host.includes('%');
}

function portOf(text: string): number | undefined {
  const port = /^(?:0|[1-9][0-9]{0,4})$/.test(text) ? Number(text) : 65_536;
  return port > 65_535 ? undefined : port;
}

// ---- version 2: binary ----

/** The signature is there, as far as there are bytes; so are perhaps the command and the family. */
function more2(bytes: Uint8Array): Parsed {
  if (bytes.length > 12) {
    const command = commandOf(bytes);
    if (command === undefined) return invalid('neither version 2 nor a known command');
  }
  return more;
}

function commandOf(bytes: Uint8Array): 'local' | 'proxy' | undefined {
  if (bytes[12] === 0x20) return 'local';
  return bytes[12] === 0x21 ? 'proxy' : undefined;
}

const addressBytes: ReadonlyMap<number, number> = new Map([
  [0x00, 0],
  [0x11, 12],
  [0x21, 36],
  [0x31, 216],
]);

function parse2(bytes: Uint8Array): Parsed {
  const command = commandOf(bytes);
  if (command === undefined) return invalid('neither version 2 nor a known command');
  const length = fixedBytes + (((bytes[14] as number) << 8) | (bytes[15] as number));
  if (length > headerBytesMax) return invalid(`a header of more than ${headerBytesMax} bytes`);
  const family = bytes[13] as number;
  const addresses = addressBytes.get(family);
  if (command === 'proxy' && (addresses === undefined || length < fixedBytes + addresses)) return invalid('no stream between known addresses');
  if (bytes.length < length) return more;
  // A proxy that speaks for itself, such as a health check: the rest is to be skipped.
  if (command === 'local') return { kind: 'done', header: { source: undefined, commonName: undefined }, length };
  const values = valuesOf(bytes, fixedBytes + (addresses ?? 0), length);
  if (typeof values === 'string') return invalid(values);
  return { kind: 'done', header: { source: sourceOf(bytes, family), commonName: values.commonName }, length };
}

function sourceOf(bytes: Uint8Array, family: number): NetAddress | undefined {
  if (family === 0x11) return { host: bytes.subarray(16, 20).join('.'), port: u16(bytes, 24) };
  if (family !== 0x21) return undefined;
  const words: string[] = [];
  for (let at = 16; at < 32; at += 2) words.push(u16(bytes, at).toString(16));
  return { host: shortest(words), port: u16(bytes, 48) };
}

/** RFC 5952: the longest run of zeros, of two words at least, is left out. */
function shortest(words: readonly string[]): string {
  let from = 0;
  let length = 1;
  for (let i = 0; i < words.length; i++) {
    let n = 0;
    while (words[i + n] === '0') n++;
    if (n > length) {
      from = i;
      length = n;
    }
  }
  return length === 1 ? words.join(':') : `${words.slice(0, from).join(':')}::${words.slice(from + length).join(':')}`;
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

function u32(bytes: Uint8Array, at: number): number {
  return u16(bytes, at) * 65_536 + u16(bytes, at + 2);
}

const typeCrc32c = 0x03;
const typeSsl = 0x20;
const typeSslCommonName = 0x22;
/** The client has shown a certificate, on this connection or in the TLS session that it resumes. */
const certificateShown = 0x06;
const sslHeadBytes = 5;

interface Values {
  commonName: string | undefined;
}

/** The values behind the addresses, or what is wrong with them. */
function valuesOf(bytes: Uint8Array, from: number, end: number): Values | string {
  const values: Values = { commonName: undefined };
  let wrong: string | undefined;
  const whole = eachValue(bytes, from, end, (type, start, stop) => {
    if (type === typeCrc32c && !checksumFits(bytes, start, stop, end)) wrong = 'a checksum that does not fit';
    if (type === typeSsl) wrong ??= readSsl(bytes, start, stop, values);
  });
  return wrong ?? (whole ? values : 'values longer than the header');
}

function eachValue(bytes: Uint8Array, from: number, end: number, visit: (type: number, start: number, stop: number) => void): boolean {
  let at = from;
  while (at < end) {
    if (at + 3 > end) return false;
    const stop = at + 3 + u16(bytes, at + 1);
    if (stop > end) return false;
    visit(bytes[at] as number, at + 3, stop);
    at = stop;
  }
  return true;
}

function checksumFits(bytes: Uint8Array, start: number, stop: number, end: number): boolean {
  if (stop - start !== 4) return false;
  const zeros = crc32c(new Uint8Array(4), crc32c(bytes, 0, 0, start));
  return crc32c(bytes, zeros, stop, end) === u32(bytes, start);
}

function readSsl(bytes: Uint8Array, start: number, stop: number, values: Values): string | undefined {
  if (stop - start < sslHeadBytes) return 'a value about TLS that is too short';
  // Zero: the proxy has verified the certificate.
  const trusted = ((bytes[start] as number) & certificateShown) !== 0 && u32(bytes, start + 1) === 0;
  let wrong: string | undefined;
  const whole = eachValue(bytes, start + sslHeadBytes, stop, (type, from, to) => {
    if (type !== typeSslCommonName) return;
    const name = utf8Decode(bytes, from, to);
    if (name === undefined || name.includes('\0')) wrong = 'a common name that is no text';
    else if (trusted) values.commonName = name;
  });
  return wrong ?? (whole ? undefined : 'values about TLS longer than their frame');
}
