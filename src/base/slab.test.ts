import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from './prng.js';
import { Slab } from './slab.js';

test('slab: every array is as long as asked for, and nobody else’s', () => {
  const prng = new Prng(3);
  const slab = new Slab();
  assert.equal(slab.take(0).length, 0);
  const taken: Uint8Array[] = [];
  for (let i = 0; i < 2_000; i++) {
    const bytes = slab.take(prng.chance(0.02) ? prng.int(100_000) : prng.int(300));
    assert.ok(
      bytes.every((b) => b === 0),
      'zeros',
    );
    taken.push(bytes.fill(i & 255));
  }
  for (const [i, bytes] of taken.entries()) assert.ok(bytes.every((b) => b === (i & 255)));
});
