// Small ones of the hostile peers: honest messages all arrive, and memory stays below the watermark, which
// each of the large ones among them would leave behind within the time. How long honest messages take is the
// business of `npm run long -- hostile`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attacks, runHostile } from './hostile.js';

interface Size {
  readonly peers: number;
  readonly watermarkMiB: number;
  /** Up to which level the node must have come: otherwise it was not the watermark that kept it there. */
  readonly level: number;
}

/**
 * With so little memory one turn of the event loop on a busy machine is a large part of it (docs/operations.md): 12 MiB more
 * were seen once. Without the watermark it is 35 MiB more at least. The long run has none of it.
 */
const slackMiB = 24;

const usual: Size = { peers: 60, watermarkMiB: 256, level: 0 };
const sizes: Readonly<Record<string, Size>> = {
  'subscribers that never read': { peers: 100, watermarkMiB: 192, level: 1 },
  'absent sessions that are sent more than there is memory': { peers: 60, watermarkMiB: 192, level: 2 },
  'large messages that are never finished': { peers: 500, watermarkMiB: 384, level: 1 },
};

for (const name of Object.keys(attacks)) {
  const { peers, watermarkMiB, level } = sizes[name] ?? usual;
  test(`honest clients beside ${peers} of: ${name}`, async () => {
    const result = await runHostile(name, { peers, seconds: 5, watermarkMiB, slackMiB });
    assert.ok(result.sent > 0);
    assert.equal(result.received, result.sent);
    assert.ok(result.level >= level, `it came to level ${result.level}, with ${result.memoryMiB} MiB`);
  });
}
