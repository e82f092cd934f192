// The log by tables: terms, slices, overwriting, durability and compaction at their borders, with part of
// it on disk and part in memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RaftLog } from './log.js';
import { entry, TestDisk } from './test-cluster.js';
import { runScript } from './test-script.js';

const none = { voters: [], learners: [] };

/** A log with base (index, term) and entries of these terms; the first `onDisk` of them are on disk only. */
function logOf(base: { index: number; term: number }, terms: readonly number[], onDisk: number = 0): RaftLog {
  const disk = new TestDisk(none);
  disk.base = base;
  const entries = terms.map((t, i) => entry(base.index + 1 + i, t));
  disk.log = entries.slice(0, onDisk);
  const log = new RaftLog(disk, base, disk.last, 1000);
  log.append(entries.slice(onDisk));
  return log;
}

const numbers = (log: RaftLog, from: number, to: number, maxBytes = 1000, maxCount = 1000): number[] | undefined =>
  log.entries(from, to, maxBytes, maxCount)?.map((e) => e.index);

test('log table: terms below the base, at it, on disk, in memory, above the end', () => {
  const log = logOf({ index: 100, term: 1 }, [1, 2, 3, 4], 2);
  for (const [index, term] of [
    [0, undefined],
    [99, undefined],
    [100, 1],
    [101, 1],
    [102, 2],
    [103, 3],
    [104, 4],
    [105, undefined],
  ] as const) {
    assert.equal(log.term(index), term, String(index));
  }
});

test('log table: terms after a copy has replaced the log', () => {
  const log = logOf({ index: 100, term: 1 }, [1, 2], 2);
  log.reset({ index: 105, term: 3 }, { index: 105, term: 3 });
  assert.deepEqual(
    [100, 101, 104, 105, 106].map((i) => log.term(i)),
    [undefined, undefined, undefined, 3, undefined],
  );
  assert.equal(log.lastIndex, 105);
  assert.equal(log.durableIndex, 105);
  log.append([entry(106, 3)]);
  assert.equal(log.term(106), 3);
});

test('log table: a copy may bring a log with it', () => {
  const disk = new TestDisk(none);
  const log = new RaftLog(disk, { index: 0, term: 0 }, { index: 0, term: 0 }, 1000);
  disk.base = { index: 5, term: 2 };
  disk.log = [entry(6, 2), entry(7, 3)];
  log.reset(disk.base, disk.last);
  assert.deepEqual([log.baseIndex, log.lastIndex, log.lastTerm, log.durableIndex], [5, 7, 3, 7]);
  assert.deepEqual(numbers(log, 6, 8), [6, 7]);
});

test('log table: slices over disk and memory, and their borders', () => {
  const log = logOf({ index: 100, term: 1 }, [1, 1, 1, 1, 1, 1], 3);
  for (const [from, to, expected] of [
    [99, 102, undefined],
    [100, 102, undefined],
    [101, 101, undefined],
    [104, 103, undefined],
    [107, 108, undefined],
    [101, 103, [101, 102]],
    [101, 104, [101, 102, 103]],
    // A slice ends where the disk’s part does; the next one goes on in memory.
    [101, 107, [101, 102, 103]],
    [103, 107, [103]],
    [104, 107, [104, 105, 106]],
    [106, 107, [106]],
    [105, 999, [105, 106]],
  ] as const) {
    assert.deepEqual(numbers(log, from, to), expected, `${from} to ${to}`);
  }
});

test('log table: slices are bounded by bytes and count, one entry always fits', () => {
  for (const onDisk of [0, 4]) {
    const disk = new TestDisk(none);
    const entries = [1, 2, 3, 4].map((i) => entry(i, 1, 'x'.repeat(10)));
    disk.log = entries.slice(0, onDisk);
    const log = new RaftLog(disk, { index: 0, term: 0 }, disk.last, 1000);
    log.append(entries.slice(onDisk));
    for (const [bytes, count, expected] of [
      [0, 9, 1],
      [10, 9, 1],
      [19, 9, 1],
      [20, 9, 2],
      [39, 9, 3],
      [40, 9, 4],
      [999, 1, 1],
      [999, 3, 3],
    ] as const) {
      assert.equal(numbers(log, 1, 5, bytes, count)?.length, expected, `${onDisk}: ${bytes} bytes, ${count}`);
    }
  }
});

