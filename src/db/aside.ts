// A copy of tables under construction, and where it stands. replica.ts owns it.
import type { AppliedEntry } from './apply.js';
import type { CopyPlace, RlogMessage } from './rlog-codec.js';
import type { OpenGeneration, ShardState } from './shard-state.js';
import { decodePosition, metaKey } from './system-rows.js';

type EntriesMessage = Extract<RlogMessage, { type: 'entries' }>;

/** A copy under construction. */
export interface Aside {
  readonly opened: OpenGeneration;
  /** Once all rows are there: to apply the log. */
  state: ShardState | undefined;
  /** Entries that came before the last rows were written. */
  early: AppliedEntry[];
  /** Last key that is written; empty: the system rows are, undefined: nothing. */
  key: Uint8Array | undefined;
}

/** What a core wants of the one copy that it makes. */
export interface OneCopy {
  /** Whether the copy goes far enough; if not, it goes on. */
  readonly reaches: (index: number) => boolean;
  /** It stands still at `index`: whether it may be put in service now; asked again at each `lookAgain`. */
  readonly fits: (index: number) => boolean;
  /** Put in service: the stream has ended. */
  readonly swapped: () => void;
}

/** Where the copy stands that was begun with another core; entries that came too early are forgotten. */
export function copyPlace(aside: Aside, stamp: number): CopyPlace | undefined {
  const { state, key } = aside;
  if (state !== undefined) return { historyId: state.position.historyId, index: state.queuedIndex, term: state.queuedTerm, stamp, key: undefined };
  aside.early = [];
  const meta = key === undefined ? undefined : aside.opened.store.get(metaKey);
  if (meta === undefined || key === undefined) return undefined;
  const { historyId, appliedIndex: index, appliedTerm: term } = decodePosition(meta);
  return { historyId, index, term, stamp, key };
}

/** Entries above `index` alone. */
export function without(m: EntriesMessage, index: number): EntriesMessage {
  return { ...m, entries: m.entries.filter((e) => e.index > index) };
}
