// env's files under one data directory. Appends are synchronous writes into the page cache;
// everything that waits for the disk goes to the sync thread, never to libuv's pool.
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeSync,
  writevSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { assert } from '#base/assert.js';
import { type AppendFile, type Done, type Files, FilesError } from '#env/files.js';
import { SyncThread } from './sync-thread.js';

/** writev takes at most this many parts at once (IOV_MAX). */
const partsPerWrite = 1024;

export class OsFiles implements Files {
  readonly #root: string;
  readonly #thread = new SyncThread();
  readonly #dirs = new Map<string, Coalescer>();
  #temporary = 0;

  /** `root`: the data directory, created when absent. */
  constructor(root: string) {
    this.#root = resolve(root);
    mkdirSync(this.#root, { recursive: true, mode: 0o700 });
  }

  openAppend(path: string): AppendFile {
    return attempt(path, () => new OsAppendFile(path, this.#full(path), this.#thread));
  }

  exists(path: string): boolean {
    return existsSync(this.#full(path));
  }

  list(dir: string): string[] {
    return attempt(dir, () => {
      try {
        return readdirSync(this.#full(dir)).sort();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
        throw error;
      }
    });
  }

  size(path: string): number {
    return attempt(path, () => statSync(this.#full(path)).size);
  }

  read(path: string): Uint8Array {
    return attempt(path, () => {
      // A plain view: slice() of a Buffer would not copy.
      const bytes = readFileSync(this.#full(path));
      return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    });
  }

  readAt(path: string, offset: number, length: number): Uint8Array {
    return attempt(path, () => {
      const fd = openSync(this.#full(path), 'r');
      try {
        const bytes = new Uint8Array(length);
        let at = 0;
        while (at < length) {
          const n = readSync(fd, bytes, at, length - at, offset + at);
          if (n === 0) break;
          at += n;
        }
        return at === length ? bytes : bytes.subarray(0, at);
      } finally {
        closeSync(fd);
      }
    });
  }

  makeDir(dir: string): void {
    attempt(dir, () => mkdirSync(this.#full(dir), { recursive: true, mode: 0o700 }));
  }

  rename(from: string, to: string): void {
    attempt(from, () => renameSync(this.#full(from), this.#full(to)));
  }

  remove(path: string): void {
    attempt(path, () => unlinkSync(this.#full(path)));
  }

  removeTree(dir: string): void {
    attempt(dir, () => rmSync(this.#full(dir), { recursive: true, force: true }));
  }

  truncate(path: string, length: number): void {
    attempt(path, () => truncateSync(this.#full(path), length));
  }

  syncDir(dir: string, done: Done): void {
    const full = this.#full(dir);
    let coalescer = this.#dirs.get(full);
    if (coalescer === undefined) {
      coalescer = new Coalescer(dir, (answer) => this.#thread.request({ kind: 'dir', path: full }, answer));
      this.#dirs.set(full, coalescer);
    }
    coalescer.add(done);
  }

  writeAtomic(path: string, bytes: Uint8Array, done: Done): void {
    const full = this.#full(path);
    // A name of its own per call: a leftover of a crash is harmless, it is overwritten or ignored.
    const temporary = `${full}.${++this.#temporary}.tmp`;
    this.#thread.request({ kind: 'atomic', path: full, temporary, dir: dirname(full), bytes }, (code, message) =>
      done(code === undefined ? undefined : new FilesError(code, path, message)),
    );
  }

  /** Waits for syncs under way, then ends the thread. */
  close(done: () => void): void {
    this.#thread.close(done);
  }

  /** For libraries that open paths themselves (the table store). */
  fullPath(path: string): string {
    return this.#full(path);
  }

  #full(path: string): string {
    assert(!path.startsWith('/') && !path.split('/').includes('..'), `files: ${path} is not inside the data directory`);
    return join(this.#root, path);
  }
}

/** Several syncs of one file or directory asked for in a turn are one job. */
class Coalescer {
  readonly #path: string;
  readonly #request: (answer: (code: string | undefined, message: string) => void) => void;
  #waiting: Done[] = [];
  #underWay = 0;
  /** Runs when nothing is asked for or under way any more. */
  onIdle: (() => void) | undefined;

  constructor(path: string, request: (answer: (code: string | undefined, message: string) => void) => void) {
    this.#path = path;
    this.#request = request;
  }

  get idle(): boolean {
    return this.#waiting.length === 0 && this.#underWay === 0;
  }

  add(done: Done): void {
    if (this.#waiting.length === 0) queueMicrotask(() => this.#send());
    this.#waiting.push(done);
  }

  #send(): void {
    const batch = this.#waiting;
    this.#waiting = [];
    this.#underWay++;
    this.#request((code, message) => {
      this.#underWay--;
      const error = code === undefined ? undefined : new FilesError(code, this.#path, message);
      try {
        for (const done of batch) done(error);
      } finally {
        if (this.idle) this.onIdle?.();
      }
    });
  }
}

class OsAppendFile implements AppendFile {
  readonly path: string;
  readonly #fd: number;
  readonly #syncs: Coalescer;
  #size: number;
  #closed = false;

  constructor(path: string, full: string, thread: SyncThread) {
    this.path = path;
    const fd = openSync(full, 'a', 0o600);
    this.#fd = fd;
    this.#size = fstatSync(fd).size;
    this.#syncs = new Coalescer(path, (answer) => thread.request({ kind: 'file', fd }, answer));
  }

  get size(): number {
    return this.#size;
  }

  append(parts: readonly Uint8Array[]): void {
    assert(!this.#closed, `files: ${this.path} is closed`);
    attempt(this.path, () => {
      for (let i = 0; i < parts.length; i += partsPerWrite) this.#write(parts.slice(i, i + partsPerWrite));
    });
  }

  #write(parts: Uint8Array[]): void {
    let left = parts.filter((p) => p.length > 0);
    while (left.length > 0) {
      const first = left[0] as Uint8Array;
      let n = left.length === 1 ? writeSync(this.#fd, first) : writevSync(this.#fd, left);
      this.#size += n;
      // A short write (disk full, signal) leaves a rest, and the next call reports the reason.
      let i = 0;
      while (i < left.length && n >= (left[i] as Uint8Array).length) n -= (left[i++] as Uint8Array).length;
      left = left.slice(i);
      if (n > 0) left[0] = (left[0] as Uint8Array).subarray(n);
    }
  }

  sync(done: Done): void {
    assert(!this.#closed, `files: ${this.path} is closed`);
    this.#syncs.add(done);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // The number of a closed file is given to the next one opened: a sync under way must not meet it.
    if (this.#syncs.idle) closeSync(this.#fd);
    else this.#syncs.onIdle = () => closeSync(this.#fd);
  }
}

function attempt<T>(path: string, fn: () => T): T {
  try {
    return fn();
  } catch (error) {
    const e = error as NodeJS.ErrnoException;
    if (e.code === undefined || e.syscall === undefined) throw error;
    throw new FilesError(e.code, path, e.message);
  }
}
