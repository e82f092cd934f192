// One database node as a process of its own, for benchmarks: started by bench/db-cluster.ts with its
// options as JSON in the first argument, driven over the parent's IPC channel.
import type { ShardSchema, Table } from '#db/api.js';
import { createNodeCore } from '#node/node-core.js';
import { createOsEnv } from '#os/env.js';

export interface BenchNodeOptions {
  readonly name: string;
  readonly role: 'core' | 'replicant';
  readonly port: number;
  readonly dataDir: string;
  readonly cores: readonly { readonly name: string; readonly port: number }[];
}

export type BenchCommand =
  | {
      readonly id: number;
      readonly type: 'write';
      readonly writers: number;
      readonly seconds: number;
      readonly valueBytes: number;
      readonly until: 'committed' | 'applied' | 'effective';
    }
  | { readonly id: number; readonly type: 'fill'; readonly rows: number; readonly valueBytes: number }
  /** Answers when the replica of `items` has lost its core and is `normal` again; `seconds`: how long that took. */
  | { readonly id: number; readonly type: 'resume' }
  | { readonly id: number; readonly type: 'status' };

export interface BenchResult {
  readonly id: number;
  readonly writes: number;
  readonly failed: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly leads: boolean;
  readonly status: unknown;
  readonly cpuUs: number;
  readonly counts: Readonly<Record<string, number>>;
}

const table: Table = { id: 40, name: 'items', shard: 'items' };
const schemas: readonly ShardSchema[] = [{ name: 'items', replicate: 'all', tables: [table], commands: {} }];
const host = '127.0.0.1';

const options = JSON.parse(process.argv[2] ?? '{}') as BenchNodeOptions;
const env = createOsEnv({ dataDir: options.dataDir, logger: { targets: [{ level: 'warn' }] } });
const core = createNodeCore(env, {
  name: options.name,
  role: options.role,
  cookie: 'benchmark',
  listen: { host, port: options.port },
  advertise: { host, port: options.port },
  cores: options.cores.map((c) => ({ name: c.name, role: 'core', host, port: c.port })),
  schemas,
  nodeDownAfterMs: 15_000,
  autocleanMs: Number.POSITIVE_INFINITY,
  onFatal: (error) => {
    process.stderr.write(`${options.name}: ${error.stack ?? error.message}\n`);
    process.exit(1);
  },
});

const poll = setInterval(() => {
  if (!core.cluster.serving) return;
  clearInterval(poll);
  process.send?.({ ready: true });
}, 20);

function report(result: Omit<BenchResult, 'cpuUs' | 'counts'>): void {
  const { user, system } = process.cpuUsage();
  process.send?.({ ...result, cpuUs: user + system, counts: counts() });
}

/** What happened in this process since its start: table commits, log syncs, frames and bytes sent. */
function counts(): Record<string, number> {
  const all: Record<string, number> = { commits: core.database.shardState('items')?.batches ?? 0 };
  for (const f of env.metrics.collect()) {
    if (f.type === 'histogram') continue;
    const n = f.samples.reduce((sum, x) => sum + x.value, 0);
    if (f.name === 'starmesh_wal_syncs_total') all['syncs'] = n;
    else if (f.name === 'starmesh_link_frames_sent_total') all['frames'] = n;
  }
  return all;
}

function percentile(sorted: Float64Array, p: number): number {
  return sorted.length === 0 ? 0 : (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] as number);
}

function write(c: Extract<BenchCommand, { type: 'write' }>): void {
  const value = new Uint8Array(c.valueBytes).fill(7);
  const began = performance.now();
  const endAt = began + c.seconds * 1000;
  const times: number[] = [];
  let failed = 0;
  let running = c.writers;
  const writer = (w: number): void => {
    let n = 0;
    const next = (): void => {
      const start = performance.now();
      if (start >= endAt) {
        if (--running > 0) return;
        const sorted = Float64Array.from(times).sort();
        const seconds = (performance.now() - began) / 1000;
        const leads = core.database.coreShard('items')?.leader !== undefined;
        report({
          id: c.id,
          writes: times.length,
          failed,
          seconds,
          p50Ms: percentile(sorted, 0.5),
          p99Ms: percentile(sorted, 0.99),
          leads,
          status: undefined,
        });
        return;
      }
      const key = Buffer.from(`w${w}/${n++ % 1000}`);
      core.database.write('items', [{ kind: 'put', table, key, value }], { until: c.until }, (failure) => {
        if (failure === undefined) times.push(performance.now() - start);
        else failed++;
        next();
      });
    };
    next();
  };
  for (let w = 0; w < c.writers; w++) writer(w);
}

function fill(c: Extract<BenchCommand, { type: 'fill' }>): void {
  const value = new Uint8Array(c.valueBytes).fill(7);
  const began = performance.now();
  let sent = 0;
  let done = 0;
  let failed = 0;
  const batch = 100;
  const next = (): void => {
    if (sent >= c.rows) {
      if (done < c.rows) return;
      report({ id: c.id, writes: done, failed, seconds: (performance.now() - began) / 1000, p50Ms: 0, p99Ms: 0, leads: false, status: undefined });
      return;
    }
    const ops = [];
    for (let i = 0; i < batch && sent < c.rows; i++, sent++) ops.push({ kind: 'put', table, key: Buffer.from(`fill/${sent}`), value } as const);
    core.database.write('items', ops, { deadlineMs: 30_000 }, (failure) => {
      if (failure !== undefined) failed++;
      done += ops.length;
      next();
    });
  };
  for (let i = 0; i < 32; i++) next();
}

function resume(c: Extract<BenchCommand, { type: 'resume' }>): void {
  let lostAt: number | undefined;
  const look = (): void => {
    const replica = core.database.replica('items');
    if (replica === undefined) throw new Error('resume is for replicants');
    const s = replica.status((id) => core.links.peer(id)?.name);
    if (s.state !== 'normal') lostAt ??= performance.now();
    else if (lostAt !== undefined) {
      report({ id: c.id, writes: 0, failed: 0, seconds: (performance.now() - lostAt) / 1000, p50Ms: 0, p99Ms: 0, leads: false, status: s });
      return;
    }
    setTimeout(look, 1);
  };
  look();
}

process.on('message', (command: BenchCommand) => {
  if (command.type === 'write') return write(command);
  if (command.type === 'fill') return fill(command);
  if (command.type === 'resume') return resume(command);
  const leads = core.database.coreShard('items')?.leader !== undefined;
  report({ id: command.id, writes: 0, failed: 0, seconds: 0, p50Ms: 0, p99Ms: 0, leads, status: core.database.status() });
});
process.on('disconnect', () => process.exit(0));
