import type { EntriesReader, ShardState } from './format.js';
import { ShardLog } from './shard-log.js';
import type { LogBase, WalDamage } from './types.js';

interface Suspicion {
  readonly damage: WalDamage;
  /** Up to here the log is as it was at some moment before the loss. Always before `resume.index - 1`, or the base. */
  keep: number;
  /** Behind the hole the log goes on here, after an index of this term. */
  resume:
    | {
        readonly index: number;
        readonly previousTerm: number;
      }
    | undefined;
}
export interface FoundRecord {
  readonly segment: number;
  readonly offset: number;
  readonly length: number;
  readonly crc: number;
}
export declare class RecoveringShard {
  #private;
  readonly log: ShardLog;
  suspicion: Suspicion | undefined;
  /** A hard state was lost; the mirror may have it. */
  lostVote: WalDamage | undefined;
  /** A newer base was lost, with the configuration in it. */
  lostBase: WalDamage | undefined;
  constructor(name: string, number: number);
  /** A record of this shard was lost, or an unknown number of records. */
  suspect(damage: WalDamage): void;
  entries(r: EntriesReader, place: FoundRecord, damage: () => WalDamage): void;
  truncate(from: number): void;
  base(base: LogBase): void;
  install(base: LogBase, adopted: RecoveringShard | undefined): void;
  /** A segment's head tells the shard's state at that point. */
  head(state: ShardState, known: boolean, damage: () => WalDamage): void;
  /** After the last record: what is left is a log without holes. */
  finish(): ShardLog;
}
