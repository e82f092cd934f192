// What every table store must do, checked against a sorted map: run with the real store and
// with the simulator's model, so that the model cannot drift from LMDB.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { byteString, compareBytes, fromByteString } from '#base/bytes.js';
import { type TableStore, type Tables, TablesError, type TableWrite, tableKeyBytesMax } from '#env/tables.js';

export interface TablesUnderTest {
  /** Fresh and empty each time. */
  create(): { readonly tables: Tables; destroy(): void };
  /** Lets callbacks run until `done()`; the simulator advances its clock here. */
  until(done: () => boolean): Promise<void>;
  /** Property runs; the real store is slower than a model. */
  readonly runs: number;
}

type Model = Map<string, Uint8Array>;

const keyBytes = fc.oneof(
  { weight: 6, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 3, max: 3 }) },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 3 }) },
  { weight: 1, arbitrary: fc.integer({ min: tableKeyBytesMax - 1, max: tableKeyBytesMax }).map((n) => new Uint8Array(n).fill(255)) },
);
const boundBytes = fc.oneof(keyBytes, fc.constant(new Uint8Array(0)), fc.constant(new Uint8Array(tableKeyBytesMax + 5).fill(255)));
const valueBytes = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 20 }) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(1000, 4096, 40_000, 200_000), fc.nat(255)).map(([n, b]) => new Uint8Array(n).fill(b)) },
);
const write = fc.tuple(keyBytes, fc.option(valueBytes, { nil: undefined, freq: 4 })).map(([key, value]): TableWrite => ({ key, value }));
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      batches: fc.array(fc.array(write, { maxLength: 12 }), { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('range' as const),
      start: boundBytes,
      end: fc.option(boundBytes, { nil: undefined }),
      reverse: fc.boolean(),
      limit: fc.nat(8),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('seek' as const), key: boundBytes }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
);

/** Random batches, reads and reopenings agree with a sorted map. */
export async function checkTablesAgainstModel(t: TablesUnderTest): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 15 }), async (steps) => {
      const world = t.create();
      try {
        let store = world.tables.open('t/1');
        const model: Model = new Map();
        for (const s of steps) {
          if (s.kind === 'write') await writeBatches(t, store, model, s.batches);
          else if (s.kind === 'range') assert.deepEqual(readRange(store, s), modelRange(model, s));
          else if (s.kind === 'seek') checkSeek(store, model, s.key);
          else if (s.kind === 'flush') await flush(t, store);
          else {
            await close(t, store);
            store = world.tables.open('t/1');
          }
        }
        assert.equal(store.stat().rows, model.size);
        await close(t, store);
      } finally {
        world.destroy();
      }
    }),
    { numRuns: t.runs },
  );
}

/** A reader in the callback and in later turns sees the batch; before, it sees all of it or nothing. */
export async function checkBatchesAreAtomic(t: TablesUnderTest): Promise<void> {
  const world = t.create();
  try {
    const store = world.tables.open('t/1');
    const first = fromByteString('first');
    const last = fromByteString('last');
    for (let round = 0; round < 20; round++) {
      const value = Uint8Array.of(round);
      const batch: TableWrite[] = [{ key: first, value }];
      for (let i = 0; i < 500; i++) batch.push({ key: fromByteString(`row ${i}`), value });
      batch.push({ key: last, value });
      let committed = false;
      store.write(batch, (error) => {
        assert.equal(error, undefined);
        committed = true;
        assert.deepEqual(plain(store.get(last)), value);
      });
      await t.until(() => {
        assert.deepEqual(plain(store.get(first)), plain(store.get(last)));
        return committed;
      });
      assert.deepEqual(plain(store.get(first)), value);
    }
    await close(t, store);
  } finally {
    world.destroy();
  }
}

