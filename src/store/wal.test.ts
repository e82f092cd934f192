import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { segmentName } from './format.js';
import { WalError } from './types.js';
import { readWalNodeId } from './wal.js';
import { base, entries, TestWorld } from './wal-world.js';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

test('wal: what was appended is read at once, durable later, and there after a restart', () => {
  const world = new TestWorld();
  const shard = world.open().shard('route');
  const seen: string[] = [];
  shard.append({ hardState: { currentTerm: 3, votedFor: 'n1' }, entries: entries(1, 3, 3) }, (e) => seen.push(`first ${e}`));
  shard.append({ entries: entries(4, 2, 3) }, (e) => seen.push(`second ${e}`));
  assert.deepEqual([shard.firstIndex, shard.lastIndex, shard.lastTerm, shard.durableIndex], [1, 5, 3, 0]);
  assert.deepEqual(shard.entries(2, 6, 1e6), [...entries(2, 2, 3), ...entries(4, 2, 3)]);
  assert.deepEqual(seen, []);
  world.run();
  assert.deepEqual(seen, ['first undefined', 'second undefined']);
  assert.equal(shard.durableIndex, 5);
  const again = world.restart().shard('route');
  assert.equal(again.durableIndex, 0, 'may be in the page cache only');
  world.run();
  assert.deepEqual(again.hardState, { currentTerm: 3, votedFor: 'n1' });
  assert.deepEqual([again.firstIndex, again.lastIndex, again.lastTerm, again.durableIndex], [1, 5, 3, 5]);
  assert.deepEqual(again.entries(1, 6, 1e6), [...entries(1, 3, 3), ...entries(4, 2, 3)]);
  assert.equal(again.damage, undefined);
  assert.equal(readWalNodeId(world.files), 'node-a');
});

test('wal: one append and one sync for all shards of a turn; the next batch waits for it', () => {
  const world = new TestWorld();
  const wal = world.open();
  const counts = world.countWrites();
  const order: string[] = [];
  for (const name of ['a', 'b', 'c']) wal.shard(name).append({ entries: entries(1, 2, 1) }, () => order.push(name));
  world.endTurn();
  assert.equal(counts.appends, 1);
  wal.shard('b').append({ entries: entries(3, 1, 1) }, () => order.push('b again'));
  world.endTurn();
  assert.equal(counts.appends, 1);
  assert.equal(wal.shard('b').durableIndex, 0);
  world.run();
  assert.equal(counts.appends, 2);
  assert.deepEqual(order, ['a', 'b', 'c', 'b again']);
});

test('wal: entries by bytes, from memory and from disk', () => {
  const world = new TestWorld({ cacheBytes: 1500, shardCacheBytes: 1500 });
  const shard = world.open().shard('s');
  const all = entries(1, 200, 1, 100);
  for (let i = 0; i < 200; i += 10) {
    shard.append({ entries: all.slice(i, i + 10) });
    world.run();
  }
  assert.deepEqual(shard.entries(1, 201, 1e9), all);
  assert.deepEqual(shard.entries(195, 201, 1e9), all.slice(194));
  assert.deepEqual(shard.entries(5, 201, 350), all.slice(4, 7));
  assert.deepEqual(shard.entries(5, 201, 1), all.slice(4, 5));
  assert.deepEqual(shard.entries(13, 14, 0), all.slice(12, 13));
  assert.deepEqual(world.restart().shard('s').entries(99, 180, 1e9), all.slice(98, 179));
});

test("wal: a new leader's entries replace the old ones, on disk too", () => {
  const world = new TestWorld();
  const shard = world.open().shard('s');
  shard.append({ entries: entries(1, 10, 1) });
  world.run();
  shard.append({ truncateFrom: 4, entries: entries(4, 3, 2) });
  assert.equal(shard.durableIndex, 3);
  world.run();
  assert.equal(shard.durableIndex, 6);
  shard.append({ truncateFrom: 6 });
  world.run();
  const expected = [...entries(1, 3, 1), ...entries(4, 2, 2)];
  for (const s of [shard, world.restart().shard('s')]) {
    assert.equal(s.lastIndex, 5);
    assert.deepEqual([s.term(3), s.term(4), s.term(6)], [1, 2, undefined]);
    assert.deepEqual(s.entries(1, 6, 1e6), expected);
  }
});

