// Driver of one shard's replica on this node: performs what the replica machine decides. Chooses a core, feeds chunks into a
// new generation and entries into the copy in service or under construction, swaps, acknowledges. On a replicant for all its
// life; on a core only while it falls back to a copy of the leader's tables (snapshot).
import { emptyBytes } from '#base/bytes.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { TableStore } from '#env/tables.js';
import type { Links } from '#link/api.js';
import type { ReplicaShardStatus, ShardSchema } from './api.js';
import { type Aside, copyPlace, type OneCopy, without } from './aside.js';
import type { DbBounds } from './bounds.js';
import { HeldLease } from './lease.js';
import type { LeaseGrant, LeaseRequest } from './lease-codec.js';
import type { LeaseParty } from './leases.js';
import { Relay } from './relay.js';
import { ReplicaAcks } from './replica-acks.js';
import { type ReplicaEffect, type ReplicaInput, ReplicaMachine } from './replica-machine.js';
import { ReplicaStats } from './replica-stats.js';
import { type CopyPlace, encodeRlog, entriesBytes, type RlogMessage, rowsBytes } from './rlog-codec.js';
import { type OpenGeneration, ShardState } from './shard-state.js';
import { lapseCounter } from './visibility.js';

/** Where new generations come from (store/generations on a real node). */
export interface GenerationMaker {
  /** An empty store beside the current one. */
  create(): OpenGeneration;
  /** Durably names the generation current; `done` then. */
  makeCurrent(generation: number, done: (error: Error | undefined) => void): void;
  /** Deletes a generation that is not current, its store closed. */
  discard(generation: number, store: TableStore): void;
}

export interface ReplicaOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly schema: ShardSchema;
  readonly generations: GenerationMaker;
  /** A connected core, the best; `not` is the one that just failed, `index` where the tables stand that are there. */
  readonly chooseCore: (shard: string, not: string | undefined, index: number | undefined, chosen: (core: string | undefined) => void) => void;
  /** Calls `move` when another core than `current` would be better and has what follows `index`. */
  readonly betterCore: (shard: string, current: string, index: number, move: (to: string) => void) => void;
  readonly onState: (state: string) => void;
  /** After a swap or start of service. */
  readonly onInService: () => void;
  /** Leases are to be asked for at the end of the turn. */
  readonly askForLeases: () => void;
  /** This replicant feeds others. */
  readonly relay: boolean;
  /** Set on a core that only needs one copy, which holds no lease and ends when it is done. */
  readonly once?: OneCopy;
}

export class Replica implements LeaseParty {
  readonly #o: ReplicaOptions;
  readonly #machine: ReplicaMachine = new ReplicaMachine();
  readonly #state: ShardState;
  /** Set when this replicant feeds others. */
  readonly relay: Relay | undefined;
  #aside: Aside | undefined;
  readonly #lease: HeldLease = new HeldLease();
  readonly #lapsed: () => void;
  /** What the node above was told of as seen. */
  #reported = 0;
  /** When this copy was in service last; when another node was looked for because it was not; when a stream was asked for. */
  #servedAt = 0;
  #triedAt = 0;
  #askedAt = 0;
  /** When to look for a better core. */
  #lookAt = 0;
  #timer: Timer | undefined;
  readonly #acks: ReplicaAcks;
  #closed = false;
  readonly #stats: ReplicaStats;
  /** The stream that was opened with the place of the copy before. */
  #swappedIn = 0;
  /** Of one copy: it has to go further before it ends; it has ended and waits. */
  #endsLater = false;
  #waiting: (() => void) | undefined;

