import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ByteReader, MalformedError } from '#base/byte-reader.js';
import { Prng } from '#base/prng.js';
import type { Env } from '#env/env.js';
import { type Journal, openJournal } from './journal.js';
import { JournalVersionError } from './journal-recovery.js';
import { type Dice, MemoryFiles } from './memory-files.js';

/** Turns and syncs happen when the test says so. */
class Bench {
  files: MemoryFiles;
  #turns: (() => void)[] = [];
  #syncs: (() => void)[] = [];

  constructor() {
    this.files = new MemoryFiles((fn) => this.#syncs.push(fn));
  }

  env(): Pick<Env, 'files' | 'clock' | 'metrics' | 'log'> {
    const nothing = (): void => {};
    return {
      files: this.files,
      clock: { now: () => 0, wallNow: () => 0, setTimer: () => ({ cancel: nothing }), endOfTurn: (fn) => this.#turns.push(fn) },
      metrics: { counter: () => ({ value: 0 }), gauge: () => ({ value: 0 }), gaugeFn: nothing, histogram: () => ({ observe: nothing }) },
      log: { debug: nothing, info: nothing, warn: nothing, error: nothing } as unknown as Env['log'],
    };
  }

  turn(): void {
    const turns = this.#turns;
    this.#turns = [];
    for (const fn of turns) fn();
  }

  sync(): void {
    const syncs = this.#syncs;
    this.#syncs = [];
    for (const fn of syncs) fn();
  }

  crash(dice: Dice): void {
    this.files = this.files.crash(dice);
    this.#turns = [];
    this.#syncs = [];
  }

  settle(): void {
    while (this.#turns.length + this.#syncs.length > 0) {
      this.turn();
      this.sync();
    }
  }
}

class Seen {
  readonly records: string[] = [];
  record(type: number, slot: number, r: ByteReader): void {
    if (type === 9) throw new MalformedError('no such thing');
    this.records.push(`${type}/${slot}:${r.string()}`);
  }
  broken(slot: number): void {
    this.records.push(`broken ${slot}`);
  }
  gap(): void {
    this.records.push('gap');
  }
}

const nodeId = 'n'.repeat(32);

function open(bench: Bench, segmentBytes = 1 << 20): { journal: Journal; seen: string[]; damage: number } {
  const seen = new Seen();
  const { journal, recovery } = openJournal(bench.env(), { nodeId, segmentBytes }, seen);
  bench.settle();
  return { journal, seen: seen.records, damage: recovery.damage.length };
}

function put(journal: Journal, text: string, slot = 1, type = 2): void {
  journal.begin(type, slot).string(text);
  journal.end();
}

test('what is durable is there after a restart, in order, over several segments and restarts', () => {
  const bench = new Bench();
  const wanted: string[] = [];
  for (let run = 0; run < 3; run++) {
    const { journal, seen, damage } = open(bench, 300);
    assert.deepEqual(seen, wanted);
    assert.equal(damage, 0);
    for (let i = 0; i < 10; i++) {
      put(journal, `run ${run} item ${i}`, 70_000 + i);
      wanted.push(`2/${70_000 + i}:run ${run} item ${i}`);
      bench.settle();
    }
  }
  assert.deepEqual(open(bench).seen, wanted);
});

test('callbacks run in order when their batch is durable, and not before', () => {
  const bench = new Bench();
  const { journal } = open(bench);
  const done: string[] = [];
  let atOnce = false;
  put(journal, 'a');
  journal.whenDurable((error) => done.push(`a ${error === undefined}`));
  bench.turn();
  put(journal, 'b');
  journal.whenDurable((error) => done.push(`b ${error === undefined}`));
  assert.deepEqual(done, []);
  bench.sync();
  assert.deepEqual(done, ['a true']);
  bench.settle();
  assert.deepEqual(done, ['a true', 'b true']);
  journal.whenDurable(() => {
    atOnce = true;
  });
  assert.equal(atOnce, true);
});

test('cut off after any byte, whole batches are there and nothing of the one that was torn', () => {
  const bench = new Bench();
  const { journal } = open(bench);
  for (const batch of ['one', 'two', 'three']) {
    put(journal, `${batch} first`);
    put(journal, `${batch} second`);
    bench.settle();
  }
  const path = 'sessions/0000000001.log';
  const whole = bench.files.read(path);
  const counts = new Set<number>();
  for (let length = 0; length <= whole.length; length++) {
    const cut = new Bench();
    cut.files.makeDir('sessions');
    cut.files.openAppend(path).append([whole.subarray(0, length)]);
    const { seen, damage, journal: next } = open(cut);
    assert.equal(damage, 0, `cut at ${length}`);
    assert.equal(seen.length % 2, 0, `cut at ${length}`);
    counts.add(seen.length);
    // What is written after that stands behind it.
    put(next, 'after');
    cut.settle();
    const again = open(cut);
    assert.deepEqual(again.seen, [...seen, '2/1:after'], `cut at ${length}`);
    assert.equal(again.damage, 0);
  }
  assert.deepEqual([...counts].sort(), [0, 2, 4, 6]);
});

test('every flipped bit is damage, never something that was not written', () => {
  const bench = new Bench();
  const { journal } = open(bench);
  for (let i = 0; i < 3; i++) {
    put(journal, `item ${i}`, i);
    bench.settle();
  }
  const path = 'sessions/0000000001.log';
  const whole = bench.files.read(path);
  let told = 0;
  for (let at = 0; at < whole.length; at++) {
    const bad = new Bench();
    bad.files.makeDir('sessions');
    const bytes = whole.slice();
    bytes[at] = (bytes[at] as number) ^ 0x10;
    bad.files.openAppend(path).append([bytes]);
    let found: { seen: string[]; damage: number };
    try {
      found = open(bad);
    } catch (error) {
      assert.ok(error instanceof JournalVersionError);
      continue;
    }
    for (const line of found.seen) assert.match(line, /^(2\/\d:item \d|broken \d|gap)$/);
    for (const [i, line] of found.seen.entries()) if (line.startsWith('2/')) assert.equal(line, `2/${i}:item ${i}`);
    if (found.damage > 0) told++;
  }
  assert.ok(told > whole.length / 2);
});

test('a crash at any time keeps what was durable', () => {
  for (let seed = 0; seed < 200; seed++) {
    const prng = new Prng(seed);
    const dice = { int: (n: number) => prng.int(n), chance: (p: number) => prng.chance(p) };
    const bench = new Bench();
    let written: string[] = [];
    let confirmed = 0;
    for (let life = 0; life < 3; life++) {
      const { journal, seen, damage } = open(bench, 200);
      assert.equal(damage, 0, `seed ${seed}`);
      assert.deepEqual(seen.slice(0, confirmed), written.slice(0, confirmed), `seed ${seed}`);
      assert.deepEqual(seen, written.slice(0, seen.length), `seed ${seed}`);
      written = seen;
      for (let i = prng.int(12); i > 0; i--) {
        put(journal, `${life}.${i}`);
        const upTo = written.push(`2/1:${life}.${i}`);
        journal.whenDurable(() => {
          confirmed = upTo;
        });
        if (prng.chance(0.6)) bench.turn();
        if (prng.chance(0.6)) bench.sync();
      }
      bench.crash(dice);
    }
  }
});

test('earlier segments go once everything was said anew, one by one, and a gap is told from that', () => {
  const bench = new Bench();
  const { journal } = open(bench, 200);
  let segment = 0;
  journal.onSegment = (n) => {
    segment = n;
  };
  for (let i = 0; i < 20; i++) {
    put(journal, `old ${i}`);
    bench.settle();
  }
  journal.rotate();
  put(journal, 'all of it');
  const first = segment;
  journal.forgetBefore(first);
  bench.settle();
  assert.deepEqual(bench.files.list('sessions'), [`${String(first).padStart(10, '0')}.log`]);
  assert.deepEqual(open(bench).seen, ['2/1:all of it']);
  assert.equal(open(bench).damage, 0);

  const other = new Bench();
  const two = open(other, 200).journal;
  for (let i = 0; i < 20; i++) {
    put(two, `item ${i}`);
    other.settle();
  }
  other.files.remove('sessions/0000000001.log');
  const lost = open(other);
  assert.equal(lost.damage, 1);
  assert.equal(lost.seen.at(-1), 'gap');
});

test('a disk that is full fails the batch, and what was durable is there afterwards', () => {
  const bench = new Bench();
  const { journal } = open(bench);
  put(journal, 'durable');
  bench.settle();
  bench.files.capacity = bench.files.size('sessions/0000000001.log') + 10;
  const done: string[] = [];
  let failures = 0;
  journal.onFailure = () => failures++;
  put(journal, 'too much for the disk');
  journal.whenDurable((error) => done.push(error?.code ?? 'ok'));
  bench.settle();
  journal.whenDurable((error) => done.push(error?.code ?? 'ok'));
  assert.deepEqual(done, ['ENOSPC', 'ENOSPC']);
  assert.equal(failures, 1);
  bench.files.capacity = Number.POSITIVE_INFINITY;
  assert.equal(journal.restart(), true);
  put(journal, 'goes on');
  bench.settle();
  const again = open(bench);
  assert.deepEqual(again.seen, ['2/1:durable', '2/1:goes on']);
  assert.equal(again.damage, 0);
});

test('a failed sync fails what waited for it, and nothing of it is believed', () => {
  const bench = new Bench();
  const { journal } = open(bench);
  const done: string[] = [];
  bench.files.syncError = 'EIO';
  put(journal, 'lost');
  journal.whenDurable((error) => done.push(error?.code ?? 'ok'));
  bench.settle();
  assert.deepEqual(done, ['EIO']);
  bench.files.syncError = undefined;
  assert.equal(journal.restart(), true);
  put(journal, 'kept');
  bench.settle();
  assert.deepEqual(open(bench).seen, ['2/1:kept']);
});

test('what a visitor cannot read counts as broken', () => {
  const bench = new Bench();
  const { journal } = open(bench);
  put(journal, 'strange', 5, 9);
  bench.settle();
  const again = open(bench);
  assert.deepEqual(again.seen, ['broken 5']);
  assert.equal(again.damage, 1);
});
