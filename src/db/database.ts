// The database of one node: all its shards, the rpc methods by which nodes write to each other's
// leaders, and the `Database` that the other rooms use. Built by `node` (or the simulator), fed by
// `cluster` with formation, incarnation and members.
import { emptyBytes } from '#base/bytes.js';
import type { Wal } from '#store/types.js';
import {
  type Database,
  type Feed,
  type Op,
  type Reader,
  type Row,
  type ShardSchema,
  type ShardStatus,
  type Table,
  type Transaction,
  type WriteDone,
  WriteFailure,
  type WriteOptions,
} from './api.js';
import { AppliedWaits } from './applied-waits.js';
import { type DbBounds, dbBounds } from './bounds.js';
import { beginCore, coreOfShard } from './core-of-shard.js';
import type { WantedCore } from './core-set.js';
import { CoreSetDriver } from './core-set-driver.js';
import type { CoreShard } from './core-shard.js';
import type { DatabaseOptions, Formation } from './database-options.js';
import { type HeldShard, tickShard } from './held-shard.js';
import { serveLanes } from './lanes.js';
import { type KnownMember, reconcile, Sweeper } from './leader-duties.js';
import { LeaderSpreadDriver } from './leader-spread-driver.js';
import { Leases } from './leases.js';
import { LoadMeter } from './load-meter.js';
import { openState } from './open-state.js';
import { prepareLogs } from './prepare-log.js';
import { encodeCommand, encodeWrites, proposalKind } from './proposal-codec.js';
import type { Proposer } from './proposer.js';
import { proposerOfShard } from './proposer-of-shard.js';
import { RaftTransport } from './raft-transport.js';
import { type ReadOptions, RemoteReads } from './remote-reads.js';
import type { Replica } from './replica.js';
import { replicaOfShard } from './replica-of-shard.js';
import { Scrubber } from './scrubber.js';
import { ShardRpc } from './shard-rpc.js';
import type { ShardState } from './shard-state.js';
import { shardsStatus } from './shards-status.js';
import { Ticker, tickMs } from './ticker.js';
import { onState, transact } from './transact.js';
import { commandUnjoined } from './unjoined.js';
import { feeds, Upstreams } from './upstreams.js';

export class NodeDatabase implements Database {
  readonly nodeId: string;
  readonly bounds: DbBounds;
  #role: 'core' | 'replicant';
  #wal: Wal | undefined;
  readonly #o: DatabaseOptions;
  readonly #held: Map<string, HeldShard> = new Map();
  readonly #proposers: Map<string, Proposer> = new Map();
  readonly #schemas: Map<string, ShardSchema> = new Map();
  readonly #byTable: Map<Table, HeldShard> = new Map();
  readonly #transport: RaftTransport;
  readonly #leases: Leases;
  readonly #rpc: ShardRpc;
  readonly #upstreams: Upstreams;
  readonly #incarnationListeners: ((incarnation: number) => void)[] = [];
  #incarnation = 0;
  readonly #load: LoadMeter = new LoadMeter();
  readonly #ticker: Ticker;
  readonly #scrubber: Scrubber;
  #closed = false;
  #members: () => Iterable<KnownMember> = () => [];
  #minted: () => number = () => 0;
  #cores: () => Iterable<WantedCore> = () => [];
  #outElsewhere: (nodeId: string, done: (out: boolean) => void) => void = (_nodeId, done) => done(true);
  readonly #coreSet: CoreSetDriver;
  readonly #spread: LeaderSpreadDriver;
  readonly #reads: RemoteReads;
  /** Called with the incarnation that turned out to be dead. */
  onFenced: (incarnation: number) => void = () => {};
  /** Leadership of a shard is ready here, or gone. */
  onLeadership: (shard: string, leads: boolean) => void = () => {};

