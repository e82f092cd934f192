// Typed reads and writes over the database's bytes: what transactions, commands and local reads are
// given. A view ends with the function that it was made for.
import { compareBytes, copyBytes } from '#base/bytes.js';
import type { CommandContext, Reader, Transaction } from '#db/api.js';
import { type Key, prefixRange } from '#db/key-codec.js';
import { TablesError } from '#env/tables.js';
import { DatabaseError } from './errors.js';
import type { Table, TableInfo } from './table.js';

export interface RangeOptions<K extends Key> {
  /** First key, itself included. Default: the table's first. */
  readonly start?: K;
  /** Where to stop, itself left out. Default: after the table's last. */
  readonly end?: K;
  /** Only keys that are tuples beginning with these elements. */
  readonly prefix?: readonly Key[];
  /** Rows at most. Default: all. */
  readonly limit?: number;
}

export interface ReadView {
  /** The row's value, undefined when there is no such row. */
  get<K extends Key, V>(table: Table<K, V>, key: K): V | undefined;
  has<K extends Key, V>(table: Table<K, V>, key: K): boolean;
  /** Rows in key order (see `Key`). */
  range<K extends Key, V>(table: Table<K, V>, options?: RangeOptions<K>): Iterable<[K, V]>;
}

export interface RowOptions {
  /** 'self': the row belongs to this node and vanishes when the node is down. Only in tables declared `owned`. */
  readonly owner?: 'self';
}

export interface WriteView extends ReadView {
  put<K extends Key, V>(table: Table<K, V>, key: K, value: V, options?: RowOptions): void;
  /** Deleting what is not there is fine. */
  delete<K extends Key, V>(table: Table<K, V>, key: K): void;
}

export interface CommandView extends WriteView {
  /** The leader's time in ms since 1970; never goes back within a shard. */
  readonly stampMs: number;
  /** A number that no other command of this shard gets, and that only grows. */
  readonly position: number;
  /** Incarnation of the node that sent the command. */
  readonly incarnation: number;
}

/** A range of keys in bytes; undefined: it is empty by construction. */
export interface KeyRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
  readonly limit: number;
}

const lowest = new Uint8Array(0);

export function keyRange<K extends Key, V>(table: Table<K, V>, options: RangeOptions<K> = {}): KeyRange {
  let start = options.start === undefined ? lowest : table.encodeKey(options.start);
  let end = options.end === undefined ? undefined : table.encodeKey(options.end);
  if (options.prefix !== undefined) {
    const prefix = prefixRange(options.prefix);
    if (compareBytes(prefix.start, start) > 0) start = prefix.start;
    if (end === undefined || compareBytes(prefix.end, end) < 0) end = prefix.end;
  }
  return { start, end, limit: options.limit ?? Number.POSITIVE_INFINITY };
}

/** A row that is damaged on this node's disk is a {@link DatabaseError} of its own. */
export function soundReader(reader: Reader): Reader {
  return {
    get: (table, key) => sound(() => reader.get(table, key)),
    range: (table, start, end, visit) => sound(() => reader.range(table, start, end, visit)),
    seek: (table, key) => sound(() => reader.seek(table, key)),
  };
}

function sound<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof TablesError)) throw cause;
    throw new DatabaseError('damaged', "this node's copy of the table is damaged; it is being replaced by another node's", { cause });
  }
}

/** Rows of one visit, decoded at once: for views that live as long as one call. */
function readRange<K extends Key, V>(reader: Reader, table: Table<K, V>, options: RangeOptions<K> | undefined): [K, V][] {
  const { start, end, limit } = keyRange(table, options);
  const rows: [K, V][] = [];
  if (limit <= 0) return rows;
  reader.range(table.stored, start, end, (key, row) => {
    rows.push([table.decodeKey(key), table.decodeValue(row.value)]);
    return rows.length < limit;
  });
  return rows;
}

