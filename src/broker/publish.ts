// The journey of a PUBLISH: to this node's subscribers, to the other nodes that have some, and back to
// the publisher as an acknowledgement once everybody who must has accepted the message. Called by the
// channels (through `broker.ts`), by wills, and by the forwarder for messages of other nodes.
// Invariants: a message gets its origin (incarnation, number) before anybody sees it; messages of one
// client on one topic name are routed in the order they came in, retained or not; a QoS 1 or 2 message
// is acknowledged after it was accepted locally and by each destination, a retained one also committed.
import type { ProtocolVersion, PublishPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel } from '#session/channel.js';
import { settle, settleRefused } from '#session/channel.js';
import { deliver } from '#session/deliver.js';
import type { Message } from '#session/message.js';
import { keep } from '#session/message.js';
import type { DeferredAck, Subscription } from '#session/session.js';
import { Acceptance, type Routed, taken } from './acceptance.js';
import { type AccessClient, deniedCode, openAccess } from './access.js';
import { AskedPublishes, type HeldPublish } from './asked-publishes.js';
import type { Core } from './core.js';
import { DelayedPublishes, mountHeld } from './delayed-publishes.js';
import { HookedPublishes } from './hooked-publishes.js';
import { Passing } from './passing.js';
import type { RemoteTarget } from './ports.js';
import type { PublishOutcome } from './publish-outcome.js';
import type { Elsewhere, Group } from './shared-dispatch.js';
import { Way, wayOf } from './way.js';
import { isWillOrigin } from './will-body.js';

/** Per topic name. */
type Held = Map<string, HeldPublish[]>;

export class Publisher {
  readonly #core: Core;
  #number = 0;
  readonly #held = new Map<Channel, Held>();
  readonly #heldCounts = new Map<Channel, number>();
  /** Publishers that are not read while the forwarder is congested. */
  readonly #throttled = new Set<Channel>();
  readonly #ports: Core['ports'];
  readonly #acceptance: Acceptance;
  readonly #asked: AskedPublishes;
  readonly #hooked: HookedPublishes;
  readonly #delayed: DelayedPublishes;
  /** Asked first. */
  readonly passing: Passing;

