// PUBREL from the client (3.6): it will not repeat this QoS 2 message; its identifier is free again.
import type { PubrelPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { Channel } from './channel.js';
import type { Session } from './session.js';

export function onPubrel(channel: Channel, session: Session, packet: PubrelPacket): void {
  const ids = session.awaitingRel;
  let reasonCode: number = ReasonCode.success;
  if (ids === undefined || !ids.delete(packet.packetId)) {
    channel.counters.pubrelMissed.value++;
    reasonCode = ReasonCode.packetIdentifierNotFound;
  } else if (ids.size === 0) {
    // What comes with the identifier now is new. [MQTT-4.3.3-12]
    session.awaitingRel = undefined;
  }
  const { log } = session;
  if (log === undefined || reasonCode !== ReasonCode.success) {
    sendPubcomp(channel, packet.packetId, reasonCode);
    return;
  }
  // After PUBCOMP the client uses the identifier for something new: a node that came back must not take that for a repetition.
  log.freed(session, packet.packetId);
  log.whenKept(() => {
    if (channel.session === session) sendPubcomp(channel, packet.packetId, reasonCode);
  });
}

function sendPubcomp(channel: Channel, packetId: number, reasonCode: number): void {
  channel.out.ack(0x70, packetId, channel.version === 5 ? reasonCode : 0); // [MQTT-4.3.3-11]
}
