// The rpc methods by which nodes ask a shard's core: to take proposals, to say what became of an
// old stream, and how far a linearizable read must wait.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import type { Env } from '#env/env.js';
import type { Links, PeerHello, RpcReply } from '#link/api.js';
import type { DbBounds } from './bounds.js';
import type { CoreShard } from './core-shard.js';
import { answer, encodeAnswers, readProposalBatch } from './proposal-codec.js';
import { outcomesMethod, proposeMethod } from './proposer.js';

const readIndexMethod = 'db.readIndex';

export class ShardRpc {
  readonly #env: Env;
  readonly #links: Links;
  readonly #nodeId: string;
  readonly #bounds: DbBounds;
  readonly #core: (shard: string) => CoreShard | undefined;

  constructor(env: Env, links: Links, nodeId: string, bounds: DbBounds, core: (shard: string) => CoreShard | undefined) {
    this.#env = env;
    this.#links = links;
    this.#nodeId = nodeId;
    this.#bounds = bounds;
    this.#core = core;
    links.handle(proposeMethod, (from, body, reply) => this.#onPropose(from, body, reply));
    links.handle(outcomesMethod, (_from, body, reply) => reply(undefined, this.outcomes(body)));
    links.handle(readIndexMethod, (_from, body, reply) => this.#onReadIndex(body, reply));
  }

  /** Cores whose link is up, this node not among them. */
  cores(): string[] {
    const ids: string[] = [];
    for (const p of this.#links.peers()) if (p.role === 'core') ids.push(p.nodeId);
    return ids;
  }

  #onPropose(from: PeerHello, body: Uint8Array, reply: RpcReply): void {
    try {
      const batch = readProposalBatch(body);
      const core = this.#core(batch.shard);
      const leader = core?.leader;
      if (leader === undefined) return reply(undefined, this.#notLeader(core));
      leader.submit(from.nodeId, batch, (answers) => reply(undefined, encodeAnswers(answers)));
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      reply('malformed proposals');
    }
  }

  #notLeader(core: CoreShard | undefined): Uint8Array {
    const hint = core === undefined || core.raft.leader === '' || core.raft.leader === this.#nodeId ? emptyBytes : utf8Encode(core.raft.leader);
    return encodeAnswers([{ code: answer.notLeader, index: 0, reply: hint }]);
  }

  /**
   * What became of an old incarnation's numbers. From what this core has applied, leader or not: the
   * entry that admitted the new incarnation froze the old stream, so its outcomes are final there.
   */
  outcomes(body: Uint8Array): Uint8Array {
    const r = new ByteReader(body);
    const streams = this.#core(r.string())?.state.cursor.system.streams;
    const old = r.varint();
    const renewed = r.varint();
    if (streams?.get(renewed) === undefined) return encodeAnswers([{ code: answer.notAdmitted, index: 0, reply: emptyBytes }]);
    const stream = streams.get(old);
    const answers = Array.from({ length: r.count() }, () => {
      const outcome = stream?.outcomes.get(r.varint());
      if (outcome !== undefined) return { code: outcome.status, index: outcome.index, reply: outcome.reply };
      // A stream that was dropped since (renewed twice) tells nothing: unknown, as for a number given up.
      return { code: stream === undefined ? answer.void : answer.gap, index: 0, reply: emptyBytes };
    });
    return encodeAnswers(answers);
  }

  #onReadIndex(body: Uint8Array, reply: RpcReply): void {
    const core = this.#core(new ByteReader(body).string());
    if (core === undefined || core.raft.role !== 'leader') return reply('not the leader');
    core.readIndex((index) => {
      if (index === undefined) return reply('not the leader');
      const w = new ByteWriter(16);
      w.varint(index);
      reply(undefined, w.finish());
    });
  }

  /** What everything read from now on must include, from the shard's leader; undefined when none answered by the deadline. */
  readIndex(shard: string, deadlineAt: number, done: (index: number | undefined) => void): void {
    const env = this.#env;
    const core = this.#core(shard);
    let turn = 0;
    const retry = (): void => {
      if (env.clock.now() >= deadlineAt) return done(undefined);
      env.clock.setTimer(this.#bounds.proposalRetryMs, ask);
    };
    const ask = (): void => {
      if (core?.raft.role === 'leader') return core.readIndex((index) => (index === undefined ? retry() : done(index)));
      const known = core?.raft.leader;
      const cores = this.cores();
      const target = known !== undefined && known !== '' ? known : cores[turn++ % Math.max(1, cores.length)];
      if (target === undefined) return retry();
      const w = new ByteWriter(32);
      w.string(shard);
      this.#links.call(
        target,
        readIndexMethod,
        w.view(),
        Math.max(1, Math.min(this.#bounds.proposalAttemptMs, deadlineAt - env.clock.now())),
        (failure, body) => {
          if (failure !== undefined) return retry();
          done(new ByteReader(body).varint());
        },
      );
    };
    ask();
  }
}
