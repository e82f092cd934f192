// Nodes of two neighbouring versions of the protocol in one cluster. A node that speaks the older one only does
// not understand what the newer one has brought: a frame of that is malformed to it, and counted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import { type ProtocolRange, protocolVersionMax, protocolVersionMin } from '#link/protocol.js';
import { ClusterWorld, itemsTable, type RunningNode } from './cluster-world.js';

const before: ProtocolRange = { min: protocolVersionMin, max: protocolVersionMin };
const both: ProtocolRange = { min: protocolVersionMin, max: protocolVersionMax };

function write(c: ClusterWorld, n: RunningNode, key: string): void {
  let outcome: unknown = 'no answer';
  const put = { kind: 'put', table: itemsTable, key: utf8Encode(key), value: utf8Encode('x') } as const;
  n.core?.database.write('items', [put], { until: 'effective' }, (failure) => {
    outcome = failure;
  });
  assert.ok(
    c.world.runUntil(() => outcome !== 'no answer', 15_000),
    c.world.report(),
  );
  assert.equal(outcome, undefined, `${key} from ${n.name}`);
  for (const m of c.nodes) if (m.up) assert.ok(m.core?.database.get(itemsTable, put.key) !== undefined, `${key} on ${m.name}`);
}

function serving(c: ClusterWorld): void {
  assert.ok(
    c.world.runUntil(() => c.allServing, 30_000),
    c.world.report(),
  );
}

function nothingMalformed(c: ClusterWorld): void {
  for (const n of c.nodes) assert.equal(n.sim.metrics.value('starmesh_raft_malformed_frames_total', {}), 0, n.name);
}

for (const old of ['core1', 'core2', 'replicant1', 'core1 core2', 'core1 core2 core3', 'replicant1 replicant2']) {
  test(`${old} of the version before, the others of this one`, () => {
    const isOld = (name: string): boolean => old.split(' ').some((o) => name.startsWith(`${o}@`));
    const c = new ClusterWorld({ seed: 7, cores: 3, replicants: 2, protocolOf: (name) => (isOld(name) ? before : both) });
    c.startAll();
    serving(c);
    for (const n of c.nodes) write(c, n, `all by ${n.name}`);
    // Silence for the heartbeats alone, a leader that dies, and copies of tables from nothing.
    c.world.runFor(5_000);
    const leader = c.leaderOf('items');
    assert.ok(leader !== undefined);
    c.crash(leader);
    write(c, c.node('replicant2'), 'after the leader died');
    c.start(leader);
    serving(c);
    const replicant = c.node('replicant1');
    c.crash(replicant, 'kill');
    replicant.sim.wipe();
    c.start(replicant);
    serving(c);
    for (const n of c.nodes) write(c, n, `at last by ${n.name}`);
    nothingMalformed(c);
  });
}

test('node by node from one version to the next, and back', () => {
  const upgraded = new Set<string>();
  const c = new ClusterWorld({ seed: 8, cores: 3, replicants: 2, protocolOf: (name) => (upgraded.has(name) ? both : before) });
  c.startAll();
  serving(c);
  for (const back of [false, true]) {
    for (const n of c.nodes) {
      c.crash(n);
      if (back) upgraded.delete(n.name);
      else upgraded.add(n.name);
      write(c, c.nodes.find((m) => m.up) ?? n, `without ${n.name} ${back}`);
      c.start(n);
      serving(c);
      write(c, n, `with ${n.name} ${back}`);
      nothingMalformed(c);
    }
  }
});

test('versions that are not neighbours do not link, and both say so', () => {
  const only: ProtocolRange = { min: protocolVersionMax, max: protocolVersionMax };
  const c = new ClusterWorld({ seed: 9, cores: 3, replicants: 1, protocolOf: (name) => (name.startsWith('replicant1@') ? before : only) });
  c.startAll();
  c.world.runFor(5_000);
  assert.equal(c.node('replicant1').core?.links.peers().length, 0);
  assert.equal(c.node('core1').core?.cluster.serving, true);
});
