// Benchmarks of the replicated database: nodes as processes on loopback, all on this machine.
//   npm run bench -- db [--writers 1,16,256] [--replicants 0,2,5] [--rate 500] [--from leader|follower|replicant]
//   npm run bench -- db --lag 1000 | --resume | --bootstrap | --bootstrap-under-load | --failover | --read | --memory
// Every option, and what is measured how, is in docs/benchmarks.md.
import { mkdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Load } from './db-loads.js';
import { type BenchCluster, type BenchNode, Perf, used } from './db-nodes.js';
import { bootstrap, failover, lag, memory, reads, resume, startCluster } from './db-rows.js';
import { bootstrapUnderLoad } from './db-under-load.js';
import { median } from './load.js';

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    cores: { type: 'string', default: '3' },
    replicants: { type: 'string', default: '0' },
    writers: { type: 'string', default: '1,16,256' },
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '1' },
    /** Unmeasured seconds of the same load before the first round. */
    warmup: { type: 'string', default: '8' },
    rate: { type: 'string', default: '0' },
    'value-bytes': { type: 'string', default: '100' },
    keys: { type: 'string', default: '1000' },
    from: { type: 'string', default: 'leader' },
    profile: { type: 'string', default: '' },
    perf: { type: 'boolean', default: false },
    dir: { type: 'string' },
    port: { type: 'string', default: '24370' },
    rows: { type: 'string', default: '' },
    lag: { type: 'string', default: '' },
    resume: { type: 'boolean', default: false },
    bootstrap: { type: 'boolean', default: false },
    'bootstrap-under-load': { type: 'boolean', default: false },
    /** Rows of one transaction of that load. */
    'rows-each': { type: 'string', default: '100' },
    failover: { type: 'boolean', default: false },
    read: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: false },
  },
});

const numbers = (text: string): number[] => text.split(',').map(Number);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const replicants = numbers(values.replicants);
const options = {
  cores: Number(values.cores),
  replicants: Math.max(...replicants),
  port: Number(values.port),
  ...(values.dir === undefined ? {} : { dir: values.dir }),
};
const rows = (otherwise: number): number => (values.rows === '' ? otherwise : Number(values.rows));

if (values.help)
  say(
    Object.keys(values)
      .map((name) => `--${name}`)
      .sort()
      .join(' '),
  );
else if (values.lag !== '') await lag(options, numbers(values.lag), Number(values.seconds), Number(values.rounds), say);
else if (values.resume) await resume(options, rows(100_000), say);
else if (values.bootstrap) await bootstrap(options, rows(1_000_000), say);
else if (values['bootstrap-under-load'])
  await bootstrapUnderLoad(options, rows(1_000_000), Number(values.rate) || 20_000, Number(values['rows-each']), say);
else if (values.failover) await failover(options, Number(values.rounds), say);
else if (values.read) await reads(options, rows(100_000), say);
else if (values.memory) await memory(options, rows(1_000_000), say);
else await writes();

interface Round {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

/** Every number of writers with every number of replicants, in turn, round after round. */
async function writes(): Promise<void> {
  const cluster = await startCluster(options);
  const results = new Map<string, Round[]>();
  try {
    for (const writers of numbers(values.writers)) {
      await cluster.follow(options.replicants);
      await one(cluster, writers, Number(values.warmup));
      for (let round = 0; round < Number(values.rounds); round++) {
        for (const count of replicants) {
          await cluster.follow(count);
          const r = await measured(cluster, writers, count);
          const key = `${writers} ${count}`;
          results.set(key, [...(results.get(key) ?? []), r]);
        }
      }
    }
  } finally {
    await cluster.close();
  }
  if (replicants.length > 1 || Number(values.rounds) > 1) summary(results);
}

async function source(cluster: BenchCluster): Promise<{ readonly leader: BenchNode; readonly from: BenchNode }> {
  const leader = await cluster.leader();
  const from = values.from === 'leader' ? leader : values.from === 'follower' ? cluster.cores.find((n) => n !== leader) : cluster.replicants[0];
  if (from === undefined) throw new Error(`there is no ${values.from}`);
  return { leader, from };
}

async function one(cluster: BenchCluster, writers: number, seconds: number): Promise<void> {
  if (seconds > 0) await (await source(cluster)).from.ask({ type: 'write', ...load(writers, seconds), rate: 0 });
}

function load(writers: number, seconds: number): Load {
  return { writers, seconds, valueBytes: Number(values['value-bytes']), rate: Number(values.rate), keys: Number(values.keys), times: false };
}

async function measured(cluster: BenchCluster, writers: number, count: number): Promise<Round> {
  const { leader, from } = await source(cluster);
  const active = cluster.active;
  await profiles(active, false);
  const before = await cluster.usage();
  const perf = values.perf ? new Perf(active) : undefined;
  const r = await from.ask({ type: 'write', ...load(writers, Number(values.seconds)) });
  const after = await cluster.usage();
  const instructions = (await perf?.end(r.writes)) ?? '';
  await profiles(active, true);
  const rate = r.writes / r.seconds;
  say(
    `cores ${options.cores}  replicants ${count}  from ${values.from}  writers ${writers}: ${Math.round(rate)} writes/s, p50 ${r.p50Ms.toFixed(2)} ms, p99 ${r.p99Ms.toFixed(2)} ms, failed ${r.failed}; ${used(active, leader, before, after, r.writes)}${instructions}`,
  );
  return { rate, p50: r.p50Ms, p99: r.p99Ms };
}

async function profiles(nodes: readonly BenchNode[], end: boolean): Promise<void> {
  if (values.profile === '') return;
  mkdirSync(values.profile, { recursive: true });
  for (const n of nodes) await n.ask({ type: 'profile', file: end ? `${values.profile}/${n.name.split('@')[0]}.cpuprofile` : undefined });
}

/** Medians, and each number of replicants against the first one of the list. */
function summary(results: ReadonlyMap<string, readonly Round[]>): void {
  for (const writers of numbers(values.writers)) {
    const of = (count: number, pick: (r: Round) => number): number => median((results.get(`${writers} ${count}`) ?? []).map(pick));
    const first = replicants[0] ?? 0;
    for (const count of replicants) {
      const ratio = (pick: (r: Round) => number): string => (of(count, pick) / of(first, pick)).toFixed(2);
      const all = (results.get(`${writers} ${count}`) ?? []).map((r) => Math.round(r.rate));
      say(
        `median  replicants ${count}  writers ${writers}: ${Math.round(of(count, (r) => r.rate))} writes/s (${Math.min(...all)} to ${Math.max(...all)}), p50 ${of(count, (r) => r.p50).toFixed(2)} ms, p99 ${of(count, (r) => r.p99).toFixed(2)} ms; against ${first} replicants: rate x${ratio((r) => r.rate)}, p50 x${ratio((r) => r.p50)}, p99 x${ratio((r) => r.p99)}`,
      );
    }
  }
}
