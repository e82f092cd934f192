// Messages to one client: sent at once when they may be, queued when not. `broker` calls `deliver` for
// each subscriber of a message; acknowledgements, drained output and resumed sessions call `pump`.
// A message is added to each session as it comes, in the order it came [MQTT-4.5.0-1] [MQTT-4.6.0-5] [MQTT-4.6.0-6].
// Invariants: QoS 1 and 2 messages leave in the order they came in; at most a window of them is
// unacknowledged on a connection; a QoS 0 message never overtakes one that waits.
import type { ProtocolVersion } from '#mqtt/packet.js';
import { aliasedSize } from '#mqtt/publish-alias.js';
import type { Frame, Frames } from './frames.js';
import type { InflightEntry, Watched } from './inflight.js';
import type { Message, Qos } from './message.js';
import { deliveryQos, keep } from './message.js';
import type { OutAliases } from './out-aliases.js';
import type { MessageQueue } from './queue.js';
import type { Session, SessionChannel, SessionLog, Subscription } from './session.js';
import { withoutNoLocal } from './subscription.js';

/**
 * Delivers `message`, on which `frames` was begun, to one subscriber. False when nothing was or will be
 * sent because of no-local.
 */
export function deliver(subscription: Subscription, message: Message, frames: Frames): boolean {
  const session = subscription.session;
  if (subscription.noLocal && session.clientId === message.publisherId) {
    const rest = withoutNoLocal(subscription);
    if (rest === undefined) {
      const { counters, hooks } = session.home;
      counters.dropped.value++;
      counters.droppedNoLocal.value++;
      hooks?.undelivered?.(session, message, 'no_local');
      return false;
    }
    subscription = rest;
  }
  const granted = subscription.qos;
  const qos = message.qos === granted ? granted : deliveryQos(message.qos, granted, session.home.limits.upgradeQos); // [MQTT-3.8.4-8]
  if (session.gate !== undefined && !session.gate.admit(subscription, message, qos)) return true;
  // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
  deliverAs(session, message, qos, subscription.retainAsPublished && message.retain, subscription.identifiers, frames, subscription.group);
  return true;
}

/**
 * Whether a PUBLISH of QoS 0 with `length` bytes, not retained and without properties, goes to the subscriber now and as it
 * is. Else {@link deliver} says what becomes of it.
 */
export function takesPass(subscription: Subscription, publisherId: string, version: ProtocolVersion, length: number): boolean {
  const { session } = subscription;
  const { channel, home, queue } = session;
  if (channel === undefined || channel.out.pass === undefined || session.mountpoint !== '' || session.gate !== undefined) return false;
  if (queue !== undefined && queue.qos0Count > 0) return false;
  const is5 = channel.version === 5;
  if (is5 !== (version === 5) || (is5 && subscription.identifiers !== undefined) || channel.outAliases !== undefined) return false;
  if (subscription.noLocal && session.clientId === publisherId) return false;
  if (subscription.qos > 0 && home.limits.upgradeQos) return false;
  return length <= channel.maximumPacketSize && channel.out.writable && home.hooks?.delivered === undefined;
}

/** The second half of {@link deliver}, also for retained messages and those that were held back. */
export function deliverAs(
  session: Session,
  message: Message,
  qos: Qos,
  retain: boolean,
  identifiers: readonly number[] | undefined,
  frames: Frames,
  group?: string | undefined,
): void {
  const channel = session.channel;
  if (qos > 0 && session.log?.admits() === false) {
    drop(session, message, qos);
    return;
  }
  if (channel === undefined) {
    if (session.ended || (qos === 0 && !session.home.limits.queueQos0)) drop(session, message, qos);
    else wait(session, message, qos, retain, identifiers, group);
    return;
  }
  const queue = session.queue;
  if (qos === 0) {
    if (queue !== undefined && queue.qos0Count > 0) {
      wait(session, message, qos, retain, identifiers, group);
      return;
    }
    if (!channel.out.writable) {
      drop(session, message, qos);
      return;
    }
    sendQos0(session, channel, message, retain, identifiers, frames);
    return;
  }
  const inflight = session.needInflight();
  // Only PUBLISHes of QoS 1 and 2 wait for the window: [MQTT-4.9.0-2] [MQTT-4.9.0-3] [MQTT-3.3.4-9] [MQTT-3.3.4-10].
  if (inflight.sent >= channel.window || (queue !== undefined && queue.length > 0) || !channel.out.writable || inflight.nextResend() !== undefined) {
    wait(session, message, qos, retain, identifiers, group);
    return;
  }
  sendNew(session, channel, message, qos, retain, identifiers, frames, group, false);
}