  constructor(core: Core) {
    this.#core = core;
    this.#acceptance = new Acceptance(core);
    this.#asked = new AskedPublishes(core, (channel, held, allowed) => this.#judged(channel, held, allowed));
    this.#hooked = new HookedPublishes(core, (channel, held) => this.#enter(channel, held));
    this.#ports = core.ports;
    core.ports.forwarder.onMessage((message, to) => (to === undefined ? this.deliverLocally(message) : core.shared.receive(message, to, core.now())));
    core.ports.forwarder.onRelief(() => this.#relieve());
    this.#delayed = new DelayedPublishes(core, (message, done) => this.#publishOwn(message, core.now(), done));
    this.passing = new Passing(core, {
      waits: (channel) => this.#held.size > 0 || this.#asked.waits(channel) || this.#hooked.waits(channel),
      ask: (channel, message) => this.#asked.add(channel, { message, ack: undefined }),
      denied: (channel, now) => this.#denied(channel, now),
      stamp: (message) => this.#stamp(message),
      unwanted: (message) => this.#countUnwanted(message),
    });
  }

  /** A PUBLISH of a client. */
  publish(channel: Channel, message: Message, packet: PublishPacket, now: number): void {
    const core = this.#core;
    const { qos } = message;
    this.#countReceived(qos);
    if (channel.mountpoint !== '' || (message.topicName.charCodeAt(0) === dollar && this.#delayed.takes(message))) {
      this.#publishElsewhere(channel, message, packet, now);
      return;
    }
    if (core.access !== openAccess) {
      const may = this.#asked.waits(channel) ? undefined : core.access.mayPublish(channel, message.topicName, qos, message.retain, now);
      if (may === undefined) {
        keep(message);
        this.#asked.add(channel, { message, ack: qos === 0 ? undefined : channel.defer(packet.packetId, qos) });
        return;
      }
      if (!may) {
        this.#denied(channel, now);
        if (core.access.denyAction !== 'disconnect' && qos > 0) channel.acknowledge(packet.packetId, qos === 1 ? 1 : 2, deniedCode(core.access)); // section 4.3.2, [MQTT-3.3.5-2] of 3.1.1
        return;
      }
    }
    if (core.hooks.publish !== undefined || this.#hooked.waits(channel)) {
      this.#hooked.add(channel, { message, ack: qos === 0 ? undefined : channel.defer(packet.packetId, qos) });
      return;
    }
    if (this.#held.size > 0 && this.#hold(channel, message, packet)) return;
    // [MQTT-3.3.1-8]
    if (message.retain) {
      this.#publishRetained(channel, message, packet, now);
      return;
    }
    this.#stamp(message);
    const way = wayOf(core, channel, message.topicName);
    if (way !== undefined) {
      this.#publishToGroups(channel, message, packet, now, way);
      return;
    }
    const written = core.durable?.position;
    const received = this.#fanOut(message, now, packet, channel.version); // to those whose filters match: [MQTT-3.3.2-3]
    const targets = this.#ports.routes.match(message.topicName);
    if (targets.length === 0) {
      if (received === 0) this.#countUnwanted(message);
      if (qos !== 0) this.#acceptance.acknowledge(channel, packet.packetId, qos, received > 0 ? 0 : ReasonCode.noMatchingSubscribers, written);
      return;
    }
    core.metrics.forwarded.value++;
    if (received > 0) core.recent.add(message, now);
    if (qos === 0) {
      this.#ports.forwarder.forward(message, targets);
      return;
    }
    const ack = channel.defer(packet.packetId, qos);
    const gather = this.#acceptance.gather(written, (matched, kept) => this.#acceptance.settle(ack, matched || received > 0, kept));
    this.#ports.forwarder.forward(message, targets, (outcome, matched) => taken(gather, outcome, matched));
    if (this.#ports.forwarder.congested) this.#throttle(channel);
  }

  /** Under another name than the client gave, or later, or both. */
  #publishElsewhere(channel: Channel, message: Message, packet: PublishPacket, now: number): void {
    const named = this.#delayed.target(message);
    const ack = message.qos === 0 ? undefined : channel.defer(packet.packetId, message.qos);
    if (named === undefined) {
      this.#core.metrics.messagesDropped.value++;
      if (ack !== undefined) settle(ack, ReasonCode.topicNameInvalid);
      return;
    }
    const held: HeldPublish = { ...named, ack };
    const { topicName, qos, retain } = held.message;
    keep(held.message);
    const { access } = this.#core;
    const may = this.#asked.waits(channel) ? undefined : access.mayPublish(channel, topicName, qos, retain, now);
    if (may === undefined) this.#asked.add(channel, held);
    else if (may || access.denyAction !== 'disconnect') this.#judged(channel, held, may);
    else channel.disconnect(ReasonCode.notAuthorized, now);
  }

  /** A message of the broker itself: a will (`by`: whose), one of the API or of a rule. It is kept if need be. */
  publishOwn(message: Message, now: number, done: (outcome: PublishOutcome) => void = ignore, by?: AccessClient): void {
    const hook = this.#core.hooks.publish;
    if (hook === undefined) {
      this.#publishOwn(message, now, done, by);
      return;
    }
    keep(message);
    hook(message, undefined, (verdict) => {
      if (typeof verdict === 'number') done({ kind: 'failed', message: 'a hook refused it', reasonCode: verdict });
      else this.#publishOwn(verdict, this.#core.now(), done, by);
    });
  }

  #publishOwn(message: Message, now: number, done: (outcome: PublishOutcome) => void, by?: AccessClient): void {
    if (this.#delayed.takes(message)) {
      this.#delayed.keepOwn(message, done, by);
      return;
    }
    if (isWillOrigin(message.originIncarnation)) this.#core.metrics.published.value++;
    else this.#stamp(message);
    const routed = (matched: boolean, kept: boolean): void => {
      if (kept) done({ kind: 'accepted', matched });
      else done({ kind: 'failed', message: 'a persistent session could not be written to disk', reasonCode: ReasonCode.quotaExceeded });
    };
    if (!message.retain) {
      this.#route(message, now, routed);
      return;
    }
    keep(message);
    this.#core.metrics.retainedStored.value++;
    this.#ports.retained.store(message, (outcome, text) => {
      if (outcome === 'no-quorum') {
        this.#core.metrics.retainedRefused.value++;
        done({ kind: 'failed', message: text });
        return;
      }
      if (outcome === 'refused') this.#core.metrics.retainedRefused.value++;
      this.#route(message, this.#core.now(), routed);
    });
  }

