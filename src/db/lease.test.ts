import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Grantee, HeldLease, leaseMargin } from './lease.js';

const terms = { leaseMs: 500, joinMs: 500, lateMs: 2_000 };
const always = Number.POSITIVE_INFINITY;

test('the holder stops counting itself before its grantor does, whatever the ways and clocks', () => {
  const part = { min: 0, max: 1, noNaN: true };
  fc.assert(
    fc.property(
      fc.array(fc.record({ pause: fc.double(part), there: fc.double(part), back: fc.double(part), ends: fc.double(part) }), {
        minLength: 1,
        maxLength: 30,
      }),
      fc.double({ min: 1 - leaseMargin / 2, max: 1, noNaN: true }),
      fc.double({ min: 1, max: 1 + leaseMargin / 2, noNaN: true }),
      (rounds, holderRate, grantorRate) => {
        const held = new HeldLease();
        const grantee = new Grantee(terms);
        let now = 0;
        for (const r of rounds) {
          now += r.pause * 600;
          const sentAt = now * holderRate;
          const askedAt = now + r.there * 700;
          const ends = (askedAt + r.ends * 600) * grantorRate;
          let ms = grantee.renew(askedAt * grantorRate, 1, 5, 5, 5, ends);
          now = askedAt + r.back * 700;
          if (ms > 0) held.take(sentAt, ms, 5);
          assert.ok(held.until(5) / holderRate <= grantee.until / grantorRate);
          ms = grantee.extend(now * grantorRate, ends + 300 * grantorRate);
          if (ms > 0) held.take(sentAt, ms, 5);
          assert.ok(held.until(5) / holderRate <= grantee.until / grantorRate);
        }
      },
    ),
  );
});

test('a lease with a floor counts once the holder has seen it; what was held before goes on until then', () => {
  const held = new HeldLease();
  held.take(0, 500, 3);
  assert.equal(held.until(2), Number.NEGATIVE_INFINITY);
  assert.equal(held.until(3), 475);
  held.take(300, 500, 9);
  assert.equal(held.until(8), 475);
  assert.equal(held.floor, 3);
  assert.equal(held.until(9), 775);
  assert.equal(held.floor, 9);
  held.take(100, 500, 9);
  assert.equal(held.until(9), 775, 'an answer that came late shortens nothing');
  held.drop();
  assert.equal(held.until(9), Number.NEGATIVE_INFINITY);
});

test('whoever does not reach its floor while everybody waits is let go, and not let in again at once', () => {
  const g = new Grantee(terms);
  assert.equal(g.renew(0, 1, 1, 10, 10, always), 500);
  assert.equal(g.renew(400, 1, 4, 14, 10, always), 500);
  assert.equal(g.renew(600, 1, 6, 16, 10, always), 0, 'the floor was to be reached in time');
  assert.equal(g.extend(650, always), 0);
  assert.equal(g.counts(899), true);
  assert.equal(g.counts(900), false);
  assert.equal(g.renew(1_000, 1, 9, 20, 20, always), 0);
  assert.equal(g.renew(2_700, 1, 20, 20, 20, always), 500);
});

test('whoever follows within its time counts, though never level; whoever lags is let go', () => {
  const g = new Grantee(terms);
  let target = 10;
  assert.equal(g.renew(0, 1, 10, target, 10, always), 500);
  for (let now = 100; now <= 10_000; now += 100) {
    const seen = target - 5;
    target += 10;
    assert.equal(g.renew(now, 1, seen, target, 0, always), 500, `at ${now}`);
  }
  let letGo = 0;
  for (let now = 10_100; letGo === 0; now += 100) if (g.renew(now, 1, target - 5, target + 100, 0, always) === 0) letGo = now;
  assert.ok(letGo > 11_800 && letGo < 12_500, `at ${letGo}`);
});

test('nothing is granted beyond the end of the grantor’s own lease; when that moves, so does what it gave', () => {
  const g = new Grantee(terms);
  assert.equal(g.renew(100, 7, 1, 1, 1, 100), 0);
  assert.equal(g.counts(100), false);
  assert.equal(g.extend(110, 300), 200, 'from the request on');
  assert.equal(g.round, 7);
  assert.equal(g.until, 300);
  assert.equal(g.extend(120, 320), 0, 'not worth a message');
  assert.equal(g.extend(130, 900), 500, 'nor does it last without being asked for again');
  assert.equal(g.extend(140, 1_400), 0);
});
