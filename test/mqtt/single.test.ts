// One broker over real sockets, with MQTT.js as the client.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as tcpConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import { createBroker } from '#broker/broker.js';
import { localPorts } from '#broker/local-ports.js';
import { type Listener, startListener } from '#listener/listener.js';
import { createOsEnv, type OsEnv } from '#os/env.js';

let env: OsEnv;
let listener: Listener;
let url: string;
let port: number;
const dataDir = mkdtempSync(join(tmpdir(), 'starmesh-mqtt-'));
const clients = new Set<MqttClient>();

before(async () => {
  env = createOsEnv({ dataDir, logger: { targets: [{ level: 'error' }] } });
  const broker = createBroker(env, {}, localPorts());
  listener = await new Promise((resolve, reject) => {
    const made = startListener(env, broker, { host: '127.0.0.1', port: 0 }, (error) => (error === undefined ? resolve(made) : reject(error)));
  });
  port = listener.address?.port ?? 0;
  url = `mqtt://127.0.0.1:${port}`;
});

after(async () => {
  for (const client of clients) client.end(true);
  listener.closeAll();
  await new Promise<void>((resolve) => listener.stop(resolve));
  await new Promise<void>((resolve) => env.close(resolve));
  rmSync(dataDir, { recursive: true, force: true });
});

async function connect(options: IClientOptions = {}): Promise<MqttClient> {
  const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5, ...options });
  clients.add(client);
  return client;
}

/** The next `count` messages of the client. */
function messages(client: MqttClient, count: number): Promise<IPublishPacket[]> {
  const got: IPublishPacket[] = [];
  return new Promise((resolve) => {
    const onMessage = (_topic: string, _payload: Buffer, packet: IPublishPacket): void => {
      got.push(packet);
      if (got.length < count) return;
      client.off('message', onMessage);
      resolve(got);
    };
    client.on('message', onMessage);
  });
}

function closed(client: MqttClient): Promise<void> {
  return new Promise((resolve) => client.once('close', () => resolve()));
}

test('QoS 0, 1 and 2 in 3.1, 3.1.1 and 5.0', async () => {
  for (const protocolVersion of [3, 4, 5] as const) {
    const version: IClientOptions = protocolVersion === 3 ? { protocolVersion: 3, protocolId: 'MQIsdp' } : { protocolVersion };
    const client = await connect({ ...version, clientId: `v${protocolVersion}` });
    const granted = await client.subscribeAsync(`v${protocolVersion}/+`, { qos: 2 });
    assert.equal(granted[0]?.qos, 2);
    const got = messages(client, 3);
    for (const qos of [0, 1, 2] as const) await client.publishAsync(`v${protocolVersion}/x`, `q${qos}`, { qos });
    assert.deepEqual(
      (await got).map((p) => `${p.payload} ${p.qos}`),
      ['q0 0', 'q1 1', 'q2 2'],
    );
    await client.endAsync();
  }
});

// [MQTT-4.2.0-1]
test('large payloads in both directions, many messages in order', async () => {
  const client = await connect();
  await client.subscribeAsync(['big', 'many'], { qos: 1 });
  const big = Buffer.alloc(1_000_000, 'b');
  const one = messages(client, 1);
  await client.publishAsync('big', big, { qos: 1 });
  assert.ok(Buffer.from((await one)[0]?.payload ?? '').equals(big));
  const count = 1800; // half of them QoS 1, fewer than a queue holds
  const all = messages(client, count);
  for (let i = 0; i < count; i++) client.publish('many', `${i}`, { qos: (i % 2) as 0 | 1 });
  const numbers = (await all).map((p) => ({ n: Number(String(p.payload)), qos: p.qos }));
  for (const qos of [0, 1]) {
    const own = numbers.filter((m) => m.qos === qos).map((m) => m.n);
    assert.deepEqual(
      own,
      [...own].sort((a, b) => a - b),
    ); // [MQTT-4.6.0-5]
    assert.equal(own.length, count / 2);
  }
  await client.endAsync();
});

