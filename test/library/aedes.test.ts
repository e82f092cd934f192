// Programs as people write them for Aedes, run against Aedes itself and against `starmesh/aedes`: what
// they see is the same.
import assert from 'node:assert/strict';
import { type EventEmitter, once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { Aedes as RealAedes } from 'aedes';
import mqtt, { type MqttClient } from 'mqtt';
import { Aedes, type AedesOptions } from '#node/aedes/aedes.js';

type Connect = (clientId: string, more?: object) => Promise<MqttClient>;
/** What it saw. */
type Program = (aedes: Aedes, connect: Connect, saw: (...what: unknown[]) => void) => Promise<void>;

/** What the next event of the name brings. */
function next(of: object, name: string): Promise<unknown[]> {
  return once(of as EventEmitter, name);
}

async function run(create: (options: AedesOptions) => Promise<Aedes>, program: Program): Promise<string[]> {
  const log: string[] = [];
  const aedes = await create({});
  const server = createServer(aedes.handle).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const clients: MqttClient[] = [];
  const connect: Connect = async (clientId, more) => {
    const client = await mqtt.connectAsync({ host: '127.0.0.1', port, clientId, reconnectPeriod: 0, ...more });
    client.on('error', () => {});
    clients.push(client);
    return client;
  };
  try {
    await program(aedes, connect, (...what) => void log.push(what.map(String).join(' ')));
  } finally {
    await Promise.all(clients.map((c) => c.endAsync(true)));
    await new Promise<void>((done) => aedes.close(done));
    await new Promise((done) => server.close(done));
  }
  return log;
}

async function same(program: Program, atLeast: number): Promise<void> {
  const theirs = await run((o) => RealAedes.createBroker(o as never) as Promise<unknown> as Promise<Aedes>, program);
  const ours = await run((o) => Aedes.createBroker(o), program);
  // What the broker tells and what clients see are one order each; which of them is first is nobody's promise.
  for (const told of [true, false]) {
    const part = (log: readonly string[]): string[] => log.filter((line) => line.startsWith('event ') === told);
    assert.deepEqual(part(ours), part(theirs));
  }
  assert.ok(ours.length >= atLeast, `the program saw something: ${ours.join('; ')}`);
}

/** One line per event, as far as clients caused it. */
function watch(aedes: Aedes, saw: (...what: unknown[]) => void): void {
  const event = (...what: unknown[]): void => saw('event', ...what);
  for (const name of ['client', 'clientReady', 'clientDisconnect'] as const) aedes.on(name, (c) => event(name, c.id, c.clean, c.version));
  aedes.on('subscribe', (subs, c) => event('subscribe', c.id, JSON.stringify(subs.map((s: { topic: string; qos: number }) => [s.topic, s.qos]))));
  aedes.on('unsubscribe', (filters, c) => event('unsubscribe', c.id, filters));
  aedes.on('publish', (p, c) => c && event('publish', c.id, p.topic, p.payload, p.qos, p.retain));
  aedes.on('ping', (_p, c) => event('ping', c.id));
  aedes.on('ack', (_p, c) => event('ack', c.id));
  aedes.on('clientError', (c, e) => event('clientError', c.id, e.message));
  aedes.on('connectionError', (c, e) => event('connectionError', c.id, e.message));
}

test('the events of a simple conversation', () =>
  same(async (aedes, connect, saw) => {
    watch(aedes, saw);
    const ready = next(aedes, 'clientReady');
    const a = await connect('a');
    await ready;
    saw('connected', aedes.connectedClients, Object.keys(aedes.clients));
    const subscribed = next(aedes, 'subscribe');
    const granted = await a.subscribeAsync(['x/#', 'y'], { qos: 1 });
    saw(
      'granted',
      granted.map((g) => g.qos),
    );
    await subscribed;
    const got = next(a, 'message');
    const acked = next(aedes, 'ack');
    const published = next(aedes, 'clientReady').then(() => undefined);
    const b = await connect('b');
    await published;
    await b.publishAsync('x/1', 'hello', { qos: 1 });
    saw('got', ...(await got).slice(0, 2));
    await acked;
    const pinged = next(aedes, 'ping');
    b.sendPing();
    await pinged;
    const unsubscribed = next(aedes, 'unsubscribe');
    await a.unsubscribeAsync('y');
    await unsubscribed;
    for (const c of [a, b]) {
      const gone = next(aedes, 'clientDisconnect');
      await c.endAsync();
      await gone;
    }
    saw('connected', aedes.connectedClients);
  }, 12));

test('authenticate lets in, refuses with a return code, and knows the client', () =>
  same(async (aedes, connect, saw) => {
    aedes.authenticate = (client, username, password, callback) => {
      saw('authenticate', client.id, username, password);
      if (username === 'fails') callback(Object.assign(new Error('no such user'), { returnCode: 4 }));
      else callback(null, String(password) === 'right');
    };
    await connect('in', { username: 'u', password: 'right' });
    for (const [id, username] of [
      ['out', 'u'],
      ['failed', 'fails'],
    ]) {
      const told = next(aedes, 'clientError');
      await connect(id ?? '', { username, password: 'wrong' }).catch((e: { code: number }) => saw('refused', id, e.code));
      const [client, error] = (await told) as [{ id: string }, Error];
      saw('clientError', client.id, error.message);
    }
  }, 7));

test('preConnect sees the packet and may close', () =>
  same(async (aedes, connect, saw) => {
    aedes.preConnect = (client, packet, callback) => {
      saw('preConnect', client.id, packet.clientId, packet.clean, packet.keepalive, packet.protocolVersion);
      callback(packet.clientId === 'no' ? new Error('not now') : null, packet.clientId !== 'no');
    };
    aedes.on('connectionError', (c, e) => saw('connectionError', c.id, e.message));
    await connect('yes', { keepalive: 7 });
    const told = next(aedes, 'connectionError');
    connect('no', { connectTimeout: 1000 }).catch(() => {});
    await told;
  }, 3));

test('authorizePublish changes and refuses, authorizeSubscribe lowers and refuses', () =>
  same(async (aedes, connect, saw) => {
    aedes.authorizePublish = (client, packet, callback) => {
      if (packet.topic === 'bad') return callback(new Error('not there'));
      if (packet.topic === 'change') packet.payload = Buffer.from(`${packet.payload} by ${client?.id}`);
      callback(null);
    };
    aedes.authorizeSubscribe = (_client, sub, callback) => callback(null, sub.topic === 'secret' ? null : sub);
    aedes.on('clientError', (c, e) => saw('clientError', c.id, e.message));
    const c = await connect('c');
    const suback = new Promise<unknown>((resolve) => c.on('packetreceive', (p) => p.cmd === 'suback' && resolve(p.granted)));
    c.subscribeAsync(['secret', 'change'], { qos: 1 }).catch(() => {});
    saw('granted', await suback);
    const got = next(c, 'message');
    await c.publishAsync('change', 'text', { qos: 1 });
    saw('got', ...(await got).slice(0, 2));
    const closed = next(c, 'close');
    const told = next(aedes, 'clientError');
    c.publish('bad', 'x', { qos: 0 });
    await Promise.all([closed, told]);
  }, 3));

test("the broker's own publishes and subscriptions, retained messages, wills", () =>
  same(async (aedes, connect, saw) => {
    const wills: unknown[] = [];
    aedes.authorizePublish = (client, packet, callback) => {
      if (packet.topic === 'will') wills.push(client?.id);
      callback(null);
    };
    let seen: () => void = () => {};
    const third = new Promise<void>((resolve) => {
      seen = resolve;
    });
    const deliver = (packet: { topic: string; payload: Buffer; clientId?: string }, callback: () => void): void => {
      saw('own', packet.topic, packet.payload, packet.clientId);
      callback();
      if (packet.topic === 'will') seen();
    };
    await new Promise<unknown>((done) => aedes.subscribe('o/+', deliver, done as never));
    await new Promise<unknown>((done) => aedes.subscribe('will', deliver, done as never));
    await new Promise<unknown>((done) => aedes.publish({ cmd: 'publish', topic: 'o/1', payload: 'mine', qos: 1, retain: true }, done as never));
    const c = await connect('c', { will: { topic: 'will', payload: 'gone', qos: 1 } });
    const kept = next(c, 'message');
    await c.subscribeAsync('o/1');
    const [topic, payload, packet] = (await kept) as [string, Buffer, { retain: boolean }];
    saw('retained', topic, payload, packet.retain);
    await c.publishAsync('o/2', 'theirs', { qos: 1 });
    c.stream.destroy();
    await third;
    saw('wills', wills);
    await new Promise<unknown>((done) => aedes.unsubscribe('o/+', deliver, done as never));
    await new Promise<unknown>((done) => aedes.publish({ cmd: 'publish', topic: 'o/3', payload: 'unheard', qos: 1 }, done as never));
  }, 5));

test('published is told, a client can be closed by the program, a second close is nothing', () =>
  same(async (aedes, connect, saw) => {
    const told = new Promise<void>((resolve) => {
      aedes.published = (packet, client, callback) => {
        if (client !== null) {
          saw('published', packet.topic, client.id);
          resolve();
        }
        callback(null);
      };
    });
    const c = await connect('c');
    await c.publishAsync('p', 'x', { qos: 1 });
    await told;
    const closed = next(c, 'close');
    await new Promise<void>((done) => aedes.clients.c?.close(done));
    await closed;
    saw('closed', aedes.connectedClients);
    await new Promise<void>((done) => aedes.close(done));
    saw(aedes.closed);
  }, 3));

test('what has no place here is refused', () => {
  for (const name of ['persistence', 'mq', 'authorizeForward']) assert.throws(() => new Aedes({ [name]: () => {} } as never), new RegExp(name));
});
