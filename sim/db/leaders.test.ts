// How the leadership of shards is spread over the cores: evenly, in few moves, without writes that fail or wait
// for long, and not again and again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import { memberShard } from '#cluster/schema.js';
import type { ShardSchema } from '#db/api.js';
import { ClusterWorld, type ClusterWorldOptions, type RunningNode } from './cluster-world.js';
import { leads } from './leaders.js';

const schemas: readonly ShardSchema[] = ['s1', 's2', 's3', 's4', 's5', 's6'].map((name, i) => ({
  name,
  replicate: i % 2 === 0 ? 'all' : 'core',
  tables: [{ id: 40, name: `rows of ${name}`, shard: name }],
  commands: {},
}));
const shards = schemas.map((s) => s.name);
const pauseMs = 1_000;

function start(options: Partial<ClusterWorldOptions> & { readonly seed: number }, oneWayMs: number = 0.2): ClusterWorld {
  const { bounds, ...rest } = options;
  const c = new ClusterWorld({ cores: 3, replicants: 1, schemas, bounds: { leaderSpreadMs: pauseMs, ...bounds }, ...rest });
  c.net.way = { delayMs: oneWayMs, jitterMs: oneWayMs / 5, bytesPerMs: 0 };
  c.startAll();
  const formed = c.world.runUntil(() => c.allServing, 60_000);
  assert.ok(formed, c.world.report());
  return c;
}

/** One node leads everything, as after a rolling restart. */
function concentrate(c: ClusterWorld, on: RunningNode): void {
  const step = (): void => {
    for (const n of c.nodes)
      if (n.up && n !== on)
        n.sim.run(() => {
          for (const s of shards) n.core?.database.coreShard(s)?.step({ type: 'transferLeader', to: on.core?.database.nodeId ?? '' });
        });
  };
  const ready = (): boolean => shards.every((s) => on.core?.database.coreShard(s)?.leader !== undefined);
  // Not before everybody has a leader, and again where it did not lead to anything.
  for (let i = 0; i < 10 && !ready(); i++) {
    step();
    c.world.runUntil(ready, 1_500);
  }
  assert.ok(ready(), `${leads(c, shards)}`);
}

function terms(c: ClusterWorld): number {
  const of = (n: RunningNode): number => [...shards, memberShard].reduce((sum, s) => sum + (n.core?.database.coreShard(s)?.raft.term ?? 0), 0);
  return Math.max(...c.members.filter((n) => n.role === 'core').map(of));
}

interface Load {
  writes: number;
  /** Longest time between two answers to the same writer. */
  longestMs: number;
  stop(): void;
}

/** One writer per node and shard, each waiting for its last write. */
function load(c: ClusterWorld): Load {
  let going = true;
  const l: Load = { writes: 0, longestMs: 0, stop: () => (going = false) };
  for (const n of c.nodes)
    for (const { name, tables } of schemas) {
      const table = tables[0];
      assert.ok(table !== undefined);
      let last = c.world.now;
      // Where there is a copy it is waited for until everybody has it.
      const options = n.core?.database.holds(name) === true ? ({ until: 'effective' } as const) : {};
      const write = (): void => {
        n.core?.database.write(name, [{ kind: 'put', table, key: utf8Encode(n.name), value: utf8Encode('v') }], options, (failure) => {
          assert.equal(failure, undefined, `${n.name} to ${name}`);
          l.writes++;
          l.longestMs = Math.max(l.longestMs, c.world.now - last);
          last = c.world.now;
          if (going) n.sim.env.clock.setTimer(20, write);
        });
      };
      n.sim.run(write);
    }
  return l;
}

test('what one core leads alone is spread in as few moves as can be, no write fails or waits for long, and then it stays', () => {
  const c = start({ seed: 1 });
  concentrate(c, c.node('core2'));
  const before = terms(c);
  const l = load(c);
  c.world.runFor(6 * pauseMs);
  l.stop();
  assert.deepEqual(leads(c, shards), [2, 2, 2]);
  assert.equal(terms(c) - before, 4, 'one term per move');
  c.world.runFor(20 * pauseMs);
  assert.equal(terms(c) - before, 4, 'nobody moves any more');
  assert.ok(l.longestMs < 150, `a write took ${l.longestMs} ms`);
});

test('a core that comes back gets its share again, one that is away or stands still none', () => {
  const c = start({ seed: 11 });
  const core3 = c.node('core3');
  c.crash(core3);
  concentrate(c, c.node('core1'));
  c.world.runFor(8 * pauseMs);
  assert.deepEqual(leads(c, shards), [3, 3, 0]);
  c.start(core3);
  c.world.runFor(8 * pauseMs);
  assert.deepEqual(leads(c, shards), [2, 2, 2]);
  concentrate(c, c.node('core1'));
  core3.sim.pause();
  c.world.runFor(10 * pauseMs);
  assert.deepEqual(leads(c, shards), [3, 3, 0]);
  core3.sim.resume();
  c.world.runFor(10 * pauseMs);
  assert.deepEqual(leads(c, shards), [2, 2, 2]);
});

for (const roundTripMs of [100, 250])
  test(`cores ${roundTripMs} ms apart: no move that is not needed, and no write fails`, () => {
    const c = start({ seed: 21 }, roundTripMs / 2);
    concentrate(c, c.node('core1'));
    const before = terms(c);
    const l = load(c);
    c.world.runFor(10 * pauseMs);
    l.stop();
    assert.deepEqual(leads(c, shards), [2, 2, 2]);
    c.world.runFor(20 * pauseMs);
    assert.equal(terms(c) - before, 4);
    assert.ok(l.longestMs < 15 * roundTripMs, `a write took ${l.longestMs} ms`);
  });

test('a core that is far from both others leads nothing as long as they do', () => {
  const c = start({ seed: 31 });
  for (const n of c.nodes) if (n !== c.node('core3')) c.net.setWay(n.name, c.node('core3').name, { delayMs: 25, jitterMs: 1, bytesPerMs: 0 });
  c.world.runFor(1_000);
  concentrate(c, c.node('core1'));
  c.world.runFor(12 * pauseMs);
  assert.deepEqual(leads(c, shards), [3, 3, 0]);
});

test('switched off, leaders stay where they are', () => {
  const c = start({ seed: 41, bounds: { leaderSpreadMs: Number.POSITIVE_INFINITY } });
  concentrate(c, c.node('core1'));
  const before = terms(c);
  c.world.runFor(60_000);
  assert.equal(terms(c), before);
  assert.deepEqual(leads(c, shards), [6, 0, 0]);
});

/** For `ms`, these nodes stand still for a moment again and again, as on a machine with too much to do. */
function toil(c: ClusterWorld, nodes: readonly RunningNode[], ms: number): void {
  for (const until = c.world.now + ms; c.world.now < until; ) {
    for (const n of nodes) n.sim.pause();
    c.world.runFor(120);
    for (const n of nodes) c.world.resume(n.sim.scope);
    c.world.runFor(40);
  }
}

test('a core that has much more to do than the one that leads is given nothing; where all have too much to do, leaders are spread all the same', () => {
  const c = start({ seed: 51 });
  const [one, ...others] = ['core1', 'core2', 'core3'].map((name) => c.node(name)) as [RunningNode, ...RunningNode[]];
  toil(c, others, 60_000);
  concentrate(c, one);
  toil(c, others, 10 * pauseMs);
  assert.deepEqual(leads(c, shards), [6, 0, 0]);
  toil(c, [one, ...others], 60_000);
  assert.deepEqual(leads(c, shards), [2, 2, 2]);
});
