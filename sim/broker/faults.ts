// The faults of one run, drawn from its seed: each kind is there or not ("swarm": kinds hide each other).
// Also remembers which node was out of order when, for what checkers may excuse.
import type { Prng } from '#base/prng.js';
import type { BrokerNode, BrokerWorld } from './broker-world.js';
import type { History } from './history.js';

export interface Faults {
  readonly everyMs: number;
  readonly kills: boolean;
  readonly powerCuts: boolean;
  readonly leaderKills: boolean;
  readonly quickRestarts: boolean;
  readonly partitions: boolean;
  readonly oneWayCuts: boolean;
  readonly clientCuts: boolean;
  readonly resets: boolean;
  readonly slowLinks: boolean;
  readonly pauses: boolean;
  readonly slowSync: boolean;
}

export const noFaults: Faults = {
  everyMs: 0,
  kills: false,
  powerCuts: false,
  leaderKills: false,
  quickRestarts: false,
  partitions: false,
  oneWayCuts: false,
  clientCuts: false,
  resets: false,
  slowLinks: false,
  pauses: false,
  slowSync: false,
};

export function drawFaults(prng: Prng): Faults {
  const on = (p: number = 0.5): boolean => prng.chance(p);
  return {
    everyMs: prng.pick([500, 1_000, 2_000, 4_000]),
    kills: on(),
    powerCuts: on(0.4),
    leaderKills: on(),
    quickRestarts: on(),
    partitions: on(),
    oneWayCuts: on(0.4),
    clientCuts: on(0.3),
    resets: on(),
    slowLinks: on(),
    pauses: on(0.4),
    slowSync: on(0.4),
  };
}

/** How long after its end a disturbance still counts: for reconnecting, catching up and writing routes again. */
const aftermathMs = 3_000;
const sampleEveryMs = 50;
/** A sync takes some ms. */
const holderSlowFactor = 10;
const holderWaitMs = 1_000;

interface Interval {
  from: number;
  to: number;
}

/** Per node: times at which something was wrong with it, or had just been. */
export class Times {
  readonly #until = new Map<string, Interval[]>();

  add(node: string, from: number, to: number): void {
    const list = this.#until.get(node) ?? [];
    this.#until.set(node, list);
    const last = list[list.length - 1];
    const end = to + aftermathMs;
    if (last !== undefined && from <= last.to && from >= last.from) last.to = Math.max(last.to, end);
    else list.push({ from, to: end });
  }

  overlaps(node: string, from: number, to: number): boolean {
    return this.#until.get(node)?.some((d) => d.from <= to && from <= d.to) ?? false;
  }

  /** One disturbance overlaps both. */
  spans(node: string, a: Readonly<Interval>, b: Readonly<Interval>): boolean {
    return this.#until.get(node)?.some((d) => d.from <= a.to && a.from <= d.to && d.from <= b.to && b.from <= d.to) ?? false;
  }
}

export class Disturbances {
  /** It did not run, was not `normal`, or was declared down. */
  readonly states: Times = new Times();
  /** It was not connected to all others. */
  readonly cuts: Times = new Times();
  /** It stood still. */
  readonly pauses: Times = new Times();
  /** Its disk was slow. */
  readonly slowDisks: Times = new Times();

  overlaps(node: string, from: number, to: number): boolean {
    return this.states.overlaps(node, from, to) || this.cuts.overlaps(node, from, to);
  }
}

export class FaultInjector {
  readonly disturbances: Disturbances = new Disturbances();
  readonly #world: BrokerWorld;
  readonly #history: History;
  readonly #faults: Faults;
  readonly #prng: Prng;
  readonly #clientNames: readonly string[];
  readonly #aims: boolean;
  readonly #cuts: { readonly a: string; readonly b: string }[] = [];
  readonly #slow: Set<string> = new Set();
  #over = false;
  readonly #incarnations: Map<string, number> = new Map();
  readonly #leaderUpstreams: Map<string, string> = new Map();

