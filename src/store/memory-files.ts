// Files in memory that remember what was synced, for tests: a crash keeps what was durable, and
// of the rest whatever the dice leave, as a real disk would.
import { assert } from '#base/assert.js';
import { type AppendFile, type Done, type Files, FilesError } from '#env/files.js';

interface Inode {
  bytes: Uint8Array;
  length: number;
  /** So much of the content survives a crash. */
  synced: number;
  /** Set when content was cut: what a crash may bring back. */
  beforeCut: Uint8Array | undefined;
}

/** What decides the outcome of a crash; `base/prng.js` fits. */
export interface Dice {
  int(limit: number): number;
  chance(p: number): boolean;
}

export class MemoryFiles implements Files {
  /** Path to content, as the running node sees it. */
  readonly #now = new Map<string, Inode>();
  /** As the directories on disk say. */
  readonly #durable = new Map<string, Inode>();
  readonly #dirs = new Set<string>();
  readonly #later: (fn: () => void) => void;
  /** Bytes that the disk has room for. */
  capacity: number = Number.POSITIVE_INFINITY;
  /** The next syncs fail with this. */
  syncError: string | undefined;

  /** `later` runs the completion of a sync: at once would be too early, never is a dead disk. */
  constructor(later: (fn: () => void) => void) {
    this.#later = later;
  }

