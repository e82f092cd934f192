// A model of the log for its property tests: what each shard holds after each record, so that
// a recovered log can be compared with every moment at which the node may have stopped.
import type { HardState, LogBase, LogEntry, Wal, WalShard } from './types.js';
import { base, entries } from './wal-world.js';

export interface ModelShard {
  hardState: HardState;
  base: LogBase;
  entries: LogEntry[];
}

type ModelState = Map<string, ModelShard>;

export type ModelOp =
  | { readonly kind: 'append'; readonly shard: number; readonly count: number; readonly size: number }
  | { readonly kind: 'overwrite'; readonly shard: number; readonly back: number; readonly count: number }
  | { readonly kind: 'vote'; readonly shard: number; readonly count: number }
  | { readonly kind: 'compact'; readonly shard: number; readonly keep: number }
  | { readonly kind: 'install'; readonly shard: number; readonly ahead: number; readonly staged: number };

export const shardNames: readonly string[] = ['alpha', 'beta', 'gamma'];
const names = [...shardNames, ...shardNames.map((n) => `${n}+staged`)];

export class WalModel {
  #state: ModelState;
  /** After each record, oldest first. */
  readonly #moments: string[] = [];
  readonly #hardStates: ReadonlyMap<string, HardState>[] = [];
  /** How many of the moments are known to be durable. */
  durable = 0;
  #term = 1;
  /** The highest term of any hard state that was ever handed to the log. */
  #voted: number;
  /** Every entry ever written, by shard, index and term. */
  readonly written: Map<string, string> = new Map();

