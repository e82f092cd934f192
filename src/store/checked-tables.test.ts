import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareBytes, copyBytes, toHex } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import { DamagedTablesError, type RangeOptions, type TableStore, type TableWrite } from '#env/tables.js';
import { CheckedTables } from './checked-tables.js';

/** Rows in memory, as a disk would have them. */
class Rows implements TableStore {
  rows: { key: Uint8Array; value: Uint8Array }[] = [];

  get(key: Uint8Array): Uint8Array | undefined {
    return this.rows.find((r) => compareBytes(r.key, key) === 0)?.value;
  }
  range(start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, value: Uint8Array) => boolean, options?: RangeOptions): void {
    const within = this.rows.filter((r) => compareBytes(r.key, start) >= 0 && (end === undefined || compareBytes(r.key, end) < 0));
    for (const r of options?.reverse === true ? within.reverse() : within) if (!visit(r.key, r.value)) return;
  }
  seek(key: Uint8Array): { readonly key: Uint8Array; readonly value: Uint8Array } | undefined {
    return this.rows.find((r) => compareBytes(r.key, key) >= 0);
  }
  write(batch: readonly TableWrite[], committed: (error: undefined) => void): void {
    for (const { key, value } of batch) {
      this.rows = this.rows.filter((r) => compareBytes(r.key, key) !== 0);
      if (value !== undefined) this.rows.push({ key: copyBytes(key), value: copyBytes(value) });
    }
    this.rows.sort((a, b) => compareBytes(a.key, b.key));
    committed(undefined);
  }
  flushed(done: (error: undefined) => void): void {
    done(undefined);
  }
  stat(): { readonly rows: number; readonly bytes: number } {
    return { rows: this.rows.length, bytes: 0 };
  }
  close(done: () => void): void {
    done();
  }
}

const key = (n: number): Uint8Array => Uint8Array.of(1, n);

function filled(count: number): { disk: Rows; tables: CheckedTables } {
  const disk = new Rows();
  const tables = new CheckedTables(disk);
  const batch = Array.from({ length: count }, (_, n) => ({ key: key(n), value: utf8Encode(`value ${n}`) }));
  tables.write(batch, (error) => assert.equal(error, undefined));
  return { disk, tables };
}

function all(tables: TableStore, options?: RangeOptions): string[] {
  const found: string[] = [];
  tables.range(
    Uint8Array.of(0),
    undefined,
    (k, v) => {
      found.push(`${toHex(k)}=${Buffer.from(v).toString()}`);
      return true;
    },
    options,
  );
  return found;
}

test('checked tables: rows come back as they were written, and nothing else is seen', () => {
  const { disk, tables } = filled(3);
  assert.deepEqual(all(tables), ['0100=value 0', '0101=value 1', '0102=value 2']);
  assert.deepEqual(all(tables, { reverse: true }), ['0102=value 2', '0101=value 1', '0100=value 0']);
  assert.equal(Buffer.from(tables.get(key(1)) ?? []).toString(), 'value 1');
  assert.equal(tables.get(key(9)), undefined);
  assert.deepEqual(tables.seek(Uint8Array.of(0))?.key, key(0));
  assert.equal(tables.stat().rows, 3);
  assert.equal(disk.rows.length, 4);
  tables.write([{ key: key(1), value: undefined }], () => {});
  assert.equal(tables.get(key(1)), undefined);
  const again = new CheckedTables(disk);
  assert.ok(again.checked);
  assert.deepEqual(all(again), ['0100=value 0', '0102=value 2']);
});

test('checked tables: each bit of a row that turns over is noticed by whoever reads it', () => {
  const { disk, tables } = filled(3);
  let told = 0;
  tables.onDamage = () => told++;
  const row = disk.rows[2] as { key: Uint8Array; value: Uint8Array };
  for (const of of ['key', 'value'] as const) {
    for (let bit = 0; bit < row[of].length * 8; bit++) {
      const whole = row[of];
      const changed = copyBytes(whole);
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      row[of] = changed;
      const before = told;
      assert.throws(() => all(tables), DamagedTablesError, `${of}, bit ${bit}`);
      if (of === 'value') {
        assert.throws(() => tables.get(row.key), DamagedTablesError);
        assert.throws(() => tables.seek(row.key), DamagedTablesError);
      }
      assert.equal(told, before + (of === 'value' ? 3 : 1));
      row[of] = whole;
    }
  }
  row.value = row.value.subarray(0, 3);
  assert.throws(() => tables.get(row.key), DamagedTablesError);
});

test('checked tables: the rows of two keys that were exchanged are noticed', () => {
  const { disk, tables } = filled(3);
  const [a, b] = [disk.rows[1], disk.rows[2]] as { key: Uint8Array; value: Uint8Array }[] as [
    { key: Uint8Array; value: Uint8Array },
    { key: Uint8Array; value: Uint8Array },
  ];
  [a.value, b.value] = [b.value, a.value];
  assert.throws(() => tables.get(a.key), DamagedTablesError);
});

test('checked tables: a store of an older build is read and written as it is', () => {
  const disk = new Rows();
  disk.write([{ key: key(1), value: utf8Encode('old') }], () => {});
  const tables = new CheckedTables(disk);
  assert.equal(tables.checked, false);
  tables.write([{ key: key(2), value: utf8Encode('new') }], () => {});
  assert.deepEqual(all(tables), ['0101=old', '0102=new']);
  assert.equal(tables.stat().rows, 2);
  assert.deepEqual(tables.seek(key(2))?.value, utf8Encode('new'));
});

test('checked tables: a damaged first row does not turn them into tables without checksums', () => {
  const { disk } = filled(1);
  const first = disk.rows[0] as { value: Uint8Array };
  first.value = Uint8Array.of(2, ...first.value.subarray(1));
  assert.throws(() => new CheckedTables(disk), /damaged/);
});
