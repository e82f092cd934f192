import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareBytes, copyBytes } from '#base/bytes.js';
import { Prng } from '#base/prng.js';
import { FilesError } from '#env/files.js';
import type { TableWrite } from '#env/tables.js';
import { World } from './scheduler.js';
import { createSimNode, type SimNode } from './sim-env.js';
import { SimNet } from './sim-net.js';
import { SortedRows } from './sorted-rows.js';

function setup(seed: number): { world: World; node: SimNode } {
  const world = new World({ seed });
  return { world, node: createSimNode(world, new SimNet(world), 'a@a') };
}

const bytes = (s: string): Uint8Array => new Uint8Array(Buffer.from(s));
const text = (b: Uint8Array | undefined): string | undefined => (b === undefined ? undefined : Buffer.from(b).toString());

test('files: synced bytes survive a power cut, of the rest a prefix', () => {
  const lengths = new Set<number>();
  for (let seed = 1; seed < 60; seed++) {
    const { world, node } = setup(seed);
    const f = node.env.files.openAppend('log');
    node.env.files.syncDir('', () => {});
    f.append([bytes('abc'), bytes('def')]);
    let synced = false;
    f.sync((e) => {
      synced = e === undefined;
    });
    f.append([bytes('ghi')]);
    world.runFor(10);
    assert.equal(synced, true);
    node.crash();
    const after = text(node.restart().files.read('log')) ?? '';
    assert.ok('abcdefghi'.startsWith(after) && after.length >= 6, after);
    lengths.add(after.length);
  }
  assert.deepEqual([...lengths].sort(), [6, 7, 8, 9]);
});

test('files: a sync covers only what was appended before it, and only once it is done', () => {
  let lost = 0;
  for (let seed = 1; seed < 40; seed++) {
    const { world, node } = setup(seed);
    const f = node.env.files.openAppend('log');
    node.env.files.syncDir('.', () => {});
    world.runFor(10);
    f.append([bytes('abc')]);
    f.sync(() => assert.fail('the process died before'));
    node.crash();
    if (node.restart().files.size('log') < 3) lost++;
  }
  assert.ok(lost > 10);
});

test('files: an entry that was not made durable may vanish, with kill -9 never', () => {
  let gone = 0;
  for (let seed = 1; seed < 40; seed++) {
    for (const kind of ['kill', 'power'] as const) {
      const { world, node } = setup(seed);
      node.env.files.makeDir('wal');
      const f = node.env.files.openAppend('wal/1');
      f.append([bytes('abc')]);
      f.sync(() => {});
      world.runFor(10);
      node.crash({ kind });
      const there = node.restart().files.exists('wal/1');
      if (kind === 'kill') assert.equal(there, true);
      else if (!there) gone++;
    }
  }
  assert.ok(gone > 5);
});

test('files: syncDir of both directories keeps the entry', () => {
  for (let seed = 1; seed < 20; seed++) {
    const { world, node } = setup(seed);
    const { files } = node.env;
    files.makeDir('wal');
    files.openAppend('wal/1');
    files.syncDir('', () => {});
    files.syncDir('wal', () => {});
    world.runFor(10);
    node.crash();
    assert.deepEqual(node.restart().files.list('wal'), ['1']);
  }
});

test('files: writeAtomic leaves the old or the new content', () => {
  const seen = new Set<string | undefined>();
  for (let seed = 1; seed < 60; seed++) {
    const { world, node } = setup(seed);
    node.env.files.writeAtomic('c', bytes('old'), () => {});
    world.runFor(10);
    node.env.files.writeAtomic('c', bytes('newer'), () => {});
    world.runFor(node.world.prng.next() * 2);
    node.crash({ kind: seed % 2 === 0 ? 'kill' : 'power' });
    seen.add(text(node.restart().files.read('c')));
  }
  assert.deepEqual([...seen].sort(), ['newer', 'old']);
});

