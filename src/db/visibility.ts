// Which cores are in service, and how far a shard's changes have been seen. A core is in service while it
// holds a lease: of the leader, or, leading, of a majority of the voters. Followers report to the leader how
// far they and those that they grant leases to have seen; the leader's answer to "effective" is the lowest of
// all reports of members whose lease has not run out.
//
// Invariant: whoever is in service has seen everything that was ever reported effective.
import type { Clock } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import { majorityValue } from '#raft/quorum.js';
import type { RaftConfig, RaftMachine } from '#raft/types.js';
import type { DbBounds } from './bounds.js';
import { Confirmations } from './confirmations.js';
import { Distances } from './distances.js';
import { Grantee, HeldLease, type LeaseTerms, leadMs, leaseMargin } from './lease.js';
import type { LeaseGrant, LeaseRequest } from './lease-codec.js';
import type { RaftTransport } from './raft-transport.js';
import type { ShardLeader } from './shard-leader.js';

export interface VisibilityOptions {
  readonly shard: string;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly bounds: DbBounds;
  readonly links: Pick<Links, 'peers' | 'speaks' | 'roundTripMs'>;
  /** Followers feed replicants, and grant them leases that end with their own. */
  readonly handsDown: boolean;
  readonly transport: Pick<RaftTransport, 'sendVisible' | 'sendWanted'>;
  readonly raft: () => RaftMachine;
  readonly leader: () => ShardLeader | undefined;
  /** Seen by this core's own feeds. */
  readonly applied: () => number;
  /** Seen by this core's own feeds and by all that hold a lease of it. */
  readonly visibleHere: () => number;
  /** This core copies tables: it neither serves nor asks to. */
  readonly copying: () => boolean;
  /**
   * Until then, by this core's clock, it neither asks for a lease nor reports: an earlier process of it, of which the
   * leader heard last, may have granted leases whose holders only the earlier reports speak for.
   */
  readonly silentUntil?: number;
  /** A member that lags is not waited for any more. */
  readonly onLate: () => void;
  /** The lease of this core ran out while it was in service. */
  readonly onLapse: () => void;
  /** Leases should be asked for without waiting for the next round. */
  readonly askNow: () => void;
}

/** Counts those that are let go for being late. */
export function lateCounter(env: Env, shard: string): () => void {
  const counter = env.metrics.counter('starmesh_leases_late_total', 'Times that a node lagged for so long that writes do not wait for it any more', {
    shard,
  });
  return () => {
    counter.value++;
  };
}

/** Counts the leases of this node that ended although it was in service: it was out of touch for too long. */
export function lapseCounter(env: Env, shard: string): () => void {
  const counter = env.metrics.counter(
    'starmesh_leases_lapsed_total',
    'Times that this node fell out of service because its lease was not renewed in time',
    {
      shard,
    },
  );
  return () => {
    counter.value++;
  };
}

/** The terms of a node's bounds. */
export function leaseTerms(bounds: DbBounds, onLate: () => void): LeaseTerms {
  return { leaseMs: bounds.leaseMs, joinMs: bounds.leaseMs, lateMs: bounds.lateMs, onLate };
}

function isMember({ voters, learners }: RaftConfig, id: string): boolean {
  return voters.includes(id) || learners.includes(id);
}

/** Stands for members that are none any more. */
const gone = '';

export class Visibility {
  readonly #o: VisibilityOptions;
  readonly #terms: LeaseTerms;
  readonly #held: HeldLease = new HeldLease();
  readonly #distances: Distances;
  /** Leader: members that may hold a lease, of this leader or of the one before. */
  readonly #members: Map<string, Grantee> = new Map();
  /** Leader: when each voter was asked last of those times that it confirmed this leader. */
  readonly #confirmed: Map<string, number> = new Map();
  readonly #askedAt = (id: string): number =>
    id === this.#o.nodeId ? Number.POSITIVE_INFINITY : (this.#confirmed.get(id) ?? Number.NEGATIVE_INFINITY);
  /** Leader: until when its predecessors may count on each voter that confirmed it. */
  readonly #earlier: Map<string, number> = new Map();
  readonly #confirmations: Confirmations;
  /** Leader: those that it knows nothing of hold leases of its predecessors until then at the latest; undefined: not known yet. */
  #released: number | undefined;
  /** Leader: declared effective in this term. */
  #effective = 0;
  #term = 0;
  #reported = 0;
  #reportedTo = '';
  /** Somebody waits until everything up to here is seen. */
  #wanted = 0;
  #wasInService = false;
  /** At the last look. */
  #serves = false;

