// Reads of a shard's rows through writes that are not in its tables yet: a leader's uncommitted tail, a
// transaction's own writes. Both merge in key order what they have with what is stored.
import { compareBytes, copyBytes } from '#base/bytes.js';
import type { Reader, Row, Table } from './api.js';

type Visit = (key: Uint8Array, row: Row) => boolean;

/**
 * Visits [start, end) in key order until `visit` returns false. `over`: what stands in place of stored rows, one entry
 * per key and in any order (sorted here); `rowOf`: what there is to see of an entry, undefined: nothing.
 */
export function rangeThrough<T extends { readonly key: Uint8Array }>(
  stored: Pick<Reader, 'range'>,
  table: Table,
  start: Uint8Array,
  end: Uint8Array | undefined,
  over: T[],
  rowOf: (entry: T) => Row | undefined,
  visit: Visit,
): void {
  over.sort((a, b) => compareBytes(a.key, b.key));
  let next = 0;
  let going = true;
  const show = (entry: T): boolean => {
    const row = rowOf(entry);
    return row === undefined || visit(entry.key, row);
  };
  stored.range(table, start, end, (key, row) => {
    while (next < over.length && compareBytes((over[next] as T).key, key) < 0) {
      going = show(over[next++] as T);
      if (!going) return false;
    }
    const entry = over[next];
    if (entry !== undefined && compareBytes(entry.key, key) === 0) {
      next++;
      going = show(entry);
    } else going = visit(key, row);
    return going;
  });
  while (going && next < over.length) going = show(over[next++] as T);
}

/** The first row at or after `key`, copied. */
export function seekBy(reader: Pick<Reader, 'range'>, table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
  let found: { readonly key: Uint8Array; readonly row: Row } | undefined;
  reader.range(table, key, undefined, (k, row) => {
    found = { key: copyBytes(k), row: { value: copyBytes(row.value), owner: row.owner } };
    return false;
  });
  return found;
}
