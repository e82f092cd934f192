// What a benchmarked database node does when it is told to: closed and paced loads of writes, filling,
// local reads, and watching when writes become visible. Used by db-node.ts.
import type { Database, Table } from '#db/api.js';

export interface Load {
  /** Writes under way at once; with `rate`, into how many ranges of keys they go. */
  readonly writers: number;
  readonly seconds: number;
  readonly valueBytes: number;
  /** Writes a second, begun at even distances whether earlier ones have been answered or not; 0: as many as can be. */
  readonly rate: number;
  /** Each writer writes so many keys in turn. */
  readonly keys: number;
  /** Each value says which write it is, and when each was answered is told. */
  readonly times: boolean;
}

/** Transactions of many rows each, one behind the other from a random place of those that were filled, until it is told to stop. */
export interface Churn {
  readonly rate: number;
  readonly rows: number;
  readonly rowsEach: number;
  readonly valueBytes: number;
  readonly prefix: string;
}

export interface Churned {
  readonly rows: number;
  readonly failed: number;
  /** Rows that were due and left out: too many were under way. */
  readonly leftOut: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly gapMs: number;
}

export interface Wrote {
  readonly writes: number;
  readonly failed: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Longest time between two answers. */
  readonly gapMs: number;
  /** With `times`: when each write was answered, by the machine's monotonic clock; 0: not at all. */
  readonly answeredAt: readonly number[];
}

/** Milliseconds that mean the same in every process of this machine. */
export function machineMs(): number {
  const [s, ns] = process.hrtime();
  return s * 1000 + ns / 1e6;
}

/** Of sorted values. */
export function percentile(sorted: Float64Array, p: number): number {
  return sorted.length === 0 ? 0 : (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] as number);
}

/** Writes under way with a `rate`: beyond that the load is not kept up, and the writes are left out. */
const pacedUnderMax = 50_000;

export function write(db: Database, table: Table, c: Load, done: (w: Wrote) => void): void {
  const plain = new Uint8Array(c.valueBytes).fill(7);
  const began = performance.now();
  const endAt = began + c.seconds * 1000;
  const latencies: number[] = [];
  const answeredAt: number[] = [];
  let lastAnswer = began;
  let gapMs = 0;
  let failed = 0;
  let begun = 0;
  let under = 0;

  const finish = (): void => {
    const sorted = Float64Array.from(latencies).sort();
    const seconds = (performance.now() - began) / 1000;
    done({ writes: latencies.length, failed, seconds, p50Ms: percentile(sorted, 0.5), p99Ms: percentile(sorted, 0.99), gapMs, answeredAt });
  };
  const value = (n: number): Uint8Array => {
    if (!c.times) return plain;
    const bytes = Buffer.alloc(Math.max(4, c.valueBytes), 7);
    bytes.writeUInt32LE(n);
    answeredAt[n] = 0;
    return bytes;
  };
  const one = (writer: number, k: number, start: number, then: (now: number) => void): void => {
    const n = begun++;
    under++;
    const key = Buffer.from(`w${writer}/${k % c.keys}`);
    db.write('items', [{ kind: 'put', table, key, value: value(n) }], { deadlineMs: 10_000 }, (failure) => {
      under--;
      const now = performance.now();
      if (failure === undefined) latencies.push(now - start);
      else failed++;
      if (c.times) answeredAt[n] = failure === undefined ? machineMs() : 0;
      if (now - lastAnswer > gapMs) gapMs = now - lastAnswer;
      lastAnswer = now;
      then(now);
    });
  };

  if (c.rate > 0) return paced();
  let running = c.writers;
  for (let w = 0; w < c.writers; w++) {
    let k = 0;
    const next = (now: number): void => {
      if (now < endAt) one(w, k++, now, next);
      else if (--running === 0) finish();
    };
    next(began);
  }

  function paced(): void {
    let due = 0;
    const step = (): void => {
      const now = performance.now();
      // Late beginnings count as waiting: the time is from when the write was due.
      while (due < (Math.min(now, endAt) - began) * (c.rate / 1000)) {
        if (under < pacedUnderMax) one(due % c.writers, Math.floor(due / c.writers), began + (due * 1000) / c.rate, () => {});
        due++;
      }
      if (now < endAt) setTimeout(step, 1);
      else drained();
    };
    const drained = (): void => {
      if (under === 0) finish();
      else setTimeout(drained, 5);
    };
    step();
  }
}

/** Transactions of a churn under way: what a node that cannot keep up leaves out, it is not asked to queue. */
const churnUnderMax = 256;
/** Latencies kept of a churn, of all at random. */
const churnSamples = 100_000;

