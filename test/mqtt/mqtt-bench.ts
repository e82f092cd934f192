// A broker with its listener on memory connections and a manual clock, and clients that speak packets.
// Everything happens in the call; `settle` ends the turn.
import assert from 'node:assert/strict';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Access } from '#broker/access.js';
import { type Broker, createBroker } from '#broker/broker.js';
import { localPorts } from '#broker/local-ports.js';
import type { BrokerOptions } from '#broker/options.js';
import type { BrokerPorts } from '#broker/ports.js';
import type { Env } from '#env/env.js';
import type { Connection, ConnectionHandler, NetAddress } from '#env/net.js';
import { Listener } from '#listener/listener.js';
import { defaultListenerOptions, type ListenerOptions } from '#listener/options.js';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { ConnackPacket, ConnectPacket, Packet, ProtocolVersion, PublishPacket, Subscription } from '#mqtt/packet.js';
import type { SessionLimits } from '#session/limits.js';
import { defaultLimits } from '#session/limits.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';

/** The broker's end of a connection in memory. */
export class MemoryConnection implements Connection {
  readonly remote: NetAddress = { host: '127.0.0.1', port: 40_000 };
  handler: ConnectionHandler | undefined = undefined;
  /** False: the peer takes nothing, and what is written stays buffered. */
  taking = true;
  bufferedBytes = 0;
  reading = true;
  closed = false;
  ended = false;
  writes = 0;
  /** What the broker wrote, for the client. */
  onBytes: (bytes: Uint8Array) => void = () => {};
  readonly #kept: Uint8Array[] = [];

  write(bytes: Uint8Array): boolean {
    if (this.closed || this.ended) return true;
    this.writes++;
    if (this.taking && this.bufferedBytes === 0) {
      this.onBytes(bytes);
      return true;
    }
    this.#kept.push(bytes);
    this.bufferedBytes += bytes.length;
    return this.bufferedBytes < 64 * 1024;
  }

  /** The peer takes what is buffered. */
  drain(): void {
    this.taking = true;
    for (const bytes of this.#kept.splice(0)) this.onBytes(bytes);
    this.bufferedBytes = 0;
    this.handler?.onDrain();
    if (this.ended) this.destroy();
  }

  pause(): void {
    this.reading = false;
  }

  resume(): void {
    this.reading = true;
  }

  end(): void {
    this.ended = true;
    if (this.bufferedBytes === 0) this.destroy();
  }

  destroy(): void {
    if (this.closed) return;
    this.closed = true;
    this.handler?.onClose(undefined);
  }
}

export interface BenchOptions {
  readonly limits?: Partial<SessionLimits>;
  readonly broker?: Partial<BrokerOptions>;
  readonly listener?: Partial<ListenerOptions>;
  /** Where the other one differs. */
  readonly otherListener?: Partial<ListenerOptions>;
  readonly ports?: BrokerPorts;
  readonly access?: Access;
  readonly clock?: ManualClock;
  /** False: every chunk belongs to the connection, as where nothing is read into shared memory. */
  readonly lends?: boolean;
}

/** Client ids are unique among all benches of a process: some share a cluster. */
let ids = 0;

export class MqttBench {
  readonly clock: ManualClock;
  readonly metrics: ReadableMetrics = new ReadableMetrics();
  readonly broker: Broker;
  readonly listener: Listener;
  /** Of the same broker. */
  readonly otherListener: Listener;
  readonly errors: string[] = [];
  readonly lends: boolean;

  constructor(options: BenchOptions = {}) {
    this.lends = options.lends ?? true;
    this.clock = options.clock ?? new ManualClock();
    let seed = 0;
    // What the broker asks of the world; the rest is not there.
    const env = {
      clock: this.clock,
      metrics: this.metrics,
      log: { ...quietLog, error: (message: string, fields?: object) => void this.errors.push(`${message} ${JSON.stringify(fields)}`) },
      random: { next: () => 0.5, int: () => 0, bytes: (n: number) => new Uint8Array(n).fill(++seed) },
    } as unknown as Env;
    const limits = { ...defaultLimits, ...options.limits };
    this.broker = createBroker(env, { ...options.broker, limits }, options.ports ?? localPorts(), options.access);
    this.listener = new Listener(env, this.broker, { ...defaultListenerOptions, ...options.listener });
    this.otherListener = new Listener(env, this.broker, {
      ...defaultListenerOptions,
      ...options.listener,
      id: 'tcp:other',
      ...options.otherListener,
    });
  }

  /** Ends the turn. */
  settle(): void {
    this.clock.advance(0);
    assert.deepEqual(this.errors, []);
  }

  /** A connection that has sent nothing. */
  open(version: ProtocolVersion = 5, listener: Listener = this.listener): BenchClient {
    const net = new MemoryConnection();
    listener.accept(net);
    return new BenchClient(this, net, version);
  }

