// PUBCOMP from the client (3.7): completes a QoS 2 delivery.
import type { PubcompPacket } from '#mqtt/packet.js';
import type { Channel } from './channel.js';
import { pump } from './deliver.js';
import type { Session } from './session.js';

export function onPubcomp(channel: Channel, session: Session, packet: PubcompPacket): void {
  const inflight = session.inflight;
  const entry = inflight?.get(packet.packetId);
  if (inflight === undefined || entry === undefined || !entry.released) {
    channel.counters.pubcompMissed.value++;
    return;
  }
  inflight.remove(entry); // [MQTT-4.3.3-5]
  channel.counters.acked.value++;
  pump(session);
}
