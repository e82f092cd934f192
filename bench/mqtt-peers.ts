// Throughput of one broker process beside others, interleaved in one run: broker on processor 0,
// load on processor 1. Peers are measured when they can be found: mosquitto on the PATH, Aedes from
// the development dependencies.
//   npm run bench -- peers [--rounds 3] [--seconds 4]
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
  start(port: number, dir: string): ChildProcess;
}

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

const starmesh: Peer = {
  name: 'Starmesh',
  start: (port, dir) => {
    const [file, args] = pinned(0, [process.execPath, here('mqtt-node.js'), String(port), dir]);
    return spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  },
};

const mosquitto: Peer = {
  name: 'mosquitto',
  start: (port, dir) => {
    const config = join(dir, 'mosquitto.conf');
    writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nlog_type error\npersistence false\n`);
    const [file, args] = pinned(0, ['mosquitto', '-c', config]);
    return spawn(file, args, { stdio: 'ignore' });
  },
};

const aedes: Peer = {
  name: 'Aedes',
  start: (port) => {
    const code = `import { Aedes } from 'aedes'; import { createServer } from 'node:net';
      const a = await Aedes.createBroker(); createServer(a.handle).listen(${port}, '127.0.0.1');`;
    const [file, args] = pinned(0, [process.execPath, '--input-type=module', '-e', code]);
    return spawn(file, args, { stdio: ['ignore', 'ignore', 'inherit'], cwd: here('../..') });
  },
};

const loads: readonly { readonly name: string; readonly args: readonly string[] }[] = [
  { name: 'QoS 0, 100 to 100, window 10', args: ['-t', '11', '-P', '100', '-S', '100', '-q', '0', '-s', '64', '-W', '10'] },
  { name: 'QoS 1, 100 to 100, window 10', args: ['-t', '11', '-P', '100', '-S', '100', '-q', '1', '-s', '64', '-W', '10'] },
  { name: 'QoS 0, fan-out 1 to 1000', args: ['-t', 'fan', '-P', '1', '-S', '1000', '-q', '0', '-s', '64', '-W', '5'] },
];

function accepts(port: number): Promise<void> {
  return new Promise((resolve) => {
    const attempt = (): void => {
      const s = connect(port, '127.0.0.1');
      s.on('connect', () => {
        s.destroy();
        resolve();
      });
      s.on('error', () => setTimeout(attempt, 50));
    };
    attempt();
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '4' }, port: { type: 'string', default: '21890' } },
  });
  const loadgen = buildLoadgen();
  const peers = [starmesh, ...(spawnSync('mosquitto', ['-h']).error === undefined ? [mosquitto] : []), aedes];
  const results = new Map<string, number[]>();
  let port = Number(values.port);
  for (const load of loads) {
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const peer of peers) {
        port += 2;
        const dir = mkdtempSync(join(tmpdir(), 'starmesh-bench-'));
        const child = peer.start(port, dir);
        await accepts(port);
        const line = await runLoad(loadgen, ['bench', '-p', String(port), ...load.args, '-d', values.seconds]);
        const ended = new Promise((resolve) => child.on('exit', resolve));
        child.kill('SIGKILL');
        await ended;
        rmSync(dir, { recursive: true, force: true });
        const key = `${load.name}\t${peer.name}`;
        results.set(key, [...(results.get(key) ?? []), figure(line, 'recv/s')]);
        process.stderr.write(`${load.name}, ${peer.name}: ${line}\n`);
      }
    }
  }
  for (const load of loads) {
    const ours = median(results.get(`${load.name}\tStarmesh`) ?? []);
    for (const peer of peers) {
      const all = results.get(`${load.name}\t${peer.name}`) ?? [];
      const m = median(all);
      process.stdout.write(
        `${load.name} | ${peer.name} | ${Math.round(m)} msgs/s (${Math.round(Math.min(...all))} to ${Math.round(Math.max(...all))}) | Starmesh is ${(ours / m).toFixed(2)}x\n`,
      );
    }
  }
}

await main();
