// A node's listeners while it runs: from a configuration file, by `ctl listeners`, and what is said when
// one cannot start.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { loadConfig } from '#node/config/load.js';
import { ask } from '#node/ctl/client.js';
import { type RunningNode, startNode } from '#node/start-node.js';
import { freePorts } from '../cluster/nodes.js';
import { makeCertificate, writeCertificate } from './certificates.js';
import { Harness, messages } from './harness.js';

let harness: Harness;
let node: RunningNode;
/** Of the WebSocket listener: others take it while it is stopped. */
let port = 0;

interface ListenerRow {
  readonly id: string;
  readonly bind: string;
  readonly running: boolean;
  readonly current_connections: number;
  readonly max_connections: number | 'infinity';
  readonly cert_expiry_at: string | null;
}

function configuration(text: string): ReturnType<typeof loadConfig>['config'] {
  return loadConfig({ file: 'test.conf', text, readText: () => undefined, environment: {} }).config;
}

function common(dir: string): string {
  return `
    node { name = "core1@127.0.0.1", data_dir = "${dir}" }
    dashboard.listeners.http.enable = false
    log.console.enable = false
  `;
}

before(async () => {
  harness = new Harness();
  [port = 0] = await freePorts(1);
  const { certfile, keyfile } = writeCertificate(harness.dir, 'node', makeCertificate({ name: [['CN', 'node']], by: harness.authority }));
  const ssl = `ssl_options { certfile = "${certfile}", keyfile = "${keyfile}", cacertfile = "${harness.cacertfile}", verify = verify_peer }`;
  const text = `
    ${common(join(harness.dir, 'node'))}
    mqtt.peer_cert_as_username = cn
    listeners.tcp.default { bind = "127.0.0.1:0", max_connections = 7 }
    listeners.ssl.default { bind = "127.0.0.1:0", ${ssl} }
    listeners.ws.default { bind = "127.0.0.1:${port}", websocket.mqtt_path = "/other" }
    listeners.wss.default { bind = "127.0.0.1:0", ${ssl} }
  `;
  node = await startNode(configuration(text));
  await node.serving;
});
after(async () => {
  await node.stop();
  await harness.close();
});

function ctl(...words: string[]): ReturnType<typeof ask> {
  return ask(join(harness.dir, 'node', 'ctl.sock'), ['listeners', ...words], 10_000);
}

async function row(id: string): Promise<ListenerRow> {
  const rows = (await ctl()).data as readonly ListenerRow[];
  const found = rows.find((r) => r.id === id);
  assert.ok(found !== undefined, id);
  return found;
}

async function connect(id: string, scheme: string, options: IClientOptions = {}, path: string = ''): Promise<MqttClient> {
  const { bind } = await row(id);
  return mqtt.connectAsync(`${scheme}://${bind}${path}`, { reconnectPeriod: 0, ca: harness.authority.cert, ...options }, false);
}

test('all kinds from one file', async () => {
  const { cert, key } = makeCertificate({ name: [['CN', 'by certificate']], by: harness.authority });
  const clients = [
    await connect('tcp:default', 'mqtt', { clientId: 'tcp' }),
    await connect('ssl:default', 'mqtts', { clientId: 'ssl', cert, key }),
    await connect('ws:default', 'ws', { clientId: 'ws' }, '/other'),
    await connect('wss:default', 'wss', { clientId: 'wss', cert, key }, '/mqtt'),
  ];
  const { text } = await ask(join(harness.dir, 'node', 'ctl.sock'), ['clients', 'show', 'ssl'], 10_000);
  assert.match(text, /username=by certificate/);
  for (const id of ['tcp:default', 'ssl:default', 'ws:default', 'wss:default']) assert.equal((await row(id)).current_connections, 1, id);
  assert.equal((await row('tcp:default')).max_connections, 7);
  assert.equal((await row('ws:default')).max_connections, 'infinity');
  assert.equal((await row('ws:default')).cert_expiry_at, null);
  assert.match((await row('wss:default')).cert_expiry_at ?? '', /^20\d\d-/);
  for (const client of clients) await client.endAsync();
});

