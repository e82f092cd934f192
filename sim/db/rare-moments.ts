// Moments as in moments.ts that hardly any run needs, because what they look for hides behind a second fault: a small
// share of the runs has one kind of them and little else (plan.ts), and all others stay as they are. Used by nemesis.ts.
//
// - gone owner: a replicant copies tables in small pieces; in the middle of that it is not heard of, and meanwhile the
//   process of a core that owns rows is new. Its rows are purged and swept before the copy goes on.
// - new voter: a leader is out of touch with some of the others for a while, then with all of them, and the process of
//   those that have confirmed it all the time is new.
// - parting: a core, voter or learner, is taken out of a group, and cut off before it hears of that, in half of the cases
//   with the ends of its connections; leadership is handed on at once.
import { Prng } from '#base/prng.js';
import type { Until } from '#db/api.js';
import { dbBounds } from '#db/bounds.js';
import type { ClusterWorld, RunningNode } from './cluster-world.js';
import { copyDelayMs, copyingWithinMs, quickMs, writeEveryMs } from './moment-times.js';
import { ownedKey, runShards } from './schema.js';

export type RareKind = 'gone owner' | 'new voter' | 'parting';

/** Undefined: none. */
export type RarePlan = RareKind | undefined;

/** What a moment lets clients do, besides what they do anyhow. */
export interface RareClients {
  write(node: RunningNode, shard: string, until: Until): void;
  /** The node writes a row that is its own. */
  own(node: RunningNode, key: Uint8Array): void;
}

const pauseMs = 400;
/** Rows of each owner that nobody else writes: the numbers of their keys. */
const ownRows: readonly number[] = [4, 5, 6, 7, 8, 9, 10, 11];
/** Until what was written is applied everywhere. */
const settleMs = 300;
/** After the beginning of the copy, when it is to stop behind the system's rows, or anywhere. */
const stopMs: readonly [number, number] = [20, 300];
/** The owner's rows are gone by then. */
const holdMs = 1_200;
/** Of a lease: how long a leader is out of touch with some. */
const awayShare: readonly [number, number] = [0.4, 1.4];
/** What a leader is confirmed for is over. */
const leases = 2;
const lookEveryMs = 3;
/** Of the times that a core comes into a group, and how long after. */
const learnerShare = 0.3;
const learnerMs: readonly [number, number] = [5, 150];
const committedWithinMs = 300;

export class RareMoments {
  readonly #c: ClusterWorld;
  readonly #plan: RarePlan;
  readonly #prng: Prng;
  readonly #resets: Prng;
  readonly #clients: RareClients;
  readonly #note: (kind: string, detail: string) => void;
  #active = false;
  /** Who is to copy tables, and which cores own rows. */
  #copier: { readonly node: RunningNode; readonly owners: readonly RunningNode[] } | undefined;
  #parts = false;

  constructor(c: ClusterWorld, plan: RarePlan, clients: RareClients, note: (kind: string, detail: string) => void) {
    this.#c = c;
    this.#plan = plan;
    // Not of the world's own: runs without these moments are what they were before there were any.
    this.#prng = new Prng(c.options.seed).fork('rare moments');
    this.#resets = new Prng(c.options.seed).fork('partings with a reset');
    this.#clients = clients;
    this.#note = note;
  }

