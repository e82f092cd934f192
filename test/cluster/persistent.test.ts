// Persistent sessions across `kill -9` of the node that holds them: what was acknowledged is there when the
// process is back, half-finished deliveries go on where they were, and nobody gets a session that is not whole.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { openSync, readdirSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { IClientOptions } from 'mqtt';
import { TestClient } from './clients.js';
import { TestCluster, type TestNode, within } from './nodes.js';
import { PacketClient } from './packet-client.js';
import { run } from './programs.js';

let cluster: TestCluster;
let holder: TestNode;
let other: TestNode;

before(async () => {
  cluster = await TestCluster.start({ cores: 1, replicants: 1, settings: 'cluster.node_down_after = 3s' });
  holder = cluster.node('replicant1');
  other = cluster.node('core1');
});
after(() => cluster?.close());

function lasting(clientId: string, protocolVersion: 4 | 5 = 5): IClientOptions {
  return { clientId, clean: false, protocolVersion, ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 3600 } } : {}) };
}

async function restart(node: TestNode): Promise<void> {
  await node.kill();
  node.start();
  await node.serving();
}

for (const protocolVersion of [4, 5] as const) {
  test(`messages that wait survive kill -9, in order, each once: protocol version ${protocolVersion}`, async () => {
    const subscriber = await TestClient.connect(holder, lasting(`waits ${protocolVersion}`, protocolVersion));
    assert.equal(subscriber.sessionPresent, false);
    for (const qos of [1, 2] as const) await subscriber.subscribe(`waits/${protocolVersion}/${qos}`, qos);
    await subscriber.drop();
    const publisher = await TestClient.connect(other);
    const wanted: string[][] = [[], [], []];
    for (let i = 0; i < 60; i++) {
      const qos = i % 2 === 0 ? 1 : 2;
      await publisher.publish(`waits/${protocolVersion}/${qos}`, `${i}`, { qos });
      wanted[qos]?.push(`${i}`);
    }
    await publisher.close();
    await restart(holder);
    const again = await TestClient.connect(holder, lasting(`waits ${protocolVersion}`, protocolVersion));
    assert.equal(again.sessionPresent, true);
    await again.until('everything that waited', (all) => all.length >= wanted.flat().length);
    // The subscription is there too.
    const late = await TestClient.connect(holder);
    await late.publish(`waits/${protocolVersion}/1`, 'after', { qos: 1 });
    await again.until('a message of after the restart', (all) => all.at(-1)?.payload === 'after');
    wanted[1]?.push('after');
    // A client shows a QoS 2 message with its PUBREL, so that only those of one QoS can be compared.
    for (const qos of [1, 2])
      assert.deepEqual(
        again.received.filter((m) => m.qos === qos).map((m) => m.payload),
        wanted[qos],
      );
    await Promise.all([again.close(), late.close()]);
  });
}

test('kill -9 in the middle of a flow costs no message that was acknowledged', async () => {
  const subscriber = await TestClient.connect(holder, lasting('flow'));
  await subscriber.subscribe('flow', 1);
  await subscriber.drop();
  const publisher = await TestClient.connect(holder);
  const acknowledged: string[] = [];
  let open = true;
  const lanes = [0, 1, 2, 3].map(async (lane) => {
    for (let n = 0; open; n++) {
      try {
        await publisher.mqtt.publishAsync('flow', `${lane}/${n}`, { qos: 1 });
      } catch {
        return;
      }
      if (open) acknowledged.push(`${lane}/${n}`);
    }
  });
  await within(
    60_000,
    'a flow of messages',
    new Promise<void>((done) => {
      const look = (): void => (acknowledged.length >= 300 ? done() : void setImmediate(look));
      look();
    }),
  );
  await holder.kill();
  open = false;
  await publisher.drop();
  await Promise.race([Promise.all(lanes), publisher.end()]);
  holder.start();
  await holder.serving();
  const again = await TestClient.connect(holder, lasting('flow'));
  assert.equal(again.sessionPresent, true);
  await again.until('the last acknowledged messages', (all) => acknowledged.every((payload) => all.some((m) => m.payload === payload)));
  await again.close();
});

