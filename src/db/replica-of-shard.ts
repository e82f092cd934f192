// A shard's replica as a node has it: who feeds it, when it asks for its lease, where its states are told.
// database.ts makes one per shard on a replicant.
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import type { ShardSchema } from './api.js';
import type { DbBounds } from './bounds.js';
import type { Leases } from './leases.js';
import { type GenerationMaker, Replica } from './replica.js';
import type { ShardState } from './shard-state.js';
import type { Upstreams } from './upstreams.js';

export interface ReplicaNode {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly leases: Leases;
  readonly upstreams: Upstreams;
  readonly relay: boolean;
}

export function replicaOfShard(
  node: ReplicaNode,
  schema: ShardSchema,
  generations: GenerationMaker,
  state: ShardState,
  onInService: () => void,
): Replica {
  const { env, upstreams, leases } = node;
  return new Replica(
    {
      ...node,
      schema,
      generations,
      chooseCore: (shard, not, index, chosen) => upstreams.choose(shard, not, index, chosen),
      betterCore: (shard, current, index, move) => upstreams.better(shard, current, index, move),
      onState: (name) => env.log.info('replica state', { shard: schema.name, state: name }),
      onInService,
      askForLeases: () => leases.askNow(),
    },
    state,
  );
}
