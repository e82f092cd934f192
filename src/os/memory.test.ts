import assert from 'node:assert/strict';
import { test } from 'node:test';
import { availableBytes, OsMemory } from './memory.js';

const MiB = 1_048_576;

test('memory that is held is seen, and seen to be gone after a collection', async () => {
  const memory = new OsMemory();
  memory.collect();
  const before = memory.sample();
  let held: Uint8Array[] | undefined = Array.from({ length: 64 }, () => new Uint8Array(MiB).fill(1));
  const during = memory.sample();
  assert.equal(held.length, 64);
  held = undefined;
  // The memory of arrays is given back by a thread of V8's, which the next collection waits for.
  let after = memory.sample();
  for (let i = 0; i < 100 && after.bufferBytes - before.bufferBytes >= 32 * MiB; i++) {
    memory.collect();
    await new Promise((resolve) => void setImmediate(resolve));
    after = memory.sample();
  }
  // What was garbage before may be freed meanwhile.
  assert.ok(during.bufferBytes - before.bufferBytes >= 60 * MiB, 'arrays beside the heap count');
  assert.ok(during.residentBytes - before.residentBytes >= 60 * MiB, `${during.residentBytes - before.residentBytes} bytes more are resident`);
  assert.ok(after.bufferBytes - before.bufferBytes < 32 * MiB, 'what nobody holds is collected');
  assert.ok(before.heapBytes > 0 && before.heapBytes < memory.heapLimitBytes);
});

test('the bound of a container counts where there is one', () => {
  assert.equal(availableBytes(undefined, 1000), 1000);
  assert.equal(availableBytes(0, 1000), 1000);
  assert.equal(availableBytes(2 ** 64, 1000), 1000);
  assert.equal(availableBytes(400, 1000), 400);
  assert.ok(new OsMemory().availableBytes > 0);
});
