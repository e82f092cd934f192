// What other rooms see of the replicated database. `db/database.ts` implements it in the node's
// process; with worker processes there will be a second implementation that talks to it.
//
// Keys and values are bytes here (see key-codec.ts and value-codec.ts for JavaScript values): the
// broker's hot paths build and compare keys themselves. Callbacks, not promises, so that the same
// code runs in the simulator; the promise-based library API stands on top (node/open-database.ts).

/** A table, declared once in the schema. `id` is part of every stored key and log entry: never reuse one. */
export interface Table {
  readonly id: number;
  readonly name: string;
  readonly shard: string;
  /** Rows may belong to an incarnation and vanish with it. Default false: then `owner` must not be given. */
  readonly owned?: boolean;
}

/** `registry` may stand for several shards of equal schema: then tables are declared per shard. */
export interface ShardSchema {
  readonly name: string;
  /** 'all': cores and replicants hold it · 'core': cores only. */
  readonly replicate: 'all' | 'core';
  readonly tables: readonly Table[];
  /** Conditional commands that its leader can evaluate, by name. */
  readonly commands: Readonly<Record<string, CommandHandler>>;
}

export interface Row {
  /** A view, valid during the call or, from `get`, until the end of the turn: copy to keep. */
  readonly value: Uint8Array;
  /** Incarnation that owns the row; 0 for rows that belong to nobody. */
  readonly owner: number;
}

/** Local, synchronous reads of the applied state. Rows of incarnations that are not live are invisible. */
export interface Reader {
  get(table: Table, key: Uint8Array): Row | undefined;
  /** Visits [start, end) in key order until `visit` returns false. `end` undefined: to the table's last row. */
  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void;
  /** First visible row at or after `key` in the table. */
  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined;
}

export type Op =
  /** `owner` undefined: nobody; 'self': the writing incarnation; a number: that incarnation. */
  | { readonly kind: 'put'; readonly table: Table; readonly key: Uint8Array; readonly value: Uint8Array; readonly owner?: 'self' | number }
  | { readonly kind: 'delete'; readonly table: Table; readonly key: Uint8Array };

/** What a command sees and may do at the leader. Deterministic is not required: only its writes are replicated. */
export interface CommandContext extends Reader {
  put(table: Table, key: Uint8Array, value: Uint8Array, owner?: number): void;
  delete(table: Table, key: Uint8Array): void;
  /** Makes the incarnation live in this shard and purges the node's older ones. */
  admit(nodeId: string, incarnation: number): void;
  /** Makes the incarnation's rows invisible and refuses its later writes. */
  purge(nodeId: string, incarnation: number): void;
  /** The live incarnation of a node in this shard, 0 when there is none. */
  liveIncarnation(nodeId: string): number;
  isLive(incarnation: number): boolean;
  /** Position of this command in the shard's log, as a number that never repeats and only grows. */
  readonly position: number;
  /** The leader's stamp, ms since 1970, monotone per shard. */
  readonly stampMs: number;
  /** Incarnation of the node that sent the command; 0 when it has not joined. */
  readonly incarnation: number;
}

/** Returns the reply, which is copied. Throwing {@link CommandRefused} logs no rows and fails the call with 'refused'. */
export type CommandHandler = (context: CommandContext, body: Uint8Array) => Uint8Array;

export class CommandRefused extends Error {
  override readonly name = 'CommandRefused';
}

/**
 * committed: kept for ever; answered by the leader.
 * applied: and readable on this node.
 * effective: and applied and seen by the feeds of every node that holds a lease (that is `inSync`, or was 500 ms ago).
 */
export type Until = 'committed' | 'applied' | 'effective';

export interface WriteOptions {
  /** Default 'committed'. */
  readonly until?: Until;
  /** Default 5,000 (`proposalDeadlineMs`). */
  readonly deadlineMs?: number;
}

/**
 * - refused: did not and will not happen (command refused, bad size, unknown shard): see `message`.
 * - conflict: a transaction's reads were overtaken, after all retries. Did not happen.
 * - fenced: this incarnation was declared dead; the node renews it. Did not happen.
 * - no-quorum: deadline passed before the write was handed to any leader. Did not and will not happen.
 * - unknown: deadline passed while the write was on its way; it may still happen.
 * - not-effective: committed, but not seen everywhere before the deadline (until: 'effective' only).
 * - closed: the database was closed.
 */
export type WriteFailureKind = 'refused' | 'conflict' | 'fenced' | 'no-quorum' | 'unknown' | 'not-effective' | 'closed';

export class WriteFailure extends Error {
  override readonly name = 'WriteFailure';
  readonly kind: WriteFailureKind;
  constructor(kind: WriteFailureKind, message: string) {
    super(message);
    this.kind = kind;
  }
  /** True when the write may have happened or may still happen. */
  get mayHappen(): boolean {
    return this.kind === 'unknown' || this.kind === 'not-effective';
  }
}