test('log table: pages of any size give every entry once, in order', () => {
  const log = logOf(
    { index: 47, term: 1 },
    Array.from({ length: 20 }, () => 1),
    10,
  );
  for (const count of [1, 2, 3, 7, 100]) {
    for (let from = 48; from <= 67; from++) {
      const got: number[] = [];
      while (from + got.length <= 67) {
        const page = numbers(log, from + got.length, 68, 1000, count);
        assert.ok(page !== undefined && page.length > 0 && page.length <= count);
        got.push(...page);
      }
      assert.deepEqual(
        got,
        Array.from({ length: 68 - from }, (_, i) => from + i),
      );
    }
  }
});

test('log table: where two logs differ first, and what of it is overwritten', () => {
  for (const [entries, log, dropped] of [
    ['1/1', '1,2,3', ''],
    ['1/1 2/2 3/3', '1,2,3', ''],
    ['2/2 3/3', '1,2,3', ''],
    ['3/3', '1,2,3', ''],
    ['1/1 2/2 3/3 4/4 5/4', '1,2,3,4,4', ''],
    ['2/2 3/3 4/4', '1,2,3,4', ''],
    ['4/4 5/4', '1,2,3,4,4', ''],
    ['1/4 2/4', '4,4', '1-3'],
    ['2/4 3/4', '1,4,4', '2-3'],
    ['3/4 4/4', '1,2,4,4', '3-3'],
  ] as const) {
    const prev = Number(entries[0]) - 1;
    runScript(`
      cluster a b
      disk a term 4 log 1 2 3
      b>a append t4 after ${prev}/${prev} : ${entries}
      a is log ${log}
      a told ${dropped === '' ? 'nothing proposalsDropped' : `proposalsDropped ${dropped}`}
    `);
  }
});

test('log table: the last place where the logs may agree, from the start and after a compaction', () => {
  for (const [base, baseTerm, terms, index, term, expected] of [
    [0, 0, [2, 2, 5, 5, 5], 5, 6, 5],
    [0, 0, [2, 2, 5, 5, 5], 5, 5, 5],
    [0, 0, [2, 2, 5, 5, 5], 5, 4, 2],
    [0, 0, [2, 2, 5, 5, 5], 5, 2, 2],
    [0, 0, [2, 2, 5, 5, 5], 5, 1, 0],
    [0, 0, [2, 2, 5, 5, 5], 1, 2, 1],
    [0, 0, [2, 2, 5, 5, 5], 1, 1, 0],
    [0, 0, [2, 2, 5, 5, 5], 0, 0, 0],
    [0, 0, [2, 2, 5, 5, 5], 100, 2, 2],
    [10, 3, [3, 3, 4, 4, 4], 14, 9, 14],
    [10, 3, [3, 3, 4, 4, 4], 14, 4, 14],
    [10, 3, [3, 3, 4, 4, 4], 14, 3, 12],
    [10, 3, [3, 3, 4, 4, 4], 11, 5, 11],
    [10, 3, [3, 3, 4, 4, 4], 10, 5, 10],
    // Never below the base: what is there is not known any more.
    [10, 3, [3, 3, 4, 4, 4], 14, 2, 10],
    [10, 3, [3, 3, 4, 4, 4], 4, 2, 10],
  ] as const) {
    for (const onDisk of [0, 3, 5]) {
      const log = logOf({ index: base, term: baseTerm }, terms, onDisk);
      assert.equal(log.lastIndexWithin(index, term), expected, `${base}: ${index}/${term}`);
    }
  }
});

test('log table: which log is the more complete one', () => {
  const log = logOf({ index: 0, term: 0 }, [1, 2, 3]);
  for (const [index, term, expected] of [
    [2, 4, true],
    [3, 4, true],
    [4, 4, true],
    [2, 2, false],
    [3, 2, false],
    [4, 2, false],
    [2, 3, false],
    [3, 3, true],
    [4, 3, true],
  ] as const) {
    assert.equal(log.isUpToDate(index, term), expected, `${index}/${term}`);
  }
});

