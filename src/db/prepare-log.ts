// Makes a core's log and tables of one shard fit each other before Raft starts on them: begins both
// at formation, or the log behind the tables of a replicant that becomes a core, and finishes what a
// crash interrupted between the two.
import { decodeConfig, encodeConfig } from '#raft/codec.js';
import type { WalShard } from '#store/types.js';
import { recoverLog } from './recover-log.js';
import type { GenerationMaker } from './replica.js';
import type { ShardState } from './shard-state.js';
import { encodePosition, metaKey, startPosition } from './system-rows.js';

/** `cluster recover --force`: this node is the only voter of every shard, in a history of this name. */
export interface RecoverOrder {
  readonly nodeId: string;
  readonly historyId: (shard: string) => string;
}

export interface Unprepared {
  readonly state: ShardState;
  readonly wal: WalShard;
  readonly historyId: string;
  readonly generations: Pick<GenerationMaker, 'makeCurrent'>;
}

/** All shards of a core; `done` once, with the first error. `recover`: a new history begins, with this node alone. */
export function prepareLogs(
  all: readonly Unprepared[],
  voters: readonly string[],
  recover: RecoverOrder | undefined,
  done: (error: Error | undefined) => void,
): void {
  nameAnew(all, (error) => {
    if (error === undefined) prepareEach(all, voters, recover, done);
    else done(error);
  });
}

/** Of a core that begins with empty tables: they are made from its log, if that begins at the beginning, and are the current ones from now on. */
function nameAnew(all: readonly Unprepared[], done: (error: Error | undefined) => void): void {
  const [first, ...rest] = all.filter(({ state, wal }) => state.anew && wal.base.index === 0);
  if (first === undefined) return done(undefined);
  first.generations.makeCurrent(first.state.generation, (error) => {
    if (error === undefined) nameAnew(rest, done);
    else done(error);
  });
}

function prepareEach(
  all: readonly Unprepared[],
  voters: readonly string[],
  recover: RecoverOrder | undefined,
  done: (error: Error | undefined) => void,
): void {
  let missing = all.length;
  let failed = false;
  for (const { state, wal, historyId } of all) {
    const one = (error: Error | undefined): void => {
      if (failed) return;
      failed = error !== undefined;
      if (failed || --missing === 0) done(error);
    };
    const begins = recover?.historyId(state.schema.name) ?? '';
    // A crash came between its tables and its log.
    const between = recover !== undefined && state.position.historyId === begins && wal.base.historyId !== begins;
    const then = (error: Error | undefined): void => {
      if (error !== undefined || recover === undefined) one(error);
      else recoverLog(state, wal, recover.nodeId, begins, one);
    };
    if (between) then(undefined);
    else prepareLog(state, wal, voters, historyId, recover === undefined, then);
  }
}

/** `mayCopy`: without tables a core may go on, and copy another core's. */
export function prepareLog(
  state: ShardState,
  wal: WalShard,
  voters: readonly string[],
  historyId: string,
  mayCopy: boolean,
  done: (error: Error | undefined) => void,
): void {
  const { generation } = state;
  if (wal.base.historyId === '' && state.position.appliedIndex > 0) return beginBehind(state, wal, done);
  if (wal.base.historyId === '') {
    // Newly formed: the voters are the configuration at index 0, in tables and log alike.
    const config = encodeConfig({ voters, learners: [] });
    const position = { ...startPosition, config, historyId };
    state.store.write([{ key: metaKey, value: encodePosition(position) }], (error) => {
      if (error !== undefined) return done(error);
      state.cursor.system.position = position;
      wal.installBase({ index: 0, term: 0, config, historyId, generation }, undefined, done);
    });
    return;
  }
  const { appliedIndex, appliedTerm, config } = state.position;
  if (appliedIndex < wal.base.index) {
    // Its log and its votes are whole, and others have the tables.
    if (mayCopy && decodeConfig(wal.base.config).voters.length > 1) return done(undefined);
    const gap = `the tables of shard ${state.schema.name} end at ${appliedIndex}, its log begins after ${wal.base.index}`;
    return done(
      new Error(`${gap}: the tables were damaged or replaced; restore them, or empty the data directory and let this core be admitted anew`),
    );
  }
  const fits = appliedIndex <= wal.lastIndex && wal.term(appliedIndex) === appliedTerm;
  if (fits) {
    // A power cut right after formation keeps the log's beginning and may lose the tables'.
    if (state.position.historyId !== '') return done(undefined);
    const position = { ...state.position, config: wal.base.config, historyId };
    state.cursor.system.position = position;
    state.store.write([{ key: metaKey, value: encodePosition(position) }], done);
    return;
  }
  if (generation === wal.base.generation) {
    // Tables get nothing that is not on this node's own log: it was cut from outside, and votes may be missing with it.
    const cut = `the log of shard ${state.schema.name} ends at ${wal.lastIndex} or differs at ${appliedIndex}, up to where its tables go`;
    return done(new Error(`${cut}: the log was damaged; restore it, or empty the data directory and let this core be admitted anew`));
  }
  // The tables are a copy of a leader's that was put in service just before a crash: the log follows them.
  wal.installBase({ index: appliedIndex, term: appliedTerm, config, historyId, generation }, undefined, done);
}

/**
 * A replicant becomes a core: its tables are a prefix of what is committed, so its log may begin behind them.
 * Nothing is applied meanwhile. They must not fall back behind it.
 */
function beginBehind(state: ShardState, wal: WalShard, done: (error: Error | undefined) => void): void {
  state.store.flushed((error) => {
    if (error !== undefined) return done(error);
    const { appliedIndex, appliedTerm, config, historyId } = state.position;
    wal.installBase({ index: appliedIndex, term: appliedTerm, config, historyId, generation: state.generation }, undefined, done);
  });
}
