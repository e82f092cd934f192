// PUBLISH from the client (3.3): the hot path in. Resolves the topic alias, keeps the limits that were
// offered, finds QoS 2 duplicates, and hands the message to the broker.
import type { PublishPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { isOfFormat } from '#mqtt/text.js';
import type { Channel } from './channel.js';
import { expiryTime, keep, makeMessage, messageProperties } from './message.js';
import type { Session } from './session.js';

export function onPublish(channel: Channel, session: Session, packet: PublishPacket, now: number): void {
  const { limits } = channel;
  const p = packet.properties;
  let topicName = packet.topicName;
  if (p?.topicAlias !== undefined) {
    const resolved = resolveAlias(channel, topicName, p.topicAlias);
    if (typeof resolved === 'number') {
      channel.fail(resolved, now);
      return;
    }
    topicName = resolved;
  }
  if (packet.qos > limits.maxQos) {
    // [MQTT-3.2.2-11]
    channel.fail(ReasonCode.qosNotSupported, now);
    return;
  }
  if (packet.retain && !limits.retainAvailable) {
    // [MQTT-3.2.2-14]
    channel.fail(ReasonCode.retainNotSupported, now);
    return;
  }
  if (limits.payloadFormatCheck && !isOfFormat(packet.payload, p)) {
    refuseFormat(channel, session, packet, now);
    return;
  }
  if (packet.qos > 0) {
    if (channel.version === 5 && isOverReceiveMaximum(channel, session, packet)) {
      channel.fail(ReasonCode.receiveMaximumExceeded, now); // [MQTT-3.3.4-7]
      return;
    }
    if (packet.qos === 2 && !admitQos2(channel, session, packet, now)) return;
  }
  // QoS 1 identifiers are not remembered [MQTT-4.3.2-5]; an expired message is acknowledged like any other [MQTT-4.3.3-13].
  const own = p?.messageExpiryInterval;
  let expiresAt = own === undefined ? Number.POSITIVE_INFINITY : expiryTime(own, now);
  if (own === undefined && limits.messageExpiryMs !== Number.POSITIVE_INFINITY) expiresAt = now + limits.messageExpiryMs;
  const message = makeMessage(topicName, packet.payload, packet.qos, packet.retain, messageProperties(p), expiresAt, session.clientId);
  const { hooks } = session.home;
  if (packet.qos === 0 || hooks?.answered === undefined) {
    channel.effects.publish(channel, session, message, packet, now);
    return;
  }
  const outer = hooks.answering;
  keep(message);
  hooks.answering = message;
  channel.effects.publish(channel, session, message, packet, now);
  hooks.answering = outer;
}

/** The payload is not what the publisher says it is (section 3.3.2.3.2): only an acknowledgement can refuse one message. */
function refuseFormat(channel: Channel, session: Session, packet: PublishPacket, now: number): void {
  if (packet.qos === 0) channel.fail(ReasonCode.payloadFormatInvalid, now);
  else if (packet.qos === 2 && session.awaitingRel?.has(packet.packetId) === true)
    channel.fail(ReasonCode.packetIdentifierInUse, now); // of another message: to refuse this one would end that one
  else channel.acknowledge(packet.packetId, packet.qos, ReasonCode.payloadFormatInvalid);
}

/** Acknowledgements owed and identifiers not released are counted apart: those of an earlier connection are not on this one's account. */
function isOverReceiveMaximum(channel: Channel, session: Session, packet: PublishPacket): boolean {
  const { receiveMaximum } = channel.limits;
  if (channel.owedAcks < receiveMaximum && (session.awaitingRel === undefined || session.awaitingRel.size < receiveMaximum)) return false;
  return packet.qos === 1 || session.awaitingRel?.has(packet.packetId) !== true;
}

/** The Topic Name, or the code of DISCONNECT. An alias with a name is (re)defined; one without is looked up. */
function resolveAlias(channel: Channel, topicName: string, alias: number): string | number {
  if (alias > channel.limits.maxTopicAlias) return ReasonCode.topicAliasInvalid; // [MQTT-3.3.2-9] [MQTT-3.2.2-17] [MQTT-3.2.2-18]
  if (topicName !== '') {
    channel.topicAliases ??= new Map();
    channel.topicAliases.set(alias, topicName); // [MQTT-3.3.2-12]
    return topicName;
  }
  return channel.topicAliases?.get(alias) ?? ReasonCode.protocolError; // section 3.3.4
}

/**
 * Exactly once (4.3.3, method B): the message goes on at the first PUBLISH of its identifier, and the identifier
 * is remembered until PUBREL. False: a duplicate, or too many.
 */
function admitQos2(channel: Channel, session: Session, packet: PublishPacket, now: number): boolean {
  session.awaitingRel ??= new Map();
  const ids = session.awaitingRel;
  if (ids.has(packet.packetId)) {
    channel.counters.publishInUse.value++;
    const owed = ids.get(packet.packetId);
    if (owed === undefined)
      channel.acknowledge(packet.packetId, 2, 0); // [MQTT-4.3.3-10]
    else channel.adopt(owed);
    return false;
  }
  if (ids.size >= channel.limits.maxAwaitingRel) {
    if (channel.version === 5) channel.acknowledge(packet.packetId, 2, ReasonCode.quotaExceeded);
    else channel.fail(ReasonCode.quotaExceeded, now); // 3.1.1 has no way to refuse one message
    return false;
  }
  ids.set(packet.packetId, undefined);
  return true;
}
