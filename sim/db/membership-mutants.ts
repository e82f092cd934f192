// Deliberate bugs in how the set of cores changes. As mutants.ts; most need runs in which it does.
import type { Mutant } from '../mutant.js';

function member(name: string, file: string, find: string, replace: string, why: string): Mutant {
  return { name: `db-member-${name}`, scope: 'db', file: `${file}.js`, find, replace, why };
}

export const membershipMutants: readonly Mutant[] = [
  member(
    'uncommitted-change-in-snapshot',
    'db/core-shard',
    'encodeConfig(this.#raft.configAt(index))',
    'encodeConfig(this.#raft.config)',
    'a log begins with a change that was never committed',
  ),
  member(
    'removed-comes-back',
    'cluster/commands',
    "if (own?.wanted === 'removed')\n        return 'removed';",
    "if (own?.wanted === 'removed')\n        putCore(context, wanted, 'voter');",
    'a core that was taken out is back with its old disk',
  ),
  member(
    'members-group-left-first',
    'db/core-set-driver',
    "if (core.shard !== this.#o.memberShard || step.type === 'transfer'",
    "if (true || step.type === 'transfer'",
    'who leads a group sees nothing of what is wanted',
  ),
  member(
    'gone-before-out',
    'cluster/leaving',
    'if (database.shards.every((s) => out.has(s)))',
    'if (true)',
    'a core that leaves takes its vote with it',
  ),
  member(
    'lost-core-stays',
    'cluster/commands',
    "for (const c of namesakes)\n        putCore(context, c, 'removed');",
    '',
    'the lost core of the same name goes on counting',
  ),
  member(
    'last-one-is-unknown',
    'db/leader-duties',
    'here <= minted && !known.has(nodeId)',
    'here < minted && !known.has(nodeId)',
    'rows of the node that joined last, and left, stay',
  ),
  member('role-not-told', 'cluster/promotion', "database.role !== 'core' ||", 'true ||', 'a replicant that became a core is never taken in'),
];
