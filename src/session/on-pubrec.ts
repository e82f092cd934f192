// PUBREC from the client (3.5): it has the QoS 2 message; PUBREL follows.
import type { PubrecPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel } from './channel.js';
import { pump } from './deliver.js';
import type { Session } from './session.js';

export function onPubrec(channel: Channel, session: Session, packet: PubrecPacket, now: number): void {
  const inflight = session.inflight;
  const entry = inflight?.get(packet.packetId);
  if (inflight === undefined || entry === undefined) {
    channel.counters.pubrecMissed.value++;
    // PUBREL follows a PUBREC below 0x80 only. [MQTT-4.3.3-4]
    if (packet.reasonCode < 0x80) channel.sendPubrel(packet.packetId, ReasonCode.packetIdentifierNotFound);
    return;
  }
  if (entry.qos !== 2) {
    channel.fail(ReasonCode.protocolError, now); // not the answer to QoS 1 [MQTT-3.3.4-1]
    return;
  }
  if (packet.reasonCode >= 0x80) {
    session.complete(entry); // refused by the client: complete, and not repeated [MQTT-4.4.0-2] [MQTT-4.8.2-6]
    pump(session);
    return;
  }
  entry.released = true; // [MQTT-4.3.3-3] [MQTT-4.3.3-6]
  const { hooks } = session.home;
  if (entry.message !== undefined && hooks !== undefined) {
    hooks.acked?.(session, entry.message, 2);
    if (hooks.completed !== undefined) entry.watched ??= { message: entry.message, sentAt: undefined };
  }
  entry.message = undefined;
  inflight.markSent(entry);
  const { log } = session;
  if (log === undefined) {
    channel.sendPubrel(packet.packetId, 0); // [MQTT-4.3.3-4]
    return;
  }
  // The client forgets the message with PUBREL: a node that came back without knowing would send it again.
  log.released(session, packet.packetId);
  log.whenKept(() => {
    if (session.channel === channel) channel.sendPubrel(packet.packetId, 0);
  });
}
