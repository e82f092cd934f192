// A program for tests: opens each of the given stores of tables, reads, looks for, writes and deletes rows all
// over it, and closes it. A line of JSON for each when it is done with it; what it had to say about one over
// which it died is that there is no line.
import { writeSync } from 'node:fs';
import type { TableStore, TableWrite } from '#env/tables.js';
import { TablesError } from '#env/tables.js';
import { OsTables } from '#os/tables.js';
import type { WalkLimits } from '#os/tables-use.js';
import { CheckedTables } from '#store/checked-tables.js';

export interface DamagedPagesTask {
  readonly dirs: readonly string[];
  readonly walkLimits: WalkLimits;
}

export interface DamagedPagesResult {
  readonly dir: string;
  /** The first error; undefined: nothing was noticed. */
  readonly error: string | undefined;
  /** It was not opened. */
  readonly refused: boolean;
}

const batches = 12;
const writesPerBatch = 150;
/** A damaged tree may go round in circles. */
const rowsMax = 50_000;

class Use {
  error: string | undefined;
  readonly #store: TableStore;
  readonly #keys: Buffer[] = [];

  constructor(store: TableStore) {
    this.#store = store;
  }

  attempt(what: () => void): void {
    try {
      what();
    } catch (error) {
      // Anything else is a defect, and ends this process with its stack.
      if (!(error instanceof TablesError)) throw error;
      this.error ??= error.message;
    }
  }

  read(reverse: boolean): void {
    let rows = 0;
    const visit = (key: Uint8Array): boolean => {
      if (rows % 7 === 0) this.#keys.push(Buffer.from(key));
      return ++rows < rowsMax;
    };
    this.attempt(() => this.#store.range(new Uint8Array(0), undefined, visit, { reverse }));
  }

  look(): void {
    for (const key of this.#keys.slice(0, 300)) this.attempt(() => this.#store.get(key));
    for (let i = 0; i < 200; i++) this.attempt(() => this.#store.seek(Buffer.from(`key ${i * 20}`)));
    this.attempt(() => this.#store.stat());
  }

  /** False: writes are refused from now on. */
  async write(n: number): Promise<boolean> {
    const writes = new Map<string, TableWrite>();
    for (let i = 0; i < writesPerBatch; i++) {
      const old = i % 5 === 0 ? this.#keys[(n * 31 + i) % this.#keys.length] : undefined;
      const key = old ?? Buffer.from(`key ${(n * 997 + i * 131) % 4_000} ${'q'.repeat(i % 60)}`);
      writes.set(key.toString('latin1'), { key, value: i % 4 === 0 ? undefined : Buffer.alloc(i % 29 === 0 ? 9_000 : i, 1) });
    }
    const failed = await new Promise<TablesError | undefined>((done) => this.#store.write([...writes.values()], done));
    this.error ??= failed?.message;
    // Else it would depend on the disk's pace which free pages the next batch gets.
    await new Promise((done) => this.#store.flushed(done));
    return failed === undefined;
  }
}

async function use(dir: string, limits: WalkLimits): Promise<DamagedPagesResult> {
  let store: TableStore;
  try {
    store = new OsTables(dir, { walkLimits: limits }).open('rows');
  } catch (error) {
    if (error instanceof TablesError) return { dir, error: error.message, refused: true };
    throw error;
  }
  let error: string | undefined;
  try {
    const used = new Use(new CheckedTables(store));
    used.read(false);
    used.read(true);
    used.look();
    for (let n = 0; n < batches && (await used.write(n)); n++);
    used.read(false);
    await new Promise((done) => store.flushed(done));
    error = used.error;
  } catch (failed) {
    if (!(failed instanceof TablesError)) throw failed;
    error = failed.message;
  }
  await new Promise<void>((done) => store.close(done));
  return { dir, error, refused: false };
}

const { dirs, walkLimits } = JSON.parse(process.argv[2] ?? '') as DamagedPagesTask;
for (const dir of dirs) writeSync(1, `${JSON.stringify(await use(dir, walkLimits))}\n`);
