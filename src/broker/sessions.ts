// The sessions of this node: their beginning, their time without a client, their end. Also the `home`
// that sessions see. `connect.ts` and `takeover.ts` decide; this keeps the maps, the routes of their
// subscriptions, the timers and the registry in step.
import type { Will } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel, ChannelEnd } from '#session/channel.js';
import type { SessionCounters } from '#session/counters.js';
import type { Frames } from '#session/frames.js';
import type { SessionLimits } from '#session/limits.js';
import type { QueuedMessage } from '#session/queue.js';
import type { DeliveryHooks, QueueRights, SessionHome, ShortMemory, Subscription } from '#session/session.js';
import { Session } from '#session/session.js';
import type { AccessClient } from './access.js';
import type { Adopted } from './adopted.js';
import type { Core } from './core.js';
import type { WillWord } from './registered-wills.js';
import type { Wills } from './wills.js';

/** Tells the registry what happens to a session, or not because it knows better. */
export type Tell = 'tell' | 'silent';

/**
 * What other members of its groups get when the session ends: what was not sent, and what was sent with QoS 1 and not
 * acknowledged. What was sent with QoS 2 is for nobody else. [MQTT-4.8.2-5]
 */
function leftToGroups(session: Session): QueuedMessage[] {
  const left: QueuedMessage[] = [];
  for (const entry of session.inflight?.entries() ?? []) {
    const { message, qos, retain, subscriptionIdentifiers, group } = entry;
    if (group !== undefined && message !== undefined && qos === 1) left.push({ message, qos, retain, subscriptionIdentifiers, group });
  }
  const { queue } = session;
  for (let i = 0; queue !== undefined && i < queue.length; i++) {
    const item = queue.at(i);
    if (item?.group !== undefined) left.push(item);
  }
  for (const item of session.gate?.held?.() ?? []) if (item.group !== undefined) left.push(item);
  return left;
}

export class Sessions implements SessionHome {
  readonly limits: SessionLimits;
  readonly counters: SessionCounters;
  readonly frames: Frames;
  readonly hooks: DeliveryHooks;
  readonly rights: QueueRights;
  readonly #core: Core;
  readonly #wills: Wills;
  shortMemory: ShortMemory | undefined = undefined;
  /** Sessions with a connection. */
  connected = 0;
  /** Of an earlier run of this node; whether they are still their clients' is being found out. */
  readonly #restored = new Set<Session>();

  constructor(core: Core, wills: Wills) {
    this.#core = core;
    this.#wills = wills;
    this.limits = core.limits;
    this.counters = core.metrics;
    this.frames = core.frames;
    this.hooks = core.hooks;
    this.rights = core.recheck;
  }

  now(): number {
    return this.#core.now();
  }

  get(clientId: string): Session | undefined {
    return this.#core.sessions.get(clientId);
  }

  /** From now on the session is written down, if it is one that lasts and is registered. False: it should be, and cannot. */
  keep(session: Session, channel?: Channel): boolean {
    const { durable } = this.#core;
    if (durable === undefined || session.epoch === 0 || session.ended) return true;
    if (!session.lasting) {
      durable.forget(session);
      return true;
    }
    const will = channel?.will === undefined ? undefined : this.#wills.record(channel.will, 0);
    const leftAtMs = channel === undefined ? this.#core.env.clock.wallNow() : 0;
    if (!durable.has(session)) return durable.begin(session, leftAtMs, will);
    durable.presence(session, leftAtMs, will);
    return true;
  }

