// By whom a replicant is fed: asks the nodes that could how much they have to do, chooses the one of least
// weight, and looks now and then whether another would be much better. The other half answers those questions.
//
// Weight, in streams of the shard: those that the node feeds, plus one per `rttPerStreamMs` of round trip, plus
// `corePenalty` for a core when there are relays. Moving must gain: a replicant moves when its own node
// weighs at least `moveGain` more than the best other, which is then still not the heavier one afterwards. So
// nobody moves back. One replicant at a time: the node that it leaves gives leave, once per `movePaceMs`.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Env } from '#env/env.js';
import type { Links, PeerHello, RpcReply } from '#link/api.js';
import type { DbBounds } from './bounds.js';
import { isRelay } from './relay-info.js';
import type { RlogServer, ServedSource } from './rlog-server.js';

const loadMethod = 'rlog.load';
const moveMethod = 'rlog.move';
const loadDeadlineMs = 300;
const rttPerStreamMs = 10;
const corePenalty = 1_000;
const moveGain = 2;

/** What feeds the receivers of one shard on this node. */
export interface Feeder {
  readonly source: ServedSource;
  readonly server: RlogServer;
}

/** No loops: relays are fed by cores alone. */
export function feeds(peer: PeerHello, toRelay: boolean): boolean {
  return peer.role === 'core' || (!toRelay && isRelay(peer));
}

interface Found {
  readonly node: string;
  readonly weight: number;
  /** The log that it can send: from here, and committed up to there. */
  readonly firstIndex: number;
  readonly commitIndex: number;
}

export interface UpstreamsOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly feeder: (shard: string) => Feeder | undefined;
  /** Nodes that may feed this one. */
  readonly mayFeed: (peer: PeerHello) => boolean;
}

export class Upstreams {
  readonly #o: UpstreamsOptions;
  /** When a receiver of a shard was given leave to move last. */
  readonly #movedAt: Map<string, number> = new Map();

  constructor(options: UpstreamsOptions) {
    this.#o = options;
    options.links.handle(loadMethod, (_from, body, reply) => this.#onLoad(new ByteReader(body).string(), reply));
    options.links.handle(moveMethod, (from, body, reply) => this.#onMove(from.nodeId, new ByteReader(body).string(), reply));
  }

  // ---- the node that feeds ----

  #onLoad(shard: string, reply: RpcReply): void {
    const feeder = this.#o.feeder(shard);
    if (feeder?.source.readyToServe !== true) return reply('not in sync');
    const w = new ByteWriter(16);
    w.varint(feeder.server.streams);
    w.varint(feeder.source.firstIndex);
    w.varint(feeder.source.commitIndex);
    reply(undefined, w.finish());
  }

  #onMove(from: string, shard: string, reply: RpcReply): void {
    const feeder = this.#o.feeder(shard);
    const now = this.#o.env.clock.now();
    const last = this.#movedAt.get(shard);
    if (feeder?.server.serves(from) !== true) return reply('no such stream');
    if (last !== undefined && now - last < this.#o.bounds.movePaceMs) return reply('another one is moving');
    this.#movedAt.set(shard, now);
    reply(undefined);
  }

  // ---- the node that is fed ----

  /** Those of the nodes that answer and are ready, lightest first. */
  #find(shard: string, nodes: readonly PeerHello[], found: (found: readonly Found[]) => void): void {
    const { links, env } = this.#o;
    const ready: Found[] = [];
    let missing = nodes.length;
    if (missing === 0) return found([]);
    const w = new ByteWriter(32);
    w.string(shard);
    const body = w.finish();
    const relays = nodes.some((n) => n.role === 'replicant');
    for (const { nodeId, role } of nodes) {
      links.call(nodeId, loadMethod, body, loadDeadlineMs, (failure, answer) => {
        if (failure === undefined) {
          const r = new ByteReader(answer);
          const base = r.varint() + (relays && role === 'core' ? corePenalty : 0);
          const weight = base + (links.roundTripMs(nodeId) ?? 0) / rttPerStreamMs + env.random.next() / 100;
          // Builds before the first release say nothing of their log; whether it reaches is seen then.
          const firstIndex = r.remaining > 0 ? r.varint() : 0;
          ready.push({ node: nodeId, weight, firstIndex, commitIndex: r.remaining > 0 ? r.varint() : Number.MAX_SAFE_INTEGER });
        }
        if (--missing > 0) return;
        found(ready.sort((a, b) => a.weight - b.weight));
      });
    }
  }

  /**
   * The lightest of those that can go on from `index` (undefined: from nothing), else the lightest of all; never
   * `not`, which just failed, if there is another.
   */
  choose(shard: string, not: string | undefined, index: number | undefined, chosen: (node: string | undefined) => void): void {
    const all = this.#o.links.peers().filter((p) => this.#o.mayFeed(p));
    this.#find(shard, all, (found) => {
      const fit = index === undefined ? found : found.filter((f) => f.firstIndex <= index + 1 && f.commitIndex >= index);
      const of = (some: readonly Found[]): Found | undefined => some.find((f) => f.node !== not);
      chosen((of(fit) ?? fit[0] ?? of(found) ?? found[0])?.node);
    });
  }

  /** A node to move to from `current`, when that gains enough and is allowed; it can go on from `index`. */
  better(shard: string, current: string, index: number, move: (to: string) => void): void {
    const { links, bounds } = this.#o;
    const all = links.peers().filter((p) => this.#o.mayFeed(p));
    if (all.length < 2) return;
    this.#find(shard, all, (found) => {
      const own = found.find((f) => f.node === current);
      const best = found.find((f) => f.node !== current && f.firstIndex <= index + 1 && f.commitIndex >= index);
      if (own === undefined || best === undefined || own.weight - best.weight < moveGain) return;
      const w = new ByteWriter(32);
      w.string(shard);
      links.call(current, moveMethod, w.finish(), bounds.movePaceMs, (failure) => {
        if (failure === undefined) move(best.node);
      });
    });
  }
}
