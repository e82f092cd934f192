// Model of the table store (LMDB): sorted rows, batches that commit whole and in order after a small
// delay, durability that follows later. A power cut rolls back to a random commit between the last
// flushed one and the last; a kill of the process alone loses only what was not committed.
//
// It is strict where the real store is dangerous: views that are used after they ended read 0xDD
// (`poisonViews`), and bytes of a batch that change before `committed` stop the run. Views are Buffers, as in the real world: their `slice` does not copy.
import { assert } from '#base/assert.js';
import { copyBytes } from '#base/bytes.js';
import { crc32c } from '#base/crc32c.js';
import { Deque } from '#base/deque.js';
import type { Prng } from '#base/prng.js';
import { type RangeOptions, type TableStore, type Tables, TablesError, type TableWrite, tableKeyBytesMax } from '#env/tables.js';
import { keyString } from './key-string.js';
import { eventKinds, type Scope, type World } from './scheduler.js';
import type { SimDisk } from './sim-files.js';
import { SortedRows } from './sorted-rows.js';

export interface TablesFaults {
  /** How long a commit takes: from, to. */
  commitMs: readonly [number, number];
  /** How long after a commit it is on disk: from, to. */
  flushMs: readonly [number, number];
  slowFactor: number;
  /** Chance that a batch fails. */
  writeErrorChance: number;
  /** Chance that a flush fails. */
  flushErrorChance: number;
  /** Every batch fails with this text while set. */
  failWith: string | undefined;
}

/** What a batch replaced, in its order. */
interface Undo {
  readonly rows: readonly { readonly key: string; readonly old: Uint8Array | undefined }[];
  /** When it (and with it everything before) is on disk; Infinity: not before something later is. */
  flushedAt: number;
}

/** Undo records kept before those that are on disk are looked for. */
const settleEvery = 64;

/** One store on disk, whoever has it open. */
class Disk {
  readonly rows = new SortedRows();
  /** Undo records of commits that are not on disk yet, oldest first. */
  readonly unflushed = new Deque<Undo>();
  openedBy: Scope | undefined;

  /** Forgets how to undo what is on disk by now. */
  settle(now: number): void {
    for (let i = this.unflushed.length - 1; i >= 0; i--) {
      if ((this.unflushed.at(i) as Undo).flushedAt > now) continue;
      for (let n = i; n >= 0; n--) this.unflushed.shift();
      return;
    }
  }
}

export class SimTables {
  readonly world: World;
  readonly disk: SimDisk;
  readonly prng: Prng;
  readonly faults: TablesFaults = {
    commitMs: [0.2, 2],
    flushMs: [1, 20],
    slowFactor: 1,
    writeErrorChance: 0,
    flushErrorChance: 0,
    failWith: undefined,
  };
  poisonViews = true;
  checkOwnership = true;
  readonly #stores = new Map<string, Disk>();

