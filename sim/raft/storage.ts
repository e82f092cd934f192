// The durable log of one simulated node. What was written is readable at once; what was not synced
// when the node crashes is lost, except for a prefix that reached the disk by chance.
//
// world.ts drives it through RaftStorage only, so that the real write-ahead log over simulated files
// can take its place.
import { assert } from '#base/assert.js';
import type { Prng } from '#base/prng.js';
import type { Entry, HardState, LogSource, RaftConfig, RaftEffect } from '#raft/types.js';

export type PersistEffect = Extract<RaftEffect, { type: 'persist' }>;

export interface LogPoint {
  readonly index: number;
  readonly term: number;
}

export interface RaftStorage extends LogSource {
  readonly hardState: HardState;
  readonly base: LogPoint;
  readonly baseConfig: RaftConfig;
  readonly last: LogPoint;
  /** What would be there after a crash now. */
  readonly durable: { readonly hardState: HardState; readonly base: LogPoint; readonly last: LogPoint; term(index: number): number | undefined };
  append(e: PersistEffect): void;
  /** Replaces log and base; takes effect when synced. */
  install(base: LogPoint, config: RaftConfig, tag: number): void;
  compact(index: number, config: RaftConfig): void;
  /** True when something waits for a sync. */
  readonly dirty: boolean;
  /** Begins a sync of everything written so far. */
  beginSync(): void;
  /** The sync that was begun has succeeded. Returns the last persist id it covers (0: none) and the tags of installations. */
  endSync(): { readonly persistId: number; readonly installed: readonly number[] };
  crash(prng: Prng): void;
  /** Damage: forgets entries above `index`, or, with `base`, the whole log. */
  damage(index: number, base: LogPoint | undefined, config: RaftConfig): void;
}

type Operation =
  | { readonly kind: 'append'; readonly effect: PersistEffect }
  | { readonly kind: 'install'; readonly base: LogPoint; readonly config: RaftConfig; readonly tag: number };

class Image {
  hardState: HardState = { currentTerm: 0, votedFor: '' };
  base: LogPoint = { index: 0, term: 0 };
  baseConfig: RaftConfig;
  log: Entry[] = [];

  constructor(config: RaftConfig) {
    this.baseConfig = config;
  }

  get last(): LogPoint {
    const last = this.log[this.log.length - 1];
    return last === undefined ? this.base : { index: last.index, term: last.term };
  }

  term(index: number): number | undefined {
    return index === this.base.index ? this.base.term : this.log[index - 1 - this.base.index]?.term;
  }

  append(hardState: HardState | undefined, entries: readonly Entry[]): void {
    if (hardState !== undefined) this.hardState = hardState;
    const first = entries[0];
    if (first === undefined) return;
    const keep = first.index - 1 - this.base.index;
    assert(keep >= 0 && keep <= this.log.length, 'storage: entries leave a gap');
    this.log.length = keep;
    for (const e of entries) this.log.push(e);
  }

  install(base: LogPoint, config: RaftConfig): void {
    this.base = base;
    this.baseConfig = config;
    this.log = [];
  }

  compact(index: number, config: RaftConfig): void {
    if (index <= this.base.index) return;
    const term = this.term(index);
    assert(term !== undefined, 'storage: compaction beyond the log');
    this.log = this.log.slice(index - this.base.index);
    this.base = { index, term };
    this.baseConfig = config;
  }
}

export class SimStorage implements RaftStorage {
  readonly #written: Image;
  readonly #synced: Image;
  #waiting: Operation[] = [];
  #syncing = 0;

  constructor(config: RaftConfig) {
    this.#written = new Image(config);
    this.#synced = new Image(config);
  }

  get hardState(): HardState {
    return this.#written.hardState;
  }
  get base(): LogPoint {
    return this.#written.base;
  }
  get baseConfig(): RaftConfig {
    return this.#written.baseConfig;
  }
  get last(): LogPoint {
    return this.#written.last;
  }
  get durable(): Image {
    return this.#synced;
  }
  get dirty(): boolean {
    return this.#waiting.length > 0;
  }

  entries(from: number, to: number, maxBytes: number): readonly Entry[] | undefined {
    const { base, log } = this.#written;
    if (from <= base.index) return undefined;
    // The contract of LogSource: a real log may not give back what was not reported durable.
    assert(this.#synced.term(to - 1) === this.#written.term(to - 1), 'storage: asked for entries that are not durable');
    const out: Entry[] = [];
    let bytes = 0;
    const end = Math.min(to - 1 - base.index, log.length);
    for (let i = from - 1 - base.index; i < end; i++) {
      const e = log[i] as Entry;
      bytes += e.data.length;
      if (out.length > 0 && bytes > maxBytes) break;
      out.push(e);
    }
    return out;
  }

  /** For checkers: what was written, durable or not. */
  written(from: number, to: number): readonly Entry[] {
    const { base, log } = this.#written;
    return log.slice(Math.max(0, from - 1 - base.index), to - 1 - base.index);
  }

  term(index: number): number | undefined {
    return this.#written.term(index);
  }

  append(effect: PersistEffect): void {
    this.#written.append(effect.hardState, effect.entries);
    this.#waiting.push({ kind: 'append', effect });
  }

  install(base: LogPoint, config: RaftConfig, tag: number): void {
    this.#waiting.push({ kind: 'install', base, config, tag });
  }

  compact(index: number, config: RaftConfig): void {
    this.#synced.compact(index, config);
    this.#written.compact(index, config);
  }

  beginSync(): void {
    this.#syncing = this.#waiting.length;
  }

  endSync(): { readonly persistId: number; readonly installed: readonly number[] } {
    let persistId = 0;
    const installed: number[] = [];
    for (const op of this.#waiting.splice(0, this.#syncing)) {
      if (op.kind === 'append') {
        this.#synced.append(op.effect.hardState, op.effect.entries);
        persistId = op.effect.id;
      } else {
        this.#synced.install(op.base, op.config);
        this.#written.install(op.base, op.config);
        installed.push(op.tag);
      }
    }
    this.#syncing = 0;
    return { persistId, installed };
  }

  crash(prng: Prng): void {
    // Writes reach the disk in order; the last one that does may be torn. An installation is one step
    // that either was reported done or has not happened.
    let survive = prng.chance(0.5) ? 0 : prng.int(this.#waiting.length + 1);
    for (const op of this.#waiting) {
      if (op.kind !== 'append') break;
      if (survive-- > 0) {
        this.#synced.append(op.effect.hardState, op.effect.entries);
        continue;
      }
      if (prng.chance(0.2)) this.#synced.append(op.effect.hardState, op.effect.entries.slice(0, prng.int(op.effect.entries.length + 1)));
      break;
    }
    this.#waiting = [];
    this.#syncing = 0;
    this.#restore();
  }

  #restore(): void {
    this.#written.hardState = this.#synced.hardState;
    this.#written.base = this.#synced.base;
    this.#written.baseConfig = this.#synced.baseConfig;
    this.#written.log = this.#synced.log.slice();
  }

  damage(index: number, base: LogPoint | undefined, config: RaftConfig): void {
    if (base !== undefined) this.#synced.install(base, config);
    else this.#synced.log.length = Math.max(0, Math.min(this.#synced.log.length, index - this.#synced.base.index));
    this.#restore();
  }
}
