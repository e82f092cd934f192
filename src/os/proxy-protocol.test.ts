import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c } from '#base/crc32c.js';
import { headerBytesMax, ProxyParser, type ProxyResult } from './proxy-protocol.js';

const signature = '0d0a0d0a000d0a515549540a';
const text = (s: string): Uint8Array => Buffer.from(s, 'latin1');

function value(type: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([type, bytes.length >> 8, bytes.length & 255]), bytes]);
}

/** `command`: 0x21 PROXY, 0x20 LOCAL. */
function binary(command: number, family: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(signature, 'hex'), Buffer.from([command, family, body.length >> 8, body.length & 255]), body]);
}

const tcp4 = Buffer.from('0a0000010a000002303907d0', 'hex');
const tcp6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000001', 'hex'),
  Buffer.alloc(15),
  Buffer.from([1]),
  Buffer.from('303907d0', 'hex'),
]);

function ssl(client: number, verify: number, ...values: Buffer[]): Buffer {
  const head = Buffer.from([client, verify >>> 24, (verify >>> 16) & 255, (verify >>> 8) & 255, verify & 255]);
  return value(0x20, Buffer.concat([head, ...values]));
}

function whole(bytes: Uint8Array): ProxyResult {
  return new ProxyParser().push(bytes);
}

function source(bytes: Uint8Array): string {
  const result = whole(bytes);
  if (result.kind !== 'done') return result.kind === 'more' ? 'more' : `invalid: ${result.reason}`;
  const { source, commonName } = result.header;
  const at = source === undefined ? 'none' : `${source.host} ${source.port}`;
  return commonName === undefined ? at : `${at} cn=${commonName}`;
}

test('version 1: addresses, and what is not one', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['PROXY TCP4 10.0.0.1 10.0.0.2 12345 1883\r\n', '10.0.0.1 12345'],
    ['PROXY TCP6 2001:db8::1 ::1 12345 1883\r\n', '2001:db8::1 12345'],
    ['PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n', '255.255.255.255 65535'],
    ['PROXY UNKNOWN\r\n', 'none'],
    ['PROXY UNKNOWN whatever it says\r\n', 'none'],
    ['PROXY TCP4 10.0.0.1 10.0.0.2 12345 1883', 'more'],
    ['PROXY TCP4 10.0.0.1 10.0.0.2 12345 1883\r', 'more'],
    ['PROX', 'more'],
    ['', 'more'],
  ];
  for (const [line, expected] of cases) assert.equal(source(text(line)), expected, line);
  const wrong = [
    'PROXY TCP4 10.0.0.1 10.0.0.2 12345 1883\r ',
    'PROXY TCP4 10.0.0.1 10.0.0.2 12345 1883\n',
    'PROXY TCP4 10.0.0.256 10.0.0.2 12345 1883\r\n',
    'PROXY TCP4 ::1 ::1 12345 1883\r\n',
    'PROXY TCP6 10.0.0.1 10.0.0.2 12345 1883\r\n',
    'PROXY TCP6 fe80::1%eth0 ::1 12345 1883\r\n',
    'PROXY TCP4 10.0.0.1 10.0.0.2 65536 1883\r\n',
    'PROXY TCP4 10.0.0.1 10.0.0.2 012 1883\r\n',
    'PROXY TCP4 10.0.0.1 10.0.0.2 -1 1883\r\n',
    'PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n',
    'PROXY TCP4 10.0.0.1 10.0.0.2 1 2 3\r\n',
    'PROXY  TCP4 10.0.0.1 10.0.0.2 1 2\r\n',
    'PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n',
    'PROXY\r\n',
    'proxy TCP4',
    '\x10\x10\0\x04MQTT',
    'GET /mqtt HTTP/1.1\r\n',
    `PROXY UNKNOWN ${'x'.repeat(200)}`,
  ];
  for (const line of wrong) assert.match(source(text(line)), /^invalid/, line);
});

