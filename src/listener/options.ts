// Settings of connections and listeners, with EMQX's names where it has one.
import type { TlsOptions, WebSocketOptions } from '#env/net.js';
import type { IdentityOptions } from './identity.js';

export interface ConnectionOptions {
  /** `mqtt.idle_timeout`: time until CONNECT must have arrived, in ms; bytes do not extend it. */
  readonly idleTimeoutMs: number;
  /** Bytes that may wait for a client: beyond them QoS 0 messages are dropped, others stay queued, and the client is not read. */
  readonly outputBytesMax: number;
  /** `tcp_options.send_timeout`: a client that takes nothing for this long is cut off, in ms. */
  readonly sendTimeoutMs: number;
  /** Time that a closed connection has to take what was sent, in ms. */
  readonly lingerMs: number;
  /** Bytes of a CONNECT: strangers send it. */
  readonly maxConnectBytes: number;
  /** `mqtt.keepalive_multiplier`. */
  readonly keepAliveMultiplier: number;
  /** `mountpoint`: what stands before the topics of its clients, with `${clientid}` and `${username}`; empty: nothing. */
  readonly mountpoint: string;
  /** `enable_authn`: false lets everybody in without a proof of identity; bans and authorization stay. */
  readonly enableAuthn: boolean;
}

/** Of `listeners.TYPE.NAME`, where nothing else is said. */
export interface ListenerOptions extends ConnectionOptions {
  /** `tcp:default`. */
  readonly id: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** `max_connections`, handshakes under way included. */
  readonly maxConnections: number;
  /** `max_conn_rate`: connections accepted per second; those beyond are closed. Infinity: any. */
  readonly maxConnRate: number;
  /** `max_handshakes`: connections that have not got through PROXY header, TLS and WebSocket yet. */
  readonly maxHandshakes: number;
  /** `access_rules`: whether who has this address may connect; undefined: everybody. */
  readonly mayConnect: ((host: string) => boolean) | undefined;
  /** `messages_rate`, `bytes_rate`: per second and client; one that sends more is read more slowly. Infinity: any. */
  readonly messagesRate: number;
  readonly bytesRate: number;
  /** `max_packet_size`; undefined: `mqtt.max_packet_size`. */
  readonly maxPacketSizeBytes: number | undefined;
  /** `tcp_options.backlog`, `tcp_options.nodelay`. */
  readonly backlog: number;
  readonly noDelay: boolean;
  /** `proxy_protocol`: how long its header may take (`proxy_protocol_timeout`), in ms; undefined: none is expected. */
  readonly proxyProtocolTimeoutMs: number | undefined;
  /** `ssl_options.handshake_timeout`, for the TLS handshake and for the upgrade to WebSocket, in ms. */
  readonly handshakeTimeoutMs: number;
  /** `ssl_options`. */
  readonly tls: TlsOptions | undefined;
  /** `websocket`. */
  readonly webSocket: WebSocketOptions | undefined;
  /** `mqtt.peer_cert_as_username`, `mqtt.peer_cert_as_clientid`, `mqtt.use_username_as_clientid`. */
  readonly identity: IdentityOptions;
}

export const defaultConnectionOptions: ConnectionOptions = {
  idleTimeoutMs: 15_000,
  outputBytesMax: 1024 * 1024,
  sendTimeoutMs: 15_000,
  lingerMs: 5000,
  maxConnectBytes: 256 * 1024,
  keepAliveMultiplier: 1.5,
  enableAuthn: true,
  mountpoint: '',
};

export const defaultListenerOptions: ListenerOptions = {
  ...defaultConnectionOptions,
  id: 'tcp:default',
  host: '0.0.0.0',
  port: 1883,
  maxConnections: Number.POSITIVE_INFINITY,
  maxConnRate: Number.POSITIVE_INFINITY,
  maxHandshakes: 10_000,
  mayConnect: undefined,
  messagesRate: Number.POSITIVE_INFINITY,
  bytesRate: Number.POSITIVE_INFINITY,
  maxPacketSizeBytes: undefined,
  backlog: 1024,
  noDelay: true,
  proxyProtocolTimeoutMs: undefined,
  handshakeTimeoutMs: 15_000,
  tls: undefined,
  webSocket: undefined,
  identity: { username: undefined, clientId: undefined },
};

/** Sub-protocols of a WebSocket listener: MQTT's own [MQTT-6.0.0-3] [MQTT-6.0.0-4], and the name that 3.1 clients use. */
export const webSocketSubprotocols: readonly string[] = ['mqtt', 'mqttv3.1'];