  /** A message of another node: delivered to this node's subscribers, never routed again. */
  deliverLocally(message: Message): boolean {
    const now = this.#core.now();
    const received = this.#fanOut(message, now, undefined, undefined);
    if (received > 0) this.#core.recent.add(message, now);
    return received > 0;
  }

  /** The connection is gone: nobody has to wait for its turn to be read. What it published goes on. */
  closed(channel: Channel): void {
    if (this.#throttled.size > 0) this.#throttled.delete(channel);
  }

  /** The verdict on a PUBLISH that had to wait for it. */
  #judged(channel: Channel, held: HeldPublish, allowed: boolean): void {
    const { ack } = held;
    if (!allowed) {
      this.#countDenied();
      if (ack !== undefined) settle(ack, deniedCode(this.#core.access));
      return;
    }
    const mounted = channel.mountpoint === '' ? held : mountHeld(held, channel.mountpoint);
    if (mounted === undefined) {
      this.#core.metrics.messagesDropped.value++;
      if (ack !== undefined) settle(ack, ReasonCode.topicNameInvalid);
    } else if (this.#core.hooks.publish === undefined && !this.#hooked.waits(channel)) this.#enter(channel, mounted);
    else this.#hooked.add(channel, mounted);
  }

  /** Allowed, after a wait. */
  #enter(channel: Channel, held: HeldPublish): void {
    const { message, ack, delayMs } = held;
    this.#stamp(message);
    if (delayMs !== undefined) {
      const kept = (outcome: PublishOutcome): void => {
        if (ack === undefined) return;
        if (outcome.kind === 'accepted') settle(ack, 0);
        else settleRefused(ack, outcome.reasonCode ?? ReasonCode.implementationSpecificError, this.#core.now());
      };
      this.#delayed.keep(message, delayMs, kept, this.#delayed.publisherOf(channel, message));
      return;
    }
    const waiting = this.#held.get(channel)?.get(message.topicName);
    if (waiting === undefined) this.#goOn(channel, held);
    else this.#line(channel, waiting, held);
  }

  #denied(channel: Channel, now: number): void {
    this.#countDenied();
    if (this.#core.access.denyAction === 'disconnect') channel.disconnect(ReasonCode.notAuthorized, now);
  }

  #countDenied(): void {
    this.#core.metrics.publishDenied.value++;
    this.#core.metrics.messagesDropped.value++;
  }

  #stamp(message: Message): void {
    message.originIncarnation = this.#ports.identity.incarnation;
    message.originNumber = ++this.#number;
    this.#core.metrics.published.value++;
  }

  #countUnwanted(message: Message): void {
    this.#core.metrics.messagesDropped.value++;
    this.#core.metrics.droppedNoSubscribers.value++;
    this.#core.hooks.dropped?.(message);
  }

