// A simulated cluster of whole nodes, their MQTT listeners included, on simulated hosts. The scope's
// faults start, crash, cut and heal it; clients connect to it; checkers look at it.
import type { Broker } from '#broker/broker.js';
import type { NodeRole, PeerTarget } from '#link/api.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { createNode, type NodeOptions, type StarmeshNode } from '#node/create-node.js';
import type { MemoryWatch } from '#node/memory-watch.js';
import { World } from '../world/scheduler.js';
import { createSimNode, type SimNode } from '../world/sim-env.js';
import { SimNet } from '../world/sim-net.js';
import { watchEpochs } from './epoch-watch.js';
import { Levels, SimGauge } from './gauge.js';

const clusterPort = 4370;
export const mqttPort = 1883;
const defaultPayloadBytes = 24;

/** What the run chose for all nodes. */
export type NodeSettings = Pick<NodeOptions, 'overload' | 'broker' | 'routes' | 'forward' | 'retained' | 'registry' | 'sessions'> & {
  readonly nodeDownAfterMs: number;
  readonly bounds?: NodeOptions['core']['bounds'];
  readonly linkLimits?: NodeOptions['core']['linkLimits'];
  readonly walSegmentBytes?: number;
  readonly listener?: NodeOptions['listeners'][number];
};

export class BrokerNode {
  readonly sim: SimNode;
  readonly name: string;
  readonly role: NodeRole;
  node: StarmeshNode | undefined;
  fatal: Error | undefined;
  /** What it tells clients that have to go, while it gives them away and for some time after. */
  farewell: { readonly reasonCode: number; readonly until: number } | undefined = undefined;
  /** When it began to give sessions away last. */
  gaveAwayAt: number = Number.NEGATIVE_INFINITY;
  /** When it last let a client in without a registration. */
  readonly isolatedAt: Map<string, number> = new Map();
  /** When its process ended without a word. */
  readonly crashedAt: number[] = [];
  /** What it reads of its memory, where it does, and what it made of that. */
  readonly gauge: SimGauge = new SimGauge();
  readonly levels: Levels = new Levels();
  #lostBefore = 0;

  constructor(sim: SimNode, name: string, role: NodeRole) {
    this.sim = sim;
    this.name = name;
    this.role = role;
  }

  get host(): string {
    return this.sim.host;
  }

  /** Destinations that its processes gave up for messages that they acknowledged, the present one's included. */
  get lost(): number {
    return this.#lostBefore + this.#lostNow();
  }

  #lostNow(): number {
    const { metrics } = this.sim;
    return metrics.value('starmesh_forward_lost_total', {}) + metrics.value('starmesh_takeover_outcomes_lost_total', {});
  }

  /** The process is about to end. */
  ends(): void {
    this.#lostBefore += this.#lostNow();
    this.node = undefined;
  }

  /** It lets nobody in. */
  get evacuating(): boolean {
    return this.farewell?.until === Number.POSITIVE_INFINITY;
  }

  get serving(): boolean {
    return this.sim.up && this.node?.state === 'running' && this.node.core.cluster.serving;
  }
}

export class BrokerWorld {
  readonly world: World;
  readonly net: SimNet;
  readonly nodes: BrokerNode[] = [];
  readonly settings: NodeSettings;
  /** Hears of what may never be seen in a table of any node. */
  violation: (text: string) => void = () => {};
  /** A session has ended whose bounds have cost it messages. */
  overflowed: (clientId: string) => void = () => {};
  /** A node has let a client of MQTT 5.0 go because it took up memory. */
  cutOff: (n: BrokerNode, clientId: string) => void = () => {};
  /** Until when a client was, or is, cut off from some node. */
  readonly clientCutUntil: Map<string, number> = new Map();
  /** Of a message. */
  payloadBytes: (id: number) => number = () => defaultPayloadBytes;
  readonly #targets: PeerTarget[] = [];

  constructor(seed: number, cores: number, replicants: number, settings: NodeSettings) {
    this.settings = settings;
    this.world = new World({ seed });
    this.net = new SimNet(this.world);
    this.net.checkOwnership = seed % 8 === 0;
    for (let i = 1; i <= cores; i++) this.#add(`core${i}`, 'core');
    for (let i = 1; i <= replicants; i++) this.#add(`replicant${i}`, 'replicant');
    for (const n of this.nodes) if (n.role === 'core') this.#targets.push({ name: n.name, role: 'core', host: n.host, port: clusterPort });
  }

  #add(short: string, role: NodeRole): void {
    const name = `${short}@${short}`;
    this.nodes.push(new BrokerNode(createSimNode(this.world, this.net, name), name, role));
  }

  start(n: BrokerNode): void {
    const env = n.sim.up ? n.sim.env : n.sim.restart();
    const { nodeDownAfterMs, bounds, linkLimits, walSegmentBytes, listener, ...rest } = this.settings;
    n.fatal = undefined;
    n.levels.note(this.world.now, 'normal');
    n.node = createNode(rest.overload === undefined ? env : { ...env, memory: n.gauge }, {
      ...rest,
      core: {
        name: n.name,
        role: n.role,
        cookie: 'simulated secret',
        listen: { host: n.host, port: clusterPort },
        advertise: { host: n.host, port: clusterPort },
        cores: this.#targets,
        nodeDownAfterMs,
        autocleanMs: Number.POSITIVE_INFINITY,
        ...(bounds === undefined ? {} : { bounds }),
        ...(linkLimits === undefined ? {} : { linkLimits }),
        ...(walSegmentBytes === undefined ? {} : { walSegmentBytes }),
        onFatal: (error) => {
          n.fatal = error;
        },
      },
      listeners: [{ ...listener, host: n.host, port: mqttPort }],
    });
    n.node.broker.hooks.session = (moment, session) => {
      if ((moment === 'terminated' || moment === 'discarded') && session.queueDropped > 0) this.overflowed(session.clientId);
    };
    n.node.broker.hooks.connected = (channel) => {
      if (channel.session?.epoch === 0) n.isolatedAt.set(channel.clientId, this.world.now);
    };
    if (n.node.memory !== undefined) this.#watchMemory(n, n.node.memory, n.node.broker);
    watchEpochs(n.name, n.node.core.database, (text) => this.violation(text));
  }

  #watchMemory(n: BrokerNode, memory: MemoryWatch, { hooks }: Broker): void {
    memory.onLevel = ({ level }) => n.levels.note(this.world.now, level);
    hooks.disconnected = ({ clientId, version }, _session, { by, reasonCode }) => {
      // Before 5.0 it may be the answer to a message.
      if (version === 5 && by === 'server' && reasonCode === ReasonCode.quotaExceeded) this.cutOff(n, clientId);
    };
  }

  startAll(): void {
    for (const n of this.nodes) this.start(n);
  }

  crash(n: BrokerNode, kind: 'power' | 'kill'): void {
    n.ends();
    n.crashedAt.push(this.world.now);
    n.sim.crash({ kind });
  }

  /** Whether any node had that level, or a higher one, at any time between. */
  wasShort(level: number, from: number, to: number): boolean {
    return this.nodes.some((n) => n.levels.reached(level, from, to));
  }

  get allServing(): boolean {
    return this.nodes.every((n) => n.serving);
  }

  leaderOf(shard: string): BrokerNode | undefined {
    return this.nodes.find((n) => n.node?.core.database.coreShard(shard)?.leader !== undefined);
  }
}
