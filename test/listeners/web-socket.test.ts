// The upgrade, and what a WebSocket client may and may not send. [MQTT-6.0.0-1] to [MQTT-6.0.0-4]
import assert from 'node:assert/strict';
import { get, type IncomingMessage } from 'node:http';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import type { Listener } from '#listener/listener.js';
import { encode } from '#mqtt/encoder.js';
import { connackBytes, connectBytes, ended, Harness, portOf, webSocketDefaults } from './harness.js';

let harness: Harness;
let listener: Listener;

before(async () => {
  harness = new Harness();
  listener = await harness.listen('ws');
});
after(() => harness.close());

interface Options {
  readonly at?: Listener;
  readonly path?: string;
  readonly protocols?: string[];
  readonly origin?: string;
  readonly perMessageDeflate?: boolean;
}

function socketOf({ at = listener, path = '/mqtt', protocols = ['mqtt'], ...rest }: Options = {}): WebSocket {
  return new WebSocket(`ws://127.0.0.1:${portOf(at)}${path}`, protocols, rest);
}

async function open(options: Options = {}): Promise<WebSocket> {
  const socket = socketOf(options);
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  return socket;
}

/** The status of a refused upgrade. */
function refusal(options: Options): Promise<number | undefined> {
  const socket = socketOf(options);
  return new Promise((resolve, reject) => {
    socket.once('unexpected-response', (request, response: IncomingMessage) => {
      response.resume();
      request.destroy();
      resolve(response.statusCode);
    });
    socket.once('open', () => reject(new Error('it was accepted')));
    socket.on('error', () => {});
  });
}

function closeOf(socket: WebSocket): Promise<number> {
  return new Promise((resolve) => {
    socket.on('error', () => {});
    socket.once('close', (code) => resolve(code));
  });
}

/** Bytes of binary messages until there are `count`. */
function received(socket: WebSocket, count: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  return new Promise((resolve, reject) => {
    socket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary) reject(new Error('the server sent text'));
      chunks.push(data);
      length += data.length;
      if (length >= count) resolve(Buffer.concat(chunks));
    });
    socket.once('close', (code) => reject(new Error(`closed with ${code}`)));
  });
}

test('the sub-protocol is mqtt, and must be offered [MQTT-6.0.0-3] [MQTT-6.0.0-4]', async () => {
  const several = await open({ protocols: ['other', 'mqttv3.1', 'mqtt'] });
  assert.equal(several.protocol, 'mqtt');
  const old = await open({ protocols: ['mqttv3.1'] });
  assert.equal(old.protocol, 'mqttv3.1');
  assert.equal(await refusal({ protocols: [] }), 400);
  assert.equal(await refusal({ protocols: ['MQTT', 'other'] }), 400);
  several.terminate();
  old.terminate();
  const lax = await harness.listen('ws', { webSocket: { ...webSocketDefaults, failIfNoSubprotocol: false } });
  const without = await open({ at: lax, protocols: [] });
  assert.equal(without.protocol, '');
  without.terminate();
});

test('other paths, plain requests and foreign origins are refused', async () => {
  assert.equal(await refusal({ path: '/' }), 404);
  assert.equal(await refusal({ path: '/mqtt/x' }), 404);
  (await open({ path: '/mqtt?token=1' })).terminate();
  const status = (path: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port: portOf(listener), path, agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode);
      }).on('error', reject);
    });
  assert.equal(await status('/mqtt'), 426);
  assert.equal(await status('/'), 404);
  const own = await harness.listen('ws', { webSocket: { ...webSocketDefaults, origins: ['https://a.example'] } });
  assert.equal(await refusal({ at: own, origin: 'https://b.example' }), 403);
  (await open({ at: own, origin: 'https://a.example' })).terminate();
  (await open({ at: own })).terminate();
});

test('packets need not be aligned with messages or frames [MQTT-6.0.0-2]', async () => {
  const socket = await open();
  const ping = encode({ type: 'pingreq' }, 4);
  const bytes = Buffer.concat([connectBytes('split'), ping, ping, ping]);
  const got = received(socket, 4 + 3 * 2);
  for (const byte of bytes.subarray(0, 20)) socket.send(Buffer.of(byte));
  // One message in three frames, the second one empty; then the rest in one.
  socket.send(bytes.subarray(20, 22), { fin: false });
  socket.send(Buffer.alloc(0), { fin: false });
  socket.send(bytes.subarray(22, 25), { fin: true });
  socket.send(bytes.subarray(25));
  assert.deepEqual(await got, Buffer.concat([connackBytes, ...Array.from({ length: 3 }, () => Buffer.from([0xd0, 0]))]));
  socket.terminate();
});

