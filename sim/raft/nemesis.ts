// What is done to the nodes of a run: crashes, pauses, cuts, slow disks, changes of membership, and the
// moments that hurt most. Strikes when world.ts says so; nothing here runs once the run is calm.
//
// It also keeps what a process leaves behind: events that wait for it while it stands still, and the
// packets that died with an earlier life.
import type { Prng } from '#base/prng.js';
import type { Checkers } from './checkers.js';
import type { Faults } from './faults.js';
import type { Network } from './network.js';
import type { SimNode } from './node.js';
import { type Event, hints, kinds, type Timeline } from './timeline.js';

export class Nemesis {
  readonly #timeline: Timeline;
  readonly #network: Network;
  readonly #nodes: readonly SimNode[];
  readonly #checkers: Checkers;
  readonly #prng: Prng;
  readonly #faults: Faults;
  readonly #count: (what: string) => void;
  readonly #deferred: Event[][];
  /** Per node: until when its disk is slow. */
  readonly #slowDisk: number[];
  /** Per node: packets of lives before this one died with their sender. */
  readonly #unsent: number[];

  constructor(
    timeline: Timeline,
    network: Network,
    nodes: readonly SimNode[],
    checkers: Checkers,
    faults: Faults,
    prng: Prng,
    count: (what: string) => void,
  ) {
    this.#timeline = timeline;
    this.#network = network;
    this.#nodes = nodes;
    this.#checkers = checkers;
    this.#faults = faults;
    this.#prng = prng;
    this.#count = count;
    this.#deferred = nodes.map(() => []);
    this.#slowDisk = nodes.map(() => 0);
    this.#unsent = nodes.map(() => 0);
  }

