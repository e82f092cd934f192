// The simulated disk of one host, and the `Files` that a process of it sees. The disk outlives
// processes; `crash` is the power cut: of every file its synced bytes stay and a random prefix of the
// rest, and of the directory operations not yet made durable a random prefix in their order.
//
// What is read comes as Buffers, as in the real world (their `slice` does not copy).
// Stricter than most real disks on purpose: a directory entry is durable only after `syncDir` of its
// directory, also for directories. Used through sim-env.ts; faults are set by scenarios on `SimDisk`.
import { assert } from '#base/assert.js';
import { copyBytes } from '#base/bytes.js';
import type { Prng } from '#base/prng.js';
import { type AppendFile, type Done, type Files, FilesError } from '#env/files.js';
import { apply, clean, type DirOp, type Entry, hasParents, Inode, parentOf, syncedInode } from './disk-parts.js';
import { eventKinds, type Scope, type World } from './scheduler.js';

export interface DiskFaults {
  /** How long a sync takes: from, to. */
  syncMs: readonly [number, number];
  /** Multiplies it: a slow disk. */
  slowFactor: number;
  /** Chance that a sync fails with EIO. */
  syncErrorChance: number;
  /** Bytes that fit; appends beyond fail with ENOSPC. */
  capacityBytes: number;
  /** Chance, in a power cut, that one sector among the surviving unsynced bytes of a file reads as zeros. */
  zeroedSectorChance: number;
  /** Every append and sync fails with this code while set. */
  failWith: string | undefined;
}

const sectorBytes = 512;

export class SimDisk {
  readonly world: World;
  readonly prng: Prng;
  readonly faults: DiskFaults = {
    syncMs: [0.2, 1.5],
    slowFactor: 1,
    syncErrorChance: 0,
    capacityBytes: Number.POSITIVE_INFINITY,
    zeroedSectorChance: 0,
    failWith: undefined,
  };
  /** Called with each directory that goes away (the table stores live in directories). */
  onDirGone: ((dir: string) => void) | undefined;
  /** Whether a table store lives in the directory or below. */
  holdsStore: ((dir: string) => boolean) | undefined;
  usedBytes = 0;
  syncs = 0;
  readonly #live = new Map<string, Entry>();
  readonly #durable = new Map<string, Entry>();
  #journal: DirOp[] = [];
  /** The number of the last one, durable or not. */
  #dirOps = 0;
  /** Replacements whose rename may have reached the disk. */
  readonly #replacing = new Set<{ readonly path: string; readonly bytes: Uint8Array }>();
  #syncQueueEnd = 0;

  constructor(world: World, prng: Prng) {
    this.world = world;
    this.prng = prng;
  }

