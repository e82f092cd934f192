// Majorities. Called for commit, for votes, for CheckQuorum and for ReadIndex.
import type { NodeId } from './types.js';

/** The largest value that a majority of the voters has reached; Infinity without voters. */
export function majorityValue(voters: readonly NodeId[], value: (id: NodeId) => number): number {
  const n = voters.length;
  if (n === 0) return Number.POSITIVE_INFINITY;
  const values: number[] = [];
  for (const id of voters) {
    const v = value(id);
    // Insertion into ascending order: groups are small.
    let i = values.length;
    values.push(v);
    while (i > 0 && (values[i - 1] as number) > v) {
      values[i] = values[i - 1] as number;
      i--;
    }
    values[i] = v;
  }
  return values[n - (n >> 1) - 1] as number;
}

export type VoteOutcome = 'won' | 'lost' | 'open';

/** One answer per voter; answers of others do not count. */
export function voteOutcome(voters: readonly NodeId[], votes: ReadonlyMap<NodeId, boolean>): VoteOutcome {
  let granted = 0;
  let refused = 0;
  for (const id of voters) {
    const vote = votes.get(id);
    if (vote === true) granted++;
    else if (vote === false) refused++;
  }
  const needed = (voters.length >> 1) + 1;
  if (granted >= needed) return 'won';
  return voters.length - refused < needed ? 'lost' : 'open';
}
