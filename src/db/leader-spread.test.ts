import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LeaderSpread, type SpreadEffect, type SpreadView } from './leader-spread.js';

const pauseMs = 1_000;
const lookMs = 100;

/** `leaders`: a letter per shard, the core that leads it; shards are named by their place. */
function view(self: string, leaders: string, cores: string = 'abc', more: Partial<SpreadView> = {}): SpreadView {
  const shards = [...leaders].map((leader, i) => ({ shard: `${i}`, leader: leader === '-' ? '' : leader }));
  return { self, shards, cores: [...cores], calm: true, fit: () => true, ...more };
}

/** Looks at the same thing until it decides something, for `forMs` at most. */
function watch(m: LeaderSpread, v: SpreadView, from: number, forMs: number): { readonly at: number; readonly effects: SpreadEffect[] } {
  let at = from;
  for (; at <= from + forMs; at += lookMs) {
    const effects = m.step({ type: 'look', view: v }, at);
    if (effects.length > 0) return { at, effects };
  }
  return { at, effects: [] };
}

test('the one that leads most asks the one that leads least, after a pause, and hands on what was agreed to', () => {
  const m = new LeaderSpread(pauseMs);
  const v = view('a', 'aaab');
  const asked = watch(m, v, 0, 10_000);
  assert.deepEqual(asked, { at: pauseMs, effects: [{ type: 'ask', shard: '0', to: 'c', leads: 3 }] });
  assert.deepEqual(m.step({ type: 'look', view: v }, 5_000), [], 'not twice while it waits for the answer');
  assert.deepEqual(m.step({ type: 'answer', shard: '0', to: 'c', yes: true }, 5_000), [{ type: 'transfer', shard: '0', to: 'c' }]);
  assert.deepEqual(watch(m, view('a', 'caab'), 5_100, 60_000).effects, [], 'two, one and one is even');
});

test('who leads less than another waits for him first', () => {
  const second = watch(new LeaderSpread(pauseMs), view('b', 'aabb'), 0, 10_000);
  assert.equal(second.at, 2 * pauseMs);
  const first = watch(new LeaderSpread(pauseMs), view('a', 'aabb'), 0, 10_000);
  assert.equal(first.at, pauseMs);
});

test('one more is not worth a move', () => {
  for (const leaders of ['a', 'ab', 'abc', 'aabbc', 'aabc'])
    assert.deepEqual(watch(new LeaderSpread(pauseMs), view('a', leaders), 0, 60_000).effects, []);
});

test('nothing moves while a leader is unknown, leads from afar, or something else goes on', () => {
  for (const v of [
    view('a', 'aaa-'),
    view('a', 'aaad'),
    view('a', 'aaaa', 'abc', { calm: false }),
    view('a', 'aaaa', 'a'),
    view('a', 'aaaa', 'abc', { fit: () => false }),
  ])
    assert.deepEqual(watch(new LeaderSpread(pauseMs), v, 0, 60_000).effects, []);
});

test('every change begins the pause anew', () => {
  const m = new LeaderSpread(pauseMs);
  let at = 0;
  for (let i = 0; i < 20; i++) {
    const { effects, at: to } = watch(m, view('a', i % 2 === 0 ? 'aaaab' : 'aaaac'), at, pauseMs - lookMs);
    assert.deepEqual(effects, []);
    at = to;
  }
  const asked = watch(m, view('a', 'aaaab', 'abcd'), at, 10_000);
  assert.equal(asked.at, at + pauseMs);
  // A core that is not calm for a moment only.
  const other = new LeaderSpread(pauseMs);
  watch(other, view('a', 'aaaa'), 0, pauseMs - lookMs);
  other.step({ type: 'look', view: view('a', 'aaaa', 'abc', { calm: false }) }, pauseMs);
  assert.equal(watch(other, view('a', 'aaaa'), pauseMs + lookMs, 10_000).at, 2 * pauseMs + lookMs);
});

test('a core that refuses, or never comes to lead, is asked more and more rarely, and the next one meanwhile', () => {
  const m = new LeaderSpread(pauseMs);
  const v = view('a', 'aaaa');
  const times: { readonly to: string; readonly at: number }[] = [];
  let at = 0;
  while (at < 100_000) {
    const found = watch(m, v, at, 100_000 - at);
    at = found.at + lookMs;
    const e = found.effects[0];
    if (e?.type !== 'ask') break;
    times.push({ to: e.to, at: found.at });
    m.step({ type: 'answer', shard: e.shard, to: e.to, yes: e.to === 'b' && times.length < 3 }, found.at);
  }
  assert.equal(times[0]?.to, 'b');
  assert.equal(times[1]?.to, 'c', 'b did not come to lead: the other one');
  const ofC = times.filter((t) => t.to === 'c').map((t) => t.at);
  const gaps = ofC.slice(1).map((t, i) => t - (ofC[i] as number));
  assert.ok(gaps.length >= 3 && gaps.every((g, i) => i === 0 || g >= Math.min(11 * pauseMs, 1.9 * (gaps[i - 1] as number))), `${gaps}`);
});

