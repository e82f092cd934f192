// What a node says of all its shards, for status commands and pages. Called by database.ts.
import type { CoreShardStatus, ShardSchema, ShardStatus } from './api.js';
import type { CoreShard } from './core-shard.js';
import type { Replica } from './replica.js';

interface Standing {
  readonly core: CoreShard | undefined;
  readonly replica: Replica | undefined;
}

/** `name`: of a node, by its id. `weigh`: how heavy this core is with so many streams. */
export function shardsStatus(
  schemas: Iterable<ShardSchema>,
  held: ReadonlyMap<string, Standing>,
  name: (nodeId: string) => string,
  weigh: (streams: number) => number,
): ShardStatus[] {
  const all: ShardStatus[] = [];
  for (const schema of schemas) {
    const h = held.get(schema.name);
    if (h?.core !== undefined) all.push({ shard: schema.name, core: coreStatus(h.core, name, weigh) });
    else if (h?.replica !== undefined) all.push({ shard: schema.name, replica: h.replica.status(name) });
    else all.push({ shard: schema.name, down: true });
  }
  return all;
}

function coreStatus(core: CoreShard, name: (nodeId: string) => string, weigh: (streams: number) => number): CoreShardStatus {
  const { role, leader, term, commitIndex, config } = core.raft;
  // Also one that has not come into the group yet: whoever waits for a vote must not be told that there is one.
  const follows = config.voters.includes(core.nodeId) ? 'follower' : 'learner';
  return {
    state: role === 'leader' ? 'leader' : role === 'follower' ? follows : 'candidate',
    term,
    leader: leader === '' ? undefined : name(leader),
    lastInterceptedTrans: core.state.transactionsSinceStart,
    commitIndex,
    appliedIndex: core.state.appliedIndex,
    weight: weigh(core.server.streams),
    replicants: core.server.replicants(),
    serverMql: core.server.backlog(),
  };
}