  /** Everything is repaired: disks and links are quick, every process runs. */
  heal(): void {
    this.#network.heal();
    this.#slowDisk.fill(0);
    for (const node of this.#nodes) {
      if (node.pausedUntil > 0) this.resume(node);
      if (!node.up) node.start(this.#timeline.now);
    }
  }

  diskIsSlow(node: SimNode): boolean {
    return this.#timeline.now < (this.#slowDisk[node.number] ?? 0);
  }

  /** Keeps an event of a process that stands still. */
  defer(node: SimNode, e: Event): void {
    (this.#deferred[node.number] as Event[]).push(e);
  }

  /** The packet was not on the wire yet when its sender crashed. */
  diedWithSender(e: Event): boolean {
    return e.life < (this.#unsent[e.from] ?? 0);
  }

  #leader(): SimNode | undefined {
    let best: SimNode | undefined;
    for (const n of this.#nodes) if (n.up && n.raft.role === 'leader' && (best === undefined || n.raft.term > best.raft.term)) best = n;
    return best;
  }

  #victim(): SimNode {
    const leader = this.#faults.targetLeader && this.#prng.chance(0.6) ? this.#leader() : undefined;
    return leader ?? this.#prng.pick(this.#nodes);
  }

  /** One fault, at random. */
  strike(): void {
    const f = this.#faults;
    switch (this.#prng.int(16)) {
      case 0:
      case 1:
      case 2:
        if (f.crashes) this.crash(this.#victim());
        break;
      case 3:
        if (f.crashes && this.#prng.chance(0.2)) for (const n of this.#nodes) this.crash(n);
        break;
      case 4:
        if (f.partitions) this.#partition();
        break;
      case 5:
        if (f.oneWayCuts) this.#cutOneWay();
        break;
      case 6:
        this.#network.healCuts();
        break;
      case 7:
        if (f.pauses) this.#pause(this.#victim());
        break;
      case 8:
        if (f.slowSync)
          for (const n of this.#nodes) if (this.#prng.chance(0.4)) this.#slowDisk[n.number] = this.#timeline.now + this.#prng.next() * 3000;
        break;
      case 9:
        if (f.transfers) this.#act((leader) => this.#transfer(leader));
        else if (this.#prng.chance(0.2)) this.#campaign();
        break;
      case 10:
      case 12:
        if (f.membership) this.#membershipChange();
        break;
      case 13:
        if (f.partitions) this.#isolate(this.#leader() ?? this.#victim());
        break;
      case 15:
        if (f.crashes && f.hints) this.#act((leader) => this.#comeBack(leader));
        break;
      case 14:
        if (f.slowLinks) this.#network.slow(this.#victim(), this.#timeline.now + this.#prng.next() * 8 * f.electionMs);
        break;
      case 11:
        if (f.hints) this.#hintAtRandom();
        break;
    }
  }

  #act(fn: (leader: SimNode) => void): void {
    const leader = this.#leader();
    if (leader !== undefined && leader.pausedUntil <= this.#timeline.now) fn(leader);
  }

  #campaign(): void {
    const n = this.#prng.pick(this.#nodes);
    if (n.up && n.pausedUntil <= this.#timeline.now) n.step({ type: 'campaign' }, this.#timeline.now);
  }

  /**
   * A leader whose disk lags dies, forgets what its followers already have, is back at once and leads
   * again: late acknowledgements of what it has forgotten are still on their way.
   */
  #comeBack(leader: SimNode): void {
    const { electionMs } = this.#faults;
    this.#slowDisk[leader.number] = this.#timeline.now + electionMs;
    const dies = this.#timeline.now + this.#prng.next() * electionMs;
    this.#timeline.push(dies, kinds.comeback, leader.number, leader.life);
    for (let i = 0; i < 3; i++) this.#timeline.push(dies + 25 + this.#prng.next() * electionMs, kinds.campaign, leader.number);
  }

  crash(node: SimNode, downMs?: number): void {
    if (!node.up) return;
    this.#count('crashes');
    (this.#deferred[node.number] as Event[]).length = 0;
    node.crash();
    const f = this.#faults;
    if (this.#prng.chance(0.5)) this.#unsent[node.number] = node.life;
    if (f.damage && this.#prng.chance(0.5) && this.#nodes.every((n) => !n.damaged)) {
      this.#count('damages');
      this.#checkers.damaged = true;
      node.damage(this.#prng.pick([1, 3, 10, 1000]));
    }
    const quick = f.quickRestarts && this.#prng.chance(0.7);
    const down = downMs ?? (quick ? 1 + this.#prng.next() * 59 : 100 + this.#prng.next() * 3000);
    this.#timeline.push(this.#timeline.now + down, kinds.restart, node.number, node.life);
    // While a damaged node is being repaired its leader may die.
    const leader = this.#leader();
    if (node.damaged && leader !== undefined && this.#prng.chance(0.7)) {
      this.#timeline.push(this.#timeline.now + down + this.#prng.next() * 20 * f.delayMs, kinds.kill, leader.number, leader.life);
    }
    if (!f.hints) return;
    for (const other of this.#nodes) {
      if (other === node || !other.up) continue;
      this.#timeline.push(this.#timeline.now + this.#prng.next() * 50, kinds.hint, other.number, other.life, node.number, undefined, 0);
      this.#timeline.push(this.#timeline.now + down + this.#prng.next() * 50, kinds.hint, other.number, other.life, node.number, undefined, 2);
    }
  }

  #pause(node: SimNode): void {
    if (!node.up || node.pausedUntil > 0) return;
    this.#count('pauses');
    node.pausedUntil = this.#timeline.now + 8 + this.#prng.next() ** 3 * 5000;
    this.#timeline.push(node.pausedUntil, kinds.resume, node.number);
  }

  resume(node: SimNode): void {
    node.pausedUntil = 0;
    const missed = this.#deferred[node.number] as Event[];
    const events = missed.splice(0, missed.length);
    for (const e of events) this.#timeline.push(this.#timeline.now, e.kind, e.node, e.life, e.from, e.message, e.value);
  }

  #partition(): void {
    this.#count('partitions');
    const side = this.#nodes.map(() => this.#prng.chance(0.5));
    for (const a of this.#nodes) {
      for (const b of this.#nodes) if (side[a.number] !== side[b.number]) this.#network.cut(a, b);
    }
    this.#timeline.push(this.#timeline.now + 50 + this.#prng.next() * 3000, kinds.heal, 0);
  }

  #cutOneWay(): void {
    this.#count('one-way cuts');
    const a = this.#victim();
    const all = this.#prng.chance(0.3);
    for (const b of this.#nodes)
      if (b !== a && (all || this.#prng.chance(0.4))) {
        if (this.#prng.chance(0.5) || all) this.#network.cut(b, a);
        else this.#network.cut(a, b);
      }
    this.#timeline.push(this.#timeline.now + 50 + this.#prng.next() * 3000, kinds.heal, 0);
  }

  /** At any node that thinks it leads: one that was deposed is the more interesting one. */
  #membershipChange(): void {
    const leaders = this.#nodes.filter((n) => n.up && n.raft.role === 'leader' && n.pausedUntil <= this.#timeline.now);
    if (leaders.length > 0) this.#changeMembers(this.#prng.pick(leaders));
  }

  /** Reads at the old leader while the new one takes over, and answers to it come late. */
  #transfer(leader: SimNode): void {
    const { electionMs, reads } = this.#faults;
    if (this.#prng.chance(0.5)) this.#network.slowTo(leader, this.#timeline.now + 0.3 * electionMs);
    if (reads)
      for (let i = 0; i < 6; i++)
        this.#timeline.push(this.#timeline.now + this.#prng.next() * 0.3 * electionMs, kinds.read, leader.number, leader.life);
    leader.step({ type: 'transferLeader', to: this.#prng.pick(this.#nodes).id }, this.#timeline.now);
  }

  #isolate(node: SimNode): void {
    this.#count('isolations');
    for (const other of this.#nodes) {
      if (other === node) continue;
      this.#network.cut(node, other);
      this.#network.cut(other, node);
    }
    this.#timeline.push(this.#timeline.now + (0.5 + 4 * this.#prng.next()) * this.#faults.electionMs, kinds.heal, 0);
  }

  #changeMembers(leader: SimNode): void {
    const { voters, learners } = leader.raft.config;
    const node = this.#prng.pick(this.#nodes).id;
    const kind = learners.includes(node)
      ? this.#prng.pick(['promote', 'promote', 'remove'] as const)
      : voters.includes(node)
        ? this.#prng.pick(['demote', 'remove'] as const)
        : 'addLearner';
    // Never below two voters, or the faults that follow prove nothing.
    if ((kind === 'demote' || (kind === 'remove' && voters.includes(node))) && voters.length <= 2) return;
    if (leader.changeConfig(kind, node, this.#timeline.now)) this.#count('membership changes');
  }

  #hintAtRandom(): void {
    const n = this.#prng.pick(this.#nodes);
    const peer = this.#prng.pick(this.#nodes);
    if (n === peer || !n.up || n.pausedUntil > this.#timeline.now) return;
    n.step({ type: hints[this.#prng.int(3)] ?? 'peerLost', peer: peer.id }, this.#timeline.now);
  }

  elected(node: SimNode): void {
    const f = this.#faults;
    if (!f.killNewLeaders || !this.#prng.chance(0.5)) return;
    // What it appends reaches its own disk and few others, then it dies.
    for (const other of this.#nodes) if (other !== node && this.#prng.chance(0.8)) this.#network.cut(node, other);
    const dies = this.#timeline.now + this.#prng.next() * (4 * f.delayMs + 4 * f.syncMs);
    this.#timeline.push(dies, kinds.kill, node.number, node.life);
    this.#timeline.push(dies + this.#prng.next() * f.electionMs, kinds.heal, 0);
  }

  committed(node: SimNode): void {
    if (!this.#faults.killNewLeaders || node.raft.role !== 'leader' || !this.#prng.chance(0.1)) return;
    this.#timeline.push(this.#timeline.now, kinds.kill, node.number, node.life);
  }
}
