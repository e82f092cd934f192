import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Reader, ShardSchema, Table } from './api.js';
import {
  decodeReadReply,
  decodeReadRequest,
  type KeyedRow,
  type ReadReply,
  type ReadRequest,
  type RemoteRead,
  type RemoteResult,
  writeReadReply,
  writeReadRequest,
} from './read-codec.js';
import { Missing, RemoteSnapshot } from './remote-snapshot.js';
import { keyInRange } from './stored-row.js';

const table: Table = { id: 3, name: 't', shard: 's' };
const other: Table = { id: 4, name: 'other', shard: 's' };
const schema: ShardSchema = { name: 's', replicate: 'core', tables: [table, other], commands: {} };
const limits = { rowsMax: 1_000, bytesMax: 100_000 };
const key = (n: number): Uint8Array => Uint8Array.of(n);

/** A core: one row per number, changed behind the reader's back. */
class Core {
  index = 1;
  readonly rows: Map<number, number> = new Map();
  readonly pieceRows: number;

  constructor(pieceRows: number) {
    this.pieceRows = pieceRows;
  }

  put(n: number, value: number): void {
    this.rows.set(n, value);
    this.index++;
  }

  delete(n: number): void {
    this.rows.delete(n);
    this.index++;
  }

  #answer(read: RemoteRead): RemoteResult {
    const has = read.tableId === table.id;
    if (read.kind === 'get') {
      const value = has ? this.rows.get(read.key[0] as number) : undefined;
      return { kind: 'get', row: value === undefined ? undefined : { owner: 0, value: Uint8Array.of(value) } };
    }
    const rows: KeyedRow[] = [];
    for (const n of [...this.rows.keys()].sort((a, b) => a - b)) {
      if (!has || !keyInRange(key(n), read.key, read.end)) continue;
      if (rows.length >= Math.min(read.rows, this.pieceRows)) return { kind: 'range', rows, upTo: key(n) };
      rows.push({ key: key(n), row: { owner: 0, value: Uint8Array.of(this.rows.get(n) as number) } });
    }
    return { kind: 'range', rows, upTo: undefined };
  }

  /** By way of the bytes. */
  serve(q: ReadRequest): ReadReply {
    const w = new ByteWriter(64);
    writeReadRequest(w, q);
    const got = decodeReadRequest(w.finish());
    assert.deepEqual(got, q);
    const all = got.have !== this.index;
    const reply = { index: this.index, all, results: (all ? [...got.known, ...got.wanted] : got.wanted).map((r) => this.#answer(r)) };
    const out = new ByteWriter(64);
    writeReadReply(out, reply);
    const back = decodeReadReply(out.finish());
    assert.deepEqual(back, reply);
    return back;
  }
}

/** Runs until nothing is missing; `between` happens on the core before each fetch. */
function settle<T>(
  s: RemoteSnapshot,
  core: Core,
  fn: (r: Reader) => T,
  between: (round: number) => void = () => {},
): { readonly result: T; readonly rounds: number } {
  for (let rounds = 0; rounds < 500; rounds++) {
    let result: { readonly value: T } | undefined;
    try {
      result = { value: fn(s) };
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
    }
    if (!s.wants && result !== undefined) return { result: result.value, rounds };
    between(rounds);
    const q = s.request(false);
    assert.equal(s.take(q, core.serve(q)), undefined);
  }
  throw new Error('it never ends');
}

function rangeOf(r: Reader, start: number, end: number | undefined, max: number = 1_000): [number, number][] {
  const seen: [number, number][] = [];
  r.range(table, key(start), end === undefined ? undefined : key(end), (k, row) => {
    seen.push([k[0] as number, row.value[0] as number]);
    return seen.length < max;
  });
  return seen;
}

test('what is read once is there, and costs nothing again', () => {
  const core = new Core(100);
  core.put(7, 70);
  const s = new RemoteSnapshot(schema, limits, 0);
  const fn = (r: Reader): unknown[] => [
    r.get(table, key(7))?.value[0],
    r.get(table, key(8)),
    r.get(other, key(7)),
    r.seek(table, key(1))?.key[0],
    r.get(table, key(7))?.value[0],
  ];
  assert.deepEqual(settle(s, core, fn), { result: [70, undefined, undefined, 7, 70], rounds: 4 });
  assert.equal(s.appliedIndex, 2);
});

test('a row within a range that was read is known', () => {
  const core = new Core(100);
  for (let i = 0; i < 10; i++) core.put(i, i);
  const s = new RemoteSnapshot(schema, limits, 0);
  assert.deepEqual(
    settle(s, core, (r) => [rangeOf(r, 2, 5).length, r.get(table, key(3))?.value[0], r.get(table, key(5))?.value[0]]),
    { result: [3, 3, 5], rounds: 2 },
  );
});

test('when the state has moved on, everything is read anew: what a function sees is one state', () => {
  const core = new Core(3);
  for (let i = 0; i < 20; i++) core.put(i, 1);
  const s = new RemoteSnapshot(schema, limits, 0);
  // Both halves are written together, again and again.
  const { result } = settle(
    s,
    core,
    (r) => [...rangeOf(r, 0, 10), ...rangeOf(r, 10, undefined)].map(([, v]) => v),
    (round) => {
      if (round < 9) for (let i = 0; i < 20; i++) core.put(i, 2 + round);
    },
  );
  assert.equal(result.length, 20);
  assert.equal(new Set(result).size, 1, `${result}`);
});

test('whatever changes meanwhile, the result is that of the state at the end', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.option(fc.integer({ min: 0, max: 9 }), { nil: undefined })), { maxLength: 40 }),
      fc.array(
        fc.tuple(fc.integer({ min: 0, max: 30 }), fc.option(fc.integer({ min: 1, max: 20 }), { nil: undefined }), fc.integer({ min: 1, max: 5 })),
        { minLength: 1, maxLength: 4 },
      ),
      fc.integer({ min: 1, max: 5 }),
      (changes, reads, pieceRows) => {
        const core = new Core(pieceRows);
        for (let i = 0; i < 30; i += 2) core.put(i, 0);
        const fn = (r: Reader): unknown[] =>
          reads.flatMap(([start, length, max]) => [
            r.get(table, key(start))?.value[0],
            ...rangeOf(r, start, length === undefined ? undefined : start + length, max),
          ]);
        const left = [...changes];
        const s = new RemoteSnapshot(schema, limits, 0);
        const { result } = settle(s, core, fn, () => {
          const change = left.shift();
          if (change === undefined) return;
          if (change[1] === undefined) core.delete(change[0]);
          else core.put(change[0], change[1]);
        });
        const plain = new RemoteSnapshot(schema, limits, 0);
        assert.equal(s.appliedIndex, core.index);
        assert.deepEqual(settle(plain, core, fn).result, result);
      },
    ),
  );
});

