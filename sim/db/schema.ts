// Tables and commands that database runs work on, and the little format of their rows. Every row
// and every reply carries the number of the operation that made it, so that the checkers find each
// operation in the log.
//
//   row: varint operation · varint n          reply: varint operation · u8 ok · varint n · varint position
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { utf8Encode } from '#base/utf8.js';
import { type CommandContext, CommandRefused, type ShardSchema, type Table } from '#db/api.js';
import { coreOnlyTable, itemsTable, ownedTable } from './cluster-world.js';

export interface RowValue {
  readonly op: number;
  readonly n: number;
}

export interface Reply {
  readonly op: number;
  readonly ok: boolean;
  readonly n: number;
  readonly position: number;
}

export interface CommandBody {
  readonly op: number;
  readonly key: Uint8Array;
  /** cas: operation that must have written the row, 0 for none. */
  readonly expect: number;
}

const w = new ByteWriter(64);

export function encodeRow(op: number, n: number): Uint8Array {
  w.reset();
  w.varint(op);
  w.varint(n);
  return w.finish();
}

export function decodeRow(bytes: Uint8Array): RowValue {
  const r = new ByteReader(bytes);
  return { op: r.varint(), n: r.varint() };
}

export function encodeBody(body: CommandBody): Uint8Array {
  w.reset();
  w.varint(body.op);
  w.blob(body.key);
  w.varint(body.expect);
  return w.finish();
}

function decodeBody(bytes: Uint8Array): CommandBody {
  const r = new ByteReader(bytes);
  return { op: r.varint(), key: r.blob(), expect: r.varint() };
}

export function encodeReply(op: number, ok: boolean, n: number, position: number): Uint8Array {
  w.reset();
  w.varint(op);
  w.u8(ok ? 1 : 0);
  w.varint(n);
  w.varint(position);
  return w.finish();
}

export function decodeReply(bytes: Uint8Array): Reply {
  const r = new ByteReader(bytes);
  return { op: r.varint(), ok: r.u8() === 1, n: r.varint(), position: r.varint() };
}

function commandsOn(table: Table): ShardSchema['commands'] {
  const read = (c: CommandContext, key: Uint8Array): RowValue | undefined => {
    const row = c.get(table, key);
    return row === undefined ? undefined : decodeRow(row.value);
  };
  return {
    /** Counts up and returns the new value. */
    increment: (c, bytes) => {
      const { op, key } = decodeBody(bytes);
      const n = (read(c, key)?.n ?? 0) + 1;
      c.put(table, key, encodeRow(op, n));
      return encodeReply(op, true, n, c.position);
    },
    /** Writes if the row was last written by `expect`; returns who wrote it. */
    cas: (c, bytes) => {
      const { op, key, expect } = decodeBody(bytes);
      const before = read(c, key)?.op ?? 0;
      if (before === expect) c.put(table, key, encodeRow(op, 0));
      return encodeReply(op, before === expect, before, c.position);
    },
    /** Takes the row over and returns who had it. */
    register: (c, bytes) => {
      const { op, key } = decodeBody(bytes);
      const before = read(c, key)?.op ?? 0;
      c.put(table, key, encodeRow(op, 0));
      return encodeReply(op, true, before, c.position);
    },
    /** Writes, reads its own write, and thinks better of it when the number is odd. */
    waver: (c, bytes) => {
      const { op, key } = decodeBody(bytes);
      c.put(table, key, encodeRow(op, 1));
      c.delete(table, key);
      c.put(table, key, encodeRow(op, 2));
      if (read(c, key)?.n !== 2) throw new Error('a command does not see its own writes');
      if (op % 2 === 1) throw new CommandRefused('odd');
      return encodeReply(op, true, 2, c.position);
    },
  };
}

export const runSchemas: readonly ShardSchema[] = [
  { name: 'items', replicate: 'all', tables: [itemsTable, ownedTable], commands: commandsOn(itemsTable) },
  { name: 'vault', replicate: 'core', tables: [coreOnlyTable], commands: commandsOn(coreOnlyTable) },
];

export const runShards: readonly string[] = runSchemas.map((s) => s.name);

/** The table that most operations of a shard work on. */
export function mainTable(shard: string): Table {
  return shard === 'items' ? itemsTable : coreOnlyTable;
}

const longTail = 'x'.repeat(1_400);

/** Names of keys: a letter for the kind of use, a number. Some registers have keys too long for the plain rows. */
export const keys: {
  readonly registers: readonly Uint8Array[];
  readonly counters: readonly Uint8Array[];
  readonly cells: readonly Uint8Array[];
  readonly accounts: readonly Uint8Array[];
  readonly points: readonly Uint8Array[];
  readonly shared: readonly Uint8Array[];
} = {
  registers: ['r0', 'r1', 'r2', `r3${longTail}`, `r4${longTail}`].map((k) => utf8Encode(k)),
  counters: ['c0', 'c1'].map((k) => utf8Encode(k)),
  cells: ['e0', 'e1', 'e2'].map((k) => utf8Encode(k)),
  accounts: ['a0', 'a1', 'a2', 'a3'].map((k) => utf8Encode(k)),
  points: ['p0', 'p1', `p2${longTail}`, 'p3', 'p4'].map((k) => utf8Encode(k)),
  shared: ['x0', 'x1', `x2${longTail}`].map((k) => utf8Encode(k)),
};

/** Ranges that transactions read: all accounts, all points, the whole owned table. */
export const ranges: {
  readonly accounts: readonly [Uint8Array, Uint8Array];
  readonly points: readonly [Uint8Array, Uint8Array];
} = {
  accounts: [utf8Encode('a'), utf8Encode('b')],
  points: [utf8Encode('p'), utf8Encode('q')],
};

export const sumKey: Uint8Array = utf8Encode('sum');
export const countKey: Uint8Array = utf8Encode('total');
export const ownedCountKey: Uint8Array = utf8Encode('zowned');

export function markerKey(client: number): Uint8Array {
  return utf8Encode(`m${client}`);
}

export function ownedKey(node: number, k: number): Uint8Array {
  return utf8Encode(`n${node}/${k}`);
}
