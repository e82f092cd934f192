// A whole cluster's database in memory, for tests of what stands above it: one log per shard, one copy
// per node that follows it at its own pace (`hold`, `applyDelayMs`), writes that fail on demand
// (`fault`), incarnations that are fenced and renewed. Like the real one it keeps each node's writes of
// a shard in order: what was answered 'unknown' happens before the node's next write, or never.
import { assert } from '#base/assert.js';
import { copyBytes, emptyBytes, equalBytes } from '#base/bytes.js';
import {
  type CommandContext,
  CommandRefused,
  type Database,
  type Feed,
  type Op,
  type Row,
  type ShardSchema,
  type ShardStatus,
  type Table,
  type Transaction,
  type WriteDone,
  WriteFailure,
  type WriteFailureKind,
  type WriteOptions,
} from '#db/api.js';
import type { ManualClock } from './manual-clock.js';
import { type MemoryEntry, type MemoryOp, MemoryTables } from './memory-tables.js';

/** lost: never happens, answered 'unknown' · late: happens, answered 'unknown' · refused, no-quorum, fenced: at once. */
export type Fault = 'none' | 'lost' | 'late' | Extract<WriteFailureKind, 'refused' | 'no-quorum' | 'fenced'>;

type Work = (leader: MemoryTables, position: number, incarnation: number) => { readonly ops: readonly MemoryOp[]; readonly reply: Uint8Array };

const noResult = { index: 0, reply: emptyBytes };

class MemoryShard {
  readonly schema: ShardSchema;
  readonly leader: MemoryTables = new MemoryTables();
  readonly log: MemoryEntry[] = [];
  lastStamp = 0;

  constructor(schema: ShardSchema) {
    this.schema = schema;
  }

  append(ops: readonly MemoryOp[]): MemoryEntry {
    const entry = { index: this.log.length + 1, ops };
    this.log.push(entry);
    this.leader.apply(entry);
    return entry;
  }
}

export class MemoryCluster {
  readonly clock: ManualClock;
  readonly shards: Map<string, MemoryShard> = new Map();
  readonly nodes: MemoryDatabase[] = [];
  /** From the call to the leader's decision, and from there to each copy. */
  writeDelayMs: () => number = () => 1;
  applyDelayMs: () => number = () => 1;
  /** Asked for every write. */
  fault: (nodeId: string, shard: string) => Fault = () => 'none';
  /** What the leader's wall clock says. */
  leaderNow: () => number;
  #incarnation = 0;

  constructor(clock: ManualClock, schemas: readonly ShardSchema[]) {
    this.clock = clock;
    this.leaderNow = () => clock.wallNow();
    for (const schema of schemas) this.shards.set(schema.name, new MemoryShard(schema));
  }

  /** A node joins; joining again under the same nodeId is a restart. */
  join(nodeId: string, role: 'core' | 'replicant' = 'core'): MemoryDatabase {
    const node = new MemoryDatabase(this, nodeId, role);
    const old = this.nodes.findIndex((n) => n.nodeId === nodeId);
    if (old >= 0) this.nodes.splice(old, 1)[0]?.close();
    this.nodes.push(node);
    node.start(this.#admit(nodeId));
    return node;
  }

  /** The node is declared down: its rows are purged, its writes refused. */
  fence(nodeId: string): void {
    const node = this.node(nodeId);
    for (const shard of this.shards.values()) this.publish(shard, [{ kind: 'purge', nodeId, incarnation: node.incarnation }]);
  }

  /** A node that was fenced takes a new incarnation. */
  renew(nodeId: string): void {
    this.node(nodeId).renewed(this.#admit(nodeId));
  }

  node(nodeId: string): MemoryDatabase {
    const node = this.nodes.find((n) => n.nodeId === nodeId);
    assert(node !== undefined, 'no such node');
    return node;
  }

  shard(name: string): MemoryShard {
    const shard = this.shards.get(name);
    assert(shard !== undefined, `no shard ${name}`);
    return shard;
  }

  publish(shard: MemoryShard, ops: readonly MemoryOp[]): MemoryEntry {
    const entry = shard.append(ops);
    for (const node of this.nodes) node.follow(shard.schema.name);
    return entry;
  }

  #admit(nodeId: string): number {
    const incarnation = ++this.#incarnation;
    for (const shard of this.shards.values()) this.publish(shard, [{ kind: 'admit', nodeId, incarnation }]);
    return incarnation;
  }
}

class Copy {
  tables: MemoryTables = new MemoryTables();
  /** Entries up to here are on their way. */
  coming = 0;
  generation = 1;
  feeds: Feed[] = [];
  waiters: { index: number; run: () => void }[] = [];
  /** This node's writes of the shard are decided in order. */
  lastWriteAt = 0;
}

export class MemoryDatabase implements Database {
  readonly nodeId: string;
  readonly role: 'core' | 'replicant';
  incarnation = 0;
  /** Not counted for 'effective': as if the leader did not see it connected. */
  away = false;
  #held = false;
  #closed = false;
  readonly #cluster: MemoryCluster;
  readonly #copies: Map<string, Copy> = new Map();
  readonly #onIncarnation: ((incarnation: number) => void)[] = [];

