// Counters of the wire: bytes and packets, and why connections were cut off.
import type { Counter, Histogram, Metrics } from '#env/metrics.js';
import type { PacketType } from '#mqtt/packet.js';
import { packetTypes } from '#mqtt/packet.js';

const turnHelp = 'time from the first message for a client in a turn to the last write of that turn, one sample a turn';
const turnBuckets = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];

export class WireMetrics {
  readonly bytesReceived: Counter;
  readonly bytesSent: Counter;
  readonly packetsReceived: Counter;
  readonly packetsSent: Counter;
  readonly publishReceived: Counter;
  readonly publishSent: Counter;
  readonly pubackSent: Counter;
  readonly pubrecSent: Counter;
  readonly pubrelSent: Counter;
  readonly pubcompSent: Counter;
  readonly receivedByType: ReadonlyMap<PacketType, Counter>;
  readonly sentByType: ReadonlyMap<PacketType, Counter>;
  readonly connackError: Counter;
  readonly malformed: Counter;
  readonly idleTimeouts: Counter;
  readonly keepAliveTimeouts: Counter;
  readonly sendTimeouts: Counter;
  readonly outputFull: Counter;
  readonly answersTooLarge: Counter;
  readonly refusedConnections: Counter;
  readonly failures: Counter;
  readonly turnSeconds: Histogram;

  constructor(metrics: Metrics) {
    const c = (name: string, help: string): Counter => metrics.counter(name, help);
    this.bytesReceived = c('emqx_bytes_received', 'bytes from clients');
    this.bytesSent = c('emqx_bytes_sent', 'bytes to clients');
    this.packetsReceived = c('emqx_packets_received', 'control packets from clients');
    this.packetsSent = c('emqx_packets_sent', 'control packets to clients');
    const received = new Map<PacketType, Counter>();
    const sent = new Map<PacketType, Counter>();
    for (const type of packetTypes) {
      if (type === undefined) continue;
      const name = type.toUpperCase();
      if (fromClients.has(type)) received.set(type, c(receivedName(type), `${name} packets from clients`));
      if (toClients.has(type)) sent.set(type, c(`emqx_packets_${type}_sent`, `${name} packets to clients`));
    }
    this.receivedByType = received;
    this.sentByType = sent;
    this.publishReceived = c('emqx_packets_publish_received', 'PUBLISH packets from clients');
    this.publishSent = c('emqx_packets_publish_sent', 'PUBLISH packets to clients');
    this.pubackSent = c('emqx_packets_puback_sent', 'PUBACK packets to clients');
    this.pubrecSent = c('emqx_packets_pubrec_sent', 'PUBREC packets to clients');
    this.pubrelSent = c('emqx_packets_pubrel_sent', 'PUBREL packets to clients');
    this.pubcompSent = c('emqx_packets_pubcomp_sent', 'PUBCOMP packets to clients');
    this.connackError = c('emqx_packets_connack_error', 'CONNACK packets that refuse');
    this.malformed = c('starmesh_malformed_packets', 'connections closed for bytes that are no packet, or one that is not allowed there');
    this.idleTimeouts = c('starmesh_idle_timeouts', 'connections closed because no CONNECT came in time');
    this.keepAliveTimeouts = c('starmesh_keepalive_timeouts', 'clients that were silent for too long');
    this.sendTimeouts = c('starmesh_send_timeouts', 'clients cut off because they took nothing for too long');
    this.outputFull = c('starmesh_output_full', 'times that a connection reached its output bound');
    this.answersTooLarge = c('starmesh_answers_too_large', 'packets not sent because the client takes none of that size');
    this.refusedConnections = c('starmesh_refused_connections', 'connections refused because a listener had too many');
    this.turnSeconds = metrics.histogram('starmesh_publish_to_deliver_seconds', turnHelp, turnBuckets);
    this.failures = c('starmesh_connection_failures', 'connections closed because handling them failed');
  }
}

// EMQX counts CONNECT under `emqx_packets_connect`.
function receivedName(type: PacketType): string {
  return type === 'connect' ? 'emqx_packets_connect' : `emqx_packets_${type}_received`;
}

const fromClients: ReadonlySet<PacketType> = new Set<PacketType>([
  'connect',
  'publish',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'subscribe',
  'unsubscribe',
  'pingreq',
  'disconnect',
  'auth',
]);
const toClients: ReadonlySet<PacketType> = new Set<PacketType>([
  'connack',
  'publish',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'suback',
  'unsuback',
  'pingresp',
  'disconnect',
]);
