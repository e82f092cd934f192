import type { Files } from '#env/files.js';
import { type ShardLog } from './shard-log.js';
import { type HardState, type WalDamage } from './types.js';
export interface Recovered {
  readonly shards: readonly ShardLog[];
  readonly nodeId: string | undefined;
  readonly tornBytes: number;
  readonly damage: readonly WalDamage[];
  /** Set when shards may be missing altogether; what the mirror knows of them. */
  readonly lost:
    | {
        readonly damage: WalDamage;
        readonly hardStates: ReadonlyMap<string, HardState>;
      }
    | undefined;
  readonly segments: readonly {
    readonly segment: number;
    readonly bytes: number;
  }[];
  /** Of the last segment: where it ends, and the checksum that the next record continues from. */
  readonly end: number;
  readonly chain: number;
  /** Files that nobody needs. */
  readonly leftovers: readonly string[];
}
export declare function recover(files: Files, dir: string): Recovered;
