// Spreads the leadership of shards over the cores: looks at what this core knows of all of them, asks the other
// core before it hands one on, and answers such questions. leader-spread.ts decides; database.ts owns it, and
// the cluster room makes it look, regularly.
//
// The members' shard does not count, and stays where it is: its leader has next to nothing to do, and a new one
// counts everybody's silence from the start. A core does not take what it would serve notably more slowly than
// the core that leads: one whose majority is farther away.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Env } from '#env/env.js';
import type { Counter } from '#env/metrics.js';
import type { Links, PeerHello, RpcReply } from '#link/api.js';
import type { RaftConfig } from '#raft/types.js';
import type { DbBounds } from './bounds.js';
import type { WantedCore } from './core-set.js';
import type { CoreShard } from './core-shard.js';
import { LeaderSpread, type SpreadEffect, type SpreadInput, type SpreadView } from './leader-spread.js';

const leadMethod = 'db.lead';
const askDeadlineMs = 1_000;
/** A core takes what it reaches a majority for in so many times the leader's round trip, and so many ms. */
const fartherTimes = 1.5;
const fartherMs = 10;
/**
 * A busy core takes nothing, unless the one that leads is about as busy: where all have too much to do, as on one
 * machine, the one that leads everything has the most.
 */
const busierTimes = 1.5;
/** Loads travel as whole numbers. */
const loadScale = 100;
/** So many pauses a core takes nothing after it handed a shard on because its tables lagged. */
const shunPauses = 30;

export interface LeaderSpreadOptions {
  readonly env: Env;
  readonly links: Links;
  readonly nodeId: string;
  readonly bounds: DbBounds;
  readonly memberShard: string;
  readonly shards: ReadonlyMap<string, { readonly core: CoreShard | undefined }>;
  readonly wanted: () => Iterable<WantedCore>;
  /** How much too much this node has to do, 0 for nothing (load-meter.ts). */
  readonly load: () => number;
}

export class LeaderSpreadDriver {
  readonly #o: LeaderSpreadOptions;
  readonly #machine: LeaderSpread;
  readonly #moves: Counter;
  readonly #refused: Counter;

  constructor(options: LeaderSpreadOptions) {
    const { env, links, bounds } = options;
    this.#o = options;
    this.#machine = new LeaderSpread(bounds.leaderSpreadMs);
    const counter = (name: string, help: string): Counter => env.metrics.counter(name, help, {});
    this.#moves = counter('starmesh_leader_moves_total', 'Shards whose leadership this core handed on because it led more of them than another');
    this.#refused = counter(
      'starmesh_leader_moves_refused_total',
      'Times that another core did not take the leadership of a shard when it was asked to',
    );
    links.handle(leadMethod, (from, body, reply) => this.#onLead(from, body, reply));
  }

