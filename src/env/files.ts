// Files, as a log needs them. Paths are relative to the node's data directory, with '/'.
// Reads and appends are synchronous (an append is a copy into the page cache); what waits for
// the disk takes a callback. Appended bytes may be lost in a crash until a later `sync` succeeds.

/** A file operation failed. After a failed `sync` nothing may be assumed of the unsynced bytes. */
export class FilesError extends Error {
  override readonly name = 'FilesError';
  /** 'ENOSPC', 'EIO', 'ENOENT', 'EACCES', … */
  readonly code: string;
  readonly path: string;

  constructor(code: string, path: string, message: string) {
    super(message);
    this.code = code;
    this.path = path;
  }
}

export type Done = (error: FilesError | undefined) => void;

export interface AppendFile {
  readonly path: string;
  /** Bytes appended so far, those found at opening included. */
  readonly size: number;
  /** Appends the parts in order. Throws {@link FilesError}; then the tail of the file is unknown. */
  append(parts: readonly Uint8Array[]): void;
  /** fdatasync on a thread of its own. Everything appended before the call is durable when `done(undefined)` runs. */
  sync(done: Done): void;
  close(): void;
}

export interface Files {
  /** Opens for appending; creates it when absent. Its directory entry is durable only after `syncDir`. */
  openAppend(path: string): AppendFile;
  exists(path: string): boolean;
  /** Names in a directory, sorted; empty when there is no such directory. */
  list(dir: string): string[];
  size(path: string): number;
  read(path: string): Uint8Array;
  /** Up to `length` bytes from `offset`; shorter at the end of the file. */
  readAt(path: string, offset: number, length: number): Uint8Array;
  makeDir(dir: string): void;
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** Removes a directory with everything in it; absent is fine. */
  removeTree(dir: string): void;
  /** Cuts the file; durable after `syncDir` of its directory or a later `sync` of it. Used at start only. */
  truncate(path: string, length: number): void;
  /** Makes creations, renames and removals in `dir` durable. */
  syncDir(dir: string, done: Done): void;
  /** Replaces the file with `bytes` as one step: new file, sync, rename, sync of the directory. */
  writeAtomic(path: string, bytes: Uint8Array, done: Done): void;
}
