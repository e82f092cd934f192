// Test helper only: a few machines on a queue of messages, with disks whose syncs can be held back.
// Nothing outside tests imports it. Every message goes through the codec on its way.
//
// `settle` delivers until nothing moves; `advance` lets time pass in small steps. With `autoSync` off,
// a node's persist effects wait in `pendingPersists` until `sync`.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import { decodeMessage, encodeMessage } from './codec.js';
import { Raft } from './raft.js';
import type { Entry, HardState, LogSource, NodeId, ProposeResult, RaftConfig, RaftEffect, RaftInput, RaftMessage, RaftOptions } from './types.js';

type Persist = Extract<RaftEffect, { type: 'persist' }>;

/** The disk of one node: what was written, and what of it survives a crash. */
export class TestDisk implements LogSource {
  base: { index: number; term: number } = { index: 0, term: 0 };
  baseConfig: RaftConfig;
  hardState: HardState = { currentTerm: 0, votedFor: '' };
  log: Entry[] = [];

  constructor(config: RaftConfig) {
    this.baseConfig = config;
  }

  write(e: Persist): void {
    if (e.hardState !== undefined) this.hardState = e.hardState;
    const first = e.entries[0];
    if (first === undefined) return;
    this.log.length = first.index - 1 - this.base.index;
    this.log.push(...e.entries);
  }

  entries(from: number, to: number, maxBytes: number): readonly Entry[] | undefined {
    if (from <= this.base.index) return undefined;
    const out: Entry[] = [];
    let bytes = 0;
    for (const e of this.log.slice(from - 1 - this.base.index, to - 1 - this.base.index)) {
      bytes += e.data.length;
      if (out.length > 0 && bytes > maxBytes) break;
      out.push(e);
    }
    return out;
  }

  term(index: number): number | undefined {
    return index === this.base.index ? this.base.term : this.log[index - 1 - this.base.index]?.term;
  }

  get last(): { index: number; term: number } {
    const last = this.log[this.log.length - 1];
    return last === undefined ? this.base : { index: last.index, term: last.term };
  }

  compact(index: number, config: RaftConfig): void {
    const term = this.term(index) ?? 0;
    this.log = this.log.slice(index - this.base.index);
    this.base = { index, term };
    this.baseConfig = config;
  }
}

export class TestNode {
  readonly id: NodeId;
  readonly disk: TestDisk;
  raft: Raft;
  up = true;
  autoSync = true;
  /** What `random` returns; decides who times out first. */
  draw = 0.5;
  readonly pendingPersists: Persist[] = [];
  /** Every effect since the last `take`. */
  readonly seen: RaftEffect[] = [];
  readonly #options: Partial<RaftOptions>;
  readonly #cluster: TestCluster;

  constructor(cluster: TestCluster, id: NodeId, config: RaftConfig, options: Partial<RaftOptions>) {
    this.#cluster = cluster;
    this.id = id;
    this.disk = new TestDisk(config);
    this.#options = options;
    this.raft = this.#start(0);
  }

  #start(recovering: number): Raft {
    const { disk } = this;
    return new Raft(
      { ...this.#options, id: this.id, random: () => this.draw, source: disk, recovering },
      { hardState: disk.hardState, base: disk.base, baseConfig: disk.baseConfig, last: disk.last, commitIndex: disk.base.index },
      this.#cluster.now,
    );
  }

  step(input: RaftInput): RaftEffect[] {
    const effects: RaftEffect[] = [];
    this.raft.step(input, this.#cluster.now, effects);
    return this.perform(effects);
  }

  perform(effects: RaftEffect[]): RaftEffect[] {
    for (const e of effects) {
      this.seen.push(e);
      if (e.type === 'persist') this.pendingPersists.push(e);
      else if (e.type === 'send') this.#cluster.queue.push({ from: this.id, to: e.to, message: e.message });
    }
    return effects;
  }

  receive(from: NodeId, message: RaftMessage): RaftEffect[] {
    return this.step({ type: 'message', from, message });
  }

  /** Makes up to `count` persist effects durable. True when there were any. */
  sync(count: number = Number.POSITIVE_INFINITY): boolean {
    let id = 0;
    for (let i = 0; i < count; i++) {
      const e = this.pendingPersists.shift();
      if (e === undefined) break;
      this.disk.write(e);
      id = e.id;
    }
    if (id > 0) this.step({ type: 'persisted', id });
    return id > 0;
  }

  propose(...values: string[]): ProposeResult {
    const effects: RaftEffect[] = [];
    const result = this.raft.propose(
      values.map((v) => utf8Encode(v)),
      this.#cluster.now,
      effects,
    );
    this.perform(effects);
    return result;
  }

  /** Effects of one type since the last `take`, and forgets all. */
  take<T extends RaftEffect['type']>(type: T): Extract<RaftEffect, { type: T }>[] {
    const out = this.seen.filter((e): e is Extract<RaftEffect, { type: T }> => e.type === type);
    this.seen.length = 0;
    return out;
  }

  /** Loses what was not synced and starts again from disk. */
  restart(recovering: number = 0): void {
    this.pendingPersists.length = 0;
    this.seen.length = 0;
    this.up = true;
    this.raft = this.#start(recovering);
  }

  /** Data of all entries of kind normal up to `to`, as text. */
  values(to: number = this.raft.lastIndex): string[] {
    const out: string[] = [];
    for (let i = this.raft.baseIndex + 1; i <= to; i++) {
      const e = this.raft.entries(i, i + 1, 1)?.[0];
      if (e?.kind === 'normal') out.push(utf8Decode(e.data) ?? '?');
    }
    return out;
  }

  committed(): string[] {
    return this.values(this.raft.commitIndex);
  }
}

export interface Packet {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly message: RaftMessage;
}

export class TestCluster {
  now = 0;
  queue: Packet[] = [];
  readonly nodes: Map<NodeId, TestNode> = new Map();
  /** Packets for which it returns true are lost. */
  drop: (p: Packet) => boolean = () => false;
  readonly #cuts: Set<string> = new Set();
  readonly #writer: ByteWriter = new ByteWriter();

