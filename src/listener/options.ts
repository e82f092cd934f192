// Settings of connections and listeners, with EMQX's names where it has one.

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
}

export interface TcpListenerOptions extends ConnectionOptions {
  /** `tcp:default`. */
  readonly id: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** `listeners.tcp.NAME.max_connections`. */
  readonly maxConnections: number;
}

export const defaultConnectionOptions: ConnectionOptions = {
  idleTimeoutMs: 15_000,
  outputBytesMax: 1024 * 1024,
  sendTimeoutMs: 15_000,
  lingerMs: 5000,
  maxConnectBytes: 256 * 1024,
  keepAliveMultiplier: 1.5,
};

export const defaultTcpListenerOptions: TcpListenerOptions = {
  ...defaultConnectionOptions,
  id: 'tcp:default',
  host: '0.0.0.0',
  port: 1883,
  maxConnections: Number.POSITIVE_INFINITY,
};
