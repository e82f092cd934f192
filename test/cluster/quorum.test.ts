// A cluster without a quorum of cores, and data directories that were lost.
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { TestClient } from './clients.js';
import { eventually, TestCluster, type TestNode } from './nodes.js';

let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.start({ cores: 3, replicants: 2, settings: 'mqtt.registration_timeout = 1s\ndatabase.proposal_timeout = 1s' });
});
after(() => cluster?.close());

test('with one core of three, what is there goes on, new clients are let in, and nothing is promised that is not kept', async () => {
  const [here, there] = [cluster.node('replicant1'), cluster.node('replicant2')];
  const subscriber = await TestClient.connect(here);
  await subscriber.subscribe('on/#', 1);
  const publisher = await TestClient.connect(there);
  const dead = [cluster.node('core1'), cluster.node('core3')];
  await Promise.all(dead.map((n) => n.kill()));
  for (let i = 0; i < 50; i++) await publisher.publish(`on/${i}`, `${i}`, { qos: 1 });
  await subscriber.until('messages between replicants', (all) => all.length >= 50);
  const late = await TestClient.connect(here, { clientId: 'late' });
  await assert.rejects(late.subscribe('late/#', 1), 'a route that nobody committed is not acknowledged');
  await assert.rejects(publisher.publish('kept', 'x', { qos: 1, retain: true }), 'a retained message that nobody committed is not acknowledged');
  assert.deepEqual([subscriber.ended, publisher.ended, late.ended], [undefined, undefined, undefined]);
  for (const n of dead) n.start();
  await Promise.all(dead.map((n) => n.serving()));
  await late.subscribe('late/#', 1);
  await publisher.publish('late/now', 'x', { qos: 1 });
  await late.until('a message after the quorum is back', (all) => all.length === 1);
  // It was taken in without a registration: whether it has one by now or not, one kick finds it.
  assert.equal((await cluster.node('core2').ctl('clients', 'kick', 'late')).ok, true);
  assert.equal(await late.end(), 'disconnect 152');
  await Promise.all([subscriber.close(), publisher.close()]);
});

function wipe(node: TestNode): void {
  for (const name of readdirSync(node.dataDir)) rmSync(join(node.dataDir, name), { recursive: true });
}

test('a replicant without its data comes back as a new one', async () => {
  const node = cluster.node('replicant2');
  await node.kill();
  wipe(node);
  node.start();
  await node.serving();
  const members = (await cluster.node('core2').ctl('cluster', 'status')).data as Readonly<Record<string, readonly string[]>>;
  assert.deepEqual(members.stopped_nodes, []);
  assert.equal(members.running_nodes?.length, 5);
});

function states(reply: { readonly data?: unknown }): readonly string[] {
  const { shards } = reply.data as { readonly shards: Readonly<Record<string, { readonly state: string }>> };
  return Object.values(shards).map((s) => s.state);
}

test('a core without its data is admitted anew under its name, as learner and then as voter', async () => {
  const node = cluster.node('core1');
  await node.kill();
  wipe(node);
  node.start();
  await node.serving();
  await eventually('it votes in every group', async () => states(await node.ctl('rlog', 'status')).every((s) => s === 'follower' || s === 'leader'));
  const members = (await cluster.node('core2').ctl('cluster', 'status')).data as Readonly<Record<string, readonly string[]>>;
  assert.equal(members.running_nodes?.length, 5);
  // The old one counts no more: two of three are enough again.
  await cluster.node('core2').kill();
  const client = await TestClient.connect(cluster.node('replicant1'));
  await client.subscribe('still/works', 1);
  await client.close();
  cluster.node('core2').start();
  await cluster.node('core2').serving();
});

test('two cores of three without their data, the third away: they are no new cluster', async () => {
  const wiped = [cluster.node('core1'), cluster.node('core2')];
  await Promise.all(cluster.cores.map((n) => n.kill()));
  for (const n of wiped) {
    wipe(n);
    n.start();
  }
  for (const n of wiped) {
    await n.said('the node runs');
    await eventually('/status says for whom it waits', async () =>
      (await (await n.get('/status')).text()).includes('core3@127.0.0.1 is not there yet'),
    );
    assert.equal(((await n.ctl('cluster', 'status')).data as { readonly cluster_id: string }).cluster_id, '');
  }
  cluster.node('core3').start();
  for (const n of wiped) {
    await n.said('cluster formed');
    const response = await n.get('/status');
    assert.equal(response.status, 503);
    await assert.rejects(TestClient.connect(n));
  }
});
