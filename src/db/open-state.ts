// Opens what a node has of a shard's tables, and decides what becomes of a copy of which a row turned out
// damaged: it is marked at once, so that no later start opens it, and its owner hears of it, who has it
// replaced (a replicant copies the tables anew, a core as well, from another core). database.ts calls it.
import type { Env } from '#env/env.js';
import { TablesError } from '#env/tables.js';
import type { GenerationMaker } from './replica.js';
import { type OpenGeneration, ShardState, type ShardStateOptions } from './shard-state.js';

/** Generations of one shard's tables (directories on disk). */
export interface ShardGenerations extends GenerationMaker {
  /** The current generation, made when there is none; an empty one when it is marked as damaged. */
  openCurrent(): OpenGeneration;
  /** No later start opens it. Takes effect at once. */
  markDamaged(generation: number): void;
}

export interface OpenStateOptions extends Omit<ShardStateOptions, 'onDamage'> {
  readonly generations: ShardGenerations;
  /** The copy that is in service is damaged, and nothing else was under way when it was noticed. */
  readonly onDamaged: (why: string) => void;
}

export function openState(o: OpenStateOptions): ShardState {
  const { env, schema, generations } = o;
  const shard = schema.name;
  const damaged = damageCounter(env, shard);
  const open = (): ShardState => {
    const opened = generations.openCurrent();
    const onDamage = (error: TablesError): void => {
      const generation = state?.generation ?? opened.number;
      damaged.value++;
      generations.markDamaged(generation);
      env.log.error('a row of the tables is not what was written: this copy is not used any more', { shard, generation, why: error.message });
      // Whoever read it is still at it.
      env.clock.setTimer(0, () => {
        if (state?.damaged === true) o.onDamaged(error.message);
      });
    };
    let state: ShardState | undefined;
    state = new ShardState({ ...o, onDamage }, opened);
    return state;
  };
  const before = damaged.value;
  try {
    return open();
  } catch (error) {
    // One of the rows that apply consults: it is marked now.
    if (!(error instanceof TablesError) || damaged.value === before) throw error;
    return open();
  }
}

function damageCounter(env: Env, shard: string): { value: number } {
  return env.metrics.counter('starmesh_tables_damaged_total', 'Copies of tables given up because a row was not what had been written', { shard });
}
