// SUBSCRIBE (3.8): checks each filter and what it asks for; those that pass go to the broker. What is no filter
// ends the connection, what is one that we do not take gets its code in SUBACK.
import type { SubscribePacket, Subscription as WireSubscription } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { ParsedTopicFilter } from '#mqtt/topic.js';
import { hasWildcard, isSharedFilter, isWellFormedFilter, parseTopicFilter } from '#mqtt/topic.js';
import type { Channel, SubscribeRequest } from './channel.js';
import { lowerQos } from './message.js';
import type { Session } from './session.js';

export function onSubscribe(channel: Channel, session: Session, packet: SubscribePacket, now: number): void {
  const identifier = packet.properties?.subscriptionIdentifiers?.[0];
  const requests: SubscribeRequest[] = [];
  let added = session.subscriptions.size;
  for (const wanted of packet.subscriptions) {
    const parsed = parseTopicFilter(wanted.topicFilter, channel.limits.maxTopicLevels);
    if (parsed === undefined && !isWellFormedFilter(wanted.topicFilter)) {
      // No filter at all, which a code in SUBACK does not mend. [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2]
      channel.fail(ReasonCode.topicFilterInvalid, now); // [MQTT-4.13.1-1]
      return;
    }
    const refused = reasonToRefuse(channel, parsed, added);
    if (refused === 0 && !session.subscriptions.has(wanted.topicFilter)) added++;
    requests.push(request(channel, wanted, identifier, refused));
  }
  channel.effects.subscribe(channel, session, packet.packetId, requests, now); // [MQTT-3.8.4-1] [MQTT-3.8.4-5]
}

function request(channel: Channel, wanted: WireSubscription, subscriptionIdentifier: number | undefined, refused: number): SubscribeRequest {
  const qos = lowerQos(wanted.qos, channel.limits.maxQos); // [MQTT-3.2.2-10] [MQTT-3.8.4-7]
  const bridge = channel.bridgeMode;
  return {
    topicFilter: wanted.topicFilter,
    options: {
      qos,
      noLocal: wanted.noLocal || (bridge && !isSharedFilter(wanted.topicFilter)),
      retainAsPublished: bridge || wanted.retainAsPublished,
      retainHandling: wanted.retainHandling,
      subscriptionIdentifier,
    },
    reasonCode: refused === 0 ? qos : refused,
  };
}

/** 0, or the code for SUBACK. */
function reasonToRefuse(channel: Channel, parsed: ParsedTopicFilter | undefined, subscriptions: number): number {
  const { limits } = channel;
  if (parsed === undefined) return ReasonCode.topicFilterInvalid; // too many levels for us
  if (parsed.group !== undefined && !limits.sharedSubscription) return ReasonCode.sharedSubscriptionsNotSupported; // sections 3.2.2.3.13 and 3.9.3
  if (!limits.wildcardSubscription && hasWildcard(parsed.topicFilter)) return ReasonCode.wildcardSubscriptionsNotSupported; // [MQTT-3.8.3-2] of 3.1.1
  if (subscriptions >= limits.maxSubscriptions) return ReasonCode.quotaExceeded;
  return 0;
}
