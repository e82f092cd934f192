// A buffered store against one ordered map: whatever is in its memory, with the store or in it, reads are the same;
// and what the store holds after any of its commits is what was written up to some batch.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareBytes } from '#base/bytes.js';
import type { Clock } from '#env/clock.js';
import { type TableStore, TablesError, type TableWrite } from '#env/tables.js';
import { BufferedTables } from './buffered-tables.js';

type Rows = Map<string, Uint8Array>;

const name = (key: Uint8Array): string => Buffer.from(key).toString('latin1');

function put(rows: Rows, batch: readonly TableWrite[]): void {
  for (const { key, value } of batch) {
    if (value === undefined) rows.delete(name(key));
    else rows.set(name(key), value);
  }
}

function sorted(rows: Rows, start: Uint8Array, end?: Uint8Array): [Uint8Array, Uint8Array][] {
  return [...rows]
    .map(([k, v]): [Uint8Array, Uint8Array] => [new Uint8Array(Buffer.from(k, 'latin1')), v])
    .filter(([k]) => compareBytes(k, start) >= 0 && (end === undefined || compareBytes(k, end) < 0))
    .sort(([a], [b]) => compareBytes(a, b));
}

/** Commits when it is told to. */
class SlowStore implements TableStore {
  readonly rows: Rows = new Map();
  readonly waiting: { readonly batch: readonly TableWrite[]; readonly committed: (error: TablesError | undefined) => void }[] = [];
  closed = false;
  flushes = 0;

  get(key: Uint8Array): Uint8Array | undefined {
    return this.rows.get(name(key));
  }

  range(start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, value: Uint8Array) => boolean): void {
    for (const [key, value] of sorted(this.rows, start, end)) if (!visit(key, value)) return;
  }

  seek(from: Uint8Array): { readonly key: Uint8Array; readonly value: Uint8Array } | undefined {
    const first = sorted(this.rows, from)[0];
    return first === undefined ? undefined : { key: first[0], value: first[1] };
  }

  write(batch: readonly TableWrite[], committed: (error: TablesError | undefined) => void): void {
    assert.ok(!this.closed, 'not written after the end');
    for (const [i, row] of batch.entries()) {
      const before = batch[i - 1];
      assert.ok(before === undefined || compareBytes(before.key, row.key) < 0, 'rows of a commit are in order, one per key');
    }
    this.waiting.push({ batch, committed });
  }

  commit(error?: TablesError): void {
    const next = this.waiting.shift();
    if (error === undefined) put(this.rows, next?.batch ?? []);
    next?.committed(error);
  }

  flushed(done: (error: TablesError | undefined) => void): void {
    this.flushes++;
    done(undefined);
  }

  stat(): { readonly rows: number; readonly bytes: number } {
    return { rows: this.rows.size, bytes: 0 };
  }

  close(done: () => void): void {
    this.closed = true;
    done();
  }
}

interface Made {
  readonly store: SlowStore;
  readonly tables: BufferedTables;
  /** Runs the timer that is set; false when none is. */
  pass(): boolean;
  readonly failures: string[];
  /** Times that a writer had to wait. */
  full: number;
}

function make(commitRows: number, commitBytes: number = 1_000_000): Made {
  const store = new SlowStore();
  const timers = new Set<() => void>();
  const setTimer = (_delayMs: number, fn: () => void): { cancel(): void } => {
    timers.add(fn);
    return { cancel: () => timers.delete(fn) };
  };
  const failures: string[] = [];
  const onFailure = (error: TablesError): void => void failures.push(error.message);
  const clock = { setTimer } as unknown as Clock;
  const tables: BufferedTables = new BufferedTables(store, {
    clock,
    random: () => 0.5,
    commitMs: 100,
    commitRows,
    commitBytes,
    onFull: () => made.full++,
    onFailure,
  });
  const pass = (): boolean => {
    assert.ok(timers.size <= 1, 'one timer at most');
    for (const fn of timers) {
      timers.delete(fn);
      fn();
      return true;
    }
    return false;
  };
  const made: Made = { store, tables, pass, failures, full: 0 };
  return made;
}

const aKey = fc.uint8Array({ minLength: 1, maxLength: 2, max: 3 });
const aBatch = fc.array(fc.record({ key: aKey, value: fc.option(fc.uint8Array({ maxLength: 3 }), { nil: undefined }) }), { maxLength: 6 });
const aStep = fc.oneof(
  fc.record({ kind: fc.constant('write' as const), batch: aBatch }),
  fc.record({ kind: fc.constantFrom('commit' as const, 'pass' as const, 'flush' as const) }),
);