  constructor(options: DatabaseOptions) {
    this.#o = options;
    this.nodeId = options.nodeId;
    this.#role = options.role;
    this.#wal = options.wal;
    this.bounds = { ...dbBounds, ...options.bounds };
    this.#transport = new RaftTransport(options.links, options.env.metrics);
    this.#leases = new Leases(options.env, options.links, this.bounds.leaseMs, this.#held);
    this.#transport.onLeases = (from, code, frame) => this.#leases.receive(from, code, frame);
    this.#rpc = new ShardRpc(options.env, options.links, options.nodeId, this.bounds, (shard) => this.#held.get(shard)?.core);
    this.#reads = new RemoteReads({
      ...options,
      bounds: this.bounds,
      core: (shard) => this.#held.get(shard)?.core,
      readIndex: (shard, deadlineAt, done) => this.#rpc.readIndex(shard, deadlineAt, done),
      whenApplied: (shard, index, deadlineAt, then) => this.#whenApplied(shard, index, deadlineAt, then),
      isUpstream: (id) => [...this.#held.values()].some((h) => h.replica?.upstream === id),
    });
    this.#upstreams = new Upstreams({
      env: options.env,
      links: options.links,
      bounds: this.bounds,
      feeder: (shard) => this.#held.get(shard)?.core ?? this.#held.get(shard)?.replica?.relay,
      leaderOf: (shard) => this.#held.get(shard)?.core?.raft.leader,
      coreWeight: options.coreWeight ?? 100,
      load: () => this.#load.streams,
      // A core that copies tables takes those of a core, like a relay.
      mayFeed: (peer) => feeds(peer, this.relay || this.role === 'core'),
    });
    for (const schema of options.schemas) {
      this.#schemas.set(schema.name, schema);
      if (this.role === 'core' || schema.replicate === 'all') this.#hold(schema);
    }
    for (const schema of options.schemas) this.#proposers.set(schema.name, this.#makeProposer(schema.name));
    this.#coreSet = new CoreSetDriver({
      env: options.env,
      links: options.links,
      nodeId: options.nodeId,
      learnerLagMax: this.bounds.learnerLagMax,
      silentMs: this.bounds.coreSilentMs,
      barrierMs: this.bounds.coreSetBarrierMs,
      wanted: () => this.#cores(),
      memberShard: options.memberShard,
      outElsewhere: (nodeId, done) => this.#outElsewhere(nodeId, done),
      barrier: (deadlineMs, done) => this.barrier(options.memberShard, deadlineMs, (failure) => done(failure === undefined)),
    });
    this.#spread = new LeaderSpreadDriver({
      ...options,
      bounds: this.bounds,
      shards: this.#held,
      wanted: () => this.#cores(),
      load: () => this.#load.streams,
    });
    serveLanes(options.links, options.env.log, this.#held, () => {
      for (const p of this.#proposers.values()) p.kick();
    });
    this.#ticker = new Ticker(
      options.env.clock,
      () => this.#dueAt(),
      (now) =>
        this.#transport.gather(() => {
          for (const h of this.#held.values()) tickShard(h, now);
        }),
      (now, lateMs) => this.#load.note(now, lateMs),
    );
    this.#ticker.start();
    this.#scrubber = new Scrubber(options.env, this.bounds, () => [...this.#held.values()].map((h) => h.state));
    this.#scrubber.start();
  }

  #hold(schema: ShardSchema): void {
    const { env, links, generations } = this.#o;
    const maker = generations(schema.name);
    let held: HeldShard | undefined;
    const state = openState({
      env,
      schema,
      bounds: this.bounds,
      generations: maker,
      ...(this.role === 'core' ? { pauseMs: this.bounds.coreApplyPauseMs } : {}),
      onApplied: (index) => {
        if (held !== undefined) this.#applied(held, index);
      },
      onFailure: (error) => this.#o.onFatal(error),
      onDamaged: (why) => {
        held?.replica?.damaged(why);
        held?.core?.repair(why);
      },
    });
    held = { schema, state, core: undefined, sweeper: undefined, replica: undefined, waits: new AppliedWaits() };
    this.#held.set(schema.name, held);
    for (const t of schema.tables) this.#byTable.set(t, held);
    if (this.role === 'core') return;
    const node = { env, links, bounds: this.bounds, leases: this.#leases, upstreams: this.#upstreams, relay: this.relay };
    held.replica = replicaOfShard(node, schema, maker, state, () => this.#proposers.get(schema.name)?.kick());
  }

  /** As a replicant this node feeds others. */
  get relay(): boolean {
    return this.#o.relay === true && this.role === 'replicant';
  }

  get role(): 'core' | 'replicant' {
    return this.#role;
  }

  /** Replicants: begin to follow. */
  startReplicas(): void {
    for (const h of this.#held.values()) h.replica?.start();
  }

  /** Cores: the cluster is formed (again at every start). `done` when every shard takes part. */
  startCores(formation: Formation, done: (error: Error | undefined) => void): void {
    const log = this.#wal;
    if (log === undefined) return done(new Error('a core needs a write-ahead log'));
    // Of a copy that came from elsewhere its own: the same, or that of a recovery by force.
    const { clusterId, history } = formation;
    const begun = (shard: string): string => (history === '' ? `${clusterId}/${shard}` : `${clusterId}/${shard}/${history}`);
    // Of one whose tables are gone that of its log.
    const historyId = (h: HeldShard): string => h.state.position.historyId || log.shard(h.schema.name).base.historyId || begun(h.schema.name);
    // Nobody votes before every log is begun on disk, and that it is begun.
    const begin = (error: Error | undefined): void => {
      if (this.#closed) return;
      if (error === undefined) for (const h of this.#held.values()) this.#makeCoreShard(h, log.shard(h.schema.name), historyId(h));
      done(error);
    };
    const all = [...this.#held.values()].map((h) => {
      const { name } = h.schema;
      return { state: h.state, wal: log.shard(name), generations: this.#o.generations(name), historyId: historyId(h) };
    });
    const recover = formation.recover ? { nodeId: this.nodeId, historyId: begun } : undefined;
    prepareLogs(all, formation.voters, recover, (error) => {
      if (this.#closed) return;
      if (error === undefined) this.#o.logBegun(begin);
      else done(error);
    });
  }

  /**
   * A replicant whose copies are all in service becomes a core, as it runs: it follows nobody's log stream any
   * more, begins logs behind its tables, and holds the shards of cores, too. It votes nowhere before the
   * groups' leaders take it in.
   */
  becomeCore(wal: Wal, formation: Formation, done: (error: Error | undefined) => void): void {
    this.#role = 'core';
    this.#wal = wal;
    for (const h of this.#held.values()) {
      h.replica?.leave('it becomes a core');
      h.replica = undefined;
    }
    for (const schema of this.#schemas.values()) if (!this.#held.has(schema.name)) this.#hold(schema);
    const whenIdle = (): void => {
      if (this.#closed) return;
      if ([...this.#held.values()].every((h) => h.state.idle)) return this.startCores(formation, done);
      this.#o.env.clock.setTimer(tickMs, whenIdle);
    };
    whenIdle();
  }

  #makeCoreShard(h: HeldShard, wal: ReturnType<Wal['shard']>, historyId: string): void {
    const { name } = h.schema;
    const node = { ...this.#o, bounds: this.bounds, transport: this.#transport, leases: this.#leases, upstreams: this.#upstreams };
    const core = coreOfShard(node, h.state, wal, historyId, (leads) => {
      this.onLeadership(name, leads);
      this.#proposers.get(name)?.kick();
    });
    h.core = core;
    h.sweeper = new Sweeper(core, this.bounds);
    this.#transport.register(name, core);
    beginCore(core);
  }

  #makeProposer(shard: string): Proposer {
    const { env, links } = this.#o;
    return proposerOfShard({
      env,
      links,
      bounds: this.bounds,
      shard,
      nodeId: this.nodeId,
      isCore: () => this.role === 'core',
      rpc: this.#rpc,
      core: () => this.#held.get(shard)?.core,
      holds: () => this.#held.has(shard),
      whenApplied: (index, deadlineAt, then) => this.#whenApplied(shard, index, deadlineAt, then),
      onFenced: (incarnation) => this.onFenced(incarnation),
    });
  }

  // ---- members and incarnation (told by `cluster`) ----

  /** `minted`: the last incarnation among them and those that have gone. */
  setMembers(members: () => Iterable<KnownMember>, minted: () => number): void {
    this.#members = members;
    this.#minted = minted;
  }

  /** After a change of the members, and on new leadership. */
  reconcile(): void {
    for (const h of this.#held.values())
      if (h.core?.leader !== undefined && h.schema.name !== this.#o.memberShard) reconcile(h.core, this.#members(), this.#minted());
  }

  /** `outElsewhere`: whether a node is out of the groups of all shards but the members'. */
  setCores(cores: () => Iterable<WantedCore>, outElsewhere: (nodeId: string, done: (out: boolean) => void) => void): void {
    this.#cores = cores;
    this.#outElsewhere = outElsewhere;
  }

  /**
   * Regularly: every group that this node leads takes its next step towards the set of cores, if there is one to take;
   * and one may be handed to a core that leads fewer.
   */
  changeCores(): void {
    for (const h of this.#held.values()) if (h.core !== undefined) this.#coreSet.look(h.core, this.coreShard(this.#o.memberShard)?.raft.config);
    this.#spread.look();
  }

  setIncarnation(incarnation: number): void {
    const renewed = this.#incarnation !== 0;
    this.#incarnation = incarnation;
    for (const p of this.#proposers.values()) p.setIncarnation(incarnation);
    if (renewed) for (const listener of this.#incarnationListeners) listener(incarnation);
  }

  get incarnation(): number {
    return this.#incarnation;
  }

  onIncarnation(listener: (incarnation: number) => void): void {
    this.#incarnationListeners.push(listener);
  }

  // ---- time ----

  /** When one of the shards' timers is due next. */
  #dueAt(): number {
    let due = Number.POSITIVE_INFINITY;
    for (const h of this.#held.values()) {
      const at = h.waits.any ? 0 : Math.min(h.core?.raft.nextTimerAt ?? Number.POSITIVE_INFINITY, h.core?.nextLapseAt ?? Number.POSITIVE_INFINITY);
      if (at < due) due = at;
    }
    return due;
  }

  #applied(h: HeldShard, index: number): void {
    h.core?.applied(index);
    h.replica?.applied(index);
    h.waits.reached(index);
    h.sweeper?.step();
  }

  #whenApplied(shard: string, index: number, deadlineAt: number, then: (reached: boolean) => void): void {
    const h = this.#held.get(shard);
    if (h === undefined || h.state.appliedIndex >= index) return then(h !== undefined);
    h.waits.add(index, deadlineAt, then);
  }

  // ---- Database ----

  #stateOf(table: Table): ShardState {
    const held = this.#byTable.get(table);
    if (held === undefined) throw new Error(`table ${table.name} (shard ${table.shard}) is not held by this node`);
    return held.state;
  }

  get(table: Table, key: Uint8Array): Row | undefined {
    return this.#stateOf(table).reader.get(table, key);
  }

  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void {
    this.#stateOf(table).reader.range(table, start, end, visit);
  }

  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
    return this.#stateOf(table).reader.seek(table, key);
  }

  /** Names of all shards, held here or not. */
  get shards(): readonly string[] {
    return [...this.#schemas.keys()];
  }

  holds(shard: string): boolean {
    return this.#held.has(shard);
  }

  appliedIndex(shard: string): number {
    return this.#held.get(shard)?.state.appliedIndex ?? 0;
  }

  inSync(shard: string): boolean {
    const h = this.#held.get(shard);
    if (h === undefined) return false;
    if (h.replica !== undefined) return h.replica.inService;
    const core = h.core;
    return core?.inService === true && (core.raft.role !== 'leader' || core.leader !== undefined);
  }

  isLive(shard: string, incarnation: number): boolean {
    return this.#held.get(shard)?.state.reader.live.has(incarnation) === true;
  }

  isGone(shard: string, nodeId: string, incarnation: number): boolean {
    const live = this.#held.get(shard)?.state.reader.live;
    return live !== undefined && live.highest(nodeId) >= incarnation && live.ofNode(nodeId) !== incarnation;
  }

  #proposer(shard: string, done: WriteDone): Proposer | undefined {
    const p = this.#proposers.get(shard);
    if (p === undefined) done(new WriteFailure('refused', `there is no shard ${shard}`), { index: 0, reply: emptyBytes });
    return p;
  }

  write(shard: string, ops: readonly Op[], options: WriteOptions, done: WriteDone): void {
    const p = this.#proposer(shard, done);
    if (p === undefined) return;
    p.submit(proposalKind.ops, encodeWrites(ops), options, done);
  }

  command(shard: string, name: string, body: Uint8Array, options: WriteOptions, done: WriteDone): void {
    this.#proposer(shard, done)?.submit(proposalKind.command, encodeCommand(name, body), options, done);
  }

  /** A command from a node without an incarnation; it must bear being executed twice. */
  commandUnjoined(shard: string, name: string, body: Uint8Array, deadlineMs: number, done: WriteDone): void {
    const { env, links } = this.#o;
    const options = { env, links, nodeId: this.nodeId, shard, bounds: this.bounds, core: () => this.#held.get(shard)?.core };
    commandUnjoined(options, name, body, deadlineMs, done);
  }

  transaction(shard: string, fn: (tx: Transaction) => Uint8Array | undefined, options: WriteOptions, done: WriteDone): void {
    const p = this.#proposer(shard, done);
    const held = this.#held.get(shard);
    if (p === undefined) return;
    const schema = this.#schemas.get(shard);
    if (schema === undefined) return;
    const on = held !== undefined ? onState(held.state) : this.#reads.transaction(schema);
    transact({ env: this.#o.env, bounds: this.bounds, on, proposer: p, incarnation: () => this.#incarnation }, fn, options, done);
  }

  /** `fn` on one state of a shard that this node need not hold: what it asks for is fetched from a core, and it runs again each time. */
  readElsewhere<T>(
    shard: string,
    fn: (reader: Reader) => T,
    options: ReadOptions,
    done: (failure: Error | undefined, result: T | undefined) => void,
  ): void {
    const schema = this.#schemas.get(shard);
    if (schema === undefined) done(new WriteFailure('refused', `there is no shard ${shard}`), undefined);
    else this.#reads.read(schema, fn, options, done);
  }

  barrier(shard: string, deadlineMs: number, done: (failure: WriteFailure | undefined) => void): void {
    const deadlineAt = this.#o.env.clock.now() + deadlineMs;
    if (!this.#held.has(shard)) return done(new WriteFailure('refused', `this node does not hold shard ${shard}`));
    const failed = (why: string): WriteFailure =>
      this.#closed ? new WriteFailure('closed', 'the database was closed') : new WriteFailure('no-quorum', why);
    this.#rpc.readIndex(shard, deadlineAt, (index) => {
      if (index === undefined) return done(failed(`no leader of shard ${shard} answered in time`));
      this.#whenApplied(shard, index, deadlineAt, (ok) => done(ok ? undefined : failed('this copy did not catch up in time')));
    });
  }

  subscribe(shard: string, feed: Feed): () => void {
    const held = this.#held.get(shard);
    if (held === undefined) throw new Error(`shard ${shard} is not held by this node`);
    return held.state.subscribe(feed);
  }

  coreShard(shard: string): CoreShard | undefined {
    return this.#held.get(shard)?.core;
  }

  replica(shard: string): Replica | undefined {
    return this.#held.get(shard)?.replica;
  }

  shardState(shard: string): ShardState | undefined {
    return this.#held.get(shard)?.state;
  }

  get pendingWrites(): number {
    let n = 0;
    for (const p of this.#proposers.values()) n += p.pending;
    return n;
  }

  status(): readonly ShardStatus[] {
    const name = (id: string): string => (id === this.nodeId ? this.#o.links.self.name : (this.#o.links.peer(id)?.name ?? id));
    return shardsStatus(this.#schemas.values(), this.#held, name, (streams) => this.#upstreams.weight(streams));
  }

  /** Refuses everything that waits, then closes the stores. */
  close(done: () => void): void {
    this.#closed = true;
    this.#ticker.stop();
    this.#scrubber.stop();
    this.#leases.close();
    this.#reads.close();
    for (const p of this.#proposers.values()) p.close();
    let missing = this.#held.size;
    for (const h of this.#held.values()) {
      h.core?.close();
      h.replica?.close();
      h.waits.close();
      h.state.close(() => {
        if (--missing === 0) done();
      });
    }
    if (this.#held.size === 0) done();
  }
}
