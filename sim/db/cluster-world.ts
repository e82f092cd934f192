// A simulated cluster of database nodes: the node core (links, log, Raft, tables, membership) on
// simulated hosts. Scenarios start, crash, cut and heal it; checkers look at it.
import { toHex } from '#base/bytes.js';
import type { ShardSchema, Table } from '#db/api.js';
import type { DbBounds } from '#db/bounds.js';
import type { RaftTimings } from '#db/core-shard.js';
import type { Lane, NodeRole, PeerTarget } from '#link/api.js';
import type { ProtocolRange } from '#link/protocol.js';
import { createNodeCore, type NodeCore } from '#node/node-core.js';
import { World } from '../world/scheduler.js';
import { createSimNode, type SimNode } from '../world/sim-env.js';
import { SimNet } from '../world/sim-net.js';

export const itemsTable: Table = { id: 40, name: 'items', shard: 'items' };
export const ownedTable: Table = { id: 41, name: 'owned', shard: 'items', owned: true };
export const coreOnlyTable: Table = { id: 42, name: 'core-only', shard: 'vault' };

export const testSchemas: readonly ShardSchema[] = [
  { name: 'items', replicate: 'all', tables: [itemsTable, ownedTable], commands: {} },
  { name: 'vault', replicate: 'core', tables: [coreOnlyTable], commands: {} },
];

const clusterPort = 4370;

/** Without brokers nobody forwards anything: a link has one connection less to set up and to look after. */
export const usedLanes: readonly Lane[] = ['raft', 'rlog', 'rpc'];

export interface ClusterWorldOptions {
  readonly seed: number;
  readonly cores: number;
  readonly replicants: number;
  /** Further cores, absent at the start. */
  readonly spares?: number;
  /** So many of the replicants, the first ones, are relays. Default 0. */
  readonly relays?: number;
  /** Of cores, by short name; else 100. */
  readonly coreWeights?: Readonly<Record<string, number>>;
  readonly schemas?: readonly ShardSchema[];
  readonly bounds?: Partial<DbBounds>;
  readonly nodeDownAfterMs?: number;
  readonly walSegmentBytes?: number;
  readonly timings?: RaftTimings;
  /** Of the links. Default: all. */
  readonly lanes?: readonly Lane[];
  /** Versions of the protocol between nodes that a node speaks, asked at each start. Undefined: this build's. */
  readonly protocolOf?: (name: string) => ProtocolRange | undefined;
  /** What a node's build can do (cluster/level.ts), asked at each start. Absent: what this build can. */
  readonly levelOf?: (name: string) => number;
  /** A life of a node has begun, has ended, or cannot go on. */
  readonly onStart?: (n: RunningNode) => void;
  readonly onEnd?: (n: RunningNode) => void;
  readonly onFatal?: (n: RunningNode, error: Error) => void;
}

export class RunningNode {
  readonly sim: SimNode;
  readonly name: string;
  /** As configured; a replicant may have become a core. */
  readonly configured: NodeRole;
  core: NodeCore | undefined;
  /** It is no part of the cluster: not yet, or not any more. */
  absent = false;
  /** It was not there when the cluster formed, or was out of it since. */
  newcomer = false;
  /** It is on its way out, or will find out that it was taken out. */
  leaving = false;
  #promoted = false;
  fatal: Error | undefined;
  /** Cores that its configuration names. */
  told: readonly PeerTarget[] = [];
  readonly relay: boolean;

  constructor(sim: SimNode, name: string, role: NodeRole, relay: boolean) {
    this.sim = sim;
    this.relay = relay;
    this.name = name;
    this.configured = role;
  }

  /** Operators know of a promotion also when the node is down: newcomers are configured with it. */
  noteRole(): void {
    if (this.core?.database.role === 'core') this.#promoted = true;
  }

  get role(): NodeRole {
    this.noteRole();
    return this.#promoted ? 'core' : this.configured;
  }

  /** Its disk is empty again. */
  renew(): void {
    this.sim.wipe();
    this.#promoted = false;
  }

  /** It is on its way out. */
  get goes(): boolean {
    const phase = this.core?.cluster.phase;
    return this.leaving || phase === 'leaving' || phase === 'left';
  }

  get up(): boolean {
    return this.core !== undefined && this.sim.up;
  }
}

export class ClusterWorld {
  readonly world: World;
  readonly net: SimNet;
  readonly nodes: RunningNode[] = [];
  readonly options: ClusterWorldOptions;
  /** The cores that form the cluster. */
  readonly #founders: PeerTarget[] = [];
  #formed = false;

  constructor(options: ClusterWorldOptions) {
    this.options = options;
    this.world = new World({ seed: options.seed });
    this.net = new SimNet(this.world);
    for (let i = 1; i <= options.cores; i++) this.#add(`core${i}`, 'core', false);
    for (let i = 1; i <= options.replicants; i++) this.#add(`replicant${i}`, 'replicant', i <= (options.relays ?? 0));
    for (let i = 1; i <= (options.spares ?? 0); i++) {
      this.#add(`core${options.cores + i}`, 'core', false);
      const spare = this.nodes.at(-1) as RunningNode;
      spare.absent = true;
      spare.newcomer = true;
      spare.sim.crash({ kind: 'kill' });
    }
    for (const n of this.nodes.slice(0, options.cores)) this.#founders.push(targetOf(n));
  }

