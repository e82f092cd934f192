// Messages between all pairs of nodes of a cluster: three cores, two replicants, foreign clients.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { TestClient } from './clients.js';
import { eventually, TestCluster, type TestNode } from './nodes.js';
import { run } from './programs.js';

let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.start({ cores: 3, replicants: 2 });
});
after(() => cluster?.close());

for (const protocolVersion of [4, 5] as const) {
  test(`every node reaches every other with every QoS, protocol version ${protocolVersion}`, async () => {
    const clients = await Promise.all(cluster.nodes.map((n) => TestClient.connect(n, { protocolVersion })));
    await Promise.all(clients.map((c, i) => c.subscribe(`pairs/${protocolVersion}/${i}/#`, 2)));
    const published: Promise<void>[] = [];
    const expected: string[][] = clients.map(() => []);
    for (const [from, publisher] of clients.entries()) {
      for (let to = 0; to < clients.length; to++) {
        for (const qos of [0, 1, 2] as const) {
          const topic = `pairs/${protocolVersion}/${to}/${from}/${qos}`;
          expected[to]?.push(`${topic} ${qos}`);
          published.push(publisher.publish(topic, `${qos}`, { qos }));
        }
      }
    }
    await Promise.all(published);
    for (const [i, c] of clients.entries()) {
      await c.until(`messages for ${cluster.nodes[i]?.shortName}`, (all) => all.length >= clients.length * 3);
      assert.deepEqual(c.received.map((m) => `${m.topic} ${m.qos}`).sort(), expected[i]?.sort());
    }
    await Promise.all(clients.map((c) => c.close()));
  });
}

test('a retained message set through one node is there on every other', async () => {
  for (const node of cluster.nodes) {
    const publisher = await TestClient.connect(node);
    await publisher.publish(`kept/${node.shortName}`, node.shortName, { qos: 1, retain: true });
    await publisher.close();
  }
  const wanted = cluster.nodes.map((n) => `kept/${n.shortName}`).sort();
  for (const node of cluster.nodes) {
    const reader = await TestClient.connect(node);
    await reader.subscribe('kept/+', 1);
    await reader.until(`retained messages on ${node.shortName}`, (all) => all.length >= wanted.length);
    assert.deepEqual(reader.received.map((m) => m.topic).sort(), wanted);
    assert.ok(reader.received.every((m) => m.retain));
    await reader.close();
  }
});

test('what is published right after SUBACK, through another node, is never missed', async () => {
  const rounds = 1000;
  const subscribers = await Promise.all(cluster.nodes.map((n) => TestClient.connect(n)));
  const publishers = await Promise.all(cluster.nodes.map((n) => TestClient.connect(n)));
  const lanes = subscribers.map(async (subscriber, i) => {
    for (let round = i; round < rounds; round += subscribers.length) {
      const publisher = publishers[(i + 1 + (Math.floor(round / subscribers.length) % (subscribers.length - 1))) % subscribers.length];
      const topic = `fresh/${round}`;
      await subscriber.subscribe(topic, 1);
      await publisher?.publish(topic, `${round}`, { qos: 1 });
      await subscriber.until(`message ${round}`, (all) => all.at(-1)?.topic === topic || all.some((m) => m.topic === topic));
      await subscriber.mqtt.unsubscribeAsync(topic);
    }
  });
  await Promise.all(lanes);
  const received = subscribers.flatMap((s) => s.received.map((m) => m.topic));
  assert.equal(received.length, rounds);
  assert.equal(new Set(received).size, rounds);
  await Promise.all([...subscribers, ...publishers].map((c) => c.close()));
});