test('too many rows or bytes are refused', () => {
  const core = new Core(100);
  for (let i = 0; i < 100; i++) core.put(i, 1);
  for (const small of [
    { rowsMax: 50, bytesMax: 10_000 },
    { rowsMax: 1_000, bytesMax: 60 },
  ]) {
    const s = new RemoteSnapshot(schema, small, 0);
    assert.throws(() => rangeOf(s, 0, undefined), Missing);
    const q = s.request(false);
    assert.match(s.take(q, core.serve(q)) ?? '', /at most/);
  }
});

test('an answer that does not fit is not taken, and no older state than was asked for', () => {
  const s = new RemoteSnapshot(schema, limits, 40);
  assert.throws(() => s.get(table, key(1)), Missing);
  const q = s.request(true);
  assert.deepEqual([q.fresh, q.atLeast, q.have], [true, 40, 0]);
  const row = { kind: 'get', row: undefined } as const;
  for (const reply of [
    { index: 39, all: true, results: [row] },
    { index: 41, all: false, results: [row] },
    { index: 41, all: true, results: [] },
    { index: 41, all: true, results: [{ kind: 'range', rows: [], upTo: undefined }] },
  ] as const)
    assert.match(s.take(q, reply) ?? '', /does not fit/);
});

test('a table of another shard, and a view whose function has returned, are errors', () => {
  const s = new RemoteSnapshot(schema, limits, 0);
  assert.throws(() => s.get({ ...table }, key(1)), { kind: 'refused' });
  s.end();
  assert.throws(() => s.get(table, key(1)), { kind: 'closed' });
});

test('bytes that are no request and no reply are malformed, not more', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      for (const decode of [decodeReadRequest, decodeReadReply])
        try {
          decode(bytes);
        } catch (error) {
          assert.ok(error instanceof MalformedError, `${error}`);
        }
    }),
    { numRuns: 2_000 },
  );
});