/** In the queue, unless memory is too short for that: who has published a QoS 1 or 2 message is not told that it was taken then. */
function wait(
  session: Session,
  message: Message,
  qos: Qos,
  retain: boolean,
  identifiers: readonly number[] | undefined,
  group: string | undefined,
): void {
  const { log, home } = session;
  if (qos === 0 ? home.shortMemory !== undefined : log?.mayWait(session, message) === false) drop(session, message, qos);
  else session.enqueue(message, qos, retain, identifiers, group);
}

function drop(session: Session, message: Message, qos: Qos): void {
  const { counters, hooks } = session.home;
  counters.dropped.value++;
  if (qos === 0) counters.droppedQos0.value++;
  hooks?.undelivered?.(session, message, qos === 0 ? 'qos0_msg' : 'unkept');
}

function sendQos0(
  session: Session,
  channel: SessionChannel,
  message: Message,
  retain: boolean,
  identifiers: readonly number[] | undefined,
  frames: Frames,
): void {
  const counters = channel.counters;
  let { topicName } = message;
  if (session.mountpoint !== '') {
    frames = frames.unmounted(message, session.mountpoint, session.home.now());
    topicName = frames.topicName;
  }
  const frame = frames.frame(channel.version, 0, retain, identifiers, false); // [MQTT-4.3.1-1]
  // The fan-out to clients without aliases is the hottest path there is: one comparison more.
  if (channel.outAliases === undefined || !sendAliased(channel, channel.outAliases, topicName, frame)) {
    if (frame.end - frame.start > channel.maximumPacketSize) {
      tooLarge(session, message);
      return;
    }
    channel.out.frame(frame, 0);
  }
  counters.sent.value++;
  counters.sentQos0.value++;
  session.home.hooks?.delivered?.(session, message, 0);
}

/**
 * The Topic Alias with which the frame is sent next; negative: with its name, which sets the alias; 0: without, or it
 * would be too large. QoS 2 keeps its name: clients that hold such a message until PUBREL may have lost its alias by then.
 */
function takeAlias(channel: SessionChannel, aliases: OutAliases, topicName: string, frame: Frame, qos: Qos): number {
  const alias = aliases.find(topicName);
  const named = alias === 0 || qos === 2;
  if (aliasedSize(frame.bytes, frame.start, frame.end, named) > channel.maximumPacketSize) return 0;
  if (alias === 0) return -aliases.claim(topicName);
  return named ? -alias : alias;
}

/** A QoS 0 message; false: it was not sent, because it cannot have an alias. */
function sendAliased(channel: SessionChannel, aliases: OutAliases, topicName: string, frame: Frame): boolean {
  const alias = takeAlias(channel, aliases, topicName, frame, 0);
  if (alias === 0) return false;
  channel.out.aliased(frame, 0, Math.abs(alias), alias < 0);
  return true;
}

/** A packet that the client would not take counts as delivered. [MQTT-3.1.2-24] [MQTT-3.1.2-25] */
function tooLarge(session: Session, message: Message): void {
  const { counters, hooks } = session.home;
  counters.dropped.value++;
  counters.droppedTooLarge.value++;
  hooks?.undelivered?.(session, message, 'too_large');
}

function sendNew(
  session: Session,
  channel: SessionChannel,
  message: Message,
  qos: 1 | 2,
  retain: boolean,
  identifiers: readonly number[] | undefined,
  frames: Frames,
  group: string | undefined,
  fromQueue: boolean,
): void {
  const { log } = session;
  // The client of a persistent session may forget a QoS 2 message only when this node will not: it is sent once its packet
  // identifier is on disk, and what follows stays behind it.
  const holds = log !== undefined && (qos === 2 || session.heldCount > 0);
  let { topicName } = message;
  if (session.mountpoint !== '') {
    frames = frames.unmounted(message, session.mountpoint, session.home.now());
    topicName = frames.topicName;
  }
  const frame = frames.frame(channel.version, qos, retain, identifiers, false); // DUP 0 [MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
  const alias = channel.outAliases === undefined || holds ? 0 : takeAlias(channel, channel.outAliases, topicName, frame, qos);
  if (alias === 0 && !holds && frame.end - frame.start > channel.maximumPacketSize) {
    if (fromQueue) log?.unqueued(session);
    tooLarge(session, message);
    return;
  }
  const packetId = session.nextPacketId(); // [MQTT-4.3.2-1] [MQTT-4.3.3-1]
  // Nothing is sent again in a session that ends with its connection: the message need not be kept for it,
  // unless another member of a group gets it then, or somebody wants to hear what was acknowledged.
  let kept: Message | undefined;
  if (session.lasting || group !== undefined || session.home.hooks?.acked !== undefined) {
    keep(message);
    kept = message;
  }
  let watched: Watched | undefined;
  if (session.home.hooks?.completed !== undefined) {
    keep(message);
    watched = { message, sentAt: session.home.now() };
  }
  const entry: InflightEntry = {
    packetId,
    qos,
    message: kept,
    retain,
    subscriptionIdentifiers: identifiers,
    group,
    released: false,
    sent: true,
    watched,
  };
  session.needInflight().add(entry);
  if (log !== undefined) log.sent(session, entry, fromQueue);
  if (log !== undefined && holds) {
    hold(session, channel, entry, log);
    return;
  }
  if (alias === 0) channel.out.frame(frame, packetId);
  else channel.out.aliased(frame, packetId, Math.abs(alias), alias < 0);
  countSent(channel, qos);
  session.home.hooks?.delivered?.(session, message, qos);
}

