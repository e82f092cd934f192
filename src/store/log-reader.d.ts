import { type Files } from '#env/files.js';
import type { ShardLog } from './shard-log.js';
import type { LogEntry } from './types.js';
export declare class LogReader {
  #private;
  constructor(files: Files, dir: string);
  /**
   * Adds entries [from, to) to `out` until their data reaches `maxBytes` (at least one). Says
   * what is wrong when the disk does not give back what was written.
   */
  read(log: ShardLog, from: number, to: number, maxBytes: number, out: LogEntry[]): string | undefined;
}
