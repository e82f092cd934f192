// A listener: accepts connections (TCP, TLS, WebSocket: ordered and lossless [MQTT-4.2.0-1]) on one address, within its limits, and starts, stops and reloads without
// touching those that exist unless told to. `listeners.ts` keeps all of a node's.
// Invariants: a connection counts from accept to its end, handshakes included; stopped means that nobody
// gets in, not even who was in a handshake.

import { TokenBucket } from '#base/token-bucket.js';
import type { Broker } from '#broker/broker.js';
import type { Env } from '#env/env.js';
import { type Connection, type Listening, type ListenOptions, type NetAddress, NetError } from '#env/net.js';
import { DecoderSettings } from '#mqtt/decoder.js';
import { TopicCache } from '#mqtt/topic-cache.js';
import type { SessionLimits } from '#session/limits.js';
import { ClientConnection } from './connection.js';
import type { ConnectionHome } from './connection-home.js';
import { type IdentityOptions, identityOf } from './identity.js';
import { ListenerMetrics, WireMetrics } from './metrics.js';
import type { ListenerOptions } from './options.js';
import { defaultListenerOptions } from './options.js';
import { Outbox } from './outbox.js';
import type { Rates } from './rate-limit.js';

/** Bytes that may wait for one client while memory is short, and new connections that may be waiting to say who they are. */
const shortOutputBytes = 64 * 1024;
const shortStrangersMax = 100;

/**
 * One for all listeners of a broker: what one connection was lent may be on its way to a client of any of them, and whoever
 * ends a chunk must see to all of it (`Outbox.early`).
 */
const outboxes = new WeakMap<Broker, Outbox>();

function outboxOf(broker: Broker, metrics: WireMetrics): Outbox {
  let outbox = outboxes.get(broker);
  if (outbox === undefined) {
    outbox = new Outbox(broker.env.clock, metrics.bytesSent, metrics.turnSeconds);
    outboxes.set(broker, outbox);
  }
  return outbox;
}

export type Started = (error: NetError | undefined) => void;

export class Listener implements ConnectionHome<ClientConnection> {
  readonly broker: Broker;
  readonly options: ListenerOptions;
  readonly metrics: WireMetrics;
  readonly outbox: Outbox;
  readonly decoding: DecoderSettings;
  readonly limits: SessionLimits;
  readonly rates: Rates | undefined;
  readonly identity: IdentityOptions | undefined;
  outputBytesMax: number;
  readonly outputBytesMin: number;
  strangers = 0;
  lookAtBytes: number = Number.POSITIVE_INFINITY;
  look: () => void = () => {};
  slow: Set<ClientConnection> | undefined = undefined;
  /** Connections without a CONNECT that there may be; fewer while memory is short. */
  #strangersMax = Number.POSITIVE_INFINITY;
  readonly #env: Env;
  readonly #own: ListenerMetrics;
  readonly #connections = new Set<ClientConnection>();
  readonly #connRate: TokenBucket | undefined;
  #listening: Listening | undefined = undefined;
  /** Those who wait for the start that is under way; undefined: none is. */
  #starting: Started[] | undefined = undefined;

