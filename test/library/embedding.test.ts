// The broker inside a program: its own publishes and subscriptions, connections handed to it, hooks.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, duplexPair } from 'node:stream';
import { after, before, test } from 'node:test';
import mqtt, { type MqttClient } from 'mqtt';
import { type Broker, BrokerError, createBroker, type HookClient, type ReceivedMessage } from '#node/open-database.js';
import { freePorts } from '../cluster/nodes.js';

let broker: Broker;
let port: number;
const clients: MqttClient[] = [];

before(async () => {
  broker = await createBroker({ listeners: [{ type: 'tcp', port: 0 }], log: { level: 'silent' }, hookDeadlineMs: 200 });
  port = broker.addresses()['tcp:default']?.port ?? 0;
});

after(async () => {
  await Promise.all(clients.map((c) => c.endAsync(true)));
  await broker.close();
});

async function client(clientId: string, more: object = {}): Promise<MqttClient> {
  const c = await mqtt.connectAsync({ host: '127.0.0.1', port, clientId, reconnectPeriod: 0, protocolVersion: 5, ...more });
  clients.push(c);
  return c;
}

/** The refusal of a CONNECT, as its reason code. */
function refusal(clientId: string, more: object = {}): Promise<number> {
  return client(clientId, more).then(
    () => 0,
    (error: { readonly code?: number }) => error.code ?? -1,
  );
}

const text = (m: ReceivedMessage): string => `${m.topic} ${Buffer.from(m.payload).toString()}`;

/** Runs until `count` things were pushed. */
function gather<T>(count: number): { readonly push: (t: T) => void; readonly all: Promise<T[]> } {
  const got: T[] = [];
  let done: (all: T[]) => void = () => {};
  const all = new Promise<T[]>((resolve) => {
    done = resolve;
  });
  return {
    all,
    push: (t) => {
      if (got.push(t) === count) done(got);
    },
  };
}

test('publishes reach clients and handlers, clients reach iterators, and nothing comes after the end', async () => {
  const c = await client('c1');
  await c.subscribeAsync('a/#', { qos: 1 });
  const atClient = new Promise<string>((resolve) => c.once('message', (topic, payload) => resolve(`${topic} ${payload}`)));
  assert.deepEqual(await broker.publish('a/b', 'hello', { qos: 1 }), { matched: true });
  assert.equal(await atClient, 'a/b hello');
  assert.deepEqual(await broker.publish('nobody/here', 'x', { qos: 1 }), { matched: false });

  const handled = gather<string>(2);
  const one = await broker.subscribe('b/+', (m) => handled.push(text(m)));
  const two = await broker.subscribe('#', { retained: false });
  await c.publishAsync('b/1', 'x', { qos: 2 });
  await c.publishAsync('b/2', 'y', { qos: 0 });
  assert.deepEqual(await handled.all, ['b/1 x', 'b/2 y']);
  const first = await two.next();
  assert.equal(first.value?.publisherId, 'c1');
  assert.equal(first.value?.qos, 2);
  assert.equal(broker.unsubscribe('b/+'), true);
  assert.equal(broker.unsubscribe(one), false);
  await two.return();
  assert.equal((await two.next()).done, true);
  assert.equal(broker.stats().filters, 1);
});

test('a handler may publish; what is retained comes first, once, and is listed', async () => {
  await broker.publish('r/1', 'one', { retain: true });
  await broker.publish('r/2', 'two', { retain: true, properties: { contentType: 'text/plain' } });
  const got = gather<string>(4);
  await broker.subscribe('r/#', async (m) => {
    got.push(`${text(m)} ${m.retained}`);
    if (m.topic === 'r/2') await broker.publish('r/3', 'three');
    if (m.topic === 'r/3') await broker.publish('r/1', 'again', { retain: true });
  });
  assert.deepEqual(await got.all, ['r/1 one true', 'r/2 two true', 'r/3 three false', 'r/1 again false']);
  assert.deepEqual(broker.retained('r/+').map(text), ['r/1 again', 'r/2 two']);
  assert.deepEqual(broker.retained('r/+', { limit: 1 }).map(text), ['r/1 again']);
  assert.deepEqual(broker.retained('r/+', { after: 'r/1' })[0]?.properties, { contentType: 'text/plain' });
  await broker.publish('r/1', '', { retain: true });
  assert.deepEqual(broker.retained('r/+').map(text), ['r/2 two']);
  broker.unsubscribe('r/#');
});

