import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterWorld } from './cluster-world.js';

test('a core that stood still reads what was sent meanwhile before it calls anybody silent', () => {
  const c = new ClusterWorld({ seed: 43, cores: 3, replicants: 0 });
  c.startAll();
  const formed = c.world.runUntil(() => c.allServing, 20_000);
  assert.ok(formed, c.world.report());
  c.world.runFor(5_000);
  for (const n of c.nodes) {
    const { scope } = n.sim;
    const shards = ['cluster', 'items', 'vault'].map((name) => n.core?.database.coreShard(name));
    const before = shards.map((s) => [s?.raft.term, s?.elections, s?.leaderChanges]);
    // Longer than any follower waits, and shorter than a leader that nobody hears is waited for.
    const led = shards.some((s) => s?.raft.role === 'leader');
    const ms = led ? 900 : 2_500;
    n.sim.pause();
    c.world.runFor(ms);
    n.sim.resume();
    c.world.runFor(1_000);
    assert.equal(scope.paused, false);
    assert.deepEqual(
      shards.map((s) => [s?.raft.term, s?.elections, s?.leaderChanges]),
      before,
      n.name,
    );
  }
});
