// The package's entry for programs written for Aedes: `import { Aedes } from 'starmesh/aedes'`. The shape
// of Aedes 1.x over `createBroker`; docs/embedding.md lists what differs.
// Invariants: what cannot be done here is refused when it is asked for, never ignored where somebody
// relies on it (a persistence, an emitter, `authorizeForward`).
import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { createBroker } from '../create-broker.js';
import type { Broker } from '../library/broker.js';
import type { BrokerOptions } from '../library/broker-options.js';
import type { BrokerSubscription, ReceivedMessage } from '../library/broker-subscription.js';
import type { HookClient, HookConnect, HookEnd, HookMessage } from '../library/hook-types.js';
import { AedesClient, type AedesSubscription } from './client.js';

export { AedesClient, type AedesSubscription } from './client.js';

export interface AedesPacket {
  cmd: 'publish';
  topic: string;
  payload: Buffer;
  qos: 0 | 1 | 2;
  retain: boolean;
  dup: boolean;
  readonly brokerId: string;
  /** Who published it; absent: the broker. */
  readonly clientId?: string;
}

export interface AedesConnect {
  readonly cmd: 'connect';
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: Buffer | undefined;
  readonly clean: boolean;
  /** Seconds. */
  readonly keepalive: number;
  readonly protocolVersion: number;
  readonly will: { readonly topic: string; readonly payload: Buffer; readonly qos: 0 | 1 | 2; readonly retain: boolean } | undefined;
}

export interface OwnPacket {
  readonly cmd?: 'publish';
  readonly topic: string;
  readonly payload?: Uint8Array | string;
  readonly qos?: 0 | 1 | 2;
  readonly retain?: boolean;
}

type Done = (error?: Error | null) => void;
type Verdict = (error: (Error & { returnCode?: number }) | null, ok?: boolean | null) => void;
export type Deliver = (packet: AedesPacket, callback: () => void) => void;

export interface AedesHandlers {
  /** Before authentication. An error or anything but `true` closes the connection without an answer. */
  preConnect: (client: AedesClient, packet: AedesConnect, callback: Verdict) => void;
  /** `error.returnCode`: 2 to 5 of MQTT 3.1.1, default 5. */
  authenticate: (client: AedesClient, username: string | undefined, password: Buffer | undefined, callback: Verdict) => void;
  /** May change topic, payload, qos and retain of the packet. An error closes the connection. Wills are asked about too. */
  authorizePublish: (client: AedesClient | null, packet: AedesPacket, callback: Done) => void;
  /** null refuses the filter, a lower `qos` is granted, an error closes the connection. */
  authorizeSubscribe: (
    client: AedesClient,
    subscription: AedesSubscription,
    callback: (error: Error | null, subscription?: AedesSubscription | null) => void,
  ) => void;
  /** Told after the message was routed; its acknowledgement does not wait for the callback. */
  published: (packet: AedesPacket, client: AedesClient | null, callback: Done) => void;
}

export interface AedesOptions extends Partial<AedesHandlers> {
  readonly id?: string;
  /** What `createBroker` takes: a data directory, a cluster, bounds. */
  readonly starmesh?: BrokerOptions;
  /** Refused: messages are routed and kept by Starmesh. */
  readonly persistence?: never;
  readonly mq?: never;
  readonly authorizeForward?: never;
}

const system = '$SYS/';
const reasonCodes: Readonly<Record<number, number>> = { 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87 };
const notAuthorized = 0x87;
const keepAliveTimeout = 0x8d;

const openHandlers: AedesHandlers = {
  preConnect: (_client, _packet, callback) => callback(null, true),
  authenticate: (_client, _username, _password, callback) => callback(null, true),
  authorizePublish: (_client, packet, callback) => callback(packet.topic.startsWith(system) ? new Error(`${system} topic is reserved`) : null),
  authorizeSubscribe: (_client, subscription, callback) => callback(null, subscription),
  published: (_packet, _client, callback) => callback(null),
};