export class ChurnLoad {
  readonly #c: Churn;
  readonly #db: Database;
  readonly #table: Table;
  readonly #began: number = performance.now();
  readonly #latencies: number[] = [];
  #written = 0;
  #answers = 0;
  #failed = 0;
  #leftOut = 0;
  #due = 0;
  #under = 0;
  #lastAnswer: number = performance.now();
  #gapMs = 0;
  #done: ((r: Churned) => void) | undefined;

  constructor(db: Database, table: Table, c: Churn) {
    this.#db = db;
    this.#table = table;
    this.#c = c;
    this.#step();
  }

  get written(): number {
    return this.#written;
  }

  stop(done: (r: Churned) => void): void {
    this.#done = done;
  }

  #step(): void {
    const now = performance.now();
    if (this.#done !== undefined) {
      if (this.#under > 0) setTimeout(() => this.#step(), 5);
      else this.#end(this.#done, now);
      return;
    }
    for (; this.#due < ((now - this.#began) * this.#c.rate) / 1000; this.#due += this.#c.rowsEach) {
      if (this.#under < churnUnderMax) this.#one(now);
      else this.#leftOut += this.#c.rowsEach;
    }
    setTimeout(() => this.#step(), 1);
  }

  #one(start: number): void {
    const { rows, rowsEach, valueBytes, prefix } = this.#c;
    const value = new Uint8Array(valueBytes).fill(8);
    const first = Math.floor(Math.random() * rows);
    const ops = Array.from(
      { length: rowsEach },
      (_, i) => ({ kind: 'put', table: this.#table, key: Buffer.from(`${prefix}${(first + i) % rows}`), value }) as const,
    );
    this.#under++;
    this.#db.write('items', ops, { deadlineMs: 30_000 }, (failure) => {
      this.#under--;
      const now = performance.now();
      if (failure === undefined) this.#written += rowsEach;
      else this.#failed++;
      const at = this.#answers++;
      const place = at < churnSamples ? at : Math.floor(Math.random() * at);
      if (place < churnSamples) this.#latencies[place] = now - start;
      this.#gapMs = Math.max(this.#gapMs, now - this.#lastAnswer);
      this.#lastAnswer = now;
    });
  }

  #end(done: (r: Churned) => void, now: number): void {
    const sorted = Float64Array.from(this.#latencies).sort();
    done({
      rows: this.#written,
      failed: this.#failed,
      leftOut: this.#leftOut,
      seconds: (now - this.#began) / 1000,
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
      gapMs: this.#gapMs,
    });
  }
}

const fillBatch = 500;

export function fill(
  db: Database,
  table: Table,
  c: { readonly rows: number; readonly valueBytes: number; readonly prefix: string },
  done: (r: { failed: number; seconds: number }) => void,
): void {
  const value = new Uint8Array(c.valueBytes).fill(7);
  const began = performance.now();
  let sent = 0;
  let under = 0;
  let failed = 0;
  const next = (): void => {
    if (sent >= c.rows) {
      if (under === 0) done({ failed, seconds: (performance.now() - began) / 1000 });
      return;
    }
    const ops = [];
    for (let i = 0; i < fillBatch && sent < c.rows; i++, sent++)
      ops.push({ kind: 'put', table, key: Buffer.from(`${c.prefix}${sent}`), value } as const);
    under++;
    db.write('items', ops, { deadlineMs: 60_000 }, (failure) => {
      under--;
      if (failure !== undefined) failed++;
      next();
    });
  };
  for (let i = 0; i < 32; i++) next();
}

export function read(db: Database, table: Table, c: { readonly count: number; readonly rows: number; readonly prefix: string }): { usEach: number } {
  const keys = Array.from({ length: 4096 }, (_, i) => Buffer.from(`${c.prefix}${(i * 2_654_435_761) % c.rows}`));
  let found = 0;
  const began = performance.now();
  for (let i = 0; i < c.count; i++) if (db.get(table, keys[i & 4095] as Buffer) !== undefined) found++;
  const usEach = ((performance.now() - began) * 1000) / c.count;
  if (found !== c.count) throw new Error(`${c.count - found} rows were not there`);
  return { usEach };
}

/** When each write of a load with `times` became visible on this node. */
export class LagFeed {
  readonly #at: number[] = [];
  readonly #unsubscribe: () => void;

  constructor(db: Database, table: Table) {
    let fresh: number[] = [];
    this.#unsubscribe = db.subscribe(table.shard, {
      reset: () => {},
      change: (_table, _key, row) => {
        if (row !== undefined && row.value.length >= 4) fresh.push(Buffer.from(row.value.buffer, row.value.byteOffset, 4).readUInt32LE());
      },
      purged: () => {},
      applied: () => {
        const now = machineMs();
        for (const n of fresh) this.#at[n] = now;
        fresh = [];
      },
    });
  }

  stop(): number[] {
    this.#unsubscribe();
    return Array.from(this.#at, (at) => at ?? 0);
  }
}