function read(tables: BufferedTables, model: Rows, start: Uint8Array, end: Uint8Array | undefined, limit: number): void {
  const found: [Uint8Array, Uint8Array][] = [];
  tables.range(start, end, (key, value) => found.push([key, value]) < limit);
  assert.deepEqual(found, sorted(model, start, end).slice(0, limit));
  const [first] = sorted(model, start);
  assert.deepEqual(tables.seek(start), first === undefined ? undefined : { key: first[0], value: first[1] });
  assert.deepEqual(tables.get(start), model.get(name(start)));
}

test('buffered tables: reads are those of one ordered map, and each commit is all that was written up to some batch', () => {
  fc.assert(
    fc.property(
      fc.array(aStep, { maxLength: 60 }),
      fc.array(aKey, { minLength: 2, maxLength: 6 }),
      fc.integer({ min: 1, max: 12 }),
      (steps, keys, commitRows) => {
        const { store, tables, pass } = make(commitRows);
        const model: Rows = new Map();
        const states = [new Map(model)];
        for (const step of steps) {
          if (step.kind === 'write') {
            // Rows are kept, so that the model must not share them.
            tables.write(step.batch, (error) => assert.equal(error, undefined));
            put(model, step.batch);
            states.push(new Map(model));
          } else if (step.kind === 'commit') store.commit();
          else if (step.kind === 'pass') pass();
          else tables.flushed(() => assert.deepEqual(sorted(store.rows, Uint8Array.of()), sorted(model, Uint8Array.of())));
          if (step.kind === 'flush') while (store.waiting.length > 0) store.commit();
          const held = JSON.stringify(sorted(store.rows, Uint8Array.of()));
          assert.ok(
            states.some((s) => JSON.stringify(sorted(s, Uint8Array.of())) === held),
            'a commit holds whole batches',
          );
          for (const key of keys) for (const end of [undefined, keys[0]]) read(tables, model, key, end, 3);
          read(tables, model, Uint8Array.of(0), undefined, 1_000);
        }
      },
    ),
    { numRuns: 200 },
  );
});

const row = (key: number): TableWrite => ({ key: Uint8Array.of(key), value: Uint8Array.of(key) });
const ok = (error: TablesError | undefined): void => assert.equal(error, undefined);

test('buffered tables: many rows of a key are one, and a commit waits for its time or its size', () => {
  const { store, tables, pass } = make(3);
  for (let i = 0; i < 10; i++) tables.write([row(1)], ok);
  assert.equal(store.waiting.length, 0);
  assert.ok(pass());
  assert.equal(store.waiting[0]?.batch.length, 1);
  store.commit();
  assert.equal(pass(), false, 'nothing is left to commit');
  tables.write([row(1), row(2), row(3)], ok);
  assert.equal(store.waiting.length, 1, 'so many rows do not wait');
});

test('buffered tables: writers wait once much is written while a commit is under way', () => {
  const made = make(2);
  const { store, tables } = made;
  let taken = 0;
  for (let i = 0; i < 12; i++) tables.write([row(i)], () => taken++);
  assert.equal(made.full, 3);
  assert.equal(taken, 9, 'two rows are with the store, seven before the bound is reached');
  store.commit();
  assert.equal(taken, 12);
  store.commit();
  assert.equal(store.rows.size, 12);
});

test('buffered tables: flushed and closed wait for all that was written', () => {
  const { store, tables } = make(100);
  const seen: string[] = [];
  tables.write([row(1)], ok);
  tables.flushed(() => seen.push(`flushed ${store.rows.size}`));
  tables.write([row(2)], ok);
  tables.close(() => seen.push(`closed ${store.rows.size}`));
  assert.deepEqual(seen, []);
  store.commit();
  assert.deepEqual(seen, ['flushed 1']);
  store.commit();
  assert.deepEqual(seen, ['flushed 1', 'closed 2']);
  assert.ok(store.closed);
});

test('buffered tables: a refused commit is told once, to those who wait and to every later writer', () => {
  const { store, tables, pass, failures } = make(100);
  const seen: string[] = [];
  tables.write([row(1)], ok);
  tables.flushed((error) => seen.push(error?.message ?? 'done'));
  tables.write([row(2)], ok);
  store.commit(new TablesError('disk full'));
  assert.deepEqual(failures, ['disk full']);
  assert.deepEqual(seen, ['disk full']);
  tables.write([row(3)], (error) => seen.push(error?.message ?? 'done'));
  assert.deepEqual(seen, ['disk full', 'disk full']);
  assert.deepEqual(tables.get(Uint8Array.of(1)), Uint8Array.of(1), 'what was seen is still seen');
  assert.equal(pass(), false);
  let closed = false;
  tables.close(() => {
    closed = true;
  });
  assert.ok(closed);
});

test('buffered tables: given up, nothing more is written', () => {
  const { store, tables, pass } = make(1);
  tables.write([row(1)], ok);
  tables.write([row(2)], ok);
  assert.equal(tables.abandon(), store);
  store.commit();
  assert.equal(pass(), false);
  assert.equal(store.waiting.length, 0);
});
