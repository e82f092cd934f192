// The faults of a run: each kind comes at random times with its own mean, until `heal` ends them all.
// Faults are events of the world; nodes are only started and ended through the ClusterWorld.
import type { Prng } from '#base/prng.js';
import type { ClusterWorld, RunningNode } from './cluster-world.js';
import { Membership, type MembershipPlan } from './membership.js';
import { type Clients, Moments, type MomentsPlan } from './moments.js';
import type { FaultPlan } from './plan.js';
import { type RareClients, RareMoments, type RarePlan } from './rare-moments.js';
import { StorageFaults, type StoragePlan } from './storage-faults.js';

const slowFactors = [20, 200] as const;
/** After the last rows of a copy were written. */
const copyCutMs: readonly [number, number] = [0, 25];
const swizzleStepMs: readonly [number, number] = [10, 1_000];
/** After a copy began: some round trips, of a link that is slower meanwhile. */
const copyLossMs: readonly [number, number] = [20, 200];
const copyDelayMs = 10;
const slowWindowMs: readonly [number, number] = [100, 3_000];

export class Nemesis {
  readonly #c: ClusterWorld;
  readonly #plan: FaultPlan;
  readonly #changes: MembershipPlan;
  readonly #prng: Prng;
  readonly #disks: StoragePlan;
  readonly storage: StorageFaults;
  #active = false;
  /** How often each kind of fault struck. */
  readonly counts: Map<string, number> = new Map();
  readonly membership: Membership;
  #moments: Moments | undefined;
  #rare: RareMoments | undefined;
  onFault: ((kind: string, detail: string) => void) | undefined;