  constructor(world: BrokerWorld, history: History, faults: Faults, clientNames: readonly string[]) {
    this.#world = world;
    this.#history = history;
    this.#faults = faults;
    this.#prng = world.world.prng.fork('faults');
    this.#clientNames = clientNames;
    this.#aims = world.world.prng.fork('aims').chance(0.6);
    this.#sample();
    if (faults.everyMs > 0) this.#next();
  }

  get #now(): number {
    return this.#world.world.now;
  }

  #next(): void {
    this.#world.world.after((0.3 + 1.4 * this.#prng.next()) * this.#faults.everyMs, () => {
      if (this.#over) return;
      this.#strike();
      this.#next();
    });
  }

  /** Everything runs and is connected from now on. */
  heal(): void {
    this.#over = true;
    const { net, nodes } = this.#world;
    net.healAll();
    net.faults.resetChance = 0;
    for (const c of this.#cuts) this.#cutOff(c.a, c.b);
    for (const a of nodes) for (const b of nodes) if (a !== b) net.setWay(a.name, b.name, { delayMs: 0.2, jitterMs: 0.3, bytesPerMs: 0 });
    for (const n of nodes) {
      n.sim.disk.faults.slowFactor = 1;
      if (n.sim.scope.paused) n.sim.resume();
      if (!n.sim.up) this.#start(n);
    }
  }

  #disturb(name: string): void {
    this.disturbances.states.add(name, this.#now, this.#now);
  }

  #cutOff(...names: string[]): void {
    for (const name of names) this.disturbances.cuts.add(name, this.#now, this.#now);
  }

  // ---- strikes ----

  #strike(): void {
    const f = this.#faults;
    const kinds: (() => void)[] = [];
    if (f.kills) kinds.push(() => this.#crash(this.#prng.pick(this.#world.nodes), 'kill'));
    if (f.powerCuts && this.#aims)
      kinds.push(
        () => this.#cutAfterAck(),
        () => this.#cutHolder(),
      );
    if (f.powerCuts) kinds.push(() => this.#crash(this.#prng.pick(this.#world.nodes), 'power'));
    if (f.leaderKills) kinds.push(() => this.#killLeader());
    if (f.partitions) kinds.push(() => this.#partition());
    if (f.oneWayCuts) kinds.push(() => this.#oneWay());
    if (f.clientCuts && this.#clientNames.length > 0) kinds.push(() => this.#cutClient());
    if (f.resets) kinds.push(() => this.#reset());
    if (f.slowLinks) kinds.push(() => this.#slowLink());
    if (f.pauses) kinds.push(() => this.#pause());
    if (f.slowSync) kinds.push(() => this.#slowDisk());
    if (kinds.length === 0) return;
    this.#history.count('faults');
    this.#prng.pick(kinds)();
  }

  /** The power goes in the moment when some client has just got an acknowledgement. */
  #cutAfterAck(): void {
    this.#history.onAcknowledged = (n) => {
      this.#history.onAcknowledged = undefined;
      this.#world.world.after(0.01, () => {
        if (!this.#over) this.#crash(n, 'power');
      });
    };
  }

  /**
   * The power goes at a node that keeps something for a client that is away, in the moment when the publisher has its
   * acknowledgement; the node's disk is slow, so that what was not waited for is not there.
   */
  #cutHolder(): void {
    const away = (n: BrokerNode): string[] => [...(n.node?.broker.clients() ?? [])].filter((c) => !c.connected).map((c) => c.clientId);
    const holders = this.#world.nodes.filter((n) => away(n).length > 0);
    if (holders.length === 0) return;
    const n = this.#prng.pick(holders);
    n.sim.disk.faults.slowFactor = holderSlowFactor;
    const end = (): void => {
      n.sim.disk.faults.slowFactor = 1;
      this.#history.onAcknowledged = undefined;
    };
    this.#world.world.after(holderWaitMs, () => {
      if (!this.#over) end();
    });
    this.#history.onAcknowledged = (_node, m) => {
      if (m.qos === 0 || !n.sim.up || !away(n).some((clientId) => this.#history.owes(clientId, m))) return;
      end();
      this.#world.world.after(0.01, () => {
        if (this.#over || !n.sim.up) return;
        this.#history.count('holderCuts');
        this.#crash(n, 'power');
      });
    };
  }

  #crash(n: BrokerNode, kind: 'kill' | 'power'): void {
    if (!n.sim.up) return;
    const down = this.#world.nodes.filter((x) => !x.sim.up && x.role === n.role).length;
    if (down > 0 && this.#prng.chance(0.8)) return;
    this.#history.count('crashes');
    this.#disturb(n.name);
    if (n.sim.scope.paused) n.sim.resume();
    this.#world.crash(n, kind);
    const delay = this.#faults.quickRestarts && this.#prng.chance(0.6) ? this.#prng.range(1, 60) : this.#prng.range(300, 5_000);
    this.#world.world.after(delay, () => {
      if (!n.sim.up) this.#start(n);
    });
  }

  #start(n: BrokerNode): void {
    this.#world.start(n);
  }

  #killLeader(): void {
    const shard = this.#prng.pick(['cluster', 'route', 'route', 'retain', 'registry-0', 'registry-1', 'registry-2', 'registry-3']);
    const leader = this.#world.leaderOf(shard);
    if (leader !== undefined) this.#crash(leader, 'kill');
  }

  #pair(): [string, string] | undefined {
    const names = this.#world.nodes.map((n) => n.name);
    if (names.length < 2) return undefined;
    const a = this.#prng.int(names.length);
    const b = (a + 1 + this.#prng.int(names.length - 1)) % names.length;
    return [names[a] as string, names[b] as string];
  }

  #partition(): void {
    const names = this.#world.nodes.map((n) => n.name);
    if (names.length < 2) return;
    const pivot = this.#prng.range(1, names.length - 1);
    const shuffled = names.map((name) => ({ name, at: this.#prng.next() })).sort((a, b) => a.at - b.at);
    const left = shuffled.slice(0, pivot).map((x) => x.name);
    const right = shuffled.slice(pivot).map((x) => x.name);
    this.#history.count('partitions');
    const pairs = left.flatMap((a) => right.map((b) => ({ a, b })));
    for (const { a, b } of pairs) this.#world.net.cut(a, b);
    this.#healLater(pairs, this.#prng.pick([50, 300, 1_000, 3_000, 6_000, 8_000]));
  }

  #oneWay(): void {
    const pair = this.#pair();
    if (pair === undefined) return;
    const [a, b] = pair;
    this.#history.count('oneWayCuts');
    this.#world.net.cutOneWay(a, b);
    this.#healLater([{ a, b }], this.#prng.pick([300, 1_000, 3_000, 6_000, 8_000]));
  }

  #cutClient(): void {
    const a = this.#prng.pick(this.#clientNames);
    const b = this.#prng.pick(this.#world.nodes).name;
    this.#world.net.cut(a, b);
    const ms = this.#prng.range(500, 4_000);
    this.#world.clientCutUntil.set(a, this.#now + ms);
    this.#world.world.after(ms, () => this.#world.net.heal(a, b));
  }

  #healLater(pairs: readonly { readonly a: string; readonly b: string }[], ms: number, before: () => void = () => {}): void {
    for (const { a, b } of pairs) this.#cutOff(a, b);
    this.#cuts.push(...pairs);
    this.#world.world.after(ms, () => {
      before();
      for (const pair of pairs) {
        const at = this.#cuts.indexOf(pair);
        if (at !== -1) this.#cuts.splice(at, 1);
        this.#cutOff(pair.a, pair.b);
        if (!this.#cuts.some((c) => (c.a === pair.a && c.b === pair.b) || (c.a === pair.b && c.b === pair.a))) this.#world.net.heal(pair.a, pair.b);
      }
    });
  }

  #reset(): void {
    const pair = this.#pair();
    if (pair === undefined) return;
    const [a, b] = pair;
    this.#cutOff(a, b);
    if (this.#prng.chance(0.5)) {
      this.#history.count('resets');
      this.#world.net.resetConnections(a, b);
      return;
    }
    // What `a` sends arrives, the answers do not: `a` must send it again.
    this.#history.count('lostAnswers');
    this.#world.net.cutOneWay(b, a);
    this.#healLater([{ a, b }], this.#prng.pick([5, 20, 100, 300]), () => this.#world.net.resetConnections(a, b));
  }

  #slowLink(): void {
    const pair = this.#pair();
    if (pair === undefined) return;
    const [a, b] = pair;
    const key = `${a} ${b}`;
    if (this.#slow.has(key)) return;
    this.#slow.add(key);
    this.#history.count('slowLinks');
    this.#world.net.setWay(a, b, {
      delayMs: this.#prng.pick([5, 30, 100, 300]),
      jitterMs: this.#prng.pick([1, 20, 100]),
      bytesPerMs: this.#prng.pick([0, 0, 100]),
    });
    this.#world.world.after(this.#prng.range(500, 6_000), () => {
      this.#slow.delete(key);
      this.#world.net.setWay(a, b, { delayMs: 0.2, jitterMs: 0.3, bytesPerMs: 0 });
    });
  }

  #pause(): void {
    const n = this.#prng.pick(this.#world.nodes);
    if (!n.sim.up || n.sim.scope.paused) return;
    this.#history.count('pauses');
    const { lives } = n.sim;
    n.sim.pause();
    const ms = this.#prng.pick([8, 100, 500, 1_500, 5_000, 8_000]);
    this.disturbances.pauses.add(n.name, this.#now, this.#now + ms);
    this.#world.world.after(ms, () => {
      if (n.sim.up && n.sim.lives === lives && n.sim.scope.paused) n.sim.resume();
    });
  }

  #slowDisk(): void {
    const n = this.#prng.pick(this.#world.nodes);
    this.#history.count('slowDisks');
    n.sim.disk.faults.slowFactor = this.#prng.pick([5, 30, 200, 600]);
    const ms = this.#prng.range(500, 4_000);
    this.disturbances.slowDisks.add(n.name, this.#now, this.#now + ms);
    this.#world.world.after(ms, () => {
      n.sim.disk.faults.slowFactor = 1;
    });
  }

  // ---- who is out of order ----

  #sample(): void {
    const { nodes, world } = this.#world;
    for (const { a, b } of this.#cuts) this.#cutOff(a, b);
    for (const n of nodes) {
      // It may have been so since the last look, or since its process ended.
      const since = Math.max(this.#now - sampleEveryMs, n.crashedAt.at(-1) ?? 0);
      if (!this.#inOrder(n)) this.disturbances.states.add(n.name, since, this.#now);
    }
    world.after(sampleEveryMs, () => this.#sample());
  }

  #inOrder(n: BrokerNode): boolean {
    if (!n.serving || n.node === undefined) return false;
    const { incarnation } = n.node.core.database;
    // Declared down while it lived, and back at once: its routes are only now written again.
    const renewed = (this.#incarnations.get(n.name) ?? incarnation) !== incarnation;
    this.#incarnations.set(n.name, incarnation);
    if (renewed) return false;
    const upstream = this.#upstream(n);
    if (n.role === 'replicant') {
      const before = this.#leaderUpstreams.get(n.name);
      this.#leaderUpstreams.set(n.name, upstream);
      if (before !== upstream) return false;
    }
    return this.#world.nodes.every((m) => m.node === undefined || !m.serving || m.node.core.database.isLive('route', incarnation));
  }

  #upstream(n: BrokerNode): string {
    if (n.role !== 'replicant') return '';
    return n.node?.core.database.replica('route')?.status((id) => id).upstream ?? '';
  }
}
