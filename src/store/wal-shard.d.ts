import type { Files } from '#env/files.js';
import type { LogWriter } from './log-writer.js';
import type { ShardLog } from './shard-log.js';
import type { HardState, LogBase, LogEntry, ShardAppend, WalDamage, WalDone, WalShard } from './types.js';
/** What a shard needs of the log that it is part of. */
export interface ShardOwner {
  readonly files: Files;
  readonly dir: string;
  readonly writer: LogWriter;
  find(name: string): ShardLog | undefined;
  touch(log: ShardLog): void;
  forget(log: ShardLog): void;
}
export declare class LogShard implements WalShard {
  #private;
  readonly log: ShardLog;
  constructor(owner: ShardOwner, log: ShardLog);
  get name(): string;
  get hardState(): HardState;
  get base(): LogBase;
  get firstIndex(): number;
  get lastIndex(): number;
  get lastTerm(): number;
  get durableIndex(): number;
  get damage(): WalDamage | undefined;
  get bytes(): number;
  term(index: number): number | undefined;
  entries(from: number, to: number, maxBytes: number): readonly LogEntry[];
  append(change: ShardAppend, done?: WalDone): void;
  compact(base: LogBase, done?: WalDone): void;
  installBase(base: LogBase, adopt: string | undefined, done?: WalDone): void;
  clearDamage(done?: WalDone): void;
  drop(done?: WalDone): void;
}
