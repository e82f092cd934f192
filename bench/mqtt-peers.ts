// One broker process beside others, interleaved in one run: broker on processor 0, load on processor 1.
// Peers are measured when they can be found: mosquitto, nats-server and flashmq on the PATH (or where the
// variables of their names in capitals point, for example FLASHMQ=/opt/flashmq), Aedes from the
// development dependencies.
//   npm run bench -- peers [--rounds 3] [--seconds 4] [--only fan-out] [--peers Starmesh,FlashMQ]
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildLoadgen, figure, median, pinned, runLoad } from './load.js';

interface Peer {
  readonly name: string;
  readonly found: boolean;
  /** The only load that it is made for. */
  readonly only?: string;
  start(port: number, dir: string): ChildProcess;
}

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

const starmesh: Peer = {
  name: 'Starmesh',
  found: true,
  start: (port, dir) => {
    const [file, args] = pinned(0, [process.execPath, here('mqtt-node.js'), String(port), dir]);
    return spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  },
};

const floor: Peer = {
  name: 'plain Node',
  found: true,
  only: 'shared group',
  start: (port) => {
    const [file, args] = pinned(0, [process.execPath, here('mqtt-floor.js'), String(port)]);
    return spawn(file, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  },
};

const aedes: Peer = {
  name: 'Aedes',
  found: true,
  start: (port) => {
    const code = `import { Aedes } from 'aedes'; import { createServer } from 'node:net';
      const a = await Aedes.createBroker(); createServer(a.handle).listen(${port}, '127.0.0.1');`;
    const [file, args] = pinned(0, [process.execPath, '--input-type=module', '-e', code]);
    return spawn(file, args, { stdio: ['ignore', 'ignore', 'inherit'], cwd: here('../..') });
  },
};

/** A program of its own, started with a configuration file. */
function program(name: string, command: string, probe: string, option: string, config: (port: number, dir: string) => string): Peer {
  const path = process.env[command.toUpperCase().replaceAll('-', '_')] ?? command;
  return {
    name,
    found: spawnSync(path, [probe]).error === undefined,
    start: (port, dir) => {
      const file = join(dir, 'peer.conf');
      writeFileSync(file, config(port, dir));
      const [first, args] = pinned(0, [path, option, file]);
      return spawn(first, args, { stdio: 'ignore' });
    },
  };
}

const peers: readonly Peer[] = [
  starmesh,
  program('FlashMQ', 'flashmq', '--version', '--config-file', (port, dir) =>
    [
      'thread_count 1',
      'allow_anonymous true',
      'log_level error',
      `log_file ${join(dir, 'flashmq.log')}`,
      'max_qos_msg_pending_per_client 65000',
      'max_qos_bytes_pending_per_client 100000000',
      'client_max_write_buffer_size 100000000',
      `listen {\n  protocol mqtt\n  inet_protocol ip4\n  port ${port}\n}\n`,
    ].join('\n'),
  ),
  program(
    'mosquitto',
    'mosquitto',
    '-h',
    '-c',
    (port) => `listener ${port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nlog_type error\npersistence false\n`,
  ),
  program(
    'NATS',
    'nats-server',
    '--version',
    '-c',
    (port, dir) => `listen: 127.0.0.1:${port + 1}\nserver_name: peer\njetstream { store_dir: "${dir}" }\nmqtt { listen: "127.0.0.1:${port}" }\n`,
  ),
  aedes,
  floor,
];

interface Load {
  readonly name: string;
  readonly args: readonly string[];
  /** Which figure of the load generator's line counts. */
  readonly figure: 'recv/s' | 'p99' | 'conn/s';
  /** So often before, unmeasured: what compilers and buffers need comes once in the life of a broker. */
  readonly warmUps?: number;
}

const oneToOne = ['bench', '-t', '11', '-P', '100', '-S', '100', '-s', '64'];
const fanOut = ['bench', '-t', 'fan', '-P', '1', '-S', '1000', '-s', '64', '-W', '5'];
const loads: readonly Load[] = [
  { name: 'QoS 0, 100 to 100, window 10', args: [...oneToOne, '-q', '0', '-W', '10'], figure: 'recv/s' },
  { name: 'QoS 0, 100 to 100, window 50', args: [...oneToOne, '-q', '0', '-W', '50'], figure: 'recv/s' },
  { name: 'QoS 1, 100 to 100, window 10', args: [...oneToOne, '-q', '1', '-W', '10'], figure: 'recv/s' },
  { name: 'QoS 1, 100 to 100, window 50', args: [...oneToOne, '-q', '1', '-W', '50'], figure: 'recv/s' },
  { name: 'QoS 0, fan-out 1 to 1000', args: [...fanOut, '-q', '0'], figure: 'recv/s' },
  { name: 'QoS 1, fan-out 1 to 1000', args: [...fanOut, '-q', '1'], figure: 'recv/s' },
  { name: 'QoS 0, shared group, 1000 to 4', args: ['bench', '-t', 'share', '-P', '1000', '-S', '4', '-q', '0', '-W', '2'], figure: 'recv/s' },
  { name: 'QoS 1 at 5,000 a second, p99 in ms', args: [...oneToOne, '-q', '1', '-R', '5000'], figure: 'p99' },
  { name: 'connections', args: ['conn', '-n', '15000', '-H', '0'], figure: 'conn/s', warmUps: 3 },
  { name: 'connections, the first 15,000', args: ['conn', '-n', '15000', '-H', '0'], figure: 'conn/s' },
];

const startMs = 20_000;

function accepts(port: number): Promise<void> {
  const from = Date.now();
  return new Promise((resolve, reject) => {
    const attempt = (): void => {
      const s = connect(port, '127.0.0.1');
      s.on('connect', () => {
        s.destroy();
        resolve();
      });
      s.on('error', (error) => {
        if (Date.now() - from > startMs) reject(error);
        else setTimeout(attempt, 50);
      });
    };
    attempt();
  });
}

async function measure(peer: Peer, load: Load, port: number, seconds: string): Promise<string> {
  const loadgen = buildLoadgen();
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-bench-'));
  const child = peer.start(port, dir);
  const ended = new Promise((resolve) => child.on('exit', resolve));
  try {
    await accepts(port);
    const duration = load.args[0] === 'bench' ? ['-d', seconds] : [];
    const args = [...load.args, '-p', String(port), ...duration];
    for (let i = 0; i < (load.warmUps ?? 0); i++) {
      await runLoad(loadgen, args);
      // The end of all these connections is work, too.
      await new Promise((resolve) => setTimeout(resolve, 2_000));
    }
    return await runLoad(loadgen, args);
  } finally {
    child.kill('SIGKILL');
    await ended;
    rmSync(dir, { recursive: true, force: true });
  }
}

function row(load: Load, asked: readonly Peer[], results: ReadonlyMap<string, readonly number[]>): void {
  const show = (v: number): string => (load.figure === 'p99' ? v.toFixed(2) : String(Math.round(v)));
  const ours = median(results.get(`${load.name}\tStarmesh`) ?? []);
  for (const peer of asked) {
    const all = results.get(`${load.name}\t${peer.name}`) ?? [];
    // NATS and Aedes know no shared subscriptions.
    if (all.every((v) => v === 0)) continue;
    const m = median(all);
    const ratio = `Starmesh is at ${(ours / m).toFixed(2)} of it`;
    process.stdout.write(`${load.name} | ${peer.name} | ${show(m)} (${show(Math.min(...all))} to ${show(Math.max(...all))}) | ${ratio}\n`);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '4' },
      port: { type: 'string', default: '21890' },
      only: { type: 'string', default: '' },
      peers: { type: 'string', default: '' },
    },
  });
  const asked = peers.filter((p) => p.found && (values.peers === '' || values.peers.split(',').includes(p.name)));
  const results = new Map<string, number[]>();
  let port = Number(values.port);
  for (const load of loads.filter((l) => l.name.includes(values.only))) {
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const peer of asked) {
        if (peer.only !== undefined && !load.name.includes(peer.only)) continue;
        port += 2;
        try {
          const line = await measure(peer, load, port, values.seconds);
          const key = `${load.name}\t${peer.name}`;
          results.set(key, [...(results.get(key) ?? []), figure(line, load.figure)]);
          process.stderr.write(`${load.name}, ${peer.name}: ${line}\n`);
        } catch (error) {
          process.stderr.write(`${load.name}, ${peer.name}: could not be measured: ${(error as Error).message}\n`);
        }
      }
    }
    row(load, asked, results);
  }
}

await main();
