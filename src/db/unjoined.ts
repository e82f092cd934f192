// One conditional command from a node that has no incarnation yet (to join): outside the
// exactly-once streams, so the command itself must bear being executed twice.

import { MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { utf8Decode } from '#base/utf8.js';
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import { type WriteDone, WriteFailure } from './api.js';
import type { DbBounds } from './bounds.js';
import type { CoreShard } from './core-shard.js';
import { answer, decodeAnswers, encodeCommand, type ProposalBatch, proposalKind, writeProposalBatch } from './proposal-codec.js';
import { proposeMethod, throughMethod } from './proposer.js';

export interface UnjoinedOptions {
  readonly env: Env;
  readonly links: Links;
  readonly nodeId: string;
  readonly shard: string;
  readonly bounds: DbBounds;
  /** This node's own, if it is a core. */
  readonly core: () => CoreShard | undefined;
}

/** Tries until an answer comes, `stopped` says so, or the deadline passes. */
export function commandUnjoined(o: UnjoinedOptions, name: string, body: Uint8Array, deadlineMs: number, done: WriteDone): void {
  const deadlineAt = o.env.clock.now() + deadlineMs;
  const none = { index: 0, reply: new Uint8Array(0) };
  const batch: ProposalBatch = {
    shard: o.shard,
    incarnation: 0,
    receivedUpTo: 0,
    effective: false,
    proposals: [{ seq: 0, kind: proposalKind.command, body: encodeCommand(name, body) }],
  };
  let hint: string | undefined;
  /** Who named it, and so may reach it. */
  let namedBy: string | undefined;
  let turn = 0;
  let attemptMs = o.bounds.proposalAttemptMs;
  const again = (): void => {
    if (o.env.clock.now() >= deadlineAt) return done(new WriteFailure('unknown', `no leader of shard ${o.shard} answered in time`), none);
    o.env.clock.setTimer(o.bounds.proposalRetryMs * (0.5 + o.env.random.next()), attempt);
  };
  const take = (answers: ReturnType<typeof decodeAnswers>): void => {
    const a = answers[0];
    if (a?.code === answer.done) return done(undefined, a);
    if (a?.code === answer.refused) return done(new WriteFailure('refused', utf8Decode(a.reply) ?? 'refused'), none);
    hint = a?.code === answer.notLeader && a.reply.length > 0 ? utf8Decode(a.reply) : undefined;
    again();
  };
  const attempt = (): void => {
    const core = o.core();
    const local = core?.leader;
    if (local !== undefined) return local.submit(o.nodeId, batch, (answers) => take([...answers]));
    const cores = o.links.peers().filter((p) => p.role === 'core');
    const leader = core?.raft.leader ?? '';
    const known = leader === '' || leader === o.nodeId ? hint : leader;
    const linked = known !== undefined && o.links.peer(known) !== undefined;
    const passing = hint !== undefined && namedBy !== undefined && o.links.peer(namedBy) !== undefined ? namedBy : undefined;
    const target = linked ? known : (passing ?? cores[turn++ % Math.max(1, cores.length)]?.nodeId);
    if (target === undefined) return again();
    const w = new ByteWriter(256);
    writeProposalBatch(w, batch);
    const method = known === undefined || linked ? proposeMethod : throughMethod;
    o.links.call(target, method, w.view(), Math.max(1, Math.min(attemptMs, deadlineAt - o.env.clock.now())), (failure, reply) => {
      hint = undefined;
      namedBy = target;
      if (failure !== undefined) {
        // Each attempt is executed anew: a leader that is slow must not be given ever more to do.
        attemptMs *= 2;
        return again();
      }
      try {
        take(decodeAnswers(reply));
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error;
        again();
      }
    });
  };
  attempt();
}
