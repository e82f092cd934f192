// What the log streams of one shard read on a core: its log through the Raft machine, its tables, and
// whether it is fit to be followed. core-shard.ts makes it; rlog-server.ts and its agents use it.
import type { Raft } from '#raft/raft.js';
import type { Entry, LogSource } from '#raft/types.js';
import type { WalShard } from '#store/types.js';
import { type AppliedEntry, entryKind } from './apply.js';
import { EntriesEncoder } from './rlog-agent.js';
import type { ServedSource } from './rlog-server.js';
import type { ShardState } from './shard-state.js';

/** What only the shard's driver knows. */
export interface Standing {
  /** Its tables were up to date since it started, and it is not copying others. */
  readonly caughtUp: boolean;
  readonly leaseUntil: number;
  readonly leaseFloor: number;
}

export class CoreSource implements ServedSource {
  readonly historyId: string;
  readonly shard: string;
  readonly #raft: Raft;
  readonly #wal: WalShard;
  readonly #state: ShardState;
  readonly #standing: Standing;
  readonly #encoder: EntriesEncoder = new EntriesEncoder();

  constructor(historyId: string, raft: Raft, wal: WalShard, state: ShardState, standing: Standing) {
    this.historyId = historyId;
    this.shard = state.schema.name;
    this.#raft = raft;
    this.#wal = wal;
    this.#state = state;
    this.#standing = standing;
  }

  get commitIndex(): number {
    return this.#raft.commitIndex;
  }
  get committedTransactions(): number {
    return this.#state.position.transactions;
  }
  get firstIndex(): number {
    return this.#wal.firstIndex;
  }
  term(index: number): number | undefined {
    return index === 0 ? 0 : this.#raft.termOf(index);
  }
  entries(from: number, to: number, maxBytes: number): readonly AppliedEntry[] {
    return this.#raft.entries(from, to, maxBytes)?.map(toApplied) ?? [];
  }
  get store(): ShardState['store'] {
    return this.#state.store;
  }
  get appliedIndex(): number {
    return this.#state.appliedIndex;
  }
  get readyToServe(): boolean {
    return this.#standing.caughtUp && !this.#raft.recovering && this.#raft.leader !== '' && this.#state.appliedIndex > 0;
  }
  get leads(): boolean {
    return this.#raft.role === 'leader' && this.#state.appliedIndex > 0;
  }
  get leaseUntil(): number {
    return this.#standing.leaseUntil;
  }
  get leaseFloor(): number {
    return this.#standing.leaseFloor;
  }
  encodedEntries(from: number, maxBytes: number): { readonly frame: Uint8Array; readonly next: number; readonly bytes: number } | undefined {
    return this.#encoder.encode(this, from, maxBytes);
  }
}

export function toApplied(e: Entry): AppliedEntry {
  return { index: e.index, term: e.term, kind: entryKind[e.kind], data: e.data };
}

/** The write-ahead log as the Raft machine wants to read it. */
export function logSource(wal: WalShard): LogSource {
  return {
    entries: (from, to, maxBytes) => {
      if (from < wal.firstIndex || from > wal.lastIndex) return undefined;
      const found = wal.entries(from, Math.min(to, wal.lastIndex + 1), maxBytes);
      return found.length === 0 ? undefined : found;
    },
    term: (index) => wal.term(index),
  };
}
