import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LiveSet } from './live-set.js';

test('live set: late admissions and purges never bring a dead incarnation back', () => {
  const live = new LiveSet();
  assert.deepEqual(live.admit('a', 1), { admitted: true, replaced: 0 });
  assert.deepEqual(live.admit('a', 3), { admitted: true, replaced: 1 });
  assert.deepEqual(live.admit('a', 2), { admitted: false, replaced: 0 });
  assert.deepEqual(live.admit('a', 3), { admitted: false, replaced: 0 });
  assert.equal(live.purge('a', 1), false);
  assert.equal(live.ofNode('a'), 3);
  assert.equal(live.purge('a', 3), true);
  assert.deepEqual(live.admit('a', 3), { admitted: false, replaced: 0 });
  assert.equal(live.purge('b', 5), false, 'declared dead before it was seen');
  assert.deepEqual(live.admit('b', 5), { admitted: false, replaced: 0 });
});

test('live set: one live incarnation per node at most, the highest admitted one or none', () => {
  const step = fc.record({ kind: fc.constantFrom('admit', 'purge'), node: fc.constantFrom('a', 'b'), incarnation: fc.integer({ min: 1, max: 6 }) });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const live = new LiveSet();
      const dead = new Set<number>();
      for (const s of steps) {
        // Incarnations are the cluster's: those of b are 11 to 16.
        const n = s.node === 'a' ? s.incarnation : s.incarnation + 10;
        if (s.kind === 'admit') {
          const { admitted, replaced } = live.admit(s.node, n);
          assert.ok(!admitted || !dead.has(n), `${n} came back`);
          if (replaced !== 0) dead.add(replaced);
        } else {
          live.purge(s.node, n);
          dead.add(n);
        }
        const copy = new LiveSet(live);
        for (let x = 1; x <= 16; x++) {
          assert.equal(live.has(x), x === live.ofNode('a') || x === live.ofNode('b'));
          assert.equal(copy.has(x), live.has(x));
          assert.ok(!live.has(x) || !dead.has(x));
        }
        assert.ok(live.ofNode(s.node) <= live.highest(s.node));
      }
    }),
  );
});
