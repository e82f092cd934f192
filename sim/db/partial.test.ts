// Not everybody reaches everybody: a node that does not reach the leader, but another core that does, writes
// by way of that one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { WriteFailure } from '#db/api.js';
import { ClusterWorld, itemsTable, type RunningNode } from './cluster-world.js';

function write(n: RunningNode, key: string, done: (failure: WriteFailure | undefined) => void): void {
  const op = { kind: 'put', table: itemsTable, key: utf8Encode(key), value: utf8Encode('written') } as const;
  n.sim.run(() => n.core?.database.write('items', [op], {}, done));
}

function read(n: RunningNode, key: string): string | undefined {
  const row = n.core?.database.get(itemsTable, utf8Encode(key));
  return row === undefined ? undefined : utf8Decode(row.value);
}

for (const seed of [1, 2, 3])
  test(`a follower and a replicant that do not reach the leader write by way of another core (seed ${seed})`, () => {
    const c = new ClusterWorld({ seed, cores: 3, replicants: 1, bounds: { leaderSpreadMs: Number.POSITIVE_INFINITY } });
    c.startAll();
    assert.ok(
      c.world.runUntil(() => c.allServing, 20_000),
      c.world.report(),
    );
    const leader = c.leaderOf('items') as RunningNode;
    const [follower, third] = c.nodes.filter((n) => n.role === 'core' && n !== leader) as [RunningNode, RunningNode];
    const replicant = c.node('replicant1');
    const { term } = leader.core?.database.coreShard('items')?.raft ?? { term: 0 };
    for (const n of [follower, replicant]) c.net.cut(leader.name, n.name);
    // Links that are silent are taken down, and the follower knows no leader any more.
    const incarnations = c.nodes.map((n) => n.core?.database.incarnation);
    c.world.runFor(40_000);
    assert.deepEqual(
      c.nodes.map((n) => n.core?.database.incarnation),
      incarnations,
      'nobody is declared down whom another core hears',
    );
    assert.equal(c.leaderOf('items'), leader, 'the third core keeps to its leader');
    for (const n of [follower, replicant]) {
      for (let i = 0; i < 20; i++) {
        let outcome: string | undefined;
        const before = c.world.now;
        const key = `${n.name} ${i}`;
        write(n, key, (failure) => {
          outcome = failure?.kind ?? 'done';
        });
        assert.ok(
          c.world.runUntil(() => outcome !== undefined, 10_000),
          c.world.report(),
        );
        assert.equal(outcome, 'done', key);
        assert.ok(c.world.now - before < 1_000, `${key} took ${c.world.now - before} ms`);
        assert.ok(
          c.world.runUntil(() => read(leader, key) === 'written', 1_000),
          key,
        );
      }
    }
    assert.ok(third.sim.metrics.value('starmesh_proposals_passed_on_total') >= 20);
    assert.equal(leader.core?.database.coreShard('items')?.raft.term, term);
    c.net.healAll();
    assert.ok(
      c.world.runUntil(() => c.allServing, 30_000),
      c.world.report(),
    );
    c.world.runFor(2_000);
    for (const n of c.nodes) assert.equal(read(n, `${replicant.name} 19`), 'written', n.name);
  });