  constructor(options: ReplicaOptions, state: ShardState) {
    this.#o = options;
    this.#state = state;
    this.#machine.applied = state.appliedIndex;
    this.#servedAt = options.env.clock.now();
    const { env, links, bounds } = options;
    this.#stats = new ReplicaStats(env.clock);
    this.#acks = this.#makeAcks();
    this.#lapsed = lapseCounter(env, options.schema.name);
    this.relay = !options.relay
      ? undefined
      : new Relay({
          env,
          links,
          bounds,
          state,
          ready: () => this.inService,
          leaseUntil: () => (this.#machine.state === 'normal' ? this.#lease.until(state.appliedIndex) : Number.NEGATIVE_INFINITY),
          leaseFloor: () => Math.max(this.#reported, this.#lease.floor),
          onVisible: () => this.#acks.later(),
        });
  }

  /** `force`: copy the tables whatever this node has. */
  start(force: boolean = false): void {
    if (force) this.#machine.forceBootstrap();
    this.#step({ type: 'start' });
  }

  /** A row of the copy in service is damaged: another copy is made. */
  damaged(why: string): void {
    if (this.#closed) return;
    this.#step({ type: 'damaged', why: `damaged tables: ${why}` });
  }

  /** Of one copy: what it waits for may have come. */
  lookAgain(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) waiting();
    else if (this.#endsLater) this.#swap();
  }

  /** It holds a lease: whatever is reported effective has been seen here. */
  get inService(): boolean {
    return this.#machine.state === 'normal' && this.#lease.until(this.#state.appliedIndex) > this.#o.env.clock.now();
  }

  // ---- its lease ----

  leaseRequests(ask: (of: string, request: LeaseRequest) => void): void {
    const { upstream, stream, asking } = this.#machine;
    if (this.#closed || upstream === undefined || !asking) return;
    const visible = this.#visible();
    this.#acks.told(visible);
    ask(upstream, { shard: this.#o.schema.name, kind: 'stream', n: stream, visible });
  }

  judgeLease(from: string, r: LeaseRequest, round: number): LeaseGrant | undefined {
    return r.kind === 'stream' ? this.relay?.server.judgeLease(from, r, round) : undefined;
  }

  leaseExtensions(grant: (to: string, round: number, grant: LeaseGrant) => void): void {
    this.relay?.server.leaseExtensions(grant);
  }

  /** Seen by the feeds here and by all that hold a lease of this relay. Never taken back. */
  #visible(): number {
    const below = this.relay?.server.visibleOfHolders() ?? Number.POSITIVE_INFINITY;
    this.#reported = Math.max(this.#reported, Math.min(this.#state.appliedIndex, below));
    return this.#reported;
  }

  leaseGranted(from: string, g: LeaseGrant, sentAt: number): void {
    const { upstream, stream, asking } = this.#machine;
    if (this.#closed || from !== upstream || g.n !== stream || !asking) return;
    this.#lease.take(sentAt, g.ms, g.floor);
    this.#lookAtLease();
  }

  #lookAtLease(): void {
    const held = this.#lease.until(this.#state.appliedIndex) > this.#o.env.clock.now();
    const serves = this.#machine.state === 'normal';
    if (held === serves) return;
    if (serves) this.#lapsed();
    this.#step({ type: held ? 'leased' : 'lapsed' });
  }

  tick(): void {
    if (this.#closed) return;
    this.#lookAtLease();
    this.#lookForBetter();
    if (this.relay === undefined) return;
    this.relay.tick(this.#machine.upstream !== undefined);
    // A lease that it granted may have run out.
    if (this.relay.server.streams > 0) this.#acks.later();
  }

  /** Fed by a node that is silent, or for long by one that grants no lease: it may be out of its group itself. */
  #leaveUseless(now: number, upstream: string, stream: number): void {
    const { lateMs, coreSilentMs } = this.#o.bounds;
    const silent = now - (this.#o.links.lastHeardAt(upstream) ?? now) > coreSilentMs;
    if (silent ? now - this.#triedAt < coreSilentMs : now - Math.max(this.#servedAt, this.#triedAt) < 2 * lateMs) return;
    this.#triedAt = now;
    this.#o.chooseCore(this.#o.schema.name, upstream, this.#state.queuedIndex, (to) => {
      if (this.#closed || to === undefined || this.#machine.stream !== stream || this.inService) return;
      this.#step({ type: 'move', to });
    });
  }

  #lookForBetter(): void {
    const now = this.#o.env.clock.now();
    const { upstream, stream } = this.#machine;
    if (this.inService) this.#servedAt = now;
    if (this.#machine.opening && now - this.#askedAt >= 2 * this.#o.bounds.lateMs) return this.#step({ type: 'unanswered' });
    if (upstream === undefined || this.#machine.bootstrapping || this.#o.once !== undefined) return;
    if (!this.inService) return this.#leaveUseless(now, upstream, stream);
    if (now < this.#lookAt) return;
    this.#lookAt = now + this.#o.bounds.rebalanceMs * (0.5 + this.#o.env.random.next());
    this.#o.betterCore(this.#o.schema.name, upstream, this.#state.queuedIndex, (to) => {
      if (this.#closed || this.#machine.stream !== stream || !this.inService) return;
      this.#stats.moves++;
      this.#step({ type: 'move', to });
    });
  }

  get upstream(): string | undefined {
    return this.#machine.upstream;
  }

  /** From the lane. */
  receive(from: { readonly nodeId: string; readonly name: string; readonly role: string }, message: RlogMessage): void {
    if (this.#closed) return;
    const { relay } = this;
    if (message.type === 'open' || message.type === 'ack' || (message.type === 'close' && relay?.server.serves(from.nodeId) === true))
      return relay?.server.receive(from, message);
    if (message.type === 'wanted') return this.#wantedBy(from.nodeId, message.index);
    this.#step({ type: 'message', from: from.nodeId, message });
  }

  #wantedBy(from: string, index: number): void {
    if (from === this.#machine.upstream && this.#acks.want(index)) this.relay?.server.want(index);
  }

  peerDown(nodeId: string): void {
    if (this.#closed) return;
    this.relay?.server.peerDown(nodeId);
    this.#step({ type: 'core-down', core: nodeId });
  }

  /** The copy in service applied a batch (told by its owner). */
  applied(index: number): void {
    if (this.#closed || this.#machine.bootstrapping) return;
    this.#acks.later();
    this.#noteLag();
    this.#step({ type: 'applied', index });
    this.#lookAtLease();
  }

  #step(input: ReplicaInput): void {
    const effects: ReplicaEffect[] = [];
    this.#machine.step(input, effects);
    for (const e of effects) {
      if (this.#closed) return;
      this.#perform(e);
    }
  }

  #perform(e: ReplicaEffect): void {
    const { links, schema } = this.#o;
    switch (e.type) {
      case 'choose-core':
        return this.#choose(e.delayMs, e.not);
      case 'open': {
        this.#askedAt = this.#o.env.clock.now();
        const p = this.#state.position;
        this.#acks.opened();
        const open = {
          type: 'open',
          shard: schema.name,
          stream: e.stream,
          historyId: p.historyId,
          appliedIndex: this.#state.queuedIndex,
          force: e.force,
          copy: this.#copyPlace(),
        } as const;
        // What is queued but not applied yet counts as had: it will be applied before anything that follows.
        const sent = links.send(
          e.core,
          'rlog',
          encodeRlog({ ...open, appliedTerm: this.#state.queuedTerm }, links.speaks(e.core, 'continuedCopies')),
        );
        // The link went down while the cores were compared: nobody will tell of it again.
        if (sent !== 'sent') this.#step({ type: 'core-down', core: e.core });
        return;
      }
      case 'close':
        links.send(e.core, 'rlog', encodeRlog({ type: 'close', shard: schema.name, stream: e.stream, why: e.why }));
        return;
      case 'begin-bootstrap':
        return this.#beginBootstrap(e.rows);
      case 'drop-bootstrap':
        this.#dropAside();
        return this.#step({ type: 'applied', index: this.#state.appliedIndex });
      case 'write-chunk':
        return this.#writeChunk(e.message);
      case 'enqueue':
        return this.#enqueue(e.message);
      case 'swap':
        return this.#swap();
      case 'ask-lease':
        this.#acks.now();
        this.#o.askForLeases();
        this.#stats.inStep();
        return;
      case 'state':
        if (e.state === 'disconnected' || e.state === 'bootstrap') this.#lease.drop();
        this.#o.onState(e.state);
        if (e.state === 'normal') this.#o.onInService();
        if (e.state === 'disconnected') this.#lookAt = this.#o.env.clock.now() + this.#o.bounds.rebalanceMs * (0.5 + this.#o.env.random.next());
        return;
    }
  }

  #choose(delayMs: number, not: string | undefined): void {
    this.#timer?.cancel();
    const choose = (): void => {
      this.#timer = undefined;
      const index = this.#state.position.historyId === '' || this.#aside !== undefined ? undefined : this.#state.queuedIndex;
      this.#o.chooseCore(this.#o.schema.name, not, index, (core) => {
        if (this.#closed) return;
        this.#step(core === undefined ? { type: 'no-core' } : { type: 'chosen', core });
      });
    };
    this.#timer = this.#o.env.clock.setTimer(delayMs === 0 ? 0 : delayMs * (0.5 + this.#o.env.random.next()), choose);
  }

  #beginBootstrap(rows: number): void {
    this.#dropAside();
    this.relay?.reset();
    this.#acks.noneEarly();
    this.#stats.bootstrapBegins(rows);
    this.#aside = { opened: this.#o.generations.create(), state: undefined, early: [], key: undefined };
  }

  #copyPlace(): CopyPlace | undefined {
    this.#acks.noneEarly();
    return this.#aside === undefined ? undefined : copyPlace(this.#aside, this.#machine.lastStamp);
  }

  #dropAside(): void {
    const aside = this.#aside;
    this.#aside = undefined;
    this.#endsLater = false;
    this.#waiting = undefined;
    if (aside === undefined) return;
    // What is queued for it must not reach the store any more.
    aside.state?.detach();
    this.#o.generations.discard(aside.opened.number, aside.opened.store);
  }

  #writeChunk(m: Extract<RlogMessage, { type: 'chunk' }>): void {
    const aside = this.#aside;
    if (aside === undefined) return;
    const bytes = rowsBytes(m.rows);
    this.#stats.copied(m.rows.length, bytes);
    const { stream } = this.#machine;
    aside.opened.store.write(m.rows, (error) => {
      if (aside !== this.#aside || this.#closed) return;
      if (error !== undefined) return this.#step({ type: 'failed', why: error.message });
      // The next core was told of a copy without these rows: they come again.
      if (stream !== this.#machine.stream) return;
      this.#acks.took(bytes);
      const lastKey = m.rows[m.rows.length - 1]?.key;
      if (lastKey !== undefined) aside.key = lastKey[0] === 0 ? emptyBytes : lastKey;
      if (!m.last) return;
      // Built from the rows just written: position, live incarnations and streams of the first stamp.
      aside.state = new ShardState(
        {
          env: this.#o.env,
          schema: this.#o.schema,
          bounds: this.#o.bounds,
          onApplied: (index) => {
            if (aside !== this.#aside) return;
            this.#acks.later();
            this.#step({ type: 'applied', index });
            if (this.#endsLater) this.#swap();
          },
          onFailure: (e) => this.#step({ type: 'failed', why: e.message }),
          onDamage: (e) => {
            this.#o.env.clock.setTimer(0, () => {
              if (aside === this.#aside) this.#step({ type: 'failed', why: e.message });
            });
          },
        },
        aside.opened,
      );
      this.#acks.noneEarly();
      aside.state.enqueue(aside.early);
      this.#step({ type: 'chunks-written' });
      this.#step({ type: 'applied', index: aside.state.appliedIndex });
    });
  }

  #enqueue(m: Extract<RlogMessage, { type: 'entries' }>): void {
    this.#stats.committedTransactions = m.committedTransactions;
    const first = m.entries[0];
    if (first !== undefined && this.#aside !== undefined && this.#aside.state === undefined) {
      // The last chunk is still being written; the core's credit bounds what can come meanwhile.
      this.#aside.early.push(...m.entries);
      this.#acks.took(entriesBytes(m.entries), true);
    } else if (first !== undefined) {
      const into = this.#aside?.state ?? this.#state;
      if (first.index <= into.queuedIndex && this.#machine.stream === this.#swappedIn) {
        this.#acks.took(entriesBytes(m.entries.filter((e) => e.index <= into.queuedIndex)));
        return this.#enqueue(without(m, into.queuedIndex));
      }
      if (first.index !== into.queuedIndex + 1) return this.#step({ type: 'failed', why: `entry ${first.index} after ${into.queuedIndex}` });
      into.enqueue(m.entries);
      this.#acks.took(entriesBytes(m.entries));
    }
    if (this.#aside === undefined) this.relay?.received(m.entries, m.committedTransactions);
    this.#noteLag();
  }

  #noteLag(): void {
    this.#stats.noteLag(this.#state.appliedIndex < this.#machine.commitIndex);
  }

  #swap(): void {
    const aside = this.#aside;
    const built = aside?.state;
    if (aside === undefined || built === undefined) return;
    this.#endsLater = this.#o.once?.reaches(built.appliedIndex) === false;
    if (!this.#endsLater) built.pause(() => this.#putInService(aside, built));
  }

  #putInService(aside: Aside, built: ShardState): void {
    if (aside !== this.#aside || this.#closed) return;
    if (this.#o.once?.fits(built.appliedIndex) === false) {
      this.#waiting = () => this.#putInService(aside, built);
      return;
    }
    built.store.flushed((error) => {
      if (aside !== this.#aside || this.#closed) return;
      if (error !== undefined) return this.#step({ type: 'failed', why: error.message });
      this.#o.generations.makeCurrent(aside.opened.number, (failure) => {
        if (aside !== this.#aside || this.#closed) return;
        if (failure !== undefined) this.#step({ type: 'failed', why: failure.message });
        else this.#exchange(aside, built);
      });
    });
  }

  #exchange(aside: Aside, built: ShardState): void {
    this.#aside = undefined;
    this.#swappedIn = this.#machine.stream;
    const oldNumber = this.#state.generation;
    const rest = built.detach();
    this.#stats.bootstrapEnds();
    this.#machine.applied = built.appliedIndex; // counts as in service from here on
    const old = this.#state.swap(aside.opened, built.cursor);
    this.#o.generations.discard(oldNumber, old);
    if (this.#o.once !== undefined) {
      const core = this.#machine.upstream;
      if (core !== undefined) this.#perform({ type: 'close', core, stream: this.#machine.stream, why: 'copied' });
      this.close();
      return this.#o.once.swapped();
    }
    this.relay?.reset();
    // First what is queued: a stream that is asked for anew begins behind it.
    this.#state.enqueue(rest);
    this.relay?.received(rest, this.#stats.committedTransactions);
    this.#step({ type: 'swapped' });
    // The old copy was behind; in a quiet shard nothing else would say that the new one is not.
    this.#noteLag();
  }

  #makeAcks(): ReplicaAcks {
    const { env, bounds, links, schema } = this.#o;
    const machine = this.#machine;
    return new ReplicaAcks({
      clock: env.clock,
      creditBytes: bounds.replicaCreditBytes,
      atOnce: () => machine.bootstrapping || !machine.asking || !links.speaks(machine.upstream ?? '', 'wantedReports'),
      // What still waits in the old copy is none of the stream's bytes.
      queuedBytes: () => (this.#aside === undefined ? this.#state.queuedBytes : (this.#aside.state?.queuedBytes ?? 0)),
      visible: () => (machine.bootstrapping ? 0 : this.#visible()),
      send: (visible, bytes) => {
        const { upstream, stream } = machine;
        if (upstream !== undefined) links.send(upstream, 'rlog', encodeRlog({ type: 'ack', shard: schema.name, stream, visible, bytes }));
      },
    });
  }

  status(upstreamName: (nodeId: string) => string | undefined): ReplicaShardStatus {
    const { upstream } = this.#machine;
    return this.#stats.status(this.#machine, this.#state, this.#aside?.state ?? this.#state, this.#aside !== undefined, {
      upstream: upstream === undefined ? undefined : (upstreamName(upstream) ?? upstream),
      replicants: this.relay?.server.replicants() ?? [],
    });
  }

  /** Ends the stream for good: the core must not wait for this copy any more. */
  leave(why: string): void {
    const core = this.#machine.upstream;
    this.#lease.drop();
    if (core !== undefined) this.#perform({ type: 'close', core, stream: this.#machine.stream, why });
    this.close();
  }

  close(): void {
    this.#closed = true;
    this.#acks.close();
    this.#lease.drop();
    this.relay?.close();
    this.#timer?.cancel();
    this.#dropAside();
  }
}