test('wal: what is overwritten while its sync runs does not become durable', () => {
  const world = new TestWorld();
  const shard = world.open().shard('s');
  shard.append({ entries: entries(1, 10, 1) });
  world.endTurn();
  shard.append({ truncateFrom: 4, entries: entries(4, 8, 2) });
  world.endTurn();
  world.step();
  assert.ok(shard.durableIndex <= 3, 'entries of term 2 counted before their sync');
  world.run();
  assert.equal(shard.durableIndex, 11);
});

test('wal: compaction deletes segments that no shard needs; idle shards pin nothing', () => {
  const world = new TestWorld({ segmentBytes: 2000 });
  const wal = world.open();
  wal.shard('idle').append({ hardState: { currentTerm: 9, votedFor: 'x' } });
  const busy = wal.shard('busy');
  const slow = wal.shard('slow');
  slow.append({ entries: entries(1, 3, 1) });
  for (let i = 1; i <= 100; i++) {
    busy.append({ entries: entries(i, 1, 1, 100) });
    world.run();
  }
  const before = world.segments();
  assert.ok(before.length > 4, `${before.length} segments`);
  busy.compact(base(90, 1));
  world.run();
  assert.deepEqual(world.segments(), before, 'the slow shard still needs the first segment');
  const seen: string[] = [];
  slow.compact(base(3, 1), () => seen.push('compacted'));
  assert.deepEqual(world.segments(), before, 'deleted before the base was durable');
  world.run();
  assert.deepEqual(seen, ['compacted']);
  assert.ok(world.segments().length < 4, `${world.segments().length} segments left`);
  const again = world.restart();
  assert.deepEqual(world.recovery.damage, []);
  assert.deepEqual(again.shard('idle').hardState, { currentTerm: 9, votedFor: 'x' });
  assert.deepEqual(again.shard('slow').base, base(3, 1));
  assert.equal(again.shard('slow').lastTerm, 1);
  assert.deepEqual(
    again.shard('busy').entries(91, 101, 1e6),
    entries(91, 1, 1, 100).concat(...Array.from({ length: 9 }, (_, i) => entries(92 + i, 1, 1, 100))),
  );
  assert.equal(world.files.list('wal').filter((n) => n.endsWith('.votes')).length, 1, 'old mirrors were not deleted');
  world.run();
});

test('wal: a lost beginning is damage although the entries behind it fit', () => {
  const world = new TestWorld();
  const wal = world.open();
  const shard = wal.shard('s');
  const begin = { ...base(0, 0), historyId: 'the history' };
  shard.installBase(begin, undefined);
  shard.append({ hardState: { currentTerm: 1, votedFor: 'v' }, entries: entries(1, 5, 1) });
  world.run();
  assert.deepEqual([world.restart().shard('s').base, world.recovery.damage], [begin, []]);
  world.files.damage(`wal/${segmentName(1)}`, (bytes) => {
    const at = Buffer.from(bytes).indexOf('the history');
    assert.ok(at > 0);
    bytes[at] = (bytes[at] as number) ^ 1;
    return bytes;
  });
  const again = world.restart().shard('s');
  assert.notEqual(again.damage, undefined);
  assert.deepEqual(again.entries(1, 6, 1e6), entries(1, 5, 1));
  world.run();
});

test('wal: a base with a staged log is installed in one step', () => {
  for (const crash of [false, true]) {
    const world = new TestWorld();
    const wal = world.open();
    const shard = wal.shard('s');
    shard.append({ hardState: { currentTerm: 2, votedFor: 'v' }, entries: entries(1, 5, 1) });
    const staged = wal.shard('s+staged');
    staged.installBase(base(100, 2), undefined);
    staged.append({ entries: entries(101, 20, 2) });
    world.run();
    shard.installBase(base(110, 2, 7), 's+staged');
    assert.deepEqual([shard.firstIndex, shard.lastIndex, shard.durableIndex], [111, 120, 0]);
    if (!crash) world.run();
    const again = crash ? world.crash(new Prng(1)) : world.restart();
    if (crash && again.shard('s').base.index === 0) {
      assert.deepEqual(again.shard('s').entries(1, 6, 1e6), entries(1, 5, 1));
      assert.deepEqual(again.shard('s+staged').entries(101, 121, 1e6), entries(101, 20, 2));
    } else {
      assert.deepEqual(
        again.shards().map((s) => s.name),
        ['s'],
      );
      assert.deepEqual(again.shard('s').base, base(110, 2, 7));
      assert.deepEqual(again.shard('s').entries(111, 121, 1e6), entries(101, 20, 2).slice(10));
    }
    assert.deepEqual(again.shard('s').hardState, { currentTerm: 2, votedFor: 'v' });
    assert.equal(again.shard('s').damage, undefined);
  }
});