test('version 1: the longest line has 107 bytes', () => {
  const line = (length: number): Uint8Array => text(`${'PROXY UNKNOWN '.padEnd(length - 2, 'x')}\r\n`);
  assert.equal(source(line(107)), 'none');
  assert.match(source(line(108)), /^invalid/);
  assert.equal(source(line(107).subarray(0, 106)), 'more');
  assert.match(source(line(108).subarray(0, 106)), /^invalid/);
});

test('version 2: addresses, local commands, other families', () => {
  const cases: readonly (readonly [string, Uint8Array, string | RegExp])[] = [
    ['TCP4', binary(0x21, 0x11, tcp4), '10.0.0.1 12345'],
    ['TCP6', binary(0x21, 0x21, tcp6), '2001:db8::1 12345'],
    ['unix', binary(0x21, 0x31, Buffer.alloc(216)), 'none'],
    ['unspecified', binary(0x21, 0x00, Buffer.alloc(0)), 'none'],
    ['local', binary(0x20, 0x00, Buffer.alloc(0)), 'none'],
    ['local with what is to be skipped', binary(0x20, 0x11, Buffer.alloc(3)), 'none'],
    ['UDP', binary(0x21, 0x12, tcp4), /^invalid/],
    ['version 1 in binary', binary(0x11, 0x11, tcp4), /^invalid/],
    ['an unknown command', binary(0x22, 0x11, tcp4), /^invalid/],
    ['addresses too short', binary(0x21, 0x11, tcp4.subarray(0, 11)), /^invalid/],
    ['too long', binary(0x21, 0x11, Buffer.alloc(headerBytesMax)), /^invalid/],
    ['as long as may be', binary(0x20, 0x11, Buffer.alloc(headerBytesMax - 16)), 'none'],
    ['a value cut off', binary(0x21, 0x11, Buffer.concat([tcp4, value(1, Buffer.alloc(5)).subarray(0, 7)])), /^invalid/],
    ['half a value', binary(0x21, 0x11, Buffer.concat([tcp4, Buffer.from([1, 0])])), /^invalid/],
  ];
  for (const [name, bytes, expected] of cases) {
    if (typeof expected === 'string') assert.equal(source(bytes), expected, name);
    else assert.match(source(bytes), expected, name);
  }
});

test('version 2: addresses are written as short as may be', () => {
  const at = (hex: string): string => source(binary(0x21, 0x21, Buffer.concat([Buffer.from(hex, 'hex'), Buffer.alloc(16), Buffer.alloc(4)])));
  assert.equal(at('00000000000000000000000000000000'), ':: 0');
  assert.equal(at('00000000000000000000000000000001'), '::1 0');
  assert.equal(at('20010db8000000010000000000000001'), '2001:db8:0:1::1 0');
  assert.equal(at('20010db8000100020003000400050006'), '2001:db8:1:2:3:4:5:6 0');
  assert.equal(at('20010000000100020003000400050006'), '2001:0:1:2:3:4:5:6 0');
  assert.equal(at('20010db8000000000000000000000000'), '2001:db8:: 0');
});

test('version 2: the common name counts only when the proxy has verified the certificate', () => {
  const name = value(0x22, Buffer.from('Übergang 7', 'utf8'));
  const at = (...values: Buffer[]): string => source(binary(0x21, 0x11, Buffer.concat([tcp4, ...values])));
  assert.equal(at(ssl(0x03, 0, name)), '10.0.0.1 12345 cn=Übergang 7');
  assert.equal(at(ssl(0x05, 0, value(0x21, text('TLSv1.3')), name)), '10.0.0.1 12345 cn=Übergang 7', 'shown earlier in the session');
  assert.equal(at(ssl(0x01, 0, name)), '10.0.0.1 12345', 'no certificate');
  assert.equal(at(ssl(0x03, 1, name)), '10.0.0.1 12345', 'not verified');
  assert.equal(at(ssl(0x03, 0)), '10.0.0.1 12345');
  assert.equal(at(name), '10.0.0.1 12345', 'outside of its frame');
  assert.match(at(value(0x20, Buffer.alloc(4))), /^invalid/);
  assert.match(at(ssl(0x03, 0, value(0x22, Buffer.from([0xff])))), /^invalid/);
  assert.match(at(ssl(0x03, 0, value(0x22, Buffer.from('a\0b')))), /^invalid/);
  assert.match(at(ssl(0x03, 0, name.subarray(0, 5))), /^invalid/);
});

