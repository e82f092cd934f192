// One run: nodes, clock, network and faults on one heap of events; then healing, and the question
// whether the group lives. Everything follows from the seed. Started by scope.ts.
import { Prng } from '#base/prng.js';
import type { NodeId, RaftConfig, RaftMessage } from '#raft/types.js';
import type { RunResult } from '../scope.js';
import { Checkers, Violation } from './checkers.js';
import { drawFaults, type Faults } from './faults.js';
import { Nemesis } from './nemesis.js';
import { Network } from './network.js';
import { type Host, SimNode } from './node.js';
import { type Event, hints, kinds, Timeline } from './timeline.js';

/** Length of one phase of faults before the next healing. */
const roundMs = 8_000;
/** Of the healings, how many leave one member with a fault until the others have shown that they go on. */
const deafShare = 0.3;
/** How late messages come, while faults happen (network.ts). */
const lateMsMax = 2_000;

export class RaftWorld implements Host {
  readonly checkers: Checkers;
  readonly faults: Faults;
  readonly #prng: Prng;
  readonly #net: Prng;
  readonly #partial: Prng;
  readonly #nodes: SimNode[] = [];
  readonly #byId: Map<NodeId, SimNode> = new Map();
  readonly #timeline: Timeline = new Timeline();
  readonly #network: Network;
  readonly #nemesis: Nemesis;
  readonly #counts: Record<string, number> = {};
  readonly #trace: ((line: string) => void) | undefined;
  #events = 0;
  #hash = 0x811c9dc5;
  calm = false;
  #value = 0;
  /** Which chain of proposals is going on: a new one ends the old. */
  #load = 0;

