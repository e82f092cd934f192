// A simulated cluster of database nodes: the node core (links, log, Raft, tables, membership) on
// simulated hosts. Scenarios start, crash, cut and heal it; checkers look at it.
import type { ShardSchema, Table } from '#db/api.js';
import type { DbBounds } from '#db/bounds.js';
import type { RaftTimings } from '#db/core-shard.js';
import type { NodeRole, PeerTarget } from '#link/api.js';
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

export interface ClusterWorldOptions {
  readonly seed: number;
  readonly cores: number;
  readonly replicants: number;
  readonly schemas?: readonly ShardSchema[];
  readonly bounds?: Partial<DbBounds>;
  readonly nodeDownAfterMs?: number;
  readonly walSegmentBytes?: number;
  readonly timings?: RaftTimings;
  /** A life of a node has begun, has ended, or cannot go on. */
  readonly onStart?: (n: RunningNode) => void;
  readonly onEnd?: (n: RunningNode) => void;
  readonly onFatal?: (n: RunningNode, error: Error) => void;
}

export class RunningNode {
  readonly sim: SimNode;
  readonly name: string;
  readonly role: NodeRole;
  core: NodeCore | undefined;
  fatal: Error | undefined;

  constructor(sim: SimNode, name: string, role: NodeRole) {
    this.sim = sim;
    this.name = name;
    this.role = role;
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
  readonly #targets: PeerTarget[] = [];

  constructor(options: ClusterWorldOptions) {
    this.options = options;
    this.world = new World({ seed: options.seed });
    this.net = new SimNet(this.world);
    for (let i = 1; i <= options.cores; i++) this.#add(`core${i}`, 'core');
    for (let i = 1; i <= options.replicants; i++) this.#add(`replicant${i}`, 'replicant');
    for (const n of this.nodes) if (n.role === 'core') this.#targets.push({ name: n.name, role: 'core', host: n.sim.host, port: clusterPort });
  }

  #add(short: string, role: NodeRole): void {
    const name = `${short}@${short}`;
    this.nodes.push(new RunningNode(createSimNode(this.world, this.net, name), name, role));
  }

  node(short: string): RunningNode {
    const found = this.nodes.find((n) => n.name.startsWith(`${short}@`));
    if (found === undefined) throw new Error(`no node ${short}`);
    return found;
  }

  start(n: RunningNode): void {
    if (!n.sim.up) n.sim.restart();
    n.fatal = undefined;
    try {
      this.#start(n);
    } catch (error) {
      if (!(error instanceof Error) || this.options.onFatal === undefined) throw error;
      this.options.onFatal(n, error);
      return;
    }
    this.options.onStart?.(n);
  }

  #start(n: RunningNode): void {
    n.core = createNodeCore(n.sim.env, {
      name: n.name,
      role: n.role,
      cookie: 'simulated secret',
      listen: { host: n.sim.host, port: clusterPort },
      advertise: { host: n.sim.host, port: clusterPort },
      cores: this.#targets,
      schemas: this.options.schemas ?? testSchemas,
      nodeDownAfterMs: this.options.nodeDownAfterMs ?? 15_000,
      autocleanMs: Number.POSITIVE_INFINITY,
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
    for (const n of this.nodes) this.start(n);
  }

  crash(n: RunningNode, kind: 'power' | 'kill' = 'kill', silent: boolean = false): void {
    n.sim.crash({ kind, silent });
    n.core = undefined;
    this.options.onEnd?.(n);
  }

  /** An orderly stop; `stopped` runs when the process has ended. */
  stop(n: RunningNode, stopped: () => void): void {
    const { core } = n;
    if (core === undefined) return;
    const { scope } = n.sim;
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
    return this.nodes.every((n) => n.core?.cluster.serving === true);
  }

  leaderOf(shard: string): RunningNode | undefined {
    return this.nodes.find((n) => n.core?.database.coreShard(shard)?.leader !== undefined);
  }
}
