import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '#base/prng.js';
import { recordHeaderBytes, segmentName } from './format.js';
import { type ModelOp, readShard, shardNames, text, WalModel } from './wal-model.js';
import { base, entries, TestWorld } from './wal-world.js';

const shard = fc.nat(2);
const op = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('append' as const), shard, count: fc.integer({ min: 1, max: 5 }), size: fc.constantFrom(0, 10, 300) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('overwrite' as const), shard, back: fc.nat(6), count: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('vote' as const), shard, count: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('compact' as const), shard, keep: fc.nat(8) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('install' as const), shard, ahead: fc.integer({ min: 1, max: 10 }), staged: fc.nat(3) }) },
);
const ops: fc.Arbitrary<ModelOp[]> = fc.array(op, { minLength: 1, maxLength: 6 });
const phase = fc.record({
  turns: fc.array(fc.record({ ops, steps: fc.nat(4) }), { maxLength: 8 }),
  ends: fc.constantFrom('crash' as const, 'crash' as const, 'kill' as const, 'settled' as const),
});
const small = { segmentBytes: 1500, cacheBytes: 2000, shardCacheBytes: 1000 };

test('wal: after any crash the log holds what was durable, and is a prefix of what was appended', () => {
  fc.assert(
    fc.property(fc.array(phase, { minLength: 1, maxLength: 5 }), fc.integer(), (phases, seed) => {
      const dice = new Prng(seed);
      const world = new TestWorld(small);
      let wal = world.open();
      let model: WalModel | undefined;
      for (const p of phases) {
        model = new WalModel(wal, model);
        for (const turn of p.turns) {
          for (const o of turn.ops) model.apply(wal, o);
          world.endTurn();
          for (let i = 0; i < turn.steps; i++) world.step();
        }
        if (p.ends === 'settled') world.run();
        wal = p.ends === 'kill' ? world.restart() : world.crash(dice);
        assert.deepEqual(world.recovery.damage, []);
        for (const s of wal.shards()) assert.equal(s.damage, undefined);
        assert.equal(model.checkRecovered(wal), undefined);
        // As a node does before it says anything to others.
        wal.sync((e) => assert.equal(e, undefined));
        world.run();
        for (const s of wal.shards()) assert.equal(s.durableIndex, s.lastIndex);
      }
    }),
    { numRuns: 300 },
  );
});