  constructor(cluster: MemoryCluster, nodeId: string, role: 'core' | 'replicant') {
    this.#cluster = cluster;
    this.nodeId = nodeId;
    this.role = role;
    for (const shard of cluster.shards.values()) {
      if (role === 'core' || shard.schema.replicate === 'all') this.#copies.set(shard.schema.name, new Copy());
    }
  }

  start(incarnation: number): void {
    this.incarnation = incarnation;
    for (const [name, copy] of this.#copies) {
      copy.coming = this.#cluster.shard(name).log.length;
      this.#replay(name, copy);
    }
  }

  renewed(incarnation: number): void {
    this.incarnation = incarnation;
    for (const listener of this.#onIncarnation) listener(incarnation);
  }

  close(): void {
    this.#closed = true;
  }

  /** This node applies nothing until `release`. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    for (const name of this.#copies.keys()) this.follow(name);
  }

  /** The tables are replaced at once by the newest state, as after a bootstrap. */
  swap(shard: string): void {
    const copy = this.#copy(shard);
    copy.tables = new MemoryTables();
    copy.coming = this.#cluster.shard(shard).log.length;
    copy.generation++;
    this.#replay(shard, copy);
    for (const feed of copy.feeds) feed.reset(copy.generation, copy.tables.appliedIndex);
    this.#wake(copy);
  }

  /** Entries of the shard's log reach this copy one delay after another. */
  follow(shard: string): void {
    const copy = this.#copies.get(shard);
    if (copy === undefined || this.#held || this.#closed) return;
    const { log } = this.#cluster.shard(shard);
    const { generation } = copy;
    for (; copy.coming < log.length; copy.coming++) {
      const entry = log[copy.coming] as MemoryEntry;
      this.#cluster.clock.setTimer(this.#cluster.applyDelayMs(), () => this.#arrive(shard, copy, generation, entry));
    }
  }

  // Delays may differ, the order may not: what is missing before the entry is applied with it.
  #arrive(shard: string, copy: Copy, generation: number, entry: MemoryEntry): void {
    if (this.#closed || generation !== copy.generation) return;
    if (this.#held) {
      copy.coming = Math.min(copy.coming, copy.tables.appliedIndex);
      return;
    }
    const { log } = this.#cluster.shard(shard);
    while (copy.tables.appliedIndex < entry.index) this.#apply(copy, log[copy.tables.appliedIndex] as MemoryEntry);
    this.#wake(copy);
    for (const node of this.#cluster.nodes) node.#wakeEffective(shard);
  }

  #apply(copy: Copy, entry: MemoryEntry): void {
    for (const op of entry.ops) {
      const before = op.kind === 'admit' || op.kind === 'purge' ? copy.tables.live.get(op.nodeId) : undefined;
      copy.tables.applyOp(op);
      for (const feed of copy.feeds) {
        if (op.kind === 'put' || op.kind === 'delete') feed.change(op.table, op.key, copy.tables.get(op.table, op.key));
        else if (before !== undefined && copy.tables.live.get(op.nodeId) !== before) feed.purged(op.nodeId, before);
      }
    }
    copy.tables.appliedIndex = entry.index;
    for (const feed of copy.feeds) feed.applied(entry.index);
  }

  #replay(shard: string, copy: Copy): void {
    for (const entry of this.#cluster.shard(shard).log.slice(copy.tables.appliedIndex, copy.coming)) copy.tables.apply(entry);
  }

  #wake(copy: Copy): void {
    const due = copy.waiters.filter((w) => w.index <= copy.tables.appliedIndex);
    copy.waiters = copy.waiters.filter((w) => w.index > copy.tables.appliedIndex);
    for (const w of due) w.run();
  }

  #effective: { shard: string; index: number; run: () => void }[] = [];

  #seenEverywhere(shard: string, index: number): boolean {
    return this.#cluster.nodes.every((n) => n.away || (n.#copies.get(shard)?.tables.appliedIndex ?? index) >= index);
  }