  look(): void {
    if (this.#o.bounds.leaderSpreadMs === Number.POSITIVE_INFINITY) return;
    this.#step({ type: 'look', view: this.#view() });
  }

  #step(input: SpreadInput): void {
    for (const e of this.#machine.step(input, this.#o.env.clock.now())) this.#perform(e);
  }

  #perform(e: SpreadEffect): void {
    const { links } = this.#o;
    const { shard, to } = e;
    if (e.type === 'transfer') return this.#transfer(shard, to);
    const core = this.#o.shards.get(shard)?.core;
    const w = new ByteWriter(64);
    w.string(shard);
    w.varint(e.leads);
    w.varint(core === undefined ? 0 : this.#majorityMs(core));
    w.varint(core === undefined ? 0 : this.#reached(core));
    // What builds before the first release neither say nor look at.
    w.varint(Math.round(this.#o.load() * loadScale));
    links.call(to, leadMethod, w.view(), askDeadlineMs, (failure) => {
      if (failure !== undefined) {
        this.#refused.value++;
        const why = failure.kind === 'refused' ? failure.message : failure.kind;
        this.#o.env.log.info('leadership is not handed on: the other core does not take it now', { shard, to: links.peer(to)?.name ?? to, why });
      }
      this.#step({ type: 'answer', shard, to, yes: failure === undefined });
    });
  }

  #transfer(shard: string, to: string): void {
    const { env, links } = this.#o;
    const core = this.#o.shards.get(shard)?.core;
    if (core === undefined || !this.#fit(shard, to) || !this.#settled(core.raft.config, this.#wanted())) return;
    this.#moves.value++;
    env.log.info('leadership is handed on: this core leads more shards than the other', { shard, to: links.peer(to)?.name ?? to });
    core.step({ type: 'transferLeader', to });
  }

  // ---- what this core sees ----

  #wanted(): WantedCore[] {
    return [...this.#o.wanted()];
  }

  /** Shards that count, by name. */
  #cores(): CoreShard[] {
    const all: CoreShard[] = [];
    for (const [shard, { core }] of this.#o.shards) if (core !== undefined && shard !== this.#o.memberShard) all.push(core);
    return all;
  }

  #view(): SpreadView {
    const { nodeId, shards, memberShard } = this.#o;
    const cores = this.#cores();
    const wanted = this.#wanted();
    const members = shards.get(memberShard)?.core;
    const running = wanted.flatMap((w) => (w.wanted === 'voter' && this.#runs(w.nodeId) ? w.nodeId : [])).sort();
    return {
      self: nodeId,
      shards: cores.map((c) => ({ shard: c.shard, leader: c.raft.leader })),
      cores: running,
      calm:
        members !== undefined &&
        [members, ...cores].every((c) => c.raft.leader !== '' && !c.raft.changePending && this.#settled(c.raft.config, wanted)),
      fit: (shard, to) => this.#fit(shard, to),
    };
  }

  #runs(id: string): boolean {
    const { links, env, nodeId, bounds } = this.#o;
    const heardAt = links.lastHeardAt(id);
    return id === nodeId || (heardAt !== undefined && env.clock.now() - heardAt <= bounds.coreSilentMs);
  }

  /** The group is what is wanted. */
  #settled({ voters, learners }: RaftConfig, wanted: readonly WantedCore[]): boolean {
    if (learners.length > 0) return false;
    return wanted.every((w) => voters.includes(w.nodeId) === (w.wanted === 'voter'));
  }

  /** It has the log, all but little, and holds a lease: so it has the tables as well. */
  #fit(shard: string, to: string): boolean {
    const core = this.#o.shards.get(shard)?.core;
    if (core?.leader === undefined || core.raft.transferee !== '' || core.raft.changePending || !core.visibility.leases(to)) return false;
    const f = core.raft.followers().find((one) => one.id === to);
    const lag = f === undefined ? 0 : core.raft.lastIndex - f.matchIndex;
    return f?.voter === true && !f.recovering && f.state === 'replicate' && lag <= this.#o.bounds.learnerLagMax && this.#runs(to);
  }

  /** Voters, this core included, that it is linked with. Two followers may have nothing to say to each other for long. */
  #reached(core: CoreShard): number {
    const { links, nodeId } = this.#o;
    return core.raft.config.voters.filter((id) => id === nodeId || links.peer(id) !== undefined).length;
  }

  /** Round trip to the nearest majority of the group. */
  #majorityMs(core: CoreShard): number {
    const { links, nodeId } = this.#o;
    const { voters } = core.raft.config;
    const trips = voters.flatMap((id) => (id === nodeId ? [] : (links.roundTripMs(id) ?? 0))).sort((a, b) => a - b);
    return Math.ceil(trips[(voters.length >> 1) - 1] ?? 0);
  }

  // ---- the core that is asked ----

  #onLead(from: PeerHello, body: Uint8Array, reply: RpcReply): void {
    try {
      const r = new ByteReader(body);
      const shard = r.string();
      const asker = { leads: r.varint(), majorityMs: r.varint(), reached: r.varint(), load: r.remaining > 0 ? r.varint() / loadScale : 0 };
      reply(this.#refusal(from.nodeId, shard, asker));
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      reply('malformed');
    }
  }

  #refusal(
    from: string,
    shard: string,
    theirs: { readonly leads: number; readonly majorityMs: number; readonly reached: number; readonly load: number },
  ): string | undefined {
    const { nodeId, bounds, env } = this.#o;
    const core = this.#o.shards.get(shard)?.core;
    if (bounds.leaderSpreadMs === Number.POSITIVE_INFINITY) return 'leaders are not spread here';
    if (core === undefined || core.raft.leader !== from) return 'not the leader here';
    const own = this.#cores().filter((c) => c.raft.leader === nodeId).length;
    if (own + 1 >= theirs.leads) return 'leads as many already';
    if (!core.inService || core.raft.commitIndex - core.state.appliedIndex > bounds.learnerLagMax) return 'not in sync';
    // Writes that are to be effective would wait, so soon after a change of the group, or after this core's start.
    if (!core.visibility.settled) return 'the group has just changed';
    if (this.#o.load() > busierTimes * theirs.load) return 'busy';
    if (env.clock.now() - core.gaveUpAt < shunPauses * bounds.leaderSpreadMs) return 'was too slow a moment ago';
    if (this.#reached(core) < theirs.reached) return 'reaches fewer cores';
    if (this.#majorityMs(core) > fartherTimes * theirs.majorityMs + fartherMs) return 'farther from a majority';
    return undefined;
  }
}
