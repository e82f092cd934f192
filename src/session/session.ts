// The state of a client that survives its connections: subscriptions, messages under way in both
// directions, messages that wait. Owned by the broker, which also serves as its `home`; a Channel is
// bound to it while the client is connected (here an interface, because it knows its session). Idle sessions are small: what is not used is not there.
// The session's timer is armed while it waits for its expiry or for a delayed will.
import { WheelTimer } from '#base/timer-wheel.js';
import type { ProtocolVersion } from '#mqtt/packet.js';
import { formatTopicFilter, isSharedFilter, parseTopicFilter } from '#mqtt/topic.js';
import type { SessionCounters } from './counters.js';
import type { Frames } from './frames.js';
import { Inflight, type InflightEntry } from './inflight.js';
import type { SessionLimits } from './limits.js';
import { neverExpires } from './limits.js';
import type { Message, Qos } from './message.js';
import type { OutAliases } from './out-aliases.js';
import type { ChannelOutput } from './output.js';
import type { QueuedMessage } from './queue.js';
import { MessageQueue, queuedBytes } from './queue.js';

/** QoS of a granted subscription and the options of MQTT 5.0, 3.8.3.1. */
export interface SubscriptionOptions {
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  readonly subscriptionIdentifier: number | undefined;
  /** It was asked for as `$exclusive/FILTER`, and is the only one of the cluster. */
  readonly exclusive?: boolean;
}

export class Subscription {
  readonly session: Session;
  /** As the client gave it, without `$exclusive/` and behind its mountpoint. */
  readonly topicFilter: string;
  /** Its group and filter as `$share/GROUP/FILTER`; undefined for a subscription of one's own. */
  readonly group: string | undefined;
  /** The only one of its filter in the cluster. */
  exclusive: boolean;
  qos: Qos;
  /** In a merged one: of any of its parts. */
  noLocal: boolean;
  retainAsPublished: boolean;
  retainHandling: 0 | 1 | 2;
  /** The subscription identifier, or those of all matching subscriptions in a merged one. */
  identifiers: readonly number[] | undefined;
  /** Several subscriptions of one session that match the same topic name; undefined in a plain one. */
  readonly merged: readonly Subscription[] | undefined;
  /** Its place in the index's list of subscribers of the filter, or of the group's members. */
  index = -1;
  /** Its route is effective (or the wait for it ended) and SUBACK was sent. */
  settled = false;

  constructor(session: Session, topicFilter: string, options: SubscriptionOptions, merged?: readonly Subscription[]) {
    this.session = session;
    this.topicFilter = topicFilter;
    this.group = groupOf(topicFilter);
    this.exclusive = options.exclusive === true;
    this.qos = options.qos;
    this.noLocal = options.noLocal;
    this.retainAsPublished = options.retainAsPublished;
    this.retainHandling = options.retainHandling;
    this.identifiers = options.subscriptionIdentifier === undefined ? undefined : [options.subscriptionIdentifier];
    this.merged = merged;
  }

  /** A repeated SUBSCRIBE replaces the options of the subscription in place. [MQTT-3.8.4-3] */
  update(options: SubscriptionOptions): void {
    this.qos = options.qos;
    this.noLocal = options.noLocal;
    this.retainAsPublished = options.retainAsPublished;
    this.retainHandling = options.retainHandling;
    this.identifiers = options.subscriptionIdentifier === undefined ? undefined : [options.subscriptionIdentifier];
    // Once it is the only one it stays so until it ends.
    this.exclusive ||= options.exclusive === true;
    this.session.log?.subscribed(this.session, this);
  }

  get options(): SubscriptionOptions {
    return {
      qos: this.qos,
      noLocal: this.noLocal,
      retainAsPublished: this.retainAsPublished,
      retainHandling: this.retainHandling,
      subscriptionIdentifier: this.identifiers?.[0],
      exclusive: this.exclusive,
    };
  }
}

/** A session's connection. `channel.ts` implements it. */
export interface SessionChannel {
  readonly out: ChannelOutput;
  readonly counters: SessionCounters;
  readonly version: ProtocolVersion;
  readonly cleanStart: boolean;
  readonly keepAliveS: number;
  /** Wall clock ms. */
  readonly connectedAt: number;
  /** QoS 1 and 2 messages that may be unacknowledged towards the client. */
  readonly window: number;
  /** Bytes; the client takes no longer packet. */
  readonly maximumPacketSize: number;
  /** Undefined: the client takes no Topic Aliases. [MQTT-3.1.2-27] */
  readonly outAliases: OutAliases | undefined;
  sendPubrel(packetId: number, reasonCode: number): void;
  /** The server ends the connection; the session is unbound when this returns. */
  disconnect(reasonCode: number, now: number): void;
}

