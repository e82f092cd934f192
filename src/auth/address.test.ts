import assert from 'node:assert/strict';
import { BlockList, isIP } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { inNetwork, parseAddress, parseNetwork, peerHost } from './address.js';

const v4 = fc.ipV4();
const v6 = fc.ipV6();

test('takes what Node takes for addresses, and nothing else', () => {
  const mixed = fc.oneof(v4, v6, fc.string({ unit: fc.constantFrom(...'0123456789abcdef.::'), maxLength: 20 }));
  fc.assert(
    fc.property(mixed, (text) => assert.equal(parseAddress(text) !== undefined, isIP(text) !== 0, text)),
    { numRuns: 3_000 },
  );
});

test('networks hold what a block list holds', () => {
  fc.assert(
    fc.property(v4, fc.nat(32), v4, (base, prefix, address) => {
      const list = new BlockList();
      list.addSubnet(base, prefix, 'ipv4');
      const network = parseNetwork(`${base}/${prefix}`);
      const bytes = parseAddress(address);
      assert.ok(network !== undefined && bytes !== undefined);
      assert.equal(inNetwork(bytes, network), list.check(address, 'ipv4'));
    }),
  );
  const network = parseNetwork('fe80::/10');
  assert.ok(network !== undefined);
  assert.equal(inNetwork(parseAddress('fe81::1') ?? new Uint8Array(0), network), true);
  assert.equal(inNetwork(parseAddress('::1') ?? new Uint8Array(0), network), false);
});

test('IPv4 in its IPv6 form is IPv4', () => {
  assert.deepEqual(parseAddress('::ffff:10.1.2.3'), Uint8Array.of(10, 1, 2, 3));
  assert.equal(peerHost('[::ffff:10.1.2.3]:80'), '10.1.2.3');
  assert.equal(peerHost('10.1.2.3:80'), '10.1.2.3');
  assert.equal(peerHost('[::1]:80'), '::1');
  const network = parseNetwork('::ffff:10.0.0.0/104');
  assert.ok(network !== undefined);
  assert.equal(inNetwork(Uint8Array.of(10, 9, 9, 9), network), true);
});

test('networks that are none', () => {
  for (const bad of ['10.0.0.0/33', '10.0.0.0/', '10.0.0/8', '::/129', 'x', '', '1.2.3.4/-1', '01.2.3.4'])
    assert.equal(parseNetwork(bad), undefined, bad);
});