export class Aedes extends EventEmitter implements AedesHandlers {
  readonly id: string;
  connectedClients = 0;
  closed = true;
  /** By client id: those connected now. */
  readonly clients: Record<string, AedesClient> = Object.create(null) as Record<string, AedesClient>;
  preConnect: AedesHandlers['preConnect'];
  authenticate: AedesHandlers['authenticate'];
  authorizePublish: AedesHandlers['authorizePublish'];
  authorizeSubscribe: AedesHandlers['authorizeSubscribe'];
  published: AedesHandlers['published'];
  /** Serves a connection. Bound: `net.createServer(aedes.handle)`. */
  readonly handle: (conn: Duplex, req?: IncomingMessage) => AedesClient;
  readonly #options: AedesOptions;
  readonly #byStream: WeakMap<Duplex, AedesClient> = new WeakMap();
  /** Clients whose session is left, for their wills. */
  readonly #away: Map<string, AedesClient> = new Map();
  readonly #subscribed: Map<Deliver, Map<string, Promise<BrokerSubscription>>> = new Map();
  #broker: Broker | undefined;

  constructor(options: AedesOptions = {}) {
    super();
    for (const name of ['persistence', 'mq', 'authorizeForward'] as const) {
      if (options[name] !== undefined) throw new Error(`${name}: Starmesh has no place for it`);
    }
    this.#options = options;
    this.id = options.id ?? randomUUID();
    this.preConnect = options.preConnect ?? openHandlers.preConnect;
    this.authenticate = options.authenticate ?? openHandlers.authenticate;
    this.authorizePublish = options.authorizePublish ?? openHandlers.authorizePublish;
    this.authorizeSubscribe = options.authorizeSubscribe ?? openHandlers.authorizeSubscribe;
    this.published = options.published ?? openHandlers.published;
    this.handle = (conn, req) => this.#handle(conn, req);
  }

  static async createBroker(options: AedesOptions = {}): Promise<Aedes> {
    const aedes = new Aedes(options);
    await aedes.listen();
    return aedes;
  }

