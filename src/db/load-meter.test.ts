import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoadMeter } from './load-meter.js';

function run(m: LoadMeter, fromMs: number, forMs: number, lateMs: number): number {
  let at = fromMs;
  for (; at < fromMs + forMs; at += 50) m.note(at, lateMs);
  return at;
}

test('timers that run a little late are no load; busy ones weigh up to five streams, and are forgotten', () => {
  const m = new LoadMeter();
  let at = run(m, 0, 60_000, 15);
  assert.equal(m.streams, 0);
  at = run(m, at, 300_000, 60);
  assert.ok(Math.abs(m.streams - 2) < 0.01, `${m.streams}`);
  at = run(m, at, 300_000, 10_000);
  assert.equal(m.streams, 5);
  run(m, at, 300_000, 1);
  assert.equal(m.streams, 0);
});

test('one long halt is not a load', () => {
  const m = new LoadMeter();
  const at = run(m, 0, 60_000, 0);
  m.note(at + 30_000, 30_000);
  m.note(at + 30_050, 0);
  assert.equal(m.streams, 0);
});