test('version 2: a checksum must fit', () => {
  const bytes = binary(0x21, 0x11, Buffer.concat([tcp4, value(0x03, Buffer.alloc(4)), value(0x04, Buffer.alloc(2))]));
  const at = 16 + 12 + 3;
  bytes.writeUInt32BE(crc32c(bytes), at);
  assert.equal(source(bytes), '10.0.0.1 12345');
  bytes.writeUInt8((bytes.readUInt8(at) + 1) & 255, at);
  assert.match(source(bytes), /^invalid: a checksum/);
});

const good: readonly Uint8Array[] = [
  text('PROXY TCP4 10.0.0.1 10.0.0.2 12345 1883\r\n'),
  text('PROXY UNKNOWN\r\n'),
  binary(0x20, 0, Buffer.alloc(0)),
  binary(0x21, 0x11, Buffer.concat([tcp4, ssl(0x03, 0, value(0x22, text('someone')))])),
  binary(0x21, 0x21, tcp6),
];

test('however a header is cut, it says the same and leaves what follows', () => {
  const pieces = fc.tuple(fc.constantFrom(...good), fc.uint8Array({ maxLength: 40 }), fc.array(fc.nat(150), { maxLength: 12 }));
  fc.assert(
    fc.property(pieces, ([header, tail, cuts]) => {
      const bytes = Buffer.concat([header, tail]);
      const parser = new ProxyParser();
      const ends = [...cuts.map((c) => c % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
      let at = 0;
      for (const end of ends) {
        const result = parser.push(bytes.subarray(at, end));
        if (end < header.length) assert.equal(result.kind, 'more');
        at = end;
        if (result.kind === 'more') continue;
        assert.ok(result.kind === 'done');
        const expected = whole(header);
        assert.deepEqual(result.header, expected.kind === 'done' ? expected.header : undefined);
        assert.deepEqual(Buffer.from(result.rest), Buffer.from(bytes.subarray(header.length, end)));
        return;
      }
      assert.fail('never done');
    }),
    { numRuns: 2000 },
  );
  for (const header of good) {
    const parser = new ProxyParser();
    for (let i = 0; i < header.length - 1; i++) assert.equal(parser.push(header.subarray(i, i + 1)).kind, 'more');
    assert.equal(parser.push(header.subarray(header.length - 1)).kind, 'done');
  }
});

test('any bytes: decided within the longest header, whole or in pieces alike, and nothing thrown', () => {
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.concat([Buffer.from(signature, 'hex'), b])),
    fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.concat([text('PROXY TCP4 '), b])),
    fc.tuple(fc.constantFrom(...good), fc.nat(), fc.nat(255)).map(([header, at, byte]) => {
      const bytes = Buffer.from(header);
      bytes[at % bytes.length] = byte;
      return bytes;
    }),
  );
  fc.assert(
    fc.property(garbage, (bytes) => {
      const once = whole(bytes);
      const parser = new ProxyParser();
      let result: ProxyResult = { kind: 'more' };
      for (let i = 0; i < bytes.length && result.kind === 'more'; i++) result = parser.push(bytes.subarray(i, i + 1));
      assert.equal(result.kind, once.kind);
      if (result.kind === 'done' && once.kind === 'done') assert.deepEqual(result.header, once.header);
    }),
    { numRuns: 2000 },
  );
  const endless = new ProxyParser();
  let result = endless.push(Buffer.concat([Buffer.from(signature, 'hex'), Buffer.from([0x20, 0, 0x0f, 0xf0])]));
  let pushed = 16;
  while (result.kind === 'more' && pushed <= headerBytesMax) {
    result = endless.push(new Uint8Array(100));
    pushed += 100;
  }
  assert.equal(result.kind, 'done');
});
