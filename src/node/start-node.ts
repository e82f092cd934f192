// Runs one node in this process over the real world: data directory and its lock, ports, the node
// itself (`create-node.ts`), HTTP, the control socket; and takes all of it down again, in order.
// The command line calls it; errors are single sentences that say what to do.
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { type AdminServer, startAdmin } from '#admin/server.js';
import { toHex } from '#base/bytes.js';
import { SysTopics, sysTopicsDefaults } from '#broker/sys-topics.js';
import type { DiscoveryOptions } from '#cluster/discovery.js';
import type { NetAddress } from '#env/net.js';
import type { PeerTarget } from '#link/api.js';
import { createOsEnv, type OsEnv } from '#os/env.js';
import type { LogTarget } from '#os/logger.js';
import { OsLookups } from '#os/lookups.js';
import { OsMetrics } from '#os/metrics.js';
import { adminNode } from './admin-node.js';
import type { LogLevel, StarmeshConfig } from './config/config.js';
import { createNode, type NodeOptions, type StarmeshNode } from './create-node.js';
import { ctlHandlers } from './ctl/node-handlers.js';
import { type CtlServer, startCtlServer } from './ctl-server.js';
import { type DiskWatch, watchDisk } from './disk-watch.js';
import type { OverloadStatus } from './memory-watch.js';
import { clusterTlsOptions, listenerOptions, nodeOptions, refusals, warnings } from './node-options.js';
import { cannotListen, probe } from './ports.js';
import { version } from './version.js';
import { usualWarmUpMs, warmUp } from './warm-up.js';

export interface StartOptions {
  /** A node of the cluster to come into, instead of the configured cores: this node is empty. */
  readonly join?: PeerTarget;
  /** Sentences to log once the logger is there: what the configuration was warned about. */
  readonly warnings?: readonly string[];
}

export interface RunningNode {
  readonly name: string;
  /** Ports as they were found, for those configured as 0. `mqtt` is empty until the node serves. */
  readonly addresses: { readonly cluster: NetAddress | undefined; readonly http: NetAddress | undefined; readonly mqtt: readonly NetAddress[] };
  /** Rejects when the node cannot go on (a disk failed, a port was taken): stop it, and say why. Never resolves. */
  readonly failed: Promise<never>;
  /**
   * Resolves when the node has left its cluster for good: there is nothing left for it to do, or it is to start
   * again, emptied, and to join the cluster of this node.
   */
  readonly ended: Promise<PeerTarget | undefined>;
  /** Resolves once clients are accepted. */
  readonly serving: Promise<void>;
  /** Leaves in order: clients told, leadership handed on, files synced. */
  stop(): Promise<void>;
}

/** Begins to publish what `$SYS` tells. */
function sysTopics(config: StarmeshConfig, env: OsEnv, node: StarmeshNode): SysTopics {
  const { sysMsgIntervalMs, sysHeartbeatIntervalMs, sysEventMessages } = config.sysTopics;
  const { database, cluster, links } = node.core;
  const running = (): string[] => {
    const names = [config.node.name];
    for (const m of cluster.members()) if (m.nodeId !== database.nodeId && links.peer(m.nodeId) !== undefined) names.push(m.name);
    return names.sort();
  };
  const options = {
    ...sysTopicsDefaults,
    nodeName: config.node.name,
    version: version(),
    messageIntervalMs: sysMsgIntervalMs,
    heartbeatIntervalMs: sysHeartbeatIntervalMs,
    ...sysEventMessages,
  };
  const sys = new SysTopics(env, node.broker, options, { brokers: running, collect: () => env.metrics.collect() });
  node.broker.tellSystem(sys);
  if (node.memory !== undefined) node.memory.onLevel = (status, before) => memoryAlarm(sys, status, before);
  sys.start();
  return sys;
}

/** Under EMQX's name for it. */
function memoryAlarm(sys: SysTopics, { level, usedBytes, watermarkBytes }: OverloadStatus, before: string): void {
  if (level === before) return;
  const details = { level, usage: `${Math.round((100 * usedBytes) / watermarkBytes)}%`, memory_used: usedBytes, high_watermark: watermarkBytes };
  const message = level === 'normal' ? 'there is enough memory again' : `memory is short: ${details.usage} of the watermark (${level})`;
  sys.alarm('high_process_memory_usage', level !== 'normal', message, details);
}

/** From there on the rest of an orderly stop is skipped. */
const stopMsMax = 8_000;
/** So long whoever asked the node to leave has to read the answer. */
const leftAnswerMs = 250;

/** Resolves when the node runs (not yet: when its shards are in sync). Rejects with one sentence. */
export async function startNode(config: StarmeshConfig, options: StartOptions = {}): Promise<RunningNode> {
  const problems = refusals(config);
  if (problems.length > 0) throw new Error(problems.join('\n'));
  const env = createOsEnv({
    dataDir: config.node.dataDir,
    logger: { bindings: { node: config.node.name }, targets: logTargets(config) },
  });
  for (const text of [...(options.warnings ?? []), ...warnings(config)]) env.log.warn(text);
  const run = new Run(config, env, options.join);
  try {
    await run.start();
  } catch (error) {
    await run.stop();
    throw error;
  }
  return run;
}

class Run implements RunningNode {
  readonly failed: Promise<never>;
  readonly ended: Promise<PeerTarget | undefined>;
  readonly serving: Promise<void>;
  readonly #config: StarmeshConfig;
  readonly #env: OsEnv;
  readonly #join: PeerTarget | undefined;
  #node: StarmeshNode | undefined;
  #admin: AdminServer | undefined;
  #ctl: CtlServer | undefined;
  #disk: DiskWatch | undefined;
  #sys: SysTopics | undefined;
  #cluster: NetAddress | undefined;
  #stopping: Promise<void> | undefined;
  #served: () => void = () => {};
  #end: (join: PeerTarget | undefined) => void = () => {};
  #fail: (error: Error) => void = () => {};

