// How a cluster comes into being when the cores find each other by discovery: nobody has a list of names,
// only `cluster.core_count`. Pure, as formation.ts.
//
// Two clusters must not come into being by accident, whatever discovery says. So: a core binds itself, once
// and durably, to one set of exactly `count` empty cores; it does so only when every core of the set says
// that it sees the same set, and when everybody whom discovery names is known (one that does not answer may
// be a core with the data of a cluster). The cluster is minted when all of the set are bound to it. A core is
// bound to one set at most, so two clusters would need two sets without a common core: twice as many empty
// cores as the operator said there are. More than `count` in sight are refused before anybody is bound.
//
// The price: a core that loses its data between the binding and the minting (milliseconds, as a rule) leaves
// the others bound to a set that cannot be completed. They say so; nothing was written yet, and emptying
// their data directories begins anew.
import { type CorePeer, decideAdoption, type FormationStep, type Gathering } from './formation.js';

export type GatheringStep =
  | FormationStep
  /** Keep durably that this core forms a cluster with these and no others, and say so. */
  | { readonly type: 'bind'; readonly to: readonly string[] };

export interface Gatherer {
  readonly name: string;
  readonly nodeId: string;
  readonly count: number;
  /** As kept on disk. */
  readonly bound: readonly string[] | undefined;
}

/** What the core says of itself. */
export function gatheringOf(self: Gatherer, peers: readonly CorePeer[]): Gathering {
  const seen = self.bound ?? [self.nodeId, ...peers.map((p) => p.nodeId)].sort();
  return { count: self.count, seen, bound: self.bound !== undefined };
}

/** `peers`: cores whose link is up. `unknown`: addresses of which it is not known who is there. */
export function decideByCount(self: Gatherer, peers: readonly CorePeer[], unknown: readonly string[]): GatheringStep {
  const there = decideAdoption(peers);
  if (there !== undefined) return there;
  const all = [{ name: self.name, nodeId: self.nodeId }, ...peers];
  const ids = all.map((c) => c.nodeId).sort();
  const names = all.map((c) => c.name).sort();
  if (self.bound !== undefined) {
    const missing = self.bound.filter((id) => !ids.includes(id));
    if (missing.length > 0) {
      return wait(
        `this core has agreed to form a cluster with ${missing.length} cores that are not here; if their data directories were emptied meanwhile, empty this one, too`,
      );
    }
  } else {
    const double = names.find((n, i) => n === names[i - 1]);
    if (double !== undefined) return wait(`two cores are called ${double}`);
    if (ids.length > self.count) {
      return wait(
        `${ids.length} empty cores are here and cluster.core_count is ${self.count}: it must be the number of all cores that are to form the cluster`,
      );
    }
    if (ids.length < self.count) return wait(`${ids.length} of ${self.count} cores are here`);
    const [nobody] = unknown;
    if (nobody !== undefined) return wait(`discovery names ${nobody}, and nobody answers there: it may be a core that has data`);
  }
  const set = self.bound ?? ids;
  for (const p of peers) {
    if (!set.includes(p.nodeId)) continue;
    const g = p.info?.gathering;
    if (g === undefined) return wait(`core ${p.name} is configured with the names of its cores; configure all cores alike`);
    if (g.count !== self.count) return wait(`core ${p.name} has cluster.core_count = ${g.count}, this one ${self.count}`);
    if (g.seen.join() !== set.join()) return wait(`core ${p.name} does not see the same cores yet`);
  }
  if (self.bound === undefined) return { type: 'bind', to: ids };
  const members = all.filter((c) => set.includes(c.nodeId)).sort((a, b) => (a.name < b.name ? -1 : 1));
  const late = peers.find((p) => set.includes(p.nodeId) && p.info?.gathering?.bound !== true);
  if (late !== undefined) return wait(`waiting for ${late.name} to agree`);
  const [first] = members;
  if (first?.nodeId !== self.nodeId) return wait(`waiting for ${first?.name ?? 'the first core'} to form the cluster`);
  return { type: 'mint', voters: members.map((c) => c.nodeId), names: members.map((c) => c.name) };
}

function wait(why: string): GatheringStep {
  return { type: 'wait', why };
}