  #countReceived(qos: 0 | 1 | 2): void {
    const { metrics } = this.#core;
    metrics.received.value++;
    if (qos === 0) metrics.receivedQos0.value++;
    else if (qos === 1) metrics.receivedQos1.value++;
    else metrics.receivedQos2.value++;
  }

  /** To this node's subscribers; how many there were. */
  #fanOut(
    message: Message,
    now: number,
    packet: PublishPacket | undefined,
    version: ProtocolVersion | undefined,
    list: readonly Subscription[] = this.#core.subscribers.match(message.topicName),
  ): number {
    const core = this.#core;
    if (isWillOrigin(message.originIncarnation) && !core.seenWills.isFirst(message)) return 0;
    const n = list.length;
    if (n === 0) return 0;
    const { frames } = core;
    frames.begin(message, now, packet, version);
    let received = 0;
    for (let i = 0; i < n; i++) {
      if (deliver(list[i] as Subscription, message, frames)) received++;
    }
    frames.end();
    core.metrics.delivered.value += received;
    // Another node may publish it too, if its client's was taken for dead.
    if (received > 0 && isWillOrigin(message.originIncarnation)) core.recent.add(message, now);
    return received;
  }

  /** Everywhere, without a publisher that waits in this call. `done` may run at once. */
  #route(message: Message, now: number, done: Routed): void {
    if (message.retain && message.payload.length === 0 && this.#core.options.retainedClearsSilently) {
      done(true, true);
      return;
    }
    const groups = this.#core.shared.match(message.topicName);
    if (groups.length > 0) {
      this.#routeToGroups(message, now, groups, done);
      return;
    }
    const written = this.#core.durable?.position;
    const received = this.#fanOut(message, now, undefined, undefined);
    const targets = this.#ports.routes.match(message.topicName);
    const gather = this.#acceptance.gather(message.qos === 0 ? this.#core.durable?.position : written, (matched, kept) =>
      done(matched || received > 0, kept),
    );
    if (targets.length === 0) {
      if (received === 0) this.#countUnwanted(message);
      gather.one(false);
      return;
    }
    this.#core.metrics.forwarded.value++;
    if (received > 0) this.#core.recent.add(message, now);
    if (message.qos === 0) {
      this.#ports.forwarder.forward(message, targets);
      gather.one(true);
      return;
    }
    this.#ports.forwarder.forward(message, targets, (outcome, matched) => taken(gather, outcome, matched));
  }

  // ---- shared subscriptions ----

  #publishToGroups(channel: Channel, message: Message, packet: PublishPacket, now: number, way: Way): void {
    const { qos } = message;
    const { targets } = way;
    const elsewhere: Elsewhere[] = [];
    const written = this.#core.durable?.position;
    const received = this.#toOneOfEach(message, now, packet, channel.version, way, elsewhere);
    if (targets.length + elsewhere.length === 0) {
      if (received === 0) this.#countUnwanted(message);
      if (qos !== 0) this.#acceptance.acknowledge(channel, packet.packetId, qos, received > 0 ? 0 : ReasonCode.noMatchingSubscribers, written);
      return;
    }
    if (qos === 0) {
      this.#toOthers(message, targets, elsewhere, undefined, ignore);
      return;
    }
    const ack = channel.defer(packet.packetId, qos);
    this.#toOthers(message, targets, elsewhere, written, (matched, kept) => this.#acceptance.settle(ack, matched || received > 0, kept));
    if (this.#ports.forwarder.congested) this.#throttle(channel);
  }

  #routeToGroups(message: Message, now: number, groups: readonly Group[], done: Routed): void {
    const elsewhere: Elsewhere[] = [];
    const written = this.#core.durable?.position;
    const way = new Way(this.#core, message.topicName, groups);
    const { targets } = way;
    const received = this.#toOneOfEach(message, now, undefined, undefined, way, elsewhere);
    if (targets.length + elsewhere.length === 0 && received === 0) this.#countUnwanted(message);
    this.#toOthers(message, targets, elsewhere, written, (matched, kept) => done(matched || received > 0, kept));
  }

  /** To this node's subscribers and to those members of groups that are picked here; how many there were. `elsewhere`: filled with the other picks. */
  #toOneOfEach(
    message: Message,
    now: number,
    packet: PublishPacket | undefined,
    version: ProtocolVersion | undefined,
    way: Way,
    elsewhere: Elsewhere[],
  ): number {
    const { groups, targets } = way;
    const received = this.#fanOut(message, now, packet, version, way.locals);
    // A copy for a group has no other one under way.
    if (received > 0 && targets.length > 0) this.#core.recent.add(message, now);
    return received + this.#core.shared.deliver(message, groups, now, packet, version, elsewhere, groups.length === 1 ? way : undefined);
  }

  /** `done` runs once all have accepted it; for QoS 0 at once. */
  #toOthers(message: Message, targets: readonly RemoteTarget[], elsewhere: readonly Elsewhere[], written: number | undefined, done: Routed): void {
    const { forwarder } = this.#ports;
    const { metrics, shared } = this.#core;
    const gather = this.#acceptance.gather(message.qos === 0 ? this.#core.durable?.position : written, done);
    const took = (matched: boolean, kept: boolean = true): void => (kept ? gather.one(matched) : gather.kept(false));
    if (targets.length + elsewhere.length > 0) metrics.forwarded.value++;
    for (const pick of elsewhere) {
      if (message.qos > 0) gather.wait();
      shared.send(message, pick, took);
    }
    if (targets.length > 0 && message.qos > 0) {
      gather.wait();
      forwarder.forward(message, targets, (outcome, matched) => taken(gather, outcome, matched));
    } else if (targets.length > 0) forwarder.forward(message, targets);
    took(message.qos === 0 && targets.length + elsewhere.length > 0);
  }

  // ---- retained ----

  /** Committed first, then routed, then acknowledged. A QoS 0 message does not wait for the commit. */
  #publishRetained(channel: Channel, message: Message, packet: PublishPacket, now: number): void {
    this.#stamp(message);
    keep(message);
    if (message.qos === 0) {
      this.#core.metrics.retainedStored.value++;
      this.#ports.retained.store(message, (outcome) => {
        if (outcome !== 'stored') this.#core.metrics.retainedRefused.value++;
      });
      this.#route(message, now, ignore);
      return;
    }
    this.#storeThenRoute(channel, message, channel.defer(packet.packetId, message.qos));
  }

  #storeThenRoute(channel: Channel, message: Message, ack: DeferredAck): void {
    this.#core.metrics.retainedStored.value++;
    let answered = false;
    this.#ports.retained.store(message, (outcome) => {
      answered = true;
      if (outcome === 'no-quorum') this.#refuseRetained(ack);
      else {
        // The message is published even if the store's limits keep it from being retained.
        if (outcome === 'refused') this.#core.metrics.retainedRefused.value++;
        this.#route(message, this.#core.now(), (matched, kept) => this.#acceptance.settle(ack, matched, kept));
      }
      this.#release(channel, message.topicName);
    });
    if (!answered) this.#block(channel, message.topicName);
  }

  /** Not stored and not routed: the publisher must try again. */
  #refuseRetained(ack: DeferredAck): void {
    this.#core.metrics.retainedRefused.value++;
    settleRefused(ack, ReasonCode.implementationSpecificError, this.#core.now());
  }

  /** From now on publishes of the client on this topic name wait. */
  #block(channel: Channel, topicName: string): void {
    const held = this.#held.get(channel);
    if (held === undefined) this.#held.set(channel, new Map([[topicName, []]]));
    else if (!held.has(topicName)) held.set(topicName, []);
  }

  #hold(channel: Channel, message: Message, packet: PublishPacket): boolean {
    const waiting = this.#held.get(channel)?.get(message.topicName);
    if (waiting === undefined) return false;
    this.#stamp(message);
    keep(message);
    this.#line(channel, waiting, { message, ack: message.qos === 0 ? undefined : channel.defer(packet.packetId, message.qos) });
    return true;
  }

  #line(channel: Channel, waiting: HeldPublish[], held: HeldPublish): void {
    waiting.push(held);
    const count = (this.#heldCounts.get(channel) ?? 0) + 1;
    this.#heldCounts.set(channel, count);
    if (count === this.#core.options.heldPublishesPause) channel.pauseReading();
  }

  /** Stores and routes a message that waited. True: those behind it of the same topic name wait on. */
  #goOn(channel: Channel, { message, ack }: HeldPublish): boolean {
    if (message.retain && ack !== undefined) {
      this.#storeThenRoute(channel, message, ack);
      return true;
    }
    if (message.retain) {
      this.#ports.retained.store(message, ignore);
      this.#core.metrics.retainedStored.value++;
    }
    this.#route(message, this.#core.now(), (matched, kept) => {
      if (ack !== undefined) this.#acceptance.settle(ack, matched, kept);
    });
    return false;
  }

  /** The retained message of this topic name is through: those behind it follow, up to the next retained one. */
  #release(channel: Channel, topicName: string): void {
    const held = this.#held.get(channel);
    const waiting = held?.get(topicName);
    if (held === undefined || waiting === undefined) return;
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      this.#unhold(channel);
      if (this.#goOn(channel, next)) return;
    }
    held.delete(topicName);
    if (held.size === 0) this.#held.delete(channel);
  }

  #unhold(channel: Channel): void {
    const count = (this.#heldCounts.get(channel) ?? 1) - 1;
    if (count === 0) this.#heldCounts.delete(channel);
    else this.#heldCounts.set(channel, count);
    if (count === this.#core.options.heldPublishesPause - 1) channel.resumeReading();
  }

  // ---- flow control ----

  #throttle(channel: Channel): void {
    if (this.#throttled.has(channel)) return;
    this.#throttled.add(channel);
    this.#core.metrics.publishersPaused.value++;
    channel.pauseReading();
  }

  #relieve(): void {
    const waiting = [...this.#throttled];
    this.#throttled.clear();
    for (const channel of waiting) channel.resumeReading();
  }
}

function ignore(): void {}

const dollar = 0x24;
