import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TimerWheel, WheelTimer } from './timer-wheel.js';

class Probe extends WheelTimer {
  readonly id: number;
  readonly log: [number, number][];
  due = 0;
  constructor(id: number, log: [number, number][]) {
    super();
    this.id = id;
    this.log = log;
  }
  onTimer(now: number): void {
    this.log.push([this.id, now]);
  }
}

test('a timer fires once, not before its delay and less than a tick after it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 200_000_000 }), { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 5000 }),
      (delays, step) => {
        const wheel = new TimerWheel(100, 0);
        const log: [number, number][] = [];
        delays.forEach((d, i) => {
          wheel.schedule(new Probe(i, log), d);
        });
        const end = Math.max(...delays) + 300;
        // Small steps over the near part, then leaps to just before and after each deadline.
        const times = new Set<number>([end]);
        for (let t = 0; t < 20_000; t += step) times.add(t);
        for (const d of delays) {
          times.add(d - 1);
          times.add(d + 100);
        }
        for (const t of [...times].sort((a, b) => a - b)) wheel.advance(t);
        assert.equal(log.length, delays.length);
        assert.equal(wheel.count, 0);
        for (const [id, at] of log) {
          const delay = delays[id] as number;
          assert.ok(at >= delay, `fired ${delay - at} ms early`);
          assert.ok(at <= delay + 100 || [...times].every((t) => t <= delay + 99 || t >= at), 'fired late');
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('cancelled and moved timers, also from within a firing one', () => {
  const wheel = new TimerWheel(100, 0);
  const log: [number, number][] = [];
  const a = new Probe(1, log);
  const b = new Probe(2, log);
  const killer = new (class extends WheelTimer {
    onTimer(): void {
      wheel.cancel(a);
      wheel.schedule(b, 1400);
    }
  })();
  wheel.schedule(killer, 100);
  wheel.schedule(a, 100);
  wheel.schedule(b, 100);
  wheel.advance(400);
  assert.deepEqual(log, []);
  wheel.advance(2000);
  assert.deepEqual(
    log.map((e) => e[0]),
    [2],
  );
  assert.equal(wheel.count, 0);
  wheel.cancel(a);
  assert.equal(wheel.count, 0);
});

test('a due time beyond the wheel waits for years of ticks', () => {
  const wheel = new TimerWheel(100, 0);
  const log: [number, number][] = [];
  const probe = new Probe(1, log);
  wheel.schedule(probe, 0xffffffff * 1000);
  wheel.advance(90 * 24 * 3600 * 1000);
  assert.deepEqual(log, []);
  assert.equal(wheel.count, 1);
});