test('a session moves from node to node with what was queued', async () => {
  const [first, second] = [cluster.node('replicant1'), cluster.node('core2')];
  const options = { clientId: 'wanderer', clean: false, properties: { sessionExpiryInterval: 3600 } };
  const here = await TestClient.connect(first, options);
  assert.equal(here.sessionPresent, false);
  await here.subscribe('wander/#', 1);
  await here.drop();
  const publisher = await TestClient.connect(cluster.node('replicant2'));
  for (let i = 0; i < 20; i++) await publisher.publish(`wander/${i}`, `${i}`, { qos: 1 });
  const there = await TestClient.connect(second, options);
  assert.equal(there.sessionPresent, true);
  await there.until('queued messages', (all) => all.length >= 20);
  await publisher.publish('wander/live', 'live', { qos: 1 });
  await there.until('a live message', (all) => all.length >= 21);
  assert.deepEqual(
    there.received.map((m) => m.payload),
    [...Array.from({ length: 20 }, (_, i) => `${i}`), 'live'],
  );
  // And back, while it is connected: the older connection is told and closed.
  const back = await TestClient.connect(first, options);
  assert.equal(back.sessionPresent, true);
  assert.equal(await there.end(), 'disconnect 142');
  await publisher.publish('wander/again', 'again', { qos: 1 });
  await back.until('a message after the second move', (all) => all.some((m) => m.payload === 'again'));
  await Promise.all([publisher.close(), back.close()]);
});

test('a client is kicked through any node', async () => {
  const client = await TestClient.connect(cluster.node('replicant2'), { clientId: 'to be kicked' });
  const reply = await cluster.node('core1').ctl('clients', 'kick', 'to be kicked');
  assert.equal(reply.ok, true, reply.text);
  assert.equal(await client.end(), 'disconnect 152');
});

const hasMosquitto = spawnSync('mosquitto_pub', ['--help']).error === undefined;

test('mosquitto_pub and mosquitto_sub talk across nodes', { skip: hasMosquitto ? false : 'mosquitto-clients is not installed' }, async () => {
  const at = (node: string): string[] => ['-p', String(cluster.node(node).mqttPort)];
  for (const version of ['311', '5']) {
    const lasting = version === '5' ? ['-x', '600'] : [];
    const subscribe = ['-V', `mqttv${version}`, '-c', '-i', `mosquitto ${version}`, ...lasting, '-q', '2', '-t', `mosquitto/${version}/#`];
    // Ends with SUBACK; the messages wait for it, and are fetched through another node.
    assert.equal((await run('mosquitto_sub', [...at('replicant1'), ...subscribe, '-E'])).status, 0);
    for (const qos of ['0', '1', '2']) {
      const message = ['-q', qos, '-t', `mosquitto/${version}/${qos}`, '-m', `hello ${qos}`];
      assert.equal((await run('mosquitto_pub', [...at('core3'), '-V', `mqttv${version}`, ...message])).status, 0);
    }
    const got = await run('mosquitto_sub', [...at('core1'), ...subscribe, '-C', '3', '-F', '%t %q %p']);
    assert.equal(got.status, 0);
    const wanted = ['0', '1', '2'].map((qos) => `mosquitto/${version}/${qos} ${qos} hello ${qos}`);
    assert.deepEqual(got.out.trim().split('\n'), wanted);
  }
});

const coreMetrics = ['last_intercepted_trans', 'weight', 'replicants', 'server_mql'];
const replicantMetrics = ['lag', 'bootstrap_time', 'bootstrap_num_keys', 'message_queue_len', 'replayq_len'];
const ownMetrics = [
  'starmesh_event_loop_delay_seconds',
  'starmesh_proposal_seconds_count',
  'starmesh_memory_bytes',
  'starmesh_connections',
  'starmesh_sessions',
  'starmesh_subscriptions',
  'starmesh_routes',
  'starmesh_retained_messages',
  'starmesh_forward_peer_sent_total',
  'starmesh_forward_peer_dropped_total',
  'emqx_messages_received',
  'emqx_connections_count',
];

