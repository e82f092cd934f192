import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ShardSchema } from './api.js';
import type { CoreShard } from './core-shard.js';
import type { Replica } from './replica.js';
import { shardsStatus } from './shards-status.js';

const raft = { role: 'follower', leader: 'id-a', term: 7, commitIndex: 40, config: { voters: ['id-a', 'id-b'] } };

function coreShard(nodeId: string, over: Partial<typeof raft> = {}): CoreShard {
  return {
    nodeId,
    raft: { ...raft, ...over },
    state: { transactionsSinceStart: 3, appliedIndex: 39 },
    server: { streams: 2, replicants: () => ['r1'], backlog: () => 5 },
  } as unknown as CoreShard;
}

function status(core: CoreShard): unknown {
  const held = new Map([['s', { core, replica: undefined }]]);
  const [of] = shardsStatus(
    [{ name: 's' } as ShardSchema],
    held,
    (id) => `name of ${id}`,
    (streams) => streams * 10,
  );
  assert.ok(of !== undefined && 'core' in of);
  return of.core;
}

test('a core says what it is in its group, and with how many streams', () => {
  assert.deepEqual(status(coreShard('id-b')), {
    state: 'follower',
    term: 7,
    leader: 'name of id-a',
    lastInterceptedTrans: 3,
    commitIndex: 40,
    appliedIndex: 39,
    weight: 20,
    replicants: ['r1'],
    serverMql: 5,
  });
});

test('who has no vote is a learner, in a group or before it has come into one', () => {
  const states = [
    coreShard('id-c'),
    coreShard('id-b', { config: { voters: [] } }),
    coreShard('id-a', { role: 'leader' }),
    coreShard('id-b', { role: 'pre-candidate', leader: '' }),
    coreShard('id-b', { role: 'candidate', leader: '' }),
  ].map((core) => {
    const { state, leader } = status(core) as { state: string; leader: string | undefined };
    return [state, leader];
  });
  assert.deepEqual(states, [
    ['learner', 'name of id-a'],
    ['learner', 'name of id-a'],
    ['leader', 'name of id-a'],
    ['candidate', undefined],
    ['candidate', undefined],
  ]);
});

test('every shard of the schema is told of: held as a core, as a replica, or down', () => {
  const replica = { status: (name: (id: string) => string) => ({ upstream: name('id-a') }) } as unknown as Replica;
  const held = new Map([['b', { core: undefined, replica }]]);
  const all = shardsStatus(
    [{ name: 'a' } as ShardSchema, { name: 'b' } as ShardSchema],
    held,
    (id) => id,
    () => 0,
  );
  assert.deepEqual(all, [
    { shard: 'a', down: true },
    { shard: 'b', replica: { upstream: 'id-a' } },
  ]);
});
