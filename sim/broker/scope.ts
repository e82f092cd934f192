// Scope `broker`: a cluster of whole nodes with MQTT clients. A run: everything starts; clients and
// faults do as the seed says; everything heals, clients stay and publish; silence; then the checkers.
import { Prng } from '#base/prng.js';
import { defaultLimits } from '#session/limits.js';
import type { RunOptions, RunResult, Scope } from '../scope.js';
import { Behaviour, drawSwarm, type Swarm } from './behaviour.js';
import { BrokerWorld, type NodeSettings } from './broker-world.js';
import { checkBounds, checkCluster, checkDelivery, checkLostSessions, checkOrder, checkRefusals } from './checkers.js';
import { Evacuations } from './evacuations.js';
import { drawFaults, FaultInjector, type Faults, noFaults } from './faults.js';
import { History } from './history.js';
import { drawMemoryPlan, type MemoryPlan, MemoryPressure } from './memory.js';
import { checkShared } from './shared-checker.js';
import { WillWatch } from './will-checker.js';

/** Share of the run with faults; the rest shows that everything converges. */
const wildShare = 0.6;
const formMs = 30_000;
/** After the run: until nothing is on its way any more. */
const settleMs = 30_000;
/** After the heal: for what was on its way to end, one way or the other. */
const recoverMs = 8_000;
const boundsEveryMs = 500;
const settlePollMs = 100;
/** What is committed is applied everywhere by then. */
const settlePolls = 4;

export interface BrokerRunOptions extends RunOptions {
  /** Default: what the seed draws. */
  readonly faults?: Faults | undefined;
  readonly swarm?: Swarm | undefined;
}

interface Shape {
  readonly cores: number;
  readonly replicants: number;
}

const shapes: readonly Shape[] = [
  { cores: 3, replicants: 2 },
  { cores: 3, replicants: 2 },
  { cores: 3, replicants: 1 },
  { cores: 3, replicants: 0 },
  { cores: 1, replicants: 1 },
  { cores: 1, replicants: 0 },
];

/** It is made small again all the time. */
const smallJournal: NonNullable<NodeSettings['sessions']> = { segmentBytes: 4_000, compactBytesMin: 12_000, sliceBytes: 500, slicePauseMs: 20 };

function drawSettings(prng: Prng): NodeSettings {
  const on = (p: number): boolean => prng.chance(p);
  const smallQueues = on(0.2);
  const smallWindows = on(0.4);
  return {
    nodeDownAfterMs: prng.pick([1_500, 3_000, 15_000]),
    broker: {
      limits: {
        ...defaultLimits,
        maxInflight: smallWindows ? prng.pick([1, 3]) : defaultLimits.maxInflight,
        maxQueuedMessages: smallQueues ? 10 : defaultLimits.maxQueuedMessages,
      },
      withoutQuorum: on(0.5) ? 'accept' : 'refuse',
      reregisterEveryMs: 1_000,
    },
    // A client's burst comes in one read: it must fit behind a window that is closed.
    forward: on(0.3) ? { windowMessagesMax: 3, overshoot: 30, frameBytesMax: 100 } : {},
    ...(on(0.3) ? { bounds: { replicaCreditBytes: 2_000, bootstrapChunkBytes: 500, batchTransactionsMax: 3, applyRowsMax: 2 } } : {}),
    ...(on(0.3) ? { walSegmentBytes: 64 * 1024 } : {}),
    registry: {
      audit: { everyMs: 1_000 },
      expiry: { everyMs: 700, batch: 2 },
      wills: { tickMs: 50, everyMs: 2_000, batch: 3 },
      ...(on(0.3) ? { server: { chunkBytes: 50 } } : {}),
    },
    listener: on(0.3) ? { outputBytesMax: 2_000 } : {},
    sessions: prng.fork('sessions').chance(0.5) ? smallJournal : {},
  };
}

