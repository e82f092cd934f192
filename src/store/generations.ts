// The generations of one shard's tables: directories `tables/SHARD/0000000003/`, and a durable
// pointer `tables/SHARD/CURRENT` to the one in use. A new copy is built aside, switched to, and
// the old one is unlinked as a whole directory.
//
// Where the switch must happen together with the log (a copy installed on a core), the log is
// the authority: `prepare` the new generation, install the base that names it (`LogBase`), then
// `switchTo`. A start in between passes the base's generation, and the switch is completed.
import { assert } from '#base/assert.js';
import { crc32c } from '#base/crc32c.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Done, Files, FilesError } from '#env/files.js';

export const tablesDir = 'tables';
const formatVersion = 1;
const pointerName = 'CURRENT';

/** The tables cannot be opened by this Starmesh. */
export class GenerationsError extends Error {
  override readonly name = 'GenerationsError';
}

export class Generations {
  readonly shard: string;
  readonly #files: Files;
  readonly #dir: string;
  #current: number | undefined;
  /** What the pointer on disk says. */
  #pointed: number | undefined;
  #newest: number;
  /** Why there is no current generation although there was one. */
  readonly lost: string | undefined;

  /**
   * Finds the current generation, and removes what crashed runs left beside it.
   * `installed`: the generation that the log's base names, 0 for none.
   * Throws {@link GenerationsError} for a pointer of another format version.
   */
  constructor(files: Files, shard: string, installed: number = 0) {
    assert(/^[a-z0-9][a-z0-9._-]*$/.test(shard), `generations: bad shard name ${shard}`);
    this.shard = shard;
    this.#files = files;
    this.#dir = `${tablesDir}/${shard}`;
    const found = files
      .list(this.#dir)
      .map(generationNumber)
      .filter((n) => n !== undefined);
    const pointer = this.#readPointer();
    this.#pointed = pointer.generation;
    this.#newest = Math.max(0, ...found, pointer.generation ?? 0, installed);
    const wanted = Math.max(pointer.generation ?? 0, installed);
    this.#current = found.includes(wanted) ? wanted : undefined;
    if (this.#current !== undefined) this.lost = undefined;
    else if (wanted > 0) this.lost = `${this.#path(wanted)} is missing`;
    else this.lost = pointer.problem ?? (found.length > 0 ? `${this.#dir}/${pointerName} is missing` : undefined);
    // Without a current one nothing is removed: somebody may want to look at it.
    if (this.#current !== undefined) this.removeOthers();
  }

  /** Undefined on a fresh node, and when the tables are lost. */
  get current(): number | undefined {
    return this.#current;
  }

  /** Relative to the data directory, for `Tables.open`. */
  dir(generation: number): string {
    return this.#path(generation);
  }

  /** A new empty directory beside the current one. */
  create(): number {
    const generation = ++this.#newest;
    this.#files.makeDir(this.#path(generation));
    return generation;
  }

  /** Makes the directory entries of a generation durable. Its tables were flushed before. */
  prepare(generation: number, done: Done): void {
    let left = 3;
    let failed: FilesError | undefined;
    const one: Done = (error) => {
      failed ??= error;
      if (--left === 0) done(failed);
    };
    for (const dir of [this.#path(generation), this.#dir, tablesDir]) this.#files.syncDir(dir, one);
  }

  /** From now on, after a restart too, `generation` is the current one. Prepares it first. */
  switchTo(generation: number, done: Done): void {
    this.prepare(generation, (error) => {
      if (error !== undefined) {
        done(error);
        return;
      }
      this.#files.writeAtomic(`${this.#dir}/${pointerName}`, encodePointer(generation), (failed) => {
        if (failed === undefined) {
          this.#current = generation;
          this.#pointed = generation;
        }
        done(failed);
      });
    });
  }

  /** Does the pointer on disk lag behind the log's base? Then `switchTo(current)` completes the switch. */
  get switchPending(): boolean {
    return this.#current !== undefined && this.#current !== this.#pointed;
  }

  /** Unlinks a generation; its store was closed before. */
  remove(generation: number): void {
    assert(generation !== this.#current, 'generations: the current one is removed');
    this.#files.removeTree(this.#path(generation));
  }

  /** Unlinks every generation but the current one, except those still `open`. */
  removeOthers(open: readonly number[] = []): void {
    for (const name of this.#files.list(this.#dir)) {
      const generation = generationNumber(name);
      if (generation !== undefined && generation !== this.#current && !open.includes(generation)) this.remove(generation);
    }
  }

  #path(generation: number): string {
    return `${this.#dir}/${generationName(generation)}`;
  }

  #readPointer(): { readonly generation: number | undefined; readonly problem: string | undefined } {
    const path = `${this.#dir}/${pointerName}`;
    if (!this.#files.exists(path)) return { generation: undefined, problem: undefined };
    const text = utf8Decode(this.#files.read(path));
    const match = text === undefined ? null : /^starmesh-tables (\d+) (\d+) ([0-9a-f]{8})\n$/.exec(text);
    if (match === null || match[3] !== checksum(`starmesh-tables ${match[1]} ${match[2]}`))
      return { generation: undefined, problem: `${path} is damaged` };
    if (Number(match[1]) !== formatVersion) {
      throw new GenerationsError(`${path} has format version ${match[1]}; this Starmesh reads version ${formatVersion}`);
    }
    return { generation: Number(match[2]), problem: undefined };
  }
}

/** Shards that have a directory, in order. */
export function shardsOnDisk(files: Files): string[] {
  return files.list(tablesDir);
}

function generationName(generation: number): string {
  return String(generation).padStart(10, '0');
}

function generationNumber(name: string): number | undefined {
  return /^\d{10}$/.test(name) ? Number(name) : undefined;
}

function encodePointer(generation: number): Uint8Array {
  const text = `starmesh-tables ${formatVersion} ${generation}`;
  return utf8Encode(`${text} ${checksum(text)}\n`);
}

function checksum(text: string): string {
  return crc32c(utf8Encode(text)).toString(16).padStart(8, '0');
}
