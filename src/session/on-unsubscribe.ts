// UNSUBSCRIBE (3.10).
import type { UnsubscribePacket } from '#mqtt/packet.js';
import type { Channel } from './channel.js';
import type { Session } from './session.js';

export function onUnsubscribe(channel: Channel, session: Session, packet: UnsubscribePacket, now: number): void {
  channel.effects.unsubscribe(channel, session, packet.packetId, packet.topicFilters, now); // [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6]
}
