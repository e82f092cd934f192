// A listener: accepts connections on one address, up to its limit, and starts and stops without
// touching those that exist unless told to.
import type { Broker } from '#broker/broker.js';
import type { Env } from '#env/env.js';
import type { Connection, Listening, NetAddress, NetError } from '#env/net.js';
import { DecoderSettings } from '#mqtt/decoder.js';
import { TopicCache } from '#mqtt/topic-cache.js';
import type { ConnectionHome } from './connection.js';
import { ClientConnection } from './connection.js';
import { WireMetrics } from './metrics.js';
import type { TcpListenerOptions } from './options.js';
import { defaultTcpListenerOptions } from './options.js';
import { Outbox } from './outbox.js';

export class TcpListener implements ConnectionHome {
  readonly broker: Broker;
  readonly options: TcpListenerOptions;
  readonly metrics: WireMetrics;
  readonly outbox: Outbox;
  readonly decoding: DecoderSettings;
  readonly #env: Env;
  readonly #connections = new Set<ClientConnection>();
  #listening: Listening | undefined = undefined;

  constructor(env: Env, broker: Broker, options: TcpListenerOptions) {
    this.#env = env;
    this.broker = broker;
    this.options = options;
    this.metrics = new WireMetrics(env.metrics);
    this.outbox = new Outbox(env.clock, this.metrics.bytesSent, this.metrics.turnSeconds);
    const { maxPacketSizeBytes, maxTopicLevels } = broker.limits;
    this.decoding = new DecoderSettings({
      maxPacketSize: maxPacketSizeBytes,
      maxConnectSize: options.maxConnectBytes,
      topics: new TopicCache(undefined, maxTopicLevels),
    });
  }

  get id(): string {
    return this.options.id;
  }

  get running(): boolean {
    return this.#listening !== undefined;
  }

  /** Where it listens; undefined while it does not. */
  get address(): NetAddress | undefined {
    return this.#listening?.address;
  }

  /** Connections now, those before CONNECT included. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Starts accepting. `done` runs once, with the error if it cannot listen. */
  start(done: (error: NetError | undefined) => void): void {
    if (this.#listening !== undefined) {
      done(undefined);
      return;
    }
    const { host, port } = this.options;
    this.#env.net.listen(
      { host, port },
      (connection) => this.accept(connection),
      (listening) => {
        this.#listening = listening;
        done(undefined);
      },
      (error) => done(error),
    );
  }

  /** Stops accepting; existing connections stay. */
  stop(done: () => void): void {
    const listening = this.#listening;
    this.#listening = undefined;
    // Not waited for: the transport may report the end only when the last connection is gone.
    listening?.close(() => {});
    this.#env.clock.endOfTurn(done);
  }

  /** Cuts off every connection of this listener. */
  closeAll(): void {
    for (const connection of [...this.#connections]) connection.net.destroy();
  }

  /** Takes over a connection that was made elsewhere, too (tests, other transports). */
  accept(net: Connection): void {
    if (this.#connections.size >= this.options.maxConnections) {
      this.metrics.refusedConnections.value++;
      net.destroy();
      return;
    }
    this.#connections.add(new ClientConnection(net, this, this.#env.clock.now()));
  }

  closed(connection: ClientConnection): void {
    this.#connections.delete(connection);
  }
}

/** Settings that are not given have their defaults. */
export function startTcpListener(
  env: Env,
  broker: Broker,
  options: Partial<TcpListenerOptions>,
  started: (error: NetError | undefined) => void = () => {},
): TcpListener {
  const listener = new TcpListener(env, broker, { ...defaultTcpListenerOptions, ...options });
  listener.start(started);
  return listener;
}