  /** Power cut. What a process left behind is now what the disk had. */
  crash(): void {
    for (const op of this.#journal.slice(0, this.prng.int(this.#journal.length + 1))) apply(this.#durable, op);
    this.#journal = [];
    for (const r of this.#replacing) if (this.prng.chance(0.5)) this.#durable.set(r.path, syncedInode(r.bytes));
    this.#replacing.clear();
    const dirs = [...this.#live].filter(([, e]) => e === 'dir').map(([p]) => p);
    this.#live.clear();
    for (const path of [...this.#durable.keys()].sort()) {
      const entry = this.#durable.get(path) as Entry;
      if (!hasParents(this.#durable, path)) {
        this.#durable.delete(path);
        continue;
      }
      if (entry !== 'dir') this.#crashFile(entry);
      this.#live.set(path, entry);
    }
    for (const dir of dirs) if (!this.#live.has(dir)) this.onDirGone?.(dir);
    this.#recount();
    this.#syncQueueEnd = 0;
  }

  /** Kill of the process alone: the operating system keeps everything. */
  killed(): void {
    for (const r of this.#replacing) if (this.prng.chance(0.5)) this.#replace(r.path, r.bytes);
    this.#replacing.clear();
    this.#syncQueueEnd = 0;
  }

  /** Nothing is left: a new disk. */
  wipe(): void {
    const dirs = [...this.#live].filter(([, e]) => e === 'dir').map(([p]) => p);
    this.#live.clear();
    this.#durable.clear();
    this.#journal = [];
    this.#replacing.clear();
    this.usedBytes = 0;
    for (const dir of dirs) this.onDirGone?.(dir);
  }

  /** Takes over what is on another disk now, durably, in the place of everything. */
  copyFrom(other: SimDisk): void {
    this.wipe();
    for (const [path, e] of other.#live) {
      const entry = e === 'dir' ? e : syncedInode(e.bytes.subarray(0, e.size));
      this.#live.set(path, entry);
      this.#durable.set(path, entry);
    }
    this.#recount();
  }

  /** Turns one bit over, on disk and in the cache. Returns where, or undefined for an empty or absent file. */
  flipBit(path: string, at?: number): number | undefined {
    const inode = this.#live.get(clean(path));
    if (inode === undefined || inode === 'dir' || inode.size === 0) return undefined;
    const where = at ?? this.prng.int(inode.size);
    inode.bytes[where] = (inode.bytes[where] as number) ^ (1 << this.prng.int(8));
    return where;
  }

  /** Shortens a file on disk, as a repair tool or a broken file system might. */
  cutFile(path: string, length: number): void {
    const inode = this.#live.get(clean(path));
    if (inode === undefined || inode === 'dir' || inode.size <= length) return;
    inode.size = length;
    inode.synced = Math.min(inode.synced, length);
  }

  /** All files and their sizes. */
  files(): { readonly path: string; readonly size: number; readonly synced: number }[] {
    const out: { readonly path: string; readonly size: number; readonly synced: number }[] = [];
    for (const [path, e] of this.#live) if (e !== 'dir') out.push({ path, size: e.size, synced: e.synced });
    return out.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  filesFor(scope: Scope): Files {
    return {
      openAppend: (path) => this.#openAppend(clean(path), scope),
      exists: (path) => clean(path) === '' || this.#live.has(clean(path)),
      list: (dir) => this.#list(clean(dir)),
      size: (path) => this.#file(clean(path)).size,
      read: (path) => {
        const inode = this.#file(clean(path));
        return Buffer.from(inode.bytes.subarray(0, inode.size));
      },
      readAt: (path, offset, length) => {
        const inode = this.#file(clean(path));
        return Buffer.from(inode.bytes.subarray(Math.min(offset, inode.size), Math.min(offset + length, inode.size)));
      },
      makeDir: (dir) => this.#makeDir(clean(dir)),
      rename: (from, to) => this.#rename(clean(from), clean(to)),
      remove: (path) => {
        this.#file(clean(path));
        this.#change([{ path: clean(path), entry: undefined }]);
      },
      removeTree: (dir) => this.#removeTree(clean(dir)),
      truncate: (path, length) => this.#truncate(clean(path), length),
      syncDir: (dir, done) => this.#syncDir(clean(dir), scope, done),
      writeAtomic: (path, bytes, done) => this.#writeAtomic(clean(path), copyBytes(bytes), scope, done),
    };
  }

  /** A directory that is durable at once: the table store's own. */
  makeDurableDir(dir: string): void {
    // An earlier removal of the same directory that is not durable yet came before: it must not undo this.
    const again = clean(dir);
    for (const op of this.#journal) op.changes = op.changes.filter((c) => c.path !== again && !c.path.startsWith(`${again}/`));
    const parts = clean(dir).split('/');
    for (let i = 1; i <= parts.length; i++) {
      const path = parts.slice(0, i).join('/');
      if (path !== '' && !this.#live.has(path)) this.putDurable(path, 'dir');
      else if (path !== '') this.#durable.set(path, 'dir');
    }
  }

  putDurable(path: string, entry: Entry): void {
    this.#live.set(path, entry);
    this.#durable.set(path, entry);
    if (entry !== 'dir') this.#recount();
  }

  hasDir(dir: string): boolean {
    return dir === '' || this.#live.get(dir) === 'dir';
  }

  #crashFile(inode: Inode): void {
    if (inode.beforeTruncate !== undefined && this.prng.chance(0.5)) {
      inode.bytes = inode.beforeTruncate;
      inode.size = inode.synced = inode.bytes.length;
    }
    inode.beforeTruncate = undefined;
    const from = inode.synced;
    const kept = from + this.prng.int(inode.size - from + 1);
    if (kept > from && this.prng.chance(this.faults.zeroedSectorChance)) {
      const start = from + this.prng.int(kept - from);
      inode.bytes.fill(0, start, Math.min(kept, (Math.floor(start / sectorBytes) + 1) * sectorBytes));
    }
    for (const range of inode.lost.splice(0)) if (this.prng.chance(0.5)) inode.bytes.fill(0, range.from, Math.min(range.to, kept));
    inode.size = inode.synced = kept;
  }

  #recount(): void {
    this.usedBytes = 0;
    for (const e of this.#live.values()) if (e !== 'dir') this.usedBytes += e.size;
  }

  #file(path: string): Inode {
    const entry = this.#live.get(path);
    if (entry === undefined) throw new FilesError('ENOENT', path, `no such file: ${path}`);
    if (entry === 'dir') throw new FilesError('EISDIR', path, `is a directory: ${path}`);
    return entry;
  }

  #needParent(path: string): void {
    if (!this.hasDir(parentOf(path))) throw new FilesError('ENOENT', path, `no such directory: ${parentOf(path)}`);
  }

  #change(changes: DirOp['changes']): void {
    const op: DirOp = { number: ++this.#dirOps, dirs: changes.map((c) => parentOf(c.path)), changes };
    apply(this.#live, op);
    this.#journal.push(op);
    this.#recount();
  }

  #makeDir(dir: string): void {
    if (dir === '') return;
    const parts = dir.split('/');
    for (let i = 1; i <= parts.length; i++) {
      const path = parts.slice(0, i).join('/');
      const entry = this.#live.get(path);
      if (entry === 'dir') continue;
      if (entry !== undefined) throw new FilesError('EEXIST', path, `is a file: ${path}`);
      this.#change([{ path, entry: 'dir' }]);
    }
  }

  #list(dir: string): string[] {
    const prefix = dir === '' ? '' : `${dir}/`;
    const names: string[] = [];
    for (const path of this.#live.keys()) {
      if (path.startsWith(prefix) && path !== dir && !path.includes('/', prefix.length)) names.push(path.slice(prefix.length));
    }
    return names.sort();
  }

  #rename(from: string, to: string): void {
    const entry = this.#live.get(from);
    if (entry === undefined) throw new FilesError('ENOENT', from, `no such file: ${from}`);
    this.#needParent(to);
    const changes: { path: string; entry: Entry | undefined }[] = [
      { path: from, entry: undefined },
      { path: to, entry },
    ];
    if (entry === 'dir') {
      assert(this.holdsStore?.(from) !== true, 'the model does not rename directories of table stores');
      for (const [path, e] of this.#live) {
        if (path.startsWith(`${from}/`)) changes.push({ path, entry: undefined }, { path: to + path.slice(from.length), entry: e });
      }
    }
    apply(this.#live, { changes });
    this.#journal.push({ number: ++this.#dirOps, dirs: [parentOf(from), parentOf(to)], changes });
  }

  #removeTree(dir: string): void {
    const inside = [...this.#live.keys()].filter((p) => p === dir || p.startsWith(`${dir}/`)).sort();
    for (const path of inside.reverse()) {
      const wasDir = this.#live.get(path) === 'dir';
      this.#change([{ path, entry: undefined }]);
      if (wasDir) this.onDirGone?.(path);
    }
  }

  #truncate(path: string, length: number): void {
    const inode = this.#file(path);
    if (inode.size <= length) return;
    if (inode.synced > length) {
      inode.beforeTruncate ??= inode.bytes.slice(0, inode.synced);
      inode.synced = length;
    }
    inode.size = length;
    this.#recount();
  }

  #openAppend(path: string, scope: Scope): AppendFile {
    let entry = this.#live.get(path);
    if (entry === 'dir') throw new FilesError('EISDIR', path, `is a directory: ${path}`);
    if (entry === undefined) {
      this.#needParent(path);
      this.#failIfTold(path);
      entry = new Inode();
      this.#change([{ path, entry }]);
    }
    const inode = entry;
    let open = true;
    return {
      path,
      get size(): number {
        return inode.size;
      },
      append: (parts) => {
        if (!open) throw new FilesError('EBADF', path, 'the file is closed');
        for (const part of parts) this.#append(path, inode, part);
      },
      sync: (done) => this.#sync(path, inode, scope, done),
      close: () => {
        open = false;
      },
    };
  }

  #failIfTold(path: string): void {
    const code = this.faults.failWith;
    if (code !== undefined) throw new FilesError(code, path, `${code} (injected)`);
  }

  #append(path: string, inode: Inode, part: Uint8Array): void {
    this.#failIfTold(path);
    const room = this.faults.capacityBytes - this.usedBytes;
    if (part.length > room) {
      const fits = room > 0 ? this.prng.int(room) : 0;
      inode.append(part.subarray(0, fits));
      this.usedBytes += fits;
      throw new FilesError('ENOSPC', path, 'no space left on the device');
    }
    inode.append(part);
    this.usedBytes += part.length;
  }

  /** Runs `finish` when the disk is done, in order; with an error when one is due. */
  #later(path: string, scope: Scope, done: Done, finish: (error: FilesError | undefined) => void): void {
    const [low, high] = this.faults.syncMs;
    const at = Math.max(this.#syncQueueEnd, this.world.now + (low + this.prng.next() * (high - low)) * this.faults.slowFactor);
    this.#syncQueueEnd = at;
    this.syncs++;
    // The disk works on while the process is paused; only the news waits.
    this.world.at(
      at,
      () => {
        if (scope.dead) return;
        const code = this.faults.failWith ?? (this.prng.chance(this.faults.syncErrorChance) ? 'EIO' : undefined);
        const error = code === undefined ? undefined : new FilesError(code, path, `${code} (injected)`);
        finish(error);
        this.world.enter(scope, () => done(error), eventKinds.disk);
      },
      undefined,
      eventKinds.disk,
    );
  }

  #sync(path: string, inode: Inode, scope: Scope, done: Done): void {
    const upTo = inode.size;
    const from = inode.synced;
    this.#later(path, scope, done, (error) => {
      if (error !== undefined) {
        if (upTo > from) inode.lost.push({ from, to: upTo });
        return;
      }
      inode.beforeTruncate = undefined;
      inode.synced = Math.max(inode.synced, Math.min(upTo, inode.size));
    });
  }

  #syncDir(dir: string, scope: Scope, done: Done): void {
    const upTo = this.#dirOps;
    const truncated = [...this.#live]
      .filter(([p, e]) => e !== 'dir' && e.beforeTruncate !== undefined && parentOf(p) === dir)
      .map(([, e]) => e as Inode);
    this.#later(dir, scope, done, (error) => {
      if (error !== undefined) return;
      for (const inode of truncated) inode.beforeTruncate = undefined;
      this.#settle(dir, upTo);
    });
  }

  /** Makes the operations on `dir` durable, up to the one with this number. */
  #settle(dir: string, upTo: number): void {
    const rest: DirOp[] = [];
    this.#journal.forEach((op) => {
      if (op.number <= upTo && op.dirs.includes(dir)) apply(this.#durable, op);
      else rest.push(op);
    });
    this.#journal = rest;
  }

  #replace(path: string, bytes: Uint8Array): void {
    this.#settle(parentOf(path), this.#dirOps);
    this.putDurable(path, syncedInode(bytes));
  }

  #writeAtomic(path: string, bytes: Uint8Array, scope: Scope, done: Done): void {
    if (!this.hasDir(parentOf(path))) {
      const error = new FilesError('ENOENT', path, `no such directory: ${parentOf(path)}`);
      this.world.after(0, () => done(error), scope, eventKinds.disk);
      return;
    }
    const replacing = { path, bytes };
    this.#replacing.add(replacing);
    const full = bytes.length > this.faults.capacityBytes - this.usedBytes;
    const told: Done = (error) => done(error ?? (full ? new FilesError('ENOSPC', path, 'no space left on the device') : undefined));
    this.#later(path, scope, told, (error) => {
      this.#replacing.delete(replacing);
      if (error !== undefined || full) return;
      this.#replace(path, bytes);
    });
  }
}