test('stop, start, restart and reload one while the others and its clients go on', async () => {
  const staying = await connect('tcp:default', 'mqtt', { clientId: 'staying' });
  const other = await connect('ws:default', 'ws', { clientId: 'other' }, '/other');
  assert.deepEqual((await ctl('stop', 'tcp:default')).text, 'tcp:default stopped; 1 connection stays');
  assert.equal((await row('tcp:default')).running, false);
  assert.equal((await row('ws:default')).running, true);
  const got = messages(staying, 1);
  await staying.subscribeAsync('t', { qos: 1 });
  await other.publishAsync('t', 'x', { qos: 1 });
  assert.equal((await got)[0]?.topic, 't');
  assert.deepEqual((await ctl('start', 'tcp:default')).text, 'tcp:default started');
  assert.deepEqual((await ctl('start', 'tcp:default')).text, 'tcp:default runs already');
  assert.deepEqual((await ctl('restart', 'tcp:default')).text, 'tcp:default restarted; 1 connection stays');
  const fresh = await connect('tcp:default', 'mqtt', { clientId: 'fresh' });
  assert.match((await ctl('reload', 'ssl:default')).text, /has read its certificates again/);
  const plain = await ctl('reload', 'tcp:default');
  assert.deepEqual([plain.ok, plain.text], [false, 'tcp:default has no certificates to read again']);
  assert.equal((await ctl('stop', 'quic:default')).ok, false);
  assert.equal(staying.connected && other.connected && fresh.connected, true);
  for (const client of [staying, other, fresh]) await client.endAsync();
});

test('a port that somebody has taken meanwhile, and certificates that are gone, are said in a sentence', async () => {
  assert.equal((await ctl('stop', 'ws:default')).ok, true);
  const thief = createServer();
  thief.listen(port, '127.0.0.1');
  await once(thief, 'listening');
  const taken = await ctl('start', 'ws:default');
  assert.equal(taken.ok, false);
  assert.match(taken.text, /^ws:default cannot listen on 127\.0\.0\.1:\d+: another program uses this port/);
  assert.equal((await row('ws:default')).running, false);
  thief.close();
  await once(thief, 'close');
  assert.equal((await ctl('start', 'ws:default')).ok, true);
  rmSync(join(harness.dir, 'node.pem'));
  const kept = await ctl('reload', 'ssl:default');
  assert.deepEqual([kept.ok, /^ssl:default keeps its old certificates: the certificate file \S+ does not exist$/.test(kept.text)], [false, true]);
  assert.equal((await row('ssl:default')).running, true);
  const gone = await ctl('restart', 'ssl:default');
  assert.match(gone.text, /^ssl:default cannot listen on 127\.0\.0\.1:0: the certificate file \S+ does not exist$/);
  writeCertificate(harness.dir, 'node', makeCertificate({ name: [['CN', 'other']], by: harness.authority }));
  assert.equal((await ctl('start', 'ssl:default')).ok, true);
});

test('a node does not start with a listener that cannot', async () => {
  const dir = join(harness.dir, 'refused');
  const taken = createServer();
  taken.listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const address = taken.address();
  assert.ok(typeof address === 'object' && address !== null);
  const refused = (text: string, message: RegExp): Promise<void> => assert.rejects(startNode(configuration(`${common(dir)}\n${text}`)), { message });
  const free = 'listeners.tcp.default.enable = false';
  await refused(
    `${free}\nlisteners.ws.a.bind = "127.0.0.1:${address.port}"`,
    /^listeners\.ws\.a cannot listen on 127\.0\.0\.1:\d+: another program uses this port; stop it or choose another port$/,
  );
  taken.close();
  await refused(
    `${free}\nlisteners.ssl.a { bind = "127.0.0.1:0", ssl_options { certfile = "/none/c.pem", keyfile = "/none/k.pem" } }`,
    /^listeners\.ssl\.a cannot listen on 127\.0\.0\.1:0: the certificate file \/none\/c\.pem does not exist$/,
  );
});
