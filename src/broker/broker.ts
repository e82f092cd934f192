// The broker of one node: puts its parts together, gives connections their channels, and is what the
// channels, the command line and the HTTP API talk to.
import type { Env } from '#env/env.js';
import type { Counter } from '#env/metrics.js';
import type { AuthPacket, ConnectPacket, PublishPacket } from '#mqtt/packet.js';
import { ReasonCode, reasonCodeName } from '#mqtt/reason-code.js';
import type { TopicEntry } from '#mqtt/topic-cache.js';
import type { ChannelEffects, ChannelEnd, ClientShortcut, SubscribeRequest } from '#session/channel.js';
import { Channel } from '#session/channel.js';
import type { SessionLimits } from '#session/limits.js';
import type { Message } from '#session/message.js';
import { refuse } from '#session/on-connect.js';
import type { ChannelOutput } from '#session/output.js';
import type { Session } from '#session/session.js';
import type { RecoveringSessions } from '#session/session-record.js';
import type { Access } from './access.js';
import { openAccess } from './access.js';
import type { ClientInfo, SubscriptionInfo } from './clients.js';
import { clientInfo, subscriptionsOf } from './clients.js';
import { Connector } from './connect.js';
import { Core, type SysEvents } from './core.js';
import type { DurableOptions, JournalPort } from './durable-options.js';
import { bringBack, ReturningRoutes } from './durable-recovery.js';
import { DurableSessions } from './durable-sessions.js';
import { Evacuation, type EvacuationOptions, type EvacuationStatus, evacuationDefaults } from './evacuation.js';
import { HookedAccess } from './hooked-access.js';
import type { BrokerHooks } from './hooks.js';
import { InProcess, type Receive } from './in-process.js';
import type { BrokerMetrics } from './metrics.js';
import type { BrokerOptions } from './options.js';
import { defaultBrokerOptions } from './options.js';
import type { OverloadLevel } from './overload.js';
import type { BrokerPorts, HeldSession, RouteOutcome } from './ports.js';
import { Pressure } from './pressure.js';
import { Publisher } from './publish.js';
import type { PublishOutcome } from './publish-outcome.js';
import { Sessions } from './sessions.js';
import { Subscriber } from './subscribe.js';
import { Takeover } from './takeover.js';
import type { Timers } from './timers.js';
import { Unregistered } from './unregistered.js';
import { Wills } from './wills.js';

export interface BrokerStats {
  /** Clients connected now. */
  readonly connections: number;
  /** Sessions, those without a connection included. */
  readonly sessions: number;
  readonly subscriptions: number;
  /** Topic filters with a subscriber here. */
  readonly filters: number;
  /** Route rows of the cluster. */
  readonly routes: number;
  readonly retained: number;
  readonly pendingWills: number;
  readonly unregisteredSessions: number;
}

export class Broker implements ChannelEffects {
  readonly #core: Core;
  readonly #publisher: Publisher;
  readonly #wills: Wills;
  readonly #sessions: Sessions;
  readonly #subscriber: Subscriber;
  readonly #connector: Connector;
  readonly #unregistered: Unregistered;
  readonly #takeover: Takeover;
  readonly #pressure: Pressure;
  /** Counters of ends of connections, by who ended them and why. */
  readonly #ends: Map<number, Counter> = new Map();
  #evacuation: Evacuation | undefined = undefined;