  constructor(options: VisibilityOptions) {
    this.#o = options;
    this.#distances = new Distances(options.links, options.clock);
    this.#terms = leaseTerms(options.bounds, options.onLate);
    this.#confirmations = new Confirmations(options.clock.now(), leadMs(options.bounds.leaseMs));
  }

  // ---- in service ----

  /** Until when this core is in service, by its own clock; in the past when it is not. */
  get until(): number {
    const applied = this.#o.applied();
    if (this.#o.copying()) return Number.NEGATIVE_INFINITY;
    const held = this.#held.until(applied);
    const { role, termStartIndex } = this.#o.raft();
    return role === 'leader' && applied >= termStartIndex ? Math.max(held, this.#leadsUntil()) : held;
  }

  get inService(): boolean {
    const yes = this.until > this.#o.clock.now();
    if (yes) this.#wasInService = true;
    return yes;
  }

  /** Leader: that member holds a lease. */
  leases(id: string): boolean {
    return this.#members.get(id)?.counts(this.#o.clock.now()) === true;
  }

  /** As a leader from now on it would not have to wait for members that are none any more. */
  get settled(): boolean {
    return this.#goneUntil <= this.#o.clock.now();
  }

  /** Those that have gone altogether speak no more, but whom they fed may hold a lease of theirs until then. */
  get #goneUntil(): number {
    const { voters, learners } = this.#o.raft().config;
    return this.#confirmations.groupChangedAt(voters, learners, this.#o.clock.now()) + leadMs(this.#o.bounds.leaseMs);
  }

  /** Has been in service, and is not copying tables: fit to be followed, if perhaps out of touch. */
  get caughtUp(): boolean {
    return !this.#o.copying() && (this.#wasInService || this.inService);
  }

  /** What somebody must have seen to be granted a lease by this core: all that may have been reported effective. */
  get floor(): number {
    const { role, termStartIndex } = this.#o.raft();
    if (role === 'leader') return Math.max(this.#effective, this.#reported, termStartIndex);
    return Math.max(this.#reported, this.#held.floor);
  }

  /** This core copied tables: it is in service when it is granted a lease again. */
  left(): void {
    this.#held.drop();
    this.#wasInService = false;
  }

  /**
   * No other leader can have been elected up to the earliest time at which a majority was asked and confirmed;
   * a new one waits as long as that confirms before it leaves anybody out, this leader included.
   */
  #leadsUntil(): number {
    const { voters } = this.#o.raft().config;
    if (voters.length === 0) return Number.NEGATIVE_INFINITY;
    return majorityValue(voters, this.#askedAt) + leadMs(this.#o.bounds.leaseMs) * (1 - leaseMargin);
  }

  // ---- leases ----

  requests(ask: (of: string, request: LeaseRequest) => void): void {
    const { shard, nodeId } = this.#o;
    const { role, leader, term, config } = this.#o.raft();
    const now = this.#o.clock.now();
    this.#confirmations.groupChangedAt(config.voters, config.learners, now);
    if (role === 'leader') {
      if (config.voters.length === 1) this.#confirmations.confirm(term, now + leadMs(this.#o.bounds.leaseMs));
      for (const id of config.voters) if (id !== nodeId) ask(id, { shard, kind: 'lead', n: term, visible: 0 });
    } else if (leader !== '' && !this.#o.copying() && !this.#silent) {
      // Told so as well as by a report: who joins from here on must have seen it.
      this.#reported = this.#here();
      ask(leader, { shard, kind: 'follow', n: term, visible: this.#reported });
    }
  }

  judge(from: string, r: LeaseRequest, round: number): LeaseGrant | undefined {
    const { clock } = this.#o;
    const raft = this.#o.raft();
    const { role, leader, term, config, commitIndex, recovering } = raft;
    if (r.n !== term) return undefined;
    // A vote that a damaged log has lost must not be denied.
    if (r.kind === 'lead') return leader === from && !recovering ? this.#confirm(term) : undefined;
    if (role !== 'leader' || !isMember(config, from)) return undefined;
    // Of one that comes in by a change that is not committed the next leader may never hear.
    if (raft.changePending && !isMember(raft.configAt(commitIndex), from)) return undefined;
    const member = this.#member(from);
    member.roundTripMs = this.#distances.to(from) + (this.#o.handsDown ? this.#distances.farthestMs : 0);
    const ms = member.renew(clock.now(), round, r.visible, commitIndex, this.#memberFloor, this.#leadsUntil());
    this.#declare();
    return ms === 0 ? undefined : this.#grant(ms);
  }

  #confirm(n: number): LeaseGrant {
    const now = this.#o.clock.now();
    const ms = leadMs(this.#o.bounds.leaseMs);
    this.#confirmations.confirm(n, now + ms);
    return { shard: this.#o.shard, kind: 'lead', n, ms, floor: Math.max(0, Math.ceil(this.#confirmations.earlier(n) - now)) };
  }

  /** As soon as a majority has said until when others may have counted on it. */
  #release(): void {
    const { voters } = this.#o.raft().config;
    const { nodeId, clock, bounds } = this.#o;
    if (this.#released !== undefined) return;
    const changed = this.#confirmations.changedAt(voters, clock.now());
    let until = Math.max(changed + leadMs(bounds.leaseMs), this.#confirmations.earlier(this.#term));
    let known = voters.includes(nodeId) ? 1 : 0;
    for (const id of voters) {
      const earlier = this.#earlier.get(id);
      if (id === nodeId || earlier === undefined) continue;
      known++;
      until = Math.max(until, earlier);
    }
    if (known <= voters.length >> 1) return;
    this.#released = until;
    for (const m of this.#members.values()) m.release(until);
  }

  get #memberFloor(): number {
    return Math.max(this.#effective, this.#o.raft().termStartIndex);
  }

  #grant(ms: number): LeaseGrant {
    return { shard: this.#o.shard, kind: 'follow', n: this.#o.raft().term, ms, floor: this.#memberFloor };
  }

  /** This leader is confirmed for longer: so may the leases of its members. */
  extensions(grant: (to: string, round: number, grant: LeaseGrant) => void): void {
    if (this.#o.raft().role !== 'leader') return;
    const now = this.#o.clock.now();
    const ends = this.#leadsUntil();
    for (const [id, m] of this.#members) {
      const ms = m.extend(now, ends);
      if (ms > 0) grant(id, m.round, this.#grant(ms));
    }
  }

  granted(from: string, g: LeaseGrant, sentAt: number): void {
    const { role, leader, term } = this.#o.raft();
    if (g.n !== term) return;
    if (g.kind === 'follow') {
      if (leader === from && !this.#o.copying()) this.#held.take(sentAt, g.ms, g.floor);
    } else if (g.kind === 'lead' && role === 'leader') {
      const now = this.#o.clock.now();
      if (sentAt > (this.#confirmed.get(from) ?? Number.NEGATIVE_INFINITY)) this.#confirmed.set(from, sentAt);
      // This leader is of those that count on it.
      this.#confirmations.confirm(term, sentAt + leadMs(this.#o.bounds.leaseMs));
      this.#earlier.set(from, now + g.floor);
      this.#release();
      this.#declare();
    }
  }

  #member(id: string): Grantee {
    let m = this.#members.get(id);
    if (m === undefined) {
      m = new Grantee(this.#terms);
      this.#members.set(id, m);
    }
    return m;
  }

  /** When the next lease that this leader granted runs out, if it is not renewed. */
  get nextLapseAt(): number {
    const now = this.#o.clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (const m of this.#members.values()) if (m.until > now && m.until < next) next = m.until;
    return next;
  }

  /** Regularly: is this core still in service? */
  look(): void {
    const served = this.#serves;
    this.#serves = this.inService;
    if (served && !this.#serves && !this.#o.copying()) this.#o.onLapse();
  }

  // ---- reports ----

  get #silent(): boolean {
    return this.#o.silentUntil !== undefined && this.#o.clock.now() < this.#o.silentUntil;
  }

  #here(): number {
    return Math.max(this.#reported, this.#o.visibleHere());
  }

  /** Leader: somebody waits until everything up to `index` is seen. */
  want(index: number): void {
    const { role, config } = this.#o.raft();
    const { links, transport, shard, nodeId } = this.#o;
    if (role !== 'leader') return;
    for (const id of [...config.voters, ...config.learners])
      if (id !== nodeId && links.speaks(id, 'wantedReports')) transport.sendWanted(id, shard, index);
  }

  /** Follower: the leader has somebody who waits. */
  wanted(index: number): void {
    if (index <= this.#wanted) return;
    this.#wanted = index;
    this.moved();
  }

  /** Something was applied or seen here, or a lease has run out: tell the leader, or, leading, look what is effective now. */
  moved(): void {
    const { role, leader } = this.#o.raft();
    if (role === 'leader') return this.#declare();
    if (this.#o.copying() || this.#silent) return;
    const here = this.#here();
    if (leader === '' || (here === this.#reported && leader === this.#reportedTo)) return;
    // The next request for a lease says it.
    const waits = this.#reported < this.#wanted || leader !== this.#reportedTo || !this.#o.links.speaks(leader, 'wantedReports');
    if (!waits) return;
    this.#reported = here;
    this.#reportedTo = leader;
    this.#o.transport.sendVisible(leader, this.#o.shard, here);
  }

  /**
   * A new leader does not know who holds a lease of the one before, nor how far they are: it waits for
   * everybody, the old leader too, until their leases have run out or been renewed.
   */
  roleChanged(): void {
    const { role, term, config } = this.#o.raft();
    if (role === 'leader' && term !== this.#term) {
      this.#term = term;
      this.#members.clear();
      this.#confirmed.clear();
      this.#earlier.clear();
      this.#released = undefined;
      this.#effective = 0;
      const now = this.#o.clock.now();
      // Also for those that were taken out a moment ago: they may hold a lease of a leader before.
      const linked = this.#o.links.peers().flatMap((p) => (p.role === 'core' ? p.nodeId : []));
      for (const id of new Set([...config.voters, ...config.learners, ...linked]))
        if (id !== this.#o.nodeId) this.#member(id).hold(now, now + leadMs(this.#o.bounds.leaseMs));
      if (!this.settled) this.#member(gone).hold(now, this.#goneUntil);
    }
    this.#reportedTo = '';
    this.moved();
    this.#o.askNow();
  }

  peerUp(): void {
    this.#reportedTo = '';
    this.moved();
    this.#o.askNow();
  }

  report(from: string, index: number): void {
    if (this.#o.raft().role !== 'leader') return;
    const member = this.#members.get(from);
    if (member === undefined) return;
    member.see(this.#o.clock.now(), index, this.#o.raft().commitIndex);
    this.#declare();
  }

  #declare(): void {
    const now = this.#o.clock.now();
    let index = this.#o.visibleHere();
    for (const m of this.#members.values()) if (m.counts(now) && m.visible < index) index = m.visible;
    // A leader that was replaced does not know who is in service by now.
    if (this.#leadsUntil() <= now) return;
    if (index > this.#effective) this.#effective = index;
    this.#o.leader()?.effective(this.#effective);
  }
}
