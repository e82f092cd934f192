import { EntryCache } from './entry-cache.js';
import type { ShardState } from './format.js';
import { RecordIndex } from './record-index.js';
import { TermRuns } from './term-runs.js';
import type { HardState, LogBase, WalDamage } from './types.js';
export declare const emptyBase: LogBase;
export declare const emptyHardState: HardState;
export declare class ShardLog {
  readonly name: string;
  /** In records; unique among the shards that exist at a time. */
  readonly number: number;
  hardState: HardState;
  base: LogBase;
  lastIndex: number;
  damage: WalDamage | undefined;
  index: RecordIndex;
  terms: TermRuns;
  readonly cache: EntryCache;
  /** Entries up to here are in a file and may leave the cache. */
  writtenIndex: number;
  durableIndex: number;
  /** The durable index once the batch that is being synced is durable. */
  syncingIndex: number;
  dropped: boolean;
  constructor(name: string, number: number);
  get lastTerm(): number;
  term(index: number): number | undefined;
  /** Forgets entries at `from` and later. */
  truncate(from: number): void;
  /** Moves the base up, inside the log. */
  compact(base: LogBase): void;
  /** An empty log behind `base`. */
  reset(base: LogBase): void;
  /** Takes over what the other log has above `base`. */
  adopt(other: ShardLog, base: LogBase): void;
  state(): ShardState;
}
/** The one that must not be forgotten: the later term, and in the same term the one with a vote. */
export declare function laterHardState(a: HardState, b: HardState): HardState;
