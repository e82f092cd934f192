// PROXY headers made by the grammar of both versions, whole or damaged, in pieces. What was made whole is read as it
// was meant; a verdict does not depend on the pieces; a header ends where it says, and what follows is handed back.
import assert from 'node:assert/strict';
import { crc32c } from '#base/crc32c.js';
import type { Prng } from '#base/prng.js';
import { headerBytesMax, ProxyParser, type ProxyResult } from '#os/proxy-protocol.js';
import { damaged, hex, latin, pieces, type Tally, timed, watched } from './fuzz-bytes.js';

/** What it was made to say. */
interface Header {
  readonly bytes: Buffer;
  /** `HOST PORT CN`. */
  readonly says: string;
}

const none = 'none';

function ip4(p: Prng): string {
  return Array.from({ length: 4 }, () => (p.chance(0.3) ? p.pick([0, 255]) : p.int(256))).join('.');
}

function words(p: Prng): number[] {
  return Array.from({ length: 8 }, () => (p.chance(0.5) ? 0 : p.int(65_536)));
}

function version1(p: Prng): Header {
  if (p.chance(0.1)) return { bytes: latin(`PROXY UNKNOWN${p.pick(['', ' x', ` ${'f'.repeat(p.int(90))}`])}\r\n`), says: none };
  const six = p.chance(0.5);
  const address = (): string =>
    six
      ? words(p)
          .map((w) => w.toString(16))
          .join(':')
      : ip4(p);
  const source = address();
  const port = p.int(65_536);
  return { bytes: latin(`PROXY TCP${six ? 6 : 4} ${source} ${address()} ${port} ${p.int(65_536)}\r\n`), says: `${source} ${port}` };
}

function value(type: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([type, bytes.length >> 8, bytes.length & 255]), bytes]);
}

function ssl(p: Prng): { readonly bytes: Buffer; readonly commonName: string | undefined } {
  const name = p.pick(['client', 'ü', 'a'.repeat(p.int(200)), '']);
  const shown = p.chance(0.7) ? p.pick([2, 3, 4, 6, 7]) : p.pick([0, 1]);
  const verify = p.chance(0.7) ? 0 : 1;
  const parts = [value(0x21, latin('TLSv1.3')), value(0x22, Buffer.from(name)), value(0x23, latin('cipher'))].filter(
    (_, i) => i === 1 || p.chance(0.5),
  );
  const trusted = (shown & 6) !== 0 && verify === 0;
  return { bytes: value(0x20, Buffer.concat([Buffer.from([shown, 0, 0, 0, verify]), ...parts])), commonName: trusted ? name : undefined };
}

function version2(p: Prng): Header {
  const local = p.chance(0.1);
  const [family, length] = p.pick([
    [0x11, 12],
    [0x21, 36],
    [0x31, 216],
    [0x00, 0],
  ] as const);
  const addresses = Buffer.from(p.bytes(length));
  if (family === 0x21) for (const [i, w] of words(p).entries()) addresses.writeUInt16BE(w, i * 2);
  const values: Buffer[] = [];
  let commonName: string | undefined;
  for (let n = p.int(4); n > 0; n--)
    values.push(value(p.pick([0x01, 0x02, 0x04, 0x05, 0x30, 0xe0, 0xff]), p.bytes(p.int(p.chance(0.05) ? 900 : 40))));
  if (p.chance(0.4)) {
    const made = ssl(p);
    values.splice(p.int(values.length + 1), 0, made.bytes);
    commonName = made.commonName;
  }
  const checked = p.chance(0.4);
  if (checked) values.push(value(0x03, Buffer.alloc(4)));
  const body = Buffer.concat([addresses, ...values]);
  const head = Buffer.from([
    0x0d,
    0x0a,
    0x0d,
    0x0a,
    0,
    0x0d,
    0x0a,
    0x51,
    0x55,
    0x49,
    0x54,
    0x0a,
    local ? 0x20 : 0x21,
    family,
    body.length >> 8,
    body.length & 255,
  ]);
  const bytes = Buffer.concat([head, body]);
  if (checked) bytes.writeUInt32BE(crc32c(bytes), bytes.length - 4);
  if (local) return { bytes, says: none };
  const at = family === 0x11 ? `${addresses.subarray(0, 4).join('.')} ${addresses.readUInt16BE(8)}` : family === 0x21 ? sixOf(addresses) : none;
  return { bytes, says: commonName === undefined ? at : `${at} cn=${commonName}` };
}

/** All eight words; a verdict's short form is unfolded to compare. */
function sixOf(addresses: Buffer): string {
  const list = Array.from({ length: 8 }, (_, i) => addresses.readUInt16BE(i * 2).toString(16));
  return `${list.join(':')} ${addresses.readUInt16BE(32)}`;
}

function unfolded(host: string): string {
  if (!host.includes('::')) return host;
  const [before = '', after = ''] = host.split('::');
  const left = before === '' ? [] : before.split(':');
  const right = after === '' ? [] : after.split(':');
  return [...left, ...new Array<string>(8 - left.length - right.length).fill('0'), ...right].join(':');
}

function saidBy(result: ProxyResult): string {
  if (result.kind !== 'done') return result.kind;
  const { source, commonName } = result.header;
  const at = source === undefined ? none : `${unfolded(source.host)} ${source.port}`;
  return commonName === undefined ? at : `${at} cn=${commonName}`;
}

function parsed(chunks: readonly Uint8Array[]): { readonly said: string; readonly rest: Buffer } {
  const parser = new ProxyParser();
  let result: ProxyResult = { kind: 'more' };
  const rest: Uint8Array[] = [];
  for (const chunk of chunks) {
    if (result.kind === 'done') rest.push(chunk);
    else result = parser.push(chunk);
    if (result.kind === 'done' && rest.length === 0) rest.push(result.rest);
  }
  return { said: saidBy(result), rest: Buffer.concat(rest) };
}

export async function fuzzProxy(prng: Prng, inputs: number, tally: Tally): Promise<void> {
  for (let i = 0; i < inputs; i++) {
    const header = prng.chance(0.5) ? version1(prng) : version2(prng);
    const behind = prng.chance(0.7) ? Buffer.from(prng.bytes(prng.int(40))) : Buffer.alloc(0);
    const whole = prng.chance(0.3);
    const sent = Buffer.concat([whole ? header.bytes : damaged(header.bytes, prng), behind]);
    const chunks = pieces(sent, prng);
    const run = (): string => {
      const { said, rest } = parsed(chunks);
      const atOnce = parsed([sent]);
      assert.equal(said, atOnce.said, hex(sent));
      assert.deepEqual(rest, atOnce.rest, hex(sent));
      if (whole) {
        assert.equal(said, header.says, hex(sent));
        assert.deepEqual(rest, behind, hex(sent));
      } else if (said !== 'more' && said !== 'invalid') assert.ok(sent.subarray(sent.length - rest.length).equals(rest), hex(sent));
      if (said === 'more') assert.ok(sent.length < headerBytesMax, hex(sent));
      return said === 'more' || said === 'invalid' ? said : 'taken';
    };
    const answer = watched(tally, sent, () => timed(run));
    // Nothing in here waits for anything: a turn of the event loop now and then is enough.
    if (i % 1_000 === 0) await answer;
  }
}