  constructor(voters: readonly NodeId[], options: Partial<RaftOptions> = {}, learners: readonly NodeId[] = []) {
    let draw = 0;
    for (const id of [...voters, ...learners]) {
      const node = new TestNode(this, id, { voters, learners }, options);
      // Distinct, so that elections are not split by accident: the first node is the quickest.
      node.draw = draw;
      draw = Math.min(0.99, draw + 0.3);
      node.restart();
      this.nodes.set(id, node);
    }
  }

  /** Adds a node that believes in `config`; it is no member until a leader makes it one. */
  add(id: NodeId, config: RaftConfig, options: Partial<RaftOptions> = {}): TestNode {
    const node = new TestNode(this, id, config, options);
    this.nodes.set(id, node);
    return node;
  }

  node(id: NodeId): TestNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`no node ${id}`);
    return node;
  }

  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from}>${to}`);
  }

  isolate(id: NodeId): void {
    for (const other of this.nodes.keys()) {
      this.cut(id, other);
      this.cut(other, id);
    }
  }

  heal(): void {
    this.#cuts.clear();
  }

  crash(id: NodeId): void {
    const node = this.node(id);
    node.up = false;
    node.pendingPersists.length = 0;
  }

  restart(id: NodeId, recovering: number = 0): void {
    this.node(id).restart(recovering);
  }

  /** Delivers one packet. False when none was left. */
  deliverOne(): boolean {
    const p = this.queue.shift();
    if (p === undefined) return false;
    const to = this.nodes.get(p.to);
    if (to === undefined || !to.up || this.#cuts.has(`${p.from}>${p.to}`) || this.drop(p)) return true;
    this.#writer.reset();
    encodeMessage(this.#writer, p.message);
    to.receive(p.from, decodeMessage(new ByteReader(this.#writer.finish())));
    return true;
  }

  /** Until no message is on its way and every auto-syncing disk has caught up. */
  settle(): void {
    for (let i = 0; i < 100_000; i++) {
      let moved = this.deliverOne();
      if (!moved) for (const node of this.nodes.values()) if (node.up && node.autoSync && node.sync()) moved = true;
      if (!moved) return;
    }
    throw new Error('does not settle');
  }

  advance(ms: number): void {
    const end = this.now + ms;
    while (this.now < end) {
      this.now = Math.min(end, this.now + 10);
      for (const node of this.nodes.values()) if (node.up && node.raft.nextTimerAt <= this.now) node.step({ type: 'tick' });
      this.settle();
    }
  }

  /** Makes `id` the leader by an election of its own. */
  elect(id: NodeId): TestNode {
    const node = this.node(id);
    node.step({ type: 'campaign' });
    this.settle();
    if (node.raft.role !== 'leader') throw new Error(`${id} did not become leader but ${node.raft.role}`);
    return node;
  }

  leaders(): NodeId[] {
    return [...this.nodes.values()].filter((n) => n.up && n.raft.role === 'leader').map((n) => n.id);
  }
}

/** A cluster of `n` voters named a, b, c, … */
export function clusterOf(n: number, options: Partial<RaftOptions> = {}): TestCluster {
  return new TestCluster([...'abcdefg'].slice(0, n), options);
}

/** An entry for hand-made messages. */
export function entry(index: number, term: number, text: string = ''): Entry {
  return { index, term, kind: 'normal', data: utf8Encode(text) };
}
