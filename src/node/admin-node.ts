// What the HTTP server shows of this node, and the metrics that belong to the process as a whole.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { AdminNode } from '#admin/admin-node.js';
import { decodeFamilies, encodeFamilies, nodeFamilies } from '#admin/everywhere.js';
import { emptyBytes } from '#base/bytes.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Metrics } from '#env/metrics.js';
import type { Links, PeerHello } from '#link/api.js';
import type { OsEnv } from '#os/env.js';
import type { StarmeshConfig } from './config/config.js';
import type { StarmeshNode } from './create-node.js';
import { clusterStatus, rlogStatus } from './ctl/node-handlers.js';
import { rlogData } from './ctl/replies.js';
import { version } from './version.js';

export function adminNode(config: StarmeshConfig, env: OsEnv, node: StarmeshNode): AdminNode {
  nodeMetrics(env.metrics, node);
  clusterMetrics(env.metrics, config, node);
  processMetrics(env.metrics);
  const { cluster, database, links } = node.core;
  const admin: AdminNode = {
    name: config.node.name,
    version: version(),
    state: () => ({ state: node.state, why: waitsFor(node) }),
    evacuating: () => node.broker.evacuation !== undefined,
    overload: () => node.memory?.status,
    shards: () => database.status(),
    elections: (shard) => database.coreShard(shard),
    collect: () => env.metrics.collect(),
    collectOthers: () => collectOthers(links),
    rlogStatus: () => ({ ...rlogData(rlogStatus(config, node)), cluster_id: cluster.clusterId }),
  };
  links.handle(metricsMethod, (_from, _body, reply) => reply(undefined, utf8Encode(encodeFamilies(nodeFamilies(admin)))));
  return admin;
}

const metricsMethod = 'admin.metrics';
/** A node that answers later is left out of the page. */
const metricsMsMax = 3_000;

type NodeFamilies = Awaited<ReturnType<AdminNode['collectOthers']>>[number];

async function collectOthers(links: Links): Promise<NodeFamilies[]> {
  const answers = await Promise.all(links.peers().map((peer) => collectOne(links, peer)));
  return answers.filter((a) => a !== undefined);
}

function collectOne(links: Links, peer: PeerHello): Promise<NodeFamilies | undefined> {
  return new Promise((done) => {
    links.call(peer.nodeId, metricsMethod, emptyBytes, metricsMsMax, (failure, body) => {
      const families = failure === undefined ? decodeFamilies(utf8Decode(body) ?? '') : undefined;
      done(families === undefined ? undefined : { node: peer.name, families });
    });
  });
}

function waitsFor(node: StarmeshNode): string {
  if (node.state !== 'starting') return '';
  const { cluster, database } = node.core;
  if (cluster.why !== '') return cluster.why;
  const waiting = database.status().filter((s) => database.holds(s.shard) && !database.inSync(s.shard));
  return waiting.length === 0 ? '' : `shards not in sync yet: ${waiting.map((s) => s.shard).join(', ')}`;
}

function nodeMetrics(metrics: Metrics, node: StarmeshNode): void {
  const { broker } = node;
  metrics.gaugeFn('starmesh_serving', '1 while clients can be served', {}, () => (node.state === 'running' ? 1 : 0));
  metrics.gaugeFn('starmesh_connections', 'Clients connected to this node', {}, () => broker.stats().connections);
  metrics.gaugeFn('starmesh_sessions', 'Sessions on this node, those without a connection included', {}, () => broker.stats().sessions);
  metrics.gaugeFn('starmesh_subscriptions', 'Subscriptions on this node', {}, () => broker.stats().subscriptions);
  metrics.gaugeFn(
    'starmesh_incarnation',
    'Incarnation of this node; a new one without a restart means that it was declared down',
    {},
    () => node.core.database.incarnation,
  );
  metrics.gaugeFn('starmesh_pending_writes', 'Writes of this node that wait for a leader', {}, () => node.core.database.pendingWrites);
}

function clusterMetrics(metrics: Metrics, config: StarmeshConfig, node: StarmeshNode): void {
  metrics.gaugeFn('emqx_cluster_nodes_running', 'Members that this node sees running', {}, () => clusterStatus(config, node).running.length);
  metrics.gaugeFn('emqx_cluster_nodes_stopped', 'Members that this node does not see', {}, () => clusterStatus(config, node).stopped.length);
}

const loopResolutionMs = 20;
/** The event loop's delay is that of the running window, so that a stall of yesterday is not shown for ever. */
const loopWindowMs = 60_000;

function processMetrics(metrics: Metrics): void {
  const delay = monitorEventLoopDelay({ resolution: loopResolutionMs });
  delay.enable();
  setInterval(() => delay.reset(), loopWindowMs).unref();
  const seconds = (ns: number): number => Math.max(0, ns / 1e9 - loopResolutionMs / 1000);
  const help = 'How late the event loop was within the last minute: quantiles and the worst';
  for (const [quantile, percent] of [
    ['0.5', 50],
    ['0.99', 99],
  ] as const) {
    metrics.gaugeFn('starmesh_event_loop_delay_seconds', help, { quantile }, () => seconds(delay.percentile(percent)));
  }
  metrics.gaugeFn('starmesh_event_loop_delay_seconds', help, { quantile: '1' }, () => (delay.count === 0 ? 0 : seconds(delay.max)));
  const memory = (kind: string, read: (m: NodeJS.MemoryUsage) => number): void =>
    metrics.gaugeFn('starmesh_memory_bytes', 'Memory of this process', { kind }, () => read(process.memoryUsage()));
  memory('rss', (m) => m.rss);
  memory('heap_used', (m) => m.heapUsed);
  memory('heap_total', (m) => m.heapTotal);
  memory('external', (m) => m.external);
  metrics.gaugeFn('process_resident_memory_bytes', 'Resident memory of this process', {}, () => process.memoryUsage.rss());
  metrics.gaugeFn('process_uptime_seconds', 'How long this process has run', {}, () => process.uptime());
  metrics.gaugeFn('process_cpu_seconds_total', 'Processor time used by this process', {}, () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
}
