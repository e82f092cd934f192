// PUBCOMP from the client (3.7): completes a QoS 2 delivery.
import type { PubcompPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel } from './channel.js';
import { pump } from './deliver.js';
import type { Session } from './session.js';

export function onPubcomp(channel: Channel, session: Session, packet: PubcompPacket, now: number): void {
  const entry = session.inflight?.get(packet.packetId);
  if (entry === undefined) {
    channel.counters.pubcompMissed.value++;
    return;
  }
  if (!entry.released) {
    channel.fail(ReasonCode.protocolError, now); // before PUBREC, or to QoS 1 [MQTT-3.3.4-1]
    return;
  }
  session.complete(entry); // [MQTT-4.3.3-5]
  channel.counters.acked.value++;
  session.tellCompleted(entry);
  pump(session);
}
