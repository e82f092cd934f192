// From a text and an environment to a checked configuration, or to a list of everything that is
// wrong with them. Settings that depend on each other are completed and checked here.
import { showPosition } from '../hocon/errors.js';
import { type ReadText, readHocon } from '../hocon/hocon.js';
import type { ObjectValue } from '../hocon/nodes.js';
import type { ClusterConfig, DashboardConfig, HostPort, NodeAddress, StarmeshConfig } from './config.js';
import { completeDiscovery } from './discovery.js';
import { isForeignKey } from './emqx-keys.js';
import { environmentOverlays } from './environment.js';
import { type RawCluster, type RawConfig, schema } from './schema.js';
import { type Finding, Report } from './shape.js';
import { clusterPort } from './shapes.js';
import { completeTls } from './tls.js';

export interface ConfigInput {
  /** Name of the text in messages. */
  readonly file: string;
  /** '' for a node without a file. */
  readonly text: string;
  readonly readText: ReadText;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface LoadedConfig {
  readonly config: StarmeshConfig;
  /** One sentence each, position included. */
  readonly warnings: readonly string[];
}

/** The settings are readable but wrong; the message has one line per problem, position first. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly Finding[];

  constructor(problems: readonly Finding[]) {
    super(ordered(problems).slice(0, problemsShownMax).map(show).join('\n'));
    this.problems = problems;
  }
}

const problemsShownMax = 20;
/** Every EMQX image up to 5.0 had it: whoever knows that is a member of the cluster. */
const publishedCookie = 'emqxsecretcookie';
const cookieLengthGood = 16;

/** Throws {@link ConfigError} or `HoconError`. */
export function loadConfig(input: ConfigInput): LoadedConfig {
  const overlays = environmentOverlays(input.environment);
  const root = readHocon({ ...input, overlays, environment: (name) => input.environment[name] });
  const report = new Report(isForeignKey);
  const raw = schema.read(root, [], report) ?? schema.defaults();
  const config = complete(raw, root, report);
  if (report.problems.length > 0) throw new ConfigError(report.problems);
  return { config, warnings: ordered(report.warnings).map(show) };
}

// As the reader of the file meets them.
function ordered(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) => (a.at.file === b.at.file ? a.at.line - b.at.line || a.at.column - b.at.column : 0));
}

function show(finding: Finding): string {
  const { at, message } = finding;
  // A variable has one line; its position says nothing.
  return at.file.startsWith('environment ') ? `${at.file}: ${message}` : `${showPosition(at)}: ${message}`;
}

function complete(raw: RawConfig, root: ObjectValue, report: Report): StarmeshConfig {
  const { cluster: rawCluster, dashboard: rawDashboard, rpc, ...rest } = raw;
  const config = { ...rest, rpc: rpc.settings, cluster: completeCluster(raw, rawCluster, root, report), dashboard: completeDashboard(raw) };
  checkCookie(config, root, report);
  checkTimeouts(config, root, report);
  return config;
}

function completeDashboard(raw: RawConfig): DashboardConfig {
  const { http, ...rest } = raw.dashboard;
  return { ...rest, http: http.enable ? http.bind : undefined };
}

function completeCluster(raw: RawConfig, cluster: RawCluster, root: ObjectValue, report: Report): ClusterConfig {
  const { seeds, coreNodes, listen, advertise, tls, protoDist, discoveryStrategy, dns, k8s, ...rest } = cluster;
  const host = raw.node.name.slice(raw.node.name.indexOf('@') + 1);
  const cores = union([...coreNodes, ...seeds], root, report);
  const own = cores.find((c) => c.name === raw.node.name);
  const port = own?.port ?? clusterPort;
  const listening = listen ?? { host: isLoopback(host) ? host : '0.0.0.0', port };
  const reached = advertise ?? { host: own?.host ?? host, port: listening.port === 0 ? port : listening.port };
  const strategy = discoveryStrategy ?? (cores.length > 0 ? 'static' : raw.node.role === 'core' ? 'singleton' : 'manual');
  if (strategy === 'singleton' && cores.some((c) => c.name !== raw.node.name)) {
    report.problem(at(root, ['cluster']), 'cluster.discovery_strategy = singleton contradicts the cores that are listed');
  }
  if (raw.node.role === 'replicant' && own !== undefined) {
    report.problem(
      at(root, ['cluster']),
      `${raw.node.name} is a replicant and stands in the list of cores (cluster.core_nodes or cluster.static.seeds)`,
    );
  }
  const looks = raw.node.role === 'core' && cores.length === 0;
  const discovery = completeDiscovery({ strategy, dns, k8s, coreCount: rest.coreCount }, looks, at(root, ['cluster']), report);
  if (raw.node.role === 'replicant' && cores.length === 0 && discovery === undefined) {
    report.problem(at(root, ['node', 'role']), 'a replicant needs cores to follow: list them in cluster.core_nodes or cluster.static.seeds');
  }
  const secured = completeTls(tls, raw.rpc, protoDist, at(root, ['cluster', 'tls']), report);
  return { ...rest, discoveryStrategy: strategy, discovery, cores, listen: listening, advertise: reached, tls: secured };
}

