// Brings the persistent sessions back that this node had when it ended: whole, without their clients, with
// the time that has passed since taken off. Until the registry has confirmed that nobody else has got the
// client id meanwhile, neither expiry nor a will's delay runs; a session that it does not confirm goes.
// `broker.ts` calls it once, before anybody connects; the routes follow when the node serves.
import { neverExpires } from '#session/limits.js';
import { Session, Subscription } from '#session/session.js';
import type { RecoveredSession, RecoveringSessions } from '#session/session-record.js';
import type { Core } from './core.js';
import type { DurableSessions } from './durable-sessions.js';
import { HoldBack } from './hold-back.js';
import type { Origin } from './recent-origins.js';
import type { Sessions } from './sessions.js';
import type { Wills } from './wills.js';

/** Routes asked for in one turn, and from a failure to the next attempt. */
const routesPerTurn = 500;
const retryMs = 1_000;

/** Of what sessions got before the restart, so much is known again: per session, and for all of them. */
const knownMax = 2_000;
const knownInAllMax = 500_000;

/** Slots that no session has any more are free again; returns how many sessions came back. */
export function bringBack(core: Core, durable: DurableSessions, sessions: Sessions, wills: Wills, found: RecoveringSessions): number {
  const newest = new Map<string, RecoveredSession>();
  const used = new Set<number>();
  const over: number[] = [];
  for (const s of found.sessions()) {
    const before = newest.get(s.clientId);
    if (isOver(core, s) || (before !== undefined && before.epoch > s.epoch)) {
      over.push(s.slot);
      continue;
    }
    if (before !== undefined) over.push(before.slot);
    newest.set(s.clientId, s);
  }
  let room = knownInAllMax;
  for (const s of newest.values()) {
    used.add(s.slot);
    const session = restore(core, durable, sessions, wills, s);
    const got = originsOf(s, Math.min(room, knownMax));
    room -= got.length;
    // A copy of it may be late at the node that the session goes to next.
    if (got.length > 0) new HoldBack(core, session, got).release([]);
  }
  for (const slot of over) used.add(slot);
  for (let slot = 0; slot < found.nextSlot; slot++) if (!used.has(slot)) durable.release(slot, false);
  for (const slot of over) durable.release(slot, true);
  return newest.size;
}

/** Of the newest. Incarnation 0 is everybody's that has not joined: its numbers tell nothing apart. */
function originsOf(s: RecoveredSession, max: number): Origin[] {
  const found: Origin[] = [];
  for (let i = s.got.length - 1; i >= 0 && found.length < max; i--) {
    const message = s.got[i];
    if (message !== undefined && message.originIncarnation > 0) found.push([message.originIncarnation, message.originNumber]);
  }
  found.push(...s.known.slice(0, max - found.length));
  return found;
}

function isOver(core: Core, s: RecoveredSession): boolean {
  if (s.expiryIntervalS === neverExpires || s.leftAtMs === 0) return false;
  return s.leftAtMs + s.expiryIntervalS * 1000 <= core.env.clock.wallNow();
}

function restore(core: Core, durable: DurableSessions, sessions: Sessions, wills: Wills, s: RecoveredSession): Session {
  const session = new Session(sessions, s.clientId, s.epoch, s.expiryIntervalS, s.createdAtMs);
  session.username = s.username;
  session.mountpoint = s.mountpoint;
  session.lastPacketId = s.lastPacketId;
  session.queueDropped = s.queueDropped;
  for (const [topicFilter, options] of s.subscriptions) session.addSubscription(new Subscription(session, topicFilter, options));
  for (const entry of s.inflight.values()) session.needInflight().add(entry);
  if (s.received.size > 0) session.awaitingRel = new Map([...s.received].map((id) => [id, undefined]));
  for (const { message, qos, retain, subscriptionIdentifiers, group } of s.queue)
    session.enqueue(message, qos, retain, subscriptionIdentifiers, group);
  // Rules may have changed while this node was away.
  if (session.queue !== undefined) session.queue.judgedAt = -1;
  const now = core.now();
  const wallNow = core.env.clock.wallNow();
  // Whoever was connected left with the node; when that was nobody knows, and time is counted from now.
  const leftAtMs = s.leftAtMs === 0 ? wallNow : s.leftAtMs;
  session.expiresAt = leftAt(session, leftAtMs, wallNow, now);
  const { will } = s;
  const delayMs = (will?.will.properties?.willDelayInterval ?? 0) * 1000;
  const dueAtMs = will === undefined || will.dueAtMs !== 0 ? (will?.dueAtMs ?? 0) : wallNow + delayMs;
  // One that stands with the registry is published from there. The wall clock may have been set back.
  if (will !== undefined && will.stands !== true) wills.restore(session, will.will, now + Math.min(delayMs, Math.max(0, dueAtMs - wallNow)));
  durable.adopt(session, s.slot, leftAtMs, will === undefined ? undefined : { ...will, dueAtMs });
  sessions.restored(session);
  // Its bounds, or the priorities of topic names, may be other ones than they were.
  if (session.queuedCount !== s.queue.length || s.queue.some(({ message }, i) => session.queue?.at(i)?.message !== message)) durable.rewrite(session);
  else if (s.leftAtMs === 0) durable.changed(session);
  return session;
}

function leftAt(session: Session, leftAtMs: number, wallNow: number, now: number): number {
  if (session.expiryIntervalS === neverExpires) return Number.POSITIVE_INFINITY;
  const whole = session.expiryIntervalS * 1000;
  return now + Math.min(whole, Math.max(0, leftAtMs + whole - wallNow));
}

/** Asks for the routes of sessions that came back, some per turn, until all are there. */
export class ReturningRoutes {
  readonly #core: Core;
  readonly #left: Subscription[] = [];
  #running = false;

  constructor(core: Core) {
    this.#core = core;
  }

  start(sessions: Iterable<Session>): void {
    for (const session of sessions) this.#left.push(...session.subscriptions.values());
    this.#run();
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#core.env.clock.endOfTurn(() => {
      this.#running = false;
      for (let n = routesPerTurn; n > 0; n--) {
        const subscription = this.#left.pop();
        if (subscription === undefined) return;
        this.#ask(subscription);
      }
      this.#run();
    });
  }

  #ask(subscription: Subscription): void {
    const { session, topicFilter } = subscription;
    // Unsubscribed, or over, since.
    if (session.ended || session.subscriptions.get(topicFilter) !== subscription) return;
    // While this node was away another client may have got what one alone can have.
    if (subscription.exclusive) this.#core.ports.exclusive?.keep(topicFilter, session.clientId);
    this.#core.ports.routes.add(topicFilter, (outcome) => {
      if (outcome !== 'failed') return;
      this.#core.env.clock.setTimer(retryMs, () => {
        this.#left.push(subscription);
        this.#run();
      });
    });
  }
}
