// A shard's copy against a model as plain as can be: random entries in random batches, long keys,
// owners that die, sweeps; what reads, feeds and the store itself show.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteWriter } from '#base/byte-writer.js';
import { byteString, compareBytes } from '#base/bytes.js';
import { Prng } from '#base/prng.js';
import { TablesError } from '#env/tables.js';
import type { ShardSchema, Table } from './api.js';
import type { AppliedEntry } from './apply.js';
import { dbBounds } from './bounds.js';
import { MemoryStore, MirrorFeed, testEnv } from './doubles.test.js';
import { type EntryOp, writeEntry } from './entry-codec.js';
import { ShardState } from './shard-state.js';
import { ownerIndexByte } from './stored-row.js';

const plain: Table = { id: 5, name: 'plain', shard: 's' };
const owned: Table = { id: 6, name: 'owned', shard: 's', owned: true };
const schema: ShardSchema = { name: 's', replicate: 'all', tables: [plain, owned], commands: {} };

interface ModelRow {
  readonly tableId: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly owner: number;
}

/** Keys around the borders of the plain rows, some with a long common beginning. */
function someKeys(prng: Prng): Uint8Array[] {
  const keys = [Uint8Array.of(), Uint8Array.of(0), Uint8Array.of(255), Uint8Array.of(255, 255)];
  for (const length of [3, 511, 512, 513, 1_024, 1_025, 2_000, 65_535]) {
    const key = new Uint8Array(length).fill(prng.int(3));
    keys.push(key, key.with(length - 1, 9), key.with(0, 7));
  }
  return keys;
}

class Model {
  readonly rows: Map<string, ModelRow> = new Map();
  readonly live: Map<string, number> = new Map();
  readonly dead: Set<number> = new Set();
  nextIncarnation = 1;

  set(tableId: number, key: Uint8Array, row: ModelRow | undefined): void {
    const name = `${tableId}:${byteString(key)}`;
    if (row === undefined) this.rows.delete(name);
    else this.rows.set(name, row);
  }

  kill(incarnation: number): void {
    this.dead.add(incarnation);
    for (const [name, row] of this.rows) if (row.owner === incarnation) this.rows.delete(name);
  }

  range(tableId: number, start: Uint8Array, end: Uint8Array | undefined): ModelRow[] {
    return [...this.rows.values()]
      .filter((r) => r.tableId === tableId && compareBytes(r.key, start) >= 0 && (end === undefined || compareBytes(r.key, end) < 0))
      .sort((a, b) => compareBytes(a.key, b.key));
  }
}

/** A random operation, resolved as the leader would resolve it; the model does the same. `physical`: owner of the stored row, visible or not. */
function someOp(prng: Prng, model: Model, keys: readonly Uint8Array[], physical: Map<string, number>): EntryOp {
  const roll = prng.next();
  const nodeId = prng.pick(['a', 'b']);
  if (roll < 0.05) {
    const incarnation = model.nextIncarnation++;
    const before = model.live.get(nodeId);
    if (before !== undefined) model.kill(before);
    model.live.set(nodeId, incarnation);
    return { kind: 'admit', nodeId, incarnation };
  }
  const live = model.live.get(nodeId);
  if (roll < 0.08 && live !== undefined) {
    model.live.delete(nodeId);
    model.kill(live);
    return { kind: 'purge', nodeId, incarnation: live };
  }
  const [dead] = model.dead;
  if (roll < 0.12 && dead !== undefined) {
    model.dead.delete(dead);
    return { kind: 'sweep', incarnation: dead, from: new Uint8Array(0), to: new Uint8Array(0), last: true };
  }
  const table = prng.pick([plain, owned]);
  const key = prng.pick(keys);
  const name = `${table.id}:${byteString(key)}`;
  const previousOwner = table === owned ? (physical.get(name) ?? 0) : 0;
  if (roll < 0.3) {
    physical.delete(name);
    model.set(table.id, key, undefined);
    return { kind: 'delete', tableId: table.id, key, previousOwner };
  }
  const owner = table === owned && live !== undefined && prng.chance(0.8) ? live : 0;
  const value = prng.bytes(prng.int(20));
  physical.set(name, owner);
  model.set(table.id, key, { tableId: table.id, key, value, owner });
  return { kind: 'put', tableId: table.id, key, owner, previousOwner, value };
}

function entry(index: number, ops: readonly EntryOp[]): AppliedEntry {
  const w = new ByteWriter(64);
  writeEntry(w, {
    stampMs: index,
    transactions: ops.map((op) => ({ incarnation: 0, seq: 0, receivedUpTo: 0, status: 0, reply: new Uint8Array(0), ops: [op] })),
  });
  return { index, term: 1, kind: 0, data: w.finish() };
}