  constructor(wal: Wal, previous?: WalModel) {
    this.#state = readState(wal);
    this.#voted = previous === undefined ? 0 : previous.#voted;
    for (const s of this.#state.values()) this.#term = Math.max(this.#term, s.hardState.currentTerm, s.base.term, ...s.entries.map((e) => e.term));
    this.#moment();
    this.durable = this.#moments.length;
  }

  /** Does the operation on the log and on the model. */
  apply(wal: Wal, op: ModelOp): void {
    const name = shardNames[op.shard] as string;
    const real = wal.shard(name);
    const model = this.#shard(name);
    const last = real.lastIndex;
    switch (op.kind) {
      case 'append':
        this.#append(real, model, entries(last + 1, op.count, this.#term, op.size));
        return;
      case 'overwrite': {
        const from = Math.max(model.base.index + 1, last + 1 - op.back);
        this.#term++;
        this.#append(real, model, entries(from, op.count, this.#term), from);
        return;
      }
      case 'vote': {
        this.#term++;
        const hardState = { currentTerm: this.#term, votedFor: this.#term % 2 === 0 ? 'x' : '' };
        model.hardState = hardState;
        this.#voted = Math.max(this.#voted, this.#term);
        this.#moment();
        const list = entries(last + 1, op.count, this.#term);
        real.append({ hardState, entries: list }, this.#done(op.count > 0 ? 1 : 0));
        this.#push(model, list, last + 1, name);
        return;
      }
      case 'compact': {
        const index = Math.max(model.base.index, last - op.keep);
        model.base = base(index, real.term(index) ?? 0, 1);
        model.entries = model.entries.filter((e) => e.index > index);
        this.#moment();
        real.compact(model.base, this.#done());
        return;
      }
      case 'install':
        this.#install(wal, name, real, model, op);
    }
  }

  #install(wal: Wal, name: string, real: WalShard, model: ModelShard, op: { readonly ahead: number; readonly staged: number }): void {
    this.#term++;
    const index = real.lastIndex + op.ahead;
    const at = base(index, this.#term, 2);
    const stagedName = `${name}+staged`;
    const staged = wal.shard(stagedName);
    const stagedModel = this.#shard(stagedName);
    stagedModel.base = at;
    stagedModel.entries = [];
    this.#moment();
    staged.installBase(at, undefined, this.#done());
    this.#append(staged, stagedModel, entries(index + 1, op.staged, this.#term));
    model.base = at;
    model.entries = stagedModel.entries;
    // With nothing to adopt, the staged shard is dropped by a record of its own.
    if (op.staged === 0) this.#moment();
    this.#state.delete(stagedName);
    this.#moment();
    real.installBase(at, stagedName, this.#done());
  }

  #append(real: WalShard, model: ModelShard, list: LogEntry[], truncateFrom?: number): void {
    if (list.length === 0 && truncateFrom === undefined) return;
    this.#push(model, list, truncateFrom ?? real.lastIndex + 1, real.name);
    real.append({ truncateFrom, entries: list }, this.#done());
  }

  #push(model: ModelShard, list: readonly LogEntry[], from: number, name: string): void {
    model.entries = [...model.entries.filter((e) => e.index < from), ...list];
    for (const e of list) this.written.set(`${name.replace('+staged', '')} ${e.index} ${e.term}`, text([e]));
    this.#moment();
  }

  #shard(name: string): ModelShard {
    let shard = this.#state.get(name);
    if (shard === undefined) {
      shard = { hardState: { currentTerm: 0, votedFor: '' }, base: { ...base(0, 0), config: new Uint8Array(0), historyId: '' }, entries: [] };
      this.#state.set(name, shard);
    }
    return shard;
  }

  /** A callback that knows which moments it makes durable (`later`: ones that are noted after this call). */
  #done(later: number = 0): (error: unknown) => void {
    const moments = this.#moments.length + later;
    return (error) => {
      if (error === undefined) this.durable = Math.max(this.durable, moments);
    };
  }

  #moment(): void {
    this.#moments.push(stateText(this.#state));
    this.#hardStates.push(new Map([...this.#state].map(([name, s]) => [name, s.hardState])));
  }

  /** Undefined when the recovered log is one that a crash may leave, else what is wrong. */
  checkRecovered(wal: Wal): string | undefined {
    const state = readState(wal);
    const found = stateText(state);
    let seen = false;
    for (let i = this.#moments.length - 1; i >= this.durable - 1; i--) {
      if (this.#moments[i] !== found) continue;
      seen = true;
      // The mirror may be ahead of the log, never behind; a vote that nobody heard of may come back.
      const votes = this.#hardStates[i];
      if ([...state].every(([name, s]) => between(votes?.get(name)?.currentTerm ?? 0, s.hardState.currentTerm, this.#voted))) return undefined;
    }
    return seen
      ? 'a hard state is not one that was written'
      : `recovered ${found}\nlast durable ${this.#moments[this.durable - 1]}\nlast ${this.#moments.at(-1)}`;
  }

  /** The recovered shard is exactly the model's. */
  same(shard: WalShard): boolean {
    const model = this.#state.get(shard.name);
    if (model === undefined) return shard.lastIndex === 0;
    const read = readShard(shard);
    return shardText(read) === shardText(model) && JSON.stringify(read.hardState) === JSON.stringify(model.hardState);
  }
}

function between(low: number, value: number, high: number): boolean {
  return value >= low && value <= Math.max(low, high);
}

export function readShard(shard: WalShard): ModelShard {
  const list = shard.lastIndex >= shard.firstIndex ? shard.entries(shard.firstIndex, shard.lastIndex + 1, Number.MAX_SAFE_INTEGER) : [];
  return { hardState: shard.hardState, base: shard.base, entries: [...list] };
}

function readState(wal: Wal): ModelState {
  return new Map(wal.shards().map((s) => [s.name, readShard(s)]));
}

function stateText(state: ModelState): string {
  return names
    .map((name) => {
      const shard = state.get(name);
      return shard === undefined || (shard.base.index === 0 && shard.entries.length === 0) ? '-' : shardText(shard);
    })
    .join(' | ');
}

function shardText(s: ModelShard): string {
  return `${s.base.index}/${s.base.term}/${s.base.generation}/${s.base.config.join('')} ${text(s.entries)}`;
}

export function text(list: readonly LogEntry[]): string {
  return list.map((e) => `${e.index}:${e.term}:${e.kind}:${e.data.length}:${e.data.join('').slice(0, 80)}`).join(' ');
}
