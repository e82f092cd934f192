import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareBytes } from '#base/bytes.js';
import { ConflictWindow, cellId } from './conflict-window.js';
import type { ReadSet } from './proposal-codec.js';

const ownedTable = 2;
const table = fc.constantFrom(1, ownedTable);
const key = fc.uint8Array({ minLength: 1, maxLength: 2, max: 3 });
const event = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('write' as const), table, key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('purge' as const) }) },
);
const reads = fc.record({
  back: fc.nat({ max: 12 }),
  keys: fc.array(fc.record({ tableId: table, key }), { maxLength: 2 }),
  ranges: fc.array(fc.record({ tableId: table, start: key, end: fc.option(key, { nil: undefined }) }), { maxLength: 1 }),
});

test('conflict window: says of every transaction what a search of the whole log says, unless it is older than the window', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 40 }), reads, fc.integer({ min: 1, max: 50 }), (events, wanted, keysMax) => {
      const start = 100;
      const window = new ConflictWindow(start, keysMax);
      const log: { index: number; table: number; key: Uint8Array | undefined }[] = [];
      events.forEach((e, i) => {
        const index = start + 1 + Math.floor(i / 2);
        if (e.kind === 'purge') window.notePurge(index);
        else window.note(index, e.table, e.key);
        log.push({ index, table: e.kind === 'purge' ? ownedTable : e.table, key: e.kind === 'purge' ? undefined : e.key });
      });
      const last = log.at(-1)?.index ?? start;
      const snapshotIndex = last - wanted.back;
      const set: ReadSet = { snapshotIndex, keys: wanted.keys, ranges: wanted.ranges };
      const overtaken = log.some((w) => {
        if (w.index <= snapshotIndex) return false;
        const written = w.key;
        if (written === undefined) return set.keys.some((k) => k.tableId === ownedTable) || set.ranges.some((g) => g.tableId === ownedTable);
        return (
          set.keys.some((k) => k.tableId === w.table && compareBytes(k.key, written) === 0) ||
          set.ranges.some(
            (g) => g.tableId === w.table && compareBytes(written, g.start) >= 0 && (g.end === undefined || compareBytes(written, g.end) < 0),
          )
        );
      });
      const holds = window.holds(set, (id) => id === ownedTable);
      assert.ok(!(holds && overtaken), 'a conflict was missed');
      const writes = log.filter((w) => w.key !== undefined);
      const forgotten = writes.length > keysMax ? (writes[writes.length - keysMax - 1]?.index ?? start) : start;
      if (snapshotIndex >= Math.max(start, forgotten)) assert.equal(holds, !overtaken, 'a conflict was invented');
    }),
    { numRuns: 500 },
  );
});

test('conflict window: bounded; what is older than it can tell is overtaken', () => {
  const window = new ConflictWindow(0, 4, 7);
  for (let index = 1; index <= 40; index++) window.note(index, 1, Uint8Array.of(0, index, 0), 1, 2);
  const unread: ReadSet = { snapshotIndex: 0, keys: [{ tableId: 1, key: Uint8Array.of(99) }], ranges: [] };
  assert.equal(
    window.holds({ ...unread, snapshotIndex: 36 }, () => false),
    true,
  );
  assert.equal(
    window.holds({ ...unread, snapshotIndex: 31 }, () => false),
    false,
  );
  assert.equal(
    window.holds({ ...unread, snapshotIndex: 36, keys: [{ tableId: 1, key: Uint8Array.of(37) }] }, () => false),
    false,
  );
});

test('conflict window: cells of different tables are different, whatever the key', () => {
  const ids = new Set([1, 2, 126].flatMap((t) => ['', '\x00', 'a'].map((k) => cellId(t, Buffer.from(k)))));
  assert.equal(ids.size, 9);
});
