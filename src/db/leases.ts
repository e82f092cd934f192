// The leases of a node: asks for those that its shards need, at regular times and when one of them cannot
// wait, and answers the others' requests. One frame per pair of nodes and round, whatever the number of shards.
// What a lease is and when it is granted is the business of the parties (visibility.ts, replica.ts).
import type { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import {
  type LeaseGrant,
  type LeaseRequest,
  leaseCodes,
  readLeaseGrants,
  readLeaseRequests,
  writeLeaseGrants,
  writeLeaseRequests,
} from './lease-codec.js';

/** One shard's part. */
export interface LeaseParty {
  /** Calls `ask` for every lease that the shard needs. */
  leaseRequests(ask: (of: string, request: LeaseRequest) => void): void;
  /** Undefined: not granted. */
  judgeLease(from: string, request: LeaseRequest, round: number): LeaseGrant | undefined;
  /** Calls `grant` for the leases that can be longer now than was granted. */
  leaseExtensions(grant: (to: string, round: number, grant: LeaseGrant) => void): void;
  leaseGranted(from: string, grant: LeaseGrant, sentAt: number): void;
}

/** One shard of this node; which of the two it has may change while the node runs. */
export interface LeaseShard {
  readonly core: LeaseParty | undefined;
  readonly replica: LeaseParty | undefined;
}

/**
 * A lease is asked for so many times while it lasts, whether or not the time before was answered: what is held is
 * never older than a round trip and one round.
 */
const renewalsPerLease = 5;
/** So many times as often by a node that grants leases which end with its own: asked for so, that is never so old that it is worth telling them. */
const grantorsRenewals = 2;
/** Answers to older rounds are too late for any lease. */
const roundsKept = 64;

export class Leases {
  readonly #env: Env;
  readonly #links: Links;
  readonly #leaseMs: number;
  readonly #shards: ReadonlyMap<string, LeaseShard>;
  readonly #w: ByteWriter = new ByteWriter(1024);
  readonly #sentAt: Map<number, number> = new Map();
  #round = 0;
  /** When this node granted a lease to one that it feeds. */
  #fedAt = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #dueNow = false;
  #extending = false;
  #closed = false;

  constructor(env: Env, links: Links, leaseMs: number, shards: ReadonlyMap<string, LeaseShard>) {
    this.#env = env;
    this.#links = links;
    this.#leaseMs = leaseMs;
    this.#shards = shards;
    this.#askLater();
  }

  #party(shard: string): LeaseParty | undefined {
    const s = this.#shards.get(shard);
    return s?.core ?? s?.replica;
  }

  #askLater(): void {
    const grants = this.#env.clock.now() - this.#fedAt <= this.#leaseMs;
    this.#timer = this.#env.clock.setTimer(this.#leaseMs / (grants ? renewalsPerLease * grantorsRenewals : renewalsPerLease), () => {
      if (this.#closed) return;
      this.#ask();
      this.#askLater();
    });
  }

  /** At the end of the turn: somebody cannot wait for the next round. */
  askNow(): void {
    if (this.#dueNow) return;
    this.#dueNow = true;
    this.#env.clock.endOfTurn(() => {
      this.#dueNow = false;
      if (!this.#closed) this.#ask();
    });
  }

  #ask(): void {
    const byNode = new Map<string, LeaseRequest[]>();
    const ask = (of: string, request: LeaseRequest): void => {
      const list = byNode.get(of);
      if (list === undefined) byNode.set(of, [request]);
      else list.push(request);
    };
    for (const s of this.#shards.values()) (s.core ?? s.replica)?.leaseRequests(ask);
    if (byNode.size === 0) return;
    this.#round++;
    this.#sentAt.set(this.#round, this.#env.clock.now());
    this.#sentAt.delete(this.#round - roundsKept);
    for (const [node, requests] of byNode) {
      this.#w.reset();
      writeLeaseRequests(this.#w, this.#round, requests);
      this.#links.send(node, 'raft', this.#w.view());
    }
  }

  /** A frame of the lane, after its code. */
  receive(from: string, code: number, r: ByteReader): void {
    if (this.#closed) return;
    if (code === leaseCodes.grant) {
      const { round, grants } = readLeaseGrants(r);
      const sentAt = this.#sentAt.get(round);
      if (sentAt === undefined) return;
      for (const g of grants) this.#party(g.shard)?.leaseGranted(from, g, sentAt);
      return this.#extendLater();
    }
    const { round, requests } = readLeaseRequests(r);
    const grants: LeaseGrant[] = [];
    for (const request of requests) {
      const grant = this.#party(request.shard)?.judgeLease(from, request, round);
      if (grant === undefined) continue;
      grants.push(grant);
      if (grant.kind === 'stream') this.#fedAt = this.#env.clock.now();
    }
    this.#send(from, round, grants);
  }

  #send(to: string, round: number, grants: readonly LeaseGrant[]): void {
    if (grants.length === 0) return;
    this.#w.reset();
    writeLeaseGrants(this.#w, round, grants);
    this.#links.send(to, 'raft', this.#w.view());
  }

  /** What this node holds lasts longer: it goes down the tree at once, so that depth costs little of a lease. */
  #extendLater(): void {
    if (this.#extending) return;
    this.#extending = true;
    this.#env.clock.endOfTurn(() => {
      this.#extending = false;
      if (!this.#closed) this.#extend();
    });
  }

  #extend(): void {
    // Mostly there is nothing to tell.
    let byNode: Map<string, Map<number, LeaseGrant[]>> | undefined;
    const extend = (to: string, round: number, grant: LeaseGrant): void => {
      byNode ??= new Map();
      const rounds = byNode.get(to) ?? new Map<number, LeaseGrant[]>();
      byNode.set(to, rounds);
      const grants = rounds.get(round) ?? [];
      rounds.set(round, grants);
      grants.push(grant);
    };
    for (const s of this.#shards.values()) (s.core ?? s.replica)?.leaseExtensions(extend);
    for (const [to, rounds] of byNode ?? []) for (const [round, grants] of rounds) this.#send(to, round, grants);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }
}
