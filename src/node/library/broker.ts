// A broker inside a program of somebody else's: what `createBroker` resolves to. Promises at this edge;
// everything is done by the node behind it.
// Invariants: nothing of an embedding program runs within a fan-out but hooks; after `close` everything
// is refused with 'closed'.
import type { Duplex } from 'node:stream';
import { copyBytes } from '#base/bytes.js';
import { utf8Encode } from '#base/utf8.js';
import type { BrokerStats } from '#broker/broker.js';
import type { ClientInfo, SubscriptionInfo } from '#broker/clients.js';
import type { MetricFamily } from '#env/metric-family.js';
import type { NetAddress } from '#env/net.js';
import { Listener } from '#listener/listener.js';
import { defaultListenerOptions } from '#listener/options.js';
import { isSharedFilter, isTopicFilter, isTopicName } from '#mqtt/topic.js';
import { connectionOver } from '#os/connection.js';
import type { OsEnv } from '#os/env.js';
import { expiryTime, type MessageProperties, makeMessage } from '#session/message.js';
import type { StarmeshNode } from '../create-node.js';
import { BrokerError } from './broker-error.js';
import { BrokerSubscription, type MessageHandler, type ReceivedMessage, type SubscribeSettings } from './broker-subscription.js';
import { ClientRefs } from './client-refs.js';
import { HookTable } from './hook-table.js';
import type { HookName, Hooks } from './hook-types.js';

export interface PublishSettings {
  /** Default 0. */
  readonly qos?: 0 | 1 | 2;
  /** Default false. An empty payload deletes what is retained. */
  readonly retain?: boolean;
  /** Those of MQTT 5.0. */
  readonly properties?: MessageProperties;
  /** Seconds after which it is not delivered any more. Default: never. */
  readonly messageExpiryInterval?: number;
  /** As whose it counts, for no-local. Default: nobody's. */
  readonly publisherId?: string;
}

export interface BrokerParts {
  readonly name: string;
  readonly env: OsEnv;
  readonly node: StarmeshNode;
  readonly hookDeadlineMs: number;
  readonly stop: () => Promise<void>;
}

/** Retained messages of one `retained` call, at most. */
const retainedMax = 10_000;
/** How long clients of `handle` have to take their last bytes, in ms; and how often it is looked. */
const farewellMs = 1_000;
const farewellPollMs = 10;

export class Broker {
  readonly name: string;
  readonly #p: BrokerParts;
  readonly #accepted: Listener;
  readonly #clients: ClientRefs;
  readonly #hooks: HookTable;
  readonly #subscriptions: Set<BrokerSubscription> = new Set();
  #closed: BrokerError | undefined;

  /** Use `createBroker`. */
  constructor(parts: BrokerParts) {
    this.#p = parts;
    this.name = parts.name;
    const { env, node } = parts;
    this.#accepted = new Listener(env, node.broker, { ...defaultListenerOptions, id: 'stream:handle' });
    this.#clients = new ClientRefs(env.clock);
    this.#hooks = new HookTable(node.broker.hooks, () => node.broker.hookAccess(), this.#clients, env, parts.hookDeadlineMs);
    this.handle = (stream) => this.#handle(stream);
  }

  /**
   * Serves a connection that the program has accepted itself, from its first byte on: a socket, a stream over a WebSocket,
   * any Duplex of bytes. The broker owns it from now on. Bound: `net.createServer(broker.handle)`.
   */
  readonly handle: (stream: Duplex) => void;

