// Starts database nodes as processes on loopback and measures writes through three cores, the
// cost of replicants, and how long a replicant needs on another core when its own one is killed.
//   npm run bench -- db [--replicants N] [--writers 1,16,256] [--seconds S] [--value-bytes N] [--from leader|follower|replicant]
//   npm run bench -- db --resume [--rows 100000]
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { BenchCommand, BenchNodeOptions, BenchResult } from './db-node.js';

const profileDir = process.env['BENCH_PROF'];
type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

class BenchNode {
  readonly name: string;
  readonly role: 'core' | 'replicant';
  readonly #process: ChildProcess;
  readonly ready: Promise<void>;
  readonly #waiting: Map<number, (r: BenchResult) => void> = new Map();
  #id = 0;

  constructor(options: BenchNodeOptions) {
    this.name = options.name;
    this.role = options.role;
    this.#process = fork(fileURLToPath(new URL('./db-node.js', import.meta.url)), [JSON.stringify(options)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv:
        process.env['BENCH_PERF'] !== undefined
          ? ['--perf-basic-prof']
          : profileDir === undefined
            ? []
            : ['--cpu-prof', '--cpu-prof-dir', profileDir],
    });
    let isReady: () => void = () => {};
    this.ready = new Promise((resolve) => {
      isReady = resolve;
    });
    this.#process.on('message', (m: BenchResult | { ready: true }) => {
      if ('ready' in m) return isReady();
      this.#waiting.get(m.id)?.(m);
      this.#waiting.delete(m.id);
    });
  }

  ask(command: WithoutId<BenchCommand>): Promise<BenchResult> {
    const id = ++this.#id;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#process.send({ ...command, id });
    });
  }

  kill(): void {
    if (profileDir !== undefined) this.#process.disconnect();
    else this.#process.kill('SIGKILL');
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      cores: { type: 'string', default: '3' },
      replicants: { type: 'string', default: '0' },
      writers: { type: 'string', default: '1,16,256' },
      seconds: { type: 'string', default: '4' },
      'value-bytes': { type: 'string', default: '100' },
      from: { type: 'string', default: 'leader' },
      dir: { type: 'string', default: tmpdir() },
      port: { type: 'string', default: '24370' },
      resume: { type: 'boolean', default: false },
      rows: { type: 'string', default: '100000' },
    },
  });
  const dir = mkdtempSync(join(values.dir, 'starmesh-bench-'));
  const port = Number(values.port);
  const coreCount = Number(values.cores);
  const cores = Array.from({ length: coreCount }, (_, i) => ({ name: `core${i + 1}@127.0.0.1`, port: port + i }));
  const nodes = cores.map((c) => new BenchNode({ ...c, role: 'core', dataDir: join(dir, c.name), cores }));
  const replicants = values.resume ? Math.max(1, Number(values.replicants)) : Number(values.replicants);
  for (let i = 0; i < replicants; i++) {
    const name = `replicant${i + 1}@127.0.0.1`;
    nodes.push(new BenchNode({ name, role: 'replicant', port: port + coreCount + i, dataDir: join(dir, name), cores }));
  }
  try {
    await Promise.all(nodes.map((n) => n.ready));
    if (values.resume) return await resume(nodes, Number(values.rows));
    const states = await Promise.all(nodes.map((n) => n.ask({ type: 'status' })));
    const leader = nodes[states.findIndex((s) => s.leads)];
    const follower = nodes.find((n, i) => n.role === 'core' && !states[i]?.leads);
    const from = values.from === 'leader' ? leader : values.from === 'follower' ? follower : nodes.find((n) => n.role === 'replicant');
    if (from === undefined) throw new Error(`there is no ${values.from}`);
    for (const writers of values.writers.split(',').map(Number)) {
      const before = await Promise.all(nodes.map((n) => n.ask({ type: 'status' })));
      const r = await from.ask({
        type: 'write',
        writers,
        seconds: Number(values.seconds),
        valueBytes: Number(values['value-bytes']),
        until: 'committed',
      });
      const after = await Promise.all(nodes.map((n) => n.ask({ type: 'status' })));
      const cpu = after.map((a, i) => (a.cpuUs - (before[i]?.cpuUs ?? 0)) / r.writes);
      const total = cpu.reduce((a, b) => a + b, 0);
      process.stdout.write(
        `cpu us/write ${total.toFixed(1)}: ${cpu.map((c, i) => `${nodes[i] === leader ? 'L' : nodes[i]?.role[0]}${c.toFixed(1)}`).join(' ')}  counts/s ${after
          .map((a, i) =>
            Object.entries(a.counts)
              .map(([k, v]) => `${k}=${Math.round((v - (before[i]?.counts[k] ?? 0)) / r.seconds)}`)
              .join(','),
          )
          .join(' | ')}\n`,
      );
      const rate = Math.round(r.writes / r.seconds);
      process.stdout.write(
        `cores ${coreCount}  replicants ${values.replicants}  from ${values.from}  writers ${writers}: ${rate} writes/s, p50 ${r.p50Ms.toFixed(2)} ms, p99 ${r.p99Ms.toFixed(2)} ms, failed ${r.failed}\n`,
      );
    }
  } finally {
    for (const n of nodes) n.kill();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Kills the core that the first replicant follows, and says when it was `normal` again. */
async function resume(nodes: readonly BenchNode[], rows: number): Promise<void> {
  const first = nodes[0];
  const replicant = nodes.find((n) => n.role === 'replicant');
  if (first === undefined || replicant === undefined) throw new Error('needs a core and a replicant');
  const filled = await first.ask({ type: 'fill', rows, valueBytes: 100 });
  process.stdout.write(`filled ${filled.writes} rows in ${filled.seconds.toFixed(1)} s\n`);
  const before = replicaStatus(await replicant.ask({ type: 'status' }));
  const upstream = nodes.find((n) => n.name === before.upstream);
  if (upstream === undefined) throw new Error('the replicant follows nobody');
  const answer = replicant.ask({ type: 'resume' });
  upstream.kill();
  const r = await answer;
  const after = r.status as { readonly bootstraps: number };
  process.stdout.write(
    `core killed -> replicant normal on another one: ${(r.seconds * 1000).toFixed(0)} ms, bootstraps ${before.bootstraps} -> ${after.bootstraps}\n`,
  );
}

function replicaStatus(r: BenchResult): { readonly upstream: string; readonly bootstraps: number } {
  const all = r.status as readonly { readonly shard: string; readonly replica?: { readonly upstream: string; readonly bootstraps: number } }[];
  const found = all.find((s) => s.shard === 'items')?.replica;
  if (found === undefined) throw new Error('no replica of items');
  return found;
}

await main();