test('an iterator that is not read keeps the newest messages and counts the others', async () => {
  const slow = await broker.subscribe('s', { bufferMessagesMax: 2 });
  for (const n of [1, 2, 3, 4]) await broker.publish('s', String(n));
  const got: string[] = [];
  for await (const m of slow) if (got.push(text(m)) === 2) break;
  assert.deepEqual(got, ['s 3', 's 4']);
  assert.equal(slow.dropped, 2);
});

test('sockets and streams of the program are served, and told apart', async () => {
  const server = createServer(broker.handle).listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const [mine, theirs] = duplexPair();
  const streams = new Map<string, Duplex | undefined>();
  const unhook = broker.hook('client.connected', (c) => void streams.set(c.clientId, c.stream));
  const { port: at } = server.address() as AddressInfo;
  const overSocket = await mqtt.connectAsync({ host: '127.0.0.1', port: at, clientId: 'socket', reconnectPeriod: 0 });
  broker.handle(theirs);
  const overStream = new mqtt.MqttClient(() => mine as never, { clientId: 'stream', reconnectPeriod: 0 });
  await new Promise<void>((done) => overStream.once('connect', () => done()));
  await overStream.subscribeAsync('big');
  const arrived = new Promise<number>((resolve) => overStream.once('message', (_t, payload) => resolve(payload.length)));
  await overSocket.publishAsync('big', Buffer.alloc(300_000), { qos: 1 });
  assert.equal(await arrived, 300_000);
  assert.ok(streams.get('socket') instanceof Duplex);
  assert.equal(streams.get('stream'), theirs);
  assert.equal(broker.client('stream')?.peer, 'stream:0');
  unhook();
  assert.equal(await broker.kick('stream'), true);
  assert.equal(await broker.kick('stream'), false);
  await overStream.endAsync(true);
  await overSocket.endAsync();
  await new Promise((done) => server.close(done));
});

test('hooks decide about connections, by value, by promise, by priority; what fails or hangs refuses', async () => {
  const asked: string[] = [];
  const off = [
    broker.hook('client.connect', (c) => (c.clientId === 'no connect' ? 0x9f : undefined)),
    broker.hook('client.authenticate', async (c, { password }) => {
      asked.push(`late ${c.clientId}`);
      return password !== undefined && Buffer.from(password).toString() === 'right';
    }),
    broker.hook(
      'client.authenticate',
      (c) => {
        asked.push(`early ${c.clientId}`);
        if (c.clientId === 'throws') throw new Error('as it happens');
        if (c.clientId === 'hangs') return new Promise<boolean>(() => {});
        return c.clientId === 'known' ? true : undefined;
      },
      { priority: 10 },
    ),
  ];
  assert.equal(await refusal('no connect'), 0x9f);
  assert.equal(await refusal('wrong', { username: 'u', password: 'wrong' }), 0x86);
  assert.equal(await refusal('right', { username: 'u', password: 'right' }), 0);
  assert.equal(await refusal('known'), 0);
  assert.equal(await refusal('throws'), 0x80);
  assert.equal(await refusal('hangs'), 0x80);
  assert.deepEqual(asked, ['early wrong', 'late wrong', 'early right', 'late right', 'early known', 'early throws', 'early hangs']);
  for (const o of off) o();
  assert.equal(await refusal('wrong', { username: 'u', password: 'wrong' }), 0);
});