export interface WriteResult {
  /** Log index of the entry that carries the write. */
  readonly index: number;
  /** Reply of the command; empty for plain writes. A copy that may be kept. */
  readonly reply: Uint8Array;
}

export type WriteDone = (failure: WriteFailure | undefined, result: WriteResult) => void;

/**
 * Consumer of a shard's changes. Order: `reset`, then the rows in [any] `change` calls come only
 * after it; `applied(index)` closes each batch. A consumer rebuilds from `Database.range` on reset.
 */
export interface Feed {
  /** The tables were replaced (start, or a swap after a bootstrap): everything known before is void. */
  reset(generation: number, index: number): void;
  /** One row as it is now (`row` undefined: gone). Views: copy to keep. */
  change(table: Table, key: Uint8Array, row: Row | undefined): void;
  /** All rows owned by the incarnation are gone at once; no `change` is sent for them. */
  purged(nodeId: string, incarnation: number): void;
  applied(index: number): void;
}

export type ReplicaStateName = 'disconnected' | 'bootstrap' | 'local_replay' | 'normal';

export interface CoreShardStatus {
  readonly state: 'leader' | 'follower' | 'learner' | 'candidate';
  readonly term: number;
  readonly leader: string | undefined;
  readonly lastInterceptedTrans: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  /** Of this core as replicants compare them, without their round trips: its streams, by its configured share, and its load. */
  readonly weight: number;
  /** Node names. */
  readonly replicants: readonly string[];
  readonly serverMql: number;
}

export interface BootstrapProgress {
  readonly rows: number;
  /** As the core had when the copy began. */
  readonly rowsTotal: number;
  readonly bytes: number;
  /** At the pace so far; undefined before there is one. */
  readonly leftMs: number | undefined;
}

export interface ReplicaShardStatus {
  readonly state: ReplicaStateName;
  readonly upstream: string | undefined;
  readonly lastImportedTrans: number;
  readonly appliedIndex: number;
  readonly lag: number;
  readonly lagMs: number;
  readonly replayqLen: number;
  readonly messageQueueLen: number;
  readonly bootstrapTimeMs: number | undefined;
  readonly bootstrapNumKeys: number | undefined;
  /** Those that this node feeds as a relay. Names. */
  readonly replicants: readonly string[];
  /** Of the copy under way. */
  readonly bootstrap: BootstrapProgress | undefined;
  readonly bootstraps: number;
  readonly resumes: number;
  /** Of the resumes, how many because another node had less to do. */
  readonly moves: number;
}

export type ShardStatus =
  | { readonly shard: string; readonly core: CoreShardStatus }
  | { readonly shard: string; readonly replica: ReplicaShardStatus }
  | { readonly shard: string; readonly down: true };

export interface Database extends Reader {
  readonly nodeId: string;
  readonly role: 'core' | 'replicant';
  /** This node's current incarnation, 0 before it has joined. Renewed when the node was fenced (see `onIncarnation`). */
  readonly incarnation: number;
  holds(shard: string): boolean;
  appliedIndex(shard: string): number;
  /** True while this node holds a lease for its copy of the shard: everything that was reported effective can be read here. */
  inSync(shard: string): boolean;
  /** All ops as one transaction, unconditional. */
  write(shard: string, ops: readonly Op[], options: WriteOptions, done: WriteDone): void;
  /** One conditional command, evaluated once at the leader. */
  command(shard: string, name: string, body: Uint8Array, options: WriteOptions, done: WriteDone): void;
  /**
   * Optimistic transaction on this node's copy: `fn` reads and buffers writes synchronously and may run
   * again after a conflict (at most `transactionRetries` times, with jitter). It must not keep `tx`.
   */
  transaction(shard: string, fn: (tx: Transaction) => Uint8Array | undefined, options: WriteOptions, done: WriteDone): void;
  /** Waits until this node has applied everything that was committed when the call began. */
  barrier(shard: string, deadlineMs: number, done: (failure: WriteFailure | undefined) => void): void;
  /** `reset` is called before this returns. The result unsubscribes. */
  subscribe(shard: string, feed: Feed): () => void;
  isLive(shard: string, incarnation: number): boolean;
  /** The incarnation of the node is dead for this node's copy of the shard: one that the copy has not heard of yet is not. */
  isGone(shard: string, nodeId: string, incarnation: number): boolean;
  status(): readonly ShardStatus[];
  /** Called when this node takes a new incarnation while it runs (its old rows are purged; re-assert). */
  onIncarnation(listener: (incarnation: number) => void): void;
}

export interface Transaction extends Reader {
  put(table: Table, key: Uint8Array, value: Uint8Array, owner?: 'self'): void;
  delete(table: Table, key: Uint8Array): void;
}
