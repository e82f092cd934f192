// What a node has read of a shard that it does not hold: rows and ranges of one state of the tables on a core. A
// function reads it as it would read tables; where it asks for what is not here, it is ended by `Missing`, what
// it asked for is fetched, and it runs again from the beginning. Pure; remote-reads.ts fetches.
//
// Invariant: everything here is of one state, that at `index`. What is fetched at another index comes with
// everything that was here, read anew.
import { compareBytes, copyBytes } from '#base/bytes.js';
import { type Reader, type Row, type ShardSchema, type Table, WriteFailure } from './api.js';
import { cellId } from './conflict-window.js';
import { seekBy } from './overlay.js';
import type { KeyedRow, ReadReply, ReadRequest, RemoteRead } from './read-codec.js';
import { keyInRange } from './stored-row.js';

/** Thrown through the function that reads, which need not let it pass: `wants` says it, too. */
export class Missing extends Error {
  override readonly name = 'Missing';
  constructor() {
    super('what is read here is fetched, and the function runs again');
  }
}

/** All rows in [start, end) of a table. */
interface Piece {
  readonly tableId: number;
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
  readonly rows: readonly KeyedRow[];
}

/** Rows asked for at first, and at most at once: a function that goes on asks for ever more. */
const rowsFirst = 256;
const rowsMost = 1_024;

export interface SnapshotLimits {
  /** Rows and bytes of keys and values; ranges count as one more. */
  readonly rowsMax: number;
  readonly bytesMax: number;
}

export class RemoteSnapshot implements Reader {
  readonly schema: ShardSchema;
  readonly #limits: SnapshotLimits;
  readonly #minIndex: number;
  readonly #tables: Map<number, Table> = new Map();
  #index = 0;
  #rows: Map<string, Row | undefined> = new Map();
  #gets: Extract<RemoteRead, { kind: 'get' }>[] = [];
  #pieces: Piece[] = [];
  #wanted: RemoteRead[] = [];
  #ended = false;

  /** `minIndex`: it is to be of no older state. */
  constructor(schema: ShardSchema, limits: SnapshotLimits, minIndex: number) {
    this.schema = schema;
    this.#limits = limits;
    this.#minIndex = minIndex;
    for (const t of schema.tables) this.#tables.set(t.id, t);
  }

  /** Of the state that was read; 0 before anything was. */
  get appliedIndex(): number {
    return this.#index;
  }

  table(id: number): Table | undefined {
    return this.#tables.get(id);
  }

  get reader(): Reader {
    return this;
  }

  /** The function that ran asked for something that is not here: what it did does not count. */
  get wants(): boolean {
    return this.#wanted.length > 0;
  }

  /** Nothing is read any more: a view that outlives its function is told so. */
  end(): void {
    this.#ended = true;
  }

  // ---- as tables ----

  get(table: Table, key: Uint8Array): Row | undefined {
    this.#check(table);
    const id = cellId(table.id, key);
    if (this.#rows.has(id)) return this.#rows.get(id);
    const piece = this.#pieceAt(table.id, key);
    if (piece !== undefined) return piece.rows.find((r) => compareBytes(r.key, key) === 0)?.row;
    return this.#want({ kind: 'get', tableId: table.id, key: copyBytes(key) });
  }

  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void {
    this.#check(table);
    let rows = rowsFirst;
    for (let at = start; end === undefined || compareBytes(at, end) < 0; ) {
      const piece = this.#pieceAt(table.id, at);
      if (piece === undefined) {
        this.#want({ kind: 'range', tableId: table.id, key: copyBytes(at), end: end === undefined ? undefined : copyBytes(end), rows });
        return;
      }
      rows = Math.min(rowsMost, 4 * rows);
      for (const r of piece.rows) if (keyInRange(r.key, at, end) && !visit(r.key, r.row)) return;
      if (piece.end === undefined) return;
      at = piece.end;
    }
  }

  seek(table: Table, key: Uint8Array): KeyedRow | undefined {
    return seekBy(this, table, key);
  }

  #check(table: Table): void {
    if (this.#ended) throw new WriteFailure('closed', 'the function that this view was given to has returned');
    if (this.#tables.get(table.id) !== table) throw new WriteFailure('refused', `table ${table.name} is not in shard ${this.schema.name}`);
  }

  #pieceAt(tableId: number, key: Uint8Array): Piece | undefined {
    return this.#pieces.find((p) => p.tableId === tableId && keyInRange(key, p.start, p.end));
  }

  #want(read: RemoteRead): never {
    this.#wanted.push(read);
    throw new Missing();
  }

  // ---- what is fetched ----

  request(fresh: boolean): ReadRequest {
    const ranges = this.#pieces.map((p) => ({ kind: 'range', tableId: p.tableId, key: p.start, end: p.end, rows: this.#limits.rowsMax }) as const);
    return {
      shard: this.schema.name,
      fresh,
      atLeast: Math.max(this.#index, this.#minIndex),
      have: this.#index,
      known: [...this.#gets, ...ranges],
      wanted: this.#wanted,
    };
  }

  /** The answer to that request. Undefined: taken; else why it cannot be. */
  take(q: ReadRequest, reply: ReadReply): string | undefined {
    const asked = reply.all ? [...q.known, ...q.wanted] : q.wanted;
    if (asked.length !== reply.results.length || reply.index < q.atLeast || (!reply.all && reply.index !== q.have))
      return 'it does not fit the question';
    if (reply.all) {
      this.#rows = new Map();
      this.#gets = [];
      this.#pieces = [];
    }
    this.#index = reply.index;
    this.#wanted = [];
    for (const [i, read] of asked.entries()) {
      const result = reply.results[i];
      if (read.kind === 'get' && result?.kind === 'get') {
        this.#rows.set(cellId(read.tableId, read.key), result.row);
        this.#gets.push(read);
      } else if (read.kind === 'range' && result?.kind === 'range')
        this.#pieces.push({ tableId: read.tableId, start: read.key, end: result.upTo ?? read.end, rows: result.rows });
      else return 'it does not fit the question';
    }
    return this.#tooMuch();
  }

  #tooMuch(): string | undefined {
    const { rowsMax, bytesMax } = this.#limits;
    let count = this.#rows.size + this.#pieces.length;
    let bytes = 0;
    for (const [id, row] of this.#rows) bytes += id.length + (row?.value.length ?? 0);
    for (const p of this.#pieces) {
      count += p.rows.length;
      for (const r of p.rows) bytes += r.key.length + r.row.value.length;
    }
    if (count <= rowsMax && bytes <= bytesMax) return undefined;
    return `on a node without a copy of shard ${this.schema.name} one function reads at most ${rowsMax} rows or ${bytesMax} bytes`;
  }
}