test('hooks decide about topics and change messages, in the order in which they were sent', async () => {
  const c = await client('hooked');
  const off = [
    broker.hook('client.authorize', async (_c, { action, topic }) => (topic === `no ${action}` ? false : undefined)),
    broker.hook('client.subscribe', (_c, { topicFilter }) => (topicFilter === 'low' ? 0 : topicFilter !== 'refused')),
    broker.hook('message.publish', async (m, by) =>
      m.topic === 'o' && by !== undefined ? { payload: Buffer.from(`${m.payload.length}`) } : undefined,
    ),
    broker.hook('message.publish', (m) => m.topic !== 'forbidden'),
  ];
  const codes = await new Promise((resolve) => {
    c.on('packetreceive', (p) => p.cmd === 'suback' && resolve(p.granted));
    c.subscribeAsync(['low', 'refused', 'no subscribe', 'o'], { qos: 1 }).catch(() => {});
  });
  assert.deepEqual(codes, [0, 0x87, 0x87, 1]);
  const got = gather<string>(4);
  c.on('message', (topic, payload) => got.push(`${topic} ${payload}`));
  await Promise.all([c.publishAsync('o', 'x', { qos: 1 }), c.publishAsync('o', 'xx', { qos: 2 }), c.publishAsync('o', 'xxx', { qos: 0 })]);
  await assert.rejects(c.publishAsync('forbidden', 'x', { qos: 1 }), (e: { code?: number }) => e.code === 0x87);
  await assert.rejects(c.publishAsync('no publish', 'x', { qos: 2 }), (e: { code?: number }) => e.code === 0x87);
  await assert.rejects(broker.publish('forbidden', 'x'), (e) => e instanceof BrokerError && e.code === 'refused');
  await broker.publish('o', 'own');
  assert.deepEqual(await got.all, ['o 1', 'o 2', 'o 3', 'o own']);
  for (const o of off) o();
});

test('a hook that makes no message of a message has failed, and nothing is published', async () => {
  const seen: string[] = [];
  const subscription = await broker.subscribe('bad/#', (m) => void seen.push(m.topic));
  const answers: object[] = [{ topic: 'bad/+' }, { topic: '' }, { payload: 'text' }, { qos: 3 }, { topic: 'bad/last' }];
  const off = broker.hook('message.publish', (m) => (m.topic === 'bad/x' ? (answers.shift() as { topic: string }) : undefined));
  for (let n = 0; n < 4; n++) await assert.rejects(broker.publish('bad/x', 'y'));
  assert.deepEqual(await broker.publish('bad/x', 'y'), { matched: true });
  off();
  subscription.unsubscribe();
  assert.deepEqual(seen, ['bad/last']);
});

test('a message that a session does not get is told, with why', async () => {
  const told = gather<string>(2);
  const off = broker.hook('delivery.dropped', (s, m, reason) => told.push(`${s.clientId} ${m.topic} ${reason}`));
  const c = await client('dropper');
  await c.subscribeAsync('d/local', { qos: 0, nl: true });
  await c.publishAsync('d/local', 'x', { qos: 1 });
  const small = await client('small', { properties: { maximumPacketSize: 50 } });
  await small.subscribeAsync('d/large', { qos: 1 });
  await c.publishAsync('d/large', 'x'.repeat(100), { qos: 1 });
  assert.deepEqual(await told.all, ['dropper d/local no_local', 'small d/large too_large']);
  off();
  await c.endAsync();
  await small.endAsync();
});

test('a subscription that ends while a message goes out to many costs nobody his', async () => {
  const first = await client('first');
  await first.subscribeAsync('many', { qos: 1 });
  const own = await broker.subscribe('many', () => {});
  const last = await client('last');
  await last.subscribeAsync('many', { qos: 1 });
  const got = gather<string>(2);
  for (const c of [first, last]) c.on('message', (_topic, payload) => got.push(payload.toString()));
  const off = broker.hook('message.delivered', () => own.unsubscribe());
  const publisher = await client('publisher');
  await publisher.publishAsync('many', 'x', { qos: 1 });
  assert.deepEqual(await got.all, ['x', 'x']);
  assert.equal(publisher.connected, true);
  off();
  for (const c of [first, last, publisher]) await c.endAsync();
});