test('fan-out to many clients', async () => {
  const subscribers = await Promise.all(Array.from({ length: 50 }, () => connect({ protocolVersion: 4 })));
  await Promise.all(subscribers.map((c, i) => c.subscribeAsync(i % 2 === 0 ? 'fan/out' : 'fan/#', { qos: (i % 3) as 0 | 1 | 2 })));
  const all = subscribers.map((c) => messages(c, 20));
  const publisher = await connect();
  for (let i = 0; i < 20; i++) await publisher.publishAsync('fan/out', `${i}`, { qos: 2 });
  for (const got of await Promise.all(all)) {
    assert.deepEqual(
      got.map((p) => String(p.payload)),
      Array.from({ length: 20 }, (_, i) => `${i}`),
    );
  }
  await Promise.all([...subscribers, publisher].map((c) => c.endAsync()));
});

test('retained messages and wills', async () => {
  const publisher = await connect();
  await publisher.publishAsync('keep/1', 'kept', { qos: 1, retain: true });
  const subscriber = await connect();
  const retained = messages(subscriber, 1);
  await subscriber.subscribeAsync('keep/#', { qos: 1 });
  const [first] = await retained;
  assert.ok(first?.retain === true && String(first.payload) === 'kept');
  await subscriber.subscribeAsync('will/#', { qos: 1 });
  const gone = messages(subscriber, 1);
  const mortal = await connect({ will: { topic: 'will/x', payload: Buffer.from('gone'), qos: 1, retain: false } });
  mortal.stream.destroy();
  assert.equal(String((await gone)[0]?.payload), 'gone');
  await publisher.publishAsync('keep/1', '', { qos: 1, retain: true });
  await Promise.all([publisher.endAsync(), subscriber.endAsync()]);
});

test('a session is continued, and what came meanwhile is delivered', async () => {
  const options: IClientOptions = { clientId: 'durable', clean: false, properties: { sessionExpiryInterval: 60 } };
  const first = await connect(options);
  await first.subscribeAsync('queue/#', { qos: 2 });
  await first.endAsync();
  const publisher = await connect();
  for (let i = 0; i < 100; i++) await publisher.publishAsync('queue/x', `${i}`, { qos: (1 + (i % 2)) as 1 | 2 });
  const again = mqtt.connect(url, { ...options, protocolVersion: 5, reconnectPeriod: 0 });
  clients.add(again);
  const got = messages(again, 100);
  const connack = await new Promise<{ sessionPresent: boolean }>((resolve) => again.once('connect', resolve));
  assert.equal(connack.sessionPresent, true);
  const all = await got;
  for (const qos of [1, 2]) {
    // Order is per QoS.
    assert.deepEqual(
      all.filter((p) => p.qos === qos).map((p) => String(p.payload)),
      Array.from({ length: 50 }, (_, i) => `${2 * i + qos - 1}`),
    );
  }
  await Promise.all([again.endAsync(), publisher.endAsync()]);
});

test('the second connection of a client id displaces the first', async () => {
  const first = await connect({ clientId: 'same' });
  const reason = new Promise<number | undefined>((resolve) => first.once('disconnect', (packet) => resolve(packet.reasonCode)));
  const gone = closed(first);
  const second = await connect({ clientId: 'same' });
  assert.equal(await reason, 0x8e);
  await gone;
  assert.ok(second.connected);
  await second.endAsync();
});

test('garbage on the socket closes it, and only it', async () => {
  const client = await connect();
  await client.subscribeAsync('still/here');
  for (const bytes of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(100_000, 0xff), Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f])]) {
    await new Promise<void>((resolve) => {
      const socket = tcpConnect(port, '127.0.0.1', () => socket.write(bytes));
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      socket.resume();
    });
  }
  const got = messages(client, 1);
  await client.publishAsync('still/here', 'yes');
  assert.equal(String((await got)[0]?.payload), 'yes');
  await client.endAsync();
});

test('the listener stops and starts again without touching its clients', async () => {
  const client = await connect();
  await new Promise<void>((resolve) => listener.stop(resolve));
  assert.equal(listener.running, false);
  await assert.rejects(mqtt.connectAsync(url, { reconnectPeriod: 0, connectTimeout: 500 }));
  await client.publishAsync('x', 'y', { qos: 1 });
  await new Promise<void>((resolve, reject) => listener.start((error) => (error === undefined ? resolve() : reject(error))));
  port = listener.address?.port ?? 0;
  url = `mqtt://127.0.0.1:${port}`;
  const other = await connect();
  await Promise.all([client.endAsync(), other.endAsync()]);
});
