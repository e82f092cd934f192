// What clients notice when nodes die: `kill -9` of each core in turn under a steady flow, of a
// replicant, and of everything at once.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as pace } from 'node:timers/promises';
import { TestClient } from './clients.js';
import { eventually, TestCluster, type TestNode, within } from './nodes.js';

let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.start({ cores: 3, replicants: 2, settings: 'cluster.node_down_after = 3s' });
});
after(() => cluster?.close());

/** Publishes QoS 1 messages one after the other until `stop`; what was acknowledged is in `acknowledged`. */
class Flow {
  readonly acknowledged: string[] = [];
  readonly #publisher: TestClient;
  readonly #topic: string;
  #stopping = false;
  readonly #lanes: Promise<void>[];

  constructor(publisher: TestClient, topic: string, lanes: number) {
    this.#publisher = publisher;
    this.#topic = topic;
    this.#lanes = Array.from({ length: lanes }, (_, lane) => this.#run(lane));
  }

  async #run(lane: number): Promise<void> {
    for (let n = 0; !this.#stopping; n++) {
      const payload = `${lane}/${n}`;
      await this.#publisher.publish(this.#topic, payload, { qos: 1 });
      this.acknowledged.push(payload);
      await pace(2);
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#lanes);
  }
}

async function bootstraps(nodes: readonly TestNode[]): Promise<number> {
  const counts = await Promise.all(nodes.map((n) => n.metric('starmesh_replica_bootstraps_total')));
  return counts.flat().reduce((sum, n) => sum + n, 0);
}

test('the death of each core in turn costs no client its connection and no acknowledged message', async (t) => {
  const { replicants } = cluster;
  const [here, there] = [cluster.node('replicant1'), cluster.node('replicant2')];
  const subscriber = await TestClient.connect(here);
  await subscriber.subscribe('flow', 1);
  const publisher = await TestClient.connect(there);
  const before = await bootstraps(replicants);
  const flow = new Flow(publisher, 'flow', 4);
  for (const core of cluster.cores) {
    await core.kill();
    const killedAt = performance.now();
    const fresh = await TestClient.connect(here);
    const connectedAt = performance.now();
    await fresh.subscribe(`fresh/${core.shortName}`, 1);
    const subscribedAt = performance.now();
    await publisher.publish(`fresh/${core.shortName}`, 'hello', { qos: 1 });
    await fresh.until('a message for the new subscription', (all) => all.length > 0);
    const ms = (from: number, to: number): string => `${Math.round(to - from)} ms`;
    t.diagnostic(
      `${core.shortName} killed: CONNACK after ${ms(killedAt, connectedAt)}, SUBACK ${ms(connectedAt, subscribedAt)} later, message ${ms(subscribedAt, performance.now())} later`,
    );
    await fresh.close();
    core.start();
    await core.serving();
  }
  await flow.stop();
  assert.equal(subscriber.ended, undefined);
  assert.equal(publisher.ended, undefined);
  await subscriber.until('the last acknowledged messages', (all) => all.length >= flow.acknowledged.length);
  const received = new Set(subscriber.received.map((m) => m.payload));
  const missing = flow.acknowledged.filter((payload) => !received.has(payload));
  assert.deepEqual(missing, [], `of ${flow.acknowledged.length} acknowledged messages`);
  t.diagnostic(`${flow.acknowledged.length} messages acknowledged, ${subscriber.received.length} received`);
  assert.equal(await bootstraps(replicants), before);
  await Promise.all([subscriber.close(), publisher.close()]);
});

async function topics(node: TestNode): Promise<string[]> {
  const reply = await node.ctl('topics', 'list');
  assert.ok(reply.ok, reply.text);
  return (reply.data as readonly { readonly topic: string }[]).map((r) => r.topic);
}

async function stopped(node: TestNode): Promise<readonly string[]> {
  const reply = await node.ctl('cluster', 'status');
  return (reply.data as { readonly stopped_nodes: readonly string[] }).stopped_nodes;
}

test('the routes of a dead replicant vanish everywhere, and it comes back', async () => {
  const dying = cluster.node('replicant2');
  const others = cluster.nodes.filter((n) => n !== dying);
  const subscriber = await TestClient.connect(dying);
  await subscriber.subscribe('gone/#', 1);
  for (const n of others) assert.ok((await topics(n)).includes('gone/#'), n.shortName);
  await dying.kill();
  for (const n of others) {
    await eventually(`${n.shortName} lists ${dying.name} as stopped`, async () => (await stopped(n)).includes(dying.name));
    await eventually(`${n.shortName} has no routes of it`, async () => !(await topics(n)).includes('gone/#'));
  }
  dying.start();
  await dying.serving();
  for (const n of others) await eventually(`${n.shortName} lists it as running`, async () => (await stopped(n)).length === 0);
  const again = await TestClient.connect(dying);
  await again.subscribe('gone/#', 1);
  const publisher = await TestClient.connect(cluster.node('core1'));
  await publisher.publish('gone/not', 'back', { qos: 1 });
  await again.until('a message through the node that came back', (all) => all.length === 1);
  await Promise.all([again.close(), publisher.close()]);
});

test('acknowledged retained messages survive the death of all nodes at once', async () => {
  const count = 200;
  const publisher = await TestClient.connect(cluster.node('replicant1'));
  // No more at a time than the server's Receive Maximum allows.
  for (let from = 0; from < count; from += 50)
    await Promise.all(Array.from({ length: 50 }, (_, i) => publisher.publish(`survives/${from + i}`, `${from + i}`, { qos: 1, retain: true })));
  await Promise.all(cluster.nodes.map((n) => n.kill()));
  await publisher.end();
  await cluster.startAll();
  for (const node of cluster.nodes) {
    const reader = await TestClient.connect(node);
    await reader.subscribe('survives/#', 1);
    await reader.until(`retained messages on ${node.shortName}`, (all) => all.length >= count);
    assert.equal(new Set(reader.received.map((m) => m.topic)).size, count);
    await reader.close();
  }
});

test('a stopped node tells its clients and ends with status 0', async () => {
  const node = cluster.node('replicant1');
  const client = await TestClient.connect(node);
  assert.equal(await within(60_000, 'it stops', node.stop()), 0);
  assert.equal(await client.end(), 'disconnect 139');
  node.start();
  await node.serving();
});