test('log table: appending and overwriting in memory, before, at and after the first entry there', () => {
  for (const [from, terms, expected, durable] of [
    [6, [2], [1, 1, 1, 1, 1, 2], 3],
    [5, [2, 2], [1, 1, 1, 1, 2, 2], 3],
    [4, [2], [1, 1, 1, 2], 3],
    [3, [2], [1, 1, 2], 2],
    [1, [2, 2], [2, 2], 0],
  ] as const) {
    const log = logOf({ index: 0, term: 0 }, [1, 1, 1, 1, 1], 3);
    log.truncate(from);
    log.append(terms.map((t, i) => entry(from + i, t)));
    assert.deepEqual(
      expected.map((_, i) => log.term(i + 1)),
      expected,
    );
    assert.equal(log.lastIndex, expected.length);
    assert.equal(log.durableIndex, durable, 'what was overwritten is not durable any more');
    assert.deepEqual(
      log.fresh(from).map((e) => e.index),
      terms.map((_, i) => from + i),
    );
  }
});

test('log table: what is durable grows to what was written, and never beyond the end', () => {
  const log = logOf({ index: 4, term: 1 }, [1, 1, 1]);
  assert.equal(log.durableIndex, 4);
  for (const [to, expected] of [
    [5, 5],
    [4, 5],
    [0, 5],
    [7, 7],
  ] as const) {
    log.durableTo(to);
    assert.equal(log.durableIndex, expected);
  }
  assert.throws(() => log.durableTo(8), /beyond the end/);
});

test('log table: entries leave memory when they are durable and there are too many, never before', () => {
  const disk = new TestDisk(none);
  const log = new RaftLog(disk, { index: 0, term: 0 }, { index: 0, term: 0 }, 20);
  const entries = [1, 2, 3, 4].map((i) => entry(i, 1, 'x'.repeat(10)));
  log.append(entries);
  assert.equal(log.memoryBytes, 40);
  disk.log = entries;
  log.durableTo(1);
  assert.equal(log.memoryBytes, 30);
  log.durableTo(4);
  assert.equal(log.memoryBytes, 20);
  assert.deepEqual(numbers(log, 1, 5), [1, 2]);
  assert.deepEqual(numbers(log, 3, 5), [3, 4]);
});

test('log table: compaction, again and again, keeps the rest whole', () => {
  const terms = Array.from({ length: 1000 }, (_, i) => i + 1);
  const log = logOf({ index: 0, term: 0 }, terms, 750);
  log.durableTo(1000);
  for (const at of [300, 500, 800, 900, 800]) {
    log.compact(at);
    const base = Math.max(at, log.baseIndex);
    assert.equal(log.baseIndex, at === 800 && base === 900 ? 900 : at);
    assert.equal(log.lastIndex, 1000);
    for (const i of [log.baseIndex, log.baseIndex + 1, 999, 1000]) assert.equal(log.term(i), i);
    assert.equal(log.term(log.baseIndex - 1), undefined);
    assert.equal(numbers(log, log.baseIndex, 1001), undefined);
  }
  log.append([entry(1001, 1001)]);
  assert.deepEqual(numbers(log, 1001, 1002), [1001]);
  assert.throws(() => log.compact(1001), /beyond what is durable/);
});

test('log table: a log restored with nothing but its base', () => {
  const log = logOf({ index: 1000, term: 7 }, []);
  assert.deepEqual([log.baseIndex, log.lastIndex, log.lastTerm, log.durableIndex], [1000, 1000, 7, 1000]);
  assert.equal(log.term(1000), 7);
  assert.equal(numbers(log, 1000, 1002), undefined);
  assert.equal(numbers(log, 1001, 1002), undefined);
});

test('log table: nothing is applied that is not both committed and durable', () => {
  for (const [commit, syncs, applies] of [
    [0, 0, 0],
    [3, 0, 0],
    [3, 1, 2],
    [1, 1, 1],
    [2, 2, 2],
    [3, 2, 3],
  ] as const) {
    runScript(`
      cluster a b
      b>a append t1 after 0/0 : 1/1 2/1
      b>a append t1 after 2/1 commit ${commit} : 3/1
      ${syncs > 0 ? `a syncs ${syncs}` : ''}
      a is commit ${commit} applies ${applies}
    `);
  }
});