/** Long messages in tiny pieces take longer to move with their session than anybody waits. */
function withMemory(settings: NodeSettings, memory: MemoryPlan | undefined): NodeSettings {
  if (memory === undefined) return settings;
  const { registry } = settings;
  const chunkBytes = Math.max(registry?.server?.chunkBytes ?? 0, Math.ceil(memory.longBytes / 20));
  const server = registry?.server === undefined ? {} : { server: { ...registry.server, chunkBytes } };
  return { ...settings, registry: { ...registry, ...server }, overload: memory.overload };
}

class BrokerRun {
  readonly world: BrokerWorld;
  readonly history: History;
  readonly behaviour: Behaviour;
  readonly faults: FaultInjector;
  readonly evacuations: Evacuations;
  readonly wills: WillWatch;
  readonly memory: MemoryPressure;
  readonly settings: NodeSettings;
  readonly #seconds: number;
  #healedAt = 0;
  /** Lost forwards per node when everything should have been well again. */
  #lossesWhenWell: readonly number[] = [];

  constructor(seed: number, seconds: number, options: BrokerRunOptions) {
    const prng = new Prng(seed);
    const shape = prng.pick(shapes);
    const swarm = options.swarm ?? drawSwarm(prng);
    const faults = options.faults ?? (prng.chance(0.1) ? noFaults : drawFaults(prng));
    const memory = drawMemoryPlan(seed);
    this.settings = withMemory(drawSettings(prng), memory);
    this.#seconds = seconds;
    this.world = new BrokerWorld(seed, shape.cores, shape.replicants, this.settings);
    const { world } = this.world;
    this.history = new History(() => world.now);
    this.history.overflowed = (clientId) => this.world.nodes.some((n) => (n.node?.broker.client(clientId)?.queueDropped ?? 0) > 0);
    this.history.ended = (node, since, until = Number.POSITIVE_INFINITY) =>
      this.world.nodes.some((n) => n.name === node && n.crashedAt.some((at) => at >= since && at <= until));
    this.world.overflowed = (clientId) => {
      const session = this.history.sessions.findLast((s) => s.clientId === clientId);
      if (session !== undefined) session.overflowed = true;
    };
    this.history.memoryFull = (from, to) => this.world.wasShort(3, from, to);
    this.world.violation = (text) => this.history.violation(text);
    this.world.startAll();
    if (!world.runUntil(() => this.world.allServing, formMs)) this.history.violation(`the cluster did not form in ${formMs} ms\n${world.report()}`);
    this.behaviour = new Behaviour(this.world, this.history, swarm);
    this.faults = new FaultInjector(
      this.world,
      this.history,
      faults,
      this.behaviour.clients.map((c) => c.name),
    );
    this.evacuations = new Evacuations(this.world, this.history, this.faults.disturbances);
    this.wills = new WillWatch(this.world, this.history, this.faults.disturbances);
    if (options.trace !== undefined) this.#trace(options.trace, shape, swarm, faults, memory);
    this.memory = new MemoryPressure(this.world, this.history, this.behaviour.clients, memory, seed);
    this.#watchBounds();
  }

