import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { loadConfig } from '../config/load.js';
import { createDisplay } from './display.js';
import { healthOf, isServing } from './health.js';
import { NodeProcess } from './node-process.js';
import { nodeConfig, planNodes, portsOf } from './plan.js';
import { takenPort } from './ports.js';
import { tryNext } from './try-next.js';

const defaults = { cores: 3, replicants: 2, basePort: 1883, fresh: false, restart: true };
const url = (path: string): string => new URL(path, import.meta.url).href;

// A node without a node: reads its own name, serves the control socket, leaves as a real one does.
const fakeNode = `
import { readFileSync, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { startCtlServer } from ${JSON.stringify(url('../ctl-server.js'))};
const [, , start, c, file, supervised] = process.argv;
if (start !== 'start' || c !== '-c' || supervised !== '--supervised') process.exit(9);
const name = /name = "([^"]+)"/.exec(readFileSync(file, 'utf8'))[1];
const dir = dirname(file);
if (existsSync(dir + '/refuse')) { console.error('the disk is on fire'); process.exit(3); }
const shards = [{ shard: 'route', core: { state: 'leader', replicants: [] } }, { shard: 'unused', down: true }];
const server = await startCtlServer(dir + '/ctl.sock', {
  status: () => ({ node: name, role: 'core', version: '0', state: 'running' }),
  rlogStatus: () => ({ node: name, role: 'core', shards, inSync: existsSync(dir + '/lagging') ? [] : ['route'] }),
});
const leave = () => server.close().then(() => process.exit(0));
process.on('SIGINT', () => {});
if (!existsSync(dir + '/stubborn')) process.on('SIGTERM', leave); else process.on('SIGTERM', () => {});
process.stdin.on('end', leave).on('close', leave).resume();
`;

interface Running {
  readonly child: ChildProcess;
  /** Resolves with the output once it matches. */
  until(pattern: RegExp): Promise<string>;
  readonly ended: Promise<{ readonly code: number | null; readonly out: string }>;
  readonly folder: string;
}

async function freeBase(nodes: number): Promise<number> {
  for (let base = 20_000 + (process.pid % 10_000); ; base = 20_000 + ((base + 137) % 20_000)) {
    const plan = planNodes({ ...defaults, cores: 1, replicants: nodes, basePort: base }, '');
    if ((await takenPort(portsOf(plan), 0)) === undefined) return base;
  }
}

function folderOf(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-local-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'node.mjs'), fakeNode);
  const call = `main(process.argv.slice(2), { program: ${JSON.stringify(join(dir, 'node.mjs'))}, dataRoot: ${JSON.stringify(dir)} })`;
  writeFileSync(join(dir, 'main.mjs'), `import { main } from ${JSON.stringify(url('./main.js'))};\nprocess.exitCode = await ${call};\n`);
  return dir;
}

function run(t: TestContext, dir: string, ...args: string[]): Running {
  const child = spawn(process.execPath, [join(dir, 'main.mjs'), ...args], {
    env: { ...process.env, STARMESH_RUN_DIR: join(dir, 'run'), npm_lifecycle_event: '', STARMESH_NODE__NAME: 'x@y' },
  });
  t.after(() => child.kill('SIGKILL'));
  let out = '';
  const waiting = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      out += String(chunk);
      for (const check of waiting) check();
    });
  }
  const ended = new Promise<{ code: number | null; out: string }>((resolve) => child.on('close', (code) => resolve({ code, out })));
  const until = (pattern: RegExp): Promise<string> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (!pattern.test(out)) return;
        waiting.delete(check);
        resolve(out);
      };
      waiting.add(check);
      check();
      void ended.then(() => reject(new Error(`ended without ${pattern}: ${out}`)));
    });
  return { child, until, ended, folder: dir };
}