test('wal: full disk and failed sync fail the log for ever', () => {
  for (const kind of ['full', 'sync'] as const) {
    const world = new TestWorld();
    const wal = world.open();
    const shard = wal.shard('s');
    shard.append({ entries: entries(1, 5, 1) });
    world.run();
    if (kind === 'full') world.files.capacity = world.files.size(`wal/${segmentName(1)}`) + 100;
    else world.files.syncError = 'EIO';
    const seen: (string | undefined)[] = [];
    const note = (e: WalError | undefined): void => void seen.push(e?.kind);
    shard.append({ entries: entries(6, 5, 1, 100) }, note);
    shard.append({ entries: entries(11, 1, 1) }, note);
    world.run();
    assert.deepEqual(seen, ['failed', 'failed']);
    assert.equal(wal.failure?.kind, 'failed');
    assert.equal(shard.durableIndex, 5);
    assert.deepEqual(
      world.failures.map((f) => f.kind),
      ['failed'],
    );
    world.files.capacity = Number.POSITIVE_INFINITY;
    world.files.syncError = undefined;
    shard.append({ entries: entries(12, 1, 1) }, note);
    assert.equal(seen.length, 2, 'answered during the call');
    world.run();
    assert.deepEqual(seen, ['failed', 'failed', 'failed']);
    const again = world.restart().shard('s');
    assert.ok(again.lastIndex >= 5 && again.lastIndex <= 11);
    assert.equal(again.damage, undefined);
  }
});

test('wal: an append that begins a segment asks nothing of the disk', () => {
  const world = new TestWorld({ segmentBytes: 1_000 });
  const wal = world.open();
  const shard = wal.shard('s');
  const other = wal.shard('other');
  shard.append({ entries: entries(1, 20, 1, 100) });
  world.run();
  const first = world.files.size(`wal/${segmentName(1)}`);
  assert.ok(first > 1_000, 'the next append begins a segment');
  world.files.size = () => assert.fail('the disk was asked');
  let answers = 0;
  other.append({ entries: entries(1, 1, 1) }, () => answers++);
  world.run();
  assert.equal(answers, 1);
  assert.equal(wal.diskBytes, first + world.files.read(`wal/${segmentName(2)}`).length);
});

test("wal: another node's log and a newer format are refused in words", () => {
  const world = new TestWorld();
  world
    .open()
    .shard('s')
    .append({ entries: entries(1, 1, 1) });
  world.run();
  assert.throws(
    () => world.open({ nodeId: 'node-b' }),
    (e) => e instanceof WalError && e.kind === 'foreign' && /node-a.*node-b/.test(e.message),
  );
  world.rewriteHeader(1, (view) => view.setUint32(8, 2, true));
  assert.throws(
    () => world.open(),
    (e) => e instanceof WalError && e.kind === 'version' && /version 2.*version 1/.test(e.message),
  );
});

test('wal: a dropped shard is gone, and its number can be used again', () => {
  const world = new TestWorld();
  const wal = world.open();
  wal.shard('a').append({ entries: entries(1, 3, 1) });
  world.run();
  wal.shard('a').drop();
  wal.shard('b').append({ entries: entries(1, 1, 4) });
  world.run();
  const again = world.restart();
  assert.deepEqual(
    again.shards().map((s) => [s.name, s.lastIndex, s.lastTerm]),
    [['b', 1, 4]],
  );
  assert.deepEqual(text(again.shard('b').entries(1, 2, 10)[0]?.data ?? new Uint8Array(0)), 'entry 1 of term 4');
});

test('wal: closing writes the rest and calls everybody', () => {
  const world = new TestWorld();
  const wal = world.open();
  const seen: string[] = [];
  wal.shard('s').append({ entries: entries(1, 2, 1) }, (e) => seen.push(`append ${e}`));
  wal.close((e) => seen.push(`close ${e}`));
  world.run();
  assert.deepEqual(seen, ['append undefined', 'close undefined']);
  wal.shard('s').append({ entries: entries(3, 1, 1) }, (e) => seen.push(`late ${e?.kind}`));
  world.run();
  assert.deepEqual(seen.slice(2), ['late closed']);
  assert.equal(world.open().shard('s').lastIndex, 2);
});
