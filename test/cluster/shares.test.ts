// What each core gets to do, told by configuration files: of the replicants by `cluster.core_weight`, of the leaders
// as much as any other whatever its weight.
import { test } from 'node:test';
import { eventually, TestCluster, type TestNode } from './nodes.js';

const sharesMsMax = 90_000;

interface CoreData {
  readonly state: string;
  readonly replicants: readonly string[];
}

async function shardsOf(core: TestNode): Promise<[string, CoreData][]> {
  const { shards } = (await core.ctl('rlog', 'status')).data as { readonly shards: Readonly<Record<string, CoreData>> };
  // Who leads the members' shard is nobody's concern.
  return Object.entries(shards).filter(([name]) => name !== 'cluster');
}

/** Per core, of each shard that replicants hold, how many it feeds. */
async function streams(cores: readonly TestNode[], replicants: number): Promise<number[][] | undefined> {
  const by = await Promise.all(cores.map(async (c) => new Map(await shardsOf(c))));
  const names = [...(by[0]?.keys() ?? [])].filter((s) => by.some((m) => (m.get(s)?.replicants.length ?? 0) > 0));
  const all = by.map((m) => names.map((s) => m.get(s)?.replicants.length ?? 0));
  const fed = names.every((_, i) => all.reduce((sum, counts) => sum + (counts[i] ?? 0), 0) === replicants);
  return fed && names.length > 0 ? all : undefined;
}

/** Until each core's streams, of every shard, are as they should be. */
async function shares(what: string, cluster: TestCluster, right: readonly ((n: number) => boolean)[]): Promise<void> {
  let seen: number[][] | undefined;
  await eventually(
    what,
    async () => {
      seen = await streams(cluster.cores, cluster.replicants.length);
      return seen?.every((counts, i) => counts.every((n) => right[i]?.(n) === true)) === true;
    },
    sharesMsMax,
  ).catch((error: Error) => {
    throw new Error(`${error.message}; per core and shard ${JSON.stringify(seen)}`);
  });
}

/** Until no core leads two shards more than another. */
async function evenLeaders(when: string, cores: readonly TestNode[]): Promise<void> {
  let by: number[] = [];
  await eventually(
    `leaders are spread evenly ${when}`,
    async () => {
      const all = await Promise.all(cores.map(shardsOf));
      by = all.map((shards) => shards.filter(([, s]) => s.state === 'leader').length);
      const led = by.reduce((a, b) => a + b);
      return led >= 4 && led === all[0]?.length && Math.max(...by) - Math.min(...by) <= 1;
    },
    sharesMsMax,
  ).catch((error: Error) => {
    throw new Error(`${error.message}; the cores lead ${by}`);
  });
}

test('cores feed replicants by their weight, and lead as many shards as each other whatever it is', async () => {
  const cluster = await TestCluster.start({
    cores: 3,
    replicants: 3,
    settings: 'database { rebalance_interval = 1s, leader_rebalance_interval = 500ms }',
    settingsOf: { core1: 'cluster.core_weight = 50', core3: 'cluster.core_weight = 0' },
  });
  try {
    await shares('half of a share for half the weight, and none for none', cluster, [(n) => n === 1, (n) => n === 2, (n) => n === 0]);
    await evenLeaders('whatever the weights', cluster.cores);
    const core3 = cluster.node('core3');
    core3.reconfigure((text) => text.replace('core_weight = 0', 'core_weight = 100'));
    await core3.kill();
    core3.start();
    await core3.serving();
    await shares('a whole share for a whole weight, from its next start on', cluster, [(n) => n <= 1, (n) => n >= 1, (n) => n >= 1]);
    await evenLeaders('with the one that was killed', cluster.cores);
  } finally {
    await cluster.close();
  }
});
