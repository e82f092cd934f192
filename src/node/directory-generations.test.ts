// The pointer to a shard's tables, on files whose replacements finish when the test says so.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Env } from '#env/env.js';
import type { TableStore } from '#env/tables.js';
import { DirectoryGenerations } from './directory-generations.js';

class World {
  readonly trees: Set<string> = new Set();
  pointer: string | undefined;
  readonly waiting: (() => void)[] = [];
  readonly env: Env;

  constructor() {
    const store = (): TableStore => ({ close: (done: () => void) => done(), seek: () => undefined }) as unknown as TableStore;
    this.env = {
      files: {
        makeDir: (dir: string) => {
          if (dir.endsWith('.damaged')) this.trees.add(dir);
        },
        exists: () => this.pointer !== undefined,
        read: () => utf8Encode(this.pointer ?? ''),
        list: () => [...this.trees].map((t) => t.slice(t.lastIndexOf('/') + 1)),
        removeTree: (dir: string) => {
          this.trees.delete(dir);
        },
        syncDir: (_dir: string, done: (error: undefined) => void) => done(undefined),
        writeAtomic: (_path: string, bytes: Uint8Array, done: (error: undefined) => void) => {
          this.waiting.push(() => {
            this.pointer = utf8Decode(bytes);
            done(undefined);
          });
        },
      },
      tables: {
        open: (dir: string) => {
          this.trees.add(dir);
          return store();
        },
      },
      log: { error: assert.fail, warn: () => {} },
    } as unknown as Env;
  }

  /** What a start would find: the pointer always names a directory that is there. */
  check(generation: number): void {
    assert.equal(Number(this.pointer ?? 1), generation);
    assert.ok(this.trees.has(`tables/s/${generation}`), [...this.trees].join());
  }

  settle(): void {
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      next();
      this.check(Number(this.pointer ?? 1));
    }
  }
}

test('generations: a copy that is put in service is named, the old one goes', () => {
  const w = new World();
  const g = new DirectoryGenerations(w.env, 's');
  const first = g.openCurrent();
  const second = g.create();
  assert.deepEqual([first.number, second.number], [1, 2]);
  let named = false;
  g.makeCurrent(2, () => {
    named = true;
  });
  assert.equal(named, false);
  w.settle();
  assert.equal(named, true);
  g.discard(1, first.store);
  w.settle();
  w.check(2);
  assert.deepEqual([...w.trees], ['tables/s/2']);
  assert.equal(new DirectoryGenerations(w.env, 's').openCurrent().number, 2);
});

test('generations: a copy given up while it is being named: the pointer names the one in service again', () => {
  const w = new World();
  const g = new DirectoryGenerations(w.env, 's');
  g.openCurrent();
  const second = g.create();
  g.makeCurrent(2, () => {});
  g.discard(2, second.store);
  w.settle();
  w.check(1);
  assert.deepEqual([...w.trees], ['tables/s/1']);
  // And the next copy is named as ever.
  g.create();
  g.makeCurrent(3, () => {});
  w.settle();
  w.check(3);
});

test('generations: what was given up before it was named is not named any more', () => {
  const w = new World();
  const g = new DirectoryGenerations(w.env, 's');
  g.openCurrent();
  const second = g.create();
  g.discard(2, second.store);
  let failure: Error | undefined;
  g.makeCurrent(2, (error) => {
    failure = error;
  });
  w.settle();
  assert.ok(failure !== undefined);
  w.check(1);
});

test('generations: one that is marked as damaged is not opened again, and stays until another one is named', () => {
  const w = new World();
  const g = new DirectoryGenerations(w.env, 's');
  assert.equal(g.openCurrent().number, 1);
  g.markDamaged(1);
  for (const number of [2, 3]) {
    const next = new DirectoryGenerations(w.env, 's');
    const { number: opened, anew } = next.openCurrent();
    assert.deepEqual([opened, anew], [number, true]);
    assert.ok(w.trees.has('tables/s/1'));
    if (number < 3) continue;
    next.makeCurrent(3, assert.ifError);
    w.settle();
  }
  const last = new DirectoryGenerations(w.env, 's').openCurrent();
  assert.deepEqual([last.number, last.anew], [3, undefined]);
  assert.deepEqual([...w.trees], ['tables/s/3']);
});

test('generations: leftovers go at the start, a damaged pointer removes nothing', () => {
  const w = new World();
  for (const n of [1, 2, 3]) w.trees.add(`tables/s/${n}`);
  w.pointer = '2\n';
  assert.equal(new DirectoryGenerations(w.env, 's').openCurrent().number, 2);
  assert.deepEqual([...w.trees], ['tables/s/2']);
  w.pointer = '2';
  assert.throws(() => new DirectoryGenerations(w.env, 's').openCurrent(), /damaged/);
  assert.ok(w.trees.has('tables/s/2'));
});