  constructor(world: World, disk: SimDisk, prng: Prng) {
    this.world = world;
    this.disk = disk;
    this.prng = prng;
    disk.onDirGone = (dir) => this.#stores.delete(dir);
    disk.holdsStore = (dir) => [...this.#stores.keys()].some((s) => s === dir || s.startsWith(`${dir}/`));
  }

  /** Power cut. */
  crash(): void {
    for (const store of this.#stores.values()) {
      store.openedBy = undefined;
      store.settle(this.world.now);
      const undos: Undo[] = [];
      for (let u = store.unflushed.shift(); u !== undefined; u = store.unflushed.shift()) undos.push(u);
      for (const undo of undos.slice(this.prng.int(undos.length + 1)).reverse()) {
        for (const { key, old } of undo.rows.toReversed()) store.rows.set(key, old);
      }
    }
  }

  /** Kill of the process alone. */
  killed(): void {
    for (const store of this.#stores.values()) {
      store.openedBy = undefined;
      store.settle(this.world.now);
      // Nobody waits for these any more; a flush of the next process covers them.
      for (let i = 0; i < store.unflushed.length; i++) (store.unflushed.at(i) as Undo).flushedAt = Number.POSITIVE_INFINITY;
    }
  }

  /** Takes over what another host's stores hold. */
  copyFrom(other: SimTables): void {
    this.#stores.clear();
    for (const [dir, store] of other.#stores) {
      const copy = new Disk();
      store.rows.ascend('', undefined, (key, value) => {
        copy.rows.set(key, copyBytes(value));
        return true;
      });
      this.#stores.set(dir, copy);
    }
  }

  /** Turns a bit over in the value of a random row; false when there is none. */
  flipBit(dir: string): boolean {
    const store = this.#stores.get(dir);
    if (store === undefined || store.rows.rows === 0) return false;
    let skip = this.prng.int(store.rows.rows);
    store.rows.ascend('', undefined, (key, value) => {
      if (skip-- > 0) return true;
      const damaged = copyBytes(value);
      const at = this.prng.int(damaged.length + 1);
      if (at < damaged.length) damaged[at] = (damaged[at] as number) ^ (1 << this.prng.int(8));
      store.rows.set(key, damaged);
      return false;
    });
    return true;
  }

  /** The rows of a shard's tables are what was written: their last four bytes say so. */
  checks(dir: string): boolean {
    let sound = true;
    this.#stores.get(dir)?.rows.ascend('', undefined, (key, value) => {
      const stored = Buffer.from(value);
      const end = stored.length - 4;
      sound = end >= 0 && crc32c(stored, crc32c(Buffer.from(key, 'latin1')), 0, end) === stored.readUInt32LE(end);
      return sound;
    });
    return sound;
  }

  /** Directories that hold a store. */
  stores(): string[] {
    return [...this.#stores.keys()].sort();
  }

  tablesFor(scope: Scope): Tables {
    return {
      open: (path) => {
        const dir = path
          .split('/')
          .filter((p) => p !== '' && p !== '.')
          .join('/');
        this.disk.makeDurableDir(dir);
        let store = this.#stores.get(dir);
        if (store === undefined) {
          store = new Disk();
          this.#stores.set(dir, store);
        }
        if (store.openedBy !== undefined) throw new TablesError(`${dir} is open already`);
        store.openedBy = scope;
        return new SimTableStore(this, store, scope);
      },
    };
  }
}

class SimTableStore implements TableStore {
  readonly #tables: SimTables;
  readonly #store: Disk;
  readonly #scope: Scope;
  readonly #prng: Prng;
  #commitQueueEnd = 0;
  #flushQueueEnd = 0;
  #commitsPending = 0;
  #closing: (() => void) | undefined;
  #views: Uint8Array[] = [];

  constructor(tables: SimTables, store: Disk, scope: Scope) {
    this.#tables = tables;
    this.#store = store;
    this.#scope = scope;
    this.#prng = tables.prng;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#usable();
    const value = this.#store.rows.get(keyString(key));
    return value === undefined ? undefined : this.#turnView(value);
  }