test('QoS 2 goes on where it was, in both directions', async () => {
  const receiver = new PacketClient(holder);
  assert.equal(await receiver.connect('half receiver'), false);
  receiver.send({
    type: 'subscribe',
    packetId: 1,
    subscriptions: [{ topicFilter: 'half', qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
  });
  await receiver.next('suback');
  const sender = new PacketClient(holder);
  assert.equal(await sender.connect('half sender'), false);
  const publish = (payload: string, packetId: number, dup: boolean): void =>
    sender.send({ type: 'publish', topicName: 'half', payload: Buffer.from(payload), qos: 2, retain: false, dup, packetId });
  publish('one', 7, false);
  await sender.next('pubrec');
  const one = await receiver.next('publish');
  receiver.send({ type: 'pubrec', packetId: one.packetId, reasonCode: 0 });
  await receiver.next('pubrel');
  publish('two', 8, false);
  await sender.next('pubrec');
  const two = await receiver.next('publish');
  sender.drop();
  receiver.drop();

  await restart(holder);
  const back = new PacketClient(holder);
  assert.equal(await back.connect('half receiver'), true);
  // The first is the client's already: only PUBREL is repeated. The second may have been lost on the way.
  assert.equal((await back.next('pubrel')).packetId, one.packetId);
  const repeated = await back.next('publish');
  assert.deepEqual([repeated.packetId, repeated.dup, Buffer.from(repeated.payload).toString()], [two.packetId, true, 'two']);
  back.send({ type: 'pubcomp', packetId: one.packetId, reasonCode: 0 });
  back.send({ type: 'pubrec', packetId: two.packetId, reasonCode: 0 });
  await back.next('pubrel');
  back.send({ type: 'pubcomp', packetId: two.packetId, reasonCode: 0 });

  const senderBack = new PacketClient(holder);
  assert.equal(await senderBack.connect('half sender'), true);
  for (const [payload, packetId] of [
    ['one', 7],
    ['two', 8],
  ] as const) {
    senderBack.send({ type: 'publish', topicName: 'half', payload: Buffer.from(payload), qos: 2, retain: false, dup: true, packetId });
    assert.equal((await senderBack.next('pubrec')).packetId, packetId);
    senderBack.send({ type: 'pubrel', packetId, reasonCode: 0 });
    const pubcomp = await senderBack.next('pubcomp');
    assert.deepEqual([pubcomp.packetId, pubcomp.reasonCode], [packetId, 0]);
  }
  // Nothing was delivered once more.
  await back.quiet();

  // The identifiers are free again, also after the next restart.
  back.drop();
  senderBack.drop();
  await restart(holder);
  const third = new PacketClient(holder);
  assert.equal(await third.connect('half sender'), true);
  third.send({ type: 'publish', topicName: 'half', payload: Buffer.from('three'), qos: 2, retain: false, dup: false, packetId: 7 });
  await third.next('pubrec');
  const last = new PacketClient(holder);
  assert.equal(await last.connect('half receiver'), true);
  assert.equal(Buffer.from((await last.next('publish')).payload).toString(), 'three');
  third.drop();
  last.drop();
});

test('a client that has connected elsewhere meanwhile gets nothing of the old session, and the old copy goes', async () => {
  const first = await TestClient.connect(holder, lasting('wanderer'));
  await first.subscribe('wander/#', 1);
  await first.drop();
  const publisher = await TestClient.connect(other);
  await publisher.publish('wander/old', 'old', { qos: 1 });
  await holder.kill();
  const elsewhere = await TestClient.connect(other, lasting('wanderer'));
  assert.equal(elsewhere.sessionPresent, false);
  await elsewhere.subscribe('wander/#', 1);
  await elsewhere.close();
  holder.start();
  await holder.serving();
  const back = await TestClient.connect(holder, lasting('wanderer'));
  assert.equal(back.sessionPresent, true, 'the session of the other node');
  await publisher.publish('wander/new', 'new', { qos: 1 });
  await back.until('the message of the new session', (all) => all.length > 0);
  assert.deepEqual(
    back.received.map((m) => m.payload),
    ['new'],
  );
  // One that ended there is no reason to have the old one either.
  await back.subscribe('wander/kept', 1);
  await back.drop();
  await holder.kill();
  const clean = await TestClient.connect(other, { clientId: 'wanderer', clean: true });
  await clean.close();
  holder.start();
  await holder.serving();
  const last = await TestClient.connect(holder, lasting('wanderer'));
  assert.equal(last.sessionPresent, false);
  await Promise.all([last.close(), publisher.close()]);
});

test('a session that has moved here is on this node’s disk when it is here', async () => {
  const first = await TestClient.connect(other, lasting('mover'));
  await first.subscribe('move/#', 1);
  await first.drop();
  const publisher = await TestClient.connect(other);
  for (let i = 0; i < 10; i++) await publisher.publish('move/a', `${i}`, { qos: 1 });
  const moved = new PacketClient(holder);
  // Nothing is acknowledged before the node dies.
  assert.equal(await moved.connect('mover'), true);
  await moved.next('publish');
  moved.drop();
  await restart(holder);
  const back = await TestClient.connect(holder, lasting('mover'));
  assert.equal(back.sessionPresent, true);
  await back.until('all of them', (all) => all.length >= 10);
  assert.deepEqual(
    back.received.map((m) => m.payload),
    Array.from({ length: 10 }, (_, i) => `${i}`),
  );
  await Promise.all([back.close(), publisher.close()]);
});

const hasMosquitto = spawnSync('mosquitto_pub', ['--help']).error === undefined;

test('mosquitto clients resume after kill -9', { skip: hasMosquitto ? false : 'mosquitto-clients is not installed' }, async () => {
  const at = ['-p', String(holder.mqttPort)];
  const subscribe = [...at, '-V', 'mqttv311', '-c', '-i', 'mosquitto keeps', '-q', '2', '-t', 'mosquitto/keeps/#'];
  assert.equal((await run('mosquitto_sub', [...subscribe, '-E'])).status, 0);
  for (let i = 0; i < 3; i++) assert.equal((await run('mosquitto_pub', [...at, '-q', '2', '-t', 'mosquitto/keeps/x', '-m', `${i}`])).status, 0);
  await restart(holder);
  const got = await run('mosquitto_sub', [...subscribe, '-C', '3']);
  assert.deepEqual(got.out.trim().split('\n'), ['0', '1', '2']);
});

test('a session whose state is damaged begins anew, and the node says so', async () => {
  const first = await TestClient.connect(holder, lasting('damaged'));
  await first.subscribe('damaged/#', 1);
  await first.drop();
  await holder.kill();
  const dir = join(holder.dataDir, 'sessions');
  const newest = readdirSync(dir)
    .map((name) => join(dir, name))
    .filter((path) => statSync(path).size > 200)
    .at(-1);
  assert.ok(newest !== undefined);
  const at = readFileSync(newest).lastIndexOf('damaged/#');
  assert.ok(at > 0, 'the subscription stands in the journal');
  writeSync(openSync(newest, 'r+'), 'X', at);
  holder.start();
  await holder.said('the journal of persistent sessions is damaged');
  await holder.serving();
  const again = await TestClient.connect(holder, lasting('damaged'));
  assert.equal(again.sessionPresent, false);
  await again.close();
});
