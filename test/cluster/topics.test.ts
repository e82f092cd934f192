// Topics with a meaning of their own on real nodes: what holds for the whole cluster, and when a node dies.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TestClient } from './clients.js';
import { TestCluster } from './nodes.js';

let cluster: TestCluster;

before(async () => {
  const settings = [
    'cluster.node_down_after = 3s',
    'mqtt.exclusive_subscription = true',
    'sys_topics { sys_msg_interval = 1s, sys_heartbeat_interval = 1s }',
  ].join('\n');
  cluster = await TestCluster.start({
    cores: 3,
    replicants: 1,
    settings,
    settingsOf: { replicant1: 'listeners.tcp.default.mountpoint = "tenant/${clientid}/"' },
  });
});
after(() => cluster?.close());

/** The reason code of a SUBSCRIBE that may be refused. */
function grant(client: TestClient, topicFilter: string): Promise<number> {
  return new Promise((done) => {
    const onPacket = (packet: { readonly cmd: string; readonly granted?: readonly unknown[] }): void => {
      if (packet.cmd !== 'suback') return;
      client.mqtt.off('packetreceive', onPacket);
      done(Number(packet.granted?.[0]));
    };
    client.mqtt.on('packetreceive', onPacket);
    client.mqtt.subscribe(topicFilter, { qos: 1 }, () => {});
  });
}

async function eventually(met: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (await met()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail('not within a minute');
}

test('$SYS of every node is heard on any node', async () => {
  const client = await TestClient.connect(cluster.node('core1'));
  await client.subscribe('$SYS/#');
  await client.until('uptime and clients of every node', (all) =>
    cluster.nodes.every((n) => {
      const of = (rest: string): boolean => all.some((r) => r.topic === `$SYS/brokers/${n.name}/${rest}`);
      return of('uptime') && of('version') && of('stats/connections/count') && of('metrics/packets/received');
    }),
  );
  const other = await TestClient.connect(cluster.node('core3'), { clientId: 'seen-by-all' });
  await other.close();
  const at = `$SYS/brokers/${cluster.node('core3').name}/clients/seen-by-all`;
  await client.until('the other client comes and goes', (all) =>
    ['connected', 'disconnected'].every((e) => all.some((r) => r.topic === `${at}/${e}`)),
  );
  await client.close();
});

test('behind a mountpoint of one node, and seen from another', async () => {
  const inside = await TestClient.connect(cluster.node('replicant1'), { clientId: 'dev' });
  const outside = await TestClient.connect(cluster.node('core2'));
  await inside.subscribe('in/+', 1);
  await outside.subscribe('tenant/#', 1);
  await outside.publish('tenant/dev/in/1', 'down', { qos: 1 });
  await inside.publish('out', 'up', { qos: 1 });
  await inside.until('its message', (all) => all.some((r) => r.topic === 'in/1' && r.payload === 'down'));
  await outside.until('both messages', (all) => all.some((r) => r.topic === 'tenant/dev/out') && all.some((r) => r.topic === 'tenant/dev/in/1'));
  await Promise.all([inside.close(), outside.close()]);
});

test('ctl sees and deletes delayed messages and exclusive subscriptions on any node', async () => {
  const holder = await TestClient.connect(cluster.node('core2'), { clientId: 'holds' });
  const other = await TestClient.connect(cluster.node('core1'));
  assert.equal(await grant(holder, '$exclusive/one/+'), 1);
  assert.equal(await grant(other, '$exclusive/one/+'), 0x97);
  const replicant = cluster.node('replicant1');
  assert.match((await replicant.ctl('exclusive', 'list')).text, /^one\/\+ -> holds$/m);
  assert.equal((await replicant.ctl('exclusive', 'delete', 'one/+')).text, 'ok');
  assert.equal(await grant(other, '$exclusive/one/+'), 1);
  await other.publish('$delayed/3000/one/x', 'secret', { qos: 1 });
  const ask = async (...words: string[]) => (await replicant.ctl('delayed', ...words)).data;
  let listed: readonly { readonly msgid: string; readonly topic: string }[] = [];
  await eventually(async () => {
    listed = (await ask('list')) as typeof listed;
    return listed.length === 1;
  });
  const [{ msgid } = { msgid: '' }] = listed;
  const { payload, topic, from_clientid } = (await ask('show', msgid)) as Record<string, unknown>;
  assert.deepEqual([topic, payload, from_clientid], ['one/x', Buffer.from('secret').toString('base64'), other.mqtt.options.clientId]);
  assert.equal((await replicant.ctl('delayed', 'delete', msgid)).text, 'ok');
  assert.match((await replicant.ctl('delayed', 'info')).text, /^Number of delayed messages: 0 /);
  assert.deepEqual(await replicant.ctl('authz', 'cache-clean', 'all'), {
    ok: true,
    text: 'the cached verdicts are forgotten',
    data: { cleaned: 'all' },
  });
  await Promise.all([holder.close(), other.close()]);
});

test('an exclusive subscription and delayed messages outlive the node that they came to', async () => {
  const dying = cluster.node('core3');
  const holder = await TestClient.connect(dying);
  const other = await TestClient.connect(cluster.node('core1'));
  const witness = await TestClient.connect(cluster.node('core2'));
  await witness.subscribe('later/#', 1);
  assert.equal(await grant(holder, '$exclusive/only'), 1);
  assert.equal(await grant(other, '$exclusive/only'), 0x97);
  for (let i = 0; i < 20; i++) await holder.publish(`$delayed/${2 + (i % 5)}/later/${i}`, `${i}`, { qos: 1 });
  await dying.kill();
  await eventually(async () => (await grant(other, '$exclusive/only')) === 1);
  await witness.until('all delayed messages', (all) => new Set(all.map((r) => r.topic)).size === 20);
  await other.publish('later/end', 'end', { qos: 1 });
  await witness.until('the last one', (all) => all.some((r) => r.topic === 'later/end'));
  assert.ok(witness.received.length <= 2 * 20 + 1, 'each once, or twice if it was published by the node that died');
  await Promise.all([other.close(), witness.close()]);
});
