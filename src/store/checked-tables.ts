// A table store whose rows carry checksums: LMDB has none, and would serve bytes that changed on the
// disk. Wraps the store of `env` (LMDB, or the simulator's); made by whoever opens a generation of a
// shard's tables. A row is stored as its value followed by CRC-32C of key and value (4 bytes, least
// significant first), and looked at again whenever it is read: what is not what was written throws.
//
// Which rows have checksums is said by the store's first row: a store that begins without one belongs
// to an older build, and is read as it is. The row is written with the first batch, and nobody sees it.
import { crc32c } from '#base/crc32c.js';
import { Slab } from '#base/slab.js';
import { DamagedTablesError, type RangeOptions, type TableStore, TablesError, type TableWrite } from '#env/tables.js';

const checksumBytes = 4;
/** Longest value of which a copy is cheaper than a view. */
const shortBytes = 60;
/** Before every other: shards' own rows begin with 00 and a letter. */
const formatKey: Uint8Array = Uint8Array.of(0, 0);
const afterFormat: Uint8Array = Uint8Array.of(0, 0, 0);
const formatValue: Uint8Array = Uint8Array.of(1);
const lowest: Uint8Array = Uint8Array.of(0);

export class CheckedTables implements TableStore {
  /** Rows carry checksums. Not those of a store that an older build began. */
  readonly checked: boolean;
  onDamage: ((error: DamagedTablesError) => void) | undefined;
  readonly #store: TableStore;
  readonly #slab: Slab = new Slab();
  readonly #values: Slab = new Slab();
  #begun: boolean;

  /** Throws {@link TablesError}; the store is still the caller's then. */
  constructor(store: TableStore) {
    this.#store = store;
    const first = store.seek(lowest);
    const marked = first !== undefined && isFormat(first.key);
    this.#begun = first !== undefined;
    this.checked = first === undefined || marked;
    if (marked && (trusted(first.key, first.value) !== 1 || first.value[0] !== formatValue[0]))
      throw new TablesError('the tables are of a format that this build does not read');
  }

  get(key: Uint8Array): Uint8Array | undefined {
    try {
      const stored = this.#store.get(key);
      return stored === undefined || !this.checked ? stored : this.#value(key, stored);
    } catch (error) {
      throw this.#noted(error);
    }
  }

  range(start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, value: Uint8Array) => boolean, options?: RangeOptions): void {
    const each = (key: Uint8Array, stored: Uint8Array): boolean => isFormat(key) || visit(key, this.#value(key, stored));
    try {
      this.#store.range(start, end, this.checked ? each : visit, options);
    } catch (error) {
      throw this.#noted(error);
    }
  }

  seek(key: Uint8Array): { readonly key: Uint8Array; readonly value: Uint8Array } | undefined {
    try {
      const found = this.#store.seek(key);
      if (found === undefined || !this.checked) return found;
      if (isFormat(found.key)) return this.seek(afterFormat);
      return { key: found.key, value: this.#value(found.key, found.value) };
    } catch (error) {
      throw this.#noted(error);
    }
  }

  /** Short ones are copied: what LMDB gives of them lies in an array's own memory, and a view of that is dear. */
  #value(key: Uint8Array, stored: Uint8Array): Uint8Array {
    const end = trusted(key, stored);
    if (end > shortBytes) return stored.subarray(0, end);
    const value = this.#values.take(end);
    for (let i = 0; i < end; i++) value[i] = stored[i] as number;
    return value;
  }

  #noted(error: unknown): unknown {
    if (error instanceof DamagedTablesError) this.onDamage?.(error);
    return error;
  }

  write(batch: readonly TableWrite[], committed: (error: TablesError | undefined) => void): void {
    if (!this.checked || batch.length === 0) return this.#store.write(batch, committed);
    const rows: TableWrite[] = [];
    if (!this.#begun) rows.push(this.#row(formatKey, formatValue));
    this.#begun = true;
    for (const write of batch) rows.push(write.value === undefined ? write : this.#row(write.key, write.value));
    this.#store.write(rows, committed);
  }

  #row(key: Uint8Array, value: Uint8Array): TableWrite {
    const { length } = value;
    const stored = this.#slab.take(length + checksumBytes);
    stored.set(value);
    write32(stored, length, crc32c(value, crc32c(key)));
    return { key, value: stored };
  }

  flushed(done: (error: TablesError | undefined) => void): void {
    this.#store.flushed(done);
  }

  stat(): { readonly rows: number; readonly bytes: number } {
    const { rows, bytes } = this.#store.stat();
    return { rows: this.checked && rows > 0 ? rows - 1 : rows, bytes };
  }

  close(done: () => void): void {
    this.#store.close(done);
  }
}

/** How many bytes of the stored value are the row's. Throws when they, or the key, changed. */
function trusted(key: Uint8Array, stored: Uint8Array): number {
  const end = stored.length - checksumBytes;
  if (end >= 0 && crc32c(stored, crc32c(key), 0, end) === read32(stored, end)) return end;
  throw new DamagedTablesError(`a row of ${stored.length} bytes is damaged`);
}

function isFormat(key: Uint8Array): boolean {
  return key.length === 2 && key[0] === 0 && key[1] === 0;
}

function read32(bytes: Uint8Array, at: number): number {
  const b = bytes as { [i: number]: number };
  return ((b[at] as number) | ((b[at + 1] as number) << 8) | ((b[at + 2] as number) << 16) | ((b[at + 3] as number) << 24)) >>> 0;
}

function write32(bytes: Uint8Array, at: number, n: number): void {
  bytes[at] = n;
  bytes[at + 1] = n >>> 8;
  bytes[at + 2] = n >>> 16;
  bytes[at + 3] = n >>> 24;
}
