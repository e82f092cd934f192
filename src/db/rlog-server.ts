// The core's end of all log streams of one shard: one agent per receiver, pumped when something
// was committed, acknowledged or drained.
import type { Timer } from '#env/clock.js';
import type { Env } from '#env/env.js';
import type { Links } from '#link/api.js';
import type { DbBounds } from './bounds.js';
import { Distances } from './distances.js';
import { Grantee, type LeaseTerms, leadMs } from './lease.js';
import type { LeaseGrant, LeaseRequest } from './lease-codec.js';
import { Pacer } from './pacer.js';
import { isRelay } from './relay-info.js';
import { RlogAgent, type RlogSource, type SendFrame } from './rlog-agent.js';
import { encodeRlog, type RlogMessage } from './rlog-codec.js';
import { lateCounter, leaseTerms } from './visibility.js';

export interface ServedSource extends RlogSource {
  /** Caught up and in touch with a leader: fit to be followed. */
  readonly readyToServe: boolean;
  /**
   * Leads the shard: cores of the group may copy its tables, in service or not. It may need one of them for its
   * first commit, and until that it is not in service itself.
   */
  readonly leads: boolean;
  /** Until when this core is in service itself, and what those must have seen to whom it grants leases. */
  readonly leaseUntil: number;
  readonly leaseFloor: number;
}

/** A copy that was announced but never fetched holds the log back no longer than this. */
const expectedCopyMs = 60_000;

/** The rounds of a stream are a little closer than the pauses of apply, so that a busy receiver's pause meets two of them. */
const ofApplyPause = 0.8;

/**
 * A round to many receivers is many frames, and many processes that wake for it: those after the second are paid for
 * with a pause, which nobody notices but who waits for a write to be effective, and for him it is short.
 */
const pausePerReceiverMs = 1.5;
/** Of the longest pause of apply. */
const ofReceiversPause = 2;

/**
 * Receivers of one group. Each that is sent something wakes, and on a machine that it shares with this core takes the
 * processor from it: so a round goes to one group after the other, and what comes in meanwhile is worked on in between.
 */
const groupReceiversMin = 2;
/** The next group has its turn with the next commit, or after so long. */
const groupPauseMs = 2;

export class RlogServer {
  readonly #env: Env;
  readonly #links: Links;
  readonly #bounds: DbBounds;
  readonly #source: ServedSource;
  readonly #onVisible: () => void;
  readonly #agents: Map<string, RlogAgent> = new Map();
  readonly #expected: Map<string, { readonly from: number; readonly until: number }> = new Map();
  /** Whose stream ended while they held a lease: they may not know it yet. */
  readonly #leaving: Set<{ readonly receiver: string; readonly relays: boolean; readonly lease: Grantee }> = new Set();
  readonly #pacer: Pacer;
  readonly #terms: LeaseTerms;
  readonly #distances: Distances;
  #carried = 0;
  /** Somebody waits until everything up to here is seen. */
  #wanted = 0;
  /** Committed when the last round was made. */
  #sentTo = 0;
  #scheduled = false;
  /** Receivers that this round has not come to yet. */
  #rota: RlogAgent[] = [];
  #groupSize = groupReceiversMin;
  #nextGroup: Timer | undefined;
  #groupScheduled = false;
  #closed = false;

  constructor(env: Env, links: Links, bounds: DbBounds, source: ServedSource, onVisible: () => void) {
    this.#env = env;
    this.#links = links;
    this.#bounds = bounds;
    this.#source = source;
    this.#onVisible = onVisible;
    this.#distances = new Distances(links, env.clock);
    this.#terms = leaseTerms(bounds, lateCounter(env, source.shard));
    this.#pacer = new Pacer(env.clock, bounds.applyCoalesceMs * ofApplyPause);
  }

