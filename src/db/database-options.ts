// What the database of a node is built from, and what a formed cluster gives it. Used by database.ts, by who
// builds it (node, the simulator), and by the cluster room.
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import type { Wal } from '#store/types.js';
import type { ShardSchema } from './api.js';
import type { DbBounds } from './bounds.js';
import type { RaftTimings } from './core-shard.js';
import type { ShardGenerations } from './open-state.js';

export interface DatabaseOptions {
  readonly env: Env;
  readonly links: Links;
  readonly nodeId: string;
  readonly role: 'core' | 'replicant';
  readonly schemas: readonly ShardSchema[];
  /** Name of the shard that holds the members; its admissions are made by its own commands. */
  readonly memberShard: string;
  readonly generations: (shard: string) => ShardGenerations;
  /** Cores only. */
  readonly wal: Wal | undefined;
  readonly bounds?: Partial<DbBounds>;
  /** As a core: its share of the replicants, 0 to 100; 0: none while there is another core. Default 100. */
  readonly coreWeight?: number;
  /** As a replicant this node feeds others. Default false. */
  readonly relay?: boolean;
  readonly timings?: RaftTimings;
  /** Every shard's log is begun on disk: keep durably that from now on a missing log is a lost one. */
  readonly logBegun: (done: (error: Error | undefined) => void) => void;
  /** A disk failed: the node must stop serving writes, and say why. */
  readonly onFatal: (error: Error) => void;
}

/** What a formed cluster gives every core. */
export interface Formation {
  readonly clusterId: string;
  /** Node ids of the voters. */
  readonly voters: readonly string[];
  /** Names the histories of a cluster that was recovered by force; '' where it never was. */
  readonly history: string;
  /** The order to begin that history on this core, now. */
  readonly recover: boolean;
}
