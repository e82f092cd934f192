// The view of a transaction: the applied state of this node, or of a core that was asked, with the transaction's own writes over
// it, remembering what was read so that the leader can tell whether it still holds.
import { copyBytes } from '#base/bytes.js';
import { type Reader, type Row, type Table, type Transaction, WriteFailure } from './api.js';
import { cellId } from './conflict-window.js';
import { rangeThrough, seekBy } from './overlay.js';
import { ownerSelf, type ProposedOp, type ReadSet } from './proposal-codec.js';
import { keyInRange } from './stored-row.js';

/** One state of a shard: this node's copy, or what was fetched of a core's. */
export interface TrackedState {
  readonly schema: { readonly name: string };
  readonly appliedIndex: number;
  readonly reader: Reader;
  table(id: number): Table | undefined;
}

export class TrackingReader implements Transaction {
  readonly #state: TrackedState;
  readonly #incarnation: number;
  readonly #keys: Map<string, { tableId: number; key: Uint8Array }> = new Map();
  readonly #ranges: { tableId: number; start: Uint8Array; end: Uint8Array | undefined }[] = [];
  readonly #writes: Map<string, ProposedOp> = new Map();
  readonly #snapshotIndex: number;

  constructor(state: TrackedState, incarnation: number) {
    this.#state = state;
    this.#incarnation = incarnation;
    this.#snapshotIndex = state.appliedIndex;
  }

  get reads(): ReadSet {
    return { snapshotIndex: this.#snapshotIndex, keys: [...this.#keys.values()], ranges: this.#ranges };
  }

  get ops(): ProposedOp[] {
    return [...this.#writes.values()];
  }

  #check(table: Table): void {
    if (this.#state.table(table.id) !== table) throw new WriteFailure('refused', `table ${table.name} is not in shard ${this.#state.schema.name}`);
  }

  #written(op: ProposedOp): Row | undefined {
    return op.kind === 'put' ? { value: op.value, owner: op.owner === ownerSelf ? this.#incarnation : op.owner } : undefined;
  }

  get(table: Table, key: Uint8Array): Row | undefined {
    this.#check(table);
    const id = cellId(table.id, key);
    const own = this.#writes.get(id);
    if (own !== undefined) return this.#written(own);
    if (!this.#keys.has(id)) this.#keys.set(id, { tableId: table.id, key: copyBytes(key) });
    return this.#state.reader.get(table, key);
  }

  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void {
    this.#check(table);
    this.#ranges.push({ tableId: table.id, start: copyBytes(start), end: end === undefined ? undefined : copyBytes(end) });
    const own = this.ops.filter((op) => op.tableId === table.id && keyInRange(op.key, start, end));
    rangeThrough(this.#state.reader, table, start, end, own, (op) => this.#written(op), visit);
  }

  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
    return seekBy(this, table, key);
  }

  put(table: Table, key: Uint8Array, value: Uint8Array, owner?: 'self'): void {
    this.#check(table);
    const op: ProposedOp = {
      kind: 'put',
      tableId: table.id,
      key: copyBytes(key),
      value: copyBytes(value),
      owner: owner === 'self' ? ownerSelf : 0,
    };
    this.#writes.set(cellId(table.id, key), op);
  }

  delete(table: Table, key: Uint8Array): void {
    this.#check(table);
    this.#writes.set(cellId(table.id, key), { kind: 'delete', tableId: table.id, key: copyBytes(key) });
  }
}
