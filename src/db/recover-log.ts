// A core that survived the loss of the majority becomes the only voter of its shards, by force
// (`cluster recover --force`): everything on its own disk counts as committed, and a new history begins
// behind it. prepare-log.ts calls it at the first start after the order, before Raft begins.
//
// What others acknowledged without this core is lost; nothing of theirs may ever be mixed in again. So the
// new history begins far above any index that the old one can have reached: an index never repeats, nor does
// what is made of one (epochs of connections). Logs and copies of the old history differ by name.
//
// Each step may be the last before a crash: the order stays until all shards are done, and every step is
// repeated or skipped by what is on disk. Tables first, flushed, then the log: tables that are behind the
// log's base would be a loss, a log behind the tables of the new history is just not moved yet.
import { encodeConfig } from '#raft/codec.js';
import type { WalShard } from '#store/types.js';
import { toApplied } from './core-source.js';
import type { ShardState } from './shard-state.js';

/** More entries than the lost majority can have written without this core. */
export const historyGap = 1_000_000_000;
const chunkBytes = 1024 * 1024;

/** The log of one shard, prepared (or left by a crash in the middle of this). */
export function recoverLog(state: ShardState, wal: WalShard, self: string, historyId: string, done: (error: Error | undefined) => void): void {
  if (wal.base.historyId === historyId) return done(undefined);
  if (state.position.historyId === historyId) return install(state, wal, done);
  applyAll(state, wal, () => {
    const { hardState, lastIndex, lastTerm } = wal;
    const position = {
      ...state.position,
      appliedIndex: lastIndex + historyGap,
      appliedTerm: Math.max(hardState.currentTerm, lastTerm) + 1,
      config: encodeConfig({ voters: [self], learners: [] }),
      historyId,
    };
    state.rebase(position, (error) => (error === undefined ? install(state, wal, done) : done(error)));
  });
}

/** Everything in the log, known as committed or not: it may be, and nobody is left to say. */
function applyAll(state: ShardState, wal: WalShard, then: () => void): void {
  const to = wal.lastIndex;
  if (state.appliedIndex >= to) return then();
  const more = (): void => {
    while (state.queuedIndex < to && state.queuedBytes < chunkBytes) {
      const entries = wal.entries(state.queuedIndex + 1, to + 1, chunkBytes);
      // The disk does not give it back: the log has failed, and says so.
      if (entries.length === 0) return;
      state.enqueue(entries.map(toApplied));
    }
  };
  const stop = state.subscribe({
    reset: () => {},
    change: () => {},
    purged: () => {},
    applied: (index) => {
      if (index < to) return more();
      stop();
      then();
    },
  });
  more();
}

function install(state: ShardState, wal: WalShard, done: (error: Error | undefined) => void): void {
  const { appliedIndex: index, appliedTerm: term, config, historyId } = state.position;
  wal.append({ hardState: { currentTerm: term, votedFor: '' } });
  // What was lost of it is lost, and no leader will ever bring it.
  if (wal.damage !== undefined) wal.clearDamage();
  wal.installBase({ index, term, config, historyId, generation: state.generation }, undefined, done);
}