  #trace(trace: (line: string) => void, shape: Shape, swarm: Swarm, faults: Faults, memory: MemoryPlan | undefined): void {
    trace(JSON.stringify({ shape, swarm, faults, memory, settings: this.settings }));
    for (const n of this.world.nodes) {
      n.sim.logs.onLine = (l) =>
        trace(`${l.at.toFixed(3)} ${n.name} ${l.level} ${l.message} ${l.fields === undefined ? '' : JSON.stringify(l.fields)}`);
    }
    this.history.trace = trace;
  }

  #watchBounds(): void {
    const { limits } = this.settings.broker ?? {};
    checkBounds(this.world, this.history, limits?.maxQueuedMessages ?? 0, limits?.maxInflight ?? 0);
    for (const n of this.world.nodes) if (n.fatal !== undefined) this.history.violation(`${n.name} cannot go on: ${n.fatal.message}`);
    this.world.world.after(boundsEveryMs, () => this.#watchBounds());
  }

  run(): RunResult {
    const { world } = this.world;
    const { history } = this;
    if (history.violations.length === 0) {
      const ms = this.#seconds * 1_000;
      world.runFor(wildShare * ms);
      this.evacuations.heal();
      this.faults.heal();
      this.memory.heal();
      this.#healedAt = world.now;
      this.behaviour.phase = 'steady';
      const recovering = Math.min((1 - wildShare) * ms, recoverMs);
      world.runFor(recovering);
      this.#lossesWhenWell = this.#losses();
      this.behaviour.wellSince = world.now;
      if (recovering === recoverMs) for (const what of this.memory.short()) history.violation(`${what} ${recoverMs} ms after its memory fell`);
      world.runFor((1 - wildShare) * ms - recovering);
      this.behaviour.phase = 'silent';
      this.#settle();
      this.#check();
    }
    return {
      violations: history.violations,
      traceHash: Number.parseInt(world.hash.slice(0, 8), 16),
      simSeconds: world.now / 1_000,
      events: world.events,
      counts: history.counts,
    };
  }

  #settle(): void {
    const { world } = this.world;
    const end = world.now + settleMs;
    for (let still = 0; world.now < end; ) {
      world.runFor(settlePollMs);
      still = this.#unsettled().length === 0 ? still + 1 : 0;
      if (still === settlePolls) return;
    }
    for (const what of this.#unsettled()) this.history.violation(`not settled ${settleMs} ms after the end: ${what}`);
  }

  #unsettled(): string[] {
    const out: string[] = this.memory.short();
    for (const n of this.world.nodes) {
      if (!n.serving || n.node === undefined) out.push(`${n.name} does not serve (${n.node?.core.cluster.why})`);
      else {
        if (!n.node.routes.quiet) out.push(`${n.name} has routes to write`);
        if (!n.node.registry.idle) out.push(`${n.name} has something to tell the registry or a node`);
        if (n.node.broker.stats().unregisteredSessions > 0) out.push(`${n.name} has unregistered sessions`);
        for (const info of n.node.broker.clients()) {
          if (info.connected && info.queued + info.inflight > 0)
            out.push(`${n.name}: ${info.queued} queued and ${info.inflight} on their way to ${info.clientId}`);
        }
      }
    }
    for (const client of this.behaviour.clients) {
      if (client.profile.double) {
        // Two clients of one client id displace each other; one may be left.
        if (client.state === 'dialling' || client.state === 'connecting') out.push(`${client.name} is ${client.state}`);
        continue;
      }
      if (client.state !== 'connected') out.push(`${client.name} is ${client.state} (${client.node?.name})`);
      for (const op of client.open.values()) out.push(`${client.name} waits for the answer to ${op.what} since ${op.at.toFixed(1)}`);
    }
    return out;
  }

  /** Sessions that their bounds have cost messages: nodes count it, and the count moves with the session. */
  #noteOverflows(): void {
    const last = new Map(this.history.sessions.map((s) => [s.clientId, s]));
    for (const n of this.world.nodes) {
      for (const info of n.node?.broker.clients() ?? []) {
        const session = last.get(info.clientId);
        if (info.queueDropped === 0 || session === undefined) continue;
        session.overflowed = true;
        this.history.count('overflowedSessions');
      }
    }
  }

  #losses(): number[] {
    return this.world.nodes.map((n) => n.lost);
  }

  #check(): void {
    this.#losses().forEach((n, i) => {
      const before = this.#lossesWhenWell[i] ?? 0;
      if (n > before) this.history.violation(`${this.world.nodes[i]?.name} gave up ${n - before} forwarded messages while everything was well`);
    });
    this.#noteOverflows();
    this.memory.count();
    checkDelivery(this.history, this.faults.disturbances);
    checkOrder(this.history, this.faults.disturbances);
    const names = this.world.nodes.map((n) => n.name);
    checkShared(this.history, this.faults.disturbances, names);
    checkRefusals(this.history, this.faults.disturbances, this.world.nodes);
    this.wills.check(this.#healedAt);
    checkLostSessions(this.history, this.faults.disturbances, names);
    checkCluster(this.world, this.history, this.behaviour.clients);
  }
}

export function runBroker(seed: number, seconds: number, options: BrokerRunOptions = {}): RunResult {
  return new BrokerRun(seed, seconds, options).run();
}

export const brokerScope: Scope = { name: 'broker', defaultSeconds: 30, run: runBroker };
