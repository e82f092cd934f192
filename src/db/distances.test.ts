import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '#env/clock.js';
import type { Links } from '#link/api.js';
import { Distances } from './distances.js';
import { Grantee, leadMs } from './lease.js';

test('the farthest replicant is looked for once a second; cores do not count', () => {
  let now = 0;
  const trips: Record<string, number> = { core: 900, near: 10, far: 300 };
  const peers = Object.keys(trips).map((nodeId) => ({ nodeId, role: nodeId === 'core' ? 'core' : 'replicant' }));
  const links = { peers: () => peers, roundTripMs: (id: string) => trips[id] } as unknown as Links;
  const d = new Distances(links, { now: () => now } as unknown as Clock);
  assert.deepEqual([d.to('near'), d.to('nobody'), d.farthestMs], [10, 0, 300]);
  trips['far'] = 20;
  now = 900;
  assert.equal(d.farthestMs, 300);
  now = 1_000;
  assert.equal(d.farthestMs, 20);
});

test('who is far gets a longer lease, never beyond what a leader is confirmed for, nor beyond the grantor’s own', () => {
  const lease = (roundTripMs: number, ends: number): number => {
    const g = new Grantee({ leaseMs: 500, joinMs: 500, lateMs: 2_000 });
    g.roundTripMs = roundTripMs;
    return g.renew(0, 1, 5, 5, 5, ends);
  };
  const always = Number.POSITIVE_INFINITY;
  for (const near of [0, 10, 250]) assert.equal(lease(near, always), 500, `${near}`);
  assert.equal(lease(400, always), 650);
  assert.equal(lease(5_000, always), leadMs(500));
  assert.equal(lease(400, 600), 600);
});

test('who is far has a round trip more to reach its floor', () => {
  const g = new Grantee({ leaseMs: 500, joinMs: 500, lateMs: 2_000 });
  g.roundTripMs = 400;
  const always = Number.POSITIVE_INFINITY;
  assert.ok(g.renew(0, 1, 1, 10, 10, always) > 0);
  assert.ok(g.renew(600, 1, 6, 14, 10, always) > 0);
  assert.equal(g.renew(950, 1, 6, 16, 10, always), 0);
});
