// Changing the set of cores of a running cluster: more of them, fewer, others; on an operator's word and
// because one was lost.
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { TestClient } from './clients.js';
import { eventually, TestCluster, type TestNode } from './nodes.js';

interface Shards {
  readonly [shard: string]: { readonly state: string };
}

async function states(node: TestNode): Promise<readonly string[]> {
  const { shards } = (await node.ctl('rlog', 'status')).data as { readonly shards: Shards };
  return Object.values(shards).map((s) => s.state);
}

/** It is in every Raft group, and no learner. */
async function votes(node: TestNode): Promise<void> {
  await eventually(`${node.shortName} votes in every group`, async () => (await states(node)).every((s) => s === 'follower' || s === 'leader'));
}

async function comesIn(node: TestNode): Promise<void> {
  node.start();
  await node.serving();
  await votes(node);
}

async function leaves(node: TestNode): Promise<void> {
  const reply = await node.ctl('cluster', 'leave');
  assert.deepEqual([reply.ok, reply.text.split('.')[0]], [true, 'Leave the cluster successfully']);
  assert.equal(await node.exited(), 0);
}

/** Retained messages, one after the other; what was acknowledged must be there in the end. */
class Keeping {
  readonly acknowledged: string[] = [];
  readonly #client: TestClient;
  readonly #done: Promise<void>;
  #stopping = false;

  constructor(client: TestClient) {
    this.#client = client;
    this.#done = this.#run();
  }

  async #run(): Promise<void> {
    for (let n = 0; !this.#stopping; n++) {
      const topic = `kept/${n % 500}`;
      await this.#client.publish(topic, `${n}`, { qos: 1, retain: true });
      this.acknowledged[n % 500] = `${n}`;
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
  }
}

test('one core becomes three, five, three and one, each another; nothing acknowledged is lost, and no client of a replicant notices', async (t) => {
  const cluster = await TestCluster.start({ cores: 1, replicants: 1, spares: 4 });
  t.after(() => cluster.close());
  const [core1, core2, core3, core4, core5] = ['core1', 'core2', 'core3', 'core4', 'core5'].map((n) => cluster.node(n)) as [
    TestNode,
    TestNode,
    TestNode,
    TestNode,
    TestNode,
  ];
  const replicant = cluster.node('replicant1');
  const publisher = await TestClient.connect(replicant);
  const subscriber = await TestClient.connect(replicant);
  await subscriber.subscribe('kept/#', 1);
  const keeping = new Keeping(publisher);
  assert.match((await core1.ctl('cluster', 'leave')).text, /the last core/);
  await Promise.all([comesIn(core2), comesIn(core3)]);
  await Promise.all([comesIn(core4), comesIn(core5)]);
  await leaves(core1);
  await leaves(core2);
  core1.start();
  assert.notEqual(await core1.exited(), 0, 'its data directory serves no node any more');
  assert.ok(
    core1.lines.some((l) => l.includes('has left its cluster')),
    core1.lines.join('\n'),
  );
  await leaves(core3);
  await leaves(core4);
  await keeping.stop();
  assert.ok(keeping.acknowledged.length > 100, `${keeping.acknowledged.length} messages`);
  assert.deepEqual([publisher.ended, subscriber.ended], [undefined, undefined]);
  const status = (await core5.ctl('cluster', 'status')).data as {
    readonly running_nodes: readonly string[];
    readonly stopped_nodes: readonly string[];
  };
  assert.deepEqual([status.running_nodes, status.stopped_nodes], [[core5.name, replicant.name], []]);
  // Everything that still knows anything ends; what is left finds each other, though all that is configured is gone.
  await Promise.all([core5.kill(), replicant.kill()]);
  for (const n of [core5, replicant]) n.start();
  await Promise.all([core5.serving(), replicant.serving()]);
  const reader = await TestClient.connect(replicant);
  await reader.subscribe('kept/#', 1);
  await reader.until('every retained message', (all) => all.length >= keeping.acknowledged.length);
  const last = new Map(reader.received.map((m) => [m.topic, m.payload]));
  for (const [n, payload] of keeping.acknowledged.entries()) {
    // One more may have happened whose answer was not awaited.
    assert.ok(Number(last.get(`kept/${n}`)) >= Number(payload), `kept/${n} is ${last.get(`kept/${n}`)}, acknowledged was ${payload}`);
  }
});

