// One simulated core: the machine, its storage, its tables (a state that is only a hash), and the thin
// driver between them. world.ts owns time, network and faults, and calls in; effects go out through Host.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Prng } from '#base/prng.js';
import { decodeConfig, decodeMessage, encodeMessage } from '#raft/codec.js';
import { Raft } from '#raft/raft.js';
import type { NodeId, ProposeResult, RaftConfig, RaftEffect, RaftInput, RaftMessage, RaftOptions } from '#raft/types.js';
import { type Checkers, hashEntry } from './checkers.js';
import type { Faults } from './faults.js';
import { SimStorage } from './storage.js';

/** What apply has made, as tables would hold it. */
export interface Tables {
  readonly index: number;
  readonly term: number;
  readonly hash: number;
  readonly config: RaftConfig;
}

/** What a node asks of the world. */
export interface Host {
  readonly checkers: Checkers;
  /** No faults now. */
  readonly calm: boolean;
  send(from: SimNode, to: NodeId, message: RaftMessage): void;
  /** Calls `syncDone` later. */
  scheduleSync(node: SimNode): void;
  /** A copy of the tables at or above `index` is wanted: `offer` or `snapshotAborted` follow. */
  wantSnapshot(node: SimNode, from: NodeId, index: number): void;
  scheduleTick(node: SimNode, at: number): void;
  elected(node: SimNode): void;
  committed(node: SimNode): void;
}

export class SimNode {
  readonly id: NodeId;
  readonly number: number;
  readonly storage: SimStorage;
  readonly prng: Prng;
  raft: Raft;
  up = true;
  /** Grows with each crash: events of earlier lives are void. */
  life = 0;
  pausedUntil = 0;
  damaged = false;
  tables: Tables;
  flushed: Tables;
  /** Local clock = world time × rate. */
  readonly rate: number;
  readonly #host: Host;
  readonly #faults: Faults;
  #now = 0;
  #voters: readonly string[] = [];
  #configIndex = 0;
  #committedAtStart = 0;
  #syncing = false;
  #installing: Tables | undefined;
  /** A copy was asked for, and it is not told yet how that ended. */
  #copying = false;
  #tickAt: number = Number.POSITIVE_INFINITY;
  readonly #reads: Map<number, number> = new Map();
  #readToken = 0;
  readonly #writer: ByteWriter = new ByteWriter(256);

  constructor(host: Host, number: number, config: RaftConfig, faults: Faults, prng: Prng) {
    this.#host = host;
    this.#faults = faults;
    this.number = number;
    this.id = `n${number}`;
    this.prng = prng;
    this.rate = 1 + faults.drift * (2 * prng.next() - 1);
    this.storage = new SimStorage(config);
    this.tables = { index: 0, term: 0, hash: 0, config };
    this.flushed = this.tables;
    this.raft = this.#boot(0);
  }

