// Part of `connection.ts`: puts what a channel wants sent into the outbox, and counts it.
import type { Counter } from '#env/metrics.js';
import { writeAckReason } from '#mqtt/acks.js';
import { encodeWithin } from '#mqtt/encoder.js';
import type { Packet, ProtocolVersion } from '#mqtt/packet.js';
import { aliasedSize, aliasedTailAt, writeAliasedHead } from '#mqtt/publish-alias.js';
import type { Frame } from '#session/frames.js';
import type { AckByte } from '#session/output.js';
import type { WireMetrics } from './metrics.js';
import type { Outbox, OutboxClient } from './outbox.js';

const pingrespBytes = Uint8Array.of(0xd0, 0);

const ackType = { 64: 'puback', 80: 'pubrec', 98: 'pubrel', 112: 'pubcomp' } as const;

/** See `ChannelOutput.ack`. */
export function sendAck(metrics: WireMetrics, outbox: Outbox, client: OutboxClient, type: AckByte, packetId: number, reasonCode: number): void {
  metrics.packetsSent.value++;
  counterOf(metrics, type).value++;
  if (reasonCode === 0) {
    const at = outbox.room(client, 4);
    const out = outbox.slab;
    out[at] = type;
    out[at + 1] = 2;
    out[at + 2] = packetId >>> 8;
    out[at + 3] = packetId & 255;
    return;
  }
  const at = outbox.room(client, 5);
  writeAckReason(outbox.slab, at, ackType[type], packetId, reasonCode);
}

function counterOf(metrics: WireMetrics, type: AckByte): Counter {
  if (type === 0x50) return metrics.pubrecSent;
  if (type === 0x62) return metrics.pubrelSent;
  if (type === 0x70) return metrics.pubcompSent;
  return metrics.pubackSent;
}

/** See `ChannelOutput.aliased`. */
export function sendAliased(
  metrics: WireMetrics,
  outbox: Outbox,
  client: OutboxClient,
  { bytes, start, end }: Frame,
  packetId: number,
  alias: number,
  named: boolean,
): void {
  metrics.packetsSent.value++;
  metrics.publishSent.value++;
  const tailAt = aliasedTailAt(bytes, start);
  const at = outbox.room(client, aliasedSize(bytes, start, end, named) - (end - tailAt));
  writeAliasedHead(outbox.slab, at, bytes, start, end, packetId, alias, named);
  if (tailAt < end) outbox.add(client, bytes, tailAt, end, 0, 0);
}

/** See `ChannelOutput.send`. */
export function sendPacket(
  metrics: WireMetrics,
  outbox: Outbox,
  client: OutboxClient,
  packet: Packet,
  version: ProtocolVersion,
  maximumPacketSize: number,
): void {
  const bytes = packet.type === 'pingresp' ? pingrespBytes : encodeWithin(packet, version, maximumPacketSize);
  if (bytes === undefined) {
    metrics.answersTooLarge.value++;
    return;
  }
  metrics.packetsSent.value++;
  if (packet.type === 'connack' && packet.reasonCode >= 0x80) metrics.connackError.value++;
  const counter = metrics.sentByType.get(packet.type);
  if (counter !== undefined) counter.value++;
  outbox.add(client, bytes, 0, bytes.length, 0, 0);
}
