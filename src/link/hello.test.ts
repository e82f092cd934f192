import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PeerHello } from './api.js';
import { decodeHello, encodeHello } from './hello.js';

const hello: PeerHello = {
  nodeId: '00112233445566778899aabbccddeeff',
  name: 'core1@10.0.0.5',
  role: 'core',
  clusterId: 'c1',
  incarnation: 7_000_000_000,
  host: '10.0.0.5',
  port: 4370,
  info: Uint8Array.of(1, 2, 3),
};

test('a hello survives the wire', () => {
  assert.deepEqual(decodeHello(hello.nodeId, encodeHello(hello)), hello);
  const empty: PeerHello = { ...hello, role: 'replicant', clusterId: '', incarnation: 0, info: new Uint8Array(64 * 1024) };
  assert.deepEqual(decodeHello(hello.nodeId, encodeHello(empty)), empty);
});

test('cut, lengthened or random bytes are no hello, and never throw', () => {
  const bytes = encodeHello(hello);
  for (let n = 0; n < bytes.length; n++) assert.equal(decodeHello(hello.nodeId, bytes.subarray(0, n)), undefined);
  assert.equal(decodeHello(hello.nodeId, Uint8Array.of(...bytes, 0)), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (junk) => void decodeHello(hello.nodeId, junk)),
    { numRuns: 500 },
  );
});

test('a hello that is too long is a programmer error', () => {
  assert.throws(() => encodeHello({ ...hello, info: new Uint8Array(64 * 1024 + 1) }), /64 KiB/);
  assert.throws(() => encodeHello({ ...hello, name: 'x'.repeat(256) }), /255/);
});
