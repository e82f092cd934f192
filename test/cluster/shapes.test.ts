// Clusters of other shapes, names of the greatest length, and what a node says when it cannot start.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { TestClient } from './clients.js';
import { type ClusterShape, eventually, TestCluster } from './nodes.js';

async function withCluster(shape: ClusterShape, run: (cluster: TestCluster) => Promise<void>): Promise<void> {
  const cluster = await TestCluster.start(shape);
  try {
    await run(cluster);
  } finally {
    await cluster.close();
  }
}

const longest = 65_535;

test('names of 65,535 bytes work across nodes', async () => {
  await withCluster({ cores: 1, replicants: 1 }, async (cluster) => {
    const [core, replicant] = [cluster.node('core1'), cluster.node('replicant1')];
    const clientId = 'c'.repeat(longest);
    const topic = `long/x/${'t'.repeat(longest - 7)}`;
    const filters = [topic, `long/+/${'t'.repeat(longest - 7)}`];
    const publisher = await TestClient.connect(core);
    for (const filter of filters) {
      const subscriber = await TestClient.connect(replicant, { clientId });
      assert.equal(filter.length, longest);
      await subscriber.subscribe(filter, 1);
      await publisher.publish(topic, 'live', { qos: 1 });
      await subscriber.until('a message by a long name', (all) => all.length === 1);
      // Almost the same name is not the same name.
      await publisher.publish(`${topic.slice(0, -1)}u`, 'not this', { qos: 1 });
      await publisher.publish(topic, 'again', { qos: 1 });
      await subscriber.until('the second message', (all) => all.length >= 2);
      assert.deepEqual(
        subscriber.received.map((m) => m.payload),
        ['live', 'again'],
      );
      await subscriber.close();
    }
    await publisher.publish(topic, 'kept', { qos: 1, retain: true });
    for (const filter of [...filters, 'long/#']) {
      const reader = await TestClient.connect(replicant, { clientId });
      await reader.subscribe(filter, 1);
      await reader.until('a retained message under a long name', (all) => all.length === 1);
      assert.equal(reader.received[0]?.topic, topic);
      await reader.close();
    }
    // The client id is one key in the registry: its session moves.
    const options = { clientId, clean: false, properties: { sessionExpiryInterval: 600 } };
    const here = await TestClient.connect(core, options);
    await here.subscribe('moves', 1);
    const there = await TestClient.connect(replicant, options);
    assert.equal(there.sessionPresent, true);
    assert.equal(await here.end(), 'disconnect 142');
    await Promise.all([publisher.close(), there.close()]);
  });
});

test('a core without listeners only keeps data', async () => {
  const settingsOf = { core1: 'listeners.tcp.default.enable = false' };
  await withCluster({ cores: 1, replicants: 2, settingsOf }, async (cluster) => {
    const status = await cluster.node('core1').get('/status');
    assert.equal(status.status, 200);
    await assert.rejects(TestClient.connect(cluster.node('core1')));
    const subscriber = await TestClient.connect(cluster.node('replicant1'));
    await subscriber.subscribe('data/only', 2);
    const publisher = await TestClient.connect(cluster.node('replicant2'));
    await publisher.publish('data/only', 'yes', { qos: 2 });
    await subscriber.until('a message from replicant to replicant', (all) => all.length === 1);
    await Promise.all([subscriber.close(), publisher.close()]);
  });
});

test('one core alone works, and keeps what it acknowledged over kill -9', async () => {
  await withCluster({ cores: 1, replicants: 0 }, async (cluster) => {
    const node = cluster.node('core1');
    const publisher = await TestClient.connect(node);
    await publisher.publish('alone', 'kept', { qos: 1, retain: true });
    await node.kill();
    // Its lock and control socket were left behind.
    assert.ok(existsSync(join(node.dataDir, 'lock')));
    node.start();
    await node.serving();
    const reader = await TestClient.connect(node);
    await reader.subscribe('alone', 1);
    await reader.until('the retained message', (all) => all.length === 1);
    await reader.close();
    assert.equal(await node.stop(), 0);
    assert.ok(!existsSync(join(node.dataDir, 'lock')));
    assert.ok(!existsSync(join(node.dataDir, 'ctl.sock')));
  });
});

test('a node that waits for the others says so, and serves once they are there', async () => {
  const cluster = await TestCluster.plan({ cores: 3, replicants: 0 });
  try {
    const [first, ...others] = cluster.nodes;
    assert.ok(first !== undefined);
    first.start();
    await first.said('the node runs');
    await eventually('/status says what it waits for', async () => {
      const response = await first.get('/status');
      return response.status === 503 && (await response.text()).includes('is not there yet');
    });
    await assert.rejects(TestClient.connect(first));
    for (const n of others) n.start();
    await Promise.all(cluster.nodes.map((n) => n.serving()));
    const json = (await (await first.get('/api/v5/status?format=json')).json()) as { readonly app_status: string };
    assert.equal(json.app_status, 'running');
  } finally {
    await cluster.close();
  }
});

test('a port in use and a data directory in use end the start with one sentence', async () => {
  await withCluster({ cores: 1, replicants: 0 }, async (cluster) => {
    const node = cluster.node('core1');
    const second = node.twin();
    second.start();
    assert.equal(await second.exited(), 1);
    assert.match(second.lines.join('\n'), /the data directory .* is in use by process \d+/);
    assert.ok(existsSync(join(node.dataDir, 'lock')), 'the lock of the one that runs stays');
    assert.equal(await node.stop(), 0);
    const blocker = createServer().listen(node.mqttPort, '127.0.0.1');
    await new Promise((done) => blocker.once('listening', done));
    node.start();
    assert.equal(await node.exited(), 1);
    assert.match(node.lines.join('\n'), /listeners\.tcp\.default cannot listen on 127\.0\.0\.1:\d+: another program uses this port/);
    assert.ok(!existsSync(join(node.dataDir, 'lock')), 'nothing is left behind');
    await new Promise((done) => blocker.close(done));
    node.start();
    await node.serving();
  });
});