/** An acknowledgement of a PUBLISH that is owed. Acknowledgements leave in the order of the PUBLISHes. [MQTT-4.6.0-2] [MQTT-4.6.0-3] */
export interface DeferredAck {
  /** Where the client is to get it: the connection it published on, or a later one on which it repeated the PUBLISH. */
  channel: AckChannel;
  readonly session: Session;
  readonly packetId: number;
  readonly qos: 1 | 2;
  /** -1 until it is settled. */
  reasonCode: number;
  /** What it answers, while somebody wants to hear of that. */
  readonly message?: Message | undefined;
}

export interface AckChannel {
  /** Sends the settled acknowledgements at the head of the line. */
  flushAcks(): void;
}

/** EMQX's words, and `unkept`: a persistent session cannot be written to disk. */
export type DropReason = 'no_local' | 'queue_full' | 'qos0_msg' | 'expired' | 'too_large' | 'unkept';

/** What a program that embeds the broker wants to be told of deliveries; undefined while it does not. */
export interface DeliveryHooks {
  /** A PUBLISH was sent to the client. */
  delivered: ((session: Session, message: Message, qos: Qos) => void) | undefined;
  /** PUBACK, or PUBREC: the client has it. */
  acked: ((session: Session, message: Message, qos: Qos) => void) | undefined;
  /** A delivery was dropped; metrics count it. */
  undelivered: ((session: Session, message: Message, reason: DropReason) => void) | undefined;
  /**
   * A delivery of QoS 1 or 2 is complete: PUBACK, or PUBCOMP. `latencyMs`: since it was first sent; undefined: that was on
   * another node, or before somebody wanted to be told.
   */
  completed: ((session: Session, message: Message, qos: Qos, latencyMs: number | undefined) => void) | undefined;
  /** PUBACK or PUBREC is about to be sent for `message`, which is as its client published it. */
  answered: ((channel: SessionChannel, message: Message, reasonCode: number) => void) | undefined;
  /** The PUBLISH that is being handled, while `answered` is there: what is acknowledged within the call, or owed from then on. */
  answering: Message | undefined;
  /** PINGREQ. */
  pinged: ((session: Session) => void) | undefined;
}

/** Whether clients may still have what waits for them. */
export interface QueueRights {
  /** Another number than before: rules have changed since. */
  readonly epoch: number;
  /** Takes out of the queue what its client may not have any more; the queue may be gone then. */
  judge(session: Session): void;
}

/** Memory is short: QoS 0 messages wait for nobody. */
export interface ShortMemory {
  /** A message was put behind others that take so many bytes. */
  queued(bytes: number): void;
}

/** What all sessions of a node share. */
export interface SessionHome {
  /** Undefined while there is enough. */
  readonly shortMemory?: ShortMemory | undefined;
  /** Absent: everybody may have everything. */
  readonly rights?: QueueRights;
  readonly limits: SessionLimits;
  readonly counters: SessionCounters;
  readonly frames: Frames;
  readonly hooks?: DeliveryHooks;
  /** Monotonic ms, as of the current turn. */
  now(): number;
  onSessionTimer(session: Session, now: number): void;
}

/**
 * Where a session that outlives its node's process is written down: what changes in it, as it changes. QoS 0 messages are
 * not. `broker/durable-sessions.ts` implements it over a journal on disk.
 */
export interface SessionLog {
  /** False: nothing can be written now; a QoS 1 or 2 message must not be taken, and whoever waits for it hears of that. */
  admits(): boolean;
  /** The same for one that would have to wait in the queue of this session. */
  mayWait(session: Session, message: Message): boolean;
  /** Also when its options have changed. */
  subscribed(session: Session, subscription: Subscription): void;
  unsubscribed(session: Session, topicFilter: string): void;
  /** A QoS 1 or 2 message stands in the queue; `behind`: so many such messages stand behind it (default: none). */
  queued(session: Session, item: QueuedMessage, behind?: number): void;
  /** The QoS 1 or 2 message at `place` among those of the queue leaves before them: it is its turn. */
  advanced(session: Session, item: QueuedMessage, place: number): void;
  /** A QoS 1 or 2 message of the queue has left it without being sent: the first, or that at `place` among those. */
  unqueued(session: Session, place?: number): void;
  /** The bounds of its queue have cost it QoS 1 or 2 messages: `queueDropped` has grown. */
  lost(session: Session): void;
  /** A delivery has its packet identifier. `fromQueue`: it was the first QoS 1 or 2 message of the queue. */
  sent(session: Session, entry: InflightEntry, fromQueue: boolean): void;
  /** PUBREC came. */
  released(session: Session, packetId: number): void;
  /** The delivery is complete. */
  completed(session: Session, packetId: number): void;
  /** The client's QoS 2 message of this identifier was accepted by all who must. */
  received(session: Session, packetId: number): void;
  /** PUBREL came. */
  freed(session: Session, packetId: number): void;
  /** Runs once when what was written so far is on disk (true), or is known not to get there. */
  whenDurable(done: (ok: boolean) => void): void;
  /** Runs once when it is on disk, however long the disk refuses. */
  whenKept(done: () => void): void;
}

