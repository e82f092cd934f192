// What a node has of one shard that it holds: the tables, and the core's or the replica's part beside
// them. Made and kept by database.ts.
import type { ShardSchema } from './api.js';
import type { AppliedWaits } from './applied-waits.js';
import type { CoreShard } from './core-shard.js';
import type { Sweeper } from './leader-duties.js';
import type { Replica } from './replica.js';
import type { ShardState } from './shard-state.js';

export interface HeldShard {
  readonly schema: ShardSchema;
  readonly state: ShardState;
  core: CoreShard | undefined;
  sweeper: Sweeper | undefined;
  replica: Replica | undefined;
  readonly waits: AppliedWaits;
}

/** Time has passed. */
export function tickShard(h: HeldShard, now: number): void {
  h.core?.tick();
  h.replica?.tick();
  h.sweeper?.step();
  h.waits.expire(now);
}
