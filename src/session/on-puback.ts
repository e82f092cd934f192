// PUBACK from the client (3.4): completes a QoS 1 delivery.
import type { PubackPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel } from './channel.js';
import { pump } from './deliver.js';
import type { Session } from './session.js';

export function onPuback(channel: Channel, session: Session, packet: PubackPacket, now: number): void {
  const entry = session.inflight?.get(packet.packetId);
  if (entry === undefined) {
    channel.counters.pubackMissed.value++;
    return;
  }
  if (entry.qos !== 1) {
    channel.fail(ReasonCode.protocolError, now); // not the answer to QoS 2 [MQTT-3.3.4-1]
    return;
  }
  session.complete(entry); // whatever its reason code says [MQTT-4.4.0-2] [MQTT-4.3.2-3] [MQTT-4.8.2-6]
  channel.counters.acked.value++;
  if (entry.message !== undefined) session.home.hooks?.acked?.(session, entry.message, 1);
  session.tellCompleted(entry);
  pump(session);
}