  /** Its client is not here: when it went, and what of its will waits. */
  #keepAway(session: Session): void {
    const { durable, env } = this.#core;
    if (durable === undefined || !durable.has(session)) return;
    const wallNow = env.clock.wallNow();
    const pending = this.#wills.pending(session);
    const will = pending === undefined ? undefined : this.#wills.record(pending.will, wallNow + pending.due - this.#core.now());
    durable.presence(session, durable.leftAtMs(session) || wallNow, will);
  }

  /** One that this node had before it ended, whole; `confirmed` follows. */
  restored(session: Session): void {
    this.#core.sessions.set(session.clientId, session);
    for (const subscription of session.subscriptions.values()) {
      subscription.settled = true;
      this.#core.subscribers.add(subscription);
    }
    this.#restored.add(session);
  }

  /** The registry knows the session: its time goes on. */
  confirmed(clientId: string, epoch: number): void {
    if (this.#restored.size === 0) return;
    const session = this.registered(clientId);
    if (session?.epoch !== epoch || !this.#restored.delete(session) || session.channel !== undefined || session.ended) return;
    this.#core.metrics.sessionsRecovered.value++;
    this.#arm(session);
  }

  /** A new session, known under its client id from now on. */
  create(clientId: string, epoch: number, expiryIntervalS: number): Session {
    const session = new Session(this, clientId, epoch, expiryIntervalS, this.#core.env.clock.wallNow());
    this.#core.sessions.set(clientId, session);
    this.#core.metrics.sessionCreated.value++;
    this.#core.hooks.session?.('created', session);
    return session;
  }

  /** The registered session of the client, also while one without a registration stands before it. */
  registered(clientId: string): Session | undefined {
    const session = this.#core.sessions.get(clientId);
    return session === undefined || session.epoch > 0 ? session : this.#core.parked.get(clientId);
  }

  *all(): IterableIterator<Session> {
    yield* this.#core.sessions.values();
    yield* this.#core.parked.values();
  }

  /** Every session of the client here is over. Was there one? */
  discardAll(clientId: string, reasonCode: number, now: number, tell: Tell): boolean {
    let any = false;
    for (let old = this.get(clientId); old !== undefined; old = this.get(clientId)) {
      any = true;
      this.discard(old, reasonCode, now, tell);
    }
    return any;
  }

  /** Before a session without a registration: a registered one is kept aside until the registry can be asked. */
  park(clientId: string, now: number): void {
    const old = this.get(clientId);
    if (old === undefined) return;
    if (old.epoch === 0) {
      // The one that is kept aside comes forth.
      this.discard(old, ReasonCode.sessionTakenOver, now, 'silent');
      this.park(clientId, now);
      return;
    }
    if (old.channel !== undefined) old.channel.disconnect(ReasonCode.sessionTakenOver, now); // [MQTT-3.1.4-3]
    // One that was to end with its connection has.
    if (old.ended) return;
    this.#core.sessions.delete(clientId);
    this.#core.parked.set(clientId, old);
  }

  /** The registry has answered about the client: a session without a registration is over. */
  endUnregistered(clientId: string, now: number): void {
    const session = this.get(clientId);
    if (session?.epoch === 0) this.discard(session, ReasonCode.sessionTakenOver, now, 'silent');
  }

  /** A channel is about to be bound. */
  connecting(session: Session): void {
    this.#core.timers.cancel(session);
    this.#wills.cancel(session);
    session.expiresAt = Number.POSITIVE_INFINITY;
    this.#core.subscribers.presence(session, 'here');
    this.connected++;
    this.#restored.delete(session);
  }

  /** Its channel has closed. */
  disconnected(session: Session, channel: Channel, end: ChannelEnd, now: number, tell: Tell): void {
    this.connected--;
    const ends = !session.lasting || session.epoch === 0;
    // [MQTT-3.1.2-12] of 3.1.1
    if (channel.will !== undefined && !end.normal) this.#wills.lost(session, channel.will, channel, ends, now);
    const will = channel.will === undefined ? undefined : this.#willWord(session, now);
    if (ends) {
      this.end(session, now, tell, will);
      return;
    }
    session.expiresAt = session.expiryFrom(now);
    this.#arm(session);
    this.#keepAway(session);
    this.#core.subscribers.presence(session, 'away'); // what it was picked for stays with it [MQTT-4.8.2-4]
    // Who displaces a connection cannot know what has become of its will.
    if ((tell === 'tell' || will !== undefined) && session.epoch > 0)
      this.#core.ports.registry.disconnected(session.clientId, session.epoch, will, session.expiryIntervalS);
  }

  standingWill(client: AccessClient, will: Will | undefined, expiryIntervalS: number): Uint8Array | undefined {
    return this.#wills.standing(client, will, expiryIntervalS);
  }

  #willWord(session: Session, now: number): WillWord {
    const due = this.#wills.due(session);
    return due === undefined ? 'over' : Math.max(0, due - now);
  }

  /** The client was gone before its session could be given to it. 'silent': whether the session is ours is still being found out. */
  abandoned(session: Session, now: number, tell: Tell = 'tell'): void {
    if (!session.lasting) {
      this.end(session, now, 'tell', 'over');
      return;
    }
    session.expiresAt = session.expiryFrom(now);
    this.#arm(session);
    this.keep(session);
    if (tell === 'tell' && session.epoch > 0) this.#core.ports.registry.disconnected(session.clientId, session.epoch, 'over');
  }

  /** The session has come without its client, because its node goes; it goes on as it was there. */
  adopted(session: Session, { leftMs, meta }: Adopted, now: number): void {
    const { durable, env, ports } = this.#core;
    session.expiresAt = now + leftMs;
    const { will } = meta;
    if (will !== undefined) this.#wills.restore(session, will.will, now + will.dueAtMs);
    this.#arm(session);
    this.keep(session);
    // What of its time had passed by then.
    const awayMs = leftMs === Number.POSITIVE_INFINITY ? 0 : Math.max(0, session.expiryIntervalS * 1000 - leftMs);
    const wallNow = env.clock.wallNow();
    durable?.presence(session, wallNow - awayMs, will === undefined ? undefined : this.#wills.record(will.will, wallNow + will.dueAtMs));
    ports.registry.disconnected(session.clientId, session.epoch, will === undefined ? undefined : Math.max(0, will.dueAtMs));
  }

  /** The delay of its will goes on, if its client is still away. */
  willWaits(session: Session, will: Will, due: number): void {
    if (session.ended || session.channel !== undefined || this.#wills.due(session) !== undefined) return;
    this.#wills.restore(session, will, due);
    this.#arm(session);
    this.#keepAway(session);
  }

  /** The client continues the session on another node: a will whose delay has not passed is off. [MQTT-3.1.3-9] */
  continuedElsewhere(session: Session): void {
    this.#wills.cancel(session);
    this.#keepAway(session);
  }

  /** The session is over: its subscriptions, its messages, its will's delay. Its channel is closed already. `will`: of its last connection. */
  end(session: Session, now: number, tell: Tell, will?: WillWord): void {
    if (session.ended) return;
    session.ended = true;
    const word = will === undefined && this.#wills.due(session) === undefined ? undefined : 'over';
    this.#core.durable?.forget(session);
    this.#restored.delete(session);
    this.#core.timers.cancel(session);
    const left = leftToGroups(session);
    for (const subscription of [...session.subscriptions.values()]) this.unsubscribe(subscription);
    this.#forget(session);
    this.#core.shared.redispatch(left);
    session.queue = undefined;
    session.inflight = undefined;
    session.awaitingRel = undefined;
    session.gate = undefined;
    this.#core.metrics.sessionTerminated.value++;
    this.#core.hooks.session?.('terminated', session);
    this.#wills.fire(session, now); // [MQTT-3.1.2-8]
    if (session.epoch === 0) return;
    if (tell === 'tell') this.#core.ports.registry.ended(session.clientId, session.epoch, word);
    else if (word !== undefined) this.#core.ports.registry.disconnected(session.clientId, session.epoch, word);
  }

  /** Another node has the session, with all that it had here. */
  moved(session: Session, now: number): void {
    session.queue = undefined;
    session.inflight = undefined;
    // Its will went along, or is off: it may have been set up again for a move that came to nothing before this one.
    this.#wills.cancel(session);
    this.end(session, now, 'silent');
  }

  /** One that was kept aside takes the place of the one before it. */
  #forget(session: Session): void {
    const { parked, sessions } = this.#core;
    const { clientId } = session;
    const aside = parked.get(clientId);
    if (aside === session) parked.delete(clientId);
    else if (sessions.get(clientId) === session) {
      sessions.delete(clientId);
      if (aside === undefined) return;
      parked.delete(clientId);
      sessions.set(clientId, aside);
    }
  }

  /** Closes the connection, if there is one, and ends the session. */
  discard(session: Session, reasonCode: number, now: number, tell: Tell): void {
    if (session.ended) return;
    this.#core.metrics.sessionDiscarded.value++;
    this.#core.hooks.session?.('discarded', session);
    session.channel?.disconnect(reasonCode, now);
    // A session that does not last has ended with its connection.
    this.end(session, now, tell);
  }

  /** Takes the subscription out of its session and of the index; what is under way to the client is not touched [MQTT-3.10.4-3]; the route goes with the last one of its filter. */
  unsubscribe(subscription: Subscription): void {
    const { session, topicFilter } = subscription;
    session.removeSubscription(topicFilter);
    if (subscription.exclusive) this.#core.ports.exclusive?.release(topicFilter, session.clientId);
    if (this.#core.subscribers.remove(subscription)) this.#core.ports.routes.remove(topicFilter);
  }

  /** Its client has lost the right to messages that waited for it, and they are out of its queue; others of a group may have theirs. */
  withdrawn(session: Session, items: readonly QueuedMessage[]): void {
    if (session.log !== undefined && items.some((item) => item.qos > 0)) this.#core.durable?.rewrite(session);
    this.#core.shared.redispatch(items.filter((item) => item.group !== undefined));
  }

  #arm(session: Session): void {
    const due = Math.min(session.expiresAt, this.#wills.due(session) ?? Number.POSITIVE_INFINITY);
    if (due !== Number.POSITIVE_INFINITY) this.#core.timers.schedule(session, due);
  }

  /** A delayed will is due, or the session expires [MQTT-4.1.0-2], or neither yet: the wheel's reach is shorter than the longest interval. */
  onSessionTimer(session: Session, now: number): void {
    if (session.ended || session.channel !== undefined) return; // [MQTT-4.1.0-1]
    if ((this.#wills.due(session) ?? Number.POSITIVE_INFINITY) <= now) {
      this.#wills.fire(session, now);
      this.#keepAway(session);
      if (session.epoch > 0) this.#core.ports.registry.disconnected(session.clientId, session.epoch, 'over');
    }
    if (session.expiresAt <= now) this.end(session, now, 'tell');
    else this.#arm(session);
  }
}
