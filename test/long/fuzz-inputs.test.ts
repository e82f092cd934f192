// test/long/fuzz-inputs.ts, a little of each kind. How long an input may take is the long run's business.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { newTally } from './fuzz-bytes.js';
import { fuzzInputs } from './fuzz-inputs.js';
import { WebSocketFuzz } from './fuzz-web-socket.js';

for (const [kind, inputs] of [
  ['PROXY protocol', 30_000],
  ['WebSocket', 1_500],
] as const) {
  test(`${kind}: what strangers send is taken or refused, and nothing else happens`, async (t) => {
    const { verdicts, grownBytes } = await fuzzInputs(kind, inputs, 1);
    for (const verdict of kind === 'WebSocket' ? ['taken', 'refused', 'waited for'] : ['taken', 'invalid', 'more'])
      assert.ok((verdicts.get(verdict) ?? 0) > inputs / 100, `${verdict}: ${verdicts.get(verdict)}`);
    t.diagnostic(`${JSON.stringify([...verdicts])}, memory grew by ${grownBytes} bytes`);
  });
}

test('a frame that is refused while a compressed message is being unpacked ends the connection, and nothing else', async () => {
  const tally = newTally();
  await new WebSocketFuzz().refusedBehindCompressed(new Prng(1), tally);
  assert.deepEqual([...tally.verdicts], [['refused', 1]]);
});
