// Reads of shards that this node does not hold, from the cores that do; and the other half, that answers them.
// database.ts owns it.
//
// A read is answered from one state of the core's tables, within one turn of its event loop. `fresh` asks the
// shard's leader first how far that state has to be (ReadIndex), so that the read is linearizable. A core that
// copies tables, has never caught up, or lags behind what the asking node has seen, answers nothing; another one
// is asked, near ones first.
import { MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { copyBytes } from '#base/bytes.js';
import { Deque } from '#base/deque.js';
import type { Env } from '#env/env.js';
import type { Counter } from '#env/metrics.js';
import { TablesError } from '#env/tables.js';
import type { Links, RpcReply } from '#link/api.js';
import { type Reader, type ShardSchema, WriteFailure } from './api.js';
import type { DbBounds } from './bounds.js';
import type { CoreShard } from './core-shard.js';
import {
  decodeReadReply,
  decodeReadRequest,
  type KeyedRow,
  type ReadReply,
  type ReadRequest,
  type RemoteRead,
  type RemoteResult,
  writeReadReply,
  writeReadRequest,
} from './read-codec.js';
import { RemoteSnapshot } from './remote-snapshot.js';
import type { TransactOptions } from './transact.js';

const readMethod = 'db.read';
/** Times that one function asks for more. */
const roundsMax = 256;

export interface RemoteReadsOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly core: (shard: string) => CoreShard | undefined;
  /** How far a linearizable read must wait; undefined: nobody said so in time. */
  readonly readIndex: (shard: string, deadlineAt: number, done: (index: number | undefined) => void) => void;
  readonly whenApplied: (shard: string, index: number, deadlineAt: number, then: (reached: boolean) => void) => void;
  /** Whether the node feeds this one: it is asked first. */
  readonly isUpstream: (nodeId: string) => boolean;
}

export interface ReadOptions {
  /** Everything that was committed anywhere when the call began is seen. Default false. */
  readonly linearizable?: boolean;
  /** Default 5,000 (`proposalDeadlineMs`). */
  readonly deadlineMs?: number;
}

export class RemoteReads {
  readonly #o: RemoteReadsOptions;
  readonly #served: Counter;
  readonly #refused: Counter;
  /** Waiting for a turn of the event loop: one has its share of rows and bytes. */
  readonly #queue: Deque<() => void> = new Deque();
  #serving = 0;
  /** Of this turn's share, in bytes. */
  #left = 0;
  /** By shard: what was seen here last, so that nothing is seen that is older. */
  readonly #seen: Map<string, number> = new Map();
  #scheduled = false;
  #closed = false;

  constructor(options: RemoteReadsOptions) {
    this.#o = options;
    const { metrics } = options.env;
    this.#served = metrics.counter('starmesh_remote_reads_total', 'Reads that this core answered for nodes without a copy', {});
    this.#refused = metrics.counter(
      'starmesh_remote_reads_refused_total',
      'Reads of nodes without a copy that were refused: too many at once, or too much',
      {},
    );
    options.links.handle(readMethod, (_from, body, reply) => this.#onRead(body, reply));
  }

  // ---- the node that reads ----

