import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterWorld } from './cluster-world.js';

function spread(c: ClusterWorld): number[] {
  return c.nodes.filter((n) => n.role === 'core').map((n) => n.core?.database.coreShard('items')?.server.replicants().length ?? 0);
}

function total(c: ClusterWorld, what: 'bootstraps' | 'moves'): number {
  let sum = 0;
  for (const n of c.nodes) {
    const s = n.core?.database.status().find((one) => one.shard === 'items');
    if (s !== undefined && 'replica' in s) sum += s.replica[what];
  }
  return sum;
}

test('replicants come back to a core that comes back, one by one and without a copy, and then stay', () => {
  const c = new ClusterWorld({ seed: 41, cores: 3, replicants: 9 });
  c.startAll();
  const formed = c.world.runUntil(() => c.allServing, 20_000);
  assert.ok(formed, c.world.report());
  const even = (): boolean => Math.max(...spread(c)) - Math.min(...spread(c)) <= 1;
  const first = c.world.runUntil(even, 120_000);
  assert.ok(first, `${spread(c)}`);
  const copies = total(c, 'bootstraps');
  c.crash(c.node('core1'));
  const away = c.world.runUntil(
    () => spread(c).reduce((a, b) => a + b) === 9 && c.nodes.every((n) => n.role === 'core' || n.core?.cluster.serving === true),
    20_000,
  );
  assert.ok(away, `${spread(c)}`);
  const moved = total(c, 'moves');
  c.start(c.node('core1'));
  const again = c.world.runUntil(even, 120_000);
  assert.ok(again, `${spread(c)}`);
  const moves = total(c, 'moves') - moved;
  assert.ok(moves >= 2 && moves <= 4, `${moves} moves for 3 places`);
  c.world.runFor(60_000);
  assert.equal(total(c, 'moves') - moved, moves, 'nobody moves any more');
  assert.equal(total(c, 'bootstraps'), copies);
});

test('a core that is far away is left alone until the near ones have much more to do', () => {
  const c = new ClusterWorld({ seed: 42, cores: 3, replicants: 4 });
  for (const n of c.nodes) if (n !== c.node('core3')) c.net.setWay(n.name, c.node('core3').name, { delayMs: 25, jitterMs: 1, bytesPerMs: 0 });
  c.startAll();
  const formed = c.world.runUntil(() => c.allServing, 20_000);
  assert.ok(formed, c.world.report());
  c.world.runFor(60_000);
  assert.deepEqual(spread(c), [2, 2, 0]);
});

test('cores feed replicants by their weights; one of weight 0 only where there is no other', () => {
  const c = new ClusterWorld({
    seed: 43,
    cores: 3,
    replicants: 5,
    coreWeights: { core1: 50, core3: 0 },
    bounds: { rebalanceMs: 1_000, movePaceMs: 100 },
  });
  c.startAll();
  const formed = c.world.runUntil(() => c.allServing, 20_000);
  assert.ok(formed, c.world.report());
  c.world.runFor(60_000);
  const [half = 0, full = 0, none] = spread(c);
  assert.deepEqual([half + full, none], [5, 0]);
  // Two streams here weigh as much as four there.
  assert.ok(half >= 1 && half <= 2 && full >= 3, `${spread(c)}`);
  const moved = total(c, 'moves');
  c.world.runFor(60_000);
  assert.equal(total(c, 'moves'), moved, 'nobody moves any more');
  const gone = ['core1', 'core2'].map((n) => c.node(n));
  for (const n of gone) for (const m of c.nodes) if (m.role === 'replicant') c.net.cut(n.name, m.name);
  const last = c.world.runUntil(() => spread(c)[2] === 5 && c.allServing, 60_000);
  assert.ok(last, `${spread(c)}`);
  c.net.healAll();
  const back = c.world.runUntil(() => spread(c)[2] === 0 && c.allServing, 60_000);
  assert.ok(back, `${spread(c)}`);
});
