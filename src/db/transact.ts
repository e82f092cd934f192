// An optimistic transaction: run the caller's function over this node's copy, or over what it fetches of a
// core's, let the leader check that what it read still holds, and run it again when it does not.
import { copyBytes, emptyBytes } from '#base/bytes.js';
import type { Env } from '#env/env.js';
import { type Transaction, type WriteDone, WriteFailure, type WriteOptions } from './api.js';
import type { DbBounds } from './bounds.js';
import { encodeTransaction, proposalKind } from './proposal-codec.js';
import type { Proposer } from './proposer.js';
import { type TrackedState, TrackingReader } from './tracking-reader.js';

/** One run of the transaction's function, finished: its error, or what it has read and written. */
type RunDone = (failure: Error | undefined, reply: Uint8Array | undefined) => void;

export interface TransactOptions {
  readonly env: Env;
  readonly bounds: DbBounds;
  /** Runs the function on one state of the tables, at the n-th attempt, perhaps more than once until it counts. */
  readonly on: (n: number, deadlineAt: number, run: (state: TrackedState) => Uint8Array | undefined, done: RunDone) => void;
  readonly proposer: Proposer;
  readonly incarnation: () => number;
}

/** Longest pause before another attempt, times the number of attempts so far. */
const backoffMs = 5;

/** On a copy of this node. */
export function onState(state: TrackedState): TransactOptions['on'] {
  return (_n, _deadlineAt, run, done) => {
    let reply: Uint8Array | undefined;
    try {
      reply = run(state);
    } catch (error) {
      return done(error instanceof Error ? error : new Error(String(error)), undefined);
    }
    done(undefined, reply);
  };
}

export function transact(o: TransactOptions, fn: (tx: Transaction) => Uint8Array | undefined, options: WriteOptions, done: WriteDone): void {
  const { env, bounds } = o;
  const none = { index: 0, reply: emptyBytes };
  const deadlineAt = env.clock.now() + (options.deadlineMs ?? bounds.proposalDeadlineMs);
  const attempt = (n: number): void => {
    let tx: TrackingReader | undefined;
    const run = (state: TrackedState): Uint8Array | undefined => {
      tx = new TrackingReader(state, o.incarnation());
      return fn(tx);
    };
    o.on(n, deadlineAt, run, (error, reply) => {
      if (tx === undefined || error !== undefined)
        return done(error instanceof WriteFailure ? error : new WriteFailure('refused', error?.message ?? 'nothing was run'), none);
      const body = encodeTransaction({ reads: tx.reads, ops: tx.ops, reply: reply === undefined ? emptyBytes : copyBytes(reply) });
      const deadlineMs = Math.max(0, deadlineAt - env.clock.now());
      o.proposer.submit(proposalKind.transaction, body, { ...options, deadlineMs }, (failure, result) => {
        if (failure?.kind !== 'conflict' || n >= bounds.transactionRetries || env.clock.now() >= deadlineAt) return done(failure, result);
        // Someone else's write came first: look again once this copy has had time to see it.
        env.clock.setTimer(1 + env.random.next() * backoffMs * (n + 1), () => attempt(n + 1));
      });
    });
  };
  attempt(0);
}