  start(): void {
    this.#active = this.#plan !== undefined;
    if (this.#active && this.#plan !== 'parting') this.#next();
  }

  /** The rest of a moment does not take place; what it had cut is healed by nemesis.ts. */
  end(): void {
    this.#active = false;
  }

  #next(): void {
    this.#later(pauseMs, () => {
      const ready = this.#cores().every((n) => n.up);
      const takesMs = !ready ? 0 : this.#plan === 'gone owner' ? this.#goneOwner() : this.#newVoter();
      this.#later(takesMs, () => this.#next());
    });
  }

  #later(ms: number, fn: () => void): void {
    this.#c.world.after(ms, () => {
      if (this.#active) fn();
    });
  }

  #repeat(everyMs: number, forMs: number, fn: () => void): void {
    for (let at = 0; at < forMs; at += everyMs) this.#later(at, fn);
  }

  #between([from, to]: readonly [number, number]): number {
    return from + this.#prng.next() * (to - from);
  }

  #cores(): RunningNode[] {
    return this.#c.members.filter((n) => n.role === 'core');
  }

  get #leaseMs(): number {
    return this.#c.options.bounds?.leaseMs ?? dbBounds.leaseMs;
  }

  #renewProcess(n: RunningNode): void {
    if (n.up) this.#c.crash(n, 'kill');
    this.#later(this.#between(quickMs), () => {
      if (!n.sim.up && !n.absent) this.#c.start(n);
    });
  }

  // ---- gone owner ----

  #own(n: RunningNode): void {
    const number = this.#c.nodes.indexOf(n);
    if (n.up) for (const k of ownRows) this.#clients.own(n, ownedKey(number, k));
  }

  #goneOwner(): number {
    const leader = this.#c.leaderOf(runShards[0] as string);
    const owners = this.#cores().filter((n) => n !== leader);
    const replicants = this.#c.members.filter((n) => n.role === 'replicant' && n.up);
    if (leader === undefined || owners.length === 0 || replicants.length === 0) return 0;
    const node = this.#prng.pick(replicants);
    this.#note('gone owner', node.name);
    for (const n of owners) this.#own(n);
    this.#later(settleMs, () => {
      this.#copier = { node, owners };
      this.#c.crash(node, 'power');
      node.renew();
      this.#later(this.#between(quickMs), () => {
        if (!node.sim.up && !node.absent) this.#c.start(node);
      });
    });
    this.#later(settleMs + copyingWithinMs, () => {
      this.#copier = undefined;
    });
    return settleMs + copyingWithinMs + pauseMs;
  }

  /** A node begins to copy the tables of another. */
  copying(to: string, from: string, shard: string): void {
    const copier = this.#copier;
    if (!this.#active || copier === undefined || copier.node.name !== to || shard !== runShards[0]) return;
    const owners = copier.owners.filter((n) => n.name !== from && n.up);
    if (owners.length === 0) return;
    this.#copier = undefined;
    const owner = this.#prng.pick(owners);
    const { net } = this.#c;
    net.setWay(from, to, { ...net.way, delayMs: copyDelayMs });
    const stopsAt = this.#prng.chance(0.5) ? 0 : this.#between(stopMs);
    const stop = (): void => net.setOneWay(to, from, { ...net.way, delayMs: holdMs });
    if (stopsAt === 0) stop();
    else this.#later(stopsAt, stop);
    // Written again before the index of who owns what is copied.
    if (stopsAt === 0) this.#later(1, () => this.#own(owner));
    this.#later(stopsAt + 6 * net.way.delayMs + settleMs / 3, () => this.#renewProcess(owner));
    this.#later(stopsAt + holdMs, () => net.setWay(from, to, { ...net.way }));
  }

  // ---- new voter ----

  #newVoter(): number {
    const cores = this.#cores();
    const shard = this.#prng.pick(runShards);
    const leader = this.#c.leaderOf(shard);
    if (cores.length < 3 || leader === undefined) return 0;
    const others = cores
      .filter((n) => n !== leader)
      .map((n) => ({ n, by: this.#prng.next() }))
      .sort((a, b) => a.by - b.by)
      .map(({ n }) => n);
    const confirming = others.slice(0, cores.length >> 1);
    const away = others.slice(cores.length >> 1);
    this.#note('new voter', `${leader.name} ${confirming.map((n) => n.name).join()}`);
    const { net } = this.#c;
    for (const n of away) net.cut(n.name, leader.name);
    const awayMs = this.#between(awayShare) * this.#leaseMs;
    const alone = this.#c.members.filter((n) => n !== leader && !others.includes(n) && this.#prng.chance(0.5));
    const rest = this.#c.members.filter((n) => n !== leader && !alone.includes(n));
    this.#later(awayMs, () => {
      for (const a of [leader, ...alone]) for (const b of rest) net.cut(a.name, b.name);
      for (const n of confirming) this.#renewProcess(n);
    });
    const forMs = leases * this.#leaseMs;
    this.#later(awayMs, () => this.#repeat(writeEveryMs, forMs, () => this.#writeAtLeaderOf(shard, leader)));
    this.#later(awayMs + forMs, () => {
      for (const a of [leader, ...alone]) for (const b of rest) net.heal(a.name, b.name);
    });
    return awayMs + forMs + 1_000;
  }

  #writeAtLeaderOf(shard: string, but: RunningNode): void {
    const leader = this.#c.nodes.find((n) => n !== but && n.core?.database.coreShard(shard)?.leader !== undefined);
    if (leader?.up === true && !leader.sim.scope.paused) this.#clients.write(leader, shard, 'effective');
  }

  // ---- parting ----

  /** A leader has begun to take a node out of the group. */
  parting(leader: RunningNode, shard: string, name: string): void {
    const going = this.#c.nodes.find((n) => n.name === name);
    if (!this.#active || this.#plan !== 'parting' || this.#parts || going === undefined || going === leader || !runShards.includes(shard)) return;
    if (going.core?.database.inSync(shard) !== true) return;
    this.#parts = true;
    const { net } = this.#c;
    const fed = going.core.database.coreShard(shard)?.server.replicants() ?? [];
    const withIt = [going.name, ...fed.filter(() => this.#prng.chance(0.7))];
    const rest = this.#c.nodes.map((n) => n.name).filter((n) => !withIt.includes(n));
    const forMs = leases * this.#leaseMs;
    const resets = this.#resets.chance(0.5);
    const raft = leader.core?.database.coreShard(shard)?.raft;
    const learner = raft?.configAt(raft.lastIndex - 1).learners.includes(going.core.nodeId) === true;
    this.#later(0, () => {
      this.#note(learner ? 'parting (learner)' : 'parting', `${name} ${shard}`);
      for (const a of withIt)
        for (const b of rest) {
          // Then nobody knows of it by a link that it does not know to be dead.
          if (resets) net.resetConnections(a, b);
          net.cut(a, b);
        }
      this.#handOn(leader, shard, committedWithinMs);
      this.#repeat(writeEveryMs, forMs, () => this.#writeAtLeaderOf(shard, going));
      this.#later(forMs, () => {
        this.#parts = false;
        for (const a of withIt) for (const b of rest) net.heal(a, b);
      });
    });
  }

  /** A core comes in: in some cases it leaves at once, while it learns. */
  learning(name: string, leave: (n: RunningNode) => void): void {
    const comes = this.#c.nodes.find((n) => n.name === name);
    if (!this.#active || this.#plan !== 'parting' || comes === undefined || !this.#resets.chance(learnerShare)) return;
    const afterMs = learnerMs[0] + this.#resets.next() * (learnerMs[1] - learnerMs[0]);
    this.#later(afterMs, () => leave(comes));
  }

  /** As soon as the change is committed. */
  #handOn(leader: RunningNode, shard: string, leftMs: number): void {
    const core = leader.core?.database.coreShard(shard);
    if (core?.leader === undefined || leftMs <= 0) return;
    const { raft } = core;
    const to = raft.config.voters.filter((id) => id !== core.nodeId);
    if (raft.changePending) return this.#later(lookEveryMs, () => this.#handOn(leader, shard, leftMs - lookEveryMs));
    if (to.length > 0) leader.sim.run(() => core.step({ type: 'transferLeader', to: this.#prng.pick(to) }));
  }
}
