// Plays the table of malformed packets: each ends decoding with its reason, in one piece and byte by byte.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defined } from '#base/assert.js';
import { fromHex } from '#base/bytes.js';
import { Decoder, DecoderSettings } from './decoder.js';
import { rows } from './malformed-table.test.js';
import type { ProtocolVersion } from './packet.js';
import { theirVerdict } from './theirs.test.js';

for (const [rule, who, hex, code, message, theirs] of rows) {
  test(`malformed: ${rule}`, () => {
    const frame = defined(fromHex(hex.replaceAll(' ', '')), 'hex');
    const version = Number(who[1]);
    const settings = new DecoderSettings({
      role: who[0] === 'c' ? 'server' : 'client',
      protocolVersion: version === 0 ? undefined : (version as ProtocolVersion),
    });
    const decoder = new Decoder(settings);
    const error = decoder.push(frame, () => assert.fail('accepted'));
    assert.deepEqual([error?.reasonCode, error?.message], [code, message]);
    assert.equal(
      decoder.push(Uint8Array.of(0xc0, 0), () => assert.fail('goes on')),
      error,
    );
    // Byte by byte it ends the same way.
    const slow = new Decoder(settings);
    for (const b of frame) slow.push(Uint8Array.of(b), () => assert.fail('accepted'));
    assert.deepEqual(slow.error, error);

    const verdict = theirVerdict(frame, version === 0 ? 4 : (version as ProtocolVersion));
    const did = verdict.error !== undefined ? 'refuses' : verdict.packet === undefined ? 'waits' : 'accepts';
    assert.equal(did, theirs.split(':')[0]);
  });
}
