// The truth about one shard: its committed entries in order, as the cores saw them, and what they
// make of the tables: an apply of its own, as plain as can be, without the database's. Everything
// that nodes show is compared with it.
//
// Looks only: nothing here touches a node.
import { crc32c } from '#base/crc32c.js';
import { type EntryOp, type EntryTransaction, readEntry } from '#db/entry-codec.js';
import { keyString } from '../world/key-string.js';

export interface ModelRow {
  readonly tableId: number;
  readonly owner: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface LogRecord {
  readonly term: number;
  readonly crc: number;
}

/** Called for each transaction that counts, before its rows are written. */
export type OnTransaction = (t: EntryTransaction, index: number, n: number) => void;

interface ModelStream {
  lastSeq: number;
  frozen: boolean;
}

/** One number per row; the hash of a table is the sum of its rows'. */
export function rowHash(tableId: number, key: Uint8Array, owner: number, value: Uint8Array): number {
  let h = crc32c(value, crc32c(key));
  h = Math.imul(h ^ tableId, 0x9e3779b1) ^ Math.imul(owner + 1, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 12)) | 0;
}

export function cellName(tableId: number, key: Uint8Array): string {
  return String.fromCharCode(tableId) + keyString(key);
}

export class ShardModel {
  readonly shard: string;
  index = 0;
  /** Visible rows. */
  readonly rows: Map<string, ModelRow> = new Map();
  readonly log: LogRecord[] = [{ term: 0, crc: 0 }];
  /** Hash of the visible rows after each index. */
  readonly hashes: number[] = [0];
  readonly #live: Map<string, { highest: number; live: number }> = new Map();
  readonly #liveNumbers: Set<number> = new Set();
  readonly #streams: Map<number, ModelStream> = new Map();
  readonly #onTransaction: OnTransaction;
  readonly #violation: (text: string) => void;
  #hash = 0;
  #stampMs = 0;

  constructor(shard: string, onTransaction: OnTransaction, violation: (text: string) => void) {
    this.shard = shard;
    this.#onTransaction = onTransaction;
    this.#violation = (text) => violation(`${shard}: ${text}`);
  }

  isLive(incarnation: number): boolean {
    return this.#liveNumbers.has(incarnation);
  }

  /** All live incarnations. */
  live(): IterableIterator<number> {
    return this.#liveNumbers.values();
  }

  get(tableId: number, key: Uint8Array): ModelRow | undefined {
    return this.rows.get(cellName(tableId, key));
  }

  /** An entry that a core has applied: new to the model, or equal to what it knows. */
  see(who: string, index: number, term: number, kind: string, data: Uint8Array): void {
    const crc = crc32c(data, kind.length);
    const known = this.log[index];
    if (known !== undefined) {
      if (known.term !== term || known.crc !== crc) this.#violation(`${who} applied another entry ${index} (term ${term}, not ${known.term})`);
      return;
    }
    if (index !== this.index + 1) return this.#violation(`the model missed entries ${this.index + 1} to ${index - 1}`);
    if (term < (this.log[index - 1]?.term ?? 0)) this.#violation(`the term of entry ${index} is lower than the one before`);
    this.log.push({ term, crc });
    this.index = index;
    if (kind === 'normal') this.#apply(data, index);
    this.hashes.push(this.#hash);
  }

  #apply(data: Uint8Array, index: number): void {
    const batch = readEntry(data);
    if (batch.stampMs < this.#stampMs) this.#violation(`the stamp of entry ${index} goes back`);
    this.#stampMs = batch.stampMs;
    batch.transactions.forEach((t, n) => {
      if (t.incarnation !== 0 && !this.#counts(t, index)) return;
      if (t.status !== 0 && t.ops.length > 0) this.#violation(`a transaction of entry ${index} failed and has rows`);
      this.#onTransaction(t, index, n);
      for (const op of t.ops) this.#op(op);
    });
  }

  #counts(t: EntryTransaction, index: number): boolean {
    const s = this.#streams.get(t.incarnation);
    if (s === undefined || s.frozen) {
      this.#violation(`entry ${index} has a write of incarnation ${t.incarnation}, which is ${s === undefined ? 'unknown' : 'dead'}`);
      return false;
    }
    if (t.seq !== s.lastSeq + 1) {
      this.#violation(`entry ${index} has number ${t.seq} of incarnation ${t.incarnation} after ${s.lastSeq}`);
      return false;
    }
    s.lastSeq = t.seq;
    return true;
  }

  #op(op: EntryOp): void {
    switch (op.kind) {
      case 'put':
        if (op.owner !== 0 && !this.#liveNumbers.has(op.owner)) {
          this.#violation(`a put for the dead incarnation ${op.owner}`);
          return;
        }
        this.#set(cellName(op.tableId, op.key), { tableId: op.tableId, owner: op.owner, key: op.key, value: op.value });
        return;
      case 'delete':
        this.#set(cellName(op.tableId, op.key), undefined);
        return;
      case 'admit': {
        const now = this.#live.get(op.nodeId);
        if (now !== undefined && op.incarnation <= now.highest) return;
        if (now !== undefined && now.live !== 0) this.#purge(now.live);
        this.#live.set(op.nodeId, { highest: op.incarnation, live: op.incarnation });
        this.#liveNumbers.add(op.incarnation);
        this.#streams.set(op.incarnation, { lastSeq: 0, frozen: false });
        return;
      }
      case 'purge': {
        const now = this.#live.get(op.nodeId) ?? { highest: 0, live: 0 };
        const hit = now.live === op.incarnation;
        if (hit && now.live !== 0) this.#purge(now.live);
        this.#live.set(op.nodeId, { highest: Math.max(now.highest, op.incarnation), live: hit ? 0 : now.live });
        return;
      }
      case 'sweep':
        if (this.#liveNumbers.has(op.incarnation)) this.#violation(`a sweep of the live incarnation ${op.incarnation}`);
        return;
      case 'release':
        return;
    }
  }

  #purge(incarnation: number): void {
    this.#liveNumbers.delete(incarnation);
    const s = this.#streams.get(incarnation);
    if (s !== undefined) s.frozen = true;
    for (const [name, row] of this.rows) if (row.owner === incarnation) this.#set(name, undefined);
  }

  #set(name: string, row: ModelRow | undefined): void {
    const old = this.rows.get(name);
    if (old !== undefined) this.#hash = (this.#hash - rowHash(old.tableId, old.key, old.owner, old.value)) | 0;
    if (row === undefined) this.rows.delete(name);
    else {
      this.rows.set(name, row);
      this.#hash = (this.#hash + rowHash(row.tableId, row.key, row.owner, row.value)) | 0;
    }
  }
}
