// A shard on a core: drives the Raft machine over the write-ahead log and the links, hands
// committed entries to the tables, makes a ShardLeader while this node leads, falls back to a copy
// of the leader's tables when the log does not reach, and compacts the log.
//
// Invariants: effects are performed in order; tables get only entries that are committed and on
// this node's own disk (`applyTo`).
import { utf8Encode } from '#base/utf8.js';
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import { decodeConfig, encodeConfig } from '#raft/codec.js';
import { Raft } from '#raft/raft.js';
import type { ChangeConfigResult, ConfigChange, RaftEffect, RaftInput, RaftMessage, RaftOptions } from '#raft/types.js';
import type { LogEntry, WalError, WalShard } from '#store/types.js';
import type { DbBounds } from './bounds.js';
import { CommitNews } from './commit-news.js';
import { CoreCopy } from './core-copy.js';
import { CoreSource, logSource, toApplied } from './core-source.js';
import { leadMs } from './lease.js';
import type { LeaseGrant, LeaseRequest } from './lease-codec.js';
import type { LeaseParty } from './leases.js';
import { LogKeeper } from './log-keeper.js';
import type { RaftTransport } from './raft-transport.js';
import type { GenerationMaker, ReplicaOptions } from './replica.js';
import type { RlogMessage } from './rlog-codec.js';
import { RlogServer } from './rlog-server.js';
import { ShardLeader } from './shard-leader.js';
import type { ShardState } from './shard-state.js';
import { lapseCounter, lateCounter, Visibility } from './visibility.js';

export type RaftTimings = Partial<
  Pick<
    RaftOptions,
    | 'heartbeatMs'
    | 'electionTimeoutMinMs'
    | 'electionTimeoutMaxMs'
    | 'lostLeaderDelayMinMs'
    | 'lostLeaderDelayMaxMs'
    | 'messageBytesMax'
    | 'inflightMessagesMax'
    | 'memoryBytesMax'
  >
>;

export interface CoreShardOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly nodeId: string;
  readonly historyId: string;
  readonly state: ShardState;
  readonly wal: WalShard;
  readonly transport: RaftTransport;
  readonly generations: GenerationMaker;
  readonly timings: RaftTimings;
  /** Leader known or changed; leadership of this node ready or lost. */
  readonly onLeadership: (shard: CoreShard) => void;
  readonly onFatal: (error: Error) => void;
  /** Leases are to be asked for at the end of the turn. */
  readonly askForLeases: () => void;
  /** Whose tables to copy, if this core needs some. */
  readonly chooseCore: ReplicaOptions['chooseCore'];
}

export class CoreShard implements LeaseParty {
  readonly shard: string;
  readonly state: ShardState;
  readonly source: CoreSource;
  readonly server: RlogServer;
  readonly #o: CoreShardOptions;
  readonly #raft: Raft;
  readonly #wal: WalShard;
  readonly #keeper: LogKeeper;
  #leader: ShardLeader | undefined;
  readonly #copy: CoreCopy;
  readonly #news: CommitNews;
  #stepping = false;
  readonly #inputs: RaftInput[] = [];
  #closed = false;
  #reads: Map<number, (index: number | undefined) => void> = new Map();
  #readToken = 0;
  readonly #visibility: Visibility;
  /** The next leader is chosen by this one. */
  #handingOn = false;
  /** When this core handed leadership on because its tables lagged, or had to be copied. */
  gaveUpAt: number = Number.NEGATIVE_INFINITY;
  elections = 0;
  leaderChanges = 0;

