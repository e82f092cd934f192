// The one function that changes tables, the same on every node: committed log entries in, one
// batch of store writes out. Pure but for reading the store in a sweep; used by cores,
// replicants and bootstraps alike. Entries are idempotent row writes and cannot fail.
//
// The cursor's live set and streams run ahead of the readers' until the batch is committed.
import { assert } from '#base/assert.js';
import { copyBytes } from '#base/bytes.js';
import type { Hash } from '#env/hash.js';
import type { TableStore, TableWrite } from '#env/tables.js';
import { type EntryOp, type EntryTransaction, readEntry } from './entry-codec.js';
import {
  decodeStored,
  isSideKey,
  ownerIndexByte,
  ownerIndexKey,
  ownerIndexStart,
  plainKeyBytesMax,
  storedKey,
  storedOfOwnerIndex,
  storedValue,
} from './stored-row.js';
import { encodeNode, encodePosition, metaKey, nodeKey, type Position, purgeKey, type SystemState, streamKey } from './system-rows.js';

/** A committed entry of a shard's log. `kind` 0 carries transactions; others only move the position. */
export interface AppliedEntry {
  readonly index: number;
  readonly term: number;
  readonly kind: number;
  readonly data: Uint8Array;
}

export const entryKind: { readonly normal: 0; readonly noop: 1; readonly config: 2 } = { normal: 0, noop: 1, config: 2 };

export type FeedOp =
  | { readonly kind: 'row'; readonly tableId: number; readonly key: Uint8Array; readonly owner: number; readonly value: Uint8Array | undefined }
  | { readonly kind: 'admitted'; readonly nodeId: string; readonly incarnation: number }
  | { readonly kind: 'purged'; readonly nodeId: string; readonly incarnation: number };

/** What one batch does, handed to the store and, once committed, to readers and feeds. */
export interface ApplyBatch {
  readonly writes: TableWrite[];
  readonly feed: FeedOp[];
  position: Position;
  readonly longTables: Set<number>;
  /** Streams whose numbers moved, to wake proposers on this node; and for the batch's stream rows. */
  readonly streams: Set<number>;
  transactions: number;
}

export class ApplyCursor {
  readonly system: SystemState;
  readonly #hash: Hash;

  constructor(system: SystemState, hash: Hash) {
    this.system = system;
    this.#hash = hash;
  }

  begin(): ApplyBatch {
    return { writes: [], feed: [], position: this.system.position, longTables: new Set(), streams: new Set(), transactions: 0 };
  }

  /** False: the entry was not taken, because it reads the store and the batch has writes; commit the batch first. */
  add(batch: ApplyBatch, entry: AppliedEntry, store: TableStore): boolean {
    const before = this.system.position;
    assert(entry.index === before.appliedIndex + 1, `apply ${entry.index} after ${before.appliedIndex}`);
    let { config, stampMs, transactions } = before;
    if (entry.kind === entryKind.config) config = copyBytes(entry.data);
    else if (entry.kind === entryKind.normal) {
      const decoded = readEntry(entry.data);
      const sweeps = decoded.transactions.some((t) => t.ops.some((op) => op.kind === 'sweep'));
      if (sweeps && batch.writes.length > 0) return false;
      for (const t of decoded.transactions) this.#transaction(batch, t, entry.index, store);
      stampMs = decoded.stampMs;
      transactions += decoded.transactions.length;
      batch.transactions += decoded.transactions.length;
    }
    this.system.position = { ...before, appliedIndex: entry.index, appliedTerm: entry.term, config, stampMs, transactions };
    batch.position = this.system.position;
    return true;
  }

  /** Adds the rows that record what the batch did to streams and position; call once, last. */
  finish(batch: ApplyBatch): void {
    for (const incarnation of batch.streams) {
      const known = this.system.streams.get(incarnation) !== undefined;
      batch.writes.push({ key: streamKey(incarnation), value: known ? this.system.streams.encode(incarnation) : undefined });
    }
    batch.writes.push({ key: metaKey, value: encodePosition(batch.position) });
  }