  /** What the next start finds. `this` must not be used any more. */
  crash(dice: Dice): MemoryFiles {
    const next = new MemoryFiles(this.#later);
    for (const dir of this.#dirs) next.#dirs.add(dir);
    const survivors = new Map<Inode, Inode>();
    for (const path of new Set([...this.#durable.keys(), ...this.#now.keys()])) {
      // An entry that was not synced may have reached the disk all the same.
      const inode = dice.chance(0.5) ? this.#now.get(path) : this.#durable.get(path);
      if (inode === undefined) continue;
      let survivor = survivors.get(inode);
      if (survivor === undefined) survivor = afterCrash(inode, dice);
      survivors.set(inode, survivor);
      next.#now.set(path, survivor);
      next.#durable.set(path, survivor);
    }
    return next;
  }

  /** Changes bytes on disk behind everybody's back. */
  damage(path: string, change: (bytes: Uint8Array) => Uint8Array): void {
    const inode = this.#inode(path);
    inode.bytes = change(inode.bytes.slice(0, inode.length));
    inode.length = inode.bytes.length;
    inode.synced = inode.length;
  }

  openAppend(path: string): AppendFile {
    let inode = this.#now.get(path);
    if (inode === undefined) {
      inode = { bytes: new Uint8Array(256), length: 0, synced: 0, beforeCut: undefined };
      this.#now.set(path, inode);
    }
    return new MemoryAppendFile(this, path, inode, this.#later);
  }

  exists(path: string): boolean {
    return this.#now.has(path) || this.#dirs.has(path);
  }

  list(dir: string): string[] {
    const names = new Set<string>();
    for (const path of [...this.#now.keys(), ...this.#dirs]) {
      if (path.startsWith(`${dir}/`)) names.add(path.slice(dir.length + 1).split('/')[0] as string);
    }
    return [...names].sort();
  }

  size(path: string): number {
    return this.#inode(path).length;
  }

  read(path: string): Uint8Array {
    const inode = this.#inode(path);
    return inode.bytes.slice(0, inode.length);
  }

  readAt(path: string, offset: number, length: number): Uint8Array {
    const inode = this.#inode(path);
    return inode.bytes.slice(Math.min(offset, inode.length), Math.min(offset + length, inode.length));
  }

  makeDir(dir: string): void {
    const parts = dir.split('/');
    for (let i = 1; i <= parts.length; i++) this.#dirs.add(parts.slice(0, i).join('/'));
  }

  rename(from: string, to: string): void {
    this.#now.set(to, this.#inode(from));
    this.#now.delete(from);
  }

  remove(path: string): void {
    this.#inode(path);
    this.#now.delete(path);
  }

  removeTree(dir: string): void {
    for (const path of [...this.#now.keys()]) if (path === dir || path.startsWith(`${dir}/`)) this.#now.delete(path);
    for (const path of [...this.#dirs]) if (path === dir || path.startsWith(`${dir}/`)) this.#dirs.delete(path);
  }

  truncate(path: string, length: number): void {
    const inode = this.#inode(path);
    inode.beforeCut ??= inode.bytes.slice(0, inode.synced);
    inode.length = Math.min(inode.length, length);
    inode.synced = Math.min(inode.synced, length);
  }

  syncDir(dir: string, done: Done): void {
    const inside = (path: string): boolean => path.slice(0, Math.max(0, path.lastIndexOf('/'))) === dir;
    const entries = [...this.#now].filter(([path]) => inside(path));
    const error = this.takeSyncError(dir);
    this.#later(() => {
      if (error === undefined) {
        for (const path of [...this.#durable.keys()]) if (inside(path)) this.#durable.delete(path);
        for (const [path, inode] of entries) this.#durable.set(path, inode);
      }
      done(error);
    });
  }

  writeAtomic(path: string, bytes: Uint8Array, done: Done): void {
    const copy = bytes.slice();
    const error = this.takeSyncError(path);
    this.#later(() => {
      if (error === undefined) {
        const inode = { bytes: copy, length: copy.length, synced: copy.length, beforeCut: undefined };
        this.#now.set(path, inode);
        this.#durable.set(path, inode);
      }
      done(error);
    });
  }

  /** For `MemoryAppendFile`. */
  room(): number {
    let used = 0;
    for (const inode of this.#now.values()) used += inode.length;
    return Math.max(0, this.capacity - used);
  }

  takeSyncError(path: string): FilesError | undefined {
    return this.syncError === undefined ? undefined : new FilesError(this.syncError, path, `${this.syncError}: sync failed`);
  }

  #inode(path: string): Inode {
    const inode = this.#now.get(path);
    if (inode === undefined) throw new FilesError('ENOENT', path, `ENOENT: no such file ${path}`);
    return inode;
  }
}

class MemoryAppendFile implements AppendFile {
  readonly path: string;
  readonly #files: MemoryFiles;
  readonly #inode: Inode;
  readonly #later: (fn: () => void) => void;
  #closed = false;

  constructor(files: MemoryFiles, path: string, inode: Inode, later: (fn: () => void) => void) {
    this.#files = files;
    this.path = path;
    this.#inode = inode;
    this.#later = later;
  }

  get size(): number {
    return this.#inode.length;
  }

  append(parts: readonly Uint8Array[]): void {
    assert(!this.#closed, 'files: closed');
    for (const part of parts) {
      const fits = Math.min(part.length, this.#files.room());
      this.#write(part.subarray(0, fits));
      if (fits < part.length) throw new FilesError('ENOSPC', this.path, 'ENOSPC: no space left on device');
    }
  }

  #write(part: Uint8Array): void {
    const inode = this.#inode;
    const need = inode.length + part.length;
    if (need > inode.bytes.length) {
      const bytes = new Uint8Array(Math.max(need, inode.bytes.length * 2));
      bytes.set(inode.bytes.subarray(0, inode.length));
      inode.bytes = bytes;
    }
    inode.bytes.set(part, inode.length);
    inode.length = need;
  }

  sync(done: Done): void {
    assert(!this.#closed, 'files: closed');
    const inode = this.#inode;
    const { length } = inode;
    const error = this.#files.takeSyncError(this.path);
    this.#later(() => {
      if (error === undefined) {
        inode.synced = Math.max(inode.synced, Math.min(length, inode.length));
        inode.beforeCut = undefined;
      }
      done(error);
    });
  }

  close(): void {
    this.#closed = true;
  }
}

function afterCrash(inode: Inode, dice: Dice): Inode {
  let bytes: Uint8Array;
  if (inode.beforeCut !== undefined && dice.chance(0.5)) {
    bytes = inode.beforeCut;
  } else {
    const kept = inode.synced + dice.int(inode.length - inode.synced + 1);
    // A file may have its new length already, and zeros where the content was to come.
    const size = dice.chance(0.3) ? kept + dice.int(inode.length - kept + 1) : kept;
    bytes = new Uint8Array(size);
    bytes.set(inode.bytes.subarray(0, kept));
  }
  return { bytes, length: bytes.length, synced: bytes.length, beforeCut: undefined };
}