/** Looks at deliveries before they happen: while a session moves between nodes, or gets retained messages. */
export interface DeliveryGate {
  /** False: the gate took the message, or it must not be delivered. */
  admit(subscription: Subscription, message: Message, qos: Qos): boolean;
  /** What waited has been sent, and there is room for more. */
  drained?(): void;
  /** What it took and has not passed on. */
  held?(): readonly QueuedMessage[];
  /** Incarnation and number of messages that the session got by another way, while copies of them may still come. */
  known?(): readonly (readonly [number, number])[];
}

function groupOf(topicFilter: string): string | undefined {
  if (!isSharedFilter(topicFilter)) return undefined;
  const parsed = parseTopicFilter(topicFilter, Number.POSITIVE_INFINITY);
  return parsed === undefined ? topicFilter : formatTopicFilter(parsed);
}

const noSubscriptions: ReadonlyMap<string, Subscription> = new Map();

export class Session extends WheelTimer {
  readonly home: SessionHome;
  /** There is one session of each. [MQTT-3.1.3-2] */
  readonly clientId: string;
  /** Of the registration under which the session is held here; 0 while it is not registered. */
  epoch: number;
  /** Session Expiry Interval in seconds; 0: the session ends with its connection. */
  expiryIntervalS: number;
  username: string | undefined = undefined;
  /** What stands before the topics of its client. */
  mountpoint = '';
  /** The connection, from CONNACK until it closes. */
  channel: SessionChannel | undefined = undefined;
  gate: DeliveryGate | undefined = undefined;
  /** Of a persistent session: what is promised about it waits until it is written down. */
  log: SessionLog | undefined = undefined;
  /** Deliveries with a packet identifier that wait for that. */
  heldCount = 0;
  inflight: Inflight | undefined = undefined;
  queue: MessageQueue | undefined = undefined;
  /** QoS 2 packet identifiers received and not released; with the acknowledgement while that is still owed. */
  awaitingRel: Map<number, DeferredAck | undefined> | undefined = undefined;
  lastPacketId = 0;
  /** Messages that the bounds of its queue, or of what is held back for it, have cost the session. */
  queueDropped = 0;
  /** The session is over: nothing is delivered to it any more. */
  ended = false;
  /** Wall clock seconds: a number that needs no memory of its own. */
  readonly #createdS: number;
  /** Undefined: never. */
  #expiresAt: number | undefined = undefined;
  #subscriptions: Map<string, Subscription> | undefined = undefined;

  constructor(home: SessionHome, clientId: string, epoch: number, expiryIntervalS: number, createdAt: number) {
    super();
    this.home = home;
    this.clientId = clientId;
    this.epoch = epoch;
    this.expiryIntervalS = expiryIntervalS;
    this.#createdS = Math.trunc(createdAt / 1000);
  }

  /** Wall clock ms, of a whole second. */
  get createdAt(): number {
    return this.#createdS * 1000;
  }

  /** Monotonic ms at which the session expires; meaningful while no channel is bound. */
  get expiresAt(): number {
    return this.#expiresAt ?? Number.POSITIVE_INFINITY;
  }

  set expiresAt(at: number) {
    this.#expiresAt = at === Number.POSITIVE_INFINITY ? undefined : at;
  }

  get subscriptions(): ReadonlyMap<string, Subscription> {
    return this.#subscriptions ?? noSubscriptions;
  }

  addSubscription(subscription: Subscription): void {
    this.#subscriptions ??= new Map();
    this.#subscriptions.set(subscription.topicFilter, subscription);
    this.log?.subscribed(this, subscription);
  }