function pidOf(out: string, node: string): number {
  return Number([...out.matchAll(new RegExp(`^${node}: .*pid (\\d+)`, 'gm'))].at(-1)?.[1]);
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function gone(pid: number): Promise<void> {
  while (alive(pid)) await new Promise((resolve) => setImmediate(resolve));
}

test('the plan: names, roles and ports as documented; impossible shapes are refused', () => {
  const nodes = planNodes(defaults, '/d');
  assert.deepEqual(
    nodes.map((n) => [n.name, n.role, n.mqttPort, n.httpPort, n.clusterPort, n.dataDir]),
    [
      ['core1@127.0.0.1', 'core', 1883, 18_083, 4370, join('/d', '3-2', 'core1')],
      ['core2@127.0.0.1', 'core', 1884, 18_084, 4371, join('/d', '3-2', 'core2')],
      ['core3@127.0.0.1', 'core', 1885, 18_085, 4372, join('/d', '3-2', 'core3')],
      ['replicant1@127.0.0.1', 'replicant', 1886, 18_086, 4373, join('/d', '3-2', 'replicant1')],
      ['replicant2@127.0.0.1', 'replicant', 1887, 18_087, 4374, join('/d', '3-2', 'replicant2')],
    ],
  );
  assert.equal(planNodes({ ...defaults, cores: 1, replicants: 0 }, '').length, 1);
  assert.equal(new Set(portsOf(planNodes({ ...defaults, replicants: 20 }, '')).map((p) => p.port)).size, 69);
  assert.throws(() => planNodes({ ...defaults, cores: 0 }, ''), /--cores must be a whole number from 1 to 9/);
  assert.throws(() => planNodes({ ...defaults, basePort: 60_000 }, ''), /--base-port/);
});

test('the plan: each node gets a configuration that starts', () => {
  const nodes = planNodes(defaults, '/a "quoted" dir');
  for (const node of nodes) {
    const { config, warnings } = loadConfig({
      file: 'n/starmesh.conf',
      text: nodeConfig(node, nodes),
      readText: () => `node.cookie = "${'0'.repeat(48)}"`,
      environment: {},
    });
    assert.deepEqual(warnings, []);
    assert.deepEqual([config.node.name, config.node.role, config.node.dataDir], [node.name, node.role, node.dataDir]);
    assert.deepEqual([config.cluster.listen.port, config.listeners[0]?.bind.port, config.cluster.cores.length], [node.clusterPort, node.mqttPort, 3]);
  }
  assert.match(tryNext(nodes), /mosquitto_sub -p 1887 [\s\S]*mosquitto_pub -p 1883 /);
});

test('health: in sync only when every used shard is, and clients are accepted', () => {
  const data = (states: Record<string, string>, inSync: string[]): unknown => ({
    shards: Object.fromEntries(Object.entries(states).map(([k, state]) => [k, { state }])),
    shards_in_sync: inSync,
  });
  const inSync = data({ a: 'leader', b: 'follower', c: 'down' }, ['a', 'b']);
  assert.deepEqual(healthOf(inSync, true), { inSync: true, state: 'in sync', shards: '2/2' });
  assert.deepEqual(healthOf(inSync, false), { inSync: false, state: 'joining', shards: '2/2' });
  const copying = data({ a: 'normal', b: 'bootstrap', c: 'local_replay' }, ['a']);
  assert.deepEqual(healthOf(copying, true), { inSync: false, state: 'bootstrap', shards: '1/3' });
  assert.deepEqual(healthOf(data({ a: 'follower' }, []), true), { inSync: false, state: 'joining', shards: '0/1' });
  for (const nothing of [undefined, null, {}, { shards: {}, shards_in_sync: [] }, { shards: 1, shards_in_sync: 1 }])
    assert.equal(healthOf(nothing, true).inSync, false);
  assert.deepEqual([isServing({ state: 'running' }), isServing({ state: 'starting' }), isServing(undefined)], [true, false, false]);
});

test('the display: a table redrawn in place on a terminal, lines elsewhere', () => {
  const nodes = planNodes({ ...defaults, cores: 1, replicants: 0 }, '/d').map(
    (p) => new NodeProcess(p, { program: '', restart: true, environment: {} }, { say() {}, changed() {} }),
  );
  let out = '';
  const write = (text: string): void => {
    out += text;
  };
  const terminal = createDisplay({ isTTY: true, rows: 40, write }, 1);
  terminal.show(nodes);
  assert.match(out, /core1 +│ core +│ stopped/);
  const lines = out.split('\n').length - 1;
  terminal.line('hello');
  assert.ok(out.includes(`\u001b[${lines}A\u001b[Jhello\n`));
  out = '';
  terminal.show(nodes);
  assert.equal(out, '', 'nothing changed, nothing drawn');
  const pipe = createDisplay({ write }, 1);
  pipe.show(nodes);
  pipe.show(nodes);
  assert.equal(out, 'core1: stopped (core, MQTT 1883, HTTP 18083, cluster 4370)\n');
});

test('a cluster starts, is ready, restarts a killed node, and a signal stops all of it', async (t) => {
  const dir = folderOf(t);
  const base = await freeBase(3);
  const cluster = run(t, dir, '--cores', '2', '--replicants', '1', '--base-port', String(base));
  const out = await cluster.until(/cluster ready[\s\S]*Try it/);
  const shape = join(dir, '2-1');
  assert.equal(statSync(join(shape, 'cookie.conf')).mode & 0o777, 0o600);
  const before = pidOf(out, 'core2');
  process.kill(before, 'SIGKILL');
  const again = await cluster.until(/core2 ended \(SIGKILL\) and is started again in 3 s[\s\S]*cluster ready/);
  const pids = ['core1', 'core2', 'replicant1'].map((n) => pidOf(again, n));
  assert.notEqual(pids[1], before);
  assert.ok(pids.every(alive));
  cluster.child.kill('SIGTERM');
  const { code, out: all } = await cluster.ended;
  assert.deepEqual([code, pids.some(alive)], [0, false]);
  assert.match(all, /All nodes are stopped\.\n$/);
});

test('a cluster whose supervisor is killed leaves nothing behind, and its cookie and ports serve again', async (t) => {
  const dir = folderOf(t);
  const args = ['--cores', '1', '--replicants', '1', '--base-port', String(await freeBase(2))];
  const first = run(t, dir, ...args);
  const out = await first.until(/cluster ready/);
  const pids = ['core1', 'replicant1'].map((n) => pidOf(out, n));
  const cookie = readFileSync(join(dir, '1-1', 'cookie.conf'), 'utf8');
  const second = await run(t, dir, ...args).ended;
  assert.equal(second.code, 1);
  assert.match(second.out, /core1 of this shape is running already|is in use/);
  first.child.kill('SIGKILL');
  await Promise.all(pids.map(gone));
  writeFileSync(join(dir, '1-1', 'core1', 'left'), '');
  const third = run(t, dir, ...args);
  await third.until(/cluster ready/);
  assert.equal(readFileSync(join(dir, '1-1', 'cookie.conf'), 'utf8'), cookie);
  third.child.kill('SIGINT');
  assert.equal((await third.ended).code, 0);
  assert.ok(existsSync(join(dir, '1-1', 'core1', 'left')));
  const fresh = run(t, dir, ...args, '--fresh');
  await fresh.until(/cluster ready/);
  assert.ok(!existsSync(join(dir, '1-1', 'core1', 'left')));
  fresh.child.kill('SIGTERM');
  await fresh.ended;
});

test('a node that is not in sync holds back `cluster ready`; --no-restart leaves the dead alone', async (t) => {
  const dir = folderOf(t);
  mkdirSync(join(dir, '2-0', 'core2'), { recursive: true });
  writeFileSync(join(dir, '2-0', 'core2', 'lagging'), '');
  const cluster = run(t, dir, '--cores', '2', '--replicants', '0', '--no-restart', '--base-port', String(await freeBase(2)));
  assert.doesNotMatch(await cluster.until(/core2: joining/), /cluster ready/);
  rmSync(join(dir, '2-0', 'core2', 'lagging'));
  const out = await cluster.until(/cluster ready/);
  process.kill(pidOf(out, 'core1'), 'SIGKILL');
  await cluster.until(/core1 ended \(SIGKILL\)\n/);
  process.kill(pidOf(out, 'core2'), 'SIGKILL');
  const { code, out: all } = await cluster.ended;
  assert.equal(code, 1);
  assert.doesNotMatch(all, /again/);
});

test('what keeps a cluster from starting is one sentence: ports, folders, options, a node that cannot', async (t) => {
  const dir = folderOf(t);
  const base = await freeBase(2);
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(base + 2487, '127.0.0.1', resolve));
  const taken = await run(t, dir, '--cores', '1', '--replicants', '0', '--base-port', String(base)).ended;
  await new Promise((resolve) => holder.close(resolve));
  assert.equal(taken.code, 1);
  assert.match(
    taken.out,
    new RegExp(
      `^starmesh: port ${base + 2487} \\(cluster links of core1\\) is in use: stop the program that holds it, or .*--base-port ${base + 1000}\\n$`,
    ),
  );
  writeFileSync(join(dir, '1-0'), 'a file where a folder should be');
  const file = await run(t, dir, '--cores', '1', '--replicants', '0', '--base-port', String(base)).ended;
  assert.match(file.out, /^starmesh: the data of the local cluster cannot be written: .*\n$/);
  assert.match((await run(t, dir, '--cores', 'x').ended).out, /must be a whole number/);
  mkdirSync(join(dir, '1-1', 'replicant1'), { recursive: true });
  writeFileSync(join(dir, '1-1', 'replicant1', 'refuse'), '');
  const cluster = run(t, dir, '--cores', '1', '--replicants', '1', '--no-restart', '--base-port', String(base));
  await cluster.until(/replicant1 ended \(status 3\); its last words:\n {2}the disk is on fire/);
  cluster.child.kill('SIGTERM');
  assert.equal((await cluster.ended).code, 0);
});
