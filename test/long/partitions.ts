// Partitions between network namespaces, pauses and shifted clocks under a steady load: 14 scenarios on
// three cores and a replicant (five cores for the ring). After each: nothing acknowledged is lost, who had
// no majority said so, nobody restarted, all copies are equal, what clients were told has one order.
import assert from 'node:assert/strict';
import { eventually } from '../cluster/nodes.js';
import type { RegisterProcess } from '../library/register-process.js';
import { generousMs, Lab } from './lab.js';
import { Load, pause } from './load.js';
import { NetLab } from './netns.js';

const linkPort = 4_370;
const flapMs = 1_000;
/** Generous for the 5 s after which a link that says nothing is given up: a replicant may have to look for another core first. */
const linkSilenceMs = 8_000;
/** Deadline of what clients ask: short, so that many are refused while a partition lasts. */
const askedMsMax = 1_000;
const hourMs = 3_600_000;
/** What a node without a majority may answer. */
const clearWords = ['no-quorum', 'unknown', 'fenced', 'not-effective', 'conflict'];

export interface Times {
  readonly holdMs: number;
  /** For pauses of a process. */
  readonly pausedMs: number;
}

interface Window {
  readonly refusing: readonly RegisterProcess[];
  readonly serving: readonly RegisterProcess[];
  readonly from: number;
  readonly to: number;
}

/** What a scenario works with. */
class Stage {
  readonly lab: Lab;
  readonly net: NetLab;
  readonly times: Times;
  readonly windows: Window[] = [];
  /** Killed on purpose: started again. */
  readonly killed: Set<RegisterProcess> = new Set();

  constructor(lab: Lab, net: NetLab, times: Times) {
    this.lab = lab;
    this.net = net;
    this.times = times;
  }

  /** The host's number. */
  at(node: RegisterProcess): number {
    return this.lab.nodes.indexOf(node);
  }

  rest(...without: readonly RegisterProcess[]): RegisterProcess[] {
    return this.lab.nodes.filter((n) => !without.includes(n));
  }

  /** Cuts the group from everybody else. */
  cutOff(...group: readonly RegisterProcess[]): void {
    this.net.split(
      group.map((n) => this.at(n)),
      this.rest(...group).map((n) => this.at(n)),
    );
  }

  /** Time goes by: what these nodes are asked now must be refused, and those must go on. */
  async hold(refusing: readonly RegisterProcess[], serving: readonly RegisterProcess[], ms: number = this.times.holdMs): Promise<void> {
    const from = performance.now();
    await pause(ms);
    const asked = ms >= linkSilenceMs ? serving : serving.filter((n) => this.lab.cores.includes(n));
    this.windows.push({ refusing, serving: asked, from, to: performance.now() });
  }
}

interface Scenario {
  readonly name: string;
  /** Default: three cores and a replicant. */
  readonly cores?: 5;
  readonly run: (s: Stage) => Promise<void>;
}

function replicantOf(s: Stage): RegisterProcess {
  const found = s.lab.replicants[0];
  assert.ok(found !== undefined);
  return found;
}

async function paused(s: Stage, node: RegisterProcess): Promise<void> {
  node.signal('SIGSTOP');
  await s.hold([], s.rest(node), s.times.pausedMs);
  node.signal('SIGCONT');
}

async function flap(s: Stage, node: RegisterProcess): Promise<void> {
  const until = performance.now() + s.times.holdMs;
  while (performance.now() < until) {
    s.net.link(s.at(node), 'down');
    await pause(flapMs);
    s.net.link(s.at(node), 'up');
    await pause(flapMs);
  }
}

async function killAndCut(s: Stage): Promise<void> {
  const leader = await s.lab.leader();
  const [dying, other] = s.lab.cores.filter((n) => n !== leader);
  assert.ok(dying !== undefined && other !== undefined);
  s.killed.add(dying);
  await dying.kill();
  s.cutOff(other);
  await s.hold([leader, other, replicantOf(s)], []);
  // Back while the other one is still away: a majority again.
  await s.lab.startNode(dying);
  await s.hold([other], [leader, dying]);
}

async function ring(s: Stage): Promise<void> {
  const n = s.lab.cores.length;
  for (let a = 0; a < n; a++) for (let b = a + 2; b < n; b++) if ((b + 1) % n !== a) s.net.cut(a, b);
  await s.hold([], []);
  // Whoever leads now sees two others.
  await s.hold([], [await s.lab.leading()]);
}

async function shiftClocks(s: Stage): Promise<void> {
  const leader = await s.lab.leader();
  const states = async (): Promise<unknown> =>
    (await Promise.all(s.lab.nodes.map((n) => n.report()))).map((r) => [r?.incarnation, r?.shards.map((x) => [x.term, x.leader, x.bootstraps])]);
  const before = await states();
  for (const [node, ms] of [
    [leader, hourMs],
    [replicantOf(s), -hourMs],
    [leader, -48 * hourMs],
    [leader, 47 * hourMs],
  ] as const) {
    await node.ask({ op: 'shift', ms });
    await s.hold([], s.lab.nodes, s.times.holdMs / 2);
  }
  await replicantOf(s).ask({ op: 'shift', ms: hourMs });
  assert.deepEqual(await states(), before, 'no election, no new incarnation, no copy because of a clock');
}

