// The rpc methods by which nodes ask a shard's core: to take proposals, or to pass them on to the leader when
// the node does not reach it (one hop, and only between cores), to say what became of an old stream, and how far a
// linearizable read must wait.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import type { Env } from '#env/env.js';
import type { Links, PeerHello, RpcReply } from '#link/api.js';
import type { DbBounds } from './bounds.js';
import type { CoreShard } from './core-shard.js';
import { answer, encodeAnswers, readProposalBatch } from './proposal-codec.js';
import { outcomesMethod, proposeMethod, throughMethod } from './proposer.js';

/** From a core that passes on what another node proposes. */
const passedOnMethod = 'db.proposeFor';
const readIndexMethod = 'db.readIndex';

export class ShardRpc {
  readonly #env: Env;
  readonly #links: Links;
  readonly #nodeId: string;
  readonly #bounds: DbBounds;
  readonly #core: (shard: string) => CoreShard | undefined;
  readonly #passedOn: { value: number };

  constructor(env: Env, links: Links, nodeId: string, bounds: DbBounds, core: (shard: string) => CoreShard | undefined) {
    this.#env = env;
    this.#links = links;
    this.#nodeId = nodeId;
    this.#bounds = bounds;
    this.#core = core;
    this.#passedOn = env.metrics.counter(
      'starmesh_proposals_passed_on_total',
      'Proposals that this core passed on for nodes that do not reach the leader',
      {},
    );
    links.handle(proposeMethod, (from, body, reply) => this.#onPropose(from, body, reply));
    links.handle(throughMethod, (from, body, reply) => this.#onThrough(from, body, reply));
    links.handle(passedOnMethod, (from, body, reply) => this.#onPassedOn(from, body, reply));
    links.handle(outcomesMethod, (_from, body, reply) => reply(undefined, this.outcomes(body)));
    links.handle(readIndexMethod, (_from, body, reply) => this.#onReadIndex(body, reply));
  }

  /** Cores whose link is up, this node not among them. */
  cores(): string[] {
    const ids: string[] = [];
    for (const p of this.#links.peers()) if (p.role === 'core') ids.push(p.nodeId);
    return ids;
  }

  #onPropose(from: Pick<PeerHello, 'nodeId'>, body: Uint8Array, reply: RpcReply): void {
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

  /** From a node that does not reach the leader: here, or by this core, if it does. */
  #onThrough(from: PeerHello, body: Uint8Array, reply: RpcReply): void {
    const shard = this.#shardOf(body);
    const core = shard === undefined ? undefined : this.#core(shard);
    const to = core?.raft.leader ?? '';
    if (to === '' || core?.leader !== undefined || to === from.nodeId || this.#links.peer(to) === undefined)
      return this.#onPropose(from, body, reply);
    const w = new ByteWriter(64 + body.length);
    w.string(from.nodeId);
    w.raw(body);
    this.#passedOn.value++;
    // At most so many calls are under way per peer as its link allows (`rpcOutstandingMax`): beyond that this fails at once.
    this.#links.call(to, passedOnMethod, w.view(), this.#bounds.proposalAttemptMs, (failure, answers) =>
      reply(undefined, failure === undefined ? answers : this.#notLeader(core)),
    );
  }

  #onPassedOn(from: PeerHello, body: Uint8Array, reply: RpcReply): void {
    if (from.role !== 'core') return reply('only cores pass on what others propose');
    try {
      const r = new ByteReader(body);
      const nodeId = r.string();
      this.#onPropose({ nodeId }, r.raw(r.remaining), reply);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      reply('malformed proposals');
    }
  }

  #shardOf(body: Uint8Array): string | undefined {
    try {
      return new ByteReader(body).string();
    } catch (error) {
      if (error instanceof MalformedError) return undefined;
      throw error;
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
