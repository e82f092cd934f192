// What a shard's leader does, unasked, to make its Raft group equal to the set of cores that the shard
// `cluster` names: the next single step towards it, decided from what the leader knows now. Safe to ask
// again at any time and on any leader: what is wanted of a node id only goes from voter to removed.
// Called by core-set-driver.ts.
//
// Order: what cannot hurt first. A dead core that is wanted no more goes before its replacement is
// promoted (with both in, the group could not lose one more), however long that takes; a running one goes after. No
// removal leaves the rest without a running majority, which has to say so after this leader has heard of the
// wish: a core may be dead, or its disk lost, for as long as silence takes to be noticed. A leader that is to
// go hands leadership on before anything else: it may be out of the shard `cluster` already, and see
// nothing new of what is wanted. The group of shard `cluster` is the first that a core comes into, and the last
// that it leaves: outside of it it sees nothing, and might lead another group without an heir.
import type { ConfigChange, FollowerStatus, NodeId, RaftConfig } from '#raft/types.js';

/** A node id that the shard `cluster` has a wish about. */
export interface WantedCore {
  readonly nodeId: NodeId;
  readonly wanted: 'voter' | 'removed';
}

export type CoreSetStep =
  | { readonly type: 'change'; readonly change: ConfigChange }
  /** This leader is to go: another one leads, and removes it. */
  | { readonly type: 'transfer'; readonly to: NodeId };

export interface CoreSetView {
  readonly self: NodeId;
  readonly config: RaftConfig;
  readonly followers: readonly FollowerStatus[];
  readonly lastIndex: number;
  readonly now: number;
  /** A follower that was silent for longer counts as not running. */
  readonly silentMs: number;
  /** A learner is promoted when no more entries are missing on its disk. */
  readonly learnerLagMax: number;
  /** This leader has tried in vain to learn what is wanted now: another one should see to it. */
  readonly blind?: boolean;
  /** When this leader first looked at the wish that a voter be removed. */
  readonly askedAt: (nodeId: NodeId) => number;
  /** Nodes that stay for now although they are to go. */
  readonly later: ReadonlySet<NodeId>;
  /** Of the members' group, as far as this leader knows: who is not does not come into another one. */
  readonly member: (nodeId: NodeId) => boolean;
  /** A link is up. */
  readonly linked: (nodeId: NodeId) => boolean;
}

/** The next step, undefined when the group is as wanted or nothing can be done now. */
export function nextCoreSetStep(wanted: readonly WantedCore[], v: CoreSetView): CoreSetStep | undefined {
  const { voters, learners } = v.config;
  if (v.blind !== true && wanted.every((w) => settled(w, v))) return undefined;
  const status = new Map(v.followers.map((f) => [f.id, f]));
  const runs = (id: NodeId): boolean => {
    if (id === v.self) return true;
    const f = status.get(id);
    return f !== undefined && v.linked(id) && v.now - f.lastHeardAt <= v.silentMs;
  };
  const caughtUp = (id: NodeId): boolean => {
    const f = status.get(id);
    return (
      f !== undefined && runs(id) && !f.recovering && f.state === 'replicate' && f.matchIndex > 0 && v.lastIndex - f.matchIndex <= v.learnerLagMax
    );
  };
  const safelyWithout = (id: NodeId): boolean => {
    const rest = voters.filter((one) => one !== id);
    const asked = v.askedAt(id);
    const vouched = (one: NodeId): boolean => one === v.self || (runs(one) && (status.get(one)?.lastHeardAt ?? 0) > asked);
    return rest.filter(vouched).length * 2 > rest.length;
  };
  const gone = new Set<NodeId>();
  for (const w of wanted) if (w.wanted === 'removed') gone.add(w.nodeId);
  const heirs = voters.filter((id) => id !== v.self && !gone.has(id) && caughtUp(id));
  const heir = heirs.sort((a, b) => (status.get(b)?.matchIndex ?? 0) - (status.get(a)?.matchIndex ?? 0))[0];
  if (heir !== undefined && (gone.has(v.self) || v.blind)) return { type: 'transfer', to: heir };
  let add: NodeId | undefined;
  let promote: NodeId | undefined;
  let removeRunning: NodeId | undefined;
  let deadIsIn = false;
  for (const { nodeId, wanted: wish } of wanted) {
    const voter = voters.includes(nodeId);
    const learner = learners.includes(nodeId);
    if (wish === 'removed') {
      const stays = v.later.has(nodeId);
      if (learner && !stays) return change('remove', nodeId);
      if (!voter) continue;
      deadIsIn ||= !runs(nodeId);
      if (stays || !safelyWithout(nodeId)) continue;
      if (!runs(nodeId)) return change('remove', nodeId);
      if (nodeId !== v.self) removeRunning ??= nodeId;
    } else if (learner) {
      if (promote === undefined && caughtUp(nodeId)) promote = nodeId;
    } else if (!voter && add === undefined && v.linked(nodeId) && v.member(nodeId)) add = nodeId;
  }
  if (promote !== undefined && !deadIsIn) return change('promote', promote);
  if (add !== undefined) return change('addLearner', add);
  return removeRunning === undefined ? undefined : change('remove', removeRunning);
}

/** What is wanted of it is so, as it mostly is. */
function settled({ nodeId, wanted }: WantedCore, { self, config: { voters, learners } }: CoreSetView): boolean {
  if (wanted === 'voter') return voters.includes(nodeId);
  return nodeId !== self && !voters.includes(nodeId) && !learners.includes(nodeId);
}

function change(kind: ConfigChange['kind'], node: NodeId): CoreSetStep {
  return { type: 'change', change: { kind, node } };
}
