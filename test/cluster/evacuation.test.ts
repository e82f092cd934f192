// Nodes that give their clients and sessions away, and then leave the cluster for good.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TestClient } from './clients.js';
import { TestCluster, type TestNode } from './nodes.js';

let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.start({ cores: 3, replicants: 1, spares: 1, settings: 'mqtt.exclusive_subscription = true' });
});
after(() => cluster?.close());

const lasting = { clean: false, properties: { sessionExpiryInterval: 3_600 } } as const;

interface NodeStatus {
  readonly state: string;
  readonly stats: { readonly current_connected: number; readonly current_sessions: number; readonly stuck_sessions: number };
}

async function evacuated(node: TestNode): Promise<NodeStatus> {
  for (let i = 0; i < 600; i++) {
    const { data } = await node.ctl('rebalance', 'node-status');
    if ((data as NodeStatus).state === 'prohibiting') return data as NodeStatus;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail('not evacuated within a minute');
}

/** A session whose client is away, with a message that waits. */
async function leaveSession(at: TestNode, clientId: string, more: object = {}): Promise<void> {
  const client = await TestClient.connect(at, { ...lasting, clientId, ...more });
  await client.subscribe(`for/${clientId}/#`, 2);
  await client.close();
  const publisher = await TestClient.connect(at);
  await publisher.publish(`for/${clientId}/before`, 'before', { qos: 2 });
  await publisher.close();
}

async function comesBack(to: TestNode, clientId: string, wanted: readonly string[]): Promise<void> {
  const client = await TestClient.connect(to, { ...lasting, clientId });
  assert.equal(client.sessionPresent, true, `${clientId} has its session`);
  await client.until(`what waited for ${clientId}`, (all) => wanted.every((w) => all.some((r) => r.payload === w)));
  assert.deepEqual(client.received.map((r) => r.payload).sort(), [...wanted].sort());
  await client.close();
}

test('clients are told to go, and every session is with another node when the node leaves', async () => {
  const going = cluster.node('core2');
  const stays = cluster.node('core1');
  for (let i = 0; i < 30; i++) await leaveSession(going, `away-${i}`);
  const witness = await TestClient.connect(stays);
  await witness.subscribe('wills/#', 1);
  const will = { topic: 'wills/delayed', payload: Buffer.from('gone'), qos: 1, retain: false, properties: { willDelayInterval: 8 } } as const;
  const willing = await TestClient.connect(going, { ...lasting, clientId: 'willing', will });
  const here = await TestClient.connect(going, { ...lasting, clientId: 'here' });
  await here.subscribe('for/here/#', 1);
  const old = await TestClient.connect(going, { protocolVersion: 4, clientId: 'old' });
  const started = await going.ctl(
    ...['rebalance', 'start', '--evacuation', '--wait-health-check', '0', '--wait-takeover', '1', '--redirect-to', 'other.example:1883'],
  );
  assert.equal(started.ok, true, started.text);
  for (const client of [here, willing, old]) await client.end();
  assert.equal(here.ended, 'disconnect 156');
  await assert.rejects(TestClient.connect(going, { clientId: 'late' }), /Use another server/i);
  const check = await fetch(`http://127.0.0.1:${going.httpPort}/api/v5/load_rebalance/availability_check`);
  assert.equal(check.status, 503);
  const { stats } = await evacuated(going);
  assert.deepEqual([stats.current_connected, stats.current_sessions, stats.stuck_sessions], [0, 0, 0]);
  // What is published now waits where the sessions are.
  const publisher = await TestClient.connect(stays);
  for (let i = 0; i < 30; i++) await publisher.publish(`for/away-${i}/after`, 'after', { qos: 2 });
  await publisher.publish('for/here/after', 'after', { qos: 1 });
  assert.equal((await going.ctl('cluster', 'leave')).ok, true);
  await witness.until('the will, after its delay, from where the session is', (all) => all.some((r) => r.topic === 'wills/delayed'));
  assert.equal(witness.received.length, 1);
  const others = [stays, cluster.node('core3'), cluster.node('replicant1')];
  for (let i = 0; i < 30; i++) await comesBack(others[i % 3] as TestNode, `away-${i}`, ['before', 'after']);
  await comesBack(stays, 'here', ['after']);
  await Promise.all([witness.close(), publisher.close()]);
});

test('leaving alone does all of it; an exclusive subscription comes along', async () => {
  const spare = cluster.node('core4');
  spare.start();
  await spare.serving();
  const going = cluster.node('core3');
  await leaveSession(going, 'late-1');
  const only = await TestClient.connect(going, { ...lasting, clientId: 'only' });
  await only.subscribe('$exclusive/one', 1);
  assert.equal((await going.ctl('cluster', 'leave')).ok, true);
  assert.equal(await only.end(), 'disconnect 157', 'it does not come back');
  await comesBack(cluster.node('core1'), 'late-1', ['before']);
  const other = await TestClient.connect(cluster.node('core1'));
  await assert.rejects(other.subscribe('$exclusive/one', 1), /./, 'its session has it, wherever that is');
  await comesBack(spare, 'only', []);
  await other.close();
});