/** Every scenario ends healed by whoever runs it. */
export const scenarios: readonly Scenario[] = [
  {
    name: 'halves',
    run: async (s) => {
      const follower = await s.lab.follower();
      const half = [follower, replicantOf(s)];
      s.cutOff(...half);
      await s.hold(half, s.rest(...half));
    },
  },
  {
    name: 'a minority of cores',
    run: async (s) => {
      const follower = await s.lab.follower();
      s.cutOff(follower);
      await s.hold([follower], s.rest(follower));
    },
  },
  {
    name: 'isolated leader',
    run: async (s) => {
      const leader = await s.lab.leader();
      s.cutOff(leader);
      await s.hold([leader], s.rest(leader));
    },
  },
  {
    name: 'isolated follower, its cable out',
    run: async (s) => {
      const follower = await s.lab.follower();
      s.net.link(s.at(follower), 'down');
      await s.hold([follower], s.rest(follower));
    },
  },
  {
    name: 'replicant cut from all cores',
    run: async (s) => {
      s.cutOff(replicantOf(s));
      await s.hold([replicantOf(s)], s.lab.cores);
    },
  },
  {
    name: 'leader and one follower do not see each other, both see the third',
    run: async (s) => {
      const leader = await s.lab.leader();
      const follower = await s.lab.follower();
      s.net.cut(s.at(leader), s.at(follower));
      await s.hold([], [leader]);
    },
  },
  { name: 'ring of majorities', cores: 5, run: ring },
  { name: 'flapping cable of the leader', run: async (s) => flap(s, await s.lab.leader()) },
  {
    name: 'one way: nobody hears the leader',
    run: async (s) => {
      const leader = await s.lab.leader();
      for (const n of s.rest(leader)) s.net.cutOneWay(s.at(leader), s.at(n));
      await s.hold([leader], s.rest(leader));
    },
  },
  { name: 'one core killed, another cut off', run: killAndCut },
  { name: 'leader paused', run: async (s) => paused(s, await s.lab.leader()) },
  { name: 'replicant paused', run: async (s) => paused(s, replicantOf(s)) },
  { name: 'wall clocks shifted by hours', run: shiftClocks },
  {
    name: 'all cores cut from each other',
    run: async (s) => {
      s.net.split(...s.lab.cores.map((n) => [s.at(n)]));
      await s.hold(s.lab.nodes, []);
    },
  },
];

export interface Result {
  readonly name: string;
  readonly operations: number;
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
  readonly elections: number;
  /** From healing until every node is in service and has what any had. */
  readonly backMs: number;
}

/** A cluster in namespaces of its own, used for one scenario after the other. */
export class PartitionLab {
  readonly #lab: Lab;
  readonly #net: NetLab;
  readonly #times: Times;

  private constructor(lab: Lab, net: NetLab, times: Times) {
    this.#lab = lab;
    this.#net = net;
    this.#times = times;
  }

  static async start(cores: number, replicants: number, times: Times): Promise<PartitionLab> {
    const net = NetLab.make(cores + replicants);
    try {
      const hosts = Array.from({ length: cores + replicants }, (_, i) => ({ host: net.host(i), port: linkPort, under: net.under(i) }));
      return new PartitionLab(await Lab.start({ cores, replicants, hosts, options: { deadlineMs: askedMsMax } }), net, times);
    } catch (error) {
      net.close();
      throw error;
    }
  }

  async run(scenario: Scenario, seed: number): Promise<Result> {
    const lab = this.#lab;
    await lab.caughtUp();
    const termBefore = await this.#term();
    const stage = new Stage(lab, this.#net, this.#times);
    const pids = new Map(lab.nodes.map((n) => [n, n.pid]));
    const load = new Load({ name: `${scenario.name}/${seed}`, seed, clientsPerNode: 3, pauseMs: 25 });
    load.start(lab.nodes);
    await pause(1_000);
    try {
      await scenario.run(stage);
    } finally {
      this.#net.heal();
    }
    const healedAt = performance.now();
    await lab.caughtUp();
    const backMs = performance.now() - healedAt;
    await eventually(
      'clients of every node are served again',
      async () => lab.nodes.every((n) => served(load, n, performance.now() - 1_000)),
      generousMs,
    );
    await load.stop();
    const copy = await lab.equal();
    load.checkRows(scenario.name, copy);
    load.checkOrder();
    this.#checkWindows(stage, load);
    for (const [node, pid] of pids) if (!stage.killed.has(node)) assert.equal(node.running && node.pid, pid, `${node.name} was not restarted`);
    return { name: scenario.name, ...load.counts, elections: (await this.#term()) - termBefore, backMs };
  }

  #checkWindows(stage: Stage, load: Load): void {
    for (const w of stage.windows) {
      const inside = load.outcomes.filter((o) => o.calledAt >= w.from && o.endedAt <= w.to);
      for (const n of w.refusing) {
        const own = inside.filter((o) => o.node === n.name);
        const done = own.filter((o) => o.told === 'done');
        assert.deepEqual(done, [], `${n.name} had no majority`);
        assert.ok(own.length > 0, `${n.name} answered while it had no majority`);
        for (const o of own) assert.ok(clearWords.includes(o.why), `${n.name} said: ${o.why}`);
      }
      for (const n of w.serving)
        assert.ok(
          inside.some((o) => o.node === n.name && o.told === 'done'),
          `${n.name} went on`,
        );
    }
  }

  async #term(): Promise<number> {
    return Math.max(...(await Promise.all(this.#lab.cores.map(async (n) => (await n.shard('registers'))?.term ?? 0))));
  }

  async close(): Promise<void> {
    for (const n of this.#lab.nodes) n.signal('SIGCONT');
    await this.#lab.close();
    this.#net.close();
  }
}

function served(load: Load, node: RegisterProcess, since: number): boolean {
  return load.outcomes.some((o) => o.node === node.name && o.told === 'done' && o.calledAt >= since);
}
