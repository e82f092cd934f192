// What is promised of wills (docs/guarantees.md), looked at when a run has ended: the will of a client whose connection has
// ended otherwise than by its DISCONNECT is with everybody who had subscribed, also when its node was lost; and with nobody if
// the client went on with its session before the delay had passed.
import type { BrokerWorld } from './broker-world.js';
import type { Disturbances } from './faults.js';
import type { History, SimSession, SimSubscription, SimWill } from './history.js';

const never = Number.POSITIVE_INFINITY;
const sampleEveryMs = 50;
/** A slow disk may take so long until it has what nobody waits for, and so may the registry. */
const unsyncedMs = 1_000;
/** The slowest one takes seconds for one sync, and who comes after it began waits for the next. */
const unsyncedSlowMs = 8_000;
/** For finding out who is lost, an election, and the way to the subscribers. */
const graceMs = 8_000;

export class WillWatch {
  readonly #world: BrokerWorld;
  readonly #history: History;
  readonly #disturbances: Disturbances;
  /** When a node had given up a destination of some message. */
  readonly #losses: number[] = [];
  #lost = 0;

  constructor(world: BrokerWorld, history: History, disturbances: Disturbances) {
    this.#world = world;
    this.#history = history;
    this.#disturbances = disturbances;
    this.#sample();
  }

  get #now(): number {
    return this.#world.world.now;
  }

  #sample(): void {
    const lost = this.#world.nodes.reduce((sum, n) => sum + n.lost, 0);
    if (lost !== this.#lost) this.#losses.push(this.#now);
    this.#lost = lost;
    this.#world.world.after(sampleEveryMs, () => this.#sample());
  }

  /** `healedAt`: from then on everything runs and is connected. */
  check(healedAt: number): void {
    for (const will of this.#history.wills) {
      if (will.withdrawn !== undefined) this.#checkWithdrawn(will);
      if (will.session === undefined || will.session.tainted !== undefined || will.lostAt === never || will.withdrawn !== undefined) continue;
      if (this.#isOff(will)) this.#checkOff(will);
      else if (!will.disconnectSent && !(will.mayBeOff && will.delayMs > 0) && (will.resumedAt === never || will.delayMs === 0))
        this.#checkSent(will, healedAt);
    }
  }

  /** DISCONNECT has no answer that could wait for the disk, or for the registry (docs/guarantees.md). */
  #checkWithdrawn({ clientId, withdrawn, received, node, acceptedAt, unseenFrom }: SimWill): void {
    for (const [session, { firstAt }] of received) {
      if (withdrawn === undefined) return;
      // Its node may have ended the connection before, and it did not read that.
      if (unseenFrom < withdrawn.at) return;
      const wasSlow = this.#disturbances.slowDisks.overlaps(node, withdrawn.at, withdrawn.until);
      if (this.#history.ended(node, withdrawn.at, withdrawn.until + (wasSlow ? unsyncedSlowMs : unsyncedMs)))
        this.#history.count('excused: will of a client that left right before its node ended');
      else if (acceptedAt === never || firstAt < withdrawn.until || this.#disturbances.overlaps(node, withdrawn.at, withdrawn.until + unsyncedMs))
        this.#history.count('excused: will taken back at a node that was lost to the others');
      else this.#history.violation(`${session.clientId} got the will of ${clientId}, which had taken it back at ${withdrawn.at.toFixed(1)}`);
    }
  }

  /** The client was back well before the delay had passed. */
  #isOff({ delayMs, unseenFrom, resumedAt, session }: SimWill): boolean {
    return delayMs > 0 && resumedAt < unseenFrom + delayMs && session !== undefined && session.endedAt > resumedAt;
  }

  #checkOff(will: SimWill): void {
    const { received, node, acceptedAt, lostAt, resumedAt } = will;
    // A node that was cut off, or taken for dead, had lost its clients before they knew; so had one that stood still.
    const { pauses } = this.#disturbances;
    if (this.#disturbances.overlaps(node, acceptedAt, lostAt) || pauses.overlaps(node, acceptedAt, lostAt)) return;
    if (received.size === 0) this.#history.count('willsCalledOff');
    else this.#history.violation(`${named(will)}, lost at ${lostAt.toFixed(1)}, was sent although it was back at ${resumedAt.toFixed(1)}`);
  }

  #checkSent(will: SimWill, healedAt: number): void {
    const { topicName, lostAt, delayMs, received } = will;
    const from = Math.max(lostAt, healedAt);
    const until = from + delayMs + this.#world.settings.nodeDownAfterMs + graceMs;
    if (until > this.#now) return;
    // A connection that broke may have been noticed, and its will sent, before its client knew.
    const since = will.acceptedAt;
    for (const session of this.#history.sessions) {
      if (session === will.session || session.endedAt !== never || session.tainted !== undefined || session.overflowed) continue;
      const sub = session.matching(topicName).find((x) => x.qos > 0 && x.ackedAt < since && x.unsubscribeSentAt > until && !x.notEffective);
      if (sub === undefined) continue;
      const excuse = received.has(session) ? undefined : this.#excuse(session, sub, since, until);
      if (received.has(session)) this.#history.count(this.#history.ended(will.node, since, lostAt) ? 'willsOfLostNodes' : 'willsSent');
      else if (excuse !== undefined) this.#history.count(`excused: will, ${excuse}`);
      else
        this.#history.violation(
          `${session.clientId} (session ${session.number}, subscribed ${sub.ackedAt.toFixed(1)}) never got ${named(will)}, lost at ${lostAt.toFixed(1)}`,
        );
    }
  }

  #excuse(session: SimSession, sub: SimSubscription, from: number, to: number): string | undefined {
    if (this.#losses.some((at) => at >= from && at <= to)) return 'destination lost';
    const nodes = new Set(session.nodes.filter((n, i) => n.at <= to && (session.nodes[i + 1]?.at ?? never) >= from).map((n) => n.node));
    for (const n of nodes) if (this.#disturbances.states.overlaps(n, from, to)) return 'subscriber’s node';
    // Who sends it may not know a route that was written while it was cut off.
    const under = { from, to };
    const moves = session.nodes.map((n) => ({ from: n.at - 5_000, to: n.at }));
    const written = [{ from: sub.sentAt, to: sub.ackedAt }, ...moves];
    if (this.#world.nodes.some((n) => written.some((w) => this.#disturbances.cuts.spans(n.name, w, under))))
      return 'cut off while the route was written';
    return undefined;
  }
}

function named({ clientId, acceptedAt, node, delayMs, qos }: SimWill): string {
  return `the will of ${clientId} (connected to ${node} at ${acceptedAt.toFixed(1)}, QoS ${qos}, delay ${delayMs})`;
}