  #handle(stream: Duplex): void {
    if (this.#closed !== undefined) {
      stream.destroy();
      return;
    }
    const connection = connectionOver(stream);
    this.#clients.came(connection, stream);
    this.#accepted.accept(connection);
  }

  /** Where each listener accepts clients, by `type:name`. */
  addresses(): Record<string, NetAddress> {
    const out: Record<string, NetAddress> = {};
    for (const l of this.#p.node.listeners.all) if (l.address !== undefined) out[l.id] = l.address;
    return out;
  }

  // ---- messages ----

  /**
   * Resolves when the message is accepted: by the local sessions, with QoS 1 and 2 by every node that has subscribers, with
   * `retain` by a majority of cores. `matched`: it had a receiver (with QoS 0: or may have one on another node).
   * `payload`: text is sent as UTF-8. Rejects with {@link BrokerError} 'options' (no topic name), 'refused' (by a hook),
   * 'no-quorum' (retained; nothing was published), 'closed'.
   */
  async publish(topicName: string, payload: Uint8Array | string, settings: PublishSettings = {}): Promise<{ readonly matched: boolean }> {
    const { qos = 0, retain = false, properties, messageExpiryInterval, publisherId = '' } = settings;
    this.#open();
    const { broker } = this.#p.node;
    if (!isTopicName(topicName, broker.limits.maxTopicLevels)) throw new BrokerError('options', `no topic name: ${JSON.stringify(topicName)}`);
    if (qos !== 0 && qos !== 1 && qos !== 2) throw new BrokerError('options', `qos: 0, 1 or 2, not ${String(qos)}`);
    const bytes = typeof payload === 'string' ? utf8Encode(payload) : copyBytes(payload);
    // Never within a fan-out, which a hook may be called from.
    await undefined;
    this.#open();
    const expiresAt = expiryTime(messageExpiryInterval, this.#p.env.clock.now());
    const message = makeMessage(topicName, bytes, qos, retain, properties, expiresAt, publisherId);
    message.kept = true;
    return new Promise((resolve, reject) => {
      broker.publishOwn(message, (outcome) => {
        if (outcome.kind === 'accepted') resolve({ matched: outcome.matched });
        else reject(new BrokerError(outcome.reasonCode === undefined ? 'no-quorum' : 'refused', outcome.message));
      });
    });
  }

  /**
   * Subscribes this program, without a connection: as one more subscriber of this node, with a route in the cluster.
   * Resolves when the route is effective (as SUBACK is sent). Without a handler the result is to be read with `for await`.
   * Every message once, however many filters of other subscriptions match; QoS is the publisher's.
   * Rejects with {@link BrokerError} 'options' (no topic filter, or a shared one), 'no-quorum', 'closed'.
   */
  subscribe(topicFilter: string, settings?: SubscribeSettings): Promise<BrokerSubscription>;
  subscribe(topicFilter: string, handler: MessageHandler, settings?: SubscribeSettings): Promise<BrokerSubscription>;
  async subscribe(topicFilter: string, first: MessageHandler | SubscribeSettings = {}, more: SubscribeSettings = {}): Promise<BrokerSubscription> {
    const [handler, settings] = typeof first === 'function' ? [first, more] : [undefined, first];
    this.#open();
    const { node, env } = this.#p;
    if (!isTopicFilter(topicFilter, node.broker.limits.maxTopicLevels))
      throw new BrokerError('options', `no topic filter: ${JSON.stringify(topicFilter)}`);
    if (isSharedFilter(topicFilter)) throw new BrokerError('options', `a shared filter needs a client: ${topicFilter}`);
    const failures = env.metrics.counter('starmesh_handler_failures', 'message handlers that threw or rejected');
    const subscription = new BrokerSubscription(topicFilter, settings, handler, (error) => {
      failures.value++;
      env.log.error('a message handler failed', { topicFilter, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    });
    await undefined;
    this.#open();
    await new Promise<void>((resolve, reject) => {
      const attached = node.broker.attach(
        topicFilter,
        settings.retained ?? true,
        (message, retained) => subscription.push(message, retained),
        (outcome) => (outcome === 'failed' ? reject(new BrokerError('no-quorum', `the route of ${topicFilter} could not be written`)) : resolve()),
      );
      subscription.opened(() => {
        this.#subscriptions.delete(subscription);
        // Never within a fan-out, which goes through the list that it stands in.
        queueMicrotask(() => attached.end());
      });
    });
    if (this.#closed !== undefined) subscription.unsubscribe();
    this.#open();
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** Ends the subscription, or all of this program's with that very filter. Whether there was one. */
  unsubscribe(subscription: BrokerSubscription | string): boolean {
    const found = [...this.#subscriptions].filter((s) => s === subscription || s.topicFilter === subscription);
    for (const s of found) s.unsubscribe();
    return found.length > 0;
  }

  /** Retained messages of the cluster that match, in the order of their topic names, `limit` (default and at most 10,000) behind `after`. */
  retained(topicFilter: string, settings: { readonly limit?: number; readonly after?: string } = {}): ReceivedMessage[] {
    this.#open();
    if (!isTopicFilter(topicFilter)) throw new BrokerError('options', `no topic filter: ${JSON.stringify(topicFilter)}`);
    const limit = Math.max(0, Math.min(settings.limit ?? retainedMax, retainedMax));
    const out: ReceivedMessage[] = [];
    if (limit === 0) return out;
    const visit = (m: Parameters<Parameters<StarmeshNode['retained']['scan']>[1]>[0]): boolean => {
      const { topicName: topic, payload, qos, properties, publisherId } = m;
      out.push({
        topic,
        payload: copyBytes(payload),
        qos,
        retain: true,
        retained: true,
        properties,
        publisherId: publisherId === '' ? undefined : publisherId,
      });
      return out.length < limit;
    };
    this.#p.node.retained.scan(topicFilter, visit, settings.after);
    return out;
  }

  // ---- clients ----

  /** This node's clients, those away with a session included. */
  clients(): ClientInfo[] {
    return [...this.#p.node.broker.clients()];
  }

  client(clientId: string): ClientInfo | undefined {
    return this.#p.node.broker.client(clientId);
  }

  /** Of this node, or of one client. */
  subscriptions(clientId?: string): SubscriptionInfo[] {
    return [...this.#p.node.broker.subscriptions(clientId)];
  }

  /** Closes the client's connection, on whatever node it is, and ends its session. Whether there was one. */
  async kick(clientId: string): Promise<boolean> {
    this.#open();
    await undefined;
    return new Promise((resolve) => this.#p.node.broker.kick(clientId, resolve));
  }

  // ---- hooks ----

  /** See {@link Hooks}. Higher priorities first, default 0. Returns what takes the hook out again. */
  hook<N extends HookName>(name: N, fn: Hooks[N], settings: { readonly priority?: number } = {}): () => void {
    return this.#hooks.add(name, fn, settings.priority ?? 0);
  }

  // ---- numbers ----

  stats(): BrokerStats {
    return this.#p.node.broker.stats();
  }

  /** What the Prometheus page shows: counters, gauges, histograms by name. */
  metrics(): MetricFamily[] {
    return this.#p.env.metrics.collect();
  }

  // ---- the end ----

  #open(): void {
    if (this.#closed !== undefined) throw this.#closed;
  }

  /** The node cannot go on: clients are cut off, and every further call says why. */
  fail(error: BrokerError): void {
    this.#closed ??= error;
    this.#p.node.cutOff();
    this.#accepted.closeAll();
    for (const s of [...this.#subscriptions]) s.unsubscribe();
  }

  /** Tells clients and closes them, ends subscriptions, leaves the cluster in order, gives the data directory free (a temporary one is removed). */
  async close(): Promise<void> {
    this.#closed ??= new BrokerError('closed', 'the broker is closed');
    for (const s of [...this.#subscriptions]) s.unsubscribe();
    const { node, env } = this.#p;
    node.broker.stop();
    const end = env.clock.now() + farewellMs;
    while (this.#accepted.connectionCount > 0 && env.clock.now() < end) await new Promise((done) => setTimeout(done, farewellPollMs));
    this.#accepted.closeAll();
    await this.#p.stop();
  }
}