  #add(short: string, role: NodeRole, relay: boolean): void {
    const name = `${short}@${short}`;
    this.nodes.push(new RunningNode(createSimNode(this.world, this.net, name), name, role, relay));
  }

  node(short: string): RunningNode {
    const found = this.nodes.find((n) => n.name.startsWith(`${short}@`));
    if (found === undefined) throw new Error(`no node ${short}`);
    return found;
  }

  /** Nodes that are part of the cluster, running or not. */
  get members(): RunningNode[] {
    return this.nodes.filter((n) => !n.absent);
  }

  /** A life of it ends: what operators have seen of it by now. */
  #note(n: RunningNode): void {
    n.noteRole();
    this.#formed ||= (n.core?.database.incarnation ?? 0) > 0;
  }

  /** As an operator would configure it now. */
  #coresFor(n: RunningNode): PeerTarget[] {
    this.#formed ||= this.nodes.some((m) => (m.core?.database.incarnation ?? 0) > 0);
    const known = new Map(this.#founders.map((t) => [t.name, t]));
    if (this.#formed) for (const m of this.members) if (m.role === 'core') known.set(m.name, targetOf(m));
    if (n.newcomer) known.delete(n.name);
    return [...known.values()];
  }

  start(n: RunningNode): void {
    if (!n.sim.up) n.sim.restart();
    n.fatal = undefined;
    try {
      this.#start(n);
    } catch (error) {
      if (error instanceof Error && error.message.includes('has left its cluster')) return this.#gone(n);
      if (!(error instanceof Error) || this.options.onFatal === undefined) throw error;
      this.options.onFatal(n, error);
      return;
    }
    this.options.onStart?.(n);
  }

  /** It has left: the process ends, and the disk is for another. */
  #gone(n: RunningNode): void {
    if (n.sim.up) this.crash(n);
    n.renew();
    n.absent = true;
    n.newcomer = true;
    n.leaving = false;
  }

  /**
   * Who was cut off while every core was replaced, and reaches nobody who knows the new ones, cannot find them:
   * its operator names them, or discovery does (docs/operations.md). Whoever knows one of them has to find it himself.
   */
  nameCores(): void {
    const cores = this.members.filter((m) => m.role === 'core');
    for (const n of this.members) {
      const { core } = n;
      if (core === undefined || core.cluster.serving) continue;
      const known = new Set([...n.told, ...core.cluster.members()].map(({ name }) => name));
      if (cores.every((m) => !known.has(m.name))) for (const m of cores) core.cluster.addSeed(targetOf(m));
    }
  }

  /** With the name of another, whose disk was copied, on its own host. */
  startAs(n: RunningNode, other: RunningNode): void {
    if (!n.sim.up) n.sim.restart();
    n.fatal = undefined;
    this.#start(n, other.name);
    this.options.onStart?.(n);
  }

  #start(n: RunningNode, name: string = n.name): void {
    const { scope } = n.sim;
    n.told = this.#coresFor(n);
    n.core = createNodeCore(n.sim.env, {
      name,
      role: n.configured,
      cookie: 'simulated secret',
      listen: { host: n.sim.host, port: clusterPort },
      advertise: { host: n.sim.host, port: clusterPort },
      cores: n.told,
      onLeft: () => {
        this.world.after(0, () => {
          if (!scope.dead) this.#gone(n);
        });
      },
      schemas: this.options.schemas ?? testSchemas,
      nodeDownAfterMs: this.options.nodeDownAfterMs ?? 15_000,
      autocleanMs: Number.POSITIVE_INFINITY,
      relay: n.relay,
      coreWeight: this.options.coreWeights?.[n.name.slice(0, n.name.indexOf('@'))] ?? 100,
      linkLimits: {
        ...(this.options.lanes === undefined ? {} : { lanes: this.options.lanes }),
        ...protocolLimits(this.options.protocolOf?.(n.name)),
      },
      ...(this.options.levelOf === undefined ? {} : { level: this.options.levelOf(name) }),
      ...(this.options.bounds === undefined ? {} : { bounds: this.options.bounds }),
      ...(this.options.walSegmentBytes === undefined ? {} : { walSegmentBytes: this.options.walSegmentBytes }),
      ...(this.options.timings === undefined ? {} : { timings: this.options.timings }),
      onFatal: (error) => {
        n.fatal = error;
        this.options.onFatal?.(n, error);
      },
    });
  }

  startAll(): void {
    for (const n of this.members) this.start(n);
  }

  crash(n: RunningNode, kind: 'power' | 'kill' = 'kill', silent: boolean = false): void {
    this.#note(n);
    n.sim.crash({ kind, silent });
    n.core = undefined;
    this.options.onEnd?.(n);
  }

  /** An orderly stop; `stopped` runs when the process has ended. */
  stop(n: RunningNode, stopped: () => void): void {
    const { core } = n;
    if (core === undefined) return;
    const { scope } = n.sim;
    this.#note(n);
    n.core = undefined;
    n.sim.run(() =>
      core.stop(() => {
        this.world.after(0, () => {
          if (scope.dead) return;
          this.crash(n);
          stopped();
        });
      }),
    );
  }

  get allServing(): boolean {
    return this.members.every((n) => n.core?.cluster.serving === true || n.goes);
  }

  leaderOf(shard: string): RunningNode | undefined {
    return this.nodes.find((n) => n.core?.database.coreShard(shard)?.leader !== undefined);
  }
}

/** All rows of the node's copy of the shard `items`, in order, the system's included. */
export function contentOf(n: RunningNode): string[] {
  const out: string[] = [];
  n.core?.database.shardState('items')?.store.range(Uint8Array.of(0), undefined, (key, value) => {
    out.push(`${toHex(key)}=${toHex(value)}`);
    return true;
  });
  return out;
}

function targetOf(n: RunningNode): PeerTarget {
  return { name: n.name, role: 'core', host: n.sim.host, port: clusterPort };
}

function protocolLimits(protocol: ProtocolRange | undefined): { readonly protocol?: ProtocolRange } {
  return protocol === undefined ? {} : { protocol };
}