  #wakeEffective(shard: string): void {
    const due = this.#effective.filter((w) => w.shard === shard && this.#seenEverywhere(shard, w.index));
    if (due.length === 0) return;
    this.#effective = this.#effective.filter((w) => !due.includes(w));
    for (const w of due) w.run();
  }

  #copy(shard: string): Copy {
    const copy = this.#copies.get(shard);
    assert(copy !== undefined, `this node does not hold shard ${shard}`);
    return copy;
  }

  // ---- Reader ----

  get(table: Table, key: Uint8Array): Row | undefined {
    return this.#copy(table.shard).tables.get(table, key);
  }

  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void {
    this.#copy(table.shard).tables.range(table, start, end, visit);
  }

  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
    return this.#copy(table.shard).tables.seek(table, key);
  }

  // ---- Database ----

  holds(shard: string): boolean {
    return this.#copies.has(shard);
  }

  appliedIndex(shard: string): number {
    return this.#copy(shard).tables.appliedIndex;
  }

  inSync(): boolean {
    return !this.#held;
  }

  isLive(shard: string, incarnation: number): boolean {
    return this.#copy(shard).tables.isLive(incarnation);
  }

  isGone(shard: string, nodeId: string, incarnation: number): boolean {
    return this.#copy(shard).tables.isGone(nodeId, incarnation);
  }

  onIncarnation(listener: (incarnation: number) => void): void {
    this.#onIncarnation.push(listener);
  }

  subscribe(shard: string, feed: Feed): () => void {
    const copy = this.#copy(shard);
    copy.feeds.push(feed);
    feed.reset(copy.generation, copy.tables.appliedIndex);
    return () => {
      copy.feeds = copy.feeds.filter((f) => f !== feed);
    };
  }

  /** The first node of the cluster leads every shard. */
  status(): readonly ShardStatus[] {
    if (this.#cluster.nodes[0] !== this) return [];
    return [...this.#copies].map(([shard, copy]) => ({
      shard,
      core: {
        state: 'leader' as const,
        term: 1,
        leader: this.nodeId,
        lastInterceptedTrans: 0,
        commitIndex: copy.tables.appliedIndex,
        appliedIndex: copy.tables.appliedIndex,
        weight: 0,
        replicants: [],
        serverMql: 0,
      },
    }));
  }

  write(shard: string, ops: readonly Op[], options: WriteOptions, done: WriteDone): void {
    const copies = ops.map((op) =>
      op.kind === 'put' ? { ...op, key: copyBytes(op.key), value: copyBytes(op.value) } : { ...op, key: copyBytes(op.key) },
    );
    this.#propose(
      shard,
      (_leader, _position, incarnation) => ({ reply: emptyBytes, ops: copies.map((op) => (op.kind === 'put' ? resolved(op, incarnation) : op)) }),
      options,
      done,
    );
  }

  command(shard: string, name: string, body: Uint8Array, options: WriteOptions, done: WriteDone): void {
    const handler = this.#cluster.shard(shard).schema.commands[name];
    const kept = copyBytes(body);
    this.#propose(
      shard,
      (leader, position, incarnation) => {
        if (handler === undefined) throw new CommandRefused(`no command ${name}`);
        const s = this.#cluster.shard(shard);
        s.lastStamp = Math.max(s.lastStamp, this.#cluster.leaderNow());
        const context = new MemoryContext(leader, position, incarnation, s.lastStamp);
        const reply = copyBytes(handler(context, kept));
        return { ops: context.ops, reply };
      },
      options,
      done,
    );
  }

  transaction(shard: string, fn: (tx: Transaction) => Uint8Array | undefined, options: WriteOptions, done: WriteDone): void {
    this.#propose(
      shard,
      (leader, position, incarnation) => {
        const context = new MemoryContext(leader, position, incarnation, 0);
        const tx: Transaction = {
          get: (t, k) => leader.get(t, k),
          range: (t, s, e, v) => leader.range(t, s, e, v),
          seek: (t, k) => leader.seek(t, k),
          put: (t, k, v, owner) => context.put(t, k, v, owner === 'self' ? incarnation : 0),
          delete: (t, k) => context.delete(t, k),
        };
        return { reply: fn(tx) ?? emptyBytes, ops: context.ops };
      },
      options,
      done,
    );
  }

  barrier(shard: string, deadlineMs: number, done: (failure: WriteFailure | undefined) => void): void {
    const once = this.#once(deadlineMs, (failure) => done(failure), 'unknown');
    this.#copy(shard).waiters.push({ index: this.#cluster.shard(shard).log.length, run: () => once(undefined) });
    this.#cluster.clock.setTimer(0, () => this.#wake(this.#copy(shard)));
  }

  #propose(shardName: string, work: Work, options: WriteOptions, done: WriteDone): void {
    const { clock } = this.#cluster;
    const shard = this.#cluster.shard(shardName);
    const fault = this.#cluster.fault(this.nodeId, shardName);
    let result = noResult;
    let committed = false;
    const answer = this.#once(
      options.deadlineMs ?? 5_000,
      (failure) => done(failure, failure === undefined ? result : noResult),
      () => (committed && options.until === 'effective' ? 'not-effective' : fault === 'no-quorum' ? 'no-quorum' : 'unknown'),
    );
    if (fault === 'no-quorum' || fault === 'lost') return;
    const copy = this.#copies.get(shardName);
    const at = Math.max(clock.now() + this.#cluster.writeDelayMs(), copy?.lastWriteAt ?? 0);
    if (copy !== undefined) copy.lastWriteAt = at;
    const { incarnation } = this;
    clock.setTimer(at - clock.now(), () => {
      if (this.#closed) return;
      if (fault === 'refused') return answer(new WriteFailure('refused', 'by the test'));
      if (fault === 'fenced' || !shard.leader.isLive(incarnation)) return answer(new WriteFailure('fenced', 'not live'));
      const before = shard.log.length;
      try {
        const { ops, reply } = work(shard.leader, before + 1, incarnation);
        result = { index: before + 1, reply: copyBytes(reply) };
        this.#cluster.publish(shard, ops);
      } catch (error) {
        if (!(error instanceof CommandRefused)) throw error;
        this.#cluster.publish(shard, []);
        return answer(new WriteFailure('refused', error.message));
      }
      committed = true;
      if (fault !== 'late') this.#settle(shardName, result.index, options, () => answer(undefined));
    });
  }

  #settle(shard: string, index: number, options: WriteOptions, run: () => void): void {
    if (options.until === 'applied') this.#copy(shard).waiters.push({ index, run });
    else if (options.until === 'effective') this.#effective.push({ shard, index, run });
    else this.#cluster.clock.setTimer(this.#cluster.writeDelayMs(), run);
  }

  #once(
    deadlineMs: number,
    done: (failure: WriteFailure | undefined) => void,
    late: WriteFailureKind | (() => WriteFailureKind),
  ): (failure: WriteFailure | undefined) => void {
    let open = true;
    const once = (failure: WriteFailure | undefined): void => {
      if (!open || this.#closed) return;
      open = false;
      done(failure);
    };
    this.#cluster.clock.setTimer(deadlineMs, () => once(new WriteFailure(typeof late === 'string' ? late : late(), 'deadline')));
    return once;
  }
}

