// Looks at every row of a node's tables now and then, a few at a time, so that one that nobody reads is not
// found damaged only when it is needed, or when the other copies are. The store checks what it reads
// (store/checked-tables.ts) and tells its owner; here each row is also looked for by its key, since a
// damaged page may hide a row without changing it. Owned by database.ts.
import { copyBytes } from '#base/bytes.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import { DamagedTablesError, TablesError } from '#env/tables.js';
import type { DbBounds } from './bounds.js';
import type { ShardState } from './shard-state.js';

/** Between two slices of a pass. */
const sliceMs = 100;
const slicesPerSecond = 1000 / sliceMs;
/** After a start other things come first. */
const firstPassMs = 1_000;

export class Scrubber {
  readonly #env: Env;
  readonly #bounds: DbBounds;
  readonly #states: () => readonly ShardState[];
  readonly #rows: { value: number };
  readonly #passes: { value: number };
  #timer: Timer | undefined;
  #startedAt = 0;
  /** Which state is being looked at, of which generation, and from where on. */
  #at = 0;
  #generation = 0;
  #from: Uint8Array = lowest;

  constructor(env: Env, bounds: DbBounds, states: () => readonly ShardState[]) {
    this.#env = env;
    this.#bounds = bounds;
    this.#states = states;
    this.#rows = env.metrics.counter('starmesh_tables_scrubbed_rows_total', 'Rows of the tables that were read to see whether they are damaged', {});
    this.#passes = env.metrics.counter('starmesh_tables_scrubs_total', 'Times that all tables were read to see whether they are damaged', {});
  }

  start(): void {
    if (this.#bounds.scrubEveryMs < Number.POSITIVE_INFINITY) this.#wake(Math.min(firstPassMs, this.#bounds.scrubEveryMs));
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wake(ms: number): void {
    this.#timer = this.#env.clock.setTimer(ms, () => this.#slice());
  }

  #slice(): void {
    const states = this.#states();
    const now = this.#env.clock.now();
    if (this.#at === 0 && this.#from === lowest) this.#startedAt = now;
    const state = states[this.#at];
    if (state !== undefined) {
      if (state.generation !== this.#generation) this.#from = lowest;
      this.#generation = state.generation;
      this.#from = this.#look(state) ?? lowest;
      if (this.#from !== lowest) return this.#wake(sliceMs);
    }
    this.#at++;
    if (this.#at < states.length) return this.#wake(sliceMs);
    this.#at = 0;
    this.#passes.value++;
    this.#wake(Math.max(sliceMs, this.#startedAt + this.#bounds.scrubEveryMs - now));
  }

  /** Where to go on; undefined at the end of this state's rows. */
  #look(state: ShardState): Uint8Array | undefined {
    const { store } = state;
    const rowsMax = Math.ceil(this.#bounds.scrubRowsPerSecond / slicesPerSecond);
    const bytesMax = Math.ceil(this.#bounds.scrubBytesPerSecond / slicesPerSecond);
    let rows = 0;
    let bytes = 0;
    let next: Uint8Array | undefined;
    let hidden = false;
    if (state.failed || state.damaged) return undefined;
    try {
      store.range(this.#from, undefined, (key, value) => {
        if (rows >= rowsMax || bytes >= bytesMax) {
          next = copyBytes(key);
          return false;
        }
        rows++;
        bytes += key.length + value.length;
        hidden = store.get(key) === undefined;
        return !hidden;
      });
    } catch (error) {
      // The owner has been told, if it is damage; a store that failed has an owner who knows.
      if (!(error instanceof TablesError)) throw error;
      next = undefined;
    }
    if (hidden) state.noteDamage(new DamagedTablesError('a row is not found by its key'));
    this.#rows.value += rows;
    return hidden ? undefined : next;
  }
}

const lowest: Uint8Array = Uint8Array.of(0);