  /** Starts the broker. Rejects with `BrokerError`. */
  async listen(): Promise<void> {
    const broker = await createBroker(this.#options.starmesh);
    this.#broker = broker;
    this.closed = false;
    broker.hook('client.connect', (c, connect) => this.#connecting(this.#of(c), c, connect));
    broker.hook('client.authenticate', (c, proof) => this.#authenticate(this.#of(c), proof));
    broker.hook('client.connected', (c, sessionPresent) => this.#connected(this.#of(c), sessionPresent));
    broker.hook('client.disconnected', (c, end) => this.#disconnected(this.#of(c), end));
    broker.hook('client.refused', (c, end) => this.#refused(this.#of(c), end));
    broker.hook('client.subscribe', (c, s) => this.#subscribing(this.#of(c), { topic: s.topicFilter, qos: s.qos }));
    broker.hook('session.subscribed', (s, { topicFilter }) => this.#answered(this.clients[s.clientId], topicFilter));
    broker.hook('client.unsubscribe', (c, filters) => this.#unsubscribed(this.#of(c), filters));
    broker.hook('session.terminated', (s) => void this.#away.delete(s.clientId));
    broker.hook('message.publish', (m, c) => this.#publishing(m, c));
    broker.hook('message.acked', (c, m) => void this.emit('ack', this.#packet(m), this.#of(c)));
    broker.hook('client.ping', (c) => void this.emit('ping', { cmd: 'pingreq' }, this.#of(c)));
  }

  #running(): Broker {
    if (this.#broker === undefined) throw new Error('await listen() first, or use Aedes.createBroker()');
    return this.#broker;
  }

  #handle(conn: Duplex, req: IncomingMessage | undefined): AedesClient {
    const broker = this.#running();
    const client = new AedesClient(conn, req);
    this.#byStream.set(conn, client);
    conn.on('error', (error) => this.#error(client, error));
    broker.handle(conn);
    return client;
  }

  /** Every connection has a stream: there are no listeners, unless `starmesh` names some. */
  #of(hooked: HookClient): AedesClient {
    const known = (hooked.stream && this.#byStream.get(hooked.stream)) ?? this.clients[hooked.clientId];
    if (known === undefined) throw new Error('a client of a listener: use createBroker for those');
    known.hooked = hooked;
    return known;
  }

  #error(client: AedesClient, error: Error): void {
    this.emit(client.id === null ? 'connectionError' : 'clientError', client, error);
  }

  /** The client is at fault: told to the program, and cut off. */
  #cut(client: AedesClient, error: Error): void {
    this.#error(client, error);
    client.conn.destroy();
  }

  // ---- connections ----

  #connecting(client: AedesClient, hooked: HookClient, { username, password, will }: HookConnect): Promise<number | undefined> {
    client.connecting = true;
    const packet: AedesConnect = {
      cmd: 'connect',
      clientId: hooked.clientId,
      username,
      password: password && bufferOf(password),
      clean: hooked.cleanStart,
      keepalive: hooked.keepAlive,
      protocolVersion: hooked.protocolVersion,
      will: will && { ...will, payload: bufferOf(will.payload) },
    };
    return new Promise((resolve) => {
      this.preConnect(client, packet, (error, ok) => {
        if (error == null && ok === true) {
          client.id = hooked.clientId;
          client.clean = hooked.cleanStart;
          client.version = hooked.protocolVersion;
          resolve(undefined);
          return;
        }
        if (error != null) this.#error(client, error);
        client.conn.destroy();
        resolve(notAuthorized);
      });
    });
  }

  #authenticate(client: AedesClient, { username, password }: HookConnect): Promise<number | undefined> {
    return new Promise((resolve) => {
      this.authenticate(client, username, password && bufferOf(password), (error, ok) => {
        if (error == null && ok) {
          resolve(undefined);
          return;
        }
        resolve(reasonCodes[error?.returnCode ?? 5] ?? notAuthorized);
        // Behind CONNACK.
        setImmediate(() => this.#error(client, error ?? new Error('not authorized')));
      });
    });
  }

  #connected(client: AedesClient, sessionPresent: boolean): void {
    client.connecting = false;
    client.connected = true;
    const id = client.id ?? '';
    this.clients[id] = client;
    this.connectedClients++;
    this.emit('client', client);
    this.#tell('new/clients', id);
    this.emit('connackSent', { cmd: 'connack', returnCode: 0, sessionPresent }, client);
    this.emit('clientReady', client);
    client.emit('connected');
  }

  #disconnected(client: AedesClient, end: HookEnd): void {
    const id = client.id ?? '';
    client.connected = false;
    client.closed = true;
    if (end.by === 'server' && end.reasonCode === keepAliveTimeout) {
      this.emit('keepaliveTimeout', client);
      this.#error(client, new Error('keep alive timeout'));
    }
    const filters = [...client.subscriptions.keys()];
    client.subscriptions.clear();
    if (this.clients[id] === client) delete this.clients[id];
    this.connectedClients--;
    this.#away.set(id, client);
    this.emit('clientDisconnect', client);
    if (client.clean && filters.length > 0) this.emit('unsubscribe', filters, client);
    this.#tell('disconnect/clients', id);
  }

  #refused(client: AedesClient, end: HookEnd): void {
    // Refused by a handler: told already.
    if (client.id === null && !client.connecting && end.by !== 'transport') this.#error(client, new Error('Invalid protocol'));
  }

  // ---- subscriptions of clients ----

  #subscribing(client: AedesClient, subscription: AedesSubscription): Promise<0 | 1 | 2 | number> {
    const asked: AedesSubscription = { ...subscription };
    client.asked.push(asked);
    client.open++;
    return new Promise((resolve) => {
      this.authorizeSubscribe(client, subscription, (error, allowed) => {
        if (error != null) this.#cut(client, error);
        if (error == null && allowed != null) {
          resolve(allowed.qos);
          return;
        }
        asked.qos = 128;
        resolve(notAuthorized);
        this.#settled(client);
      });
    });
  }

  #answered(client: AedesClient | undefined, topic: string): void {
    const asked = client?.asked.find((s) => s.topic === topic);
    if (client === undefined || asked === undefined) return;
    client.subscriptions.set(topic, asked.qos);
    this.#settled(client);
  }

  /** All filters of a SUBSCRIBE are answered: SUBACK is on its way. */
  #settled(client: AedesClient): void {
    client.open = Math.max(0, client.open - 1);
    setImmediate(() => {
      if (client.open > 0 || client.asked.length === 0 || !client.connected) return;
      const subs = client.asked;
      client.asked = [];
      this.emit('subscribe', subs, client);
      this.#tell('new/subscribes', JSON.stringify({ clientId: client.id, subs }));
    });
  }

  #unsubscribed(client: AedesClient, filters: readonly string[]): void {
    for (const f of filters) client.subscriptions.delete(f);
    this.emit('unsubscribe', [...filters], client);
    this.#tell('new/unsubscribes', JSON.stringify({ clientId: client.id, subs: filters }));
  }

  // ---- messages ----

  #packet(m: HookMessage | ReceivedMessage): AedesPacket {
    const { topic, payload, qos, retain, publisherId } = m;
    const packet: AedesPacket = { cmd: 'publish', topic, payload: bufferOf(payload), qos, retain, dup: false, brokerId: this.id };
    return publisherId === undefined ? packet : { ...packet, clientId: publisherId };
  }

  #publishing(m: HookMessage, by: HookClient | undefined): Promise<number | Partial<HookMessage>> | undefined {
    const packet = this.#packet(m);
    if (m.publisherId === undefined) {
      this.#routed(packet, null);
      return undefined;
    }
    const client = by === undefined ? (this.#away.get(m.publisherId) ?? this.clients[m.publisherId] ?? null) : this.#of(by);
    return new Promise((resolve) => {
      this.authorizePublish(client, packet, (error) => {
        if (error != null) {
          if (by !== undefined && client !== null) this.#cut(client, error);
          resolve(notAuthorized);
          return;
        }
        const { topic, payload, qos, retain } = packet;
        resolve({ topic, payload, qos, retain });
        this.#routed(packet, client);
      });
    });
  }

  /** It is about to be routed: told behind that. */
  #routed(packet: AedesPacket, client: AedesClient | null): void {
    setImmediate(() => {
      this.published(packet, client, (error) => {
        if (error != null && client !== null) this.#error(client, error);
      });
      this.emit('publish', packet, client);
    });
  }

  #tell(what: string, payload: string): void {
    if (!this.closed) this.publish({ topic: `${system}${this.id}/${what}`, payload });
  }

  // ---- the program's own ----

  /** A message of the broker itself; no handler is asked. */
  publish(packet: OwnPacket, client?: AedesClient | null | Done, done?: Done): void {
    const callback = (typeof client === 'function' ? client : done) ?? ((): void => {});
    const { topic, payload = '', qos = 0, retain = false } = packet;
    this.#running()
      .publish(topic, payload, { qos, retain })
      .then(
        () => callback(null),
        (error: Error) => callback(error),
      );
  }

  /** Messages of the topic filter, until the same function is given to `unsubscribe`. Nothing that was retained before. */
  subscribe(topic: string, deliver: Deliver, done: Done = () => {}): void {
    const handler = (m: ReceivedMessage): Promise<void> => new Promise((resolve) => deliver(this.#packet(m), () => resolve()));
    const subscribing = this.#running().subscribe(topic, handler, { retained: false });
    const own = this.#subscribed.get(deliver) ?? new Map<string, Promise<BrokerSubscription>>();
    this.#subscribed.set(deliver, own.set(topic, subscribing));
    subscribing.then(
      () => done(),
      (error: Error) => done(error),
    );
  }

  unsubscribe(topic: string, deliver: Deliver, done: Done = () => {}): void {
    const own = this.#subscribed.get(deliver);
    const subscribed = own?.get(topic);
    own?.delete(topic);
    if (own?.size === 0) this.#subscribed.delete(deliver);
    if (subscribed === undefined) setImmediate(done);
    else
      subscribed.then(
        (s) => {
          s.unsubscribe();
          done();
        },
        () => done(),
      );
  }

  /** Closes every connection, then the broker. */
  close(done: () => void = () => {}): void {
    if (this.closed) {
      done();
      return;
    }
    this.closed = true;
    const end = (): void => {
      this.emit('closed');
      done();
    };
    this.#running().close().then(end, end);
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
