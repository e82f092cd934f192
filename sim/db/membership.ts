// Changes of the set of cores during a run, as operators and lost machines make them: spare cores come in,
// cores leave, lose their disks, are taken out by force and sometimes come back with the old disk, replicants
// are promoted. What would lose committed data by itself is done only while everything is in order: a disk is
// lost, or a core for ever, when all cores are in all groups and nothing changes.
// Used by nemesis.ts; the state that a node is in beside running or not is `absent` (cluster-world.ts).
import type { Prng } from '#base/prng.js';
import { memberShard } from '#cluster/schema.js';
import type { ClusterWorld, RunningNode } from './cluster-world.js';

/** Mean time between changes of a kind in ms; undefined: none. */
export interface MembershipPlan {
  readonly joinMs: number | undefined;
  readonly leaveMs: number | undefined;
  readonly wipeMs: number | undefined;
  readonly forceMs: number | undefined;
  readonly promoteMs: number | undefined;
  /** Cores that are not there at the start. */
  readonly spares: number;
}

export const noMembership: MembershipPlan = {
  joinMs: undefined,
  leaveMs: undefined,
  wipeMs: undefined,
  forceMs: undefined,
  promoteMs: undefined,
  spares: 0,
};

export function makeMembership(prng: Prng): MembershipPlan {
  const sometimes = (...means: number[]): number | undefined => (prng.chance(0.6) ? prng.pick(means) : undefined);
  return {
    joinMs: prng.pick([1_000, 3_000]),
    leaveMs: sometimes(1_500, 4_000),
    // Most attempts find something out of order.
    wipeMs: sometimes(700, 2_000),
    forceMs: sometimes(700, 2_000),
    promoteMs: sometimes(3_000, 8_000),
    spares: prng.pick([1, 1, 1, 2, 3]),
  };
}

const forceAgainMs = 500;
/** As long after a core was asked to leave the groups may be about to change. */
const askedMs = 2_000;
/** How cluster/leaving.ts begins when it does not know, and when it was asked before. */
const pending: readonly string[] = ['the cluster did not answer', 'this node is leaving already'];
/** Of the cores taken out by force, how many come back with the disk they had. */
const resurrectedShare = 0.5;
const shards = [memberShard, 'items', 'vault'] as const;

export class Membership {
  readonly #c: ClusterWorld;
  readonly #prng: Prng;
  readonly #note: (kind: string, detail: string) => void;
  readonly #restartLater: (n: RunningNode) => void;
  /** Gone for ever, and not taken out yet. */
  readonly #dead: Set<RunningNode> = new Set();
  #again = false;
  /** Cores that are to leave, or may be: how often each was asked and not refused. */
  readonly #asked: Map<RunningNode, number> = new Map();
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(c: ClusterWorld, note: (kind: string, detail: string) => void, restartLater: (n: RunningNode) => void) {
    this.#c = c;
    this.#prng = c.world.prng.fork('membership');
    this.#note = note;
    this.#restartLater = restartLater;
  }

  /** All that were asked for are done. */
  get done(): boolean {
    return this.#dead.size === 0;
  }

  join(): void {
    const spares = this.#c.nodes.filter((n) => n.absent && !this.#dead.has(n));
    if (spares.length === 0) return;
    const n = this.#prng.pick(spares);
    this.#note('join', n.name);
    this.#asked.delete(n);
    n.absent = false;
    this.#c.start(n);
  }

