// The one function that changes tables, the same on every node: committed log entries in, one
// batch of store writes out. Pure but for reading the store in a sweep; used by cores,
// replicants and bootstraps alike. Entries are idempotent row writes and cannot fail.
//
// The cursor's live set and streams run ahead of the readers' until the batch is committed.
import { assert } from '#base/assert.js';
import { copyBytes, emptyBytes } from '#base/bytes.js';
import { Slab } from '#base/slab.js';
import type { Hash } from '#env/hash.js';
import type { TableStore, TableWrite } from '#env/tables.js';
import { type EntryOp, opCodes } from './entry-codec.js';
import { EntryCursor, hasSweep } from './entry-cursor.js';
import {
  decodeStored,
  isSideKey,
  ownerIndexByte,
  ownerIndexKey,
  ownerIndexKeyIn,
  ownerIndexStart,
  plainKeyBytesMax,
  shortValueIn,
  storedKeyIn,
  storedOfOwnerIndex,
  storedValue,
} from './stored-row.js';
import { outcomeOf } from './streams.js';
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
  /** Of a batch that nobody listened to: admissions and purges only. */
  readonly feed: FeedOp[];
  readonly feeds: boolean;
  position: Position;
  readonly longTables: Set<number>;
  /** Streams whose numbers moved, to wake proposers on this node; and for the batch's stream rows. */
  readonly streams: Set<number>;
  transactions: number;
}

export class ApplyCursor {
  readonly system: SystemState;
  readonly #hash: Hash;
  readonly #entry: EntryCursor = new EntryCursor();
  /** What goes to the store is let go when it is committed there. */
  readonly #slab: Slab = new Slab();

  constructor(system: SystemState, hash: Hash) {
    this.system = system;
    this.#hash = hash;
  }

  /** `feeds`: somebody wants to hear of the rows. */
  begin(feeds: boolean): ApplyBatch {
    return { writes: [], feed: [], feeds, position: this.system.position, longTables: new Set(), streams: new Set(), transactions: 0 };
  }

  /** False: the entry was not taken, because it reads the store and the batch has writes; commit the batch first. */
  add(batch: ApplyBatch, entry: AppliedEntry, store: TableStore): boolean {
    const before = this.system.position;
    assert(entry.index === before.appliedIndex + 1, `apply ${entry.index} after ${before.appliedIndex}`);
    let { config, stampMs, transactions } = before;
    if (entry.kind === entryKind.config) config = copyBytes(entry.data);
    else if (entry.kind === entryKind.normal) {
      const e = this.#entry;
      if (batch.writes.length > 0 && hasSweep(e, entry.data)) return false;
      e.begin(entry.data);
      while (e.nextTransaction()) this.#transaction(batch, e, entry.index, store);
      stampMs = e.stampMs;
      transactions += e.transactions;
      batch.transactions += e.transactions;
    }
    const { historyId } = before;
    // Written out: a copy of a copy of a copy has a shape of its own each time, which nothing that reads it has met before.
    this.system.position = { appliedIndex: entry.index, appliedTerm: entry.term, config, historyId, stampMs, transactions };
    batch.position = this.system.position;
    return true;
  }

  /** Adds the rows that record what the batch did to streams and position; call once, last. */
  finish(batch: ApplyBatch): void {
    for (const incarnation of batch.streams) {
      const known = this.system.streams.get(incarnation) !== undefined;
      batch.writes.push({ key: streamKey(incarnation), value: known ? this.system.streams.encode(incarnation, this.#slab) : undefined });
    }
    batch.writes.push({ key: metaKey, value: encodePosition(batch.position, this.#slab) });
  }

  #transaction(batch: ApplyBatch, e: EntryCursor, index: number, store: TableStore): void {
    let counts = true;
    if (e.incarnation !== 0) {
      const reply = e.replyTo === e.replyFrom ? emptyBytes : copyBytes(e.bytes.subarray(e.replyFrom, e.replyTo));
      // A transaction of a fenced incarnation, or a number seen before: the leader lets none into the log; nothing happens.
      counts = this.system.streams.record(e.incarnation, e.seq, e.receivedUpTo, outcomeOf(e.status, reply, index));
      if (counts) batch.streams.add(e.incarnation);
    }
    while (e.nextOp()) {
      if (e.code === opCodes.put) {
        if (counts) this.#put(batch, e);
      } else if (e.code === opCodes.delete) {
        if (counts) this.#delete(batch, e);
      } else {
        const op = e.rare();
        if (counts) this.#rare(batch, op, store);
      }
    }
  }

  #put(batch: ApplyBatch, e: EntryCursor): void {
    const { bytes, tableId, keyFrom, keyTo, owner } = e;
    if (owner !== 0 && !this.system.live.has(owner)) return;
    const key = storedKeyIn(this.#slab, tableId, bytes, keyFrom, keyTo, this.#hash);
    const long = keyTo - keyFrom > plainKeyBytesMax;
    if (long) batch.longTables.add(tableId);
    const value = long
      ? storedValue(owner, bytes.subarray(keyFrom, keyTo), bytes.subarray(e.valueFrom, e.valueTo))
      : shortValueIn(this.#slab, owner, bytes, e.valueFrom, e.valueTo);
    batch.writes.push({ key, value });
    this.#reindex(batch, key, e.previousOwner, owner);
    if (!batch.feeds) return;
    batch.feed.push({ kind: 'row', tableId, key: bytes.subarray(keyFrom, keyTo), owner, value: bytes.subarray(e.valueFrom, e.valueTo) });
  }

  #delete(batch: ApplyBatch, e: EntryCursor): void {
    const { bytes, tableId, keyFrom, keyTo } = e;
    const key = storedKeyIn(this.#slab, tableId, bytes, keyFrom, keyTo, this.#hash);
    batch.writes.push({ key, value: undefined });
    this.#reindex(batch, key, e.previousOwner, 0);
    if (batch.feeds) batch.feed.push({ kind: 'row', tableId, key: bytes.subarray(keyFrom, keyTo), owner: 0, value: undefined });
  }

  #rare(batch: ApplyBatch, op: EntryOp, store: TableStore): void {
    switch (op.kind) {
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
      case 'put':
      case 'delete':
        assert(false, 'the cursor has these in its fields');
    }
  }

  #reindex(batch: ApplyBatch, key: Uint8Array, previous: number, owner: number): void {
    // Also when it is the owner's already: a copy's index may have been read after the sweep, and this entry is replayed before it.
    if (previous !== 0 && previous !== owner) batch.writes.push({ key: ownerIndexKeyIn(this.#slab, previous, key), value: undefined });
    if (owner !== 0) batch.writes.push({ key: ownerIndexKeyIn(this.#slab, owner, key), value: empty });
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