// The same node under both keys is fine, at two addresses it is not.
function union(all: readonly NodeAddress[], root: ObjectValue, report: Report): NodeAddress[] {
  const byName = new Map<string, NodeAddress>();
  for (const one of all) {
    const known = byName.get(one.name);
    if (known !== undefined && !sameAddress(known, one)) report.problem(at(root, ['cluster']), `core ${one.name} is listed with two addresses`);
    byName.set(one.name, known ?? one);
  }
  return [...byName.values()];
}

function checkCookie(config: StarmeshConfig, root: ObjectValue, report: Report): void {
  const { cookie, name, role } = config.node;
  const place = at(root, ['node', 'cookie']);
  const others = config.cluster.cores.some((c) => c.name !== name);
  if (cookie === undefined) {
    if (others || role === 'replicant' || config.cluster.discovery !== undefined)
      report.problem(place, 'node.cookie is missing: a cluster needs the same secret on every node, and there is no default one');
    return;
  }
  if (cookie === publishedCookie) report.problem(place, 'this node.cookie is published with EMQX; anybody could join: choose a random one');
  else if (cookie.length < cookieLengthGood)
    report.warn(place, `node.cookie is short; ${cookieLengthGood} random characters or more cannot be guessed`);
}

/** Who is far is waited for two leases at most after its last word, and that may have been under way for half of one. */
const effectiveLeases = 3;

function checkTimeouts(config: StarmeshConfig, root: ObjectValue, report: Report): void {
  const d = config.database;
  if (d.electionTimeoutMinMs > d.electionTimeoutMaxMs)
    report.problem(at(root, ['database']), 'database.election_timeout_min is above election_timeout_max');
  if (d.heartbeatMs * 2 > d.electionTimeoutMinMs) {
    report.problem(
      at(root, ['database']),
      'database.heartbeat must be at most half of election_timeout_min, or one late heartbeat ends a leadership',
    );
  }
  // A new leader waits, before it reports anything effective, until two leases after its predecessor was confirmed last. At
  // half of an election timeout that is over when it is elected; from a whole one on it costs as much again as the election.
  if (d.leaseMs >= d.electionTimeoutMinMs) {
    report.problem(
      at(root, ['database']),
      `database.lease (${d.leaseMs} ms) must be below election_timeout_min (${d.electionTimeoutMinMs} ms), better half of it: a new leader waits for two leases of the one before. Raise election_timeout_min and election_timeout_max with it, on all nodes`,
    );
  }
  if (d.effectiveTimeoutMs < effectiveLeases * d.leaseMs) {
    report.warn(
      at(root, ['database']),
      `database.effective_timeout is below ${effectiveLeases} times database.lease: a node that is far away and falls silent makes writes late that wait to be effective`,
    );
  }
}

// The position of a setting, or of the nearest part of its path that is written.
function at(root: ObjectValue, path: readonly string[]): ObjectValue['at'] {
  let place = root.at;
  let value: ObjectValue = root;
  for (const key of path) {
    const child = value.fields.get(key);
    if (child === undefined) break;
    place = child.at;
    if (child.kind !== 'object') break;
    value = child;
  }
  return place;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function sameAddress(a: HostPort, b: HostPort): boolean {
  return a.host === b.host && a.port === b.port;
}