test('what one turn has for a client is one message', async () => {
  const socket = await open();
  const sizes: number[] = [];
  socket.on('message', (data: Buffer) => void sizes.push(data.length));
  const got = received(socket, 4 + 100 * 2);
  const ping = encode({ type: 'pingreq' }, 4);
  socket.send(Buffer.concat([connectBytes('turn'), ...Array.from({ length: 100 }, () => ping)]));
  await got;
  assert.ok(sizes.length <= 3, `${sizes.length} messages`);
  socket.terminate();
});

test('text closes the connection [MQTT-6.0.0-1]', async () => {
  const socket = await open();
  const got = received(socket, 4);
  socket.send(connectBytes('text'));
  await got;
  assert.equal(harness.broker.client('text')?.connected, true);
  const code = closeOf(socket);
  socket.send('text');
  assert.equal(await code, 1003);
  const fresh = await open();
  const early = closeOf(fresh);
  fresh.send('\x10');
  assert.equal(await early, 1003);
});

test('a message above the bound closes the connection', async () => {
  const small = await harness.listen('ws', { webSocket: { ...webSocketDefaults, messageBytesMax: 1000 } });
  const whole = await open({ at: small });
  const code = closeOf(whole);
  whole.send(Buffer.alloc(1001));
  assert.equal(await code, 1009);
  const parts = await open({ at: small });
  const other = closeOf(parts);
  for (let i = 0; i < 3; i++) parts.send(Buffer.concat([connectBytes('x'), Buffer.alloc(400)]), { fin: false });
  assert.equal(await other, 1009);
});

test('WebSocket pings are answered, and a client that goes is gone', async () => {
  const socket = await open();
  const got = received(socket, 4);
  socket.send(connectBytes('pinging'));
  await got;
  const pong = new Promise<Buffer>((resolve) => void socket.once('pong', resolve));
  socket.ping('hello');
  assert.equal((await pong).toString(), 'hello');
  const code = closeOf(socket);
  socket.close();
  assert.equal(await code, 1005);
});

test('DISCONNECT closes the WebSocket in order', async () => {
  const socket = await open();
  const got = received(socket, 4);
  socket.send(connectBytes('leaving'));
  await got;
  const code = closeOf(socket);
  socket.send(encode({ type: 'disconnect', reasonCode: 0 }, 4));
  assert.equal(await code, 1005);
});

test('compression is off unless it is configured, and then works both ways', async () => {
  const plain = await open({ perMessageDeflate: true });
  assert.equal(plain.extensions, '');
  plain.terminate();
  const at = await harness.listen('ws', { webSocket: { ...webSocketDefaults, compress: true } });
  const packed = await open({ at, perMessageDeflate: true });
  assert.match(packed.extensions, /permessage-deflate/);
  const payload = new Uint8Array(200_000).fill(0x61);
  const publish = encode({ type: 'publish', topicName: 'packed', payload, qos: 0, retain: false, dup: false, packetId: 0 }, 4);
  const subscription = { topicFilter: 'packed', qos: 0 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const };
  const count = 10;
  const got = received(packed, 4 + 5 + count * publish.length);
  packed.send(connectBytes('packed'));
  packed.send(encode({ type: 'subscribe', packetId: 1, subscriptions: [subscription] }, 4));
  for (let i = 0; i < count; i++) packed.send(publish);
  const bytes = await got;
  assert.equal(bytes.length, 4 + 5 + count * publish.length);
  assert.ok(bytes.subarray(-publish.length).equals(publish));
  const bomb = closeOf(packed);
  packed.send(Buffer.alloc(4 * 1024 * 1024));
  assert.equal(await bomb, 1009);
});

test('an upgrade that does not come in time, or is no HTTP, is given up and counted', async () => {
  const at = await harness.listen('ws', { id: 'ws:slow', handshakeTimeoutMs: 50 });
  const failed = (reason: string): number => harness.metric('starmesh_failed_handshakes', { listener: 'ws:slow', reason });
  const slow = harness.raw(at);
  slow.write('GET /mqtt HTTP/1.1\r\nHost: x\r\n');
  await ended(slow);
  assert.equal(failed('timeout'), 1);
  const silent = harness.raw(at);
  await ended(silent);
  assert.equal(failed('timeout'), 2);
  const wrong = harness.raw(at);
  wrong.write(connectBytes('x'));
  await ended(wrong);
  assert.equal(failed('websocket'), 1);
  const headers = harness.raw(at);
  headers.write(`GET /mqtt HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`);
  await ended(headers);
  assert.equal(failed('websocket'), 2);
});
