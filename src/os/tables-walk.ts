// A walk through LMDB's data file, page by page, before LMDB maps it. LMDB has no checksums and trusts every
// page: one whose inside was damaged on the disk ends the process by a signal, without a word. What this
// walk lets pass does not (`test/contracts/tables-walk.test.ts` damages some hundred files, and tries both).
// Called by `os/tables.ts`, which says when; reads the file once, and holds one page of each level.
//
// Checked is what LMDB relies on: the snapshot that it would open, its two trees (the rows, and the list of
// free pages), in each page the number, the kind, the places and sizes of the nodes, the order of the keys,
// where pages lead to; that no page is used twice, and no free one is used. Contents of rows have checksums.
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { DamagedTablesError } from '#env/tables.js';

const header = 24;
/** In a page. */
const at = { number: 0, transaction: 8, flags: 18, lower: 20, upper: 22 } as const;
const flags = { branch: 1, leaf: 2, overflow: 4 } as const;
/** In a node: the size of the data, or the page that it leads to; then flags, the size of the key, the key. */
const node = { low: 0, flags: 4, keyBytes: 6, key: 8 } as const;
const bigData = 1;
/** What a node has instead of data that lie in pages of their own: number of the first, a transaction, how many. */
const bigDataBytes = 24;
const metaPages = 2;
const noPage = 2 ** 64;
const depthMax = 32;
/** Of a tree's record in a meta page, and of the trees, and what follows them. */
const tree = { flags: 4, depth: 6, branches: 8, leaves: 16, overflows: 24, entries: 32, root: 40 } as const;
const meta = { version: 28, address: 32, pageBytes: 48, freeTree: 48, rowTree: 96, lastPage: 144, transaction: 152, boot: 160, end: 168 } as const;
const metaFlag = 8;
const version = 2;
/** Of the free tree: set until a snapshot was synced; and that its keys are numbers. */
const unsyncedFlag = 0x1000;
const integerKeys = 0x08;
const bootIdFile = '/proc/sys/kernel/random/boot_id';

/** Throws {@link DamagedTablesError} with the reason. The file is one that `lookAtTablesFile` let pass. */
export function walkTablesFile(path: string): void {
  if (!existsSync(path)) return;
  const fd = openSync(path, 'r');
  try {
    if (fstatSync(fd).size > 0) for (const snapshot of snapshots(fd)) new Walk(fd, snapshot).all();
  } catch (error) {
    throw error instanceof RangeError ? new DamagedTablesError('a place outside of a page is named') : error;
  } finally {
    closeSync(fd);
  }
}

interface Meta {
  readonly bytes: Buffer;
  readonly pageBytes: number;
  readonly lastPage: number;
  readonly transaction: number;
  readonly boot: bigint;
  readonly unsynced: boolean;
}

/** Three of them: two that commits write in turn, and between them what was synced last, which has no head. */
function readMeta(fd: number, offset: number, hasHead: boolean): Meta {
  const bytes = Buffer.alloc(meta.end);
  if (readSync(fd, bytes, 0, meta.end, offset) < meta.end) throw damaged('a first page', 'is missing');
  // What LMDB refuses ends the process as well: it goes on with what it has freed.
  const head = bytes.readUInt16LE(at.flags) === metaFlag && bytes.readUInt32LE(meta.version) === version && number64(bytes, meta.address) === 0;
  const trees =
    (bytes.readUInt16LE(meta.freeTree + tree.flags) & ~unsyncedFlag) === integerKeys && bytes.readUInt16LE(meta.rowTree + tree.flags) === 0;
  const begun = hasHead || number64(bytes, meta.transaction) > 0;
  if ((hasHead && !head) || (begun && !trees)) throw damaged('a first page', 'is of another kind');
  return {
    bytes,
    pageBytes: bytes.readUInt32LE(meta.pageBytes),
    lastPage: number64(bytes, meta.lastPage),
    transaction: number64(bytes, meta.transaction),
    boot: bytes.readBigInt64LE(meta.boot),
    unsynced: (bytes.readUInt16LE(meta.freeTree + tree.flags) & unsyncedFlag) !== 0,
  };
}

/** What LMDB would open: two places where it decides, in different orders (mdb_env_read_header, mdb_env_pick_meta). */
function snapshots(fd: number): readonly Meta[] {
  const first = readMeta(fd, 0, true);
  const second = readMeta(fd, first.pageBytes, true);
  const synced = readMeta(fd, first.pageBytes / 2, false);
  if (synced.transaction > 0 && synced.pageBytes !== first.pageBytes) throw damaged('a first page', 'is of another kind');
  const boot = bootId();
  const read = pick(pick(first, synced, boot), second, boot);
  const safe = pick(pick(first, second, boot), synced, boot);
  const latest = first.transaction >= second.transaction ? first : second;
  // One that is not the latest is written over both.
  const used = safe.transaction !== latest.transaction || read.transaction % 2 === 0 ? first : second;
  return safe.transaction === latest.transaction && used !== safe ? [safe, used] : [safe];
}

