// One run: nodes, clock, network and faults on one heap of events; then healing, and the question
// whether the group lives. Everything follows from the seed. Started by scope.ts.
import { Heap } from '#base/heap.js';
import { Prng } from '#base/prng.js';
import type { NodeId, RaftConfig, RaftMessage } from '#raft/types.js';
import type { RunResult } from '../scope.js';
import { Checkers, Violation } from './checkers.js';
import { drawFaults, type Faults } from './faults.js';
import { type Host, SimNode } from './node.js';

const kinds = {
  deliver: 1,
  tick: 2,
  sync: 3,
  snapshot: 4,
  fault: 5,
  propose: 6,
  restart: 7,
  hint: 8,
  heal: 9,
  resume: 10,
  kill: 11,
  read: 12,
  comeback: 13,
  campaign: 14,
} as const;

interface Event {
  readonly at: number;
  readonly seq: number;
  readonly kind: number;
  readonly node: number;
  readonly life: number;
  readonly from: number;
  readonly message: RaftMessage | undefined;
  /** tick: the time asked for · hint: what (see #hint) · snapshot: the index wanted. */
  readonly value: number;
}

const hints = ['peerLost', 'peerUnreachable', 'peerReachable'] as const;

/** Length of one phase of faults before the next healing. */
const roundMs = 8_000;

export class RaftWorld implements Host {
  readonly checkers: Checkers;
  readonly faults: Faults;
  readonly #prng: Prng;
  readonly #net: Prng;
  readonly #nodes: SimNode[] = [];
  readonly #byId: Map<NodeId, SimNode> = new Map();
  readonly #heap: Heap<Event> = new Heap((a, b) => a.at < b.at || (a.at === b.at && a.seq < b.seq));
  readonly #cuts: Set<number> = new Set();
  /** Last arrival per ordered pair. */
  readonly #arrivals: Map<number, number> = new Map();
  readonly #deferred: Event[][] = [];
  readonly #counts: Record<string, number> = {};
  readonly #trace: ((line: string) => void) | undefined;
  #now = 0;
  #seq = 0;
  #events = 0;
  #hash = 0x811c9dc5;
  calm = false;
  /** Per node: until when its disk is slow, and its links. */
  readonly #slowDisk: number[] = [];
  readonly #slowLink: number[] = [];
  readonly #slowInbound: number[] = [];
  /** Per node: packets of lives before this one died with their sender. */
  readonly #unsent: number[] = [];
  #value = 0;
  /** Which chain of proposals is going on: a new one ends the old. */
  #load = 0;

