// A shard's proposer as a node has it: who leads is known from its own core, if it is one, and a leader of
// its own is asked without the network. database.ts makes one per shard.
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import type { DbBounds } from './bounds.js';
import type { CoreShard } from './core-shard.js';
import { type LocalLeader, Proposer } from './proposer.js';
import type { ShardRpc } from './shard-rpc.js';

export interface ShardProposerOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly shard: string;
  readonly nodeId: string;
  /** It may become one. */
  readonly isCore: () => boolean;
  readonly rpc: ShardRpc;
  readonly core: () => CoreShard | undefined;
  readonly holds: () => boolean;
  readonly whenApplied: (index: number, deadlineAt: number, then: (reached: boolean) => void) => void;
  readonly onFenced: (incarnation: number) => void;
}

export function proposerOfShard(o: ShardProposerOptions): Proposer {
  const { env, links, bounds, shard, nodeId, rpc, core, holds, whenApplied, onFenced } = o;
  const submitHere: LocalLeader = (batch, proposer, done) => {
    const leader = core()?.leader;
    leader?.submit(proposer, batch, done);
    return leader !== undefined;
  };
  return new Proposer({
    env,
    links,
    bounds,
    shard,
    nodeId,
    leader: () => {
      const leader = core()?.raft.leader;
      return leader === '' ? undefined : leader;
    },
    cores: () => rpc.cores(),
    localOutcomes: () => (o.isCore() ? (body) => rpc.outcomes(body) : undefined),
    localLeader: () => (o.isCore() ? submitHere : undefined),
    holds,
    whenApplied,
    onFenced,
  });
}
