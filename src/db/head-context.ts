// What a command sees of the shard and does to it, at its leader. leader-head.ts has one and lends it to one
// command after the other: a storm of commands makes no context of each.
// Invariant: what a command writes is copied, so that it may write from scratch memory.
import { Slab } from '#base/slab.js';
import type { CommandContext, Row, Table } from './api.js';
import type { EntryOp } from './entry-codec.js';
import type { LiveSet } from './live-set.js';
import type { ProposedOp } from './proposal-codec.js';

/** Transactions of one entry get positions `index * positionsPerEntry + n`. */
export const positionsPerEntry = 1024;

export interface Head {
  readonly live: LiveSet;
  get(table: Table, key: Uint8Array): Row | undefined;
  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void;
  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined;
  admit(nodeId: string, incarnation: number, index: number): EntryOp[];
  purge(nodeId: string, incarnation: number, index: number): EntryOp[];
}

export class HeadContext implements CommandContext {
  /** Of the command under way. */
  ops: EntryOp[] = [];
  incarnation = 0;
  position = 0;
  stampMs = 0;
  readonly #head: Head;
  readonly #write: (op: ProposedOp, ops: EntryOp[], index: number) => void;
  /** What is written lives until it is applied. */
  readonly #slab: Slab = new Slab();
  #index = 0;

  constructor(head: Head, write: (op: ProposedOp, ops: EntryOp[], index: number) => void) {
    this.#head = head;
    this.#write = write;
  }

  /** The next command: the n-th transaction of the entry at `index`. */
  begin(incarnation: number, index: number, n: number, stampMs: number): void {
    this.ops = [];
    this.incarnation = incarnation;
    this.#index = index;
    this.position = index * positionsPerEntry + n;
    this.stampMs = stampMs;
  }

  get(table: Table, key: Uint8Array): Row | undefined {
    return this.#head.get(table, key);
  }

  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void {
    this.#head.range(table, start, end, visit);
  }

  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
    return this.#head.seek(table, key);
  }

  put(table: Table, key: Uint8Array, value: Uint8Array, owner: number = 0): void {
    this.#write({ kind: 'put', tableId: table.id, key: this.#slab.copy(key), value: this.#slab.copy(value), owner }, this.ops, this.#index);
  }

  delete(table: Table, key: Uint8Array): void {
    this.#write({ kind: 'delete', tableId: table.id, key: this.#slab.copy(key) }, this.ops, this.#index);
  }

  admit(nodeId: string, incarnation: number): void {
    this.ops.push(...this.#head.admit(nodeId, incarnation, this.#index));
  }

  purge(nodeId: string, incarnation: number): void {
    this.ops.push(...this.#head.purge(nodeId, incarnation, this.#index));
  }

  liveIncarnation(nodeId: string): number {
    return this.#head.live.ofNode(nodeId);
  }

  isLive(incarnation: number): boolean {
    return this.#head.live.has(incarnation);
  }
}
