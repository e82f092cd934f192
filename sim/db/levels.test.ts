// A rolling upgrade to a build of a higher level: back is possible until the last node is replaced, and refused from then on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterWorld, type RunningNode } from './cluster-world.js';

function serving(c: ClusterWorld): void {
  assert.ok(
    c.world.runUntil(() => c.allServing, 30_000),
    c.world.report(),
  );
}

test('node by node up, and back until all are up; then neither their data directories nor the cluster take an older build', () => {
  const newer = new Set<string>();
  const c = new ClusterWorld({ seed: 11, cores: 3, replicants: 1, levelOf: (name) => (newer.has(name) ? 8 : 7) });
  const change = (n: RunningNode, to: 7 | 8): void => {
    c.crash(n);
    if (to === 8) newer.add(n.name);
    else newer.delete(n.name);
    c.start(n);
  };
  c.startAll();
  serving(c);
  const [first, second, third, last] = c.nodes;
  assert.ok(first !== undefined && second !== undefined && third !== undefined && last !== undefined);
  for (const n of [first, second, third]) {
    change(n, 8);
    serving(c);
  }
  change(second, 7);
  serving(c);
  change(second, 8);
  serving(c);
  change(last, 8);
  serving(c);
  c.world.runFor(5_000);
  for (const n of [first, last]) {
    assert.throws(
      () => change(n, 7),
      /all nodes of this cluster had level 8, .* this build has level 7, .* start a build of level 8 or newer/,
      n.name,
    );
    newer.add(n.name);
    c.crash(n);
    c.start(n);
    serving(c);
  }
  // With an empty data directory it is the cluster that says so.
  c.crash(last);
  last.sim.wipe();
  newer.delete(last.name);
  c.start(last);
  assert.ok(
    c.world.runUntil(() => /all nodes of this cluster had level 8/.test(last.core?.cluster.why ?? ''), 30_000),
    c.world.report(),
  );
});
