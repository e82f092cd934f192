import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ByteSlot, ByteSlots } from './byte-slots.js';

test('slots of owners never overlap, whatever was given back before', () => {
  const slots = new ByteSlots(8);
  const owned: { readonly slot: ByteSlot; readonly mark: number }[] = [];
  let state = 7;
  const below = (n: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % n;
  };
  for (let n = 0; n < 5_000; n++) {
    if (owned.length > 0 && below(3) === 0) {
      const [gone] = owned.splice(below(owned.length), 1);
      if (gone !== undefined) slots.give(gone.slot);
    } else {
      const slot = slots.take();
      slot.bytes.fill(n & 0xff, slot.at, slot.at + 8);
      owned.push({ slot, mark: n & 0xff });
    }
    assert.equal(slots.used, owned.length);
  }
  assert.ok(owned.length > 1_024, 'more than two arrays');
  for (const { slot, mark } of owned) assert.deepEqual([...slot.bytes.subarray(slot.at, slot.at + 8)], new Array(8).fill(mark));
});

test('a slot that was given back is the next to be taken, and arrays are made only where all are owned', () => {
  const slots = new ByteSlots(16);
  const all = Array.from({ length: 512 }, () => slots.take());
  assert.equal(new Set(all.map((slot) => slot.bytes)).size, 1);
  const [first] = all;
  assert.ok(first !== undefined);
  slots.give(first);
  assert.equal(slots.take(), first);
  assert.notEqual(slots.take().bytes, first.bytes);
  assert.equal(slots.used, 513);
});
