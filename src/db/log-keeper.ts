// When a shard's log may be shortened, and to where: behind what the tables have on disk, never
// ahead of a stream that still needs it unless it has grown beyond its hard bound.
import type { Clock } from '#env/clock.js';
import type { WalShard } from '#store/types.js';
import type { DbBounds } from './bounds.js';
import type { ShardState } from './shard-state.js';

const sampleEveryMs = 10_000;

export class LogKeeper {
  readonly #clock: Clock;
  readonly #bounds: DbBounds;
  /** When the log had reached which index: for keeping it a while. */
  #samples: { readonly at: number; readonly index: number }[] = [];
  #nextAt = 0;
  #flushing = false;

  constructor(clock: Clock, bounds: DbBounds) {
    this.#clock = clock;
    this.#bounds = bounds;
  }

  maybeCompact(wal: WalShard, state: ShardState, oldestNeeded: number, compact: (index: number) => void): void {
    const now = this.#clock.now();
    if (now < this.#nextAt || this.#flushing) return;
    this.#nextAt = now + Math.min(sampleEveryMs, this.#bounds.logKeepMs / 4);
    this.#samples.push({ at: now, index: wal.lastIndex });
    const { logKeepBytes, logKeepBytesMax, logKeepMs } = this.#bounds;
    while (this.#samples.length > 1 && now - (this.#samples[1]?.at ?? now) >= logKeepMs) this.#samples.shift();
    if (wal.bytes <= logKeepBytes) return;
    const oldest = this.#samples[0];
    const aged = oldest !== undefined && now - oldest.at >= logKeepMs ? oldest.index : wal.base.index;
    // Entries are of similar size within a shard: positions are estimated, bounds are not exact.
    const span = wal.lastIndex - wal.base.index;
    const keepSoft = wal.lastIndex - Math.floor(span * (logKeepBytes / wal.bytes));
    const keepHard = wal.lastIndex - Math.floor(span * (logKeepBytesMax / wal.bytes));
    const wanted = Math.min(aged, keepSoft, oldestNeeded - 1);
    const target = Math.max(wanted, keepHard);
    if (target <= wal.base.index) return;
    this.#flushing = true;
    const applied = state.appliedIndex;
    state.store.flushed((error) => {
      this.#flushing = false;
      if (error === undefined) compact(Math.min(target, applied));
    });
  }
}