  constructor(seed: number, trace: ((line: string) => void) | undefined) {
    this.#trace = trace;
    this.#prng = new Prng(seed);
    this.faults = drawFaults(this.#prng.fork('faults'));
    this.#net = this.#prng.fork('net');
    this.checkers = new Checkers(this.#byId);
    const { voters, learners, spares } = this.faults;
    const ids = Array.from({ length: voters + learners + spares }, (_, i) => `n${i}`);
    const config: RaftConfig = { voters: ids.slice(0, voters), learners: ids.slice(voters, voters + learners) };
    for (let i = 0; i < ids.length; i++) {
      const node = new SimNode(this, i, config, this.faults, this.#prng.fork(`node${i}`));
      this.#nodes.push(node);
      this.#byId.set(node.id, node);
      this.#deferred.push([]);
      this.#slowDisk.push(0);
      this.#slowLink.push(0);
      this.#slowInbound.push(0);
      this.#unsent.push(0);
    }
    for (const node of this.#nodes) node.start(0);
  }

  /** Runs phases of faults and healing until `seconds` of faults have passed. */
  run(seconds: number): RunResult {
    const violations: string[] = [];
    try {
      let left = seconds * 1000;
      while (left > 0) {
        const ms = Math.min(left, roundMs);
        this.#chaos(ms);
        this.#healAndConverge();
        left -= ms;
      }
    } catch (error) {
      // An assertion of the machine is a finding as good as a checker's.
      const text =
        error instanceof Violation ? error.message : error instanceof Error ? `${error.name}: ${error.message}\n${error.stack ?? ''}` : String(error);
      violations.push(`at ${this.#now.toFixed(2)} ms: ${text}`);
    }
    this.#counts.committed = this.checkers.committedIndex;
    this.#counts.elections = this.checkers.elections;
    return { violations, traceHash: this.#hash >>> 0, simSeconds: this.#now / 1000, events: this.#events, counts: this.#counts };
  }

  #chaos(ms: number): void {
    this.calm = false;
    const end = this.#now + ms;
    this.#push(this.#now + this.faults.faultEveryMs * this.#prng.next(), kinds.fault, 0);
    this.#load++;
    this.#proposeIn(0);
    this.#runUntil(end, () => false);
  }

  /** Everything is repaired: within ten election timeouts something new is committed, and then all agree. */
  #healAndConverge(): void {
    this.calm = true;
    this.#cuts.clear();
    this.#slowDisk.fill(0);
    this.#slowLink.fill(0);
    this.#slowInbound.fill(0);
    for (const node of this.#nodes) {
      if (node.pausedUntil > 0) this.#resume(node);
      if (!node.up) this.#start(node);
    }
    // A window of a few entries per round trip needs its time to close a gap.
    const { electionMs, messageEntriesMax, inflightMessagesMax } = this.faults;
    const indexes = this.#nodes.map((n) => n.raft.lastIndex);
    const gap = Math.max(...indexes) - Math.min(...indexes);
    const limit = 10 * 2 * electionMs + (messageEntriesMax * inflightMessagesMax <= 16 ? gap * 5 : gap * 0.5);
    const before = this.checkers.committedIndex;
    const proposed = this.#value;
    this.#load++;
    this.#proposeIn(0);
    if (!this.#runUntil(this.#now + limit, () => this.checkers.committedIndex > before && this.#value > proposed)) {
      throw new Violation(`liveness: nothing new committed within ${limit} ms after healing; ${this.#describe()}`);
    }
    this.#load++;
    const agreed = (): boolean => {
      const best = this.#nodes.reduce((a, b) => (b.tables.index > a.tables.index ? b : a));
      const members = [...best.tables.config.voters, ...best.tables.config.learners];
      return members.every((id) => {
        const node = this.#byId.get(id);
        return node !== undefined && !node.damaged && node.tables.index === this.checkers.committedIndex;
      });
    };
    if (!this.#runUntil(this.#now + 2 * limit, agreed))
      throw new Violation(`convergence: copies differ ${2 * limit} ms after healing; ${this.#describe()}`);
  }

  #proposeIn(ms: number): void {
    this.#push(this.#now + ms, kinds.propose, 0, 0, 0, undefined, this.#load);
  }

  #describe(): string {
    return this.#nodes
      .map(
        (n) =>
          `${n.id}: ${n.raft.role} term ${n.raft.term} log ${n.raft.baseIndex}..${n.raft.lastIndex} commit ${n.raft.commitIndex} applied ${n.tables.index}${n.raft.installing ? ' installing' : ''}${n.damaged ? ' damaged' : ''}`,
      )
      .join('; ');
  }

  #push(at: number, kind: number, node: number, life = 0, from = 0, message?: RaftMessage, value = 0): void {
    this.#heap.push({ at, seq: this.#seq++, kind, node, life, from, message, value });
  }

  /** True as soon as `done` holds, false when `end` was reached first. */
  #runUntil(end: number, done: () => boolean): boolean {
    for (;;) {
      const event = this.#heap.peek();
      if (event === undefined || event.at > end) {
        this.#now = end;
        return false;
      }
      this.#heap.pop();
      this.#now = Math.max(this.#now, event.at);
      this.#dispatch(event);
      if (done()) return true;
    }
  }

