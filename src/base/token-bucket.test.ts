import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TokenBucket } from './token-bucket.js';

test('a second of the rate passes at once, then one by one', () => {
  const bucket = new TokenBucket(10, 0);
  for (let i = 0; i < 10; i++) assert.equal(bucket.tryTake(0), true);
  assert.equal(bucket.tryTake(0), false);
  assert.equal(bucket.tryTake(99), false);
  assert.equal(bucket.tryTake(100), true);
  assert.equal(bucket.tryTake(100), false);
  for (let i = 0; i < 10; i++) assert.equal(bucket.tryTake(1_000_000), true, 'no more than a second is saved up');
  assert.equal(bucket.tryTake(1_000_000), false);
});

test('a slow rate lets one through each time', () => {
  const bucket = new TokenBucket(0.1, 5);
  assert.equal(bucket.tryTake(5), true);
  assert.equal(bucket.tryTake(10_000), false);
  assert.equal(bucket.tryTake(10_006), true);
});

test('a debt says how long it lasts, and a clock that stands still pays nothing', () => {
  const bucket = new TokenBucket(1000, 0);
  assert.equal(bucket.spend(1000, 0), 0);
  assert.equal(bucket.spend(500, 0), 500);
  assert.equal(bucket.spend(0, 0), 500);
  assert.equal(bucket.spend(0, 200), 300);
  assert.equal(bucket.spend(0, 500), 0);
  assert.equal(bucket.spend(0, 100), 0, 'earlier times count as now');
});

test('who waits as long as told is never above the rate and the burst', () => {
  const rates = fc.double({ min: 0.5, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(rates, fc.array(fc.record({ n: fc.nat(10_000), idle: fc.nat(3_000) }), { maxLength: 40 }), (rate, steps) => {
      let now = 0;
      let spent = 0;
      const bucket = new TokenBucket(rate, now);
      for (const { n, idle } of steps) {
        now += idle;
        spent += n;
        now += bucket.spend(n, now);
        // After the wait, what went through fits the time that passed and one second's burst.
        assert.ok(spent <= (rate * now) / 1000 + Math.max(1, rate) + 1e-3 * (1 + spent), `${spent} in ${now} ms at ${rate}/s`);
      }
    }),
  );
});
