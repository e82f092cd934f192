// Database nodes as processes on loopback, for the benchmarks of the database: starts them, asks
// them to do things, adds up what they used. db-node.ts is the other end.
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BenchAnswers, BenchCommand, BenchNodeOptions, ShardSeen, Usage } from './db-node.js';

export interface ClusterOptions {
  readonly cores: number;
  readonly replicants: number;
  readonly port: number;
  readonly dir?: string;
  /** Timings and bounds of the database that differ from the defaults. */
  readonly settings?: BenchNodeOptions['settings'];
}

/** After so long without a word a link is down. */
const stoppedIsGoneMs = 7_000;

type Answer = { readonly id: number; readonly result: unknown };

export class BenchNode {
  readonly name: string;
  readonly role: 'core' | 'replicant';
  readonly ready: Promise<void>;
  readonly #process: ChildProcess;
  readonly #waiting: Map<number, (result: unknown) => void> = new Map();
  readonly #gone: Promise<void>;
  #id = 0;

  constructor(options: BenchNodeOptions) {
    this.name = options.name;
    this.role = options.role;
    this.#process = fork(fileURLToPath(new URL('./db-node.js', import.meta.url)), [JSON.stringify(options)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: ['--expose-gc', ...(process.env['BENCH_NODE_OPTIONS']?.split(' ') ?? [])],
    });
    let isReady: () => void = () => {};
    this.ready = new Promise((resolve) => {
      isReady = resolve;
    });
    this.#gone = new Promise((resolve) => this.#process.on('exit', () => resolve()));
    this.#process.on('message', (m: Answer | { ready: true }) => {
      if ('ready' in m) return isReady();
      this.#waiting.get(m.id)?.(m.result);
      this.#waiting.delete(m.id);
    });
  }

  ask<T extends BenchCommand['type']>(command: Extract<BenchCommand, { type: T }>): Promise<BenchAnswers[T]> {
    const id = ++this.#id;
    return new Promise((resolve) => {
      this.#waiting.set(id, (result) => resolve(result as BenchAnswers[T]));
      this.#process.send({ id, command });
    });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process.kill(signal);
  }

  kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    return this.#gone;
  }
}

export function cluster(o: ClusterOptions): BenchCluster {
  return new BenchCluster(o);
}

export class BenchCluster {
  nodes: readonly BenchNode[];
  readonly #o: ClusterOptions;
  readonly #dir: string;
  #following: number;

  constructor(o: ClusterOptions) {
    this.#o = o;
    const parent = o.dir ?? tmpdir();
    mkdirSync(parent, { recursive: true });
    this.#dir = mkdtempSync(join(parent, 'starmesh-bench-'));
    const cores = this.#cores().map((c) => this.#start(c.name, 'core', c.port));
    this.nodes = cores;
    this.#following = o.replicants;
    for (let i = 0; i < o.replicants; i++) this.addReplicant();
  }

