// One whole Starmesh node (a cluster of one core, everything on) in a process of its own, for
// benchmarks: argument 1 is the MQTT port, 2 the data directory, 3 how long its code is warmed up (ms). Every publish and subscribe is authorized
// by rules such as EMQX's default ones with one more in the way. Tells its parent when it serves;
// answers any message with its memory after a collection (start it with --expose-gc).
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { getHeapSpaceStatistics } from 'node:v8';
import { parseAclFile } from '#auth/acl-file.js';
import { openSettings } from '#auth/build.js';
import { readSources } from '#auth/options.js';
import { createNode } from '#node/create-node.js';
import { usualWarmUpMs, warmUp } from '#node/warm-up.js';
import { collectAlone } from '#os/collector.js';
import { createOsEnv } from '#os/env.js';
import { OsMetrics } from '#os/metrics.js';
import { defaultLimits } from '#session/limits.js';

collectAlone();
const host = '127.0.0.1';
/** As the other brokers' limits are lifted: with fewer than a publisher's window, messages of a burst wait in the session's queue. */
const maxInflight = 65_535;
const port = Number(process.argv[2]);
const name = `core1@${host}`;
const env = createOsEnv({ dataDir: process.argv[3] ?? 'data/bench', logger: { targets: [{ level: 'warn' }] } });
const rules = parseAclFile(`
{allow, {username, "dashboard"}, subscribe, ["$SYS/#"]}.
{deny, all, subscribe, ["$SYS/#", {eq, "#"}]}.
{deny, all, publish, ["forbidden/\${clientid}/#"]}.
{allow, all}.
`);
const problems: string[] = [];
const sources = readSources([{ type: 'file', path: 'acl.conf' }], { text: () => '', rules: () => rules }, problems);
if (problems.length > 0) throw new Error(problems.join('\n'));

// As a node that is started from the command line does (`node.warm_up`).
await new Promise<number>((done) =>
  warmUp(env, { ms: Number(process.argv[4] ?? usualWarmUpMs(availableParallelism())), metrics: new OsMetrics() }, done),
);
const node = createNode(env, {
  auth: { ...openSettings, authorization: { ...openSettings.authorization, noMatch: 'deny', sources } },
  core: {
    name,
    role: 'core',
    cookie: 'benchmark of one node',
    listen: { host, port: port + 1 },
    advertise: { host, port: port + 1 },
    cores: [{ name, role: 'core', host, port: port + 1 }],
    nodeDownAfterMs: 15_000,
    autocleanMs: Number.POSITIVE_INFINITY,
    onFatal: (error) => {
      process.stderr.write(`${error.stack ?? error.message}\n`);
      process.exit(1);
    },
  },
  broker: { limits: { ...defaultLimits, maxInflight } },
  listeners: [{ host, port }],
  onServing: () => process.send?.({ ready: true }),
});

/** Private memory without mapped files, in KiB. */
function anonymousKiB(): number {
  const line = /^Anonymous:\s+(\d+) kB/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'));
  return Number(line?.[1] ?? 0);
}

/** Of it, what V8 keeps for new objects: up to 48 MiB, by how much was made lately and not by how much there is. */
function youngKiB(): number {
  const space = getHeapSpaceStatistics().find((s) => s.space_name === 'new_space');
  return (space?.physical_space_size ?? 0) / 1024;
}

process.on('message', () => {
  const gc = (globalThis as { gc?: () => void }).gc;
  gc?.();
  gc?.();
  process.send?.({
    anonymousKiB: anonymousKiB(),
    youngKiB: youngKiB(),
    rssKiB: process.memoryUsage().rss / 1024,
    connections: node.broker.stats().connections,
  });
});
process.on('disconnect', () => process.exit(0));