function resolved(op: Extract<Op, { kind: 'put' }>, incarnation: number): MemoryOp {
  return { kind: 'put', table: op.table, key: op.key, value: op.value, owner: op.owner === 'self' ? incarnation : (op.owner ?? 0) };
}

class MemoryContext implements CommandContext {
  readonly ops: MemoryOp[] = [];
  readonly position: number;
  readonly stampMs: number;
  readonly incarnation: number;
  readonly #tables: MemoryTables;

  constructor(tables: MemoryTables, position: number, incarnation: number, stampMs: number) {
    this.#tables = tables;
    this.position = position;
    this.incarnation = incarnation;
    this.stampMs = stampMs;
  }

  /** A command sees what it has written itself. */
  get(table: Table, key: Uint8Array): Row | undefined {
    for (let i = this.ops.length - 1; i >= 0; i--) {
      const op = this.ops[i] as MemoryOp;
      if (op.kind === 'delete' && op.table === table && equalBytes(op.key, key)) return undefined;
      if (op.kind === 'put' && op.table === table && equalBytes(op.key, key)) return { value: op.value, owner: op.owner };
    }
    return this.#tables.get(table, key);
  }

  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void {
    this.#tables.range(table, start, end, visit);
  }

  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
    return this.#tables.seek(table, key);
  }

  put(table: Table, key: Uint8Array, value: Uint8Array, owner: number = 0): void {
    this.ops.push({ kind: 'put', table, key: copyBytes(key), value: copyBytes(value), owner });
  }

  delete(table: Table, key: Uint8Array): void {
    this.ops.push({ kind: 'delete', table, key: copyBytes(key) });
  }

  admit(nodeId: string, incarnation: number): void {
    this.ops.push({ kind: 'admit', nodeId, incarnation });
  }

  purge(nodeId: string, incarnation: number): void {
    this.ops.push({ kind: 'purge', nodeId, incarnation });
  }

  liveIncarnation(nodeId: string): number {
    return this.#tables.live.get(nodeId) ?? 0;
  }

  isLive(incarnation: number): boolean {
    return this.#tables.isLive(incarnation);
  }
}