  constructor(c: ClusterWorld, plan: FaultPlan, disks: StoragePlan, changes: MembershipPlan) {
    this.#c = c;
    this.#plan = plan;
    this.#prng = c.world.prng.fork('nemesis');
    this.#disks = disks;
    this.#changes = changes;
    this.storage = new StorageFaults(c, c.world.prng.fork('storage'), (kind, detail) => this.#note(kind, detail));
    this.membership = new Membership(
      c,
      (kind, detail) => this.#note(kind, detail),
      (n) => this.#restartLater(n),
    );
  }

  /** Moments need clients of their own. */
  setUpMoments(plan: MomentsPlan, rare: RarePlan, clients: Clients & RareClients): void {
    this.#moments = new Moments(this.#c, plan, this.storage, clients, (kind, detail) => this.#note(kind, detail));
    this.#rare = new RareMoments(this.#c, rare, clients, (kind, detail) => this.#note(kind, detail));
  }

  start(): void {
    this.#active = true;
    this.#moments?.start();
    this.#rare?.start();
    const p = this.#plan;
    this.#every(p.killMs, () => this.#kill('kill'));
    this.#every(p.powerMs, () => this.#kill('power'));
    this.#every(p.allDownMs, () => this.#allDown());
    this.#every(p.stopMs, () => this.#stop());
    this.#every(p.wipeMs, () => this.#wipe());
    this.#every(p.partitionMs, () => this.#partition());
    this.#every(p.resetMs, () => this.#reset());
    this.#every(p.slowLinkMs, () => this.#slowLink());
    this.#every(p.pauseMs, () => this.#pause());
    this.#every(p.slowDiskMs, () => this.#slowDisk());
    this.#every(p.slowTablesMs, () => this.#slowTables());
    this.#every(p.clockMs, () => this.#clock());
    this.#every(p.swizzleMs, () => this.#swizzle());
    const d = this.#disks;
    this.#every(d.flipMs, () => this.storage.flip());
    this.#every(d.tornMs, () => this.storage.torn());
    this.#every(d.syncErrorMs, () => this.storage.syncError());
    this.#every(d.fullMs, () => this.storage.full());
    this.#every(d.tablesErrorMs, () => this.storage.tablesError());
    this.#every(d.flipTablesMs, () => this.storage.flipTables());
    const m = this.#changes;
    this.#every(m.joinMs, () => this.membership.join());
    this.#every(m.leaveMs, () => this.membership.leave());
    this.#every(m.wipeMs, () => this.membership.wipe());
    this.#every(m.forceMs, () => this.membership.force());
    this.#every(m.promoteMs, () => this.membership.promote());
  }

  /** No fault from now on; everything runs and everybody reaches everybody. */
  heal(): void {
    this.#active = false;
    this.#moments?.end();
    this.#rare?.end();
    const { net, nodes } = this.#c;
    net.healAll();
    net.clearWays();
    this.storage.heal();
    for (const n of nodes) {
      n.sim.disk.faults.slowFactor = 1;
      n.sim.tables.faults.slowFactor = 1;
      n.sim.setDrift(1);
      if (n.sim.scope.paused) n.sim.resume();
      if (!n.sim.up && !n.absent) this.#c.start(n);
    }
  }

  #every(meanMs: number | undefined, fault: () => void): void {
    if (meanMs === undefined) return;
    const next = (): void => {
      this.#c.world.after(-Math.log(1 - this.#prng.next()) * meanMs, () => {
        if (!this.#active) return;
        fault();
        next();
      });
    };
    next();
  }

  #note(kind: string, detail: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    this.onFault?.(kind, detail);
  }

  #between([from, to]: readonly [number, number]): number {
    return from + this.#prng.next() * (to - from);
  }

  /** Runs `fn` later, if faults still happen then: `heal` does it otherwise. */
  #later(ms: number, fn: () => void): void {
    this.#c.world.after(ms, () => {
      if (this.#active) fn();
    });
  }

  #up(): RunningNode[] {
    return this.#c.nodes.filter((n) => n.up);
  }

  #victim(): RunningNode | undefined {
    const up = this.#up();
    if (up.length === 0) return undefined;
    if (this.#prng.chance(this.#plan.leaderShare)) {
      const leader = this.#c.leaderOf(this.#prng.pick(['cluster', 'items', 'vault']));
      if (leader?.up === true) return leader;
    }
    return this.#prng.pick(up);
  }

  #restartLater(n: RunningNode): void {
    this.#later(this.#between(this.#plan.downMs), () => {
      if (!n.sim.up && !n.absent) this.#c.start(n);
    });
  }

  #kill(kind: 'kill' | 'power'): void {
    const n = this.#victim();
    if (n === undefined) return;
    const silent = kind === 'power' && this.#prng.chance(0.5);
    this.#note(kind, n.name);
    this.#c.crash(n, kind, silent);
    this.#restartLater(n);
  }

  /** The moment when a copy is named current and must be on disk. */
  copied(n: RunningNode): void {
    if (!this.#active || !this.#prng.chance(this.#plan.copyCutShare)) return;
    const { scope } = n.sim;
    this.#later(this.#between(copyCutMs), () => {
      if (scope.dead || n.core === undefined) return;
      this.#note('power after copy', n.name);
      this.#c.crash(n, 'power');
      this.#restartLater(n);
    });
  }

  /** `n` begins to copy the tables of `from`: what it says when it is done comes late. */
  copying(n: string, from: string, shard: string): void {
    this.#moments?.copying(n, from);
    this.#rare?.copying(n, from, shard);
    if (this.#active && this.#prng.chance(this.#plan.copyLossShare)) this.#loseCopy(n, from);
    if (!this.#active || !this.#prng.chance(this.#plan.copySlowShare)) return;
    this.#note('slow copy', `${n} ${from}`);
    this.#slow(n, from, this.#prng.pick([100, 400]), 0);
  }

  /** `leader` has begun to change the shard's group. */
  changing(leader: RunningNode, shard: string, change: string, name: string): void {
    if (change === 'remove') this.#rare?.parting(leader, shard, name);
    if (change === 'addLearner') this.#rare?.learning(name, (n) => this.membership.leave(n));
  }

  /** The link goes in the middle of a copy, so that another core goes on with it. */
  #loseCopy(n: string, from: string): void {
    const { net } = this.#c;
    this.#slow(n, from, copyDelayMs, 0);
    this.#later(this.#between(copyLossMs), () => {
      this.#note('lost copy', `${n} ${from}`);
      net.resetConnections(n, from);
    });
  }

  #allDown(): void {
    this.#note('all down', '');
    for (const n of this.#up()) {
      this.#c.crash(n, this.#prng.chance(0.5) ? 'power' : 'kill');
      this.#restartLater(n);
    }
  }

  #stop(): void {
    const n = this.#victim();
    if (n === undefined || n.sim.scope.paused) return;
    this.#note('stop', n.name);
    this.#c.stop(n, () => {
      if (this.#active) this.#restartLater(n);
      else this.#c.start(n);
    });
  }

  #wipe(): void {
    const n = this.#prng.pick(this.#c.nodes);
    if (n.role !== 'replicant' || !n.up) return;
    this.#note('wipe', n.name);
    this.#c.crash(n, 'power');
    n.renew();
    this.#restartLater(n);
  }

  #partition(): void {
    const { net, nodes } = this.#c;
    if (nodes.length < 2) return;
    const left: string[] = [];
    const right: string[] = [];
    for (const n of nodes) (this.#prng.chance(0.5) ? left : right).push(n.name);
    const oneWay = this.#prng.chance(this.#plan.oneWayShare);
    this.#note(oneWay ? 'one-way partition' : 'partition', `${left.join()} | ${right.join()}`);
    for (const a of left)
      for (const b of right) {
        if (oneWay) net.cutOneWay(a, b);
        else net.cut(a, b);
      }
    this.#later(this.#between(this.#plan.partitionLengthMs), () => net.healAll());
  }

  /** Some nodes are cut off from everybody one after the other, and come back in another order. */
  #swizzle(): void {
    const { net, nodes } = this.#c;
    const chosen = nodes.filter(() => this.#prng.chance(0.5));
    this.#note('swizzle', chosen.map((n) => n.name).join());
    let at = 0;
    const each = (order: readonly RunningNode[], change: (a: string, b: string) => void): void => {
      for (const n of order) {
        at += this.#between(swizzleStepMs);
        this.#later(at, () => {
          for (const m of nodes) if (m !== n) change(n.name, m.name);
        });
      }
    };
    each(chosen, (a, b) => net.cut(a, b));
    each(
      chosen
        .map((n) => ({ n, by: this.#prng.next() }))
        .sort((a, b) => a.by - b.by)
        .map((x) => x.n),
      (a, b) => net.heal(a, b),
    );
  }

  #reset(): void {
    const { net, nodes } = this.#c;
    const [a, b] = [this.#prng.pick(nodes), this.#prng.pick(nodes)];
    if (a === b) return;
    this.#note('reset', `${a.name} ${b.name}`);
    net.resetConnections(a.name, b.name);
  }

  #slowLink(): void {
    const { nodes } = this.#c;
    const [a, b] = [this.#prng.pick(nodes), this.#prng.pick(nodes)];
    if (a === b) return;
    const delayMs = this.#prng.pick([20, 100, 400]);
    this.#note('slow link', `${a.name} ${b.name} ${delayMs}`);
    this.#slow(a.name, b.name, delayMs, this.#prng.pick([0, 2]));
  }

  #slow(a: string, b: string, delayMs: number, bytesPerMs: number): void {
    const { net } = this.#c;
    net.setWay(a, b, { delayMs, jitterMs: delayMs / 4, bytesPerMs });
    this.#later(this.#between(slowWindowMs), () => net.setWay(a, b, { ...net.way }));
  }

  #pause(): void {
    const n = this.#victim();
    if (n === undefined || n.sim.scope.paused) return;
    this.#note('pause', n.name);
    n.sim.pause();
    const { scope } = n.sim;
    this.#later(this.#between(this.#plan.pauseLengthMs), () => this.#c.world.resume(scope));
  }

  #slowDisk(): void {
    const n = this.#prng.pick(this.#c.nodes);
    this.#note('slow disk', n.name);
    n.sim.disk.faults.slowFactor = this.#prng.pick(slowFactors);
    this.#later(this.#between(slowWindowMs), () => {
      n.sim.disk.faults.slowFactor = 1;
    });
  }

  #slowTables(): void {
    const n = this.#prng.pick(this.#c.nodes);
    this.#note('slow tables', n.name);
    n.sim.tables.faults.slowFactor = this.#prng.pick(slowFactors);
    this.#later(this.#between(slowWindowMs), () => {
      n.sim.tables.faults.slowFactor = 1;
    });
  }

  #clock(): void {
    const n = this.#prng.pick(this.#c.nodes);
    this.#note('clock', n.name);
    if (this.#prng.chance(0.5)) n.sim.jumpWall((this.#prng.next() - 0.5) * 7_200_000);
    // Within what leases allow for (`leaseMargin`).
    else n.sim.setDrift(0.98 + this.#prng.next() * 0.04);
  }
}