test('every other hook tells what happens', async () => {
  const told: string[] = [];
  const end = gather<string>(1);
  const of = (c: HookClient): string => c.clientId;
  const off = [
    broker.hook('client.connected', (c, present) => void told.push(`connected ${of(c)} ${present}`)),
    broker.hook('client.disconnected', (c, e) => void told.push(`disconnected ${of(c)} ${e.by}`)),
    broker.hook('client.unsubscribe', (c, filters) => void told.push(`unsubscribe ${of(c)} ${filters.join()}`)),
    broker.hook('client.ping', (c) => void told.push(`ping ${of(c)}`)),
    broker.hook('session.created', (s) => void told.push(`created ${s.clientId}`)),
    broker.hook('session.subscribed', (s, sub) => void told.push(`subscribed ${s.clientId} ${sub.topicFilter} ${sub.qos}`)),
    broker.hook('session.unsubscribed', (s, f) => void told.push(`unsubscribed ${s.clientId} ${f}`)),
    broker.hook('session.resumed', (s) => void told.push(`resumed ${s.clientId}`)),
    broker.hook('session.takenover', (s) => void told.push(`takenover ${s.clientId}`)),
    broker.hook('session.discarded', (s) => void told.push(`discarded ${s.clientId}`)),
    broker.hook('session.terminated', (s) => {
      told.push(`terminated ${s.clientId}`);
      end.push('');
    }),
    broker.hook('message.delivered', (c, m) => void told.push(`delivered ${of(c)} ${m.topic}`)),
    broker.hook('message.acked', (c, m) => void told.push(`acked ${of(c)} ${m.topic} ${m.qos}`)),
    broker.hook('message.dropped', (m) => void told.push(`dropped ${m.topic}`)),
  ];
  const lasting = { clean: false, properties: { sessionExpiryInterval: 60 } };
  const c = await client('t', lasting);
  c.sendPing();
  await c.subscribeAsync('t/#', { qos: 2 });
  await c.publishAsync('t/1', 'x', { qos: 1 });
  await c.publishAsync('t/2', 'x', { qos: 2 });
  await c.publishAsync('u', 'x', { qos: 1 });
  await c.unsubscribeAsync('t/#');
  const gone = new Promise<void>((done) => c.once('close', () => done()));
  const again = await client('t', lasting);
  await gone;
  await again.endAsync();
  await client('t', { clean: true });
  await end.all;
  assert.deepEqual(told, [
    'created t',
    'connected t false',
    'ping t',
    'subscribed t t/# 2',
    'delivered t t/1',
    'acked t t/1 1',
    'delivered t t/2',
    'acked t t/2 2',
    'dropped u',
    'unsubscribe t t/#',
    'unsubscribed t t/#',
    'takenover t',
    'disconnected t server',
    'resumed t',
    'connected t true',
    'disconnected t client',
    'discarded t',
    'terminated t',
    'created t',
    'connected t false',
  ]);
  for (const o of off) o();
});

test('hooks tell of what was decided and answered, before the client hears of it, and of what it has acknowledged', async () => {
  const told: string[] = [];
  const completed = gather<string>(2);
  const publishers = (c: HookClient): boolean => c.clientId === 'p';
  const off = [
    broker.hook('client.authenticate', (c) => (c.clientId === 'nobody' ? 0x86 : undefined)),
    broker.hook('client.authorize', (_c, { topic }) => (topic === 'no' ? false : undefined)),
    broker.hook('client.check_authn_complete', (c, code) => void told.push(`authn ${c.clientId} ${code} ${c.connected}`)),
    broker.hook('client.connack', (c, code) => void told.push(`connack ${c.clientId} ${code}`)),
    broker.hook('client.connected', (c) => void told.push(`connected ${c.clientId}`)),
    broker.hook('client.check_authz_complete', (c, wish, allowed) => void told.push(`authz ${c.clientId} ${wish.action} ${wish.topic} ${allowed}`)),
    broker.hook('message.publish', (m) => (m.topic === 'h/2' ? { topic: 'h/3' } : undefined)),
    broker.hook('message.puback', (c, m, code) => {
      if (publishers(c)) told.push(`puback ${m.topic} ${m.payload.length} ${m.qos} ${code}`);
    }),
    broker.hook('delivery.completed', (s, m, ms) => completed.push(`${s.clientId} ${m.topic} ${m.qos} ${ms !== undefined && ms >= 0}`)),
  ];
  assert.equal(await refusal('nobody'), 0x86);
  const s = await client('s');
  await s.subscribeAsync('h/#', { qos: 2 });
  const p = await client('p');
  await p.publishAsync('h/1', 'x', { qos: 1 });
  await p.publishAsync('h/2', 'xy', { qos: 2 });
  await p.publishAsync('h/q0', 'xy', { qos: 0 });
  assert.deepEqual(await completed.all, ['s h/1 1 true', 's h/3 2 true']);
  await p.publishAsync('nobody/here', 'x', { qos: 1 });
  await assert.rejects(p.publishAsync('no', 'x', { qos: 1 }));
  for (const o of off) o();
  await p.publishAsync('h/1', 'x', { qos: 1 });
  assert.deepEqual(told, [
    'authn nobody 134 false',
    'connack nobody 134',
    'authn s 0 false',
    'connack s 0',
    'connected s',
    'authz s subscribe h/# true',
    'authn p 0 false',
    'connack p 0',
    'connected p',
    'authz p publish h/1 true',
    'puback h/1 1 1 0',
    'authz p publish h/2 true',
    'puback h/2 2 2 0',
    'authz p publish h/q0 true',
    'authz p publish nobody/here true',
    'puback nobody/here 1 1 16',
    'authz p publish no false',
    'puback no 1 1 135',
  ]);
});