  #cores(): { readonly name: string; readonly port: number }[] {
    return Array.from({ length: this.#o.cores }, (_, i) => ({ name: `core${i + 1}@127.0.0.1`, port: this.#o.port + i }));
  }

  #start(name: string, role: 'core' | 'replicant', port: number): BenchNode {
    return new BenchNode({ name, role, port, dataDir: join(this.#dir, name), cores: this.#cores(), settings: this.#o.settings ?? {} });
  }

  addReplicant(): BenchNode {
    const i = this.nodes.length - this.#o.cores;
    const node = this.#start(`replicant${i + 1}@127.0.0.1`, 'replicant', this.#o.port + this.#o.cores + i);
    this.nodes = [...this.nodes, node];
    return node;
  }

  /** A core that was killed, on its data. */
  async restart(core: BenchNode): Promise<void> {
    const at = this.nodes.indexOf(core);
    const again = this.#start(core.name, 'core', this.#o.port + at);
    this.nodes = this.nodes.with(at, again);
    await again.ready;
  }

  /** Only the first `count` replicants run, in step; the others stand still and cost nothing, as if they were not there. */
  async follow(count: number): Promise<void> {
    const before = this.#following;
    this.#following = count;
    for (const [i, r] of this.replicants.entries()) r.signal(i < count ? 'SIGCONT' : 'SIGSTOP');
    // Until the cores have given up those that stand still.
    if (count < before) await new Promise((resolve) => setTimeout(resolve, stoppedIsGoneMs));
    for (const r of this.replicants.slice(0, count)) await r.ask({ type: 'normal' });
    const newest = Math.max(...(await Promise.all(this.active.map((n) => n.ask({ type: 'seen' })))).map((s) => s.appliedIndex));
    for (const r of this.replicants.slice(0, count)) {
      while ((await r.ask({ type: 'seen' })).appliedIndex < newest) await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Those that are not made to stand still. */
  get active(): BenchNode[] {
    return this.nodes.slice(0, this.#o.cores + this.#following);
  }

  /** Serving, and every replica in step. */
  async ready(): Promise<this> {
    await Promise.all(this.nodes.map((n) => n.ready));
    for (const n of this.replicants) await n.ask({ type: 'normal' });
    return this;
  }

  get cores(): BenchNode[] {
    return this.nodes.filter((n) => n.role === 'core');
  }

  get replicants(): BenchNode[] {
    return this.nodes.filter((n) => n.role === 'replicant');
  }

  async seen(): Promise<ShardSeen[]> {
    return Promise.all(this.active.map((n) => n.ask({ type: 'seen' })));
  }

  /** Of the shard that is written. */
  async leader(): Promise<BenchNode> {
    for (;;) {
      const at = (await this.seen()).findIndex((s) => s.leads);
      if (at >= 0) return this.nodes[at] as BenchNode;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  usage(collect: boolean = false): Promise<Usage[]> {
    return Promise.all(this.active.map((n) => n.ask({ type: 'usage', collect })));
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((n) => n.kill()));
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Counts instructions and switches of the nodes until it is ended, with Linux's perf: unlike times they hardly depend on what else runs here. */
export class Perf {
  readonly #process: ChildProcess;
  #said = '';

  constructor(nodes: readonly BenchNode[]) {
    const events = 'instructions:u,instructions:k,context-switches';
    this.#process = spawn('perf', ['stat', '-x', ',', '-e', events, '-p', nodes.map((n) => n.pid).join(',')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process.stderr?.on('data', (d: Buffer) => {
      this.#said += d.toString();
    });
  }

  async end(writes: number): Promise<string> {
    const ended = new Promise((resolve) => this.#process.on('close', resolve));
    this.#process.kill('SIGINT');
    await ended;
    const of = (event: string): number =>
      Number(
        this.#said
          .split('\n')
          .find((l) => l.includes(event))
          ?.split(',')[0] ?? Number.NaN,
      ) / writes;
    return `; instructions ${(of('instructions:u') / 1000).toFixed(1)}k in user mode and ${(of('instructions:k') / 1000).toFixed(1)}k in the kernel, ${of('context-switches').toFixed(2)} context switches a write`;
  }
}

/** What the nodes used between two looks, per write: the leader's, the other cores', the replicants' own. */
export function used(nodes: readonly BenchNode[], leader: BenchNode, before: readonly Usage[], after: readonly Usage[], writes: number): string {
  const sum = (pick: (n: BenchNode) => boolean, of: (u: Usage) => number): number =>
    nodes.reduce((total, n, i) => total + (pick(n) ? of(after[i] as Usage) - of(before[i] as Usage) : 0), 0);
  const cpu = (pick: (n: BenchNode) => boolean): string => (sum(pick, (u) => u.cpuUs) / Math.max(1, writes)).toFixed(1);
  const count = (name: string): number =>
    Math.round(
      sum(
        () => true,
        (u) => u.counts[name] ?? 0,
      ),
    );
  const parts = [`leader ${cpu((n) => n === leader)}`, `other cores ${cpu((n) => n !== leader && n.role === 'core')}`];
  if (nodes.some((n) => n.role === 'replicant')) parts.push(`replicants ${cpu((n) => n.role === 'replicant')}`);
  return `processor ${cpu(() => true)} us/write (${parts.join(', ')}); ${count('commits')} table commits, ${count('syncs')} log syncs, ${count('frames')} frames`;
}