  constructor(options: CoreShardOptions) {
    this.#o = options;
    this.shard = options.state.schema.name;
    this.state = options.state;
    this.#wal = options.wal;
    this.#keeper = new LogKeeper(options.env.clock, options.bounds);
    this.#visibility = new Visibility({
      shard: this.shard,
      nodeId: options.nodeId,
      links: options.links,
      handsDown: options.state.schema.replicate === 'all',
      transport: options.transport,
      raft: () => this.#raft,
      leader: () => this.leader,
      clock: options.env.clock,
      bounds: options.bounds,
      applied: () => this.state.appliedIndex,
      visibleHere: () => this.visibleHere,
      copying: () => this.#copy.active,
      ...(options.wal.lastIndex > 0 ? { silentUntil: options.env.clock.now() + leadMs(options.bounds.leaseMs) } : {}),
      askNow: options.askForLeases,
      onLate: lateCounter(options.env, this.shard),
      onLapse: lapseCounter(options.env, this.shard),
    });
    const { transport, env, bounds } = options;
    this.#news = new CommitNews(
      env.clock,
      bounds.commitNewsMs,
      () => this.#leader?.logged ?? 0,
      (to, message) => transport.send(to, this.shard, message),
    );
    const wal = options.wal;
    this.#raft = new Raft(
      {
        ...options.timings,
        alignHeartbeats: true,
        id: options.nodeId,
        random: () => options.env.random.next(),
        source: logSource(wal),
        recovering: wal.damage === undefined ? 0 : 1 + options.env.random.int(2 ** 31),
      },
      {
        hardState: wal.hardState,
        base: { index: wal.base.index, term: wal.base.term },
        baseConfig: decodeConfig(wal.base.config),
        last: { index: wal.lastIndex, term: wal.lastTerm },
        commitIndex: Math.max(wal.base.index, Math.min(options.state.appliedIndex, wal.lastIndex)),
      },
      options.env.clock.now(),
    );
    this.source = new CoreSource(options.historyId, this.#raft, wal, options.state, this);
    this.server = new RlogServer(options.env, options.links, options.bounds, this.source, () => this.#visibleMoved());
    if (wal.lastIndex > 0) this.server.mindForgotten();
    this.#copy = new CoreCopy({
      ...options,
      log: () => this.#raft,
      installed: (base) => {
        this.step({ type: 'snapshotInstalled', index: base.index, term: base.term, config: decodeConfig(base.config) });
        options.askForLeases();
      },
      repaired: () => {
        this.#applyMore();
        options.askForLeases();
      },
      failed: (error) => this.#fail(error),
    });
  }

  // ---- the machine ----

  get nodeId(): string {
    return this.#o.nodeId;
  }

  get raft(): Raft {
    return this.#raft;
  }

  get leader(): ShardLeader | undefined {
    return this.#leader?.closed === false ? this.#leader : undefined;
  }

  step(input: RaftInput): void {
    if (this.#closed) return;
    // Performing an effect may lead to an input (a group of one, a local callback): one after the other.
    this.#inputs.push(input);
    if (this.#stepping) return;
    this.#stepping = true;
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
      const effects: RaftEffect[] = [];
      this.#raft.step(next, this.#o.env.clock.now(), effects);
      if (this.#raft.role === 'leader') this.#handingOn = this.#raft.transferee !== '';
      this.#performAll(effects);
    }
    this.#stepping = false;
  }

  tick(): void {
    if (this.#closed) return;
    const due = this.#raft.nextTimerAt;
    // Who does not campaign has no timer, but should know when nobody leads it any more.
    if (due <= this.#o.env.clock.now() || (due === Number.POSITIVE_INFINITY && this.#raft.leader !== '')) this.step({ type: 'tick' });
    this.#maybeLead();
    // A lease may have run out.
    this.#visibility.look();
    this.#visibleMoved();
    this.#handOverIfBehind();
    this.#copy.tick();
    this.#keeper.maybeCompact(this.#wal, this.state, this.server.oldestNeeded(), (index) => this.#compact(index));
  }

  #performAll(effects: readonly RaftEffect[]): void {
    for (const e of effects) {
      if (this.#closed) return;
      this.#perform(e);
    }
  }

  #perform(e: RaftEffect): void {
    switch (e.type) {
      case 'persist':
        return this.#persist(e);
      case 'send':
        return this.#news.send(e.to, e.message);
      case 'commit':
        this.leader?.committed(e.index);
        this.#applyMore();
        this.server.committed();
        return;
      case 'role':
        return this.#role(e.role, e.leader);
      case 'readable':
      case 'readFailed': {
        const done = this.#reads.get(e.token);
        this.#reads.delete(e.token);
        done?.(e.type === 'readable' ? e.index : undefined);
        return;
      }
      case 'needSnapshot':
        this.server.expectCopy(e.to);
        return;
      case 'installSnapshot':
        return this.#copyFrom('the log does not reach back', e.from);
      case 'recovered':
        this.#wal.clearDamage();
        return;
      case 'config':
        this.#o.askForLeases();
        return;
      case 'proposalsDropped':
        return;
    }
  }

  #persist(e: Extract<RaftEffect, { type: 'persist' }>): void {
    const first = e.entries[0];
    const entries: readonly LogEntry[] = e.entries;
    this.#wal.append(
      {
        ...(e.hardState === undefined ? {} : { hardState: e.hardState }),
        ...(first !== undefined && first.index <= this.#wal.lastIndex ? { truncateFrom: first.index } : {}),
        entries,
      },
      (error: WalError | undefined) => {
        if (error !== undefined) return this.#fail(error);
        this.step({ type: 'persisted', id: e.id });
      },
    );
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#o.onFatal(error);
  }

  #role(role: string, leader: string): void {
    if (role === 'preCandidate') this.elections++;
    if (leader !== '') this.leaderChanges++;
    if (role !== 'leader' && this.#leader !== undefined) {
      this.#leader.close(leader === '' ? undefined : utf8Encode(leader), this.#handingOn);
      this.#leader = undefined;
    }
    this.#handingOn = false;
    this.#visibility.roleChanged();
    this.#o.onLeadership(this);
  }

  /** Leads once its no-op and everything before it are in the tables. */
  #maybeLead(): void {
    if (this.#raft.role !== 'leader' || this.leader !== undefined || this.#raft.transferee !== '' || this.#copy.active) return;
    const { appliedIndex } = this.state;
    if (appliedIndex < this.#raft.termStartIndex || appliedIndex !== this.#raft.lastIndex || !this.state.idle) return;
    const { env, bounds } = this.#o;
    this.#leader = new ShardLeader({
      env,
      bounds,
      state: this.state,
      append: (data) => this.#append(data),
      nextIndex: () => this.#raft.lastIndex + 1,
      commitIndex: () => this.#raft.commitIndex,
      wanted: (index) => {
        this.#visibility.want(index);
        this.server.want(index);
      },
    });
    this.#visibleMoved();
    this.#o.onLeadership(this);
  }

  /** One node more or less, or of another kind, in this shard's group; the machine refuses what it must. */
  changeConfig(change: ConfigChange): ChangeConfigResult {
    const effects: RaftEffect[] = [];
    const result = this.#raft.changeConfig(change, this.#o.env.clock.now(), effects);
    this.#performAll(effects);
    return result;
  }

  #append(data: Uint8Array): number | undefined {
    const effects: RaftEffect[] = [];
    const result = this.#raft.propose([data], this.#o.env.clock.now(), effects);
    this.#performAll(effects);
    return result.ok ? result.index : undefined;
  }

  /** A leader whose tables trail far behind would judge slowly and keep a large overlay, and one that copies them cannot judge: another one should lead. */
  #handOverIfBehind(): void {
    if (this.#raft.role !== 'leader') return;
    if (!this.#copy.active && this.#raft.commitIndex - this.state.appliedIndex <= this.#o.bounds.leaderApplyLagMax) return;
    this.gaveUpAt = this.#o.env.clock.now();
    let best: string | undefined;
    let match = 0;
    for (const f of this.#raft.followers()) if (f.voter && f.matchIndex > match) [best, match] = [f.id, f.matchIndex];
    if (best !== undefined) this.step({ type: 'transferLeader', to: best });
  }

  // ---- apply ----

  #applyMore(): void {
    if (this.#copy.active) return;
    const { bounds } = this.#o;
    const to = this.#raft.applyTo;
    while (this.state.queuedIndex < to && this.state.queuedBytes < bounds.applyQueueBytesMax) {
      const entries = this.#raft.entries(this.state.queuedIndex + 1, to + 1, bounds.batchBytesMax);
      if (entries === undefined || entries.length === 0) break;
      this.state.enqueue(entries.map(toApplied));
    }
  }

  /** Told by the owner of the shard's state after each batch. */
  applied(index: number): void {
    if (this.#closed) return;
    this.leader?.applied(index);
    this.#applyMore();
    this.#maybeLead();
    this.#visibleMoved();
  }

  // ---- visible and effective ----

  /** Seen by this core's feeds and by all that hold a lease of it. */
  get visibleHere(): number {
    return Math.min(this.state.appliedIndex, this.server.visibleOfHolders());
  }

  #visibleMoved(): void {
    if (!this.#closed) this.#visibility.moved();
  }

  visibleReport(from: string, index: number): void {
    this.#visibility.report(from, index);
  }

  reportWanted(from: string, index: number): void {
    if (from !== this.#raft.leader) return;
    this.server.want(index);
    this.#visibility.wanted(index);
  }

  get caughtUp(): boolean {
    return this.#visibility.caughtUp;
  }

  /** It holds a lease: whatever is reported effective has been seen here. */
  get inService(): boolean {
    return this.#visibility.inService;
  }

  get visibility(): Visibility {
    return this.#visibility;
  }

  get leaseUntil(): number {
    return this.#visibility.until;
  }

  get leaseFloor(): number {
    return this.#visibility.floor;
  }

  /** When the next lease that this core granted runs out, if it is not renewed. */
  get nextLapseAt(): number {
    return Math.min(this.#visibility.nextLapseAt, this.server.nextLapseAt());
  }

  leaseRequests(ask: (of: string, request: LeaseRequest) => void): void {
    if (!this.#closed) this.#visibility.requests(ask);
  }

  judgeLease(from: string, r: LeaseRequest, round: number): LeaseGrant | undefined {
    return r.kind === 'stream' ? this.server.judgeLease(from, r, round) : this.#visibility.judge(from, r, round);
  }

  leaseExtensions(grant: (to: string, round: number, grant: LeaseGrant) => void): void {
    if (this.#closed) return;
    this.#visibility.extensions(grant);
    this.server.leaseExtensions(grant);
  }

  leaseGranted(from: string, grant: LeaseGrant, sentAt: number): void {
    this.#visibility.granted(from, grant, sentAt);
  }

  // ---- peers ----

  raftMessage(from: string, message: RaftMessage): void {
    this.step({ type: 'message', from, message });
  }

  peerUp(nodeId: string): void {
    this.step({ type: 'peerReachable', peer: nodeId });
    this.#visibility.peerUp();
  }

  peerDown(nodeId: string): void {
    this.step({ type: 'peerUnreachable', peer: nodeId });
    this.server.peerDown(nodeId);
    this.#copy.peerDown(nodeId);
    this.#visibleMoved();
  }

  peerDead(nodeId: string): void {
    this.step({ type: 'peerLost', peer: nodeId });
  }

  rlogMessage(from: { readonly nodeId: string; readonly name: string; readonly role: string }, m: RlogMessage): void {
    const towardsServer = m.type === 'open' || m.type === 'ack';
    if (towardsServer) this.server.receive(from, m);
    else if (m.type === 'close' && this.server.serves(from.nodeId)) {
      const copied = m.why === 'copied';
      this.server.receive(from, m);
      this.step({ type: 'snapshotStatus', to: from.nodeId, ok: copied });
    } else this.#copy.receive(from, m);
  }

  // ---- reads ----

  /** Index that a linearizable read must wait for; undefined when this node does not lead. */
  readIndex(done: (index: number | undefined) => void): void {
    const token = ++this.#readToken;
    this.#reads.set(token, done);
    this.step({ type: 'readIndex', token });
  }

  // ---- copy of another core's tables ----

  /** The tables here are damaged, or gone; the log is whole. */
  repair(why: string): void {
    const { voters } = this.#raft.config;
    if (voters.length === 1 && voters[0] === this.#o.nodeId)
      return this.#fail(new Error(`the tables of shard ${this.shard} are damaged (${why}), and no other core has a copy`));
    this.#copyFrom(`damaged: ${why}`, undefined);
  }

  #copyFrom(why: string, from: string | undefined): void {
    // One that was begun for another reason serves this one as well.
    if (this.#copy.active) return;
    this.#leader?.close(undefined);
    this.#leader = undefined;
    this.#copy.begin(why, from);
    // Whoever follows this core would stand still.
    this.server.dismiss('this core is copying tables itself');
    this.#visibility.left();
    this.#copy.start();
  }

  // ---- log ----

  #compact(index: number): void {
    const term = this.#raft.termOf(index);
    if (term === undefined || index <= this.#wal.base.index || index > this.state.appliedIndex) return;
    const { historyId } = this.state.position;
    // Of that very index: the tables may be further, and the log's last one need not be committed.
    const config = encodeConfig(this.#raft.configAt(index));
    // The machine first, while it can still read the term there: until the log's own step is durable it may move further.
    this.step({ type: 'compacted', index });
    this.#wal.compact({ index, term, config, historyId, generation: this.state.generation }, (error) => {
      if (error !== undefined) this.#fail(error);
    });
  }

  close(): void {
    this.#closed = true;
    this.#leader?.close(undefined);
    this.#copy.close();
    this.#news.close();
    this.server.close();
    for (const done of this.#reads.values()) done(undefined);
    this.#reads.clear();
  }
}