  #dispatch(e: Event): void {
    const node = this.#nodes[e.node] as SimNode;
    const own =
      e.kind === kinds.deliver ||
      e.kind === kinds.tick ||
      e.kind === kinds.sync ||
      e.kind === kinds.snapshot ||
      e.kind === kinds.hint ||
      e.kind === kinds.read;
    if (own) {
      if (!node.up || (e.kind !== kinds.deliver && e.life !== node.life)) return;
      if (node.pausedUntil > this.#now) {
        (this.#deferred[e.node] as Event[]).push(e);
        return;
      }
    }
    if (e.kind === kinds.deliver && e.life < (this.#unsent[e.from] ?? 0)) return;
    this.#note(e);
    switch (e.kind) {
      case kinds.deliver:
        if (e.message !== undefined) node.receive(`n${e.from}`, e.message, this.#now);
        break;
      case kinds.tick:
        node.tick(e.value, this.#now);
        break;
      case kinds.sync:
        node.syncDone(this.#now);
        break;
      case kinds.snapshot:
        this.#deliverSnapshot(node, e.from, e.value);
        break;
      case kinds.hint:
        node.step({ type: hints[e.value] ?? 'peerLost', peer: `n${e.from}` }, this.#now);
        break;
      case kinds.fault:
        if (this.calm) break;
        this.#fault();
        this.#push(this.#now + 2 * this.#prng.next() * this.faults.faultEveryMs, kinds.fault, 0);
        break;
      case kinds.propose:
        if (e.value !== this.#load) break;
        this.#propose();
        this.#proposeIn(2 * this.#prng.next() * Math.min(this.faults.proposeEveryMs, this.calm ? 50 : Number.POSITIVE_INFINITY));
        break;
      case kinds.restart:
        if (!node.up && e.life === node.life) this.#start(node);
        break;
      case kinds.resume:
        if (node.pausedUntil > 0 && e.at >= node.pausedUntil) this.#resume(node);
        break;
      case kinds.read:
        node.read(this.#now);
        break;
      case kinds.comeback:
        if (this.calm || !node.up || e.life !== node.life) break;
        this.#crash(node, 1 + this.#prng.next() * 20);
        break;
      case kinds.campaign:
        if (node.up && node.pausedUntil <= this.#now) node.step({ type: 'campaign' }, this.#now);
        break;
      case kinds.kill:
        if (!this.calm && node.up && e.life === node.life) this.#crash(node);
        break;
      case kinds.heal:
        this.#cuts.clear();
        break;
    }
  }

  #note(e: Event): void {
    this.#events++;
    const m = e.message;
    let h = Math.imul(this.#hash ^ (e.kind + e.node * 16 + e.from * 256), 0x01000193);
    h = Math.imul(h ^ Math.round(this.#now * 100), 0x01000193);
    if (m !== undefined) h = Math.imul(h ^ (m.term + m.type.length * 4096), 0x01000193);
    this.#hash = h;
    if (this.#trace !== undefined) {
      const name = Object.entries(kinds).find(([, k]) => k === e.kind)?.[0] ?? '?';
      const n = this.#nodes[e.node];
      const text = m === undefined ? '' : ` from n${e.from} ${JSON.stringify(m, (key, v: unknown) => (key === 'data' ? undefined : v))}`;
      this.#trace(`${this.#now.toFixed(2)} ${name} n${e.node} (${n?.raft.role} ${n?.raft.term})${text}`);
    }
  }

  #count(what: string): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + 1;
  }

  // ---- Host ----

  send(from: SimNode, to: NodeId, message: RaftMessage): void {
    const target = this.#byId.get(to);
    if (target === undefined || this.#cuts.has(from.number * 16 + target.number)) return;
    const f = this.faults;
    if (!this.calm && f.loss > 0 && this.#net.chance(f.loss)) return;
    this.#transmit(from, target, message);
    if (!this.calm && f.duplicate > 0 && this.#net.chance(f.duplicate)) this.#transmit(from, target, message);
  }

  #transmit(from: SimNode, to: SimNode, message: RaftMessage): void {
    const f = this.faults;
    if (!this.calm && f.late > 0 && this.#net.chance(f.late)) {
      this.#push(this.#now + this.#net.next() * 2000, kinds.deliver, to.number, from.life, from.number, message);
      return;
    }
    const mean = this.calm ? Math.min(f.delayMs, 1) : f.delayMs;
    let at = this.#now + mean * (0.5 + this.#net.next());
    if (this.#now < Math.max(this.#slowLink[from.number] ?? 0, this.#slowLink[to.number] ?? 0)) at += this.#net.next() * 3 * f.electionMs;
    if (this.#now < (this.#slowInbound[to.number] ?? 0)) at += this.#net.next() * 0.5 * f.electionMs;
    // Once healed, links are what real ones are: in order.
    if (f.ordered || this.calm) {
      const pair = from.number * 16 + to.number;
      at = Math.max(at, this.#arrivals.get(pair) ?? 0);
      this.#arrivals.set(pair, at);
    }
    this.#push(at, kinds.deliver, to.number, from.life, from.number, message);
  }

  scheduleSync(node: SimNode): void {
    const f = this.faults;
    let ms = f.syncMs * (0.5 + this.#net.next());
    if (this.#now < (this.#slowDisk[node.number] ?? 0)) ms += this.#net.next() * 1000;
    if (this.calm) ms = Math.min(ms, 1);
    this.#push(this.#now + ms, kinds.sync, node.number, node.life);
  }

  wantSnapshot(node: SimNode, from: NodeId, index: number): void {
    const ms = this.calm ? this.faults.electionMs / 10 : this.#net.next() * 500;
    this.#push(this.#now + ms, kinds.snapshot, node.number, node.life, Number(from.slice(1)), undefined, index);
  }

  elected(node: SimNode): void {
    const f = this.faults;
    if (this.calm || !f.killNewLeaders || !this.#prng.chance(0.5)) return;
    // What it appends reaches its own disk and few others, then it dies.
    for (const other of this.#nodes) if (other !== node && this.#prng.chance(0.8)) this.#cuts.add(node.number * 16 + other.number);
    const dies = this.#now + this.#prng.next() * (4 * f.delayMs + 4 * f.syncMs);
    this.#push(dies, kinds.kill, node.number, node.life);
    this.#push(dies + this.#prng.next() * f.electionMs, kinds.heal, 0);
  }

  committed(node: SimNode): void {
    if (this.calm || !this.faults.killNewLeaders || node.raft.role !== 'leader' || !this.#prng.chance(0.1)) return;
    this.#push(this.#now, kinds.kill, node.number, node.life);
  }

  scheduleTick(node: SimNode, at: number): void {
    this.#push(at, kinds.tick, node.number, node.life, 0, undefined, at);
  }

  // ---- faults ----

  #deliverSnapshot(node: SimNode, from: number, index: number): void {
    const source = this.#nodes[from] as SimNode;
    const reachable = source.up && source.pausedUntil <= this.#now && !this.#cuts.has(from * 16 + node.number);
    const ok = reachable && source.tables.index >= index && !(!this.calm && this.#prng.chance(0.1));
    if (ok) {
      this.#count('snapshots');
      node.offer(source.tables);
    } else if (node.awaitsSnapshot) node.step({ type: 'snapshotAborted' }, this.#now);
    if (reachable && this.#prng.chance(0.7)) source.step({ type: 'snapshotStatus', to: node.id, ok }, this.#now);
  }

  #leader(): SimNode | undefined {
    let best: SimNode | undefined;
    for (const n of this.#nodes) if (n.up && n.raft.role === 'leader' && (best === undefined || n.raft.term > best.raft.term)) best = n;
    return best;
  }

  #victim(): SimNode {
    const leader = this.faults.targetLeader && this.#prng.chance(0.6) ? this.#leader() : undefined;
    return leader ?? this.#prng.pick(this.#nodes);
  }

  #fault(): void {
    const f = this.faults;
    switch (this.#prng.int(16)) {
      case 0:
      case 1:
      case 2:
        if (f.crashes) this.#crash(this.#victim());
        break;
      case 3:
        if (f.crashes && this.#prng.chance(0.2)) for (const n of this.#nodes) this.#crash(n);
        break;
      case 4:
        if (f.partitions) this.#partition();
        break;
      case 5:
        if (f.oneWayCuts) this.#cutOneWay();
        break;
      case 6:
        this.#cuts.clear();
        break;
      case 7:
        if (f.pauses) this.#pause(this.#victim());
        break;
      case 8:
        if (f.slowSync) for (const n of this.#nodes) if (this.#prng.chance(0.4)) this.#slowDisk[n.number] = this.#now + this.#prng.next() * 3000;
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
        if (f.slowLinks) this.#slowLink[this.#victim().number] = this.#now + this.#prng.next() * 8 * f.electionMs;
        break;
      case 11:
        if (f.hints) this.#hintAtRandom();
        break;
    }
  }

  #act(fn: (leader: SimNode) => void): void {
    const leader = this.#leader();
    if (leader !== undefined && leader.pausedUntil <= this.#now) fn(leader);
  }

  #campaign(): void {
    const n = this.#prng.pick(this.#nodes);
    if (n.up && n.pausedUntil <= this.#now) n.step({ type: 'campaign' }, this.#now);
  }

  /**
   * A leader whose disk lags dies, forgets what its followers already have, is back at once and leads
   * again: late acknowledgements of what it has forgotten are still on their way.
   */
  #comeBack(leader: SimNode): void {
    const { electionMs } = this.faults;
    this.#slowDisk[leader.number] = this.#now + electionMs;
    const dies = this.#now + this.#prng.next() * electionMs;
    this.#push(dies, kinds.comeback, leader.number, leader.life);
    for (let i = 0; i < 3; i++) this.#push(dies + 25 + this.#prng.next() * electionMs, kinds.campaign, leader.number);
  }

  #crash(node: SimNode, downMs?: number): void {
    if (!node.up) return;
    this.#count('crashes');
    (this.#deferred[node.number] as Event[]).length = 0;
    node.crash();
    const f = this.faults;
    if (this.#prng.chance(0.5)) this.#unsent[node.number] = node.life;
    if (f.damage && this.#prng.chance(0.5) && this.#nodes.every((n) => !n.damaged)) {
      this.#count('damages');
      this.checkers.damaged = true;
      node.damage(this.#prng.pick([1, 3, 10, 1000]));
    }
    const quick = f.quickRestarts && this.#prng.chance(0.7);
    const down = downMs ?? (quick ? 1 + this.#prng.next() * 59 : 100 + this.#prng.next() * 3000);
    this.#push(this.#now + down, kinds.restart, node.number, node.life);
    // While a damaged node is being repaired its leader may die.
    const leader = this.#leader();
    if (node.damaged && leader !== undefined && this.#prng.chance(0.7)) {
      this.#push(this.#now + down + this.#prng.next() * 20 * f.delayMs, kinds.kill, leader.number, leader.life);
    }
    if (!f.hints) return;
    for (const other of this.#nodes) {
      if (other === node || !other.up) continue;
      this.#push(this.#now + this.#prng.next() * 50, kinds.hint, other.number, other.life, node.number, undefined, 0);
      this.#push(this.#now + down + this.#prng.next() * 50, kinds.hint, other.number, other.life, node.number, undefined, 2);
    }
  }

  #start(node: SimNode): void {
    node.start(this.#now);
  }

  #pause(node: SimNode): void {
    if (!node.up || node.pausedUntil > 0) return;
    this.#count('pauses');
    node.pausedUntil = this.#now + 8 + this.#prng.next() ** 3 * 5000;
    this.#push(node.pausedUntil, kinds.resume, node.number);
  }

  #resume(node: SimNode): void {
    node.pausedUntil = 0;
    const missed = this.#deferred[node.number] as Event[];
    const events = missed.splice(0, missed.length);
    for (const e of events) this.#push(this.#now, e.kind, e.node, e.life, e.from, e.message, e.value);
  }

  #partition(): void {
    this.#count('partitions');
    const side = this.#nodes.map(() => this.#prng.chance(0.5));
    for (const a of this.#nodes) {
      for (const b of this.#nodes) if (side[a.number] !== side[b.number]) this.#cuts.add(a.number * 16 + b.number);
    }
    this.#push(this.#now + 50 + this.#prng.next() * 3000, kinds.heal, 0);
  }

  #cutOneWay(): void {
    this.#count('one-way cuts');
    const a = this.#victim();
    const all = this.#prng.chance(0.3);
    for (const b of this.#nodes)
      if (b !== a && (all || this.#prng.chance(0.4)))
        this.#cuts.add(this.#prng.chance(0.5) || all ? b.number * 16 + a.number : a.number * 16 + b.number);
    this.#push(this.#now + 50 + this.#prng.next() * 3000, kinds.heal, 0);
  }

  /** At any node that thinks it leads: one that was deposed is the more interesting one. */
  #membershipChange(): void {
    const leaders = this.#nodes.filter((n) => n.up && n.raft.role === 'leader' && n.pausedUntil <= this.#now);
    if (leaders.length > 0) this.#changeMembers(this.#prng.pick(leaders));
  }

  /** Reads at the old leader while the new one takes over, and answers to it come late. */
  #transfer(leader: SimNode): void {
    const { electionMs, reads } = this.faults;
    if (this.#prng.chance(0.5)) this.#slowInbound[leader.number] = this.#now + 0.3 * electionMs;
    if (reads) for (let i = 0; i < 6; i++) this.#push(this.#now + this.#prng.next() * 0.3 * electionMs, kinds.read, leader.number, leader.life);
    leader.step({ type: 'transferLeader', to: this.#prng.pick(this.#nodes).id }, this.#now);
  }

  #isolate(node: SimNode): void {
    this.#count('isolations');
    for (const other of this.#nodes) {
      if (other === node) continue;
      this.#cuts.add(node.number * 16 + other.number);
      this.#cuts.add(other.number * 16 + node.number);
    }
    this.#push(this.#now + (0.5 + 4 * this.#prng.next()) * this.faults.electionMs, kinds.heal, 0);
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
    if (leader.changeConfig(kind, node, this.#now)) this.#count('membership changes');
  }

  #hintAtRandom(): void {
    const n = this.#prng.pick(this.#nodes);
    const peer = this.#prng.pick(this.#nodes);
    if (n === peer || !n.up || n.pausedUntil > this.#now) return;
    n.step({ type: hints[this.#prng.int(3)] ?? 'peerLost', peer: peer.id }, this.#now);
  }

  /** Every node that thinks it leads gets something to do, stale leaders too. */
  #propose(): void {
    for (const n of this.#nodes) {
      if (!n.up || n.pausedUntil > this.#now || n.raft.role !== 'leader') continue;
      const data = Array.from({ length: this.#prng.pick([1, 1, 1, 2, 4]) }, () => this.#nextValue());
      n.propose(data, this.#now);
      if (this.faults.reads && this.#prng.chance(0.5)) n.read(this.#now);
    }
  }

  #nextValue(): Uint8Array {
    const v = ++this.#value;
    return Uint8Array.of(v & 255, (v >> 8) & 255, (v >> 16) & 255, (v >> 24) & 255);
  }
}
