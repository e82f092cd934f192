// By whom a replicant is fed: asks the nodes that could how much they have to do, chooses the one of least
// weight, and looks now and then whether another would be much better. The other half answers those questions.
//
// Weight, in streams of the shard: those that the node feeds (of a core that is to feed half as many as others,
// each counts twice), plus one per `rttPerStreamMs` of round trip, plus its load (load-meter.ts), plus
// `corePenalty` for a core when there are relays; a core that is to feed nobody weighs more than any other. Moving
// must gain: a replicant moves when its own node weighs at least `moveGain` more than the best other would with it.
// So nobody moves back. One replicant at a time: the node that it leaves gives leave, once per `movePaceMs`.
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Env } from '#env/env.js';
import type { Links, PeerHello, RpcReply } from '#link/api.js';
import type { DbBounds } from './bounds.js';
import { isRelay } from './relay-info.js';
import type { RlogServer, ServedSource } from './rlog-server.js';

const loadMethod = 'rlog.load';
const moveMethod = 'rlog.move';
/** Loads travel as whole numbers. */
const loadScale = 100;
/** An answer is waited for so long, and a few round trips. */
const loadDeadlineMs = 300;
const deadlineTrips = 3;
/** Where no round trip has been measured yet. */
const unknownTripMs = 300;
const rttPerStreamMs = 10;
const corePenalty = 1_000;
/** Of whole streams; the rest is noise. */
const moveGain = 0.9;
/** Round trips that differ by less than this share are equal: they are measured. */
const tripNoise = 0.2;
/**
 * A copy is always in service only where leases reach: over a follower at most so many of the usual lease, counting the
 * follower's round trip to its leader twice. One that is fed beyond that had better be fed by the leader.
 */
const leasesReach = 1.2;
const beyondReachPenalty = 50;
const nobodyPenalty = 1_000_000;
/** Of a core's configured weight, in which it has its full share. */
const fullWeight = 100;

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
  /** In all, with one stream more. */
  readonly weight: number;
  /** Without round trips; and with one stream more. */
  readonly load: number;
  readonly loadWith: number;
  readonly tripMs: number;
  /** The log that it can send: from here, and committed up to there. */
  readonly firstIndex: number;
  readonly commitIndex: number;
}

/** How much lighter a node's own feeder becomes, beyond noise, when it moves to the other. */
function gain(own: Found, other: Found): number {
  const nearerMs = own.tripMs - other.tripMs;
  const told = Math.abs(nearerMs) < tripNoise * Math.max(own.tripMs, other.tripMs) ? 0 : nearerMs;
  return own.load - other.loadWith + told / rttPerStreamMs;
}

export interface UpstreamsOptions {
  readonly env: Env;
  readonly links: Links;
  readonly bounds: DbBounds;
  readonly feeder: (shard: string) => Feeder | undefined;
  /** Nodes that may feed this one. */
  readonly mayFeed: (peer: PeerHello) => boolean;
  /** Of a shard that this core holds: who leads it. */
  readonly leaderOf: (shard: string) => string | undefined;
  /** This core's configured weight, 0 to 100: its share of the replicants; 0: none while there is another. */
  readonly coreWeight: number;
  /** This node's load, in streams. */
  readonly load: () => number;
}

/** What so many streams weigh on a core of that configured weight. */
function weighed(streams: number, coreWeight: number): number {
  return coreWeight === 0 ? nobodyPenalty + streams : (streams * fullWeight) / coreWeight;
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
    // Since builds after the first: what those before it do not look at.
    w.varint(this.#o.coreWeight);
    w.varint(Math.round(this.#o.load() * loadScale));
    w.varint(Math.ceil(this.#o.links.roundTripMs(this.#o.leaderOf(shard) ?? '') ?? 0));
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
    const { links } = this.#o;
    const ready: Found[] = [];
    let missing = nodes.length;
    if (missing === 0) return found([]);
    const w = new ByteWriter(32);
    w.string(shard);
    const body = w.finish();
    const relays = nodes.some((n) => n.role === 'replicant');
    for (const { nodeId, role } of nodes) {
      links.call(nodeId, loadMethod, body, loadDeadlineMs + this.#tripsMs(nodeId), (failure, answer) => {
        if (failure === undefined) ready.push(this.#found(nodeId, new ByteReader(answer), relays && role === 'core' ? corePenalty : 0));
        if (--missing > 0) return;
        found(ready.sort((a, b) => a.weight - b.weight));
      });
    }
  }

  #tripsMs(node: string): number {
    return deadlineTrips * (this.#o.links.roundTripMs(node) ?? unknownTripMs);
  }

  #found(node: string, r: ByteReader, penalty: number): Found {
    const { links, env, bounds } = this.#o;
    const streams = r.varint();
    // Builds before the first release say nothing of their log; whether it reaches is seen then. Those after it nothing of themselves.
    const firstIndex = r.remaining > 0 ? r.varint() : 0;
    const commitIndex = r.remaining > 0 ? r.varint() : Number.MAX_SAFE_INTEGER;
    const coreWeight = r.remaining > 0 ? r.varint() : fullWeight;
    const busy = r.remaining > 0 ? r.varint() / loadScale : 0;
    const leaderMs = r.remaining > 0 ? r.varint() : 0;
    const tripMs = links.roundTripMs(node) ?? 0;
    const far = leaderMs > 0 && tripMs + 2 * leaderMs > leasesReach * bounds.leaseMs;
    const base = penalty + busy + (far ? beyondReachPenalty : 0);
    const loadWith = base + weighed(streams + 1, coreWeight);
    const weight = loadWith + tripMs / rttPerStreamMs + env.random.next() / 100;
    return { node, weight, load: base + weighed(streams, coreWeight), loadWith, tripMs, firstIndex, commitIndex };
  }

  /** How heavy this core is with so many streams, as those see it that are near. */
  weight(streams: number): number {
    return Math.round(10 * (weighed(streams, this.#o.coreWeight) + this.#o.load())) / 10;
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
      if (own === undefined || best === undefined || gain(own, best) < moveGain) return;
      const w = new ByteWriter(32);
      w.string(shard);
      links.call(current, moveMethod, w.finish(), bounds.movePaceMs + this.#tripsMs(current), (failure) => {
        if (failure === undefined) move(best.node);
      });
    });
  }
}
