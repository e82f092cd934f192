import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MemoryUse } from './memory-use.js';
import { Overload, type OverloadEffect, type OverloadOptions, overloadDefaults } from './overload.js';

const MiB = 1_048_576;
const watermark = 1000 * MiB;

/** One that is told of memory in MiB, every 100 ms, and whose collections take 10 ms and find nothing unless it is said. */
class Run {
  readonly overload: Overload;
  readonly effects: string[] = [];
  now = 0;
  garbage = 0;
  collectMs = 10;

  constructor(options: Partial<OverloadOptions> = {}) {
    this.overload = new Overload({ ...overloadDefaults, watermarkBytes: watermark, ...options });
  }

  look(usedMiB: number, heapMiB: number = 10): string[] {
    this.now += 100;
    const said: string[] = [];
    let effects = this.#step(usedMiB + this.garbage, heapMiB);
    if (effects.some((e) => e.kind === 'collect')) {
      said.push('collect');
      this.garbage = 0;
      this.overload.collected(this.collectMs, this.now);
      effects = this.#step(usedMiB, heapMiB);
    }
    for (const e of effects)
      said.push(e.kind === 'level' ? `${e.before}>${e.level}` : e.kind === 'cut' ? `cut ${Math.round(e.bytes / MiB)}` : e.kind);
    this.effects.push(...said);
    return said;
  }

  /** So many looks at the same. */
  looks(count: number, usedMiB: number): string[] {
    const from = this.effects.length;
    for (let i = 0; i < count; i++) this.look(usedMiB);
    return this.effects.slice(from);
  }

  #step(usedMiB: number, heapMiB: number): OverloadEffect[] {
    return this.overload.step({ usedBytes: usedMiB * MiB, heapBytes: heapMiB * MiB, heapLimitBytes: 4000 * MiB }, this.now);
  }
}

test('levels are entered as their lines are reached, one or several at a time', () => {
  const run = new Run();
  assert.deepEqual(run.look(799), []);
  assert.deepEqual(run.look(801), ['collect', '0>1']);
  assert.deepEqual(run.look(899), []);
  run.now += 1_000;
  assert.deepEqual(run.look(901), ['collect', '1>2', 'cut 201']);
  assert.deepEqual(new Run().look(970), ['collect', '0>3', 'cut 270']);
});

test('a level is left when memory was clearly below its line for a while, and not before', () => {
  const run = new Run();
  run.look(850);
  assert.deepEqual(run.looks(100, 760), [], 'below the line, within the hysteresis');
  run.looks(29, 700);
  assert.deepEqual(run.look(760), [], 'the calm begins anew');
  assert.deepEqual(run.looks(30, 700), []);
  assert.deepEqual(run.look(700), ['1>0']);
  const full = new Run();
  full.look(970);
  full.looks(200, 100);
  assert.deepEqual(
    full.effects.filter((e) => e.includes('>')),
    ['0>3', '3>2', '2>1', '1>0'],
  );
});

test('garbage alone raises no level and cuts nobody off', () => {
  const run = new Run();
  for (let i = 0; i < 10; i++) {
    run.garbage = 600;
    assert.deepEqual(run.look(350), ['collect']);
    run.now += 1_000;
  }
  assert.equal(run.overload.level, 0);
});

test('who takes up memory is not cut off twice for the same bytes', () => {
  const run = new Run();
  run.collectMs = 100;
  assert.deepEqual(run.look(920), ['collect', '0>2', 'cut 220']);
  // What was cut is garbage until the next collection, which waits for a while after a long one.
  run.garbage = 220;
  assert.deepEqual(run.looks(3, 700), []);
  assert.deepEqual(run.look(700), ['collect']);
  assert.deepEqual(run.looks(3, 700), []);
  // It did not suffice.
  assert.deepEqual(run.look(910), ['collect', 'cut 210']);
});

test('where memory grows on after a cut there is another one without waiting for a collection', () => {
  const run = new Run();
  run.collectMs = 1_000;
  run.look(905);
  assert.deepEqual(run.looks(4, 925), []);
  assert.deepEqual(run.look(931), ['cut 231']);
});

test('where there is nothing to cut it is not tried over and over', () => {
  const run = new Run();
  assert.deepEqual(run.look(970), ['collect', '0>3', 'cut 270']);
  run.overload.cut(270 * MiB, 20 * MiB, run.now);
  assert.deepEqual(run.looks(19, 970), []);
  assert.deepEqual(run.look(970), ['cut 270']);
  run.overload.cut(270 * MiB, 20 * MiB, run.now);
  assert.deepEqual(run.look(996), ['collect', 'cut 296'], 'unless it grows');
  run.overload.cut(296 * MiB, 20 * MiB, run.now);
  assert.deepEqual(run.looks(19, 996), []);
});

test('growth may be garbage: a collection says', () => {
  const run = new Run();
  assert.deepEqual(run.look(910), ['collect', '0>2', 'cut 210']);
  run.overload.cut(210 * MiB, 0, run.now);
  run.garbage = 10;
  assert.deepEqual(run.looks(5, 910), []);
  run.garbage = 30;
  assert.deepEqual(run.look(910), ['collect']);
});

