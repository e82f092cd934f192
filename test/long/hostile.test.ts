// Small ones of the hostile peers: honest messages all arrive, and memory stays within its bound. How long
// they take is the business of `npm run long -- hostile`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attacks, runHostile } from './hostile.js';

for (const name of Object.keys(attacks)) {
  test(`honest clients beside 60 of: ${name}`, async () => {
    const result = await runHostile(name, { peers: 60, seconds: 3 });
    assert.ok(result.sent > 0);
    assert.equal(result.received, result.sent);
  });
}
