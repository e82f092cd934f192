// UNSUBSCRIBE (3.10).
import type { UnsubscribePacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { isWellFormedFilter } from '#mqtt/topic.js';
import type { Channel } from './channel.js';
import type { Session } from './session.js';

export function onUnsubscribe(channel: Channel, session: Session, packet: UnsubscribePacket, now: number): void {
  for (const topicFilter of packet.topicFilters) {
    if (session.subscriptions.has(topicFilter) || isWellFormedFilter(topicFilter)) continue;
    channel.fail(ReasonCode.topicFilterInvalid, now); // as in SUBSCRIBE [MQTT-4.13.1-1]
    return;
  }
  channel.effects.unsubscribe(channel, session, packet.packetId, packet.topicFilters, now); // [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6]
}
