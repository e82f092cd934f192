// A program for tests: one node of the library with a shard of registers and one beside it, driven by
// lines of JSON on its standard input, answering on its standard output. Ends with its standard input.
// Its wall clock can be shifted while it runs: what the node knows of the time of day is `Date.now`. Ports that
// it dials can be others than it believes, so that a proxy stands between it and some nodes, for it alone.
import { syncBuiltinESMExports } from 'node:module';
import net, { type TcpNetConnectOpts } from 'node:net';
import { createInterface } from 'node:readline';
import { TablesError } from '#env/tables.js';
import { DatabaseError, type DatabaseOptions, defineShard, openDatabase, type Shard, type Table, WriteFailure } from '#node/open-database.js';

export type RegisterRequest =
  | { readonly id: number; readonly op: 'read'; readonly key: string }
  | { readonly id: number; readonly op: 'write'; readonly key: string; readonly value: number; readonly until: 'committed' | 'applied' | 'effective' }
  | { readonly id: number; readonly op: 'swap'; readonly key: string; readonly value: number }
  /** By a command, judged by the leader; or by a transaction on this node's copy. */
  | { readonly id: number; readonly op: 'cas' | 'transaction'; readonly key: string; readonly expect: number; readonly value: number }
  /** Answers this node's name for the leader. */
  | { readonly id: number; readonly op: 'leader' }
  /** Writes to the shard beside the registers, or another one of the `more`. */
  | {
      readonly id: number;
      readonly op: 'beside';
      readonly shard?: string;
      readonly key: string;
      readonly text: string;
      readonly until: 'committed' | 'effective';
    }
  /** Answers the {@link Texts} of such a shard, with everything that was committed anywhere before. */
  | { readonly id: number; readonly op: 'texts'; readonly shard: string }
  /** Writes `rows` rows of `bytes` bytes there, many at a time. */
  | { readonly id: number; readonly op: 'fill'; readonly rows: number; readonly bytes: number }
  /** `writers` at a time write registers for `ms`; answers a {@link Burst}. */
  | { readonly id: number; readonly op: 'burst'; readonly writers: number; readonly ms: number }
  /** Answers a {@link NodeReport}, without waiting for anything. */
  | { readonly id: number; readonly op: 'status' }
  /** Answers a {@link Dump} of this node's registers whose keys begin so, with everything that was committed anywhere before. */
  | { readonly id: number; readonly op: 'dump'; readonly prefix: string }
  /** Moves this process's time of day by `ms`. */
  | { readonly id: number; readonly op: 'shift'; readonly ms: number };

/** `id` 0: the node is in service. */
export type RegisterReply =
  | { readonly id: number; readonly value: number | string }
  /** Did not and will not take effect. */
  | { readonly id: number; readonly failed: string }
  /** May have taken effect, or may yet. */
  | { readonly id: number; readonly unknown: string };

export interface ShardReport {
  readonly shard: string;
  /** 'leader', 'follower' … of cores, 'bootstrap', 'normal' … of replicants. */
  readonly state: string;
  readonly term: number;
  readonly leader: string;
  readonly appliedIndex: number;
  readonly bootstraps: number;
}

export interface NodeReport {
  readonly serving: boolean;
  readonly incarnation: number;
  readonly shards: readonly ShardReport[];
}

export interface Dump {
  readonly index: number;
  readonly rows: readonly (readonly [string, number])[];
}

export interface Texts {
  readonly index: number;
  readonly rows: readonly (readonly [string, string])[];
}

export interface Burst {
  readonly written: number;
  readonly failed: number;
  readonly ms: number;
  readonly meanMs: number;
  readonly p99Ms: number;
}

const rowsPerBatch = 200;
const dumpMsMax = 20_000;

const realNow = Date.now;
let shiftedMs = 0;
Date.now = (): number => realNow() + shiftedMs;

const registers = defineShard('registers');
const cells = registers.table<string, number>({ id: 1, name: 'cells' });
const swap = registers.command('swap', (tx, input: { key: string; value: number }) => {
  const before = tx.get(cells, input.key) ?? 0;
  tx.put(cells, input.key, input.value);
  return before;
});
const cas = registers.command('cas', (tx, input: { key: string; expect: number; value: number }) => {
  const before = tx.get(cells, input.key) ?? 0;
  if (before === input.expect) tx.put(cells, input.key, input.value);
  return before;
});
interface TextShard {
  readonly shard: Shard;
  readonly texts: Table<string, string>;
}

function textShard(name: string): TextShard {
  const shard = defineShard(name);
  return { shard, texts: shard.table<string, string>({ id: 1, name: 'texts' }) };
}

const { shard: beside, texts } = textShard('beside');

/** The options, the deadline of what clients ask, further shards like the one beside, and ports to dial instead of others. */
type Given = Omit<DatabaseOptions, 'shards'> & {
  readonly deadlineMs?: number;
  readonly more?: readonly string[];
  readonly dialThrough?: Readonly<Record<string, number>>;
};
const { deadlineMs = 3_000, more = [], dialThrough = {}, ...options } = JSON.parse(process.argv[2] ?? '{}') as Given;
const textShards: ReadonlyMap<string, TextShard> = new Map([
  ['beside', { shard: beside, texts }],
  ...more.map((name) => [name, textShard(name)] as const),
]);

const realConnect = net.connect;
Object.assign(net, {
  connect: (to: TcpNetConnectOpts, ...rest: []) => realConnect({ ...to, port: dialThrough[to.port] ?? to.port }, ...rest),
});
syncBuiltinESMExports();

