/** What Raft must remember besides the log. */
export interface HardState {
  readonly currentTerm: number;
  /** Node id, empty when no vote was given in `currentTerm`. */
  readonly votedFor: string;
}
/** As the Raft machine names them. */
export type LogEntryKind = 'normal' | 'noop' | 'config';
/** One entry of a shard's Raft log. */
export interface LogEntry {
  readonly index: number;
  readonly term: number;
  readonly kind: LogEntryKind;
  /** Kept in memory for a while: must not be a view of a much larger or reused buffer. */
  readonly data: Uint8Array;
}
/** Where a shard's log begins: everything up to `index` is in the tables only. */
export interface LogBase {
  readonly index: number;
  readonly term: number;
  /** Configuration in force at `index`, opaque here. */
  readonly config: Uint8Array;
  /** Empty before formation. */
  readonly historyId: string;
  /** The generation of the tables that holds the state at `index`; opaque here. */
  readonly generation: number;
}
/** A place where the log is not what was written. */
export interface WalDamage {
  /** Relative to the data directory. */
  readonly file: string;
  readonly offset: number;
  readonly reason: string;
}
export interface ShardAppend {
  readonly hardState?: HardState | undefined;
  /** Entries from this index on are forgotten first (a new leader's log differs). */
  readonly truncateFrom?: number | undefined;
  /** Contiguous, the first one right after the last index (after truncation). */
  readonly entries?: readonly LogEntry[] | undefined;
}
/** 'failed': the disk refused a write or sync · 'version': format of a newer Starmesh · 'foreign': the log belongs to another node · 'closed'. */
export type WalErrorKind = 'failed' | 'version' | 'foreign' | 'closed';
export declare class WalError extends Error {
  readonly name = 'WalError';
  readonly kind: WalErrorKind;
  constructor(kind: WalErrorKind, message: string);
}
export type WalDone = (error: WalError | undefined) => void;
/** The log of one shard. Fits what the Raft machine wants to read its log from. */
export interface WalShard {
  readonly name: string;
  /** As last appended. */
  readonly hardState: HardState;
  readonly base: LogBase;
  /** `base.index + 1`. */
  readonly firstIndex: number;
  /** `base.index` when the log is empty. */
  readonly lastIndex: number;
  /** Term of the last index (the base's when the log is empty). */
  readonly lastTerm: number;
  /** Up to here the log is on this node's disk. Never above `lastIndex`. */
  readonly durableIndex: number;
  /**
   * Set when acknowledged entries or votes of this shard may be missing. The node must not vote,
   * campaign or count for commit in this shard until a leader has brought it past that leader's
   * commit index; then the driver calls `clearDamage`. Kept across restarts until then.
   */
  readonly damage: WalDamage | undefined;
  /** Bytes of entries after the base, roughly: what compaction would free. */
  readonly bytes: number;
  /** Undefined below `base.index` and above `lastIndex`. */
  term(index: number): number | undefined;
  /**
   * Entries from `from` up to and without `to`, at least one, then as many as fit in `maxBytes` of data.
   * `firstIndex <= from < to <= lastIndex + 1` (asserted). Fewer, possibly none, only when the disk does
   * not give back what was written: the log has failed then.
   */
  entries(from: number, to: number, maxBytes: number): readonly LogEntry[];
  append(change: ShardAppend, done?: WalDone): void;
  /** Moves the base up to an index that the log holds; entries up to it are forgotten, old files deleted once durable. */
  compact(base: LogBase, done?: WalDone): void;
  /**
   * Replaces base and log in one durable step. With `adopt`, the log of that shard (a staged one,
   * appended under a name of its own) becomes this shard's log, what is above `base.index` of it,
   * and the staged shard is gone; without, the log is empty. The hard state stays.
   */
  installBase(base: LogBase, adopt: string | undefined, done?: WalDone): void;
  /** A leader has repaired this shard. */
  clearDamage(done?: WalDone): void;
  /** Forgets the shard altogether. The handle is dead. */
  drop(done?: WalDone): void;
}
/** What was found on disk. Everything about single shards is on the shards themselves. */
export interface WalRecovery {
  /** The node that wrote the log; undefined when the log was empty. */
  readonly nodeId: string | undefined;
  /** The log existed before. */
  readonly found: boolean;
  /** Bytes of an incomplete last write that were cut, normal after a crash. */
  readonly tornBytes: number;
  /** Everything that is not as it was written, whether a shard still needs it or not. */
  readonly damage: readonly WalDamage[];
}
export interface WalOptions {
  /** Directory of the log, relative to the data directory. */
  readonly dir?: string;
  /** This node, checked against what the log says. */
  readonly nodeId: string;
  readonly segmentBytes?: number;
  /** Recent entries of all shards kept in memory. */
  readonly cacheBytes?: number;
  /** Recent entries of one shard kept in memory. */
  readonly shardCacheBytes?: number;
  /** Runs once, when the log fails. */
  readonly onFailure?: (error: WalError) => void;
}
export declare const walDefaults: {
  readonly dir: string;
  readonly segmentBytes: number;
  readonly cacheBytes: number;
  readonly shardCacheBytes: number;
};
export interface Wal {
  /** In the order of their names. */
  shards(): readonly WalShard[];
  /** The shard's log; a new empty one (term 0, base 0) when the log has none of that name. */
  shard(name: string): WalShard;
  /** Writes what was appended so far without waiting for the end of the turn. */
  flush(): void;
  /**
   * Runs when everything appended before this call is durable. To be waited for after opening,
   * before Raft starts: what was found may be in the page cache only, and is synced first.
   */
  sync(done: WalDone): void;
  /** Appended and not yet durable. */
  readonly pendingBytes: number;
  /** Size of all files of the log. */
  readonly diskBytes: number;
  readonly failure: WalError | undefined;
  /** Writes and syncs what is left, then closes the files. */
  close(done: WalDone): void;
}
export interface OpenedWal {
  readonly wal: Wal;
  readonly recovery: WalRecovery;
}
