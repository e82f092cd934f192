import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { startCtlServer } from '../ctl-server.js';
import { ask, NotRunning } from './client.js';
import { parseSeed } from './cluster-actions.js';
import { runCtl } from './commands.js';
import type { CtlHandlers } from './handlers.js';
import { Lines, parseRequest } from './protocol.js';
import { announced, bindable } from './sockets.js';

const bin = fileURLToPath(new URL('../../../bin/starmesh.js', import.meta.url));

function fake(name: string, role: 'core' | 'replicant' = 'core'): CtlHandlers {
  const core = {
    state: 'leader',
    term: 3,
    leader: name,
    lastInterceptedTrans: 5,
    commitIndex: 9,
    appliedIndex: 9,
    weight: 1,
    replicants: ['r1@h'],
    serverMql: 0,
  } as const;
  const replica = {
    state: 'normal',
    upstream: 'core1@h',
    lastImportedTrans: 9,
    appliedIndex: 9,
    lag: 0,
    lagMs: 1,
    replayqLen: 0,
    messageQueueLen: 0,
    bootstrapTimeMs: 12,
    bootstrapNumKeys: 100,
    replicants: [],
    bootstrap: { rows: 40, rowsTotal: 100, bytes: 3_145_728, leftMs: 1_500 },
    bootstraps: 1,
    resumes: 0,
    moves: 0,
  } as const;
  const shards = role === 'core' ? [{ shard: 'route', core }] : [{ shard: 'route', replica }, { shard: 'registry-0', down: true } as const];
  const subscriptions = [
    { clientid: 'c1', topic: 't/#', qos: 1, nl: 0, rap: 1, rh: 2 },
    { clientid: 'c2', topic: 'u', qos: 0, nl: 1, rap: 0, rh: 0 },
  ] as const;
  const clients = [{ clientid: 'c1', username: null, node: name, connected: true }];
  return {
    status: () => ({ node: name, role, version: '0.1.0', state: 'running' }),
    clusterStatus: () => ({ clusterName: 'x', clusterId: 'id', running: [{ name, role }], stopped: [{ name: 'r9@h', role: 'replicant' }] }),
    rlogStatus: () => ({ node: name, role, shards, inSync: ['route'] }),
    clientsList: async () => clients,
    clientsShow: (id) => clients.find((c) => c.clientid === id),
    clientsKick: (id) => id === 'c1',
    topicsList: () => [{ topic: 't/#', node: name }],
    listeners: () => [
      {
        id: 'tcp:default',
        bind: '0.0.0.0:1883',
        running: true,
        connections: 3,
        maxConnections: Infinity,
        proxyProtocol: false,
        certificateEnds: undefined,
      },
      { id: 'ssl:a', bind: '[::1]:8883', running: false, connections: 0, maxConnections: 5, proxyProtocol: true, certificateEnds: 0 },
    ],
    listenerAction: async (action, id) => (id === 'ssl:a' ? { ok: action !== 'start', text: `${id} ${action}` } : undefined),
    reloadCertificates: () => ({ ok: true, text: 'read again' }),
    engine: {
      subscriptions: (_limit, clientid) => subscriptions.filter((s) => clientid === undefined || s.clientid === clientid),
      retained: { count: () => 2, topics: () => ['a', 'b/c'], clean: async (topic) => (topic === 'a' ? undefined : 'no quorum') },
      numbers: (kind) => (kind === 'stats' ? [['connections.count', 3]] : [['messages.received', 7]]),
      about: () => ({ version: '0.1.0' }),
    },
  };
}

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-ctl-'));
  const before = process.env.STARMESH_RUN_DIR;
  process.env.STARMESH_RUN_DIR = join(dir, 'run');
  t.after(() => {
    if (before === undefined) delete process.env.STARMESH_RUN_DIR;
    else process.env.STARMESH_RUN_DIR = before;
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

async function serve(t: TestContext, path: string, handlers: CtlHandlers): Promise<void> {
  const server = await startCtlServer(path, handlers);
  t.after(() => server.close());
}

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

function starmesh(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bin, ...args], { env: process.env, cwd: tmpdir() }, (error, out, err) =>
      resolve({ status: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}

test('commands: text as EMQX people know it, data for programs', async () => {
  const node = fake('core1@h');
  assert.deepEqual(await runCtl(['status'], node), { ok: true, text: "Node 'core1@h' 0.1.0 is started", data: node.status() });
  const cluster = await runCtl(['cluster', 'status'], node);
  assert.match(cluster.text, /^Cluster status: #\{running_nodes => \['core1@h'\],stopped_nodes => \['r9@h'\]\}\n/);
  assert.deepEqual(cluster.data, {
    cluster_name: 'x',
    cluster_id: 'id',
    running_nodes: ['core1@h'],
    stopped_nodes: ['r9@h'],
    roles: { 'core1@h': 'core', 'r9@h': 'replicant' },
  });
  const rlog = await runCtl(['rlog', 'status'], node);
  assert.match(rlog.text, /route +leader +3 +core1@h +5 +9 +9 +1 +0 +r1@h\nshards_in_sync: route\nshards_down: -$/);
  assert.deepEqual(rlog.data, {
    node: 'core1@h',
    role: 'core',
    shards: {
      route: {
        state: 'leader',
        term: 3,
        leader: 'core1@h',
        last_intercepted_trans: 5,
        commit_index: 9,
        applied_index: 9,
        weight: 1,
        replicants: ['r1@h'],
        server_mql: 0,
      },
    },
    shards_in_sync: ['route'],
    shards_down: [],
  });
  const replicant = await runCtl(['rlog', 'status'], fake('r1@h', 'replicant'));
  assert.match(replicant.text, /route +normal +core1@h +9 +0 +1 +0 +0 +12 +100\n/);
  assert.match(replicant.text, /shards_down: registry-0$/);
  assert.equal((await runCtl(['clients', 'list'], node)).text, 'Client(c1, username=undefined, node=core1@h, connected=true)');
  assert.equal((await runCtl(['clients', 'kick', 'c1'], node)).text, 'ok');
  assert.deepEqual(
    [(await runCtl(['clients', 'kick', 'c2'], node)).ok, (await runCtl(['clients', 'show'], node)).text],
    [false, 'usage: starmesh ctl clients show CLIENTID'],
  );
  assert.equal((await runCtl(['topics', 'list'], node)).text, 't/# -> core1@h');
});

test('listeners: a block each; what is done to one is said; unknown ones and actions are refused', async () => {
  const node = fake('core1@h');
  const list = await runCtl(['listeners'], node);
  assert.deepEqual(await runCtl(['listeners', 'list'], node), list);
  assert.match(list.text, /^tcp:default\n {2}listen_on +: 0\.0\.0\.0:1883\n(?: .*\n){3} {2}max_conns +: infinity\nssl:a\n/);
  assert.match(list.text, /current_conn +: 0\n {2}max_conns +: 5\n {2}cert_expiry_at +: 1970-01-01T00:00:00\.000Z$/);
  assert.deepEqual(
    (list.data as { max_connections: unknown }[]).map((l) => l.max_connections),
    ['infinity', 5],
  );
  assert.deepEqual(await runCtl(['listeners', 'reload', 'ssl:a'], node), { ok: true, text: 'ssl:a reload', data: { id: 'ssl:a', action: 'reload' } });
  assert.deepEqual(await runCtl(['listeners', 'start', 'ssl:a'], node), { ok: false, text: 'ssl:a start' });
  assert.match((await runCtl(['listeners', 'stop', 'ws:x'], node)).text, /^there is no listener ws:x; there are tcp:default, ssl:a$/);
  for (const words of [
    ['listeners', 'stop'],
    ['listeners', 'burn', 'ssl:a'],
  ])
    assert.match((await runCtl(words, node)).text, /^usage: /);
});

test('commands: planned, unknown and failing ones are answered in one sentence', async () => {
  const node = fake('core1@h');
  for (const words of [
    ['data', 'export'],
    ['rules', 'list'],
    ['conf', 'show'],
  ])
    assert.match((await runCtl(words, node)).text, /is not available yet/);
  assert.match((await runCtl(['clints', 'list'], node)).text, /there is no command ctl clints list; there are status, /);
  assert.match((await runCtl([], node)).text, /^say what: /);
  const failing = {
    ...node,
    clientsList: () => {
      throw new Error('no quorum');
    },
  };
  assert.deepEqual(await runCtl(['clients', 'list'], failing), { ok: false, text: 'clients list failed: no quorum' });
});

test('what the broker has: subscriptions, numbers, retained messages', async () => {
  const node = fake('core1@h');
  const text = async (...words: string[]): Promise<string> => (await runCtl(words, node)).text;
  assert.equal(await text('subscriptions', 'list'), 'c1 -> topic:t/# qos:1 nl:0 rap:1 rh:2\nc2 -> topic:u qos:0 nl:1 rap:0 rh:0');
  assert.deepEqual((await runCtl(['subscriptions', 'show', 'c2'], node)).data, [{ clientid: 'c2', topic: 'u', qos: 0, nl: 1, rap: 0, rh: 0 }]);
  assert.equal(await text('retainer', 'info'), 'Number of retained messages: 2');
  assert.equal(await text('retainer', 'topics'), 'a\nb/c');
  assert.deepEqual(await runCtl(['retainer', 'clean', 'a'], node), { ok: true, text: 'ok', data: { deleted: 'a' } });
  assert.equal(await text('retainer', 'clean', 'z'), 'z is not deleted: no quorum');
  assert.equal(await text('broker'), 'version   : 0.1.0');
  assert.deepEqual((await runCtl(['broker', 'stats'], node)).data, { 'connections.count': 3 });
  assert.match(await text('broker', 'metrics'), /^messages\.received {23}: 7$/);
  for (const words of [
    ['subscriptions', 'show'],
    ['retainer', 'clean'],
    ['broker', 'burn'],
  ])
    assert.match(await text(...words), /^usage: /);
});

test('eval: getters, literals and fields; never the language', async () => {
  const node = fake('core1@h');
  const text = async (e: string): Promise<string> => (await runCtl(['eval', e], node)).text;
  assert.equal(await text('mria_rlog:status().'), (await runCtl(['rlog', 'status'], node)).text);
  assert.equal(await text(' rlog.status( ) '), await text('mria_rlog:status().'));
  assert.equal(await text('rlog.status().shards.route.term'), '3');
  assert.equal(await text('rlog.status("route").replicants[0]'), 'r1@h');
  assert.equal(await text("clients.show('c1').connected."), 'true');
  assert.equal(await text('node()'), 'core1@h');
  for (const bad of ['1+1', 'process.exit()', 'rlog.status', 'rlog.status().constructor.constructor("x")', 'rlog.status();', 'a'.repeat(2000), '']) {
    assert.equal((await runCtl(['eval', bad], node)).ok, false, bad);
  }
  for (const nothing of ['rlog.status().constructor', 'rlog.status().__proto__', 'node().length', 'rlog.status()["toString"]'])
    assert.match(await text(nothing), /undefined/);
  await fc.assert(
    fc.asyncProperty(fc.string({ maxLength: 40 }), async (e) => {
      await runCtl(['eval', e], node);
      await runCtl(['eval', `rlog.status(${e})${e}`], node);
    }),
    { numRuns: 1000, seed: 1 },
  );
});

test('the socket: private, answers in order, replaced when stale, refused when alive', async (t) => {
  const dir = folder(t);
  const path = join(dir, 'ctl.sock');
  await serve(t, path, fake('core1@h'));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal((await ask(path, ['status'])).text, "Node 'core1@h' 0.1.0 is started");
  assert.deepEqual(
    announced().map((n) => n.name),
    ['core1@h'],
  );
  await assert.rejects(startCtlServer(path, fake('core2@h')), /another node is running on this data directory/);
  const socket = connect(path);
  const lines = new Lines(1_000_000);
  const received: string[] = [];
  const all = new Promise<void>((resolve) => {
    socket.on('data', (chunk) => {
      received.push(...lines.push(chunk));
      if (received.length === 3) resolve();
    });
  });
  socket.write('{"cmd":["topics","list"]}\nnonsense\n{"cmd":');
  socket.write('["status"]}\n');
  await all;
  socket.destroy();
  assert.deepEqual(
    received.map((line) => (JSON.parse(line) as { ok: boolean }).ok),
    [true, false, true],
  );
});

test('the socket: a flood is cut off, a stale file is replaced, a closed one is gone', async (t) => {
  const dir = folder(t);
  const path = join(dir, 'ctl.sock');
  writeFileSync(path, '');
  const server = await startCtlServer(path, fake('core1@h'));
  const socket = connect(path);
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.on('error', () => {});
  socket.resume();
  socket.write('x'.repeat(200_000));
  await closed;
  assert.equal((await ask(path, ['status'])).ok, true);
  await server.close();
  await assert.rejects(ask(path, ['status']), NotRunning);
  assert.deepEqual(announced(), []);
});

test('the socket: a data directory too deep for the operating system gets a short path', async (t) => {
  const dir = folder(t);
  const path = join(dir, 'x'.repeat(150), 'ctl.sock');
  assert.ok(Buffer.byteLength(bindable(path)) < 104, bindable(path));
  await serve(t, path, fake('deep@h'));
  assert.equal((await ask(bindable(path), ['status'])).ok, true);
});

test('a node that does not answer in time is an error, and so is nonsense', async (t) => {
  const dir = folder(t);
  const path = join(dir, 's.sock');
  const silent = createServer((socket) => socket.on('data', (d) => d.includes('nonsense') && socket.write('what?\n')));
  await new Promise<void>((resolve) => silent.listen(path, resolve));
  await assert.rejects(ask(path, ['status'], 20), /did not answer/);
  assert.match((await ask(path, ['nonsense'])).text, /does not understand/);
  await new Promise((resolve) => silent.close(resolve));
});

test('protocol: requests are lists of words and nothing else', () => {
  assert.deepEqual(parseRequest('{"cmd":["a"],"json":true}'), { cmd: ['a'] });
  for (const bad of ['', '1', 'null', '{}', '{"cmd":"a"}', '{"cmd":[1]}', '[]']) assert.equal(parseRequest(bad), undefined);
  const lines = new Lines(4);
  assert.deepEqual([...lines.push(Buffer.from('a\n\nbc')), ...lines.push(Buffer.from('d\ne'))], ['a', '', 'bcd']);
  assert.deepEqual([lines.push(Buffer.from('12345')), lines.tooLong], [[], true]);
});

test('the command line: finds the only node, prefers core1, asks which one else', async (t) => {
  const dir = folder(t);
  assert.match((await starmesh('ctl', 'status')).err, /no node runs on this machine/);
  await serve(t, join(dir, 'ctl.sock'), fake('solo@h'));
  assert.deepEqual(await starmesh('ctl', 'status'), { status: 0, out: "Node 'solo@h' 0.1.0 is started\n", err: '' });
  const { status, out } = await starmesh('ctl', 'cluster', 'status', '--json');
  assert.deepEqual([status, (JSON.parse(out) as { running_nodes: string[] }).running_nodes], [0, ['solo@h']]);
  mkdirSync(join(dir, 'two'));
  await serve(t, join(dir, 'two', 'ctl.sock'), fake('core2@h'));
  assert.match((await starmesh('ctl', 'status')).err, /several nodes run here; say which with --node or --data-dir: core2@h .*solo@h/);
  assert.match((await starmesh('ctl', '--node', 'core2', 'status')).out, /core2@h/);
  assert.match((await starmesh('ctl', '--node', 'x', 'status')).err, /no node x runs on this machine; there are core2@h, solo@h/);
  assert.match((await starmesh('ctl', '--data-dir', dir, 'status')).out, /solo@h/);
});

test('the command line: of several clusters that run here it means the one of this checkout', async (t) => {
  const dir = folder(t);
  const local = fileURLToPath(new URL('../../../data/local/', import.meta.url));
  mkdirSync(local, { recursive: true });
  const ours = mkdtempSync(join(local, 'test-'));
  t.after(() => rmSync(ours, { recursive: true, force: true }));
  for (const [at, name] of [
    [dir, 'core1@elsewhere'],
    [join(ours, 'a'), 'core1@h'],
    [join(ours, 'b'), 'core2@h'],
  ] as const) {
    mkdirSync(at, { recursive: true });
    await serve(t, join(at, 'ctl.sock'), fake(name));
  }
  assert.match((await starmesh('ctl', 'status')).out, /core1@h/);
  assert.match((await starmesh('ctl', '--node', 'core1', 'status')).out, /core1@h/);
});

test('the command line: eval, failures, check-config', async (t) => {
  const dir = folder(t);
  await serve(t, join(dir, 'ctl.sock'), fake('core1@h'));
  assert.match((await starmesh('eval', 'mria_rlog:status().')).out, /^node: core1@h\nrole: core\n/);
  const failed = await starmesh('ctl', 'rules', 'list');
  assert.deepEqual(failed, { status: 1, out: '', err: 'starmesh: ctl rules is not available yet in this version\n' });
  const file = join(dir, 'x.conf');
  writeFileSync(file, 'node.name = "a@h"\nnode.max_ports = 1\n');
  const good = await starmesh('check-config', file);
  assert.deepEqual([good.status, good.out], [0, `${file} is a valid configuration of core a@h\n`]);
  assert.match(good.err, /^warning: .*x\.conf:2:\d+: node\.max_ports is a setting of EMQX/);
  writeFileSync(file, 'nod.name = "a@h"\n');
  const bad = await starmesh('check-config', file);
  assert.deepEqual([bad.status, bad.out], [1, '']);
  assert.match(bad.err, /x\.conf:1:\d+: unknown key nod; did you mean node\?/);
  assert.match((await starmesh('check-config', join(dir, 'none.conf'))).err, /there is no file/);
  assert.equal((await starmesh('nonsense')).status, 1);
});

test('the command line: a node that cannot start ends, also under a supervisor', async (t) => {
  const dir = folder(t);
  writeFileSync(join(dir, 'file'), '');
  const file = join(dir, 'x.conf');
  writeFileSync(file, `node.data_dir = ${JSON.stringify(join(dir, 'file'))}\nlisteners.tcp.default.bind = "127.0.0.1:0"\n`);
  const { status, err } = await starmesh('start', '-c', file, '--supervised');
  assert.equal(status, 1);
  assert.match(err, /^starmesh: [^\n]+\n$/);
});

test('commands: who makes up the cluster', async () => {
  const asked: string[] = [];
  const answer = (text: string, refused?: string): Promise<string | undefined> => {
    asked.push(text);
    return Promise.resolve(refused);
  };
  const node = {
    ...fake('core1@h'),
    cluster: {
      join: (seed: string) => answer(`join ${seed}`),
      leave: () => answer('leave', 'this is the last core'),
      forceLeave: (name: string) => answer(`force-leave ${name}`),
      promote: (name: string) => answer(`promote ${name}`),
    },
  };
  assert.deepEqual((await runCtl(['cluster', 'join', 'a@h'], node)).text, 'Join the cluster successfully.');
  assert.deepEqual(await runCtl(['cluster', 'leave'], node), { ok: false, text: 'this is the last core' });
  assert.equal((await runCtl(['cluster', 'force-leave', 'b@h'], node)).ok, true);
  assert.equal((await runCtl(['cluster', 'promote', 'c@h'], node)).ok, true);
  for (const words of [['join'], ['leave', 'x'], ['force-leave'], ['promote', 'a', 'b']])
    assert.match((await runCtl(['cluster', ...words], node)).text, /^usage: /);
  assert.deepEqual(asked, ['join a@h', 'leave', 'force-leave b@h', 'promote c@h']);
});

test('commands: how a node to join is named', () => {
  const seed = (text: string): unknown => {
    const s = parseSeed(text);
    return s && [s.name, s.host, s.port];
  };
  assert.deepEqual(seed('core1@10.0.0.1'), ['core1@10.0.0.1', '10.0.0.1', 4370]);
  assert.deepEqual(seed('core1@h:4371'), ['core1@h', 'h', 4371]);
  assert.deepEqual(seed('h:4371'), ['h:4371', 'h', 4371]);
  assert.deepEqual(seed('core1@[::1]:4371'), ['core1@[::1]', '::1', 4371]);
  for (const text of ['', 'h', '@h', 'a@h:', 'a@h:0', 'a@h:99999', 'a b@h']) assert.equal(seed(text), undefined, text);
});
