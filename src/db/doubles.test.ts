// Doubles for this room's tests: a table store in memory whose batches commit when the test says so,
// and just enough of an environment. Imported by tests only; holds none itself.
import { createHash, createHmac } from 'node:crypto';
import { byteString, compareBytes, copyBytes, fromByteString } from '#base/bytes.js';
import { Prng } from '#base/prng.js';
import type { Env } from '#env/env.js';
import type { Hash } from '#env/hash.js';
import type { TableStore, TablesError, TableWrite } from '#env/tables.js';
import type { Feed, Row, Table } from './api.js';

export const hash: Hash = {
  hmacSha256: (key, data) => new Uint8Array(createHmac('sha256', key).update(data).digest()),
  sha256: (data) => new Uint8Array(createHash('sha256').update(data).digest()),
};

export class MemoryStore implements TableStore {
  readonly rows: Map<string, Uint8Array> = new Map();
  /** Batches that wait for `commit`. */
  readonly waiting: { readonly batch: readonly TableWrite[]; readonly committed: (error: TablesError | undefined) => void }[] = [];

  get(key: Uint8Array): Uint8Array | undefined {
    return this.rows.get(byteString(key));
  }

  range(start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, value: Uint8Array) => boolean): void {
    for (const name of [...this.rows.keys()].sort()) {
      const key = fromByteString(name);
      if (compareBytes(key, start) < 0) continue;
      if (end !== undefined && compareBytes(key, end) >= 0) return;
      if (!visit(key, this.rows.get(name) as Uint8Array)) return;
    }
  }

  seek(key: Uint8Array): { readonly key: Uint8Array; readonly value: Uint8Array } | undefined {
    let found: { readonly key: Uint8Array; readonly value: Uint8Array } | undefined;
    this.range(key, undefined, (k, value) => {
      found = { key: k, value };
      return false;
    });
    return found;
  }

  write(batch: readonly TableWrite[], committed: (error: TablesError | undefined) => void): void {
    this.waiting.push({ batch, committed });
  }

  /** Commits the oldest batch; false when there is none. */
  commit(error?: TablesError): boolean {
    const next = this.waiting.shift();
    if (next === undefined) return false;
    if (error === undefined) {
      for (const { key, value } of next.batch) {
        if (value === undefined) this.rows.delete(byteString(key));
        else this.rows.set(byteString(key), copyBytes(value));
      }
    }
    next.committed(error);
    return true;
  }

  flushed(done: (error: TablesError | undefined) => void): void {
    done(undefined);
  }

  stat(): { readonly rows: number; readonly bytes: number } {
    return { rows: this.rows.size, bytes: 0 };
  }

  close(done: () => void): void {
    done();
  }
}

/** Only what this room's machines ask for in these tests; anything else throws when it is used. */
export function testEnv(): { readonly env: Env; endTurn(): void } {
  const tasks: (() => void)[] = [];
  const prng = new Prng(1);
  const env = {
    clock: {
      now: () => 0,
      wallNow: () => 1_000,
      setTimer: () => ({ cancel: () => {} }),
      endOfTurn: (fn: () => void) => {
        tasks.push(fn);
      },
    },
    random: { next: () => prng.next(), int: (n: number) => prng.int(n), bytes: (n: number) => prng.bytes(n) },
    hash,
    metrics: { counter: () => ({ value: 0 }) },
  } as unknown as Env;
  return {
    env,
    endTurn: () => {
      for (const task of tasks.splice(0)) task();
    },
  };
}

/** Rebuilds a table from its feed alone. */
export class MirrorFeed implements Feed {
  readonly rows: Map<string, { readonly value: string; readonly owner: number }> = new Map();
  resets = 0;
  index = -1;

  reset(_generation: number, index: number): void {
    this.rows.clear();
    this.resets++;
    this.index = index;
  }

  change(table: Table, key: Uint8Array, row: Row | undefined): void {
    const name = `${table.id}:${byteString(key)}`;
    if (row === undefined) this.rows.delete(name);
    else this.rows.set(name, { value: byteString(row.value), owner: row.owner });
  }

  purged(_nodeId: string, incarnation: number): void {
    for (const [name, row] of this.rows) if (row.owner === incarnation) this.rows.delete(name);
  }

  applied(index: number): void {
    this.index = index;
  }
}