/** The longest key and a value beyond the largest row are taken; longer keys are found absent. */
export async function checkLimits(t: TablesUnderTest): Promise<void> {
  const world = t.create();
  try {
    const store = world.tables.open('t/1');
    const key = new Uint8Array(tableKeyBytesMax).fill(7);
    const value = new Uint8Array((1024 + 64) * 1024).map((_, i) => i % 251);
    await writeBatches(t, store, new Map(), [[{ key, value }]]);
    assert.deepEqual(plain(store.get(key)), value);
    assert.equal(store.get(new Uint8Array(tableKeyBytesMax + 1).fill(7)), undefined);
    assert.equal(store.get(new Uint8Array(0)), undefined);
    for (const length of [0, tableKeyBytesMax + 1]) {
      let result: Error | undefined | 'waiting' = 'waiting';
      const other = Uint8Array.of(1);
      const batch = [
        { key: other, value: other },
        { key: new Uint8Array(length), value },
      ];
      store.write(batch, (error) => {
        result = error;
      });
      await t.until(() => result !== 'waiting');
      assert.ok((result as unknown) instanceof TablesError, `a key of ${length} bytes was taken`);
      assert.equal(store.get(other), undefined, 'a part of the batch is visible');
    }
    // Only that batch was refused.
    await writeBatches(t, store, new Map(), [[{ key, value: undefined }]]);
    await close(t, store);
  } finally {
    world.destroy();
  }
}

async function writeBatches(t: TablesUnderTest, store: TableStore, model: Model, batches: readonly (readonly TableWrite[])[]): Promise<void> {
  const order: number[] = [];
  batches.forEach((batch, i) => {
    store.write(batch, (error) => {
      assert.equal(error, undefined);
      order.push(i);
    });
    for (const { key, value } of batch) {
      if (value === undefined) model.delete(byteString(key));
      else model.set(byteString(key), value);
    }
  });
  assert.deepEqual(order, [], 'a callback ran during the call');
  await t.until(() => order.length === batches.length);
  assert.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
  for (const batch of batches) for (const { key } of batch) assert.deepEqual(plain(store.get(key)), model.get(byteString(key)));
}

interface RangeStep {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
  readonly reverse: boolean;
  readonly limit: number;
}

function readRange(store: TableStore, s: RangeStep): [string, Uint8Array][] {
  const rows: [string, Uint8Array][] = [];
  store.range(
    s.start,
    s.end,
    (key, value) => {
      // Reading inside a range must not disturb it.
      assert.deepEqual(plain(store.get(key)), plain(value));
      rows.push([byteString(key), new Uint8Array(value)]);
      return rows.length <= s.limit;
    },
    { reverse: s.reverse },
  );
  return rows;
}

function modelRange(model: Model, s: RangeStep): [string, Uint8Array][] {
  const { end } = s;
  const rows = [...model]
    .filter(([k]) => compareBytes(fromByteString(k), s.start) >= 0 && (end === undefined || compareBytes(fromByteString(k), end) < 0))
    .sort(([a], [b]) => compareBytes(fromByteString(a), fromByteString(b)));
  if (s.reverse) rows.reverse();
  return rows.slice(0, s.limit + 1);
}

function checkSeek(store: TableStore, model: Model, key: Uint8Array): void {
  const [expected] = modelRange(model, { start: key, end: undefined, reverse: false, limit: 0 });
  const found = store.seek(key);
  assert.deepEqual(found === undefined ? undefined : [byteString(found.key), new Uint8Array(found.value)], expected);
}

async function flush(t: TablesUnderTest, store: TableStore): Promise<void> {
  let done = false;
  store.flushed((error) => {
    assert.equal(error, undefined);
    done = true;
  });
  await t.until(() => done);
}

async function close(t: TablesUnderTest, store: TableStore): Promise<void> {
  let done = false;
  store.close(() => {
    done = true;
  });
  await t.until(() => done);
}

/** Without the subclass (Buffer), which deepEqual would see. */
function plain(bytes: Uint8Array | undefined): Uint8Array | undefined {
  return bytes === undefined ? undefined : new Uint8Array(bytes);
}
