// A tree of real processes: one core, two relays, two replicants that they feed.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TestClient } from './clients.js';
import { TestCluster, type TestNode, within } from './nodes.js';

const relay = 'cluster.relay = true';
const movedMsMax = 60_000;

interface ReplicaData {
  readonly state: string;
  readonly upstream: string | null;
  readonly bootstraps: number;
  readonly replicants: readonly string[];
}

let cluster: TestCluster;

async function shards(n: TestNode): Promise<ReplicaData[]> {
  const data = (await n.ctl('rlog', 'status')).data as { readonly shards: Readonly<Record<string, ReplicaData>> };
  return Object.values(data.shards).filter((s) => s.state !== 'down');
}

/** Asks until it holds. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const ask = async (): Promise<void> => {
    while (!(await holds())) await new Promise((done) => setTimeout(done, 100));
  };
  await within(movedMsMax, what, ask());
}

function fedBy(n: TestNode, names: readonly string[]): Promise<boolean> {
  return shards(n).then((all) => all.every((s) => s.state === 'normal' && names.some((name) => s.upstream?.startsWith(name) === true)));
}

async function bootstraps(nodes: readonly TestNode[]): Promise<number> {
  const all = await Promise.all(nodes.map(shards));
  return all.flat().reduce((sum, s) => sum + s.bootstraps, 0);
}

/** A subscription on one node, a message through the other, right after its SUBACK. */
async function crosses(from: TestNode, to: TestNode, topic: string): Promise<void> {
  const [subscriber, publisher] = [await TestClient.connect(to), await TestClient.connect(from)];
  await subscriber.subscribe(topic, 1);
  await publisher.publish(topic, 'hello', { qos: 1 });
  await subscriber.until('the message', (all) => all.length > 0);
  await Promise.all([subscriber.close(), publisher.close()]);
}

before(async () => {
  cluster = await TestCluster.plan({ cores: 1, replicants: 4, settingsOf: { replicant1: relay, replicant2: relay } });
  const first = ['core1', 'replicant1', 'replicant2'].map((name) => cluster.node(name));
  for (const n of first) n.start();
  await Promise.all(first.map((n) => n.serving()));
  const leaves = ['replicant3', 'replicant4'].map((name) => cluster.node(name));
  for (const n of leaves) n.start();
  await Promise.all(leaves.map((n) => n.serving()));
});

after(() => cluster.close());

test('relays are fed by the core and feed the others; clients of all meet', async () => {
  const [a, b] = [cluster.node('replicant3'), cluster.node('replicant4')];
  for (const n of [a, b]) await until(`${n.shortName} is fed by relays`, () => fedBy(n, ['replicant1', 'replicant2']));
  for (const name of ['replicant1', 'replicant2']) assert.ok(await fedBy(cluster.node(name), ['core1']), `${name} is fed by the core`);
  await crosses(a, b, 'across/relays');
  await crosses(cluster.node('core1'), a, 'from/core');
});

test('a relay is killed: what it fed resumes elsewhere, and clients there stay', async () => {
  const leaves = [cluster.node('replicant3'), cluster.node('replicant4')];
  const before = await bootstraps(leaves);
  const staying = await Promise.all(leaves.map((n) => TestClient.connect(n)));
  for (const [i, client] of staying.entries()) await client.subscribe(`stays/${i}`, 1);
  await cluster.node('replicant1').kill();
  for (const n of leaves) await until(`${n.shortName} is fed by the other relay`, () => fedBy(n, ['replicant2', 'core1']));
  const publisher = await TestClient.connect(cluster.node('core1'));
  for (const [i, client] of staying.entries()) {
    await publisher.publish(`stays/${i}`, 'still here', { qos: 1 });
    await client.until('the message', (all) => all.length > 0);
    assert.equal(client.ended, undefined);
  }
  await crosses(leaves[0] as TestNode, leaves[1] as TestNode, 'after/kill');
  assert.equal(await bootstraps(leaves), before, 'nothing was copied again');
  await Promise.all([publisher, ...staying].map((c) => c.close()));
});

test('a replicant that is killed goes on from its kept copy', async () => {
  const n = cluster.node('replicant4');
  await n.kill();
  n.start();
  await n.serving();
  assert.equal(await bootstraps([n]), 0);
  await crosses(cluster.node('core1'), n, 'kept/copy');
});

test('without any core clients stay, known routes work, and the status says so', async () => {
  const [a, b] = [cluster.node('replicant3'), cluster.node('replicant4')];
  const [subscriber, publisher] = [await TestClient.connect(a), await TestClient.connect(b)];
  await subscriber.subscribe('known/route', 1);
  await publisher.publish('known/route', 'before', { qos: 1 });
  await subscriber.until('the first message', (all) => all.length === 1);
  await cluster.node('core1').kill();
  await until('nothing counts as in sync', async () => {
    const data = (await a.ctl('rlog', 'status')).data as { readonly shards_in_sync: readonly string[] };
    return data.shards_in_sync.length === 0;
  });
  await publisher.publish('known/route', 'after', { qos: 1 });
  await subscriber.until('the second message', (all) => all.length === 2);
  assert.equal(subscriber.ended, undefined);
  assert.equal(publisher.ended, undefined);
});