test('files: full disk, failing sync, slow disk, flipped bit', () => {
  const { world, node } = setup(3);
  const { files } = node.env;
  const f = files.openAppend('log');
  node.disk.faults.capacityBytes = 10;
  assert.throws(
    () => f.append([new Uint8Array(11)]),
    (e) => e instanceof FilesError && e.code === 'ENOSPC',
  );
  assert.ok(f.size < 11);
  node.disk.faults.capacityBytes = 1_000;
  node.disk.faults.syncErrorChance = 1;
  let code: string | undefined;
  f.sync((e) => {
    code = e?.code;
  });
  world.runFor(10);
  assert.equal(code, 'EIO');
  node.disk.faults.syncErrorChance = 0;
  node.disk.faults.slowFactor = 1_000;
  let done = false;
  f.sync(() => {
    done = true;
  });
  world.runFor(150);
  assert.equal(done, false);
  world.runFor(2_000);
  assert.equal(done, true);
  f.append([bytes('abcdef')]);
  const before = files.read('log');
  node.disk.flipBit('log');
  assert.notDeepEqual(files.read('log'), before);
  assert.throws(() => files.read('none'), FilesError);
  assert.throws(() => files.openAppend('no/dir'), FilesError);
});

test('files: truncation, rename, removal and listing', () => {
  const { world, node } = setup(4);
  const { files } = node.env;
  files.makeDir('d/e');
  for (const name of ['d/b', 'd/a', 'd/e/c']) files.openAppend(name).append([bytes(name)]);
  assert.deepEqual(files.list('d'), ['a', 'b', 'e']);
  assert.deepEqual(files.list('none'), []);
  files.truncate('d/a', 1);
  assert.equal(text(files.read('d/a')), 'd');
  assert.equal(text(files.readAt('d/b', 1, 100)), '/b');
  files.rename('d', 'f');
  assert.equal(text(files.read('f/e/c')), 'd/e/c');
  files.remove('f/b');
  assert.deepEqual(files.list('f'), ['a', 'e']);
  files.removeTree('f');
  files.removeTree('f');
  assert.equal(files.exists('f/e/c') || files.exists('f'), false);
  world.runFor(10);
});

test('tables: a power cut rolls back to a commit at or after the last flush; kill -9 to the last commit', () => {
  const kept = new Set<number>();
  for (let seed = 1; seed < 80; seed++) {
    for (const kind of ['kill', 'power'] as const) {
      const { world, node } = setup(seed);
      const store = node.env.tables.open('tables/s/1');
      let committed = 0;
      const put = (n: number): void =>
        store.write(
          [
            { key: bytes('n'), value: bytes(String(n)) },
            { key: bytes(`k${n}`), value: bytes('x') },
            { key: bytes(`k${n - 3}`), value: undefined },
          ],
          () => {
            committed = n;
          },
        );
      put(1);
      put(2);
      let flushed = false;
      world.runUntil(() => committed === 2, 100);
      store.flushed((e) => {
        flushed = e === undefined;
      });
      world.runUntil(() => flushed, 100);
      for (let n = 3; n < 9; n++) put(n);
      world.runUntil(() => committed === 8, 100);
      node.crash({ kind });
      const again = node.restart().tables.open('tables/s/1');
      const n = Number(text(again.get(bytes('n'))));
      assert.ok(n >= 2 && n <= 8);
      if (kind === 'kill') assert.equal(n, 8);
      kept.add(n);
      const keys: string[] = [];
      again.range(bytes('k'), undefined, (k) => {
        if (k[0] === 107) keys.push(text(k) ?? '');
        return true;
      });
      assert.deepEqual(
        keys,
        [n - 2, n - 1, n].filter((i) => i > 0).map((i) => `k${i}`),
      );
    }
  }
  assert.ok(kept.size > 3);
});