  #transaction(batch: ApplyBatch, t: EntryTransaction, index: number, store: TableStore): void {
    if (t.incarnation !== 0) {
      const outcome = { status: t.status, reply: copyBytes(t.reply), index };
      // A transaction of a fenced incarnation, or a number seen before: the leader lets none into the log; nothing happens.
      if (!this.system.streams.record(t.incarnation, t.seq, t.receivedUpTo, outcome)) return;
      batch.streams.add(t.incarnation);
    }
    for (const op of t.ops) this.#op(batch, op, store);
  }

  #op(batch: ApplyBatch, op: EntryOp, store: TableStore): void {
    switch (op.kind) {
      case 'put': {
        if (op.owner !== 0 && !this.system.live.has(op.owner)) return;
        const key = storedKey(op.tableId, op.key, this.#hash);
        if (op.key.length > plainKeyBytesMax) batch.longTables.add(op.tableId);
        batch.writes.push({ key, value: storedValue(op.owner, op.key, op.value) });
        this.#reindex(batch, key, op.previousOwner, op.owner);
        batch.feed.push({ kind: 'row', tableId: op.tableId, key: op.key, owner: op.owner, value: op.value });
        return;
      }
      case 'delete': {
        const key = storedKey(op.tableId, op.key, this.#hash);
        batch.writes.push({ key, value: undefined });
        this.#reindex(batch, key, op.previousOwner, 0);
        batch.feed.push({ kind: 'row', tableId: op.tableId, key: op.key, owner: 0, value: undefined });
        return;
      }
      case 'admit':
        this.#admit(batch, op.nodeId, op.incarnation);
        return;
      case 'purge':
        if (this.system.live.purge(op.nodeId, op.incarnation)) this.#purged(batch, op.nodeId, op.incarnation);
        this.#writeNode(batch, op.nodeId);
        return;
      case 'sweep':
        this.#sweep(batch, op.incarnation, op.from, op.to, op.last, store);
        return;
      case 'release':
        this.system.streams.release(op.incarnation);
        batch.streams.add(op.incarnation);
        return;
    }
  }

  #reindex(batch: ApplyBatch, key: Uint8Array, previous: number, owner: number): void {
    if (previous === owner) return;
    if (previous !== 0) batch.writes.push({ key: ownerIndexKey(previous, key), value: undefined });
    if (owner !== 0) batch.writes.push({ key: ownerIndexKey(owner, key), value: empty });
  }

  #admit(batch: ApplyBatch, nodeId: string, incarnation: number): void {
    const { admitted, replaced } = this.system.live.admit(nodeId, incarnation);
    if (!admitted) return;
    for (const dropped of this.system.streams.admit(nodeId, incarnation, replaced)) batch.streams.add(dropped);
    batch.streams.add(incarnation);
    if (replaced !== 0) this.#purged(batch, nodeId, replaced);
    this.#writeNode(batch, nodeId);
    batch.feed.push({ kind: 'admitted', nodeId, incarnation });
  }

  #purged(batch: ApplyBatch, nodeId: string, incarnation: number): void {
    this.system.streams.freeze(incarnation);
    batch.streams.add(incarnation);
    this.system.unswept.add(incarnation);
    batch.writes.push({ key: purgeKey(incarnation), value: empty });
    batch.feed.push({ kind: 'purged', nodeId, incarnation });
  }

  #writeNode(batch: ApplyBatch, nodeId: string): void {
    const state = { highest: this.system.live.highest(nodeId), live: this.system.live.ofNode(nodeId) };
    batch.writes.push({ key: nodeKey(nodeId), value: encodeNode(state) });
  }

  #sweep(batch: ApplyBatch, incarnation: number, from: Uint8Array, to: Uint8Array, last: boolean, store: TableStore): void {
    const start = from.length === 0 ? ownerIndexStart(incarnation) : ownerIndexKey(incarnation, from);
    const end = last ? ownerIndexStart(incarnation + 1) : ownerIndexKey(incarnation, to);
    store.range(start, end, (indexKey) => {
      if (indexKey[0] !== ownerIndexByte) return false;
      const stored = copyBytes(storedOfOwnerIndex(indexKey));
      const row = store.get(stored);
      if (row !== undefined && decodeStored(row, isSideKey(stored)).owner === incarnation) batch.writes.push({ key: stored, value: undefined });
      batch.writes.push({ key: copyBytes(indexKey), value: undefined });
      return true;
    });
    if (last && this.system.unswept.delete(incarnation)) batch.writes.push({ key: purgeKey(incarnation), value: undefined });
  }
}

const empty = new Uint8Array(0);
