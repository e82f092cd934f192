// Clusters whose nodes find each other by discovery, with real processes: DNS and the Kubernetes API are
// stand-ins on loopback.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeCertificate } from '../listeners/certificates.js';
import { TestClient } from './clients.js';
import { FakeDns, FakeKubernetes } from './fake-names.js';
import { eventually, TestCluster, type TestNode } from './nodes.js';

/** Later lines win: nobody is listed. */
const unlisted = 'cluster.core_nodes = []\ncluster.discovery_interval = 200ms\n';

async function waits(node: TestNode, words: string): Promise<void> {
  await eventually(`${node.shortName} waits: ${words}`, async () => {
    const response = await node.get('/status').catch(() => undefined);
    return response !== undefined && (await response.text()).includes(words);
  });
}

async function clusterIds(nodes: readonly TestNode[]): Promise<Set<string>> {
  const ids = await Promise.all(
    nodes.map(async (n) => (JSON.parse(readFileSync(join(n.dataDir, 'node.json'), 'utf8')) as { formed: { clusterId: string } }).formed.clusterId),
  );
  return new Set(ids);
}

async function messagePasses(from: TestNode, to: TestNode): Promise<void> {
  const subscriber = await TestClient.connect(to);
  await subscriber.subscribe('found', 1);
  const publisher = await TestClient.connect(from);
  await publisher.publish('found', 'yes', { qos: 1 });
  await subscriber.until('a message between nodes that found each other', (all) => all.length === 1);
  await Promise.all([subscriber.close(), publisher.close()]);
}

test('SRV records: nothing before all cores are there, one cluster then; a fourth core and a wiped one come in by the same way', async () => {
  const dns = await FakeDns.start();
  const settings = `${unlisted}cluster { discovery_strategy = dns, core_count = 3, dns { name = "_cores._tcp.mesh.test", record_type = srv, servers = ["${dns.server}"] } }`;
  const cluster = await TestCluster.plan({ cores: 4, replicants: 1, settings });
  const name = '_cores._tcp.mesh.test';
  // Not the address by which a node calls itself: who is there is only known when it has answered.
  const record = (n: TestNode): { target: string; port: number } => ({ target: 'localhost', port: n.linkPort });
  try {
    const [first, second, third, fourth] = cluster.cores;
    const replicant = cluster.node('replicant1');
    assert.ok(first && second && third && fourth);
    dns.srv.set(name, [record(first), record(second)]);
    first.start();
    second.start();
    replicant.start();
    await waits(first, '2 of 3 cores are here');
    // Somebody who is named and does not answer may have data.
    dns.srv.set(name, [record(first), record(second), record(third), { target: 'localhost', port: 1 }]);
    third.start();
    await waits(first, 'nobody answers there');
    dns.srv.set(name, [record(first), record(second), record(third)]);
    await Promise.all([first, second, third, replicant].map((n) => n.serving()));
    assert.equal((await clusterIds([first, second, third])).size, 1);
    await messagePasses(replicant, third);

    dns.srv.set(name, [first, second, third, fourth].map(record));
    fourth.start();
    await fourth.serving();
    await third.kill();
    rmSync(third.dataDir, { recursive: true, force: true });
    third.start();
    await third.serving();
    assert.equal((await clusterIds(cluster.cores)).size, 1);
    // Discovery that finds nobody any more cuts nothing apart.
    dns.srv.set(name, []);
    await first.said('discovery finds nobody any more');
    await messagePasses(third, replicant);
  } finally {
    await cluster.close();
    dns.close();
  }
});

test('more empty cores than were asked for form nothing', async () => {
  const dns = await FakeDns.start();
  const settings = `${unlisted}cluster { discovery_strategy = dns, core_count = 2, dns { name = "cores.test", record_type = srv, servers = ["${dns.server}"] } }`;
  const cluster = await TestCluster.plan({ cores: 3, replicants: 0, settings });
  try {
    dns.srv.set(
      'cores.test',
      cluster.cores.map((n) => ({ target: '127.0.0.1', port: n.linkPort })),
    );
    for (const n of cluster.cores) n.start();
    for (const n of cluster.cores) await waits(n, '3 empty cores are here and cluster.core_count is 2');
  } finally {
    await cluster.close();
    dns.close();
  }
});

test('the Kubernetes API: pods that are not ready count, the token is read anew, addresses that are not ours say so', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-k8s-'));
  const authority = makeCertificate({ name: [['CN', 'kubernetes']] });
  const server = makeCertificate({ name: [['CN', 'api']], by: authority });
  let token = 'first token';
  writeFileSync(join(dir, 'token'), 'another token\n');
  writeFileSync(join(dir, 'ca.crt'), authority.cert);
  const api = await FakeKubernetes.start(server, () => token);
  const k8s = `k8s { apiserver = "${api.url}", service_name = mesh, namespace = iot, tokenfile = "${join(dir, 'token')}", cacertfile = "${join(dir, 'ca.crt')}" }`;
  const settings = `${unlisted}cluster { discovery_strategy = k8s, core_count = 2, ${k8s} }`;
  const plan = { cores: 2, replicants: 1, settings };
  // Pods have the same port, and addresses of their own.
  let cluster = await TestCluster.plan(plan);
  const port = cluster.node('core1').linkPort;
  await cluster.close();
  const settingsOf = Object.fromEntries(
    ['core1', 'core2', 'replicant1'].map((n, i) => [n, `node.name = "${n}@127.0.0.${i + 2}"\ncluster.listen = "127.0.0.${i + 2}:${port}"`]),
  );
  cluster = await TestCluster.plan({ ...plan, settingsOf });
  try {
    api.ready = ['127.0.0.2'];
    api.notReady = ['127.0.0.3'];
    for (const n of cluster.nodes) n.start();
    await cluster.node('core1').said('answers with status 401');
    token = 'second token';
    writeFileSync(join(dir, 'token'), 'second token\n');
    await Promise.all(cluster.nodes.map((n) => n.serving()));
    assert.deepEqual([...api.paths], ['/api/v1/namespaces/iot/endpoints/mesh']);
    assert.ok(api.refused > 0);
    await messagePasses(cluster.node('core2'), cluster.node('replicant1'));
  } finally {
    await cluster.close();
    api.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
