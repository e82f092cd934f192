// UNSUBSCRIBE (3.10).
import type { UnsubscribePacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { exclusiveFilter } from '#mqtt/special-topics.js';
import { isWellFormedFilter } from '#mqtt/topic.js';
import type { Channel } from './channel.js';
import type { Session } from './session.js';

export function onUnsubscribe(channel: Channel, session: Session, packet: UnsubscribePacket, now: number): void {
  const keys: string[] = [];
  for (const topicFilter of packet.topicFilters) {
    const key = channel.keyOf(topicFilter);
    keys.push(key);
    if (session.subscriptions.has(key) || isWellFormedFilter(exclusiveFilter(topicFilter) ?? topicFilter)) continue;
    channel.fail(ReasonCode.topicFilterInvalid, now); // as in SUBSCRIBE [MQTT-4.13.1-1]
    return;
  }
  channel.effects.unsubscribe(channel, session, packet.packetId, keys, now); // [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6]
}