  #boot(now: number): Raft {
    const { storage, tables } = this;
    const f = this.#faults;
    const options: RaftOptions = {
      id: this.id,
      random: () => this.prng.next(),
      source: storage,
      heartbeatMs: Math.max(5, f.electionMs * 0.15),
      electionTimeoutMinMs: f.electionMs,
      electionTimeoutMaxMs: 2 * f.electionMs,
      lostLeaderDelayMinMs: f.electionMs * 0.05,
      lostLeaderDelayMaxMs: f.electionMs * 0.3,
      messageEntriesMax: f.messageEntriesMax,
      messageBytesMax: 4096,
      inflightMessagesMax: f.inflightMessagesMax,
      inflightBytesMax: 65536,
      uncommittedBytesMax: 160,
      memoryBytesMax: f.memoryBytesMax,
      recovering: this.damaged ? 1 + this.prng.int(0x7fffffff) : 0,
    };
    const { base, last } = storage;
    return new Raft(
      options,
      {
        hardState: storage.hardState,
        base,
        baseConfig: storage.baseConfig,
        last,
        commitIndex: Math.max(base.index, Math.min(tables.index, last.index)),
      },
      now * this.rate,
    );
  }

  /** Loses what was not synced, and the tables back to their last flush. */
  crash(): void {
    this.up = false;
    this.life++;
    this.pausedUntil = 0;
    this.storage.crash(this.prng);
    this.tables = this.flushed;
    this.#syncing = false;
    this.#installing = undefined;
    this.#copying = false;
    this.#tickAt = Number.POSITIVE_INFINITY;
    this.#reads.clear();
  }

  /** The log loses its last `entries`, also acknowledged ones; noticed at the next start. */
  damage(entries: number): void {
    this.damaged = true;
    const keep = Math.max(this.storage.base.index, this.storage.last.index - entries);
    const { index, term, config } = this.tables;
    this.storage.damage(keep, index > keep ? { index, term } : undefined, config);
  }

  start(now: number): void {
    this.up = true;
    this.#configIndex = 0;
    this.#committedAtStart = this.#host.checkers.committedIndex;
    this.raft = this.#boot(now);
    this.#voters = this.raft.config.voters;
    this.#host.checkers.started(this);
    this.#schedule();
  }

  step(input: RaftInput, now: number): void {
    this.#now = now;
    if (input.type === 'snapshotInstalled' || input.type === 'snapshotAborted') this.#copying = false;
    const effects: RaftEffect[] = [];
    this.raft.step(input, now * this.rate, effects);
    this.#perform(effects);
  }

  receive(from: NodeId, message: RaftMessage, now: number): void {
    let m = message;
    if (this.#faults.codec) {
      this.#writer.reset();
      encodeMessage(this.#writer, message);
      m = decodeMessage(new ByteReader(this.#writer.finish()));
    }
    this.step({ type: 'message', from, message: m }, now);
    if (m.type === 'appendResponse' && this.raft.role === 'leader') this.#host.checkers.progress(this);
  }

  propose(data: readonly Uint8Array[], now: number): ProposeResult {
    this.#now = now;
    const effects: RaftEffect[] = [];
    const result = this.raft.propose(data, now * this.rate, effects);
    this.#perform(effects);
    return result;
  }

  changeConfig(kind: 'addLearner' | 'promote' | 'demote' | 'remove', node: NodeId, now: number): boolean {
    this.#now = now;
    const effects: RaftEffect[] = [];
    const result = this.raft.changeConfig({ kind, node }, now * this.rate, effects);
    this.#perform(effects);
    return result.ok;
  }

  read(now: number): void {
    const token = ++this.#readToken;
    this.#reads.set(token, this.#host.checkers.committedIndex);
    this.step({ type: 'readIndex', token }, now);
  }

  /** The earliest timer asked for is due; the machine may have moved it since. */
  tick(at: number, now: number): void {
    if (at !== this.#tickAt) return;
    this.#tickAt = Number.POSITIVE_INFINITY;
    if (this.raft.nextTimerAt <= now * this.rate) this.step({ type: 'tick' }, now);
    else this.#schedule();
  }

  syncDone(now: number): void {
    this.#syncing = false;
    const { persistId, installed } = this.storage.endSync();
    if (persistId > 0) this.step({ type: 'persisted', id: persistId }, now);
    if (installed.length > 0) this.#installed(now);
    this.#maybeSync();
  }

  /** A copy of another node's tables has arrived. */
  offer(tables: Tables): void {
    if (!this.raft.installing || this.#installing !== undefined) return;
    this.#installing = tables;
    this.storage.install({ index: tables.index, term: tables.term }, tables.config, 1);
    this.#maybeSync();
  }

  get awaitsSnapshot(): boolean {
    return this.raft.installing && this.#installing === undefined;
  }

  #installed(now: number): void {
    const tables = this.#installing;
    if (tables === undefined) return;
    this.#installing = undefined;
    this.tables = tables;
    this.flushed = tables;
    this.step({ type: 'snapshotInstalled', index: tables.index, term: tables.term, config: tables.config }, now);
  }

  #perform(effects: readonly RaftEffect[]): void {
    const { checkers } = this.#host;
    let overwritten = false;
    checkers.stepped(this);
    for (const e of effects) {
      switch (e.type) {
        case 'persist':
          checkers.persisting(this, e.entries);
          this.storage.append(e);
          break;
        case 'send':
          checkers.sending(this, e.to, e.message);
          this.#host.send(this, e.to, e.message);
          break;
        case 'role':
          if (e.role !== 'leader') break;
          checkers.becameLeader(this);
          this.#host.elected(this);
          break;
        case 'readable':
          checkers.readable(this, e.index, this.#reads.get(e.token) ?? 0);
          this.#reads.delete(e.token);
          break;
        case 'readFailed':
          this.#reads.delete(e.token);
          break;
        case 'installSnapshot':
          checkers.copies(this, this.#copying);
          this.#copying = true;
          this.#host.wantSnapshot(this, e.from, e.index);
          break;
        case 'recovered':
          this.damaged = false;
          checkers.recovered(this, this.#committedAtStart);
          break;
        case 'proposalsDropped':
          overwritten = true;
          break;
        case 'commit':
          this.#host.committed(this);
          break;
        case 'config':
          if (this.raft.role === 'leader') checkers.changed(this, this.#configIndex, this.#voters, e.config.voters);
          this.#configIndex = e.index;
          this.#voters = e.config.voters;
          break;
        case 'needSnapshot':
          break;
      }
    }
    if (overwritten) checkers.overwrote(this, this.#configAt(this.raft.lastIndex));
    this.#apply();
    this.#maybeSync();
    this.#schedule();
  }

  #apply(): void {
    if (this.tables.index >= this.raft.applyTo) return;
    let budget = this.#host.calm ? Number.POSITIVE_INFINITY : this.#faults.applyMax;
    while (budget > 0 && this.tables.index < this.raft.applyTo) {
      const entries = this.raft.entries(this.tables.index + 1, Math.min(this.raft.applyTo, this.tables.index + budget) + 1, 4096);
      if (entries === undefined) return;
      for (const e of entries) {
        const { tables } = this;
        const hash = e.kind === 'normal' ? Math.imul(tables.hash ^ hashEntry(e), 0x9e3779b1) | 0 : tables.hash;
        this.tables = { index: e.index, term: e.term, hash, config: e.kind === 'config' ? decodeConfig(e.data) : tables.config };
        this.#host.checkers.applied(this, e, hash);
        budget--;
      }
    }
    if (this.prng.chance(0.02)) this.flushed = this.tables;
    const { compactEvery } = this.#faults;
    if (compactEvery > 0 && this.tables.index - this.raft.baseIndex >= 2 * compactEvery) this.compact(this.prng.int(compactEvery + 1));
  }

  /** Lets the log begin `keep` entries before what is applied. */
  compact(keep: number): void {
    const index = this.tables.index - keep;
    if (index <= this.raft.baseIndex || this.#installing !== undefined) return;
    this.flushed = this.tables;
    // The configuration at `index` may be older than the tables'.
    const config = this.#configAt(index);
    this.storage.compact(index, config);
    const effects: RaftEffect[] = [];
    this.raft.step({ type: 'compacted', index }, this.#now * this.rate, effects);
  }

  #configAt(index: number): RaftConfig {
    let config = this.storage.baseConfig;
    for (let i = this.storage.base.index + 1; i <= index; ) {
      const entries = this.storage.written(i, index + 1);
      if (entries === undefined || entries.length === 0) break;
      for (const e of entries) if (e.kind === 'config') config = decodeConfig(e.data);
      i += entries.length;
    }
    return config;
  }

  #maybeSync(): void {
    if (this.#syncing || !this.storage.dirty) return;
    this.#syncing = true;
    this.storage.beginSync();
    this.#host.scheduleSync(this);
  }

  #schedule(): void {
    // A little later, so that rounding never makes it early.
    const at = this.raft.nextTimerAt / this.rate + 0.01;
    if (at >= this.#tickAt || at === Number.POSITIVE_INFINITY) return;
    this.#tickAt = at;
    this.#host.scheduleTick(this, at);
  }
}
