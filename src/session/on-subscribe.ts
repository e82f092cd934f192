// SUBSCRIBE (3.8): checks each filter and what it asks for; those that pass go to the broker. What is no filter
// ends the connection, what is one that we do not take gets its code in SUBACK.
import type { SubscribePacket, Subscription as WireSubscription } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { exclusiveFilter } from '#mqtt/special-topics.js';
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
    const exclusive = exclusiveFilter(wanted.topicFilter);
    const topicFilter = exclusive ?? wanted.topicFilter;
    const parsed = parseTopicFilter(topicFilter, channel.limits.maxTopicLevels);
    if (parsed === undefined && !isWellFormedFilter(topicFilter)) {
      // No filter at all, which a code in SUBACK does not mend. [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2]
      channel.fail(ReasonCode.topicFilterInvalid, now); // [MQTT-4.13.1-1]
      return;
    }
    const key = channel.keyOf(topicFilter);
    const refused = reasonToRefuse(channel, parsed, key, exclusive !== undefined, added);
    if (refused === 0 && !session.subscriptions.has(key)) added++;
    const asked = { topicFilter, key, exclusive: exclusive !== undefined };
    requests.push(request(channel, wanted, asked, identifier, refused));
  }
  channel.effects.subscribe(channel, session, packet.packetId, requests, now); // [MQTT-3.8.4-1] [MQTT-3.8.4-5]
}

interface Asked {
  readonly topicFilter: string;
  readonly key: string;
  readonly exclusive: boolean;
}

function request(
  channel: Channel,
  wanted: WireSubscription,
  asked: Asked,
  subscriptionIdentifier: number | undefined,
  refused: number,
): SubscribeRequest {
  const { topicFilter, key, exclusive } = asked;
  const qos = lowerQos(wanted.qos, channel.limits.maxQos); // [MQTT-3.2.2-10] [MQTT-3.8.4-7]
  const bridge = channel.bridgeMode;
  const deaf = bridge || (channel.limits.ignoreLoopDeliver && channel.version < 5);
  return {
    topicFilter,
    key,
    options: {
      qos,
      noLocal: wanted.noLocal || (deaf && !isSharedFilter(topicFilter)),
      retainAsPublished: bridge || wanted.retainAsPublished,
      retainHandling: wanted.retainHandling,
      subscriptionIdentifier,
      ...(exclusive ? { exclusive } : {}),
    },
    reasonCode: refused === 0 ? qos : refused,
  };
}

/** 0, or the code for SUBACK. */
function reasonToRefuse(channel: Channel, parsed: ParsedTopicFilter | undefined, key: string, exclusive: boolean, subscriptions: number): number {
  const { limits } = channel;
  if (parsed === undefined) return ReasonCode.topicFilterInvalid; // too many levels for us
  if (exclusive && (!limits.exclusiveSubscription || parsed.group !== undefined)) return ReasonCode.topicFilterInvalid;
  if (channel.mountpoint !== '' && parseTopicFilter(key, limits.maxTopicLevels) === undefined) return ReasonCode.topicFilterInvalid;
  if (parsed.group !== undefined && !limits.sharedSubscription) return ReasonCode.sharedSubscriptionsNotSupported; // sections 3.2.2.3.13 and 3.9.3
  if (!limits.wildcardSubscription && hasWildcard(parsed.topicFilter)) return ReasonCode.wildcardSubscriptionsNotSupported; // [MQTT-3.8.3-2] of 3.1.1
  if (subscriptions >= limits.maxSubscriptions) return ReasonCode.quotaExceeded;
  return 0;
}
