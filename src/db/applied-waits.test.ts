import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppliedWaits } from './applied-waits.js';

test('every wait is answered once: by its index, its deadline, or the end', () => {
  const waits = new AppliedWaits();
  const seen: string[] = [];
  const wait = (name: string, index: number, deadlineAt: number): void =>
    waits.add(index, deadlineAt, (reached) => {
      seen.push(`${name} ${reached}`);
      // Whoever waits anew in an answer is not answered with the others.
      if (name === 'again') wait('later', index + 1, deadlineAt);
    });
  wait('first', 3, 100);
  wait('again', 3, 100);
  wait('late', 9, 50);
  wait('last', 9, 200);
  waits.reached(2);
  assert.deepEqual(seen, []);
  waits.reached(3);
  assert.deepEqual(seen.splice(0), ['first true', 'again true']);
  waits.expire(50);
  assert.deepEqual(seen.splice(0), ['late false']);
  waits.close();
  assert.deepEqual(seen, ['last false', 'later false']);
  assert.equal(waits.any, false);
});
