import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '#env/clock.js';
import { Pacer } from './pacer.js';

class ManualClock {
  at = 1_000;
  timers: { readonly at: number; readonly fn: () => void }[] = [];

  readonly clock: Clock = {
    now: () => this.at,
    wallNow: () => this.at,
    endOfTurn: (fn) => fn(),
    setTimer: (delayMs, fn) => {
      const timer = { at: this.at + delayMs, fn };
      this.timers.push(timer);
      return {
        cancel: () => {
          this.timers = this.timers.filter((t) => t !== timer);
        },
      };
    },
  };

  advance(ms: number): void {
    this.at += ms;
    const due = this.timers.filter((t) => t.at <= this.at);
    this.timers = this.timers.filter((t) => t.at > this.at);
    for (const t of due) t.fn();
  }
}

test('a little work is not followed by a pause, much by one of at most the bound', () => {
  const world = new ManualClock();
  const pacer = new Pacer(world.clock, 5);
  let runs = 0;
  const run = (): void => {
    runs++;
  };
  pacer.ran(world.at, 3);
  assert.equal(pacer.holds(run), false);
  pacer.ran(world.at, 8);
  assert.equal(pacer.holds(run), true);
  assert.equal(pacer.holds(run), true);
  world.advance(1.9);
  assert.equal(runs, 0);
  world.advance(0.1);
  assert.equal(runs, 1);
  assert.equal(pacer.holds(run), false);
  pacer.ran(world.at, 1_000_000);
  assert.equal(pacer.holds(run), true);
  world.advance(5);
  assert.equal(runs, 2);
});

test('a round that took long is followed by a pause too, of no more than the bound', () => {
  const world = new ManualClock();
  const pacer = new Pacer(world.clock, 5);
  pacer.ran(world.at, 1, 0.5);
  assert.equal(
    pacer.holds(() => {}),
    false,
  );
  pacer.ran(world.at, 1, 3);
  let ran = 0;
  assert.equal(
    pacer.holds(() => ran++),
    true,
  );
  world.advance(2.9);
  assert.equal(ran, 0);
  world.advance(0.1);
  assert.equal(ran, 1);
  pacer.ran(world.at, 1, 100);
  assert.equal(
    pacer.holds(() => ran++),
    true,
  );
  world.advance(5);
  assert.equal(ran, 2);
});

test('the pause counts from the first asking; after a gap there is none', () => {
  const world = new ManualClock();
  const pacer = new Pacer(world.clock, 5);
  let runs = 0;
  const run = (): void => {
    runs++;
  };
  pacer.ran(world.at, 1_000);
  world.advance(4);
  assert.equal(pacer.holds(run), true);
  world.advance(4.9);
  assert.equal(runs, 0);
  world.advance(0.1);
  assert.equal(runs, 1);
  pacer.ran(world.at, 1_000);
  world.advance(10);
  assert.equal(pacer.holds(run), false);
});

test('after a reset nothing waits', () => {
  const world = new ManualClock();
  const pacer = new Pacer(world.clock, 5);
  pacer.ran(world.at, 100);
  assert.equal(
    pacer.holds(() => assert.fail('cancelled')),
    true,
  );
  pacer.reset();
  world.advance(10);
  assert.equal(
    pacer.holds(() => {}),
    false,
  );
});

test('a longer pause is cut short to the bound when somebody waits, also once it has begun', () => {
  const world = new ManualClock();
  const pacer = new Pacer(world.clock, 4);
  let runs = 0;
  const run = (): void => {
    runs++;
  };
  pacer.ran(world.at, 1, 0, 10);
  assert.equal(pacer.holds(run), true);
  world.advance(3);
  assert.equal(pacer.holds(run, true), true);
  world.advance(3.9);
  assert.equal(runs, 0);
  world.advance(0.1);
  assert.equal(runs, 1);
  pacer.ran(world.at, 1, 0, 10);
  assert.equal(pacer.holds(run), true);
  world.advance(9);
  assert.equal(pacer.holds(run, true), true);
  world.advance(1);
  assert.equal(runs, 2, 'what is due sooner stays');
  assert.equal(world.timers.length, 0);
});
