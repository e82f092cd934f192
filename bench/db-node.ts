// One database node as a process of its own, for benchmarks: started by db-nodes.ts with its options
// as JSON in the first argument, driven over the parent's IPC channel. db-loads.ts does the work.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { join } from 'node:path';
import type { ShardSchema, Table } from '#db/api.js';
import type { DbBounds } from '#db/bounds.js';
import type { RaftTimings } from '#db/core-shard.js';
import { createNodeCore } from '#node/node-core.js';
import { createOsEnv } from '#os/env.js';
import { type Churn, type Churned, ChurnLoad, fill, LagFeed, type Load, read, type Wrote, write } from './db-loads.js';

export interface BenchNodeOptions {
  readonly name: string;
  readonly role: 'core' | 'replicant';
  readonly port: number;
  readonly dataDir: string;
  readonly cores: readonly { readonly name: string; readonly port: number }[];
  readonly settings: { readonly bounds?: Partial<DbBounds>; readonly timings?: RaftTimings };
}

export type BenchCommand =
  | ({ readonly type: 'write' } & Load)
  | { readonly type: 'fill'; readonly rows: number; readonly valueBytes: number; readonly prefix: string }
  /** Begins a load that goes on until it is stopped. */
  | ({ readonly type: 'churn' } & Churn)
  | { readonly type: 'churned' }
  /** Answers when this node's replica, if it has one, is `normal` and has everything. */
  | { readonly type: 'normal' }
  /** Answers when the replica has lost its core and is `normal` again: how long that took. */
  | { readonly type: 'resume' }
  | { readonly type: 'seen' }
  | { readonly type: 'usage'; readonly collect: boolean }
  /** Milliseconds per local read of random rows. */
  | { readonly type: 'read'; readonly count: number; readonly rows: number; readonly prefix: string }
  /** Remembers when each write of a load with `times` became visible here; then gives it back. */
  | { readonly type: 'watch' }
  | { readonly type: 'watched' }
  | { readonly type: 'profile'; readonly file: string | undefined };

export interface ShardSeen {
  readonly leads: boolean;
  readonly state: string;
  readonly upstream: string;
  readonly bootstraps: number;
  readonly bootstrapMs: number;
  readonly rows: number;
  readonly leftMs: number;
  /** Entries received and not applied. */
  readonly queued: number;
  readonly appliedIndex: number;
}

export interface Usage {
  readonly cpuUs: number;
  /** Since the process started. */
  readonly counts: Readonly<Record<string, number>>;
  readonly heapBytes: number;
  /** Private memory, mapped files apart. */
  readonly privateBytes: number;
  /** Of the mapped files, what is in memory; and all that the tables take on disk. */
  readonly mappedBytes: number;
  readonly tableBytes: number;
  readonly tableRows: number;
  /** The log's segments, as long as they are. */
  readonly logBytes: number;
  /** Rows that the churn has written so far. */
  readonly churned: number;
}

export interface BenchAnswers {
  readonly write: Wrote;
  readonly fill: { readonly failed: number; readonly seconds: number };
  readonly churn: undefined;
  readonly churned: Churned;
  readonly normal: undefined;
  readonly resume: { readonly seconds: number; readonly bootstraps: number };
  readonly seen: ShardSeen;
  readonly usage: Usage;
  readonly read: { readonly usEach: number };
  readonly watch: undefined;
  readonly watched: { readonly at: readonly number[] };
  readonly profile: undefined;
}

export const table: Table = { id: 40, name: 'items', shard: 'items' };
const schemas: readonly ShardSchema[] = [{ name: 'items', replicate: 'all', tables: [table], commands: {} }];
const host = '127.0.0.1';

const options = JSON.parse(process.argv[2] ?? '{}') as BenchNodeOptions;
const env = createOsEnv({ dataDir: options.dataDir, logger: { targets: [{ level: 'error' }] } });
const core = createNodeCore(env, {
  name: options.name,
  role: options.role,
  cookie: 'benchmark',
  listen: { host, port: options.port },
  advertise: { host, port: options.port },
  cores: options.cores.map((c) => ({ name: c.name, role: 'core', host, port: c.port })),
  schemas,
  // Nodes are made to stand still between rounds, and shall be the same ones afterwards.
  nodeDownAfterMs: 3_600_000,
  autocleanMs: Number.POSITIVE_INFINITY,
  ...options.settings,
  onFatal: (error) => {
    process.stderr.write(`${options.name}: ${error.stack ?? error.message}\n`);
    process.exit(1);
  },
});

