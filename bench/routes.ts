// Routing at size: N unique wildcard filters (`bench/I/#`) and N exact ones (`exact/I/t`) as rows of another
// node in the route table, and as many subscribers of this node in its own index. Says what a match costs
// (cold: a topic name for the first time; hot: one of the last 1,000), and what a row takes.
//   npm run bench -- routes [--filters 1000000] [--local 1000000]
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { LocalSubscribers } from '#broker/local-subscribers.js';
import { routeTable } from '#broker/schema.js';
import type { Op } from '#db/api.js';
import { createNode, type StarmeshNode } from '#node/create-node.js';
import { createOsEnv } from '#os/env.js';
import { encodeRouteKey } from '#router/route-key.js';
import { defaultLimits } from '#session/limits.js';
import { Session, type SessionHome, Subscription } from '#session/session.js';

const { values } = parseArgs({ options: { filters: { type: 'string', default: '1000000' }, local: { type: 'string', default: '1000000' } } });
const filters = Number(values.filters);
const local = Number(values.local);
const lookups = 100_000;
const hotNames = 1_000;
const batchRows = 1_000;
const openBatches = 8;

const gc = (): void => {
  (globalThis as { gc?: () => void }).gc?.();
};
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const heapBytes = (): number => {
  gc();
  gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

function bytesUnder(dir: string): number {
  let n = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    n += entry.isDirectory() ? bytesUnder(path) : statSync(path).blocks * 512;
  }
  return n;
}

/** Microseconds of CPU of one call, over `count` calls. */
function cost(count: number, call: (i: number) => void): number {
  const before = process.cpuUsage();
  for (let i = 0; i < count; i++) call(i);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

interface Measured {
  readonly match: (name: (i: number) => string) => (i: number) => void;
  readonly cold: number;
  readonly exact: number;
  /** Of topic names that were asked for before. */
  readonly hot: number;
  /** Over all lookups: nothing can be left out as unused. */
  readonly found: number;
}

/** Microseconds of CPU for a match among `size` filters of each kind. */
function measured(lookUp: (name: string) => number, size: number): Measured {
  let found = 0;
  const far = (i: number): number => (i * 7919) % size;
  const match = (name: (i: number) => string) => (i: number) => {
    found += lookUp(name(i));
  };
  cost(
    1_000,
    match((i) => `bench/${far(i + 500_000)}/w`),
  );
  const cold = cost(
    lookups,
    match((i) => `bench/${far(i)}/x`),
  );
  const exact = cost(
    lookups,
    match((i) => `exact/${far(i)}/t`),
  );
  const names = Array.from({ length: hotNames }, (_, i) => `bench/${far(i)}/x`);
  const known = match((i) => names[i % hotNames] as string);
  cost(hotNames, known);
  const hot = cost(lookups * 10, known);
  return { match, cold, exact, hot, found };
}

function fill(node: StarmeshNode): Promise<void> {
  const other = new Uint8Array(16).fill(7);
  let next = 0;
  const total = filters * 2;
  return new Promise((done, failed) => {
    let open = 0;
    const more = (): void => {
      while (open < openBatches && next < total) {
        const ops: Op[] = [];
        for (const end = Math.min(total, next + batchRows); next < end; next++) {
          const filter = next < filters ? `bench/${next}/#` : `exact/${next - filters}/t`;
          ops.push({ kind: 'put', table: routeTable, key: encodeRouteKey(filter, other), value: new Uint8Array(0), owner: 'self' });
        }
        open++;
        node.core.database.write(routeTable.shard, ops, { until: 'applied', deadlineMs: 60_000 }, (failure) => {
          open--;
          if (failure !== undefined) failed(failure);
          else if (next >= total && open === 0) done();
          else more();
        });
      }
    };
    more();
  });
}

async function replicated(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-routes-'));
  const env = createOsEnv({ dataDir: dir, logger: { targets: [{ level: 'warn' }] } });
  const core = { name: 'core1@127.0.0.1', role: 'core' as const, host: '127.0.0.1', port: 0 };
  const node = await new Promise<StarmeshNode>((serving) => {
    createNode(env, {
      core: {
        ...core,
        cookie: 'benchmark',
        listen: undefined,
        advertise: core,
        cores: [core],
        nodeDownAfterMs: 15_000,
        autocleanMs: Infinity,
        onFatal: (e) => say(e.message),
      },
      listeners: [],
      onServing: serving,
    });
  });
  try {
    const heapBefore = heapBytes();
    const began = process.hrtime.bigint();
    await fill(node);
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    await new Promise((done) => setTimeout(done, 2_000));
    const rows = filters * 2;
    const tables = bytesUnder(join(dir, readdirSync(dir).find((d) => d === 'tables') ?? '.'));
    say(
      `${rows} rows of another node, written in ${seconds.toFixed(1)} s: ${Math.round((heapBytes() - heapBefore) / rows)} bytes of heap and ${Math.round(tables / rows)} on disk each`,
    );
    const { routes } = node;
    const { match, cold, exact, hot, found } = measured((name) => routes.match(name).length, filters);
    const none = cost(
      lookups,
      match((i) => `other/${i}/x`),
    );
    say(
      `match in the route table: wildcard ${cold.toFixed(2)} µs cold, exact ${exact.toFixed(2)} µs cold, no match ${none.toFixed(2)} µs cold, ${hot.toFixed(3)} µs hot (${found} found)`,
    );
  } finally {
    await new Promise<void>((done) => node.stop(done));
    await new Promise<void>((done) => env.close(done));
    rmSync(dir, { recursive: true, force: true });
  }
}

function own(): void {
  const home = { limits: defaultLimits, now: () => 0, onSessionTimer: () => {} } as unknown as SessionHome;
  const session = new Session(home, 'bench', 1, 0, 0);
  const options = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: undefined } as const;
  const index = new LocalSubscribers();
  const before = heapBytes();
  for (let i = 0; i < local; i++) {
    index.add(new Subscription(session, `bench/${i}/#`, options));
    index.add(new Subscription(session, `exact/${i}/t`, options));
  }
  const each = (heapBytes() - before) / (local * 2);
  const { cold, exact, hot, found } = measured((name) => index.match(name).length, local);
  say(`${local * 2} subscriptions of this node: ${Math.round(each)} bytes of heap each, subscription included`);
  say(
    `match in this node's index: wildcard ${cold.toFixed(2)} µs cold, exact ${exact.toFixed(2)} µs cold, ${hot.toFixed(3)} µs hot (${found} found)`,
  );
}

// The node's own timers keep no process alive.
const alive = setInterval(() => {}, 60_000);
if (filters > 0) await replicated();
if (local > 0) own();
clearInterval(alive);