  range(start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, value: Uint8Array) => boolean, options?: RangeOptions): void {
    this.#usable();
    const poison = this.#tables.poisonViews;
    const each = (key: string, value: Uint8Array): boolean => {
      const keyView = Buffer.from(key, 'latin1');
      const valueView = poison ? Buffer.from(value) : value;
      const more = visit(keyView, valueView);
      if (poison) {
        keyView.fill(0xdd);
        valueView.fill(0xdd);
      }
      return more;
    };
    const last = end === undefined ? undefined : keyString(end);
    if (options?.reverse === true) this.#store.rows.descend(keyString(start), last, each);
    else this.#store.rows.ascend(keyString(start), last, each);
  }

  seek(key: Uint8Array): { readonly key: Uint8Array; readonly value: Uint8Array } | undefined {
    this.#usable();
    let found: { readonly key: Uint8Array; readonly value: Uint8Array } | undefined;
    this.#store.rows.ascend(keyString(key), undefined, (k, value) => {
      const keyView = Buffer.from(k, 'latin1');
      if (this.#tables.poisonViews) this.#endWithTurn(keyView);
      found = { key: keyView, value: this.#turnView(value) };
      return false;
    });
    return found;
  }

  write(batch: readonly TableWrite[], committed: (error: TablesError | undefined) => void): void {
    this.#usable();
    const { faults, world, checkOwnership } = this.#tables;
    const crc = checkOwnership ? batchCrc(batch) : 0;
    this.#commitsPending++;
    this.#commitQueueEnd = this.#due(this.#commitQueueEnd, faults.commitMs);
    world.at(
      this.#commitQueueEnd,
      () => {
        if (this.#scope.dead) return;
        if (checkOwnership) assert(batchCrc(batch) === crc, 'a batch was changed between write and its commit');
        const error = this.#commit(batch);
        this.#commitsPending--;
        this.#closeWhenQuiet();
        world.enter(this.#scope, () => committed(error), eventKinds.tables);
      },
      undefined,
      eventKinds.tables,
    );
  }

  flushed(done: (error: TablesError | undefined) => void): void {
    this.#usable();
    this.#flush(done);
  }

  stat(): { readonly rows: number; readonly bytes: number } {
    return { rows: this.#store.rows.rows, bytes: this.#store.rows.bytes };
  }

  close(done: () => void): void {
    this.#usable();
    this.#closing = done;
    this.#closeWhenQuiet();
  }

  #usable(): void {
    assert(this.#closing === undefined, 'the table store is closed');
  }

  #due(queueEnd: number, [low, high]: readonly [number, number]): number {
    const { world, faults } = this.#tables;
    return Math.max(queueEnd, world.now + (low + this.#prng.next() * (high - low)) * faults.slowFactor);
  }

  #commit(batch: readonly TableWrite[]): TablesError | undefined {
    const { faults } = this.#tables;
    if (faults.failWith !== undefined) return new TablesError(faults.failWith);
    if (this.#prng.chance(faults.writeErrorChance)) return new TablesError('commit failed (injected)');
    for (const { key } of batch) {
      if (key.length === 0 || key.length > tableKeyBytesMax)
        return new TablesError(`a key has ${key.length} bytes, 1 to ${tableKeyBytesMax} are allowed`);
    }
    const rows: { key: string; old: Uint8Array | undefined }[] = [];
    // The writer gave them away (`checkOwnership` makes sure): a copy is needed only to find out.
    const { checkOwnership } = this.#tables;
    for (const { key, value } of batch) {
      const k = keyString(key);
      rows.push({ key: k, old: this.#store.rows.set(k, value !== undefined && checkOwnership ? copyBytes(value) : value) });
    }
    this.#flushQueueEnd = this.#due(this.#flushQueueEnd, faults.flushMs);
    const fails = this.#prng.chance(faults.flushErrorChance);
    this.#store.unflushed.push({ rows, flushedAt: fails ? Number.POSITIVE_INFINITY : this.#flushQueueEnd });
    if (this.#store.unflushed.length >= settleEvery) this.#store.settle(this.#tables.world.now);
    return undefined;
  }

  /** Brings every commit so far to disk, in order. */
  #flush(done: (error: TablesError | undefined) => void): void {
    const { world, faults } = this.#tables;
    const store = this.#store;
    const last = store.unflushed.at(store.unflushed.length - 1);
    this.#flushQueueEnd = this.#due(this.#flushQueueEnd, faults.flushMs);
    world.at(
      this.#flushQueueEnd,
      () => {
        if (this.#scope.dead) return;
        const failed = this.#prng.chance(faults.flushErrorChance);
        if (!failed && last !== undefined) last.flushedAt = Math.min(last.flushedAt, world.now);
        store.settle(world.now);
        const error = failed ? new TablesError('flush failed (injected)') : undefined;
        world.enter(this.#scope, () => done(error), eventKinds.tables);
      },
      undefined,
      eventKinds.tables,
    );
  }

  #closeWhenQuiet(): void {
    const done = this.#closing;
    if (done === undefined || this.#commitsPending > 0) return;
    this.#flush(() => {
      this.#store.openedBy = undefined;
      done();
    });
  }

  #turnView(value: Uint8Array): Uint8Array {
    if (!this.#tables.poisonViews) return value;
    const view = Buffer.from(value);
    this.#endWithTurn(view);
    return view;
  }

  #endWithTurn(view: Uint8Array): void {
    this.#views.push(view);
    if (this.#views.length > 1) return;
    // An event of its own at the same time: every end-of-turn task asked for before runs first or in the same turn.
    this.#tables.world.after(0, () => this.#poison(), undefined, eventKinds.turn);
  }

  #poison(): void {
    const views = this.#views;
    this.#views = [];
    for (const view of views) view.fill(0xdd);
  }
}

function batchCrc(batch: readonly TableWrite[]): number {
  let c = 0;
  for (const { key, value } of batch) {
    c = crc32c(key, c);
    if (value !== undefined) c = crc32c(value, c);
  }
  return c;
}