interface Made {
  readonly state: ShardState;
  /** Applies all that is queued. */
  apply(): void;
  /** Brings what is applied to the store. */
  commit(error?: TablesError): void;
}

function make(store: MemoryStore, applyRowsMax: number, onFailure: (error: TablesError) => void = assert.fail): Made {
  const bounds = { ...dbBounds, applyRowsMax };
  const { env, endTurn } = testEnv();
  const state = new ShardState({ env, schema, bounds, onApplied: () => {}, onFailure, onDamage: () => {} }, { number: 1, store });
  const apply = (): void => {
    while (!state.idle && !state.failed) endTurn();
  };
  const commit = (error?: TablesError): void => {
    apply();
    state.store.flushed(() => {});
    while (store.commit(error));
  };
  return { state, apply, commit };
}

function compare(state: ShardState, model: Model, feed: MirrorFeed, prng: Prng, keys: readonly Uint8Array[]): void {
  for (const table of [plain, owned]) {
    const [a, b] = [prng.pick(keys), prng.pick(keys)].sort(compareBytes);
    for (const [start, end] of [
      [new Uint8Array(0), undefined],
      [a, b],
      [a, undefined],
    ] as const) {
      const found: { key: string; value: string; owner: number }[] = [];
      state.reader.range(table, start as Uint8Array, end, (key, row) => {
        found.push({ key: byteString(key), value: byteString(row.value), owner: row.owner });
        return true;
      });
      const expected = model
        .range(table.id, start as Uint8Array, end)
        .map((r) => ({ key: byteString(r.key), value: byteString(r.value), owner: r.owner }));
      assert.deepEqual(found, expected);
      const first = state.reader.seek(table, start as Uint8Array);
      assert.equal(
        first === undefined ? undefined : byteString(first.key),
        model.range(table.id, start as Uint8Array, undefined).map((r) => byteString(r.key))[0],
      );
    }
    for (const key of keys) {
      const row = state.reader.get(table, key);
      const expected = model.rows.get(`${table.id}:${byteString(key)}`);
      assert.equal(row === undefined ? undefined : byteString(row.value), expected === undefined ? undefined : byteString(expected.value));
    }
  }
  const seen = [...feed.rows].map(([name, r]) => [name, r.value, r.owner]).sort();
  assert.deepEqual(seen, [...model.rows].map(([name, r]) => [name, byteString(r.value), r.owner]).sort());
}

test('shard state: reads, ranges and feeds are what a plain model says, whatever the batches', () => {
  for (let seed = 1; seed <= 12; seed++) {
    const prng = new Prng(seed);
    const keys = someKeys(prng);
    const model = new Model();
    const physical = new Map<string, number>();
    const stores = [new MemoryStore(), new MemoryStore()];
    const made = stores.map((store, i) => make(store, i === 0 ? 1 : 1_000));
    const feeds = made.map(({ state }) => {
      const feed = new MirrorFeed();
      state.subscribe(feed);
      return feed;
    });
    let index = 0;
    for (let round = 0; round < 12; round++) {
      const entries = Array.from({ length: prng.range(1, 6) }, () =>
        entry(
          ++index,
          Array.from({ length: prng.range(1, 4) }, () => someOp(prng, model, keys, physical)),
        ),
      );
      for (const [i, { state, apply, commit }] of made.entries()) {
        state.enqueue(entries);
        apply();
        // What is read from memory, from both, and from the store is the same.
        const roll = prng.next();
        if (roll < 0.3) state.store.flushed(() => {});
        else if (roll < 0.5) commit();
        assert.equal(state.appliedIndex, index);
        assert.equal(feeds[i]?.index, index);
        compare(state, model, feeds[i] as MirrorFeed, prng, keys);
      }
    }
    for (const { commit } of made) commit();
    assert.deepEqual(stores[0]?.rows, stores[1]?.rows, 'equal to the last byte, whatever the batches');
    // Opened again, it is the same copy.
    const { state: reopened } = make(stores[0] as MemoryStore, 10);
    assert.equal(reopened.appliedIndex, index);
    const feed = feeds[0] as MirrorFeed;
    compare(reopened, model, feed, prng, keys);
  }
});

