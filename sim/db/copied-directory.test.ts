// A data directory that was copied: the second process with its identity finds out, says so and ends, also
// when the two reach different cores; the first goes on, and nothing is lost.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterWorld, type RunningNode } from './cluster-world.js';

function start(seed: number): ClusterWorld {
  const c = new ClusterWorld({ seed, cores: 3, replicants: 1, spares: 1 });
  c.startAll();
  assert.ok(
    c.world.runUntil(() => c.allServing, 20_000),
    c.world.report(),
  );
  return c;
}

/** The spare core gets a copy of the other's disk. */
function copyDisk(c: ClusterWorld, of: RunningNode): RunningNode {
  const copy = c.node('core4');
  copy.sim.disk.copyFrom(of.sim.disk);
  copy.sim.tables.copyFrom(of.sim.tables);
  return copy;
}

const said = /was the data directory copied/;

test('a copy that is connected to other cores than the original hears of it over them, and ends', () => {
  const c = start(1);
  const original = c.node('core1');
  // Nobody sees both: the original reaches core2 alone, the copy core3 alone, and those two each other.
  c.net.cut(original.name, c.node('core3').name);
  c.world.runFor(12_000);
  const incarnation = original.core?.database.incarnation;
  const copy = copyDisk(c, original);
  c.startAs(copy, original);
  c.net.cut(copy.name, original.name);
  c.net.cut(copy.name, c.node('core2').name);
  assert.ok(
    c.world.runUntil(() => copy.fatal !== undefined, 60_000),
    c.world.report(),
  );
  assert.match(copy.fatal?.message ?? '', said);
  assert.equal(original.core?.database.incarnation, incarnation, 'the original was left alone');
  c.crash(copy);
  c.net.healAll();
  assert.ok(
    c.world.runUntil(() => [original, c.node('core2'), c.node('core3')].every((n) => n.core?.cluster.serving === true), 30_000),
    c.world.report(),
  );
});

test('a copy that is older than the last start of the original is refused, also when the original is away', () => {
  const c = start(2);
  const original = c.node('core1');
  c.crash(original, 'power');
  const copy = copyDisk(c, original);
  c.start(original);
  assert.ok(
    c.world.runUntil(() => original.core?.cluster.serving === true, 20_000),
    c.world.report(),
  );
  c.crash(original, 'power');
  c.startAs(copy, original);
  assert.ok(
    c.world.runUntil(() => copy.fatal !== undefined, 60_000),
    c.world.report(),
  );
  assert.match(copy.fatal?.message ?? '', said);
});
