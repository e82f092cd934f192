import { ByteWriter } from '#base/byte-writer.js';
import type { Env } from '#env/env.js';
import type { RecordPlace } from './record-index.js';
import { type WalDone, WalError } from './types.js';
export interface WriterHooks {
  /** Writes the records of a segment's head, all but `node` and `headEnd`. */
  head(): void;
  /** The head of the mirror: every hard state. */
  mirrorHead(w: ByteWriter): void;
  /** A batch has been handed to the file: what is in memory up to here is in it. */
  written(): void;
  /** It is durable; before its callbacks. */
  durable(): void;
  failed(error: WalError): void;
}
export interface WriterStart {
  readonly dir: string;
  readonly nodeId: string;
  readonly segmentBytes: number;
  /** The last segment found, 0 when there is none. */
  readonly segment: number;
  readonly end: number;
  readonly chain: number;
}
export declare class LogWriter {
  #private;
  failure: WalError | undefined;
  constructor(env: Pick<Env, 'files' | 'clock' | 'metrics'>, start: WriterStart, hooks: WriterHooks);
  /**
   * What was found may be in the page cache only (the process was killed, not the machine), and
   * counts as durable from now on: so it is synced before anything else is written.
   */
  syncFound(): void;
  /** Segment that the next record goes to. */
  get segment(): number;
  /** Segment of the last batch that became durable, 0 before the first. */
  get durableSegment(): number;
  get pendingBytes(): number;
  /** Bytes of the newest segment, what is still in the buffer included. */
  get segmentEnd(): number;
  /** The hard states' second place; synced together with the batch. */
  get mirror(): ByteWriter;
  /** Adds a record to the batch, which has begun, and returns where it lies. */
  record(type: number, shard: number, fill: (w: ByteWriter) => void): Omit<RecordPlace, 'firstIndex'>;
  /**
   * Before anything is changed in memory: a batch that begins a new segment states in its head
   * how everything was before the batch, so that a crash in between tears nothing apart.
   */
  begin(): void;
  /** For `hooks.head`. */
  headRecord(type: number, shard: number, fill: (w: ByteWriter) => void): void;
  /** `done` runs when everything recorded so far is durable. */
  whenDurable(done: WalDone): void;
  /** Writes the batch, unless one is being synced: then it goes out right after. */
  flush(): void;
  /** From outside: what was read back is not what was written. */
  fail(message: string): void;
  /** Writes and syncs the rest, then closes. */
  close(done: WalDone): void;
}