  snapshot(schema: ShardSchema): RemoteSnapshot {
    const { remoteReadRowsMax: rowsMax, remoteReadBytesMax: bytesMax } = this.#o.bounds;
    return new RemoteSnapshot(schema, { rowsMax, bytesMax }, this.#seen.get(schema.name) ?? 0);
  }

  /** `fn` on one state of the shard, run again for everything that it asks for; `done` once, with the last run's result. */
  read<T>(
    schema: ShardSchema,
    fn: (reader: Reader) => T,
    options: ReadOptions,
    done: (failure: Error | undefined, result: T | undefined) => void,
  ): void {
    const deadlineAt = this.#o.env.clock.now() + (options.deadlineMs ?? this.#o.bounds.proposalDeadlineMs);
    const snapshot = this.snapshot(schema);
    this.settle(
      snapshot,
      { fresh: options.linearizable === true, index: false, deadlineAt },
      () => fn(snapshot),
      (failure, result) => {
        snapshot.end();
        done(failure, result);
      },
    );
  }

  /** How the function of a transaction runs on what it fetches; after a conflict what it fetches is linearizable. */
  transaction(schema: ShardSchema): TransactOptions['on'] {
    return (n, deadlineAt, run, done) => {
      const snapshot = this.snapshot(schema);
      this.settle(
        snapshot,
        { fresh: n > 0, index: true, deadlineAt },
        () => run(snapshot),
        (failure, reply) => {
          snapshot.end();
          done(failure, reply);
        },
      );
    };
  }

  /**
   * Runs `fn`, fetching what it lacks, until it lacks nothing. Its own error is given on as it is. `index`: the state's
   * index is needed even if nothing is read.
   */
  settle<T>(
    snapshot: RemoteSnapshot,
    o: { readonly fresh: boolean; readonly index: boolean; readonly deadlineAt: number },
    fn: () => T,
    done: (failure: Error | undefined, result: T | undefined) => void,
  ): void {
    let round = 0;
    const run = (): void => {
      let result: T | undefined;
      let failure: Error | undefined;
      try {
        result = fn();
      } catch (error) {
        failure = error instanceof Error ? error : new Error(String(error));
      }
      const nothing = snapshot.appliedIndex === 0;
      if (!snapshot.wants && !(nothing && o.index && failure === undefined)) return done(failure, result);
      if (++round > roundsMax)
        return done(new WriteFailure('refused', `on a node without a copy one function asks for more at most ${roundsMax} times`), undefined);
      // How far the state has to be is found out before anything is read of it; it only moves on from there.
      this.#fetch(snapshot, nothing && o.fresh, o.deadlineAt, (problem) => {
        if (problem === undefined) run();
        else done(problem, undefined);
      });
    };
    run();
  }

  /** Cores whose link is up: who feeds this node first, then the near ones. */
  #cores(): string[] {
    const { links, isUpstream } = this.#o;
    const far = (id: string): number => (isUpstream(id) ? -1 : (links.roundTripMs(id) ?? Number.MAX_SAFE_INTEGER));
    return links
      .peers()
      .flatMap((p) => (p.role === 'core' ? p.nodeId : []))
      .sort((a, b) => far(a) - far(b));
  }

  #fetch(snapshot: RemoteSnapshot, fresh: boolean, deadlineAt: number, done: (failure: WriteFailure | undefined) => void): void {
    const { env, links, bounds } = this.#o;
    const q = snapshot.request(fresh);
    const w = new ByteWriter(256);
    writeReadRequest(w, q);
    const body = w.finish();
    let why = 'no core is reached';
    let cores: string[] = [];
    const ask = (): void => {
      const now = env.clock.now();
      if (this.#closed) return done(new WriteFailure('closed', 'the database was closed'));
      if (now >= deadlineAt) return done(new WriteFailure('no-quorum', `shard ${q.shard} was not read in time: ${why}`));
      if (cores.length === 0) cores = this.#cores();
      const to = cores.shift();
      if (to === undefined) return later();
      links.call(to, readMethod, body, Math.max(1, Math.min(bounds.proposalAttemptMs, deadlineAt - now)), (failure, answer) => {
        if (failure === undefined) return take(answer);
        why = failure.kind === 'refused' ? failure.message : `a core did not answer (${failure.kind})`;
        // Every core would say so.
        if (why === tooMuch) return done(new WriteFailure('refused', why));
        if (cores.length === 0) later();
        else ask();
      });
    };
    const later = (): void => {
      env.clock.setTimer(bounds.proposalRetryMs * (0.5 + env.random.next()), ask);
    };
    const take = (answer: Uint8Array): void => {
      try {
        const problem = snapshot.take(q, decodeReadReply(answer));
        this.#seen.set(q.shard, Math.max(this.#seen.get(q.shard) ?? 0, snapshot.appliedIndex));
        done(problem === undefined ? undefined : new WriteFailure('refused', problem));
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error;
        why = 'a core’s answer was malformed';
        later();
      }
    };
    ask();
  }

  // ---- the core that answers ----

  #onRead(body: Uint8Array, reply: RpcReply): void {
    const { bounds, env, readIndex, whenApplied, core } = this.#o;
    const q = decodeReadRequest(body);
    if (this.#serving >= bounds.remoteReadsMax) {
      this.#refused.value++;
      return reply('too many reads at once');
    }
    this.#serving++;
    const end: RpcReply = (error, answer) => {
      this.#serving--;
      reply(error, answer);
    };
    const deadlineAt = env.clock.now() + bounds.proposalAttemptMs;
    const at = (index: number | undefined): void => {
      if (index === undefined) return end('no leader answered in time');
      whenApplied(q.shard, Math.max(index, q.atLeast), deadlineAt, (reached) => {
        if (!reached) return end('this core lags');
        this.#queue.push(() => this.#answer(q, end));
        this.#schedule();
      });
    };
    if (core(q.shard)?.caughtUp !== true) end('this core does not serve the shard');
    else if (q.fresh) readIndex(q.shard, deadlineAt, at);
    else at(0);
  }

  #schedule(): void {
    if (this.#scheduled || this.#queue.length === 0) return;
    this.#scheduled = true;
    this.#o.env.clock.setTimer(0, () => {
      this.#scheduled = false;
      if (this.#closed) return;
      this.#left = this.#o.bounds.remoteReadBytesMax;
      while (this.#left > 0) {
        const next = this.#queue.shift();
        if (next === undefined) return;
        next();
      }
      this.#schedule();
    });
  }

  #answer(q: ReadRequest, reply: RpcReply): void {
    const core = this.#o.core(q.shard);
    if (core?.caughtUp !== true || core.state.damaged) return reply('this core does not serve the shard');
    const { state } = core;
    const all = q.have !== state.appliedIndex;
    let results: RemoteResult[] | string;
    try {
      results = readAll(core, all ? [...q.known, ...q.wanted] : q.wanted, this.#o.bounds);
    } catch (error) {
      if (!(error instanceof TablesError)) throw error;
      return reply('this core’s copy is damaged');
    }
    if (typeof results === 'string') {
      this.#refused.value++;
      return reply(results);
    }
    const answer: ReadReply = { index: state.appliedIndex, all, results };
    const w = new ByteWriter(1024);
    writeReadReply(w, answer);
    this.#served.value++;
    this.#left -= w.length;
    reply(undefined, w.finish());
  }

  close(): void {
    this.#closed = true;
  }
}