  /** An earlier process of this core may have granted leases that nobody here knows of; the longest of them lasts as long. */
  mindForgotten(): void {
    const forgotten = new Grantee(this.#terms);
    const now = this.#env.clock.now();
    forgotten.hold(now, now + leadMs(this.#bounds.leaseMs));
    this.#leaving.add({ receiver: '', relays: true, lease: forgotten });
  }

  get streams(): number {
    return this.#agents.size;
  }

  serves(nodeId: string): boolean {
    return this.#agents.has(nodeId);
  }

  receive(from: { readonly nodeId: string; readonly name: string; readonly role: string }, m: RlogMessage): void {
    const agent = this.#agents.get(from.nodeId);
    switch (m.type) {
      case 'open':
        return this.#open(from, m);
      case 'ack':
        if (agent === undefined || agent.stream !== m.stream) return;
        agent.acked(this.#env.clock.now(), m.visible, m.bytes);
        this.#onVisible();
        if (agent.held) this.#pumpOne(agent);
        return;
      case 'close':
        // It left service before it said so.
        if (agent !== undefined && agent.stream === m.stream) this.#drop(agent, false);
        return;
    }
  }

  #open(from: { readonly nodeId: string; readonly name: string; readonly role: string }, m: Extract<RlogMessage, { type: 'open' }>): void {
    const old = this.#agents.get(from.nodeId);
    if (old !== undefined) this.#drop(old, false);
    // Who opens a stream is out of service, though perhaps not those below it.
    for (const one of this.#leaving) if (one.receiver === from.nodeId && !one.relays) this.#leaving.delete(one);
    this.#expected.delete(from.nodeId);
    const send: SendFrame = (frame, shared) => this.#links.send(from.nodeId, 'rlog', frame, shared) === 'sent';
    if (!this.#source.readyToServe && !(from.role === 'core' && this.#source.leads)) {
      const { shard, historyId, commitIndex } = this.#source;
      send(encodeRlog({ type: 'opened', shard, stream: m.stream, mode: 'later', historyId, commitIndex, rows: 0, why: 'this core is not in sync' }));
      return;
    }
    const agent = new RlogAgent(from, m.stream, this.#source, this.#bounds, this.#terms, send);
    if (!agent.open(m)) return;
    if (agent.copyWhy !== '')
      this.#env.log.info('a node copies the tables', { shard: this.#source.shard, node: from.name, index: m.appliedIndex, why: agent.copyWhy });
    if (agent.continues) this.#env.log.info('a node goes on with its copy of the tables', { shard: this.#source.shard, node: from.name });
    agent.relays = isRelay(this.#links.peer(from.nodeId));
    this.#agents.set(from.nodeId, agent);
    this.pumpLater();
  }

  /** Somebody waits until everything up to `index` is seen: the receivers are told behind the entry, with which they get it. */
  want(index: number): void {
    if (index <= this.#wanted) return;
    this.#wanted = index;
    // Committed by now: they were sent it, or are about to be.
    if (this.#source.commitIndex >= index) this.pumpLater();
  }

  judgeLease(from: string, r: LeaseRequest, round: number): LeaseGrant | undefined {
    const agent = this.#agents.get(from);
    if (agent === undefined || agent.stream !== r.n || !agent.isReplicant) return undefined;
    const { leaseUntil, leaseFloor, commitIndex } = this.#source;
    agent.lease.roundTripMs = this.#distances.to(from) + (agent.relays ? this.#distances.farthestMs : 0);
    const ms = agent.lease.renew(this.#env.clock.now(), round, r.visible, commitIndex, leaseFloor, leaseUntil);
    this.#onVisible();
    return ms === 0 ? undefined : this.#grant(agent, ms);
  }

  #grant(agent: RlogAgent, ms: number): LeaseGrant {
    return { shard: this.#source.shard, kind: 'stream', n: agent.stream, ms, floor: this.#source.leaseFloor };
  }

  /** The lease of this node lasts longer: so may those that it granted. */
  leaseExtensions(grant: (to: string, round: number, grant: LeaseGrant) => void): void {
    const now = this.#env.clock.now();
    const { leaseUntil } = this.#source;
    for (const agent of this.#agents.values()) {
      const ms = agent.lease.extend(now, leaseUntil);
      if (ms > 0) grant(agent.receiver, agent.lease.round, this.#grant(agent, ms));
    }
  }

  /** `mayServe`: the receiver may believe for the rest of its lease that it is in service. */
  #drop(agent: RlogAgent, mayServe: boolean): void {
    agent.closed = true;
    if (this.#agents.get(agent.receiver) === agent) this.#agents.delete(agent.receiver);
    const { receiver, relays, lease } = agent;
    if ((mayServe || relays) && lease.counts(this.#env.clock.now())) this.#leaving.add({ receiver, relays, lease });
    this.#onVisible();
  }

  peerDown(nodeId: string): void {
    const agent = this.#agents.get(nodeId);
    if (agent !== undefined) this.#drop(agent, true);
  }

  /** A follower was told to copy this core's tables: keep the log from here for it. */
  expectCopy(nodeId: string): void {
    this.#expected.set(nodeId, { from: this.#source.appliedIndex + 1, until: this.#env.clock.now() + expectedCopyMs });
  }

  /** Lowest index that some stream still has to be sent. */
  oldestNeeded(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const a of this.#agents.values()) if (a.next < oldest) oldest = a.next;
    const now = this.#env.clock.now();
    for (const [id, e] of this.#expected) {
      if (e.until < now) this.#expected.delete(id);
      else if (e.from < oldest) oldest = e.from;
    }
    return oldest;
  }

  /** Lowest index seen by those that hold a lease. */
  visibleOfHolders(): number {
    const now = this.#env.clock.now();
    let lowest = Number.POSITIVE_INFINITY;
    for (const { lease } of this.#agents.values()) if (lease.counts(now) && lease.visible < lowest) lowest = lease.visible;
    for (const one of this.#leaving) {
      const { lease } = one;
      if (!lease.counts(now)) this.#leaving.delete(one);
      else if (lease.visible < lowest) lowest = lease.visible;
    }
    return lowest;
  }

  /** When the next lease runs out, if it is not renewed. */
  nextLapseAt(): number {
    const now = this.#env.clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (const { lease } of this.#agents.values()) if (lease.counts(now) && lease.until < next) next = lease.until;
    for (const { lease } of this.#leaving) if (lease.counts(now) && lease.until < next) next = lease.until;
    return next;
  }

  replicants(): string[] {
    const names: string[] = [];
    for (const a of this.#agents.values()) if (a.isReplicant) names.push(a.receiverName);
    return names.sort();
  }

  /** Entries committed and not yet handed to the slowest stream that is not catching up from disk. */
  backlog(): number {
    let most = 0;
    for (const a of this.#agents.values()) if (!a.catchingUp && a.backlog > most) most = a.backlog;
    return most;
  }

  /** Something was committed: the streams hear of it at the end of the turn, or a little later under load. */
  committed(): void {
    if (this.#scheduled || this.#closed || this.#agents.size === 0) return;
    const hurry = this.#wanted > this.#sentTo;
    const underWay = this.#rota.length > 0;
    if (underWay && !hurry) this.#group();
    // While a round is under way the pause before the next one runs already; without a pause it begins when this one ends.
    if (!this.#pacer.holds(() => this.#round(), hurry) && (hurry || !underWay)) this.#round();
  }

  /** Everybody at once when somebody waits for it, or when there are few. */
  #round(): void {
    if (this.#wanted > this.#sentTo || this.#agents.size <= groupReceiversMin) return this.pumpLater();
    const pauseMs = this.#pauseMs();
    // Those that the last one has not come to go first.
    this.#rota = [...new Set([...this.#rota, ...this.#agents.values()])];
    this.#groupSize = Math.max(groupReceiversMin, Math.ceil((this.#rota.length * groupPauseMs) / Math.max(groupPauseMs, pauseMs)));
    this.#ran(pauseMs);
    this.#group();
  }

  #group(): void {
    if (this.#groupScheduled || this.#closed) return;
    this.#groupScheduled = true;
    this.#nextGroup?.cancel();
    this.#nextGroup = undefined;
    this.#behindProposals(() => {
      this.#groupScheduled = false;
      if (this.#closed) return;
      for (const agent of this.#rota.splice(0, this.#groupSize)) this.#pump(agent);
      if (this.#rota.length > 0) this.#nextGroup = this.#env.clock.setTimer(groupPauseMs, () => this.#group());
      // Those of the first group were not sent what was committed since.
      else if (this.#source.commitIndex > this.#sentTo) this.committed();
    });
  }

  /**
   * In the same turn, but behind what the answers to the committed writes lead to: the next proposals at the end of the
   * turn, their entry at the next one, and at the third it is on its way to the followers and the disk. Receivers, when
   * they wake, take the processor from a core that has nothing to send.
   */
  #behindProposals(run: () => void): void {
    const { clock } = this.#env;
    clock.endOfTurn(() => clock.endOfTurn(() => clock.endOfTurn(run)));
  }

  #pauseMs(): number {
    return Math.min((this.#agents.size - groupReceiversMin) * pausePerReceiverMs, this.#bounds.applyCoalesceMs * ofReceiversPause);
  }

  #ran(pauseMs: number): void {
    const { committedTransactions, commitIndex } = this.#source;
    this.#pacer.ran(this.#env.clock.now(), committedTransactions - this.#carried, 0, pauseMs);
    this.#sentTo = commitIndex;
    this.#carried = committedTransactions;
  }

  /** Once per turn, after everything that the turn committed. */
  pumpLater(): void {
    if (this.#scheduled || this.#closed || this.#agents.size === 0) return;
    this.#scheduled = true;
    this.#behindProposals(() => {
      this.#scheduled = false;
      if (this.#closed) return;
      this.#rota = [];
      this.#ran(this.#pauseMs());
      for (const agent of [...this.#agents.values()]) this.#pump(agent);
    });
  }

  /** In a turn of its own: what has come in is worked on first. */
  #pumpOne(agent: RlogAgent): void {
    if (agent.pumpDue) return;
    agent.pumpDue = true;
    this.#env.clock.setTimer(0, () => {
      agent.pumpDue = false;
      if (!this.#closed) this.#pump(agent);
    });
  }

  #pump(agent: RlogAgent): void {
    if (agent.closed) return;
    if (agent.pump()) this.#pumpOne(agent);
    if (this.#links.speaks(agent.receiver, 'wantedReports')) agent.want(this.#wanted);
    if (agent.closed) this.#drop(agent, true);
  }

  /** Ends all streams; their receivers look for another core. */
  dismiss(why: string): void {
    for (const agent of [...this.#agents.values()]) {
      agent.close(why);
      this.#drop(agent, true);
    }
  }

  close(): void {
    this.#closed = true;
    this.#pacer.reset();
    this.#nextGroup?.cancel();
    for (const agent of this.#agents.values()) agent.close('this core is stopping');
    this.#agents.clear();
  }
}