  constructor(seed: number, trace: ((line: string) => void) | undefined) {
    this.#trace = trace;
    this.#prng = new Prng(seed);
    this.faults = drawFaults(this.#prng.fork('faults'));
    this.#net = this.#prng.fork('net');
    this.#partial = this.#prng.fork('partial healing');
    this.checkers = new Checkers(this.#byId);
    const { voters, learners, spares } = this.faults;
    const ids = Array.from({ length: voters + learners + spares }, (_, i) => `n${i}`);
    const config: RaftConfig = { voters: ids.slice(0, voters), learners: ids.slice(voters, voters + learners) };
    for (let i = 0; i < ids.length; i++) {
      const node = new SimNode(this, i, config, this.faults, this.#prng.fork(`node${i}`));
      this.#nodes.push(node);
      this.#byId.set(node.id, node);
    }
    this.#network = new Network(this.#timeline, this.faults, this.#net);
    this.#nemesis = new Nemesis(this.#timeline, this.#network, this.#nodes, this.checkers, this.faults, this.#prng, (what) => this.#count(what));
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
    this.calm = this.#network.calm = false;
    const end = this.#now + ms;
    this.#timeline.push(this.#now + this.faults.faultEveryMs * this.#prng.next(), kinds.fault, 0);
    this.#load++;
    this.#proposeIn(0);
    this.#runUntil(end, () => false);
  }

  /** Everything is repaired: within ten election timeouts something new is committed, and then all agree. */
  #healAndConverge(): void {
    this.calm = this.#network.calm = true;
    this.#nemesis.heal();
    // A window of a few entries per round trip needs its time to close a gap.
    const { electionMs, messageEntriesMax, inflightMessagesMax } = this.faults;
    const indexes = this.#nodes.map((n) => n.raft.lastIndex);
    const gap = Math.max(...indexes) - Math.min(...indexes);
    const limit = 10 * 2 * electionMs + (messageEntriesMax * inflightMessagesMax <= 16 ? gap * 5 : gap * 0.5);
    const deaf = this.#partial.chance(deafShare) ? this.#deafen() : undefined;
    const before = this.checkers.committedIndex;
    const proposed = this.#value;
    this.#load++;
    this.#proposeIn(0);
    // What was late before may come until then, to the deaf one too: it hears its followers for so long.
    const wait = deaf === undefined ? limit : limit + lateMsMax;
    if (!this.#runUntil(this.#now + wait, () => this.checkers.committedIndex > before && this.#value > proposed)) {
      const but = deaf === undefined ? '' : ` but for ${deaf.id}, which hears nobody`;
      throw new Violation(`liveness: nothing new committed within ${wait} ms after healing${but}; ${this.#describe()}`);
    }
    if (deaf !== undefined) this.#nemesis.heal();
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
    this.#checkLeader();
  }

  /** Its removal is committed, and that is known everywhere: it has no business to lead. */
  #checkLeader(): void {
    const leader = this.#nodes.find((n) => n.up && n.raft.role === 'leader');
    if (leader !== undefined && leader.tables.index === this.checkers.committedIndex && !leader.tables.config.voters.includes(leader.id))
      throw new Violation(`configuration: ${leader.id} leads after its removal; ${this.#describe()}`);
  }

  /** One member keeps a fault: all hear it, it hears nobody. A majority of the others is well. */
  #deafen(): SimNode | undefined {
    const leader = this.#nodes.find((n) => n.raft.role === 'leader');
    const { voters } = this.#nodes.reduce((a, b) => (b.tables.index > a.tables.index ? b : a)).tables.config;
    if (voters.length < 3 || this.#nodes.some((n) => n.damaged)) return undefined;
    // In a change of the group under way the others may be no majority.
    if (voters.some((id) => this.#byId.get(id)?.raft.config.voters.join() !== voters.join())) return undefined;
    const deaf = leader !== undefined && this.#partial.chance(0.7) ? leader : this.#byId.get(this.#partial.pick(voters));
    if (deaf === undefined) return undefined;
    for (const n of this.#nodes) if (n !== deaf) this.#network.cut(n, deaf);
    this.#count('deaf members');
    return deaf;
  }

  get #now(): number {
    return this.#timeline.now;
  }

  #proposeIn(ms: number): void {
    this.#timeline.push(this.#now + ms, kinds.propose, 0, 0, 0, undefined, this.#load);
  }

  #describe(): string {
    return this.#nodes
      .map(
        (n) =>
          `${n.id}: ${n.raft.role} term ${n.raft.term} log ${n.raft.baseIndex}..${n.raft.lastIndex} commit ${n.raft.commitIndex} applied ${n.tables.index}${n.raft.installing ? ' installing' : ''}${n.damaged ? ' damaged' : ''}`,
      )
      .join('; ');
  }

  /** True as soon as `done` holds, false when `end` was reached first. */
  #runUntil(end: number, done: () => boolean): boolean {
    for (;;) {
      const event = this.#timeline.next(end);
      if (event === undefined) return false;
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
        this.#nemesis.defer(node, e);
        return;
      }
    }
    if (e.kind === kinds.deliver && this.#nemesis.diedWithSender(e)) return;
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
        this.#nemesis.strike();
        this.#timeline.push(this.#now + 2 * this.#prng.next() * this.faults.faultEveryMs, kinds.fault, 0);
        break;
      case kinds.propose:
        if (e.value !== this.#load) break;
        this.#propose();
        this.#proposeIn(2 * this.#prng.next() * Math.min(this.faults.proposeEveryMs, this.calm ? 50 : Number.POSITIVE_INFINITY));
        break;
      case kinds.restart:
        if (!node.up && e.life === node.life) node.start(this.#now);
        break;
      case kinds.resume:
        if (node.pausedUntil > 0 && e.at >= node.pausedUntil) this.#nemesis.resume(node);
        break;
      case kinds.read:
        node.read(this.#now);
        break;
      case kinds.comeback:
        if (this.calm || !node.up || e.life !== node.life) break;
        this.#nemesis.crash(node, 1 + this.#prng.next() * 20);
        break;
      case kinds.campaign:
        if (node.up && node.pausedUntil <= this.#now) node.step({ type: 'campaign' }, this.#now);
        break;
      case kinds.kill:
        if (!this.calm && node.up && e.life === node.life) this.#nemesis.crash(node);
        break;
      case kinds.heal:
        this.#network.healCuts();
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
    if (target !== undefined) this.#network.send(from, target, message);
  }

  scheduleSync(node: SimNode): void {
    const f = this.faults;
    let ms = f.syncMs * (0.5 + this.#net.next());
    if (this.#nemesis.diskIsSlow(node)) ms += this.#net.next() * 1000;
    if (this.calm) ms = Math.min(ms, 1);
    this.#timeline.push(this.#now + ms, kinds.sync, node.number, node.life);
  }

  wantSnapshot(node: SimNode, from: NodeId, index: number): void {
    const ms = this.calm ? this.faults.electionMs / 10 : this.#net.next() * 500;
    this.#timeline.push(this.#now + ms, kinds.snapshot, node.number, node.life, Number(from.slice(1)), undefined, index);
  }

  elected(node: SimNode): void {
    if (!this.calm) this.#nemesis.elected(node);
  }

  committed(node: SimNode): void {
    if (!this.calm) this.#nemesis.committed(node);
  }

  scheduleTick(node: SimNode, at: number): void {
    this.#timeline.push(at, kinds.tick, node.number, node.life, 0, undefined, at);
  }

  #deliverSnapshot(node: SimNode, from: number, index: number): void {
    const source = this.#nodes[from] as SimNode;
    const reachable = source.up && source.pausedUntil <= this.#now && !this.#network.isCut(source, node);
    const ok = reachable && source.tables.index >= index && !(!this.calm && this.#prng.chance(0.1));
    if (ok) {
      this.#count('snapshots');
      node.offer(source.tables);
    } else if (node.awaitsSnapshot) node.step({ type: 'snapshotAborted' }, this.#now);
    if (reachable && this.#prng.chance(0.7)) source.step({ type: 'snapshotStatus', to: node.id, ok }, this.#now);
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
