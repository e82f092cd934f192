// The table store (LMDB in the real world): ordered byte keys to byte values, in one directory
// per shard and generation. Reads see the last committed batch. Writes are batches: each one
// commits as a whole, in the order given, without blocking the event loop.

/** One write of a batch. `value` undefined deletes; deleting an absent key is fine. */
export interface TableWrite {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

export interface TableStore {
  /** The value, valid until the end of the turn (it may be a view of mapped memory): copy to keep. */
  get(key: Uint8Array): Uint8Array | undefined;
  /**
   * Visits keys in [start, end) in order (descending from just below `end` when `reverse`), until
   * `visit` returns false. Key and value are valid during the call only. `end` undefined: to the last key.
   */
  range(start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, value: Uint8Array) => boolean, options?: RangeOptions): void;
  /** First key at or after `key` with its value, for skip-scans. The same validity as `get`. */
  seek(key: Uint8Array): { readonly key: Uint8Array; readonly value: Uint8Array } | undefined;
  /**
   * Commits the batch; `committed` runs once reads see it (durability follows later: `flushed`).
   * Batches commit in the order of the calls. With an error nothing of the batch is visible.
   */
  write(batch: readonly TableWrite[], committed: (error: TablesError | undefined) => void): void;
  /** Runs `done` when every batch committed so far is on disk. */
  flushed(done: (error: TablesError | undefined) => void): void;
  /** Approximate number of rows and bytes, for metrics. */
  stat(): { readonly rows: number; readonly bytes: number };
  close(done: () => void): void;
  /** Of a store that checks its rows: called when one is not what was written; the read that finds it throws the same. */
  onDamage?: ((error: DamagedTablesError) => void) | undefined;
}

export interface RangeOptions {
  readonly reverse?: boolean;
}

export class TablesError extends Error {
  override readonly name = 'TablesError';
}

/** What lies on the disk is not what was written. */
export class DamagedTablesError extends TablesError {}

/** Longest key in bytes that a store takes (LMDB's limit at its page size). */
export const tableKeyBytesMax = 1978;

export interface Tables {
  /** Opens or creates the store in `dir` (relative to the data directory). Throws {@link TablesError}. */
  open(dir: string): TableStore;
}
