// Generations of one shard's tables as directories `tables/SHARD/NUMBER`, with a durable pointer
// CURRENT. A generation that CURRENT does not name is a leftover and removed at the next start;
// a pointer that cannot be read removes nothing and ends the start.
//
// `NUMBER.damaged` beside a generation says that a row of it was found damaged: it is not opened again. The
// shard begins anew in an empty one; the damaged one stays until a whole copy has taken its place.
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { ShardGenerations } from '#db/open-state.js';
import type { OpenGeneration } from '#db/shard-state.js';
import type { Env } from '#env/env.js';
import type { FilesError } from '#env/files.js';
import { DamagedTablesError, type TableStore, type Tables, TablesError } from '#env/tables.js';
import { CheckedTables } from '#store/checked-tables.js';
import { DataDirectoryError } from './data-directory-error.js';

const tablesDir = 'tables';
const damagedMark = '.damaged';

export class DirectoryGenerations implements ShardGenerations {
  readonly #env: Env;
  readonly #dir: string;
  #last = 0;
  /** Named by the pointer and in service. */
  #serving = 1;
  /** What the pointer says, or is about to say. */
  #named = 1;
  #pointing = false;
  #afterPointing: (() => void) | undefined;
  readonly #givenUp: Set<number> = new Set();

  constructor(env: Env, shard: string) {
    this.#env = env;
    this.#dir = `${tablesDir}/${shard}`;
  }

  get #pointer(): string {
    return `${this.#dir}/CURRENT`;
  }

  openCurrent(): OpenGeneration {
    const { files, log } = this.#env;
    files.makeDir(this.#dir);
    // Without a pointer generation 1 is the current one: it is written only once there is a second.
    const number = this.#readPointer() ?? 1;
    let damaged = false;
    for (const name of files.list(this.#dir)) {
      const n = Number.parseInt(name, 10);
      if (name === `${number}${damagedMark}`) damaged = true;
      if (String(n) !== name && name !== `${n}${damagedMark}`) continue;
      this.#last = Math.max(this.#last, n);
      if (n !== number) files.removeTree(`${this.#dir}/${name}`);
    }
    this.#last = Math.max(this.#last, number);
    this.#serving = this.#named = number;
    try {
      if (!damaged) return this.#open(number);
    } catch (error) {
      if (!(error instanceof DamagedTablesError)) throw unusable(error);
      log.error('the tables cannot be opened', { generation: `${this.#dir}/${number}`, why: error.message });
      this.markDamaged(number);
    }
    log.warn('the tables of this shard are damaged and not used any more', { generation: `${this.#dir}/${number}` });
    return { ...this.#open(++this.#last), anew: true };
  }

  #open(number: number): OpenGeneration {
    const store = openStore(this.#env.tables, `${this.#dir}/${number}`);
    this.#syncEntries(number, (error) => {
      if (error !== undefined) this.#env.log.error('the directory of the tables cannot be synced', { dir: this.#dir, code: error.code });
    });
    return { number, store };
  }

  markDamaged(generation: number): void {
    // At once: the process may not get further than this.
    this.#env.files.makeDir(`${this.#dir}/${generation}${damagedMark}`);
  }

  #readPointer(): number | undefined {
    const { files } = this.#env;
    if (!files.exists(this.#pointer)) return undefined;
    const text = utf8Decode(files.read(this.#pointer)) ?? '';
    if (/^[1-9][0-9]*\n$/.test(text)) return Number.parseInt(text, 10);
    throw new DataDirectoryError(`${this.#pointer} is damaged; restore it from a backup, or empty the data directory and let the node join anew`);
  }

  /** Makes the names of a generation's files durable; their contents are the store's. */
  #syncEntries(generation: number, done: (error: FilesError | undefined) => void): void {
    const dirs = [`${this.#dir}/${generation}`, this.#dir, tablesDir];
    let missing = dirs.length;
    let failed: FilesError | undefined;
    for (const dir of dirs) {
      this.#env.files.syncDir(dir, (error) => {
        failed ??= error;
        if (--missing === 0) done(failed);
      });
    }
  }

  create(): OpenGeneration {
    const number = ++this.#last;
    return { number, store: openStore(this.#env.tables, `${this.#dir}/${number}`) };
  }

  makeCurrent(generation: number, done: (error: Error | undefined) => void): void {
    this.#syncEntries(generation, (error) => {
      if (error !== undefined) return done(error);
      this.#point(generation, done);
    });
  }

  #point(generation: number, done: (error: Error | undefined) => void): void {
    if (this.#pointing) {
      const before = this.#afterPointing;
      this.#afterPointing = () => {
        before?.();
        this.#point(generation, done);
      };
      return;
    }
    if (this.#givenUp.has(generation)) return done(new Error(`generation ${generation} was given up`));
    this.#pointing = true;
    this.#named = generation;
    this.#env.files.writeAtomic(this.#pointer, utf8Encode(`${generation}\n`), (error) => {
      this.#pointing = false;
      if (error === undefined && !this.#givenUp.has(generation)) this.#serving = generation;
      done(error);
      const next = this.#afterPointing;
      this.#afterPointing = undefined;
      next?.();
    });
  }

  /** A copy that is given up while the pointer is set to it must not go before the pointer names another. */
  discard(generation: number, store: TableStore): void {
    this.#givenUp.add(generation);
    const remove = (): void => this.#env.files.removeTree(`${this.#dir}/${generation}`);
    store.close(() => {
      if (this.#named !== generation) return remove();
      this.#point(this.#serving, (error) => {
        if (error === undefined) remove();
      });
    });
  }
}

function openStore(tables: Tables, dir: string): TableStore {
  const store = tables.open(dir);
  try {
    return new CheckedTables(store);
  } catch (error) {
    store.close(() => {});
    throw error;
  }
}

function unusable(error: unknown): unknown {
  if (!(error instanceof TablesError)) return error;
  return new DataDirectoryError(`the tables cannot be read: ${error.message}; empty the data directory and let the node join anew`);
}
