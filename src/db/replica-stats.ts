// What a replica counts for status and metrics: how its copies went, how far it is behind. Owned by replica.ts.
import type { Clock } from '#env/clock.js';
import type { BootstrapProgress, ReplicaShardStatus } from './api.js';
import type { ReplicaMachine } from './replica-machine.js';
import type { ShardState } from './shard-state.js';

/** What the status says of the shard's own part. */
export type ReplicaStatusParts = Pick<ReplicaShardStatus, 'upstream' | 'replicants'>;

export class ReplicaStats {
  readonly #clock: Clock;
  #startedAt = 0;
  #copying = false;
  #rowsTotal = 0;
  #rows = 0;
  #bytes = 0;
  #last: { readonly ms: number; readonly rows: number } | undefined;
  #behindSince: number | undefined;
  bootstraps = 0;
  resumes = 0;
  moves = 0;
  /** Of the log, as the node above said last. */
  committedTransactions = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  bootstrapBegins(rowsTotal: number): void {
    this.#startedAt = this.#clock.now();
    this.#copying = true;
    this.bootstraps++;
    this.#rows = this.#bytes = 0;
    this.#rowsTotal = rowsTotal;
  }

  copied(rows: number, bytes: number): void {
    this.#rows += rows;
    this.#bytes += bytes;
  }

  bootstrapEnds(): void {
    this.#last = { ms: this.#clock.now() - this.#startedAt, rows: this.#rows };
  }

  /** In step with the node above: by its log alone, unless it copied first. */
  inStep(): void {
    if (this.#last === undefined || !this.#copying) this.resumes++;
    this.#copying = false;
  }

  noteLag(behind: boolean): void {
    if (!behind) this.#behindSince = undefined;
    else this.#behindSince ??= this.#clock.now();
  }

  /** `into`: the copy that entries go to now; `aside`: it is one under construction. */
  status(m: ReplicaMachine, state: ShardState, into: ShardState, aside: boolean, parts: ReplicaStatusParts): ReplicaShardStatus {
    const now = this.#clock.now();
    const copying = m.state === 'bootstrap';
    return {
      ...parts,
      state: m.state,
      lastImportedTrans: state.transactionsSinceStart,
      appliedIndex: state.appliedIndex,
      lag: Math.max(0, this.committedTransactions - state.position.transactions),
      lagMs: this.#behindSince === undefined || state.appliedIndex >= m.commitIndex ? 0 : now - this.#behindSince,
      replayqLen: m.state === 'local_replay' ? Math.max(0, m.commitIndex - into.appliedIndex) : 0,
      messageQueueLen: into.queueLength,
      bootstrapTimeMs: copying ? now - this.#startedAt : this.#last?.ms,
      bootstrapNumKeys: copying ? this.#rows : this.#last?.rows,
      bootstrap: aside ? this.#progress(now) : undefined,
      bootstraps: this.bootstraps,
      resumes: this.resumes,
      moves: this.moves,
    };
  }

  #progress(now: number): BootstrapProgress {
    const rows = this.#rows;
    const rowsTotal = Math.max(this.#rowsTotal, rows);
    return {
      rows,
      rowsTotal,
      bytes: this.#bytes,
      leftMs: rows === 0 ? undefined : Math.round(((now - this.#startedAt) * (rowsTotal - rows)) / rows),
    };
  }
}
