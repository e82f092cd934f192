import type { LogEntry } from './types.js';
export declare class EntryCache {
  #private;
  bytes: number;
  /** Undefined when empty. */
  get firstIndex(): number | undefined;
  get length(): number;
  get(index: number): LogEntry | undefined;
  push(e: LogEntry): void;
  /** Forgets entries at `index` and later. */
  truncate(index: number): void;
  /** Forgets entries up to and with `index`. */
  dropThrough(index: number): void;
  shift(): void;
  clear(): void;
}
