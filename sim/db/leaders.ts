// Who leads how many shards, for the runs and the tests of how leaders are spread.
import { memberShard } from '#cluster/schema.js';
import type { ClusterWorld, RunningNode } from './cluster-world.js';

/** Of the shards that count, how many each core leads; in the order of the nodes. */
export function leads(c: ClusterWorld, shards: readonly string[]): number[] {
  const counted = shards.filter((s) => s !== memberShard);
  const leadsBy = (n: RunningNode): number => counted.filter((s) => n.core?.database.coreShard(s)?.leader !== undefined).length;
  return c.members.filter((n) => n.role === 'core').map(leadsBy);
}

/** Once all is well: no core leads two more than another. '' when it is so, or leaders are not spread. */
export function unevenLeaders(c: ClusterWorld, shards: readonly string[], pauseMs: number | undefined): string {
  if (pauseMs === undefined || pauseMs === Number.POSITIVE_INFINITY) return '';
  const by = leads(c, shards);
  return Math.max(...by) - Math.min(...by) > 1 ? `the cores lead ${by.join(', ')} shards` : '';
}
