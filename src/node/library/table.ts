// A declared table as the parts of the library hand it around; `schema.ts` makes it.
import type { Table as StoredTable } from '#db/api.js';
import type { Key } from '#db/key-codec.js';

/** What is known of a table without the types of its rows. */
export interface TableInfo {
  /** 1 to 126, part of every stored row: never give a number to another table. */
  readonly id: number;
  readonly name: string;
  readonly shard: string;
  /** Rows may belong to the node that wrote them, and vanish with it (`owner: 'self'`). */
  readonly owned: boolean;
  /** The table as the database knows it. */
  readonly stored: StoredTable;
}

/** A declared table with keys `K` and values `V`; made by `Shard.table`. */
export interface Table<K extends Key, V> extends TableInfo {
  readonly encodeKey: (key: K) => Uint8Array;
  readonly decodeKey: (bytes: Uint8Array) => K;
  readonly encodeValue: (value: V) => Uint8Array;
  /** The bytes are a view, valid during the call. */
  readonly decodeValue: (bytes: Uint8Array) => V;
}