test('wal: a flipped byte, a cut, a missing file never give wrong data: the shard is flagged or whole', () => {
  const fault = fc.record({
    kind: fc.constantFrom('flip' as const, 'cut' as const, 'zero' as const, 'remove' as const),
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    file: fc.nat(),
    bit: fc.nat(7),
  });
  let flagged = 0;
  fc.assert(
    fc.property(fc.array(ops, { minLength: 1, maxLength: 10 }), fault, (turns, f) => {
      const world = new TestWorld(small);
      const wal = world.open();
      const model = new WalModel(wal);
      for (const list of turns) {
        for (const o of list) model.apply(wal, o);
        world.run();
      }
      wal.close(() => undefined);
      world.run();
      const names = world.segments();
      const path = `wal/${names[f.file % names.length]}`;
      hurt(world, path, f);
      for (let start = 0; start < 2; start++) {
        const again = world.restart();
        for (const name of shardNames) {
          const s = again.shard(name);
          for (const e of readShard(s).entries) assert.equal(model.written.get(`${name} ${e.index} ${e.term}`), text([e]));
          if (s.damage === undefined) assert.ok(model.same(s), `${name} is neither whole nor flagged after ${f.kind} in ${path}`);
          else {
            flagged++;
            assert.ok(world.recovery.damage.length > 0 || start > 0);
            assert.match(s.damage.file, /^wal\//);
          }
          // The second start must say the same, after the first one has written.
          s.append({});
        }
        again.sync(() => undefined);
        world.run();
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(flagged > 20, `only ${flagged} faults had an effect`);
});

interface Fault {
  readonly kind: 'flip' | 'cut' | 'zero' | 'remove';
  readonly at: number;
  readonly bit: number;
}

function hurt(world: TestWorld, path: string, f: Fault): void {
  if (f.kind === 'remove') {
    world.files.remove(path);
    return;
  }
  world.files.damage(path, (bytes) => {
    const at = Math.floor(f.at * bytes.length);
    if (f.kind === 'cut') return bytes.slice(0, at);
    if (f.kind === 'zero') return bytes.fill(0, at);
    bytes[at] = (bytes[at] as number) ^ (1 << f.bit);
    return bytes;
  });
}

/** Three shards with entries 1–10 of term 1, one entry a batch, all in the first segment. */
function threeShards(): TestWorld {
  const world = new TestWorld();
  const wal = world.open();
  for (const name of shardNames) wal.shard(name).append({ hardState: { currentTerm: 1, votedFor: 'v' } });
  for (let i = 1; i <= 10; i++) {
    for (const name of shardNames) wal.shard(name).append({ entries: entries(i, 1, 1, 50) });
    world.run();
  }
  return world;
}

/** Flips a byte of what `find` points at in the segment. */
function flip(world: TestWorld, find: string, segment: number = 1): number {
  let place = -1;
  world.files.damage(`wal/${segmentName(segment)}`, (bytes) => {
    place = Buffer.from(bytes).lastIndexOf(find);
    assert.ok(place > 0);
    bytes[place] = (bytes[place] as number) ^ 1;
    return bytes;
  });
  return place;
}

test('wal: damage names file and offset, stays flagged over restarts, spares other shards, and is cleared by a repair', () => {
  const world = threeShards();
  const place = flip(world, 'entry 7 of term 1');
  // The last record with these words is gamma's.
  const wal = world.restart();
  const gamma = wal.shard('gamma');
  const { damage } = gamma;
  assert.equal(damage?.file, `wal/${segmentName(1)}`);
  assert.ok(damage !== undefined && damage.offset < place && place - damage.offset < 40, `${damage?.offset} for ${place}`);
  assert.deepEqual(world.recovery.damage, [damage]);
  assert.deepEqual(
    gamma.entries(1, 7, 1e6),
    entries(1, 6, 1, 50)
      .slice(0, 6)
      .map((e) => ({ ...e, kind: 'normal' as const })),
  );
  assert.equal(gamma.lastIndex, 6);
  assert.deepEqual(gamma.hardState, { currentTerm: 1, votedFor: 'v' });
  for (const name of ['alpha', 'beta']) assert.deepEqual([wal.shard(name).damage, wal.shard(name).lastIndex], [undefined, 10]);
  wal.shard('alpha').append({ entries: entries(11, 1, 1) });
  world.run();
  const second = world.restart().shard('gamma');
  assert.deepEqual(second.damage, damage, 'forgotten at the second start');
  // A leader sends what is missing, and says that this is all.
  second.append({ entries: entries(7, 4, 1, 50) });
  second.clearDamage();
  world.run();
  const third = world.restart();
  assert.equal(third.shard('gamma').damage, undefined);
  assert.equal(third.shard('gamma').lastIndex, 10);
  assert.equal(third.shard('alpha').lastIndex, 11);
});

test('wal: a segment whose damage is made up for by those before it outlives none of them', () => {
  const world = new TestWorld({ segmentBytes: 2000 });
  let wal = world.open();
  wal.shard('quiet').append({ entries: entries(1, 3, 1) });
  for (let i = 1; i <= 100; i++) {
    wal.shard('busy').append({ entries: entries(i, 1, 1, 100) });
    // Most of it stands in the first segment, one entry in the second.
    if (world.segments().length === 2 && wal.shard('quiet').lastIndex === 3) wal.shard('quiet').append({ entries: entries(4, 1, 1) });
    world.run();
  }
  flip(world, 'quiet', 2); // where the segment's head says what the shard is
  wal = world.restart();
  assert.equal(world.recovery.damage.length, 1);
  assert.deepEqual([wal.shard('quiet').damage, wal.shard('quiet').lastIndex], [undefined, 4]);
  wal.shard('quiet').compact(base(3, 1));
  wal.shard('busy').compact(base(100, 1));
  world.run();
  wal = world.restart();
  assert.deepEqual([wal.shard('quiet').damage, wal.shard('quiet').entries(4, 5, 1e6)], [undefined, entries(4, 1, 1)]);
  wal.shard('quiet').compact(base(4, 1));
  world.run();
  assert.ok(!world.segments().includes(segmentName(2)), 'kept for ever');
  wal = world.restart();
  assert.deepEqual(world.recovery.damage, []);
  assert.deepEqual([wal.shard('quiet').damage, wal.shard('quiet').base], [undefined, base(4, 1)]);
});

test('wal: a wrong checksum in the very last record is damage, an incomplete one is a torn tail', () => {
  const flipped = threeShards();
  flip(flipped, 'entry 10 of term 1');
  assert.notEqual(flipped.restart().shard('gamma').damage, undefined);
  for (const cut of [1, 3, 4, 5, 40, recordHeaderBytes + 50]) {
    const torn = threeShards();
    torn.files.damage(`wal/${segmentName(1)}`, (bytes) => bytes.slice(0, -cut));
    const wal = torn.restart();
    assert.deepEqual([wal.shard('gamma').damage, wal.shard('gamma').lastIndex, wal.shard('beta').lastIndex], [undefined, 9, 10], `cut by ${cut}`);
    assert.ok(torn.recovery.tornBytes > 0);
    assert.deepEqual(torn.recovery.damage, []);
  }
});

test('wal: a segment of which less than the head was written is as if it were not there', () => {
  const built = (): TestWorld => {
    const world = threeShards();
    world
      .restart()
      .shard('alpha')
      .append({ hardState: { currentTerm: 9, votedFor: 'never told' } });
    world.run();
    return world;
  };
  const path = `wal/${segmentName(2)}`;
  const head = Buffer.from(built().files.read(path)).lastIndexOf('gamma');
  assert.ok(head > 128);
  for (let length = 0; length < head; length++) {
    for (const zeros of [0, 30]) {
      const world = built();
      world.files.damage(path, (bytes) => Uint8Array.of(...bytes.slice(0, length), ...new Uint8Array(zeros)));
      const wal = world.restart();
      assert.deepEqual(world.recovery.damage, [], `cut at ${length}`);
      for (const s of wal.shards()) assert.deepEqual([s.damage, s.lastIndex, s.hardState.currentTerm], [undefined, 10, 1], `cut at ${length}`);
      wal.shard('alpha').append({ entries: entries(11, 1, 1) });
      world.run();
      assert.deepEqual([world.restart().shard('alpha').lastIndex, world.recovery.damage], [11, []]);
    }
  }
});

test('wal: zeros where the last write was to come are a torn tail; zeros in the middle are damage', () => {
  for (const zeros of [10, 500]) {
    const world = threeShards();
    world.files.damage(`wal/${segmentName(1)}`, (bytes) => Uint8Array.of(...bytes.slice(0, -20), ...new Uint8Array(zeros)));
    const wal = world.restart();
    assert.deepEqual([wal.shard('gamma').damage, wal.shard('gamma').lastIndex], [undefined, 9]);
  }
  const world = threeShards();
  world.files.damage(`wal/${segmentName(1)}`, (bytes) => bytes.fill(0, 700, 800));
  const wal = world.restart();
  assert.ok(shardNames.some((name) => wal.shard(name).damage !== undefined));
  assert.ok(world.recovery.damage.length > 0);
});

test('wal: a vote survives damage to its record, by the mirror', () => {
  const world = new TestWorld();
  const s = world.open().shard('s');
  s.append({ entries: entries(1, 3, 1) });
  world.run();
  s.append({ hardState: { currentTerm: 7, votedFor: 'candidate' } });
  world.run();
  flip(world, 'candidate');
  const again = world.restart().shard('s');
  assert.deepEqual(again.hardState, { currentTerm: 7, votedFor: 'candidate' });
  assert.equal(again.damage, undefined, 'nothing was lost');
  assert.equal(world.recovery.damage.length, 1);
});

test('wal: a log that was cut after a clean stop is damage, not a torn tail', () => {
  const world = threeShards();
  const wal = world.restart();
  wal.shard('alpha').append({ entries: entries(11, 1, 1) });
  wal.close(() => undefined);
  world.run();
  world.files.damage(`wal/${segmentName(2)}`, (bytes) => bytes.slice(0, -10));
  const again = world.restart();
  for (const name of shardNames) assert.notEqual(again.shard(name).damage, undefined);
  assert.match(world.recovery.damage[0]?.reason ?? '', /durable up to/);
});

test('wal: entries that the disk does not give back while the node runs fail the log', () => {
  const world = new TestWorld({ cacheBytes: 0, shardCacheBytes: 0 });
  const s = world.open().shard('s');
  for (let i = 1; i <= 10; i++) {
    s.append({ entries: entries(i, 1, 1) });
    world.run();
  }
  flip(world, 'entry 6 of term 1');
  assert.equal(s.entries(1, 11, 1e6).length, 5);
  world.run();
  assert.deepEqual(
    world.failures.map((f) => f.kind),
    ['failed'],
  );
});

test('wal: a staged log survives damage to the log that it replaces', () => {
  const world = threeShards();
  flip(world, 'entry 7 of term 1');
  const wal = world.restart();
  const staged = wal.shard('gamma+staged');
  staged.installBase(base(100, 1), undefined);
  staged.append({ entries: entries(101, 3, 1) });
  wal.shard('gamma').installBase(base(101, 1), 'gamma+staged');
  wal.shard('gamma').clearDamage();
  world.run();
  const again = world.restart().shard('gamma');
  assert.deepEqual([again.damage, again.firstIndex, again.lastIndex], [undefined, 102, 103]);
});
