import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConfigChange, FollowerStatus } from '#raft/types.js';
import { CoreSetDriver, type CoreSetDriverOptions } from './core-set-driver.js';
import type { CoreShard } from './core-shard.js';

/** Node a's driver; what a test does not name is as it mostly is. */
function driverWith(named: Readonly<Record<string, unknown>>): CoreSetDriver {
  const options = {
    env: { clock: { now: () => 10_000 }, log: { info: () => {} } },
    links: { peer: (id: string) => ({ name: id }) },
    nodeId: 'a',
    learnerLagMax: 5,
    silentMs: 1_000,
    barrierMs: 1_000,
    wanted: () => [],
    memberShard: 'cluster',
    barrier: (_ms: number, done: (ok: boolean) => void) => done(true),
    ...named,
  };
  return new CoreSetDriver(options as unknown as CoreSetDriverOptions);
}

/** Leads shard `cluster` of a, b, c; c is dead and replaced by d, which runs. */
function rig(out: boolean): { readonly taken: ConfigChange[]; readonly asked: string[] } {
  const taken: ConfigChange[] = [];
  const asked: string[] = [];
  let now = 9_900;
  const follower = (id: string, lastHeardAt: number): FollowerStatus => ({
    id,
    voter: true,
    state: 'replicate',
    matchIndex: 10,
    nextIndex: 11,
    inflightMessages: 0,
    inflightBytes: 0,
    recovering: false,
    lastHeardAt,
  });
  const core = {
    shard: 'cluster',
    leader: {},
    raft: {
      transferee: '',
      lastIndex: 10,
      config: { voters: ['a', 'b', 'c'], learners: [] },
      followers: () => [follower('b', now - 10), follower('c', 0)],
    },
    changeConfig: (change: ConfigChange) => {
      taken.push(change);
      return { ok: true, index: 11 };
    },
  };
  const driver = driverWith({
    env: { clock: { now: () => now }, log: { info: () => {} } },
    links: { peer: (id: string) => (id === 'c' ? undefined : { name: id }) },
    wanted: () => [
      { nodeId: 'a', wanted: 'voter' },
      { nodeId: 'b', wanted: 'voter' },
      { nodeId: 'c', wanted: 'removed' },
      ...(now < 10_000 ? [] : [{ nodeId: 'd', wanted: 'voter' }]),
    ],
    outElsewhere: (id: string, done: (out: boolean) => void) => {
      asked.push(id);
      done(out);
    },
  });
  driver.look(core as unknown as CoreShard, undefined);
  assert.deepEqual(taken, [], 'who stays has not answered since the leader knows who goes');
  now = 10_000;
  driver.look(core as unknown as CoreShard, undefined);
  return { taken, asked };
}

test("a dead core leaves the members' group once it is out of all others", () => {
  assert.deepEqual(rig(true), { taken: [{ kind: 'remove', node: 'c' }], asked: ['c'] });
});

test('until then its replacement comes in: it may lead another group, and has to see there who is out', () => {
  assert.deepEqual(rig(false), { taken: [{ kind: 'addLearner', node: 'd' }], asked: ['c'] });
});

test("who leads a group and is not in the members' group sees nothing of what is wanted, and hands leadership on", () => {
  const given: string[] = [];
  const follower = { id: 'b', state: 'replicate', matchIndex: 10, recovering: false, lastHeardAt: 10_000 };
  const core = {
    shard: 'items',
    leader: {},
    raft: { transferee: '', lastIndex: 10, config: { voters: ['a', 'b', 'c'], learners: [] }, followers: () => [follower] },
    step: (input: { readonly type: string; readonly to: string }) => given.push(`${input.type} ${input.to}`),
  };
  let voters = ['a', 'b'];
  const driver = driverWith({ barrier: (_ms: number, done: (ok: boolean) => void) => done(false) });
  const look = (): void => driver.look(core as unknown as CoreShard, { voters, learners: [] });
  for (let i = 0; i < 10; i++) look();
  assert.deepEqual(given, [], 'a member has nothing to do');
  voters = ['b'];
  for (let i = 0; i < 5; i++) look();
  assert.deepEqual(given, ['transferLeader b'], 'once it has asked in vain often enough');
});

test('a core comes into the members’ group first', () => {
  for (const shard of ['cluster', 'items']) {
    const changes: string[] = [];
    const core = {
      shard,
      leader: {},
      raft: { transferee: '', config: { voters: ['a'], learners: [] }, followers: () => [], lastIndex: 9 },
      step: () => {},
      changeConfig: ({ kind, node }: { kind: string; node: string }) => {
        changes.push(`${kind} ${node}`);
        return { ok: true, index: 10 };
      },
    };
    const driver = driverWith({
      wanted: () => [
        { nodeId: 'a', wanted: 'voter' },
        { nodeId: 'b', wanted: 'voter' },
      ],
    });
    driver.look(core as unknown as CoreShard, { voters: ['a'], learners: [] });
    assert.deepEqual(changes, shard === 'cluster' ? ['addLearner b'] : []);
    driver.look(core as unknown as CoreShard, { voters: ['a'], learners: ['b'] });
    assert.equal(changes.at(-1), 'addLearner b', 'as a learner of it');
  }
});