  constructor(env: Env, broker: Broker, options: ListenerOptions) {
    this.#env = env;
    this.broker = broker;
    this.options = options;
    this.metrics = new WireMetrics(env.metrics);
    this.#own = new ListenerMetrics(env.metrics, options.id, this);
    this.outbox = outboxOf(broker, this.metrics);
    const { maxPacketSizeBytes } = options;
    this.limits = maxPacketSizeBytes === undefined ? broker.limits : { ...broker.limits, maxPacketSizeBytes };
    this.decoding = new DecoderSettings({
      maxPacketSize: this.limits.maxPacketSizeBytes,
      maxConnectSize: options.maxConnectBytes,
      topics: new TopicCache(undefined, this.limits.maxTopicLevels),
    });
    const { messagesRate, bytesRate, maxConnRate, identity } = options;
    const limited = Math.min(messagesRate, bytesRate) < Number.POSITIVE_INFINITY;
    this.rates = limited ? { messagesRate, bytesRate, messagesHit: this.#own.messagesRate, bytesHit: this.#own.bytesRate } : undefined;
    this.#connRate = maxConnRate === Number.POSITIVE_INFINITY ? undefined : new TokenBucket(maxConnRate, env.clock.now());
    this.identity = identityOf(identity);
    this.outputBytesMax = options.outputBytesMax;
    this.outputBytesMin = Math.min(options.outputBytesMax, shortOutputBytes);
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

  /** End of the certificate in use, in wall clock milliseconds; undefined: it has none, or does not run. */
  get certificateEnds(): number | undefined {
    return this.#listening?.certificateEnds?.();
  }

  /** Starts accepting. `done` runs once, with the error if it cannot listen, or was stopped before it could. */
  start(done: Started): void {
    if (this.#listening !== undefined) {
      done(undefined);
      return;
    }
    if (this.#starting !== undefined) {
      this.#starting.push(done);
      return;
    }
    const waiting: Started[] = [done];
    this.#starting = waiting;
    const { host, port } = this.options;
    const staged = this.#staged();
    this.#env.net.listen(
      { host, port },
      staged === undefined ? (connection) => this.accept(connection) : (connection) => this.#take(connection),
      (listening) => {
        if (this.#starting !== waiting) {
          listening.close(() => {});
          return;
        }
        this.#listening = listening;
        this.#started(undefined);
      },
      (error) => {
        if (this.#starting === waiting) this.#started(error);
      },
      { backlog: this.options.backlog, noDelay: this.options.noDelay, ...staged },
    );
  }

  /** What comes before the first byte of MQTT; undefined: nothing. */
  #staged(): ListenOptions | undefined {
    const { tls, webSocket, proxyProtocolTimeoutMs, handshakeTimeoutMs } = this.options;
    if (tls === undefined && webSocket === undefined && proxyProtocolTimeoutMs === undefined) return undefined;
    return {
      tls,
      webSocket,
      proxyProtocol: proxyProtocolTimeoutMs === undefined ? undefined : { timeoutMs: proxyProtocolTimeoutMs },
      handshakeTimeoutMs,
      admit: (pending) => this.#admit(pending),
      onRefused: (failure) => {
        this.#own.failedHandshakes[failure].value++;
      },
    };
  }

  #started(error: NetError | undefined): void {
    const waiting = this.#starting ?? [];
    this.#starting = undefined;
    for (const done of waiting) done(error);
  }

  /** Stops accepting; existing connections stay. A start under way ends with the error 'ECANCELED'. */
  stop(done: () => void): void {
    const listening = this.#listening;
    this.#listening = undefined;
    if (this.#starting !== undefined) this.#started(new NetError('ECANCELED', 'it was stopped before it could start'));
    // Not waited for: the transport may report the end only when the last connection is gone.
    listening?.close(() => {});
    this.#env.clock.endOfTurn(done);
  }

  /** Reads certificates again, for connections from now on; nobody is dropped. On an error the old ones stay in use. */
  reload(): NetError | undefined {
    return this.#listening?.reload?.();
  }

  /** Cuts off every connection of this listener. */
  closeAll(): void {
    for (const connection of [...this.#connections]) connection.net.destroy();
  }

  /** `refuseNew`: nobody who is new is let in, so few are heard. */
  shortMemory(short: boolean, refuseNew: boolean): void {
    this.outputBytesMax = short ? this.outputBytesMin : this.options.outputBytesMax;
    if (short) this.slow ??= new Set();
    else {
      this.readSlow(Number.POSITIVE_INFINITY);
      this.slow = undefined;
    }
    this.#strangersMax = short && refuseNew ? shortStrangersMax : Number.POSITIVE_INFINITY;
  }

  /** Of those that are read slowly so many are read a chunk, who has waited longest first. */
  readSlow(count: number): void {
    const { slow } = this;
    if (slow === undefined) return;
    for (const connection of slow) {
      if (count-- <= 0) return;
      slow.delete(connection);
      connection.readOn();
    }
  }

  get connections(): Iterable<ClientConnection> {
    return this.#connections;
  }

  /** Takes over a connection that nobody has looked at yet (plain TCP, tests). */
  accept(net: Connection): void {
    if (this.#admit(0)) this.#take(net);
    else net.destroy();
  }

  /** The limits that a connection meets before anything of it is read. */
  #admit(pending: number): boolean {
    const { refused } = this.#own;
    if (this.#connections.size + pending >= this.options.maxConnections) {
      refused.max_connections.value++;
      return false;
    }
    if (this.strangers + pending >= this.#strangersMax) {
      refused.overload.value++;
      return false;
    }
    if (pending >= this.options.maxHandshakes) {
      refused.max_handshakes.value++;
      return false;
    }
    if (this.#connRate !== undefined && !this.#connRate.tryTake(this.#env.clock.now())) {
      refused.max_conn_rate.value++;
      return false;
    }
    return true;
  }

  #take(net: Connection): void {
    if (this.options.mayConnect?.(net.remote.host) === false) {
      this.#own.refused.access_rules.value++;
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
export function startListener(env: Env, broker: Broker, options: Partial<ListenerOptions>, started: Started = () => {}): Listener {
  const listener = new Listener(env, broker, { ...defaultListenerOptions, ...options });
  listener.start(started);
  return listener;
}
