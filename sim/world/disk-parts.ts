// What a simulated disk is made of: file contents with what of them is durable, and operations on the
// tree of directories. Used by sim-files.ts.

export class Inode {
  bytes: Uint8Array = new Uint8Array(256);
  size = 0;
  /** Bytes before this survive a power cut. */
  synced = 0;
  /** What is on disk while a truncation is not durable yet. */
  beforeTruncate: Uint8Array | undefined;
  /** Bytes of failed syncs: the page cache forgot that they are dirty. */
  readonly lost: { readonly from: number; readonly to: number }[] = [];

  append(part: Uint8Array): void {
    const need = this.size + part.length;
    if (need > this.bytes.length) {
      const grown = new Uint8Array(Math.max(need, this.bytes.length * 2));
      grown.set(this.bytes.subarray(0, this.size));
      this.bytes = grown;
    }
    this.bytes.set(part, this.size);
    this.size = need;
  }
}

export type Entry = Inode | 'dir';

/** One step on the directory tree; a rename is one step of two changes. */
export interface DirOp {
  /** They are numbered as they come. */
  readonly number: number;
  readonly dirs: readonly string[];
  changes: readonly { readonly path: string; readonly entry: Entry | undefined }[];
}

export function syncedInode(bytes: Uint8Array): Inode {
  const inode = new Inode();
  inode.append(bytes);
  inode.synced = inode.size;
  return inode;
}

export function apply(tree: Map<string, Entry>, op: Pick<DirOp, 'changes'>): void {
  for (const { path, entry } of op.changes) {
    if (entry === undefined) tree.delete(path);
    else tree.set(path, entry);
  }
}

export function hasParents(tree: Map<string, Entry>, path: string): boolean {
  for (let dir = parentOf(path); dir !== ''; dir = parentOf(dir)) if (tree.get(dir) !== 'dir') return false;
  return true;
}

export function parentOf(path: string): string {
  const at = path.lastIndexOf('/');
  return at < 0 ? '' : path.slice(0, at);
}

/** One spelling per path: no leading './', no trailing '/'. */
export function clean(path: string): string {
  const parts = path.split('/').filter((p) => p !== '' && p !== '.');
  return parts.join('/');
}
