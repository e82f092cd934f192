import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slabs, slabBytes, slabsKept } from './slabs.js';

/** The slabs that `count` reservations of a whole slab each come from. */
function take(slabs: Slabs, count: number): Uint8Array[] {
  return Array.from({ length: count }, () => {
    assert.equal(slabs.reserve(slabBytes), 0);
    return slabs.bytes;
  });
}

test('full slabs come again, in turns of the same size, but for those that are held', () => {
  const slabs = new Slabs();
  const first = take(slabs, 5);
  slabs.hold(first[1] as Uint8Array);
  slabs.hold(first[4] as Uint8Array);
  slabs.hold(new Uint8Array(4));
  slabs.again();
  assert.equal(new Set(first).size, 5);
  const second = take(slabs, 5);
  assert.equal(new Set(second).size, 5);
  assert.deepEqual(
    first.map((slab) => second.includes(slab)),
    [true, false, true, true, false],
  );
});

test('the slab that is not full goes on where it was while it is held, else from its start', () => {
  const slabs = new Slabs();
  assert.equal(slabs.reserve(10), 0);
  slabs.again();
  assert.equal(slabs.reserve(10), 0);
  slabs.hold(slabs.bytes);
  slabs.again();
  assert.equal(slabs.reserve(10), 10);
  slabs.again();
  assert.equal(slabs.reserve(10), 20, 'held until it is full');
  const held = slabs.bytes;
  const later = take(slabs, 3);
  slabs.again();
  const last = take(slabs, 3);
  assert.ok(!last.includes(held));
  assert.ok(last.every((slab) => later.includes(slab)));
});

test('no more slabs are kept than the bound says, and none that is larger', () => {
  const slabs = new Slabs();
  const large = slabs.reserve(slabBytes + 1);
  const odd = slabs.bytes;
  assert.deepEqual([large, odd.length], [0, slabBytes + 1]);
  slabs.again();
  const first = take(slabs, slabsKept + 4);
  assert.ok(!first.includes(odd));
  slabs.again();
  const second = take(slabs, slabsKept + 4);
  // The one that was under way at the end of the turn, and those that were kept.
  assert.equal(second.filter((slab) => first.includes(slab)).length, slabsKept + 1);
});