test('a core that is lost is taken out by force; when it comes back it ends; its role cannot be changed', async (t) => {
  const cluster = await TestCluster.start({ cores: 3, replicants: 0, settings: 'cluster.node_down_after = 3s' });
  t.after(() => cluster.close());
  const [core1, core2, core3] = cluster.cores as [TestNode, TestNode, TestNode];
  assert.match((await core1.ctl('cluster', 'force-leave', core3.name)).text, /runs and is connected: run "ctl cluster leave" on it/);
  assert.match((await core1.ctl('cluster', 'force-leave', 'nobody@127.0.0.1')).text, /there is no node nobody/);
  await core3.kill();
  await eventually('the link is known to be down', async () => (await core1.ctl('cluster', 'force-leave', core3.name)).ok);
  // Two voters are left, so they need each other; with one of three dead they would not have been able to lose this one either.
  await votes(core2);
  const status = (await core1.ctl('cluster', 'status')).data as { readonly running_nodes: readonly string[] };
  assert.deepEqual(status.running_nodes, [core1.name, core2.name]);
  core3.start();
  await core3.said('this core has left the cluster');
  assert.equal(await core3.exited(), 0);
  await core2.stop();
  core2.reconfigure((text) => text.replace('role = core', 'role = replicant').replace(`"${core2.name}:`, '"other@127.0.0.1:'));
  core2.start();
  assert.notEqual(await core2.exited(), 0);
  assert.ok(
    core2.lines.some((l) => l.includes('ctl cluster leave')),
    core2.lines.join('\n'),
  );
});

test('a node that is a cluster of its own joins another one on an operator’s word', async (t) => {
  const cluster = await TestCluster.plan({ cores: 1, replicants: 0, spares: 1 });
  t.after(() => cluster.close());
  const [one, two] = cluster.cores as [TestNode, TestNode];
  const address = /core_nodes = \["([^"]+)"\]/;
  let seed = '';
  two.reconfigure((text) => {
    seed = address.exec(text)?.[1] ?? '';
    return text.replace(address, 'core_nodes = []');
  });
  for (const n of [one, two]) n.start();
  await Promise.all([one.serving(), two.serving()]);
  assert.match((await two.ctl('cluster', 'join', 'nowhere')).text, /is no node/);
  const reply = await two.ctl('cluster', 'join', seed);
  assert.deepEqual([reply.ok, reply.text], [true, 'Join the cluster successfully.']);
  await eventually('two nodes run', async () => {
    const status = (await one.ctl('cluster', 'status')).data as { readonly running_nodes: readonly string[] };
    return status.running_nodes.length === 2;
  });
  await votes(two);
});

test('a replicant becomes a core as it runs: by hand, and when too few cores live; its clients stay', async (t) => {
  const cluster = await TestCluster.start({ cores: 2, replicants: 2, settings: 'cluster { core_auto_promote = 3, node_down_after = 2s }' });
  t.after(() => cluster.close());
  const [core1, replicant1, replicant2] = [cluster.node('core1'), cluster.node('replicant1'), cluster.node('replicant2')];
  const client = await TestClient.connect(replicant1);
  await client.subscribe('to/it', 1);
  // Too few from the start.
  await votes(replicant1);
  assert.deepEqual(
    await Promise.all([replicant1, replicant2].map(async (n) => (await n.ctl('cluster', 'promote', n.name)).ok)),
    [true, true],
    'it is one already',
  );
  assert.match((await core1.ctl('cluster', 'promote', replicant1.name)).text, /is a core already/);
  await votes(replicant2);
  const publisher = await TestClient.connect(replicant2);
  await publisher.publish('to/it', 'x', { qos: 1 });
  await client.until('a message', (all) => all.length === 1);
  // Three of four are a majority.
  await core1.kill();
  await publisher.publish('kept', 'y', { qos: 1, retain: true });
  assert.equal(client.ended, undefined);
  await Promise.all([client.close(), publisher.close()]);
  await replicant1.kill();
  await core1.kill();
  core1.start();
  replicant1.start();
  await Promise.all([core1.serving(), replicant1.serving()]);
  await votes(replicant1);
  const reader = await TestClient.connect(replicant1);
  await reader.subscribe('kept', 1);
  await reader.until('the retained message', (all) => all.length === 1);
  await reader.close();
});

test('a replicant that was promoted and lost its data comes back as a replicant', async (t) => {
  const cluster = await TestCluster.start({ cores: 2, replicants: 1, settings: 'cluster.node_down_after = 2s' });
  t.after(() => cluster.close());
  const node = cluster.node('replicant1');
  assert.equal((await cluster.node('core1').ctl('cluster', 'promote', node.name)).ok, true);
  await votes(node);
  await node.kill();
  for (const name of readdirSync(node.dataDir)) rmSync(join(node.dataDir, name), { recursive: true });
  node.start();
  await node.serving();
  assert.ok((await states(node)).includes('normal'));
});