test('the end of a delivery is told of once, also when its client came back for it', async () => {
  const completed = gather<string>(1);
  const all: string[] = [];
  const off = broker.hook('delivery.completed', (s, m) => {
    all.push(m.topic);
    if (s.clientId === 'back') completed.push(`${m.topic} ${m.qos}`);
  });
  const lasting = { clean: false, properties: { sessionExpiryInterval: 60 } };
  const first = await client('back', {
    ...lasting,
    customHandleAcks: (_t: string, _m: Buffer, _p: unknown, done: (code: number) => void) => void done,
  });
  await first.subscribeAsync('back/#', { qos: 2 });
  const seen = new Promise<void>((done) => first.once('packetreceive', (packet) => packet.cmd === 'publish' && done()));
  await broker.publish('back/1', 'x', { qos: 2 });
  await seen;
  first.stream.destroy();
  assert.deepEqual(all, []);
  await client('back', lasting);
  assert.deepEqual(await completed.all, ['back/1 2']);
  off();
  assert.deepEqual(all, ['back/1']);
});

test('what cannot be is refused with a code, and a closed broker says so and leaves nothing', async () => {
  const code = (wanted: string) => (e: unknown) => e instanceof BrokerError && e.code === wanted;
  await assert.rejects(broker.publish('a/#', 'x'), code('options'));
  await assert.rejects(broker.subscribe('a/#/b'), code('options'));
  await assert.rejects(broker.subscribe('$share/g/a'), code('options'));
  await assert.rejects(createBroker({ dataDir: 'x' }), code('options'));
  await assert.rejects(createBroker({ listeners: [{ type: 'tcp', port }], log: { level: 'silent' } }), code('cannot-listen'));
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-embedding-'));
  try {
    const one = await createBroker({ name: 'n@h', dataDir: dir, log: { level: 'silent' } });
    await assert.rejects(createBroker({ name: 'n@h', dataDir: dir, log: { level: 'silent' } }), code('locked'));
    await one.publish('kept', 'x', { retain: true });
    const reading = (await one.subscribe('other')).next();
    const [mine, theirs] = duplexPair();
    one.handle(theirs);
    const closed = new Promise((done) => theirs.once('close', done));
    mine.resume();
    await one.close();
    await closed;
    assert.equal((await reading).done, true);
    await assert.rejects(one.publish('a', 'x'), code('closed'));
    const two = await createBroker({ name: 'n@h', dataDir: dir, log: { level: 'silent' } });
    assert.deepEqual(two.retained('#').map(text), ['kept x']);
    await two.close();
    assert.ok(existsSync(dir) && readdirSync(dir).length > 0);
  } finally {
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  }
});

test('brokers of several programs are one cluster', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-embedding-'));
  const ports = await freePorts(3);
  const cores = ports.map((p, i) => ({ name: `core${i + 1}`, host: '127.0.0.1', port: p }));
  const more = { cores, cookie: 'of this test', log: { level: 'silent' } as const };
  const all = await Promise.all(cores.map(({ name }) => createBroker({ ...more, name, dataDir: join(dir, name) })));
  try {
    const [a, b] = all as [Broker, Broker, Broker];
    const heard = gather<string>(2);
    await b.subscribe('x/+', (m) => heard.push(text(m)));
    assert.deepEqual(await a.publish('x/1', 'one', { qos: 1 }), { matched: true });
    await a.publish('x/2', 'two', { qos: 1, retain: true });
    assert.deepEqual(await heard.all, ['x/1 one', 'x/2 two']);
    b.unsubscribe('x/+');
    const late = await b.subscribe('x/+');
    assert.equal((await late.next()).value?.retained, true);
  } finally {
    await Promise.all(all.map((x) => x.close()));
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  }
});