  /** A connection whose CONNECT was sent; `connack` says what became of it. */
  connect(more: Partial<ConnectPacket> = {}, listener: Listener = this.listener): BenchClient {
    const client = this.open(more.protocolVersion ?? 5, listener);
    client.send({ type: 'connect', protocolVersion: 5, clientId: `c${++ids}`, cleanStart: true, keepAlive: 0, ...more });
    return client;
  }
}

export class BenchClient {
  readonly bench: MqttBench;
  readonly net: MemoryConnection;
  readonly version: ProtocolVersion;
  readonly #decoder: Decoder;
  received: Packet[] = [];
  connack: ConnackPacket | undefined = undefined;
  #packetId = 0;

  constructor(bench: MqttBench, net: MemoryConnection, version: ProtocolVersion) {
    this.bench = bench;
    this.net = net;
    this.version = version;
    this.#decoder = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: version, maxPacketSize: 268_435_455 }));
    net.onBytes = (bytes) => {
      const error = this.#decoder.push(bytes, (packet) => {
        if (packet.type === 'connack') this.connack ??= packet;
        else this.received.push(packet);
      });
      assert.equal(error, undefined, `the broker sent bytes that are no packet: ${error?.message}`);
    };
  }

  /** Sends without ending the turn. */
  push(packet: Packet): void {
    this.bytes(encode(packet, this.version));
  }

  bytes(bytes: Uint8Array): void {
    const { closed, handler } = this.net;
    if (closed || handler === undefined) return;
    if (handler.onLent === undefined || !this.bench.lends) {
      handler.onData(bytes);
      return;
    }
    // In memory that is written over afterwards.
    const lent = new Uint8Array(bytes.length + 3);
    lent.set(bytes, 3);
    handler.onLent(lent, 3, lent.length);
    lent.fill(0xee);
  }

  send(packet: Packet): void {
    this.push(packet);
    this.bench.settle();
  }

  subscribe(filter: string | (Partial<Subscription> & { topicFilter: string }), identifier?: number): number[] {
    const wanted = typeof filter === 'string' ? { topicFilter: filter } : filter;
    const subscription = { qos: 2 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const, ...wanted };
    const properties = identifier === undefined ? undefined : { subscriptionIdentifiers: [identifier] };
    const packetId = this.nextId();
    this.send({ type: 'subscribe', packetId, subscriptions: [subscription], properties });
    const at = this.received.findIndex((p) => p.type === 'suback' && p.packetId === packetId);
    if (at < 0) return [];
    const [suback] = this.received.splice(at, 1);
    return suback?.type === 'suback' ? suback.reasonCodes : [];
  }

  publish(topicName: string, text: string, more: Partial<PublishPacket> = {}): number {
    const packetId = (more.qos ?? 0) > 0 ? this.nextId() : 0;
    this.send({ type: 'publish', topicName, payload: utf8Encode(text), qos: 0, retain: false, dup: false, packetId, ...more });
    return packetId;
  }

  nextId(): number {
    return ++this.#packetId;
  }

  take(): Packet[] {
    return this.received.splice(0);
  }

  /** What came, in short: `topic=payload q1 retain`, `puback 0x10`. */
  seen(): string[] {
    return this.take().map(short);
  }

  /** Answers everything that came so far as a client must, and goes on until nothing comes. */
  acknowledge(): void {
    let at = 0;
    while (at < this.received.length) {
      for (; at < this.received.length; at++) {
        const p = this.received[at];
        if (p?.type === 'publish' && p.qos === 1) this.push({ type: 'puback', packetId: p.packetId, reasonCode: 0 });
        if (p?.type === 'publish' && p.qos === 2) this.push({ type: 'pubrec', packetId: p.packetId, reasonCode: 0 });
        if (p?.type === 'pubrel') this.push({ type: 'pubcomp', packetId: p.packetId, reasonCode: 0 });
      }
      this.bench.settle();
    }
  }

  /** The network goes, without a DISCONNECT. */
  drop(): void {
    this.net.destroy();
    this.bench.settle();
  }

  disconnect(reasonCode: number = 0, properties?: ConnectPacket['properties']): void {
    this.send({ type: 'disconnect', reasonCode, properties });
  }
}

export function short(p: Packet): string {
  const code = 'reasonCode' in p && p.reasonCode !== 0 ? ` 0x${p.reasonCode.toString(16)}` : '';
  if (p.type !== 'publish') return `${p.type}${code}`;
  return `${p.topicName}=${utf8Decode(p.payload)}${p.qos > 0 ? ` q${p.qos}` : ''}${p.retain ? ' retain' : ''}${p.dup ? ' dup' : ''}`;
}
