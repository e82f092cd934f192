// A bit turns over in the tables of a running node: nobody is served the row, the copy is thrown away and
// made anew from another node, and what other nodes have stays as it was.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toHex } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import { ClusterWorld, contentOf, itemsTable, type RunningNode } from './cluster-world.js';

const rows = 300;
const bounds = { tableCommitMs: 500, scrubEveryMs: 1_000, scrubRowsPerSecond: 1_000, replicaCreditBytes: 4_000, bootstrapChunkBytes: 1_000 };

function cluster(seed: number, cores: number, replicants: number, logKeepBytes?: number): ClusterWorld {
  const keep = logKeepBytes === undefined ? {} : { logKeepBytes, logKeepBytesMax: 4 * logKeepBytes, logKeepMs: 100 };
  const c = new ClusterWorld({ seed, cores, replicants, bounds: { ...bounds, ...keep }, walSegmentBytes: 4_096 });
  c.startAll();
  until(c, () => c.allServing);
  for (let k = 0; k < rows; k++) write(c.node('core1'), k, `value ${k}`);
  c.world.runFor(2_000);
  return c;
}

function until(c: ClusterWorld, true_: () => boolean, ms: number = 30_000): void {
  assert.ok(c.world.runUntil(true_, ms), c.world.report());
}

function write(n: RunningNode, k: number, value: string): void {
  const op = { kind: 'put', table: itemsTable, key: utf8Encode(`k${k}`), value: utf8Encode(value) } as const;
  n.sim.run(() => n.core?.database.write('items', [op], {}, () => {}));
}

function generation(n: RunningNode): number {
  return n.core?.database.shardState('items')?.generation ?? 0;
}

function flip(n: RunningNode): void {
  const dir = `tables/items/${generation(n)}`;
  // Some bits are beyond the row's end.
  while (n.sim.tables.checks(dir)) assert.ok(n.sim.tables.flipBit(dir));
}

function served(n: RunningNode): boolean {
  return n.core?.database.inSync('items') === true;
}

for (const [seed, short] of [
  [1, 'replicant1'],
  [2, 'follower'],
  [3, 'leader'],
] as const) {
  test(`damaged tables of a running node (${short}) are found and replaced, and it votes on meanwhile`, () => {
    const c = cluster(seed, 3, 2);
    const leader = c.leaderOf('items');
    const n = short === 'leader' ? leader : short === 'follower' ? c.nodes.find((one) => one.role === 'core' && one !== leader) : c.node(short);
    assert.ok(n !== undefined);
    const before = generation(n);
    flip(n);
    until(c, () => generation(n) > before && served(n));
    const writer = c.nodes.find((one) => one.role === 'core' && one !== n) as RunningNode;
    for (let k = 0; k < rows; k += 3) write(writer, k, 'newer');
    until(c, () => c.allServing);
    c.world.runFor(3_000);
    for (const other of c.nodes) assert.deepEqual(contentOf(other), contentOf(writer), other.name);
    assert.equal(contentOf(writer).filter((row) => row.endsWith(toHex(utf8Encode('newer')))).length, rows / 3);
    assert.equal(
      c.nodes.find((one) => one.fatal !== undefined),
      undefined,
    );
    // The copy is the current one also for the next process.
    c.crash(n, 'power');
    c.start(n);
    until(c, () => c.allServing);
    c.world.runFor(1_000);
    assert.deepEqual(contentOf(n), contentOf(writer));
  });
}

test('damage that ends the process is not opened again: the next one begins without it, and copies', () => {
  const c = cluster(4, 3, 1, 2_000);
  for (const short of ['core2', 'replicant1']) {
    const n = c.node(short);
    flip(n);
    assert.throws(() => contentOf(n), /damaged/);
    c.crash(n);
    c.start(n);
    until(c, () => c.allServing);
    c.world.runFor(1_000);
    assert.deepEqual(contentOf(n), contentOf(c.node('core1')), short);
  }
});

test('a core whose log reaches back to its beginning makes its tables from it', () => {
  const c = cluster(5, 1, 0);
  const n = c.node('core1');
  const before = contentOf(n);
  flip(n);
  assert.throws(() => contentOf(n), /damaged/);
  until(c, () => n.fatal !== undefined);
  assert.match(n.fatal?.message ?? '', /tables of shard items are damaged .*no other core has a copy/);
  // The mark is for the next process; the second one has tables that are durable.
  for (const end of ['kill', 'power'] as const) {
    c.crash(n, end);
    c.start(n);
    until(c, () => c.allServing);
    const strip = (all: string[]): string[] => all.filter((row) => !row.startsWith('00'));
    assert.deepEqual(strip(contentOf(n)), strip(before));
  }
});

test('the only core says what is damaged, and throws nothing away', () => {
  const c = cluster(6, 1, 0, 1_000);
  const n = c.node('core1');
  assert.equal(n.core?.database.coreShard('items')?.raft.entries(1, 2, 1_000), undefined, 'the log was compacted');
  const dir = `tables/items/${generation(n)}`;
  flip(n);
  until(c, () => n.fatal !== undefined);
  c.crash(n);
  c.start(n);
  until(c, () => n.fatal !== undefined);
  assert.match(n.fatal?.message ?? '', /its log begins after/);
  assert.ok(n.sim.tables.stores().includes(dir), 'the damaged tables are still there');
});