test('tables: batches are invisible until committed, in order; key limits; views end with the turn', () => {
  const { world, node } = setup(5);
  const store = node.env.tables.open('t');
  const order: string[] = [];
  store.write([{ key: bytes('a'), value: bytes('1') }], () => order.push('first'));
  store.write(
    [
      { key: new Uint8Array(1_979), value: bytes('1') },
      { key: bytes('b'), value: bytes('1') },
    ],
    (e) => order.push(e === undefined ? 'taken' : 'refused'),
  );
  store.write([{ key: bytes('a'), value: bytes('2') }], () => order.push('third'));
  assert.equal(store.get(bytes('a')), undefined);
  world.runFor(50);
  assert.deepEqual(order, ['first', 'refused', 'third']);
  assert.equal(store.get(bytes('b')), undefined);
  const view = store.get(bytes('a'));
  assert.equal(text(view), '2');
  world.runFor(1);
  assert.deepEqual([...(view ?? [])], [0xdd]);
  assert.throws(() => node.env.tables.open('t'), /open already/);
  let closed = false;
  store.close(() => {
    closed = true;
  });
  world.runFor(100);
  assert.equal(closed, true);
  node.env.tables.open('t');
  assert.deepEqual(node.env.files.list(''), ['t']);
});

test('tables: changing a batch before it is committed stops the run', () => {
  const { world, node } = setup(6);
  const store = node.env.tables.open('t');
  const value = bytes('1');
  store.write([{ key: bytes('a'), value }], () => {});
  value[0] = 9;
  assert.throws(() => world.runFor(50), /changed between/);
});

test('sorted rows behave like a sorted map', () => {
  const key = fc.integer({ min: 0, max: 400 }).map((n) => String.fromCharCode(n & 255, n >> 8));
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.boolean()), { maxLength: 1_500 }), key, key, (steps, a, b) => {
      const rows = new SortedRows();
      const model = new Map<string, Uint8Array>();
      for (const [k, put] of steps) {
        const value = put ? bytes(k) : undefined;
        assert.equal(rows.set(k, value), model.get(k));
        if (value === undefined) model.delete(k);
        else model.set(k, value);
      }
      assert.equal(rows.rows, model.size);
      const expected = [...model.keys()].sort().filter((k) => k >= a && k < b);
      const up: string[] = [];
      rows.ascend(a, b, (k) => up.push(k) > 0);
      assert.deepEqual(up, expected);
      const down: string[] = [];
      rows.descend(a, b, (k) => down.push(k) > 0);
      assert.deepEqual(down, expected.reverse());
      assert.equal(rows.get(a), model.get(a));
    }),
    { numRuns: 60 },
  );
});

test('sorted rows: byte strings order like bytes, also in large numbers', () => {
  const { world, node } = setup(8);
  const store = node.env.tables.open('t');
  const prng = new Prng(2);
  const batch: TableWrite[] = Array.from({ length: 20_000 }, () => ({ key: prng.bytes(1 + prng.int(6)), value: prng.bytes(3) }));
  store.write(batch, () => {});
  world.runFor(50);
  let last: Uint8Array | undefined;
  let n = 0;
  store.range(new Uint8Array(0), undefined, (k) => {
    if (last !== undefined) assert.ok(compareBytes(last, k) < 0);
    last = copyBytes(k);
    n++;
    return true;
  });
  assert.equal(n, store.stat().rows);
  const sought = store.seek(Uint8Array.of(0x80));
  assert.ok(sought !== undefined && (sought.key[0] ?? 0) >= 0x80);
});

test('files: two directories synced at once are both durable', () => {
  for (let seed = 1; seed < 30; seed++) {
    const { world, node } = setup(seed);
    node.env.files.makeDir('wal');
    node.env.files.openAppend('wal/1');
    let open = 2;
    for (const dir of ['wal', '']) node.env.files.syncDir(dir, () => open--);
    for (let i = 0; open > 0; i++) {
      assert.ok(i < 1_000, 'never synced');
      world.runFor(1);
    }
    node.crash({ kind: 'power' });
    assert.deepEqual(node.restart().files.list('wal'), ['1']);
  }
});
