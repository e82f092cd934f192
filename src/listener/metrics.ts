// Counters of the wire: bytes and packets, and why connections were cut off; and of each listener: its limits.
import type { Counter, Histogram, Metrics } from '#env/metrics.js';
import type { HandshakeFailure } from '#env/net.js';
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
  readonly packetsTooLarge: Counter;
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
    this.packetsTooLarge = c('starmesh_packets_too_large', 'connections closed for a packet above max_packet_size, or a CONNECT above its bound');
    this.turnSeconds = metrics.histogram('starmesh_publish_to_deliver_seconds', turnHelp, turnBuckets);
    this.failures = c('starmesh_connection_failures', 'connections closed because handling them failed');
  }
}

/** What a listener has for the page beside its limits. */
export interface ListenerGauges {
  readonly connectionCount: number;
  readonly certificateEnds: number | undefined;
}

const refusedHelp = 'connections closed right after they were accepted, for a limit or a rule of their listener';
const failedHelp = 'connections closed before their first MQTT byte: by a wrong PROXY header, TLS or WebSocket handshake, or for the time it took';
const throttledHelp = 'times that a client was not read for a while because it sent more than its listener allows';

/** Limits of one listener, and how often they were hit. */
export class ListenerMetrics {
  readonly refused: Readonly<Record<'max_connections' | 'max_conn_rate' | 'max_handshakes' | 'access_rules' | 'overload', Counter>>;
  readonly failedHandshakes: Readonly<Record<HandshakeFailure, Counter>>;
  readonly messagesRate: Counter;
  readonly bytesRate: Counter;

  constructor(metrics: Metrics, listener: string, gauges: ListenerGauges) {
    const refused = (reason: string): Counter => metrics.counter('starmesh_refused_connections', refusedHelp, { listener, reason });
    const failed = (reason: string): Counter => metrics.counter('starmesh_failed_handshakes', failedHelp, { listener, reason });
    const throttled = (reason: string): Counter => metrics.counter('starmesh_throttled_clients', throttledHelp, { listener, reason });
    this.refused = {
      max_connections: refused('max_connections'),
      max_conn_rate: refused('max_conn_rate'),
      max_handshakes: refused('max_handshakes'),
      access_rules: refused('access_rules'),
      overload: refused('overload'),
    };
    this.failedHandshakes = {
      proxy_protocol: failed('proxy_protocol'),
      tls: failed('tls'),
      websocket: failed('websocket'),
      timeout: failed('timeout'),
    };
    this.messagesRate = throttled('messages_rate');
    this.bytesRate = throttled('bytes_rate');
    const [type = '', name = ''] = listener.split(':');
    metrics.gaugeFn(
      'starmesh_listener_connections',
      'connections of a listener, those before CONNECT included',
      { listener },
      () => gauges.connectionCount,
    );
    const labels = { listener_type: type, listener_name: name };
    metrics.gaugeFn('emqx_cert_expiry_at', 'end of the certificate in use, in seconds since 1970', labels, () => {
      const ends = gauges.certificateEnds;
      return ends === undefined ? undefined : Math.floor(ends / 1000);
    });
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