  /** One of those that are there, or that one if it is. */
  leave(chosen?: RunningNode): void {
    const cores = this.#cores().filter((n) => n.up && n.core?.cluster.phase === 'joined');
    if (cores.length < 2 || (chosen !== undefined && !cores.includes(chosen))) return;
    // Those that stay must be somebody, and most of a group that the dead ones are still in: nobody may know yet that
    // these are dead.
    const n = chosen ?? this.#prng.pick(cores);
    const staying = cores.filter((one) => one !== n && (this.#asked.get(one) ?? 0) === 0).length;
    if (staying <= this.#dead.size) return;
    this.#note('leave', n.name);
    this.#askedAt = this.#c.world.now;
    const ask = (more: 1 | -1): unknown => this.#asked.set(n, Math.max(0, (this.#asked.get(n) ?? 0) + more));
    ask(1);
    n.sim.run(() =>
      n.core?.cluster.leave((refused) => {
        // Without an answer, or while it is on its way, it may still happen.
        if (refused !== undefined && !pending.some((words) => refused.startsWith(words))) ask(-1);
      }),
    );
  }

  promote(): void {
    const replicants = this.#c.members.filter((n) => n.role === 'replicant' && n.up);
    const asked = this.#c.members.filter((n) => n.up);
    if (replicants.length === 0 || asked.length === 0) return;
    const n = this.#prng.pick(replicants);
    const by = this.#prng.pick(asked);
    this.#note('promote', `${n.name} by ${by.name}`);
    by.sim.run(() => by.core?.cluster.promote(n.name, () => {}));
  }

  wipe(): void {
    const cores = this.#cores();
    if (cores.length < 3 || !this.#inOrder(cores)) return;
    const n = this.#prng.pick(cores);
    this.#note('wipe core', n.name);
    this.#c.crash(n, 'power');
    n.renew();
    this.#asked.delete(n);
    this.#restartLater(n);
  }

  force(): void {
    const cores = this.#cores();
    if (cores.length < 3 || !this.#inOrder(cores)) return;
    const n = this.#prng.pick(cores);
    this.#note('dead core', n.name);
    this.#c.crash(n, this.#prng.chance(0.5) ? 'power' : 'kill');
    n.absent = true;
    this.#dead.add(n);
    this.#forceLater();
  }

  #forceLater(): void {
    if (this.#again) return;
    this.#again = true;
    this.#c.world.after(forceAgainMs, () => {
      this.#again = false;
      const up = this.#c.members.filter((n) => n.up && !n.sim.scope.paused && n.core?.cluster.phase === 'joined');
      for (const n of this.#dead) if (up.length > 0) this.#force(n, this.#prng.pick(up));
      if (this.#dead.size > 0) this.#forceLater();
    });
  }

  #force(n: RunningNode, by: RunningNode): void {
    by.sim.run(() =>
      by.core?.cluster.forceLeave(n.name, (refused) => {
        // It may be out already, by an earlier attempt whose answer was lost.
        if ((refused !== undefined && !refused.startsWith('there is no node')) || !this.#dead.delete(n)) return;
        this.#note('force-leave', n.name);
        if (this.#prng.chance(resurrectedShare)) {
          this.#note('resurrected', n.name);
          // With its old disk: it is to find out, and to end.
          n.absent = false;
          n.leaving = true;
          this.#c.world.after(0, () => {
            if (!n.sim.up) this.#c.start(n);
          });
        } else {
          n.renew();
          n.newcomer = true;
        }
      }),
    );
  }

  #cores(): RunningNode[] {
    return this.#c.members.filter((n) => n.role === 'core');
  }

  /** All cores run, serve, and are the voters of all groups, as every one of them sees it. */
  #inOrder(cores: readonly RunningNode[]): boolean {
    if (this.#dead.size > 0 || this.#c.world.now - this.#askedAt < askedMs) return false;
    return cores.every((n) => n.up && n.core?.cluster.serving === true) && groupsDifference(this.#c, cores) === '';
  }
}

/** What is missing until the Raft groups, as each core sees them, consist of these cores; '' for nothing. */
export function groupsDifference(c: ClusterWorld, cores: readonly RunningNode[]): string {
  const ids = cores.map((n) => n.core?.nodeId ?? '').sort();
  for (const n of cores)
    for (const shard of shards) {
      const raft = n.core?.database.coreShard(shard)?.raft;
      if (raft === undefined) return `${n.name} has no part in ${shard}`;
      const voters = [...raft.config.voters].sort();
      if (voters.join() === ids.join() && raft.config.learners.length === 0 && !raft.changePending) continue;
      const name = (id: string): string => c.nodes.find((m) => m.core?.nodeId === id)?.name ?? id;
      return `${n.name} ${shard}: voters ${voters.map(name).join()}, learners ${raft.config.learners.map(name).join()}, not ${ids.map(name).join()}`;
    }
  return '';
}