const db = await openDatabase({ ...options, shards: [registers, ...[...textShards.values()].map((t) => t.shard)] });

function report(): NodeReport {
  const s = db.status();
  const shards = s.shards.map((x): ShardReport => {
    const { shard } = x;
    if ('core' in x) return { shard, ...x.core, leader: x.core.leader ?? '', bootstraps: 0 };
    if ('replica' in x) return { shard, ...x.replica, leader: '', term: 0 };
    return { shard, state: 'down', term: 0, leader: '', appliedIndex: 0, bootstraps: 0 };
  });
  return { serving: s.serving, incarnation: s.incarnation, shards };
}

async function fill(rows: number, bytes: number): Promise<void> {
  const text = 'x'.repeat(bytes);
  for (let at = 0; at < rows; at += rowsPerBatch) {
    await db.batch(
      beside,
      (b) => {
        for (let i = at; i < Math.min(rows, at + rowsPerBatch); i++) b.put(texts, `filled/${String(i).padStart(8, '0')}`, text);
      },
      { deadlineMs: 30_000 },
    );
  }
}

function dump(prefix: string): Dump {
  const rows = db.range(cells, prefix === '' ? {} : { start: prefix, end: `${prefix}\u{10ffff}` });
  return { index: db.appliedIndex(registers), rows: [...rows] };
}

function textsOf(shard: string): TextShard {
  const found = textShards.get(shard);
  if (found === undefined) throw new DatabaseError('unknown-table', `no shard ${shard}`);
  return found;
}

let bursts = 0;

async function burst(writers: number, ms: number): Promise<Burst> {
  const startedAt = performance.now();
  const name = `burst${++bursts}`;
  const took: number[] = [];
  let failed = 0;
  const writer = async (w: number): Promise<void> => {
    for (let i = 0; performance.now() - startedAt < ms; i++) {
      const from = performance.now();
      try {
        await db.put(cells, `${name}/${w}/${i % 100}`, i, { deadlineMs: 30_000 });
        took.push(performance.now() - from);
      } catch {
        failed++;
      }
    }
  };
  await Promise.all(Array.from({ length: writers }, (_, w) => writer(w)));
  took.sort((a, b) => a - b);
  return {
    written: took.length,
    failed,
    ms: performance.now() - startedAt,
    meanMs: took.reduce((sum, t) => sum + t, 0) / Math.max(1, took.length),
    p99Ms: took[Math.floor(took.length * 0.99)] ?? 0,
  };
}

async function execute(r: RegisterRequest): Promise<number | string> {
  switch (r.op) {
    case 'read':
      return db.readonly(registers, (view) => view.get(cells, r.key) ?? 0, { linearizable: true, deadlineMs });
    case 'write':
      await db.put(cells, r.key, r.value, { until: r.until, deadlineMs });
      return 0;
    case 'swap':
      return db.command(swap, r, { deadlineMs });
    case 'cas':
      return db.command(cas, r, { deadlineMs });
    case 'transaction':
      return db.transaction(
        registers,
        (tx) => {
          const before = tx.get(cells, r.key) ?? 0;
          if (before === r.expect) tx.put(cells, r.key, r.value);
          return before;
        },
        { deadlineMs },
      );
    case 'leader': {
      const s = db.status().shards.find((x) => x.shard === registers.name);
      return s !== undefined && 'core' in s ? (s.core.leader ?? '') : '';
    }
    case 'beside':
      await db.put(textsOf(r.shard ?? 'beside').texts, r.key, r.text, { until: r.until, deadlineMs });
      return 0;
    default:
      return upkeep(r);
  }
}

async function upkeep(r: Extract<RegisterRequest, { op: 'fill' | 'burst' | 'status' | 'dump' | 'texts' | 'shift' }>): Promise<number | string> {
  switch (r.op) {
    case 'fill':
      await fill(r.rows, r.bytes);
      return r.rows;
    case 'burst':
      return JSON.stringify(await burst(r.writers, r.ms));
    case 'status':
      return JSON.stringify(report());
    case 'dump':
      await db.barrier(registers, { deadlineMs: dumpMsMax });
      return JSON.stringify(dump(r.prefix));
    case 'texts': {
      const of = textsOf(r.shard);
      await db.barrier(of.shard, { deadlineMs: dumpMsMax });
      return JSON.stringify({ index: db.appliedIndex(of.shard), rows: [...db.range(of.texts, {})] } satisfies Texts);
    }
    case 'shift':
      shiftedMs += r.ms;
      return shiftedMs;
  }
}

function answer(reply: RegisterReply): void {
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const r = JSON.parse(line) as RegisterRequest;
  execute(r).then(
    (value) => answer({ id: r.id, value }),
    (error: unknown) => {
      if (error instanceof WriteFailure) answer(error.mayHappen ? { id: r.id, unknown: error.kind } : { id: r.id, failed: error.kind });
      else if (error instanceof DatabaseError || error instanceof TablesError) answer({ id: r.id, failed: error.message });
      else throw error;
    },
  );
});
lines.on('close', () => void db.close());
void db.closed.then((failure) => {
  if (failure === undefined) return;
  process.stderr.write(`the node ended: ${failure.message}\n`);
  process.exitCode = 3;
  lines.close();
  process.stdin.destroy();
});
answer({ id: 0, value: 'in service' });