test('shard state: once all dead incarnations are swept, nothing of them is stored', () => {
  const prng = new Prng(99);
  const keys = someKeys(prng);
  const model = new Model();
  const physical = new Map<string, number>();
  const store = new MemoryStore();
  const { state, commit } = make(store, 50);
  const ops = Array.from({ length: 300 }, () => someOp(prng, model, keys, physical));
  for (const node of ['a', 'b']) {
    const live = model.live.get(node);
    if (live !== undefined) ops.push({ kind: 'purge', nodeId: node, incarnation: live });
    if (live !== undefined) model.kill(live);
  }
  for (const incarnation of model.dead) ops.push({ kind: 'sweep', incarnation, from: new Uint8Array(0), to: new Uint8Array(0), last: true });
  state.enqueue(ops.map((op, i) => entry(i + 1, [op])));
  commit();
  const stored = [...store.rows.keys()].map((k) => k.charCodeAt(0));
  assert.equal(stored.filter((b) => b === ownerIndexByte).length, 0);
  assert.equal(stored.filter((b) => b !== 0).length, model.rows.size);
  assert.ok(model.rows.size > 0);
  assert.equal(state.cursor.system.unswept.size, 0);
});

test('shard state: what is applied is seen before it is committed, and not before the end of the turn; a refused commit ends the copy', () => {
  const store = new MemoryStore();
  const failures: string[] = [];
  const { state, apply, commit } = make(store, 10, (error) => failures.push(error.message));
  const key = Uint8Array.of(1);
  state.enqueue([entry(1, [{ kind: 'put', tableId: plain.id, key, owner: 0, previousOwner: 0, value: key }])]);
  assert.equal(state.appliedIndex, 0);
  assert.equal(state.reader.get(plain, key), undefined);
  apply();
  assert.equal(state.appliedIndex, 1);
  assert.deepEqual(state.reader.get(plain, key)?.value, key);
  assert.equal(store.rows.size, 0);
  commit();
  assert.deepEqual(state.reader.get(plain, key)?.value, key);
  state.enqueue([entry(2, [{ kind: 'delete', tableId: plain.id, key, previousOwner: 0 }])]);
  commit(new TablesError('disk full'));
  assert.deepEqual(failures, ['disk full']);
  assert.ok(state.failed);
  state.enqueue([entry(3, [])]);
  apply();
  assert.equal(state.appliedIndex, 2);
  assert.equal(store.waiting.length, 0, 'nothing more is tried');
  assert.equal(make(store, 10).state.appliedIndex, 1, 'the next process begins behind the last commit');
});

test('shard state: a swap resets the feeds and drops what was queued for the old copy', () => {
  const [old, next] = [new MemoryStore(), new MemoryStore()];
  const key = Uint8Array.of(1);
  const put = (index: number, value: number): AppliedEntry =>
    entry(index, [{ kind: 'put', tableId: plain.id, key, owner: 0, previousOwner: 0, value: Uint8Array.of(value) }]);
  const { state: aside, commit } = make(next, 10);
  aside.enqueue([put(1, 1), put(2, 2)]);
  commit();
  const { state, apply } = make(old, 1);
  const feed = new MirrorFeed();
  state.subscribe(feed);
  state.enqueue([put(1, 7), put(2, 8)]);
  state.store.flushed(() => {});
  const rest = aside.detach();
  state.swap({ number: 2, store: next }, aside.cursor);
  assert.deepEqual([feed.resets, feed.index, state.appliedIndex, state.queuedIndex, rest.length], [2, 2, 2, 2, 0]);
  // The old store's batch comes late: it is nobody's any more.
  old.commit();
  apply();
  assert.equal(state.appliedIndex, 2);
  assert.deepEqual(state.reader.get(plain, key)?.value, Uint8Array.of(2));
  state.enqueue([put(3, 3)]);
  apply();
  assert.equal(feed.index, 3);
});

test('shard state: a row that its owner writes again can be swept, also in a copy whose index was read behind the sweep', () => {
  const store = new MemoryStore();
  const { state, commit } = make(store, 10);
  const key = Uint8Array.of(1);
  state.enqueue([
    entry(1, [{ kind: 'admit', nodeId: 'a', incarnation: 1 }]),
    // The first put is not in the copy, nor are the row and its index: both are gone where it was made.
    entry(2, [{ kind: 'put', tableId: owned.id, key, owner: 1, previousOwner: 1, value: key }]),
    entry(3, [{ kind: 'purge', nodeId: 'a', incarnation: 1 }]),
    entry(4, [{ kind: 'sweep', incarnation: 1, from: new Uint8Array(0), to: new Uint8Array(0), last: true }]),
  ]);
  commit();
  assert.equal(state.appliedIndex, 4);
  assert.deepEqual(
    [...store.rows.keys()].filter((k) => k.charCodeAt(0) !== 0),
    [],
  );
});