/** mdb_pick_meta: of the same boot the latest, else the older one, unless the latest was synced. */
function pick(a: Meta, b: Meta, boot: bigint): Meta {
  const latest = a.transaction >= b.transaction ? a : b;
  if (b.transaction === 0) return a;
  if ((latest.boot !== 0n && latest.boot === boot) || !latest.unsynced) return latest;
  return a.transaction > b.transaction ? b : a;
}

function bootId(): bigint {
  return existsSync(bootIdFile) ? BigInt(`0x${readFileSync(bootIdFile, 'latin1').split('-')[0] ?? '0'}`) : 0n;
}

interface Entries {
  readonly page: Buffer;
  readonly count: number;
}

class Walk {
  readonly #fd: number;
  readonly #meta: Meta;
  readonly #pageBytes: number;
  /** By number: used by a tree, or free. */
  readonly #seen: Uint8Array;
  /** One per level, and one for the heads of overflow pages. */
  readonly #pages: Buffer[] = [];
  readonly #starts: Uint16Array;
  #depth = 0;
  #entries = 0;
  #ofRows = true;
  #before: Buffer | undefined;
  /** `#before` was a separator: the next key may be the same. */
  #separator = false;

  constructor(fd: number, snapshot: Meta) {
    this.#fd = fd;
    this.#meta = snapshot;
    this.#pageBytes = snapshot.pageBytes;
    if (snapshot.lastPage < metaPages - 1 || (snapshot.lastPage + 1) * this.#pageBytes > fstatSync(fd).size)
      throw damaged('the first pages', 'lead beyond the end');
    this.#seen = new Uint8Array(snapshot.lastPage + 1).fill(1, 0, metaPages);
    this.#starts = new Uint16Array(this.#pageBytes);
  }

  all(): void {
    this.#tree(meta.rowTree, true);
    this.#tree(meta.freeTree, false);
  }

  #tree(offset: number, ofRows: boolean): void {
    const { bytes } = this.#meta;
    const root = number64(bytes, offset + tree.root);
    const entries = number64(bytes, offset + tree.entries);
    this.#depth = bytes.readUInt16LE(offset + tree.depth);
    this.#entries = 0;
    this.#ofRows = ofRows;
    this.#before = undefined;
    if (this.#depth > depthMax || root >= noPage !== (this.#depth === 0)) throw damaged('a tree', 'has another depth');
    if (root < noPage) this.#page(root, 1);
    if (this.#entries !== entries) throw damaged('a tree', `has ${this.#entries} entries instead of ${entries}`);
  }

  #use(first: number, count: number, by: string): void {
    if (!Number.isSafeInteger(first + count) || count < 1 || first < metaPages || first + count - 1 > this.#meta.lastPage)
      throw damaged(by, 'leads beyond the end');
    for (let number = first; number < first + count; number++) {
      if (this.#seen[number] !== 0) throw damaged(`page ${number}`, 'is used twice');
      this.#seen[number] = 1;
    }
  }

  #page(number: number, level: number): void {
    this.#use(number, 1, 'a page');
    const page = this.#read(number, level, this.#pageBytes);
    const name = `page ${number}`;
    const isLeaf = level === this.#depth;
    if (number64(page, at.number) !== number) throw damaged(name, 'has another number');
    if (number64(page, at.transaction) > this.#meta.transaction) throw damaged(name, 'was written later');
    if (page.readUInt16LE(at.flags) !== (isLeaf ? flags.leaf : flags.branch)) throw damaged(name, 'is of another kind');
    const count = this.#nodes(page, isLeaf, name);
    if (count < (isLeaf ? 1 : 2) && this.#ofRows) throw damaged(name, 'has no nodes');
    if (isLeaf) this.#leaf({ page, count }, name);
    else this.#branch({ page, count }, level, name);
  }

  #read(number: number, level: number, length: number): Buffer {
    const page = this.#pages[level] ?? Buffer.alloc(this.#pageBytes);
    this.#pages[level] = page;
    if (readSync(this.#fd, page, 0, length, number * this.#pageBytes) < length) throw damaged(`page ${number}`, 'is not there');
    return page;
  }

  /** The nodes fill the page from `upper` to its end, each once. Returns how many. */
  #nodes(page: Buffer, isLeaf: boolean, name: string): number {
    const lower = page.readUInt16LE(at.lower);
    const upper = page.readUInt16LE(at.upper);
    const room = this.#pageBytes - header;
    if (lower % 2 !== 0 || lower > upper || upper > room) throw damaged(name, 'has a damaged head');
    const count = lower / 2;
    const starts = this.#starts.fill(0, upper, room);
    for (let i = 0; i < count; i++) {
      const place = page.readUInt16LE(header + 2 * i);
      if (place < upper || place + node.key > room || place % 2 !== 0 || starts[place] !== 0) throw damaged(name, 'has a node in the wrong place');
      starts[place] = nodeBytes(page, header + place, isLeaf, room);
    }
    let found = 0;
    let place = upper;
    for (; place < room; found++) {
      const bytes = starts[place] as number;
      if (bytes === 0) break;
      place += bytes;
    }
    if (found !== count || place !== room) throw damaged(name, 'has nodes of wrong sizes');
    return count;
  }

  #branch({ page, count }: Entries, level: number, name: string): void {
    for (let i = 0; i < count; i++) {
      const start = header + page.readUInt16LE(header + 2 * i);
      // The first key of a branch is not looked at by anybody.
      if (i > 0) this.#ordered(keyOf(page, start), true, name);
      this.#page(page.readUIntLE(start + node.low, 6), level + 1);
    }
  }

  #leaf({ page, count }: Entries, name: string): void {
    this.#entries += count;
    for (let i = 0; i < count; i++) {
      const start = header + page.readUInt16LE(header + 2 * i);
      const key = keyOf(page, start);
      if (key.length === 0 || (!this.#ofRows && key.length !== 8)) throw damaged(name, 'has a key of a wrong size');
      this.#ordered(key, false, name);
      const length = page.readUInt32LE(start + node.low);
      const big = page.readUInt16LE(start + node.flags) === bigData;
      const place = start + node.key + key.length;
      const [first, pages] = big ? this.#overflow(page, place, length) : [0, 0];
      if (!this.#ofRows) this.#free(big ? this.#data(first, pages, length) : page.subarray(place, place + length), name);
    }
    // The page's memory is the next one's of this level.
    if (this.#before !== undefined) this.#before = Buffer.from(this.#before);
  }

  #ordered(key: Buffer, separator: boolean, name: string): void {
    const before = this.#before;
    if (before !== undefined) {
      const order = this.#ofRows ? before.compare(key) : compareNumbers(before, key);
      if (order > 0 || (order === 0 && (separator || !this.#separator))) throw damaged(name, 'is out of order');
    }
    this.#before = separator ? Buffer.from(key) : key;
    this.#separator = separator;
  }

  /** Pages that hold one value. */
  #overflow(page: Buffer, place: number, length: number): readonly [number, number] {
    const first = number64(page, place);
    const pages = number64(page, place + 16);
    this.#use(first, pages, 'a large row');
    const name = `page ${first}`;
    const head = this.#read(first, 0, header);
    if (number64(head, at.number) !== first || head.readUInt16LE(at.flags) !== flags.overflow) throw damaged(name, 'is of another kind');
    if (number64(head, at.transaction) > this.#meta.transaction) throw damaged(name, 'was written later');
    if (head.readUInt32LE(at.lower) !== pages || header + length > pages * this.#pageBytes) throw damaged(name, 'has another size');
    return [first, pages];
  }

  #data(first: number, pages: number, length: number): Buffer {
    const bytes = Buffer.alloc(pages * this.#pageBytes);
    if (readSync(this.#fd, bytes, 0, bytes.length, first * this.#pageBytes) < bytes.length) throw damaged(`page ${first}`, 'is not there');
    return bytes.subarray(header, header + length);
  }

  /** A list of free pages: how many numbers follow; a page, or how many (below zero) from which one on; zeros are skipped. */
  #free(list: Buffer, name: string): void {
    const count = number64(list, 0);
    if (list.length % 8 !== 0 || count > list.length / 8 - 1) throw damaged(name, 'lists more than it has');
    for (let i = 1; i <= count; i++) {
      const entry = list.readBigInt64LE(8 * i);
      if (entry > 0n) this.#use(Number(entry), 1, name);
      else if (entry < 0n) this.#use(number64(list, 8 * ++i), Number(-entry), name);
    }
  }
}

function keyOf(page: Buffer, start: number): Buffer {
  return page.subarray(start + node.key, start + node.key + page.readUInt16LE(start + node.keyBytes));
}

/** 0: none that LMDB writes. */
function nodeBytes(page: Buffer, start: number, isLeaf: boolean, room: number): number {
  const keyBytes = page.readUInt16LE(start + node.keyBytes);
  let bytes = node.key + keyBytes;
  if (isLeaf) {
    const kind = page.readUInt16LE(start + node.flags);
    if (kind !== 0 && kind !== bigData) return 0;
    bytes += kind === bigData ? bigDataBytes : page.readUInt32LE(start + node.low);
  }
  bytes += bytes % 2;
  return start - header + bytes > room ? 0 : bytes;
}

function compareNumbers(a: Buffer, b: Buffer): number {
  return Number(a.readBigUInt64LE(0) - b.readBigUInt64LE(0));
}

/** Exact below 2^53, and above it only ever compared. */
function number64(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset) + bytes.readUInt32LE(offset + 4) * 2 ** 32;
}

function damaged(what: string, why: string): DamagedTablesError {
  return new DamagedTablesError(`${what} ${why}`);
}
