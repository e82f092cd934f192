import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import type { Op } from '#db/api.js';
import { ClusterWorld, contentOf, itemsTable, ownedTable, type RunningNode } from './cluster-world.js';
import { continueMessage, copyMessage } from './resume-check.js';

const rows = 400;

function write(n: RunningNode, ops: readonly Op[]): void {
  n.sim.run(() => n.core?.database.write('items', ops, {}, () => {}));
}

function rowsCopied(n: RunningNode): number {
  const s = n.core?.database.status().find((one) => one.shard === 'items');
  return s !== undefined && 'replica' in s ? (s.replica.bootstrap?.rows ?? 0) : 0;
}

function count(c: ClusterWorld, message: string): { readonly times: number } {
  const counted = { times: 0 };
  for (const n of c.nodes) {
    const inner = n.sim.logs.onLine;
    n.sim.logs.onLine = (line) => {
      inner?.(line);
      if (line.message === message && line.fields?.shard === 'items') counted.times++;
    };
  }
  return counted;
}

for (const seed of [51, 52, 53, 54]) {
  test(`a copy that loses its core again and again goes on where it was, on whichever core, and is exact (seed ${seed})`, () => {
    const bounds = { replicaCreditBytes: 500, bootstrapChunkBytes: 200, sweepRowsMax: 3 };
    const c = new ClusterWorld({ seed, cores: 3, replicants: 2, bounds, nodeDownAfterMs: 1_500 });
    c.net.way = { delayMs: 3, jitterMs: 1, bytesPerMs: 0 };
    const prng = new Prng(seed);
    const copies = count(c, copyMessage);
    const goesOn = count(c, continueMessage);
    const late = c.node('replicant2');
    for (const n of c.nodes) if (n !== late) c.start(n);
    const serving = (nodes: readonly RunningNode[]): boolean => nodes.every((n) => n.core?.cluster.serving === true);
    assert.ok(
      c.world.runUntil(() => serving(c.nodes.filter((n) => n !== late)), 20_000),
      c.world.report(),
    );
    const put = (table: typeof itemsTable, k: number, owner?: 'self'): Op => ({
      kind: 'put',
      table,
      key: utf8Encode(`k${k}`),
      value: utf8Encode(`v${prng.int(1_000_000)}`),
      ...(owner === undefined ? {} : { owner }),
    });
    const writer = c.node('core1');
    const owner = c.node('replicant1');
    for (let k = 0; k < rows; k++) {
      write(writer, [put(itemsTable, k)]);
      if (k % 4 === 0) write(owner, [put(ownedTable, k, 'self')]);
    }
    c.world.runFor(2_000);
    const before = copies.times;
    c.start(late);
    // Rows are written and deleted all the time, an owner dies and is swept, and the link is lost.
    const doneBy = c.world.now + 60_000;
    let lost = 0;
    while (late.core?.database.inSync('items') !== true && c.world.now < doneBy) {
      c.world.runFor(5 + prng.int(20));
      const k = prng.int(rows);
      write(writer, prng.chance(0.5) ? [put(itemsTable, k)] : [{ kind: 'delete', table: itemsTable, key: utf8Encode(`k${k}`) }]);
      if (owner.up && prng.chance(0.5)) write(owner, [put(ownedTable, prng.int(rows), 'self')]);
      const upstream = c.nodes.find((n) => n.core?.nodeId === late.core?.database.replica('items')?.upstream);
      // Before the first rows are there nothing could go on.
      if (upstream !== undefined && rowsCopied(late) > 20 && prng.chance(0.25) && lost < 40) {
        lost++;
        c.net.resetConnections(late.name, upstream.name);
        if (lost === 2) c.crash(owner, 'power');
      }
    }
    assert.ok(late.core?.database.inSync('items') === true, c.world.report());
    assert.equal(copies.times - before, 1, 'one copy, begun once');
    assert.ok(goesOn.times >= 1, `${goesOn.times} times`);
    if (!owner.up) c.start(owner);
    assert.ok(
      c.world.runUntil(() => serving(c.nodes), 30_000),
      c.world.report(),
    );
    c.world.runFor(5_000);
    assert.deepEqual(contentOf(late), contentOf(writer));
  });
}
