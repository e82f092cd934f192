// Faults that take several steps in the right order, which faults at random hardly ever meet: each moment
// is set up on purpose, with writes and reads in the middle of it, and is over after some seconds. A run
// that has them (plan.ts) meets one after the other. Used by nemesis.ts.
//
// - witness: what is acknowledged is on the leader and on as few others as a majority needs; then the leader
//   is out of reach, and one of those others loses the end of its log, or its unsynced part, and is back.
// - deposed: a leader is cut off or stands still while another one takes over; it is asked for reads and writes.
// - second core: a replicant copies tables, its core is out of reach in the middle of that, and the only other one that
//   it reaches lags behind what is there already.
// - amnesia: a core that feeds replicants forgets that, its process is new at once, and they do not notice.
// - slow replicant: one in service has received more than its tables take, while others wait until it has seen it.
// - lost holder: who holds a lease reaches nobody any more; before that the answers to its requests came late, or who
//   granted the lease, and nobody else, has noticed that the connection is gone.
import type { Prng } from '#base/prng.js';
import type { Until } from '#db/api.js';
import { dbBounds } from '#db/bounds.js';
import type { ClusterWorld, RunningNode } from './cluster-world.js';
import { copyDelayMs, copyingWithinMs, quickMs, writeEveryMs } from './moment-times.js';
import { runShards } from './schema.js';
import type { StorageFaults } from './storage-faults.js';

export type MomentKind = 'witness' | 'deposed' | 'amnesia' | 'second core' | 'slow replicant' | 'lost holder';

export interface MomentsPlan {
  readonly kinds: readonly MomentKind[];
  /** From the end of one to the next. */
  readonly pauseMs: number;
}

export const noMoments: MomentsPlan = { kinds: [], pauseMs: 0 };

const allKinds: readonly MomentKind[] = ['witness', 'deposed', 'amnesia', 'second core', 'slow replicant'];

/** `tree`: of a run with relays, where a lease passes through more hands. */
export function makeMoments(prng: Prng, tree: boolean): MomentsPlan {
  const kinds = allKinds.filter(() => prng.chance(0.5));
  if (prng.fork('lost holder').chance(tree ? 1 : 0.5)) kinds.push('lost holder');
  return { kinds: kinds.length === 0 ? allKinds : kinds, pauseMs: prng.pick([100, 1_500]) };
}

/** What a moment lets clients do, besides what they do anyhow. */
export interface Clients {
  write(node: RunningNode, shard: string, until: Until): void;
  read(node: RunningNode, shard: string): void;
}

const aloneMs: readonly [number, number] = [150, 700];
/** Longer than an election takes. */
const leaderGoneMs: readonly [number, number] = [1_500, 3_500];
const deposedMs: readonly [number, number] = [2_000, 4_000];
const readEveryMs = 60;
/** Writes that are long without an answer make the search for an order long. */
const slowlyMs = 120;
/** Two leases: whoever was forgotten has noticed by then. */
const amnesiaMs = 1_200;
const denselyMs = 20;
const lagMs = 30;
const copyMs: readonly [number, number] = [30, 150];
const secondMs = 300;
const slowTablesMs: readonly [number, number] = [300, 900];
const slowTablesFactor = 100;
/** Of a lease: the way back of an answer, and how long it is so before the holder is cut off. */
const answerShare = 0.6;
const lateForLeases = 2;
/** From the cut until a lease that was counted too long is over. */
const lostForLeases = 2;

export class Moments {
  readonly #c: ClusterWorld;
  readonly #plan: MomentsPlan;
  readonly #prng: Prng;
  readonly #disks: StorageFaults;
  readonly #clients: Clients;
  readonly #note: (kind: string, detail: string) => void;
  #active = false;
  /** Of the moment of a second core: who is to copy tables. */
  #copier: RunningNode | undefined;

  constructor(c: ClusterWorld, plan: MomentsPlan, disks: StorageFaults, clients: Clients, note: (kind: string, detail: string) => void) {
    this.#c = c;
    this.#plan = plan;
    this.#prng = c.world.prng.fork('moments');
    this.#disks = disks;
    this.#clients = clients;
    this.#note = note;
  }

