// One run of the database under faults, decided by its seed: form, load and hurt for a while, heal,
// and then everything must come back, agree, and be what the clients were told.
import { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import { clusterSchema } from '#cluster/commands.js';
import { memberShard } from '#cluster/schema.js';
import type { Table } from '#db/api.js';
import { ClusterWorld, type RunningNode, usedLanes } from './cluster-world.js';
import { checkStores } from './final-checks.js';
import { History } from './history.js';
import { unevenLeaders } from './leaders.js';
import { checkLinearizable } from './linearizable.js';
import { groupsDifference } from './membership.js';
import { ShardModel } from './model.js';
import { Nemesis } from './nemesis.js';
import { makePlan, type Plan } from './plan.js';
import { encodeRow, mainTable, runSchemas, runShards } from './schema.js';
import { Watch, watchedShards } from './watch.js';
import { Workload } from './workload.js';

export interface RunOptions {
  /** Default true. */
  readonly faults?: boolean;
  /** Simulated time of load and faults. Default 20,000. */
  readonly lengthMs?: number;
  /** Prints log lines and faults as they come. */
  readonly print?: (line: string) => void;
}

export interface RunResult {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly traceHash: string;
  readonly simSeconds: number;
  readonly events: number;
  readonly acknowledged: number;
  readonly failed: number;
  readonly comparisons: number;
  readonly faults: ReadonlyMap<string, number>;
  readonly bootstraps: number;
  /** Copies of tables that cores began to send, by cause. */
  readonly copies: ReadonlyMap<string, number>;
  /** Rows looked at by linearizable reads; and whether the search for their order came to an end. */
  readonly reads: number;
  readonly decided: boolean;
  /** Tails of the nodes' logs, when something was wrong. */
  readonly report: string;
}

/** After healing: until every node serves, until everything is equal and swept. */
const servingBoundMs = 60_000;
const quietBoundMs = 40_000;
const formingBoundMs = 60_000;
/** One seed in so many also checks who owns which bytes. */
const strictSeeds = 8;
/** How often the conditions of a phase are looked at. */
const lookEveryMs = 5;
const lastWriteAttempts = 3;
/** Delays of the network that make no difference to the choice of a core. */
const nearMs = 1;
const violationsMax = 20;
const tables: ReadonlyMap<string, readonly Table[]> = new Map([clusterSchema, ...runSchemas].map((s) => [s.name, s.tables]));

export class Run {
  readonly seed: number;
  readonly plan: Plan;
  readonly c: ClusterWorld;
  readonly history: History;
  readonly watch: Watch;
  readonly models: Map<string, ShardModel> = new Map();
  readonly nemesis: Nemesis;
  readonly workload: Workload;
  readonly violations: string[] = [];
  decided = true;
  readonly #lengthMs: number;

  constructor(seed: number, options: RunOptions = {}) {
    this.seed = seed;
    this.#lengthMs = options.lengthMs ?? 20_000;
    this.plan = makePlan(new Prng(seed).fork('plan'), options.faults ?? true, new Prng(seed).fork('rare plan'));
    const violation = (text: string): void => this.#violation(text);
    const { plan } = this;
    // What costs much and does not depend on the faults: bytes that change after they were given away, views used too long, lanes that nobody uses.
    const strict = seed % strictSeeds === 0;
    this.c = new ClusterWorld({
      seed,
      cores: plan.cores,
      replicants: plan.replicants,
      spares: plan.membership.spares,
      relays: plan.relays,
      schemas: runSchemas,
      bounds: plan.bounds,
      timings: plan.timings,
      nodeDownAfterMs: plan.nodeDownAfterMs,
      ...(plan.walSegmentBytes === undefined ? {} : { walSegmentBytes: plan.walSegmentBytes }),
      ...(strict ? {} : { lanes: usedLanes }),
      onStart: (n) => {
        this.nemesis.storage.started(n);
        this.watch.started(n, tables);
      },
      onEnd: (n) => this.workload.nodeDied(n),
      onFatal: (n, error) => {
        if (!this.nemesis.storage.ended(n, error)) this.#violation(`${n.name} cannot go on: ${error.message}`);
      },
    });
    this.c.net.checkOwnership = strict;
    for (const n of this.c.nodes) {
      n.sim.tables.checkOwnership = strict;
      n.sim.tables.poisonViews = strict;
    }
    this.c.net.way = { delayMs: plan.delayMs, jitterMs: plan.delayMs / 2 + 0.1, bytesPerMs: 0 };
    this.c.net.faults.splitChance = plan.splitChance;
    if (plan.farMs > 0)
      for (const n of this.c.nodes)
        for (const m of this.c.nodes)
          if (n.role === 'replicant' && n !== m) this.c.net.setWay(n.name, m.name, { delayMs: plan.farMs, jitterMs: plan.farMs / 10 });
    this.history = new History(violation);
    for (const shard of watchedShards(runShards)) {
      const model: ShardModel = new ShardModel(
        shard,
        (t, index, n) => {
          if (shard !== memberShard) this.history.logged(model, t, index, n);
        },
        violation,
      );
      this.models.set(shard, model);
    }
    this.watch = new Watch(this.c, this.models, violation);
    this.nemesis = new Nemesis(this.c, plan.faults, plan.storage, plan.membership);
    this.watch.onCopying = (to, from, shard) => this.nemesis.copying(to, from, shard);
    this.watch.onChange = (leader, shard, change, name) => this.nemesis.changing(leader, shard, change, name);
    this.watch.onCopied = (n) => this.nemesis.copied(n);
    this.workload = new Workload(this.c, this.history, this.watch, plan, violation);
    this.nemesis.setUpMoments(plan.moments, plan.rare, this.workload);
    if (options.print !== undefined) this.#print(options.print);
  }

  #print(print: (line: string) => void): void {
    for (const n of this.c.nodes) {
      const inner = n.sim.logs.onLine;
      n.sim.logs.onLine = (line) => {
        inner?.(line);
        print(`${line.at.toFixed(3).padStart(11)} ${n.name} ${line.level} ${line.message} ${JSON.stringify(line.fields ?? {})}`);
      };
    }
    this.nemesis.onFault = (kind, detail) => print(`${this.c.world.now.toFixed(3).padStart(11)} ** ${kind} ${detail}`);
  }

  #violation(text: string): void {
    if (this.violations.length < violationsMax) this.violations.push(`at ${this.c.world.now.toFixed(3)} ms: ${text}`);
  }

  get #broken(): boolean {
    return this.violations.length > 0;
  }

  run(): void {
    this.c.startAll();
    if (this.plan.faults.early) this.nemesis.start();
    else if (!this.#until(() => this.c.allServing, formingBoundMs)) return this.#violation('the cluster did not form');
    if (!this.plan.faults.early) this.nemesis.start();
    this.workload.start();
    this.#until(() => false, this.#lengthMs);
    if (this.#broken) return;
    this.nemesis.heal();
    this.#recover();
  }

  /** Nothing hurts any more: everything must come back by itself. */
  #recover(): void {
    const { world } = this.c;
    if (!this.#until(() => this.c.allServing, servingBoundMs)) this.c.nameCores();
    if (!this.#until(() => this.c.allServing, servingBoundMs)) return this.#stuck('not every node serves', this.#notServing());
    if (!this.#until(() => this.#membersSettled() === '', servingBoundMs))
      return this.#stuck('the set of cores is not settled', this.#membersSettled());
    this.#until(() => false, 1_000);
    this.workload.stop();
    const pending = (): number => this.c.nodes.reduce((sum, n) => sum + (n.core?.database.pendingWrites ?? 0), 0);
    if (!this.#until(() => this.workload.waiting === 0 && pending() === 0, 15_000))
      return this.#stuck(`${this.workload.waiting} calls were never answered, ${pending()} writes never settled`);
    if (!this.#until(() => this.c.allServing, servingBoundMs)) return this.#stuck('not every node serves in the end', this.#notServing());
    this.#lastWrites();
    if (this.#broken) return;
    if (!this.#until(() => this.#quiet(), quietBoundMs)) return this.#stuck('the copies did not become equal', this.#notQuiet());
    world.runFor(500);
    this.history.check();
    this.decided = checkLinearizable(this.history, this.workload.reads, (text) => this.#violation(text));
    for (const text of this.watch.unsettled()) this.#violation(text);
    for (const m of this.watch.mirrors.values()) if (!m.node.absent) m.compareTables();
    checkStores(this.c, this.models, (text) => this.#violation(text));
  }

  #until(done: () => boolean, limitMs: number): boolean {
    return this.c.world.runUntil(() => this.#broken || done(), limitMs, lookEveryMs);
  }

  #stuck(text: string, detail: string = ''): void {
    if (!this.#broken) this.#violation(detail === '' ? text : `${text}: ${detail}`);
  }

  /** What is missing until the cores are those that are there, '' for nothing. */
  #membersSettled(): string {
    if (!this.nemesis.membership.done) return 'a dead core is still to be taken out';
    const going = this.c.members.find((n) => n.goes);
    if (going !== undefined) return `${going.name} is still leaving (${going.core?.cluster.phase ?? 'down'} ${going.core?.cluster.why ?? ''})`;
    return groupsDifference(
      this.c,
      this.c.members.filter((n) => n.role === 'core'),
    );
  }

  #notServing(): string {
    return this.c.members
      .filter((n) => n.core?.cluster.serving !== true)
      .map((n) => `${n.name} (${n.core?.cluster.phase ?? 'down'} ${n.core?.cluster.why ?? ''} ${JSON.stringify(n.core?.database.status())})`)
      .join('; ');
  }

  /** A write from each node to each shard, effective everywhere. Not from one that leaves only now, as it was asked to while it was cut off. */
  #lastWrites(): void {
    const missing = new Map<string, RunningNode>();
    for (const n of this.c.members) {
      for (const shard of runShards) {
        missing.set(`${n.name} to ${shard}`, n);
        this.#lastWrite(n, shard, lastWriteAttempts, () => missing.delete(`${n.name} to ${shard}`));
      }
    }
    const answered = (): boolean => [...missing.values()].every((n) => n.goes || n.absent);
    if (!this.#until(answered, 20_000)) this.#stuck(`after healing, writes were never answered: ${[...missing.keys()].join(', ')}`);
  }

  #lastWrite(n: RunningNode, shard: string, attempts: number, then: () => void): void {
    const db = n.core?.database;
    if (n.goes || n.absent) return then();
    if (db === undefined) return this.#violation(`${n.name} ended after healing`);
    const key = utf8Encode(`z${n.name}`);
    const record = this.history.invoke(0, n.name, shard, { kind: 'put', keys: [key] }, this.c.world.now);
    const op = { kind: 'put', table: mainTable(shard), key, value: encodeRow(record.id, 0) } as const;
    n.sim.run(() =>
      db.write(shard, [op], { until: db.holds(shard) ? 'effective' : 'committed' }, (failure, result) => {
        this.history.done(record, failure === undefined ? 'ok' : failure.kind, result.index, result.reply, this.c.world.now);
        if (failure === undefined) return then();
        // The wait for 'effective' may be short, and many writes may still be on their way.
        if (failure.kind === 'not-effective' && attempts > 1) return this.#lastWrite(n, shard, attempts - 1, then);
        if (n.goes || n.absent) return then();
        this.#violation(`after healing, a write on ${n.name} to ${shard} failed: ${failure.kind}, ${failure.message}`);
      }),
    );
  }

  #quiet(): boolean {
    return this.#notQuiet() === '';
  }

  /** What is not at rest yet, '' for nothing. */
  #notQuiet(): string {
    const all = this.c.members;
    const running = new Set(all.map((n) => n.core?.database.incarnation ?? 0));
    for (const shard of watchedShards(runShards)) {
      let index: number | undefined;
      for (const n of all) {
        const db = n.core?.database;
        if (db === undefined) return `${n.name} is down`;
        const state = db.shardState(shard);
        if (state === undefined) continue;
        for (const [, { live }] of state.reader.live.nodes())
          if (live !== 0 && !running.has(live)) return `${n.name} ${shard}: incarnation ${live} of a node that has gone is live`;
        if (!state.idle || db.pendingWrites > 0) return `${n.name} ${shard} is busy (${db.pendingWrites} writes)`;
        if (state.cursor.system.unswept.size > 0) return `${n.name} ${shard} has unswept incarnations`;
        if (!db.inSync(shard)) return `${n.name} ${shard} is not in sync`;
        if (index !== undefined && index !== state.appliedIndex) return `${n.name} ${shard} is at ${state.appliedIndex}, another node at ${index}`;
        index = state.appliedIndex;
      }
    }
    return this.#uneven() || unevenLeaders(this.c, watchedShards(runShards), this.plan.bounds.leaderSpreadMs);
  }

  /** Where replicants look for a better core often, and all cores are equally near: no core feeds more than one more than another. */
  #uneven(): string {
    const { rebalanceMs } = this.plan.bounds;
    if (rebalanceMs === undefined || this.plan.delayMs > nearMs) return '';
    for (const shard of watchedShards(runShards)) {
      if (!this.c.members.every((n) => n.core?.database.holds(shard) === true)) continue;
      const fed = (n: RunningNode): number =>
        (n.core?.database.coreShard(shard) ?? n.core?.database.replica(shard)?.relay)?.server.replicants().length ?? 0;
      const cores = this.c.members.filter((n) => n.role === 'core').map(fed);
      const relays = this.c.members.filter((n) => n.relay && n.role === 'replicant').map(fed);
      const uneven = [cores, relays].some((group) => group.length > 1 && Math.max(...group) - Math.min(...group) > 1);
      const byCores = cores.reduce((sum, n) => sum + n, 0);
      const wrong = relays.length > 0 && byCores !== relays.length;
      if (uneven || wrong) return `${shard}: the cores feed ${cores.join(', ')} replicants, the relays ${relays.join(', ')}`;
    }
    return '';
  }
}

/** Runs one seed to its end. Never throws: what the code under test throws is a violation. */
export function runSeed(seed: number, options: RunOptions = {}): RunResult {
  const run = new Run(seed, options);
  let thrown: string | undefined;
  try {
    run.run();
  } catch (error) {
    thrown = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  const { world } = run.c;
  const violations = thrown === undefined ? run.violations : [...run.violations, thrown];
  return {
    seed,
    violations,
    traceHash: world.hash,
    simSeconds: world.now / 1_000,
    events: world.events,
    acknowledged: run.workload.acknowledged,
    failed: run.workload.failed,
    comparisons: run.watch.comparisons,
    faults: run.nemesis.counts,
    bootstraps: run.watch.bootstraps,
    copies: run.watch.resumes.causes,
    reads: run.workload.reads.operations.length,
    decided: run.decided,
    report: violations.length === 0 ? '' : world.report(),
  };
}