/** Sends the entry when it is written down, unless its connection has gone by then. */
function hold(session: Session, channel: SessionChannel, entry: InflightEntry, log: SessionLog): void {
  session.heldCount++;
  log.whenKept(() => {
    session.heldCount--;
    const { message } = entry;
    if (session.channel !== channel || message === undefined || session.inflight?.get(entry.packetId) !== entry) return;
    transmit(session, channel, entry, message, false);
    session.home.hooks?.delivered?.(session, message, entry.qos);
  });
}

function countSent(channel: SessionChannel, qos: 1 | 2): void {
  const counters = channel.counters;
  counters.sent.value++;
  if (qos === 1) counters.sentQos1.value++;
  else counters.sentQos2.value++;
}

/** Sends what waits, as far as the window and the connection's output allow. */
export function pump(session: Session): void {
  const channel = session.channel;
  if (channel === undefined) return;
  const { inflight } = session;
  if (inflight !== undefined) {
    for (let entry = inflight.nextResend(); entry !== undefined; entry = inflight.nextResend()) {
      if (inflight.sent >= channel.window || !channel.out.writable) return;
      resend(session, channel, entry);
    }
  }
  const queue = judgedQueue(session);
  if (queue === undefined || queue.length === 0) {
    session.gate?.drained?.();
    return;
  }
  const frames = session.home.frames;
  const now = session.home.now();
  for (let item = queue.next(); item !== undefined; item = queue.next()) {
    if (!channel.out.writable) return;
    if (item.qos > 0 && session.needInflight().sent >= channel.window) return;
    const place = queue.takeNext();
    if (place > 0) session.log?.advanced(session, item, place);
    if (item.message.expiresAt <= now) {
      // [MQTT-3.3.2-5]
      if (item.qos > 0) session.log?.unqueued(session);
      channel.counters.dropped.value++;
      channel.counters.droppedExpired.value++;
      session.home.hooks?.undelivered?.(session, item.message, 'expired');
      continue;
    }
    frames.begin(item.message, now);
    if (item.qos === 0) sendQos0(session, channel, item.message, item.retain, item.subscriptionIdentifiers, frames);
    else sendNew(session, channel, item.message, item.qos, item.retain, item.subscriptionIdentifiers, frames, item.group, true);
  }
  frames.end();
  session.queue = undefined;
  session.gate?.drained?.();
}

/** What waits, and its client may have. */
function judgedQueue(session: Session): MessageQueue | undefined {
  const { rights } = session.home;
  if (session.queue !== undefined && rights !== undefined && session.queue.judgedAt !== rights.epoch) rights.judge(session);
  return session.queue;
}

/** Repeats a message, also one that has expired since, or the PUBREL of one that the client has. [MQTT-4.4.0-1] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.3.3-7] */
function resend(session: Session, channel: SessionChannel, entry: InflightEntry): void {
  const inflight = session.needInflight();
  if (entry.released) {
    inflight.markSent(entry);
    channel.sendPubrel(entry.packetId, 0);
    return;
  }
  const message = entry.message;
  // Without a message there is nothing to repeat; with one that nobody may get any more neither, unless it was sent before.
  if (message === undefined) session.complete(entry);
  else transmit(session, channel, entry, message, true); // [MQTT-3.3.1-1]
}

function transmit(session: Session, channel: SessionChannel, entry: InflightEntry, message: Message, dup: boolean): void {
  let { frames } = session.home;
  frames.begin(message, session.home.now());
  let { topicName } = message;
  if (session.mountpoint !== '') {
    frames = frames.unmounted(message, session.mountpoint, session.home.now());
    topicName = frames.topicName;
  }
  const frame = frames.frame(channel.version, entry.qos, entry.retain, entry.subscriptionIdentifiers, dup);
  const alias = channel.outAliases === undefined ? 0 : takeAlias(channel, channel.outAliases, topicName, frame, entry.qos);
  if (alias === 0 && frame.end - frame.start > channel.maximumPacketSize) {
    session.complete(entry);
    tooLarge(session, message);
  } else {
    session.inflight?.markSent(entry);
    if (alias === 0) channel.out.frame(frame, entry.packetId);
    else channel.out.aliased(frame, entry.packetId, Math.abs(alias), alias < 0);
    countSent(channel, entry.qos);
  }
  session.home.frames.end();
}