  removeSubscription(topicFilter: string): void {
    this.#subscriptions?.delete(topicFilter);
    this.log?.unsubscribed(this, topicFilter);
    if (this.#subscriptions?.size === 0) this.#subscriptions = undefined;
  }

  /** Whether the session lives on when its connection closes. [MQTT-3.1.2-23] */
  get lasting(): boolean {
    return this.expiryIntervalS > 0;
  }

  /** Monotonic ms at which a session left alone at `now` ends. */
  expiryFrom(now: number): number {
    return this.expiryIntervalS === neverExpires ? Number.POSITIVE_INFINITY : now + this.expiryIntervalS * 1000; // section 3.1.2.11.2
  }

  get queuedCount(): number {
    return this.queue?.length ?? 0;
  }

  get inflightCount(): number {
    return this.inflight?.size ?? 0;
  }

  needInflight(): Inflight {
    this.inflight ??= new Inflight();
    return this.inflight;
  }

  /** A Packet Identifier that is not in use. There is one: the window is far smaller than their number. [MQTT-2.2.1-4] */
  nextPacketId(): number {
    const inflight = this.inflight;
    let id = this.lastPacketId;
    do {
      id = id === 0xffff ? 1 : id + 1;
    } while (inflight !== undefined && inflight.get(id) !== undefined);
    this.lastPacketId = id;
    return id;
  }

  /** Puts the message behind those that wait; drops by the queue's policy, and counts. */
  enqueue(message: Message, qos: Qos, retain: boolean, subscriptionIdentifiers: readonly number[] | undefined, group?: string | undefined): void {
    const { limits, rights } = this.home;
    this.queue ??= new MessageQueue(rights?.epoch);
    this.home.shortMemory?.queued(this.queue.bytes);
    const item: QueuedMessage = { message, qos, retain, subscriptionIdentifiers, group };
    if (limits.priorities !== undefined) {
      this.#enqueueRanked(this.queue, item, limits.priorities.ranks.get(message.topicName) ?? limits.priorities.otherwise);
      return;
    }
    const before = this.queue.reliableCount;
    const dropped = this.queue.push(item, limits.maxQueuedMessages, limits.maxQueuedBytes, this.#tellDropped());
    if (this.log !== undefined && qos > 0) this.#logQueued(this.log, this.queue, item, before);
    if (dropped > 0) this.#countLost(dropped, qos);
  }

  /** Undefined while nobody listens. */
  #tellDropped(): ((item: QueuedMessage) => void) | undefined {
    const { hooks } = this.home;
    return hooks?.undelivered === undefined ? undefined : ({ message }) => hooks.undelivered?.(this, message, 'queue_full');
  }

  /** The same where topic names have priorities. */
  #enqueueRanked(queue: MessageQueue, item: QueuedMessage, rank: number): void {
    const { maxQueuedMessages, maxQueuedBytes } = this.home.limits;
    const size = queuedBytes(item.message);
    const mayPush = item.qos > 0 && size <= maxQueuedBytes && maxQueuedMessages > 0;
    let dropped = 0;
    while (!queue.fits(size, maxQueuedMessages, maxQueuedBytes)) {
      dropped++;
      if (!mayPush || queue.lowestRank > rank) {
        this.#tellDropped()?.(item);
        this.#countLost(dropped, item.qos);
        return;
      }
      const place = queue.evict(this.#tellDropped());
      if (place >= 0) this.log?.unqueued(this, place);
    }
    const behind = queue.insert(item, rank);
    if (item.qos > 0) this.log?.queued(this, item, behind);
    if (dropped > 0) this.#countLost(dropped, item.qos);
  }

  #countLost(dropped: number, qos: Qos): void {
    const { counters } = this.home;
    this.queueDropped += dropped;
    if (qos > 0) this.log?.lost(this);
    counters.dropped.value += dropped;
    counters.droppedQueueFull.value += dropped;
  }

  #logQueued(log: SessionLog, queue: MessageQueue, item: QueuedMessage, before: number): void {
    if (queue.at(queue.length - 1) !== item) return; // larger than the whole queue may be
    for (let n = before + 1 - queue.reliableCount; n > 0; n--) log.unqueued(this);
    log.queued(this, item);
  }

  /** The delivery is complete: its packet identifier is free again. */
  complete(entry: InflightEntry): void {
    this.inflight?.remove(entry);
    this.log?.completed(this, entry.packetId);
  }

  /** It was completed because the client has it. */
  tellCompleted(entry: InflightEntry): void {
    const { hooks } = this.home;
    if (hooks?.completed === undefined) return;
    const { watched } = entry;
    const message = watched?.message ?? entry.message;
    const latencyMs = watched?.sentAt === undefined ? undefined : Math.max(0, this.home.now() - watched.sentAt);
    if (message !== undefined) hooks.completed(this, message, entry.qos, latencyMs);
  }

  onTimer(now: number): void {
    this.home.onSessionTimer(this, now);
  }
}
