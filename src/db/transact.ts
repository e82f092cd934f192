// An optimistic transaction: run the caller's function over this node's copy, let the leader check
// that what it read still holds, and run it again when it does not.
import { copyBytes, emptyBytes } from '#base/bytes.js';
import type { Env } from '#env/env.js';
import { type Transaction, type WriteDone, WriteFailure, type WriteOptions } from './api.js';
import type { DbBounds } from './bounds.js';
import { encodeTransaction, proposalKind } from './proposal-codec.js';
import type { Proposer } from './proposer.js';
import type { ShardState } from './shard-state.js';
import { TrackingReader } from './tracking-reader.js';

export interface TransactOptions {
  readonly env: Env;
  readonly bounds: DbBounds;
  readonly state: ShardState;
  readonly proposer: Proposer;
  readonly incarnation: () => number;
}

/** Longest pause before another attempt, times the number of attempts so far. */
const backoffMs = 5;

export function transact(o: TransactOptions, fn: (tx: Transaction) => Uint8Array | undefined, options: WriteOptions, done: WriteDone): void {
  const { env, bounds } = o;
  const none = { index: 0, reply: emptyBytes };
  const deadlineAt = env.clock.now() + (options.deadlineMs ?? bounds.proposalDeadlineMs);
  const attempt = (n: number): void => {
    const tx = new TrackingReader(o.state, o.incarnation());
    let reply: Uint8Array | undefined;
    try {
      reply = fn(tx);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return done(error instanceof WriteFailure ? error : new WriteFailure('refused', message), none);
    }
    const body = encodeTransaction({ reads: tx.reads, ops: tx.ops, reply: reply === undefined ? emptyBytes : copyBytes(reply) });
    const deadlineMs = Math.max(0, deadlineAt - env.clock.now());
    o.proposer.submit(proposalKind.transaction, body, { ...options, deadlineMs }, (failure, result) => {
      if (failure?.kind !== 'conflict' || n >= bounds.transactionRetries || env.clock.now() >= deadlineAt) return done(failure, result);
      // Someone else's write came first: look again once this copy has had time to see it.
      env.clock.setTimer(1 + env.random.next() * backoffMs * (n + 1), () => attempt(n + 1));
    });
  };
  attempt(0);
}