test('when memory is full the next collection comes soon', () => {
  const run = new Run();
  assert.deepEqual(run.look(970), ['collect', '0>3', 'cut 270']);
  assert.deepEqual(run.look(970), ['collect', 'cut 270']);
});

test('no collection with a large heap: it would stand still for long', () => {
  const run = new Run();
  assert.deepEqual(run.look(850, 600), ['0>1']);
  assert.deepEqual(run.look(920, 600), ['1>2', 'cut 220']);
  for (let i = 0; i < 49; i++) assert.deepEqual(run.look(920, 600), []);
  assert.deepEqual(run.look(920, 600), ['cut 220'], 'five seconds later nobody knows better');
});

test('collections take a twentieth of the time at most', () => {
  const run = new Run();
  run.look(850);
  run.overload.collected(500, run.now);
  const { now } = run;
  for (let i = 0; i < 99; i++) assert.equal(run.look(890).includes('collect'), false, `${run.now - now} ms later`);
  run.now += 200;
  assert.deepEqual(run.look(910), ['collect', '1>2', 'cut 210']);
  // A quarter when there is need.
  run.overload.collected(500, run.now);
  for (let i = 0; i < 19; i++) assert.equal(run.look(910).includes('collect'), false);
  assert.equal(run.look(910)[0], 'collect');
});

test('the heap has a bound of its own', () => {
  const run = new Run({ collectHeapBytesMax: 0 });
  assert.deepEqual(run.look(100, 2_700), []);
  assert.deepEqual(run.look(100, 2_800), ['0>1']);
  assert.deepEqual(run.look(100, 3_380), ['1>3', 'cut 294']);
});

test('it looks more often while there is not much room', () => {
  const run = new Run({ watermarkBytes: 2_000 * MiB });
  run.look(500);
  assert.equal(run.overload.nextMs, 500);
  assert.equal(Math.round(run.overload.nextBytes / MiB), 138);
  run.look(1_200);
  assert.equal(Math.round(run.overload.nextMs), 200);
  run.look(1_590);
  assert.equal(run.overload.nextMs, 50);
  assert.equal(run.overload.nextBytes, 2 * MiB);
  run.look(1_700);
  run.look(100);
  assert.equal(run.overload.nextMs, 50, 'until the level is left');
  run.look(1_999);
  assert.equal(run.overload.nextBytes, 2 * MiB);
});

test('whatever memory does: lines mean levels, nothing below the second line is cut, and calm ends it', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 1100 }), { maxLength: 200 }), (uses) => {
      const run = new Run();
      for (const used of uses) {
        const said = run.look(used);
        const { level } = run.overload;
        assert.ok(level >= (used >= 960 ? 3 : used >= 900 ? 2 : used >= 800 ? 1 : 0), `${used} MiB is level ${level}`);
        if (used < 900) assert.ok(!said.some((e) => e.startsWith('cut')), `${used}: ${said}`);
      }
      run.looks(100, 500);
      assert.equal(run.overload.level, 0);
    }),
  );
});

// ---- what is in use ----

function sample(residentMiB: number, countedMiB: number): { residentBytes: number; heapBytes: number; bufferBytes: number } {
  return { residentBytes: residentMiB * MiB, heapBytes: 10 * MiB, bufferBytes: (countedMiB - 10) * MiB };
}

function inMiB(bytes: number): number {
  return Math.round(bytes / MiB);
}

test('memory in use: all that is resident while the process grows', () => {
  const use = new MemoryUse();
  assert.equal(inMiB(use.of(sample(100, 50), 0)), 100);
  assert.equal(inMiB(use.of(sample(700, 400), 500)), 700);
  assert.equal(inMiB(use.of(sample(900, 500), 1_000)), 900);
  // Sockets and TLS: nothing that V8 counts.
  assert.equal(inMiB(use.of(sample(1_000, 500), 1_500)), 1_000);
});

test('memory in use: what was freed and stays resident does not count for long', () => {
  const use = new MemoryUse();
  use.of(sample(1_000, 700), 0);
  const early = inMiB(use.of(sample(1_000, 50), 500));
  assert.ok(early < 360, `${early} MiB`);
  const late = inMiB(use.of(sample(1_000, 50), 300_000));
  assert.equal(late, 71, 'its share of what lies beyond');
  // And counts again as it is taken into use, before the process grows.
  assert.ok(use.of(sample(1_000, 690), 300_500) > 950 * MiB * 0.8);
  assert.equal(inMiB(use.of(sample(1_020, 700), 301_000)), 1_020);
});

test('memory in use: a process that grows with little in V8 is believed, and forgotten again', () => {
  const use = new MemoryUse();
  use.of(sample(1_000, 700), 0);
  use.of(sample(1_000, 50), 600_000);
  assert.equal(inMiB(use.of(sample(1_050, 50), 600_500)), 1_050);
  assert.ok(use.of(sample(1_050, 50), 900_000) < 100 * MiB, 'it was the allocator, which has room again');
});

test('memory in use: never more than is resident', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 20, max: 2_000 }), fc.integer({ min: 10, max: 2_000 })), { minLength: 1 }), (samples) => {
      const use = new MemoryUse();
      for (const [i, [resident, counted]] of samples.entries()) {
        const used = use.of(sample(resident, counted), i * 500);
        assert.ok(used <= resident * MiB && used >= Math.min(resident, counted) * MiB);
      }
    }),
  );
});