/** Where a view's rows end up; `owner` undefined: nobody's. */
type Put = (table: TableInfo, key: Uint8Array, value: Uint8Array, owner: 'self' | undefined) => void;

function makeView(
  reader: Reader,
  put: Put,
  del: (table: TableInfo, key: Uint8Array) => void,
): { readonly view: WriteView; readonly end: () => void } {
  let ended = false;
  const alive = (): void => {
    if (ended) throw new DatabaseError('ended', 'the function that this view was given to has returned');
  };
  const view: WriteView = {
    get: (table, key) => {
      alive();
      const row = reader.get(table.stored, table.encodeKey(key));
      return row === undefined ? undefined : table.decodeValue(row.value);
    },
    has: (table, key) => {
      alive();
      return reader.get(table.stored, table.encodeKey(key)) !== undefined;
    },
    range: (table, options) => {
      alive();
      return readRange(reader, table, options);
    },
    put: (table, key, value, options) => {
      alive();
      put(table, table.encodeKey(key), table.encodeValue(value), options?.owner);
    },
    delete: (table, key) => {
      alive();
      del(table, table.encodeKey(key));
    },
  };
  return {
    view,
    end: () => {
      ended = true;
    },
  };
}

export function transactionView(tx: Transaction): { readonly view: WriteView; readonly end: () => void } {
  return makeView(
    soundReader(tx),
    (table, key, value, owner) => tx.put(table.stored, key, value, owner),
    (table, key) => tx.delete(table.stored, key),
  );
}

export function commandView(context: CommandContext): { readonly view: CommandView; readonly end: () => void } {
  const { view, end } = makeView(
    context,
    (table, key, value, owner) => context.put(table.stored, key, value, owner === 'self' ? context.incarnation : 0),
    (table, key) => context.delete(table.stored, key),
  );
  return { view: { ...view, stampMs: context.stampMs, position: context.position, incarnation: context.incarnation }, end };
}

export function readView(reader: Reader): ReadView {
  const refuse = (): never => {
    throw new DatabaseError('ended', 'this view only reads');
  };
  return makeView(soundReader(reader), refuse, refuse).view;
}

const chunkRows = 256;
const chunkBytes = 1024 * 1024;

export interface Page<K, V> {
  readonly rows: [K, V][];
  /** Where to go on; undefined: these were the last. */
  readonly next: Uint8Array | undefined;
}

/** The first rows of [start, end), so many that they take a bounded part of memory and time. */
export function readPage<K extends Key, V>(
  reader: Reader,
  table: Table<K, V>,
  start: Uint8Array,
  end: Uint8Array | undefined,
  limit: number,
): Page<K, V> {
  const rows: [K, V][] = [];
  let bytes = 0;
  let last = start;
  reader.range(table.stored, start, end, (key, row) => {
    rows.push([table.decodeKey(key), table.decodeValue(row.value)]);
    bytes += row.value.length;
    last = copyBytes(key);
    return rows.length < limit && rows.length < chunkRows && bytes < chunkBytes;
  });
  if (rows.length < chunkRows && bytes < chunkBytes) return { rows, next: undefined };
  // Right after the last key: the key and a zero byte.
  const next = new Uint8Array(last.length + 1);
  next.set(last);
  return { rows, next };
}

/**
 * Rows read a bounded chunk at a time. Within one turn of the event loop all chunks are of one state;
 * when the loop body waits in between, later chunks show the newer state, each key once and in order.
 */
export function* iterateRange<K extends Key, V>(
  reader: Reader,
  table: Table<K, V>,
  options: RangeOptions<K> | undefined,
  check: () => void,
): Generator<[K, V], void, undefined> {
  let { start, limit } = keyRange(table, options);
  const { end } = keyRange(table, options);
  while (limit > 0) {
    check();
    const { rows, next } = readPage(reader, table, start, end, limit);
    yield* rows;
    if (next === undefined) return;
    limit -= rows.length;
    start = next;
  }
}