test('the metrics page of each node has the set of its role, per shard', async () => {
  for (const node of cluster.nodes) await inSync(node, node.role === 'core' ? 8 : 4);
  for (const node of cluster.nodes) {
    const [has, hasNot] = node.role === 'core' ? [coreMetrics, replicantMetrics] : [replicantMetrics, coreMetrics];
    const labels = [`node="${node.name}"`];
    for (const name of has) {
      for (const shard of ['cluster', 'route', 'retain']) {
        assert.equal((await node.metric(`emqx_mria_${name}`, ...labels, `shard="${shard}"`)).length, 1, `${name} of ${shard} on ${node.shortName}`);
      }
    }
    for (const name of hasNot) assert.deepEqual(await node.metric(`emqx_mria_${name}`), [], `${name} on ${node.shortName}`);
    for (const name of ownMetrics) assert.ok((await node.metric(name)).length > 0, `${name} on ${node.shortName}`);
    if (node.role === 'replicant') {
      assert.deepEqual(await node.metric('starmesh_replica_state', 'shard="route"', 'state="normal"'), [1]);
      // Nothing has changed in this shard for long: a copy that is complete is not behind.
      assert.deepEqual(await node.metric('starmesh_replica_lag_seconds', 'shard="cluster"'), [0]);
    } else {
      assert.equal((await node.metric('starmesh_raft_term', 'shard="registry-3"')).length, 1);
      assert.ok((await node.metric('starmesh_wal_sync_seconds_count'))[0]);
    }
  }
  const text = await (await cluster.node('replicant1').get('/api/v5/prometheus/stats?mode=all_nodes_unaggregated')).text();
  for (const n of cluster.nodes) assert.match(text, new RegExp(`^emqx_messages_received\\{node="${n.name}"\\} \\d+$`, 'm'));
  const leaders = await Promise.all(cluster.cores.map((n) => n.metric('starmesh_raft_leader', 'shard="route"')));
  assert.equal(
    leaders.flat().reduce((sum, n) => sum + n, 0),
    1,
  );
  const served = await Promise.all(cluster.cores.map((n) => n.metric('emqx_mria_replicants', 'shard="route"')));
  assert.equal(
    served.flat().reduce((sum, n) => sum + n, 0),
    2,
    'each replicant follows one core',
  );
});

/** A core that was kept waiting by its machine is out of service until the others have answered it. */
async function inSync(node: TestNode, shards: number): Promise<RlogData> {
  let data: RlogData | undefined;
  await eventually(`${node.shortName} is in sync`, async () => {
    data = (await node.ctl('rlog', 'status')).data as RlogData;
    return data.shards_in_sync.length === shards;
  });
  assert.ok(data !== undefined);
  return data;
}

interface RlogData {
  readonly role: string;
  readonly shards: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly shards_in_sync: readonly string[];
  readonly shards_down: readonly string[];
}

test('the control socket tells the state of the log, the members and the routes', async () => {
  const [core, replicant] = [cluster.node('core3'), cluster.node('replicant1')];
  const onCore = await inSync(core, 8);
  assert.equal(onCore.role, 'core');
  assert.deepEqual(onCore.shards_down, []);
  for (const field of ['state', 'term', 'last_intercepted_trans', 'commit_index', 'weight', 'replicants', 'server_mql']) {
    assert.ok(onCore.shards.route !== undefined && field in onCore.shards.route, field);
  }
  await inSync(replicant, 4);
  const onReplicant = (await replicant.ctl('eval', 'mria_rlog:status().')).data as RlogData;
  assert.equal(onReplicant.role, 'replicant');
  assert.deepEqual([...onReplicant.shards_in_sync].sort(), ['auth', 'cluster', 'retain', 'route']);
  assert.deepEqual(onReplicant.shards_down, ['registry-0', 'registry-1', 'registry-2', 'registry-3']);
  assert.equal(onReplicant.shards.route?.state, 'normal');
  assert.ok(String(onReplicant.shards.route?.upstream).startsWith('core'));
  const members = (await replicant.ctl('cluster', 'status')).data as { readonly running_nodes: readonly string[] };
  assert.deepEqual(members.running_nodes, cluster.nodes.map((n) => n.name).sort());
  const client = await TestClient.connect(replicant, { clientId: 'listed', username: 'somebody' });
  await client.subscribe('listed/+', 1);
  assert.match((await core.ctl('topics', 'list')).text, /^listed\/\+ -> replicant1@127\.0\.0\.1$/m);
  assert.match((await replicant.ctl('clients', 'list')).text, /Client\(listed, username=somebody/);
  const shown = (await replicant.ctl('clients', 'show', 'listed')).data as { readonly subscriptions_cnt: number };
  assert.equal(shown.subscriptions_cnt, 1);
  assert.equal((await core.ctl('clients', 'kick', 'nobody')).ok, false);
  await client.close();
});
