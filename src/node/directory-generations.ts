// Generations of one shard's tables as directories `tables/SHARD/NUMBER`, with a durable pointer
// CURRENT. A generation that CURRENT does not name is a leftover and removed at the next start.
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { ShardGenerations } from '#db/database.js';
import type { OpenGeneration } from '#db/shard-state.js';
import type { Env } from '#env/env.js';
import type { TableStore } from '#env/tables.js';

export class DirectoryGenerations implements ShardGenerations {
  readonly #env: Env;
  readonly #dir: string;
  #last = 0;

  constructor(env: Env, shard: string) {
    this.#env = env;
    this.#dir = `tables/${shard}`;
  }

  get #pointer(): string {
    return `${this.#dir}/CURRENT`;
  }

  openCurrent(): OpenGeneration {
    const { files, tables } = this.#env;
    files.makeDir(this.#dir);
    const current = files.exists(this.#pointer) ? Number.parseInt(utf8Decode(files.read(this.#pointer)) ?? '', 10) : 0;
    for (const name of files.list(this.#dir)) {
      const n = Number.parseInt(name, 10);
      if (String(n) !== name) continue;
      this.#last = Math.max(this.#last, n);
      // Without a pointer generation 1 is the current one: it is written only once there is a second.
      if (n !== (current || 1)) files.removeTree(`${this.#dir}/${name}`);
    }
    const number = current || 1;
    this.#last = Math.max(this.#last, number);
    return { number, store: tables.open(`${this.#dir}/${number}`) };
  }

  create(): OpenGeneration {
    const number = ++this.#last;
    return { number, store: this.#env.tables.open(`${this.#dir}/${number}`) };
  }

  makeCurrent(generation: number, done: (error: Error | undefined) => void): void {
    this.#env.files.writeAtomic(this.#pointer, utf8Encode(`${generation}\n`), done);
  }

  discard(generation: number, store: TableStore): void {
    store.close(() => this.#env.files.removeTree(`${this.#dir}/${generation}`));
  }
}