  start(): void {
    if (this.#plan.kinds.length === 0) return;
    this.#active = true;
    this.#next();
  }

  /** The rest of a moment does not take place; what it had cut is healed by nemesis.ts. */
  end(): void {
    this.#active = false;
  }

  #next(): void {
    this.#later(this.#plan.pauseMs + 1, () => {
      const takesMs = this.#cores().every((n) => n.up) ? this.#begin(this.#prng.pick(this.#plan.kinds)) : 0;
      this.#later(takesMs, () => this.#next());
    });
  }

  #begin(kind: MomentKind): number {
    if (kind === 'witness') return this.#witness();
    if (kind === 'second core') return this.#secondCore();
    if (kind === 'slow replicant') return this.#slowReplicant();
    if (kind === 'lost holder') return this.#lostHolder();
    return kind === 'deposed' ? this.#deposed() : this.#amnesia();
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

  /** Those that are up, and not standing still. */
  #write(n: RunningNode, shard: string, until: Until): void {
    if (n.up && !n.sim.scope.paused) this.#clients.write(n, shard, until);
  }

  #read(n: RunningNode, shard: string): void {
    if (n.up && !n.sim.scope.paused) this.#clients.read(n, shard);
  }

  #shuffled(nodes: readonly RunningNode[]): RunningNode[] {
    return nodes
      .map((n) => ({ n, by: this.#prng.next() }))
      .sort((a, b) => a.by - b.by)
      .map((x) => x.n);
  }

  #witness(): number {
    const cores = this.#cores();
    const shard = this.#prng.pick(runShards);
    const leader = this.#c.leaderOf(shard);
    if (cores.length < 3 || leader === undefined) return 0;
    const helpersNeeded = cores.length >> 1;
    const others = this.#shuffled(cores.filter((n) => n !== leader));
    const helpers = others.slice(0, helpersNeeded);
    const rest = others.slice(helpersNeeded);
    const victim = helpers[0] as RunningNode;
    const how = this.#prng.pick(['flip', 'flip', 'sync', 'sync', 'power'] as const);
    if (how !== 'power' && !this.#disks.claim(victim)) return 0;
    this.#note(`witness (${how})`, `${leader.name} ${victim.name}`);
    const { net } = this.#c;
    for (const a of rest) for (const b of [leader, ...helpers]) net.cut(a.name, b.name);
    const forMs = this.#between(aloneMs);
    if (how === 'sync') this.#disks.loseSyncs(victim, forMs);
    if (how === 'flip') this.#disks.flipLater(victim, forMs);
    this.#repeat(writeEveryMs, forMs, () => this.#write(leader, shard, 'committed'));
    this.#later(forMs, () => this.#loseWitness(leader, helpers, rest, how));
    const goneMs = this.#between(leaderGoneMs);
    this.#later(forMs + goneMs, () => {
      for (const n of cores) if (n !== leader) net.heal(n.name, leader.name);
    });
    return forMs + goneMs + 500;
  }

  #loseWitness(leader: RunningNode, helpers: readonly RunningNode[], rest: readonly RunningNode[], how: 'flip' | 'sync' | 'power'): void {
    const { net } = this.#c;
    const victim = helpers[0] as RunningNode;
    for (const n of [...helpers, ...rest]) net.cut(n.name, leader.name);
    for (const a of rest) for (const b of helpers) net.heal(a.name, b.name);
    // What else hurts it comes in the same moment.
    if (how !== 'power' || !victim.up) return;
    this.#c.crash(victim, 'power');
    this.#startLater(victim);
  }

  #startLater(n: RunningNode): void {
    this.#later(this.#between(quickMs), () => {
      if (!n.sim.up && !n.absent) this.#c.start(n);
    });
  }

  #deposed(): number {
    const cores = this.#cores();
    const shard = this.#prng.pick(runShards);
    const leader = this.#c.leaderOf(shard);
    if (cores.length < 3 || leader === undefined || leader.sim.scope.paused) return 0;
    const pauses = this.#prng.chance(0.4);
    const { net } = this.#c;
    const others = cores.filter((n) => n !== leader);
    const replicants = this.#c.members.filter((n) => n.role === 'replicant');
    // Some of the replicants stay with it, and ask it.
    const withIt = [leader, ...replicants.filter(() => this.#prng.chance(0.5))];
    const away = [...others, ...replicants.filter((n) => !withIt.includes(n))];
    this.#note(pauses ? 'deposed (paused)' : 'deposed (cut off)', leader.name);
    const forMs = this.#between(deposedMs);
    this.#repeat(slowlyMs, forMs, () => this.#write(this.#prng.pick(others), shard, 'committed'));
    if (pauses) {
      leader.sim.pause();
      const { scope } = leader.sim;
      this.#later(forMs, () => {
        this.#c.world.resume(scope);
        this.#repeat(1, 5, () => this.#read(leader, shard));
      });
      return forMs + 500;
    }
    for (const a of withIt) for (const b of away) net.cut(a.name, b.name);
    this.#repeat(readEveryMs, forMs, () => this.#read(this.#prng.pick(withIt), shard));
    this.#repeat(3 * slowlyMs, forMs, () => this.#write(this.#prng.pick(withIt), shard, 'committed'));
    this.#later(forMs, () => {
      for (const a of withIt) for (const b of away) net.heal(a.name, b.name);
    });
    return forMs + 1_000;
  }

  /** All cores lag a little behind their leaders, so that the next one has less than the first when its news stop. */
  #secondCore(): number {
    const replicants = this.#c.members.filter((n) => n.role === 'replicant' && n.up);
    const cores = this.#cores();
    if (replicants.length === 0 || cores.length < 3) return 0;
    const n = this.#prng.pick(replicants);
    this.#note('second core', n.name);
    this.#copier = n;
    this.#ways(cores, lagMs);
    this.#c.crash(n, 'power');
    n.renew();
    this.#startLater(n);
    const shard = runShards[0] as string;
    this.#repeat(denselyMs, copyingWithinMs, () => {
      const leader = this.#c.leaderOf(shard);
      if (this.#copier === n && leader !== undefined) this.#write(leader, shard, 'committed');
    });
    this.#later(copyingWithinMs, () => {
      this.#copier = undefined;
      this.#ways(cores, undefined);
    });
    return copyingWithinMs + 500;
  }

  #ways(cores: readonly RunningNode[], delayMs: number | undefined): void {
    const { net } = this.#c;
    for (const a of cores) for (const b of cores) if (a !== b) net.setWay(a.name, b.name, { ...net.way, delayMs: delayMs ?? net.way.delayMs });
  }

  /** A node begins to copy the tables of another. */
  copying(to: string, from: string): void {
    const n = this.#copier;
    const leader = this.#c.leaderOf(runShards[0] as string);
    if (!this.#active || n === undefined || n.name !== to || leader === undefined) return;
    const seconds = this.#cores().filter((m) => m.name !== from && m !== leader);
    if (seconds.length === 0) return;
    const second = this.#prng.pick(seconds);
    const others = this.#cores().filter((m) => m !== second);
    const { net } = this.#c;
    for (const m of others) net.cut(m.name, second.name);
    net.setWay(from, to, { ...net.way, delayMs: copyDelayMs });
    this.#later(this.#between(copyMs), () => {
      for (const m of others) {
        net.resetConnections(m.name, n.name);
        net.cut(m.name, n.name);
      }
      this.#later(secondMs, () => {
        for (const m of others) {
          net.heal(m.name, n.name);
          net.heal(m.name, second.name);
        }
        net.setWay(from, to, { ...net.way });
      });
    });
  }

  #amnesia(): number {
    const shard = runShards[0] as string;
    const feeding = this.#cores().filter((n) => (n.core?.database.coreShard(shard)?.server.replicants().length ?? 0) > 0);
    if (feeding.length === 0) return 0;
    const leader = this.#c.leaderOf(shard);
    const n = leader !== undefined && feeding.includes(leader) && this.#prng.chance(0.7) ? leader : this.#prng.pick(feeding);
    const fed = this.#c.members.filter((m) => n.core?.database.coreShard(shard)?.server.replicants().includes(m.name) === true);
    this.#note('amnesia', n.name);
    const { net } = this.#c;
    for (const m of fed) net.cut(m.name, n.name);
    this.#c.crash(n, this.#prng.chance(0.5) ? 'power' : 'kill');
    this.#startLater(n);
    this.#repeat(writeEveryMs, amnesiaMs, () => this.#write(n, shard, 'effective'));
    this.#later(amnesiaMs, () => {
      for (const m of fed) net.heal(m.name, n.name);
    });
    return amnesiaMs + 500;
  }

  /** With tables that are committed row by row (plan.ts), what comes meanwhile waits in the queue. */
  #slowReplicant(): number {
    const shard = runShards[0] as string;
    const serving = this.#c.members.filter((n) => n.role === 'replicant' && n.up && !n.sim.scope.paused && n.core?.database.inSync(shard) === true);
    if (serving.length === 0) return 0;
    const n = this.#prng.pick(serving);
    this.#note('slow replicant', n.name);
    const { faults } = n.sim.tables;
    faults.slowFactor = slowTablesFactor;
    const forMs = this.#between(slowTablesMs);
    this.#repeat(slowlyMs, forMs, () => this.#write(this.#prng.pick(this.#cores()), shard, 'effective'));
    this.#later(forMs, () => {
      faults.slowFactor = 1;
    });
    return forMs + 500;
  }

  /** Who granted the lease of `n`. */
  #grantorOf(n: RunningNode, shard: string): RunningNode | undefined {
    if (n.role === 'core') return this.#c.leaderOf(shard);
    const id = n.core?.database.replica(shard)?.upstream;
    return id === undefined ? undefined : this.#c.members.find((m) => m.core?.nodeId === id);
  }

  #lostHolder(): number {
    const shard = runShards[0] as string;
    const holders = this.#c.members.filter((m) => {
      const grantor = this.#grantorOf(m, shard);
      return m.up && m.core?.database.inSync(shard) === true && grantor?.up === true && grantor !== m;
    });
    if (holders.length === 0) return 0;
    // Most of what can go wrong does below a relay, or at least below a follower.
    const below = holders.filter((m) => m.role === 'replicant' && !m.relay);
    const leaves = below.filter((m) => this.#grantorOf(m, shard)?.role === 'replicant');
    const n = this.#prng.pick(this.#prng.chance(0.3) || below.length === 0 ? holders : leaves.length === 0 ? below : leaves);
    const from = this.#grantorOf(n, shard) as RunningNode;
    const late = n.role === 'core' || this.#prng.chance(0.4);
    this.#note(late ? 'lost holder (late answers)' : 'lost holder (one end)', `${n.name} ${from.name}`);
    const { net, options } = this.#c;
    const leaseMs = options.bounds?.leaseMs ?? dbBounds.leaseMs;
    const lateMs = late ? lateForLeases * leaseMs : 0;
    if (late) net.setOneWay(from.name, n.name, { delayMs: leaseMs * answerShare });
    this.#later(lateMs, () => {
      for (const m of this.#c.nodes) if (m !== n) net.cut(m.name, n.name);
      if (!late) net.breakEnds(from.name, n.name);
    });
    const lostMs = lostForLeases * leaseMs;
    this.#repeat(writeEveryMs, lateMs + lostMs, () => {
      const leader = this.#c.leaderOf(shard);
      if (leader !== undefined && leader !== n) this.#write(leader, shard, 'effective');
    });
    this.#later(lateMs + lostMs, () => {
      net.setOneWay(from.name, n.name, { ...net.way });
      for (const m of this.#c.nodes) if (m !== n) net.heal(m.name, n.name);
    });
    return lateMs + lostMs + 1_000;
  }
}