/** A range that is longer comes in pieces. */
const pieceBytesMax = 512 * 1024;
/** Whatever is configured: an answer is one frame. */
const answerBytesMax = 8 * 1024 * 1024;
const tooMuch = 'the function reads too many rows or bytes for a node without a copy';

/** Or why not. */
function readAll({ state }: CoreShard, reads: readonly RemoteRead[], { remoteReadRowsMax, remoteReadBytesMax }: DbBounds): RemoteResult[] | string {
  let rows = 0;
  let bytes = 0;
  const results: RemoteResult[] = [];
  for (const read of reads) {
    const table = state.table(read.tableId);
    if (table === undefined) return `there is no table ${read.tableId} in shard ${state.schema.name}`;
    rows++;
    bytes += read.key.length;
    if (read.kind === 'get') {
      const row = state.reader.get(table, read.key);
      bytes += row?.value.length ?? 0;
      results.push({ kind: 'get', row: row === undefined ? undefined : { value: copyBytes(row.value), owner: row.owner } });
    } else {
      const found: KeyedRow[] = [];
      const before = bytes;
      let upTo: Uint8Array | undefined;
      state.reader.range(table, read.key, read.end, (key, row) => {
        if (found.length >= read.rows || bytes - before > pieceBytesMax || rows > remoteReadRowsMax) {
          upTo = copyBytes(key);
          return false;
        }
        found.push({ key: copyBytes(key), row: { value: copyBytes(row.value), owner: row.owner } });
        rows++;
        bytes += key.length + row.value.length;
        return true;
      });
      results.push({ kind: 'range', rows: found, upTo });
    }
    if (rows > remoteReadRowsMax || bytes > Math.min(answerBytesMax, remoteReadBytesMax)) return tooMuch;
  }
  return results;
}
