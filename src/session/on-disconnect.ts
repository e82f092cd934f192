// DISCONNECT from the client (3.14).
import type { DisconnectPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel } from './channel.js';
import type { Session } from './session.js';

export function onDisconnect(channel: Channel, session: Session, packet: DisconnectPacket, now: number): void {
  const interval = packet.properties?.sessionExpiryInterval;
  if (interval !== undefined) {
    // A session that was to end with its connection cannot be made to last (section 3.14.2.2.2).
    if (session.expiryIntervalS === 0 && interval !== 0) {
      channel.fail(ReasonCode.protocolError, now);
      return;
    }
    session.expiryIntervalS = interval;
  }
  // Only the normal code takes the will back [MQTT-3.14.4-3] [MQTT-3.1.2-10]: whoever hears of the end looks at that.
  const normal = packet.reasonCode === ReasonCode.normalDisconnection;
  channel.end({ by: 'client', reasonCode: packet.reasonCode, normal }, now);
}