  constructor(env: Env, options: BrokerOptions, ports: BrokerPorts, access: Access) {
    const core = new Core(env, options, ports, access);
    this.#core = core;
    core.effects = this;
    this.#publisher = new Publisher(core);
    this.#wills = new Wills(core, this.#publisher);
    this.#sessions = new Sessions(core, this.#wills);
    this.#subscriber = new Subscriber(core, this.#sessions);
    this.#unregistered = new Unregistered(core, this.#sessions);
    this.#connector = new Connector(core, this.#sessions, this.#unregistered);
    this.#takeover = new Takeover(core, this.#sessions);
    this.#pressure = new Pressure(core, this.#sessions);
    this.#publisher.passing.pressure = this.#pressure;
    ports.registry.serve(this.#takeover);
    // Who gives it away tries another node, or this one later.
    ports.handover?.onGiven((adopted, done) => (this.#pressure.refusesSessions ? done(false) : this.#connector.adopt(adopted, done)));
    core.recheck.end = (subscription) => this.#sessions.unsubscribe(subscription);
    core.recheck.withdrawn = (session, items) => this.#sessions.withdrawn(session, items);
    access.whenRulesChange?.((cleaned) => core.recheck.rulesChanged(cleaned));
    this.#gauges();
  }

  // ---- persistent sessions ----

  /**
   * From now on persistent sessions are written to the journal. `found`: what it holds; `nextSlot`: above its slots. To be
   * called before anybody connects. Returns how many sessions came back.
   */
  keepSessions(journal: JournalPort, found: RecoveringSessions, options: Partial<DurableOptions> = {}): number {
    const core = this.#core;
    const durable = new DurableSessions(core.env, journal, options, found.nextSlot, found.lastNumber);
    core.durable = durable;
    return bringBack(core, durable, this.#sessions, this.#wills, found);
  }

  /** The node serves: the routes of the sessions that came back. */
  resumeSessions(): void {
    if (this.#core.durable !== undefined) new ReturningRoutes(this.#core).start([...this.#sessions.all()]);
  }

  get durable(): DurableSessions | undefined {
    return this.#core.durable;
  }

  // ---- for connections ----

  get env(): Env {
    return this.#core.env;
  }

  get timers(): Timers {
    return this.#core.timers;
  }

  get limits(): SessionLimits {
    return this.#core.limits;
  }

  get metrics(): BrokerMetrics {
    return this.#core.metrics;
  }

  /** `limits`: where a listener has its own. */
  newChannel(out: ChannelOutput, limits: SessionLimits = this.#core.limits): Channel {
    return new Channel(out, this, limits, this.#core.metrics);
  }

  // ---- ChannelEffects ----

  connect(channel: Channel, packet: ConnectPacket): void {
    if (this.#connector.farewell === undefined && this.#pressure.refuses(channel, packet))
      refuse(channel, ReasonCode.quotaExceeded, this.#core.now());
    else this.#connector.connect(channel, packet);
  }

  connack(channel: Channel, reasonCode: number): void {
    this.#core.hooks.connack?.(channel, reasonCode);
  }

  auth(channel: Channel, packet: AuthPacket, now: number): void {
    this.#connector.auth(channel, packet, now);
  }

  publish(channel: Channel, _session: Session, message: Message, packet: PublishPacket, now: number): void {
    const pressure = this.#pressure;
    if (!pressure.holding) {
      this.#publisher.publish(channel, message, packet, now);
      return;
    }
    const { backlogs } = pressure;
    this.#publisher.publish(channel, message, packet, now);
    if (pressure.backlogs !== backlogs) pressure.hold(channel, now);
  }

  pass(channel: Channel, topicName: string, bytes: Uint8Array, start: number, end: number, now: number): boolean {
    return this.#publisher.passing.pass(channel, topicName, bytes, start, end, now);
  }

  shortcut(channel: Channel, topic: TopicEntry, before: ClientShortcut | undefined, now: number): ClientShortcut | undefined {
    return this.#publisher.passing.shortcut(channel, topic, before, now);
  }

  /** The bytes that were lent are gone: to be called after each chunk of which something was offered to `pass`, or to a shortcut: how many it took. */
  passed(): number {
    return this.#publisher.passing.settle();
  }

  subscribe(channel: Channel, session: Session, packetId: number, requests: SubscribeRequest[]): void {
    this.#pressure.refuseFilters(session, requests);
    this.#subscriber.subscribe(channel, session, packetId, requests);
  }

  unsubscribe(channel: Channel, session: Session, packetId: number, topicFilters: readonly string[]): void {
    this.#subscriber.unsubscribe(channel, session, packetId, topicFilters);
  }

  closed(channel: Channel, session: Session | undefined, end: ChannelEnd, now: number): void {
    const { hooks } = this.#core;
    this.#publisher.closed(channel);
    this.#pressure.closed(channel);
    this.#connector.closed(channel);
    this.#core.access.closed?.(channel);
    if (session === undefined) {
      hooks.refused?.(channel, end);
      return;
    }
    this.#core.metrics.clientDisconnected.value++;
    this.#countEnd(end);
    // Who displaces a connection has told the registry already.
    const displaced = end.by === 'server' && end.reasonCode === ReasonCode.sessionTakenOver;
    hooks.disconnected?.(channel, session, end);
    this.#core.sys?.disconnected(channel, end);
    this.#sessions.disconnected(session, channel, end, now, displaced ? 'silent' : 'tell');
  }

  #countEnd(end: ChannelEnd): void {
    const key = (end.by === 'client' ? 0 : end.by === 'server' ? 256 : 512) + end.reasonCode;
    let counter = this.#ends.get(key);
    if (counter === undefined) {
      const reason = end.by === 'transport' ? 'connectionLost' : reasonCodeName(end.reasonCode);
      counter = this.#core.env.metrics.counter('starmesh_client_disconnects', 'ends of connections', { by: end.by, reason });
      this.#ends.set(key, counter);
    }
    counter.value++;
  }

  /** Publishes a message of the broker's own (`makeMessage`). */
  publishOwn(message: Message, done?: (outcome: PublishOutcome) => void): void {
    this.#publisher.publishOwn(message, this.#core.now(), done);
  }

  /** Whether anybody in the cluster has subscribed to `$SYS`. */
  get systemWanted(): boolean {
    return this.#core.ports.routes.systemWanted?.() ?? true;
  }

  /** From now on `sys` is told of clients. */
  tellSystem(sys: SysEvents): void {
    this.#core.sys = sys;
  }

  // ---- for programs that embed the broker ----

  get hooks(): BrokerHooks {
    return this.#core.hooks;
  }

  /** From now on the hooks `client.authenticate` and `client.authorize` are asked before access control, and what was decided is told. */
  hookAccess(): void {
    const core = this.#core;
    if (!(core.access instanceof HookedAccess)) core.access = new HookedAccess(core.access, core.hooks, () => core.now());
  }

  /** A subscriber in this process. 'failed': its route could not be written, and it has ended. */
  attach(topicFilter: string, retained: boolean, receive: Receive, done: (outcome: RouteOutcome) => void): InProcess {
    return new InProcess(this.#core, this.#sessions, topicFilter, retained, receive, done);
  }

  // ---- for the command line, the HTTP API, rules ----

  *clients(): IterableIterator<ClientInfo> {
    for (const session of this.#sessions.all()) yield clientInfo(session);
  }

  client(clientId: string): ClientInfo | undefined {
    const session = this.#core.sessions.get(clientId);
    return session === undefined ? undefined : clientInfo(session);
  }

  *subscriptions(clientId?: string): IterableIterator<SubscriptionInfo> {
    if (clientId === undefined) {
      for (const session of this.#sessions.all()) yield* subscriptionsOf(session);
      return;
    }
    const session = this.#core.sessions.get(clientId);
    if (session !== undefined) yield* subscriptionsOf(session);
  }

  /** Closes the client's connection, wherever it is, and ends its session. `found`: there was one, and it is closed. */
  kick(clientId: string, done: (found: boolean) => void): void {
    const connected = this.#core.sessions.get(clientId)?.channel !== undefined;
    const here = this.#sessions.discardAll(clientId, ReasonCode.administrativeAction, this.#core.now(), 'tell');
    // What is here without a client may be a session that another node has taken over.
    if (connected) done(true);
    else this.#core.ports.registry.kick(clientId, (found) => done(found || here));
  }

  /** Takes a subscription from its client. False: it has none of this filter here. */
  endSubscription(clientId: string, topicFilter: string): boolean {
    const subscription = this.#core.sessions.get(clientId)?.subscriptions.get(topicFilter);
    if (subscription === undefined) return false;
    this.#sessions.unsubscribe(subscription);
    this.#core.hooks.unsubscribed?.(subscription.session, topicFilter);
    this.#core.sys?.unsubscribed(subscription.session, topicFilter);
    return true;
  }

  /** Sessions with their epochs, for `Registry.reassert` after this node got a new incarnation. */
  epochs(): IterableIterator<HeldSession> {
    return this.#takeover.held();
  }

  /** Topic filters that this node has subscribers of, `$share/GROUP/FILTER` included: what its routes should be. */
  filters(): IterableIterator<string> {
    return this.#core.subscribers.filters();
  }

  stats(): BrokerStats {
    const core = this.#core;
    return {
      connections: this.#sessions.connected,
      sessions: core.sessions.size + core.parked.size,
      subscriptions: core.subscribers.count,
      filters: core.subscribers.filterCount,
      routes: core.ports.routes.count,
      retained: core.ports.retained.count,
      pendingWills: this.#wills.pendingCount,
      unregisteredSessions: this.#unregistered.count,
    };
  }

  // ---- memory that gets short ----

  /** From now on the broker does what the level asks for; `refuseNew`: also refuse clients. */
  press(level: OverloadLevel, refuseNew: boolean): void {
    this.#pressure.set(level, refuseNew);
  }

  /** To be called some times a second while the level is not 0. */
  pressTick(): void {
    this.#pressure.tick(this.#core.now());
  }

  /** Drops the QoS 0 messages that wait for anybody; about the bytes that are free then. */
  dropQueuedQos0(): number {
    return this.#pressure.dropQos0();
  }

  // ---- a node that goes ----

  /** Gives clients and sessions away; `over` runs when nothing is left that could be. A second call changes how. */
  evacuate(options: Partial<EvacuationOptions>, over: () => void = () => {}): void {
    this.#evacuation?.stop();
    const evacuation = new Evacuation(this.#core, this.#sessions, this.#wills, { ...evacuationDefaults, ...options }, over);
    this.#evacuation = evacuation;
    this.#connector.farewell = evacuation.farewell;
    evacuation.start();
  }

  /** Clients may come again. */
  stopEvacuation(): void {
    this.#evacuation?.stop();
    this.#evacuation = undefined;
    this.#connector.farewell = undefined;
  }

  /** Undefined: this node stays. */
  get evacuation(): EvacuationStatus | undefined {
    return this.#evacuation?.status;
  }

  /** Refuses new clients and closes every connection (MQTT 5.0: with `reasonCode`). Sessions stay. */
  stop(reasonCode: number = ReasonCode.serverShuttingDown): void {
    this.#evacuation?.stop();
    this.#connector.stop();
    const now = this.#core.now();
    for (const session of [...this.#core.sessions.values()]) session.channel?.disconnect(reasonCode, now);
  }

  #gauges(): void {
    const { metrics } = this.#core.env;
    const gauge = (name: string, help: string, read: () => number): void => {
      let max = 0;
      metrics.gaugeFn(`${name}_count`, help, {}, () => {
        const value = read();
        max = Math.max(max, value);
        return value;
      });
      metrics.gaugeFn(`${name}_max`, `${help}, the most that was seen`, {}, () => {
        max = Math.max(max, read());
        return max;
      });
    };
    gauge('emqx_connections', 'clients connected', () => this.#sessions.connected);
    gauge('emqx_live_connections', 'clients connected', () => this.#sessions.connected);
    gauge('emqx_sessions', 'sessions on this node', () => this.#core.sessions.size + this.#core.parked.size);
    gauge('emqx_subscriptions', 'subscriptions on this node', () => this.#core.subscribers.count);
    gauge('emqx_suboptions', 'subscriptions on this node', () => this.#core.subscribers.count);
    gauge('emqx_subscribers', 'subscriptions on this node', () => this.#core.subscribers.count);
    gauge('emqx_subscriptions_shared', 'shared subscriptions on this node', () => this.#core.subscribers.groups.count);
    gauge('emqx_topics', 'routes of the cluster', () => this.#core.ports.routes.count);
    gauge('emqx_retained', 'retained messages of the cluster', () => this.#core.ports.retained.count);
    metrics.gaugeFn('starmesh_pending_wills', 'wills that wait for their delay', {}, () => this.#wills.pendingCount);
    metrics.gaugeFn('starmesh_unregistered_sessions', 'sessions taken in without a quorum', {}, () => this.#unregistered.count);
  }
}

/** Settings that are not given have their defaults. */
export function createBroker(env: Env, options: Partial<BrokerOptions>, ports: BrokerPorts, access: Access = openAccess): Broker {
  return new Broker(env, { ...defaultBrokerOptions, ...options }, ports, access);
}
