// A shard's part of a core as a node has it: where its options come from, and how it begins. database.ts makes one
// per shard on a core.
import type { WalShard } from '#store/types.js';
import type { DbBounds } from './bounds.js';
import { CoreShard } from './core-shard.js';
import type { DatabaseOptions } from './database-options.js';
import type { Leases } from './leases.js';
import type { RaftTransport } from './raft-transport.js';
import type { ShardState } from './shard-state.js';
import type { Upstreams } from './upstreams.js';

export interface CoreNode extends Pick<DatabaseOptions, 'env' | 'links' | 'nodeId' | 'generations' | 'timings' | 'onFatal'> {
  readonly bounds: DbBounds;
  readonly transport: RaftTransport;
  readonly leases: Leases;
  readonly upstreams: Upstreams;
}

/** `onLeadership`: leader known or changed; this core leads, or not. */
export function coreOfShard(node: CoreNode, state: ShardState, wal: WalShard, historyId: string, onLeadership: (leads: boolean) => void): CoreShard {
  const { env, links, bounds, nodeId, transport, upstreams, leases } = node;
  return new CoreShard({
    env,
    links,
    bounds,
    nodeId,
    historyId,
    state,
    wal,
    transport,
    generations: node.generations(state.schema.name),
    timings: node.timings ?? {},
    onLeadership: (core) => onLeadership(core.leader !== undefined),
    onFatal: (error) => node.onFatal(error),
    askForLeases: () => leases.askNow(),
    chooseCore: (shard, not, index, chosen) => upstreams.choose(shard, not, index, chosen),
  });
}

/** It takes part: known to its owner and to the transport by now. */
export function beginCore(core: CoreShard): void {
  const { state, raft, nodeId } = core;
  if (state.damaged) core.repair('found at the start');
  else if (state.appliedIndex < raft.baseIndex) core.repair('this core begins without them');
  // Nobody else could lead: no reason to wait for an election timeout.
  const { voters } = raft.config;
  if (voters.length === 1 && voters[0] === nodeId) core.step({ type: 'campaign' });
}