const db = core.database;
let lag: LagFeed | undefined;
let churn: ChurnLoad | undefined;
let session: Session | undefined;

function until(what: () => boolean, then: () => void): void {
  if (what()) return then();
  setTimeout(() => until(what, then), 1);
}

until(
  () => core.cluster.serving,
  () => process.send?.({ ready: true }),
);

function seen(): ShardSeen {
  const r = db.replica('items')?.status((id) => core.links.peer(id)?.name);
  return {
    leads: db.coreShard('items')?.leader !== undefined,
    state: r?.state ?? 'core',
    upstream: r?.upstream ?? '',
    bootstraps: r?.bootstraps ?? 0,
    bootstrapMs: r?.bootstrapTimeMs ?? 0,
    rows: r?.bootstrapNumKeys ?? 0,
    leftMs: r?.bootstrap?.leftMs ?? 0,
    queued: r?.replayqLen ?? 0,
    appliedIndex: db.appliedIndex('items'),
  };
}

/** What happened in this process: table commits, log syncs, frames sent. */
function counts(): Record<string, number> {
  const all: Record<string, number> = { commits: db.shardState('items')?.commits ?? 0 };
  for (const f of env.metrics.collect()) {
    if (f.type === 'histogram') continue;
    const n = f.samples.reduce((sum, x) => sum + x.value, 0);
    if (f.name === 'starmesh_wal_syncs_total') all['syncs'] = n;
    else if (f.name === 'starmesh_link_frames_sent_total') all['frames'] = n;
  }
  return all;
}

function usage(): Usage {
  const { user, system } = process.cpuUsage();
  const smaps = readFileSync('/proc/self/smaps_rollup', 'utf8');
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(smaps)?.[1] ?? 0);
  const stat = db.shardState('items')?.store.stat();
  return {
    cpuUs: user + system,
    counts: counts(),
    heapBytes: process.memoryUsage().heapUsed,
    privateBytes: kib('Anonymous') * 1024,
    mappedBytes: (kib('Rss') - kib('Anonymous')) * 1024,
    tableBytes: stat?.bytes ?? 0,
    tableRows: stat?.rows ?? 0,
    logBytes: logBytes(),
    churned: churn?.written ?? 0,
  };
}

function logBytes(): number {
  const dir = join(options.dataDir, 'wal');
  let bytes = 0;
  // A replicant has none.
  for (const name of existsSync(dir) ? readdirSync(dir) : []) bytes += statSync(join(dir, name), { throwIfNoEntry: false })?.size ?? 0;
  return bytes;
}

function profile(file: string | undefined, done: (result: undefined) => void): void {
  if (file === undefined) {
    session = new Session();
    session.connect();
    const s = session;
    s.post('Profiler.enable', () => s.post('Profiler.start', () => done(undefined)));
    return;
  }
  session?.post('Profiler.stop', (_error, r) => {
    writeFileSync(file, JSON.stringify(r.profile));
    done(undefined);
  });
}

function perform(c: BenchCommand, done: (result: BenchAnswers[BenchCommand['type']]) => void): void {
  switch (c.type) {
    case 'write':
      return write(db, table, c, done);
    case 'fill':
      return fill(db, table, c, done);
    case 'churn':
      churn = new ChurnLoad(db, table, c);
      return done(undefined);
    case 'churned':
      if (churn === undefined) throw new Error('there is no churn');
      return churn.stop(done);
    case 'normal':
      return until(
        () => db.inSync('items'),
        () => done(undefined),
      );
    case 'resume': {
      let lostAt = 0;
      return until(
        () => {
          if (seen().state !== 'normal') lostAt ||= performance.now();
          return lostAt > 0 && seen().state === 'normal';
        },
        () => done({ seconds: (performance.now() - lostAt) / 1000, bootstraps: seen().bootstraps }),
      );
    }
    case 'seen':
      return done(seen());
    case 'usage': {
      if (c.collect) (globalThis as { gc?: () => void }).gc?.();
      return done(usage());
    }
    case 'read':
      return done(read(db, table, c));
    case 'watch':
      lag?.stop();
      lag = new LagFeed(db, table);
      return done(undefined);
    case 'watched':
      return done({ at: lag?.stop() ?? [] });
    case 'profile':
      return profile(c.file, done);
  }
}

process.on('message', (m: { id: number; command: BenchCommand }) => {
  perform(m.command, (result) => process.send?.({ id: m.id, result }));
});
process.on('disconnect', () => process.exit(0));