  constructor(config: StarmeshConfig, env: OsEnv, join: PeerTarget | undefined) {
    this.#join = join;
    this.#config = config;
    this.#env = env;
    this.failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    // Nobody may be listening yet, or any more.
    this.failed.catch(() => {});
    this.ended = new Promise((done) => {
      this.#end = done;
    });
    this.serving = new Promise((done) => {
      this.#served = done;
    });
  }

  get name(): string {
    return this.#config.node.name;
  }

  get addresses(): RunningNode['addresses'] {
    const mqtt = this.#node?.addresses().filter((a) => a !== undefined) ?? [];
    return { cluster: this.#cluster, http: this.#admin?.address, mqtt };
  }

  async start(): Promise<void> {
    const config = this.#config;
    // MQTT ports open only when the node serves; that they are free, and certificates good, is better known now.
    for (const l of config.listeners) await probe(this.#env.net, `listeners.${l.type}.${l.name}`, l.bind, listenerOptions(l, config.mqtt).tls);
    const { listen, tls } = config.cluster;
    if (tls !== undefined && config.node.cookie !== undefined) await probe(this.#env.net, 'cluster.listen', listen, clusterTlsOptions(config));
    this.#disk = await watchDisk(resolve(config.node.dataDir), this.#env, (error) => this.#fatal(error));
    if (config.listeners.length > 0) await this.#warmUp(config.node.warmUpMs ?? usualWarmUpMs(availableParallelism()));
    const cookie = config.node.cookie ?? toHex(this.#env.random.bytes(32));
    await this.#startNode(nodeOptions(config, cookie, (error) => this.#fatal(error)));
    const node = this.#node;
    if (node === undefined) return;
    this.#sys = sysTopics(config, this.#env, node);
    // Also without a page of its own: other nodes ask for its metrics.
    const admin = adminNode(config, this.#env, node);
    const { http } = config.dashboard;
    if (http !== undefined) {
      try {
        this.#admin = await startAdmin(admin, http);
      } catch (error) {
        throw cannotListen('dashboard.listeners.http', http, error);
      }
    }
    this.#ctl = await startCtlServer(
      join(resolve(config.node.dataDir), 'ctl.sock'),
      ctlHandlers(
        config,
        node,
        () => this.#env.metrics.collect(),
        (seed) => setTimeout(() => this.#end(seed), leftAnswerMs),
      ),
    );
    this.#env.log.info('the node runs', { role: config.node.role, nodeId: node.core.nodeId, dataDir: config.node.dataDir });
  }

  /** Before the node's own parts are made: what was compiled for the first instance of a class fits the later ones. */
  async #warmUp(ms: number): Promise<void> {
    if (ms === 0) return;
    const messages = await new Promise<number>((done) => warmUp(this.#env, { ms, metrics: new OsMetrics() }, done));
    this.#env.log.debug('the code was warmed up', { messages });
  }

  /** Resolves once the cluster port listens, if there is one. */
  #startNode(options: NodeOptions): Promise<void> {
    return new Promise((done, reject) => {
      const { listen } = options.core;
      this.#node = createNode(this.#env, {
        ...options,
        core: {
          ...options.core,
          ...(this.#join === undefined ? {} : { cores: [this.#join] }),
          onLeft: () => setTimeout(() => this.#end(undefined), leftAnswerMs),
          discovery: this.#discovery(),
          onListening: (address) => {
            this.#cluster = address;
            done();
          },
          onListenError: (error) => reject(listen === undefined ? error : cannotListen('cluster.listen', listen, error)),
        },
        onServing: () => this.#served(),
        onListenerError: (listener, error) => this.#fatal(cannotListen(`listener ${listener.id}`, listener.options, error)),
      });
      if (listen === undefined) done();
    });
  }

  #discovery(): DiscoveryOptions | undefined {
    const { discovery, advertise, discoveryIntervalMs } = this.#config.cluster;
    if (discovery === undefined) return undefined;
    return { lookups: new OsLookups(), source: discovery, port: advertise.port, intervalMs: discoveryIntervalMs };
  }

  #fatal(error: Error): void {
    this.#env.log.error('the node cannot go on', { reason: error.message });
    this.#node?.cutOff();
    this.#fail(new Error(`the node cannot go on: ${error.message}`));
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#sys?.stop();
    const ordered = this.#stopInOrder();
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<'late'>((done) => {
      timer = setTimeout(() => done('late'), stopMsMax);
    });
    const end = await Promise.race([ordered, deadline]);
    clearTimeout(timer);
    if (end === 'late') this.#env.log.warn('stopping took too long; the rest is skipped');
    await new Promise<void>((done) => this.#env.close(done));
  }

  async #stopInOrder(): Promise<void> {
    this.#disk?.stop();
    await this.#ctl?.close();
    const node = this.#node;
    if (node !== undefined) await new Promise<void>((done) => node.stop(done));
    await this.#admin?.close();
    this.#env.log.info('the node has stopped');
  }
}

function logTargets(config: StarmeshConfig): LogTarget[] {
  const { console, file } = config.log;
  const targets: LogTarget[] = [];
  if (console.enable) targets.push({ level: levelOf(console.level), formatter: console.formatter });
  if (file !== undefined) targets.push({ level: levelOf(file.level), formatter: file.formatter, to: file.path });
  return targets;
}

function levelOf(level: LogLevel): LogTarget['level'] {
  return level === 'warning' ? 'warn' : level;
}