test('switched off nothing is ever moved', () => {
  assert.deepEqual(watch(new LeaderSpread(Number.POSITIVE_INFINITY), view('a', 'aaaa'), 0, 600_000).effects, []);
});

test('an answer that nobody waits for any more does nothing', () => {
  assert.deepEqual(new LeaderSpread(pauseMs).step({ type: 'answer', shard: '0', to: 'b', yes: true }, 0), []);
});

/** All cores together, each with its own machine; what a core sees of a transfer comes a little later than it happens. */
function together(
  cores: string,
  leaders: string,
  offsets: readonly number[],
  delayMs: number,
): { readonly leaders: string[]; readonly moves: number; readonly last: number } {
  const names = [...cores];
  const machines = names.map(() => new LeaderSpread(pauseMs));
  const now = [...leaders];
  const seen = names.map(() => [...leaders]);
  const news: { readonly at: number; readonly who: number; readonly shard: number; readonly leader: string }[] = [];
  let moves = 0;
  let last = 0;
  const act = (who: number, at: number, effects: readonly SpreadEffect[]): void => {
    for (const e of effects) {
      const to = names.indexOf(e.to);
      const count = (of: string): number => now.filter((l) => l === of).length;
      if (e.type === 'ask')
        act(who, at, (machines[who] as LeaderSpread).step({ type: 'answer', shard: e.shard, to: e.to, yes: count(e.to) + 1 < e.leads }, at));
      else {
        assert.equal(now[Number(e.shard)], names[who]);
        now[Number(e.shard)] = e.to;
        moves++;
        last = at;
        for (let n = 0; n < names.length; n++)
          news.push({ at: n === who || n === to ? at : at + delayMs, who: n, shard: Number(e.shard), leader: e.to });
      }
    }
  };
  for (let at = 0; at < 200 * pauseMs; at += 50)
    for (let who = 0; who < names.length; who++) {
      for (const n of news) if (n.at <= at && n.who === who && n.leader === now[n.shard]) (seen[who] as string[])[n.shard] = n.leader;
      if (at % lookMs !== (offsets[who] as number) * 50) continue;
      act(
        who,
        at,
        (machines[who] as LeaderSpread).step({ type: 'look', view: view(names[who] as string, (seen[who] as string[]).join(''), cores) }, at),
      );
    }
  return { leaders: now, moves, last };
}

test('from any beginning the cores come to lead equally many, in as few moves as can be, and then rest', () => {
  fc.assert(
    fc.property(
      fc
        .integer({ min: 1, max: 5 })
        .chain((cores) =>
          fc.tuple(
            fc.constant('abcde'.slice(0, cores)),
            fc.array(fc.integer({ min: 0, max: cores - 1 }), { minLength: 1, maxLength: 12 }),
            fc.array(fc.integer({ min: 0, max: 1 }), { minLength: cores, maxLength: cores }),
          ),
        ),
      fc.integer({ min: 0, max: 400 }),
      ([cores, leaders, offsets], delayMs) => {
        const of = (list: readonly string[]): number[] => [...cores].map((c) => list.filter((l) => l === c).length);
        const start = leaders.map((i) => cores[i] as string);
        const result = together(cores, start.join(''), offsets, delayMs);
        const after = of(result.leaders);
        assert.ok(Math.max(...after) - Math.min(...after) <= 1, `${of(start)} became ${after}`);
        const fewest = of(start).reduce((sum, n) => sum + Math.max(0, n - Math.ceil(start.length / cores.length)), 0);
        const most = of(start).reduce((sum, n) => sum + Math.max(0, n - Math.floor(start.length / cores.length)), 0);
        assert.ok(result.moves >= fewest && result.moves <= most, `${of(start)} took ${result.moves} moves`);
        assert.ok(result.last <= (1 + 2 * (most + cores.length)) * pauseMs + 10 * lookMs, `the last at ${result.last}`);
      },
    ),
    { numRuns: 60 },
  );
});
