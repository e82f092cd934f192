// A simulated MQTT client, 3.1.1 or 5.0, on a host of its own: keeps the protocol's state as the
// specification asks of a client with lasting storage, and writes down what happens (history.ts).
// What it does and when is behaviour.ts' business. It uses the broker's codec, so that what both get
// wrong in the same way is not found here.
import type { Prng } from '#base/prng.js';
import { utf8Decode } from '#base/utf8.js';
import type { Connection, ConnectionHandler, Net } from '#env/net.js';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { ConnackPacket, ConnectPacket, Packet, ProtocolVersion, QoS } from '#mqtt/packet.js';
import { Scope } from '../world/scheduler.js';
import { type BrokerNode, type BrokerWorld, mqttPort } from './broker-world.js';
import { type ClientHost, type ClientProfile, never, type Operation } from './client-host.js';
import { Inbox } from './client-inbox.js';
import { Outbox } from './client-outbox.js';
import { Presence } from './client-presence.js';
import { Subscriptions } from './client-subscriptions.js';
import { Blindness, newWill, willOf } from './client-will.js';
import { checkFarewell, checkTurnedAway } from './client-words.js';
import { type History, SimSession, type SimSubscription, type SimWill } from './history.js';

const dialMs = 2_000;
const pingEveryMs = 2_000;
const pingWaitMs = 3_000;
/** Who has read all for so long holds nothing up. */
const readsAllMs = 5_000;

export class SimClient implements ClientHost {
  readonly profile: ClientProfile;
  readonly name: string;
  readonly scope: Scope;
  readonly prng: Prng;
  readonly net: Net;
  readonly world: BrokerWorld;
  readonly history: History;
  readonly settings: Record<ProtocolVersion, DecoderSettings>;
  session: SimSession | undefined = undefined;
  /** The node of the connection, or of the attempt. */
  node: BrokerNode | undefined = undefined;
  nodeLife = 0;
  state: 'away' | 'dialling' | 'connecting' | 'connected' = 'away';
  /** CONNECT, SUBSCRIBE, UNSUBSCRIBE and PUBLISH without an answer. */
  readonly open: Map<number | 'connect', Operation> = new Map();
  backoffUntil = 0;
  /** Acknowledges at once from now on. */
  prompt = false;
  /** The next CONNECT must be a clean start. */
  mustClean = false;
  connections = 0;
  #conn: Connection | undefined = undefined;
  readonly #inbox: Inbox = new Inbox(this);
  readonly #outbox: Outbox = new Outbox(this);
  readonly #subscriptions: Subscriptions = new Subscriptions(this);
  readonly #presence: Presence = new Presence(this);
  #sessions = 0;
  #packetId = 0;
  #will: SimWill | undefined = undefined;
  #disconnectSent = false;
  readonly #blind: Blindness = new Blindness();
  #disconnectAt = 0;
  #pingAt = 0;
  #lastPong = 0;

  constructor(world: BrokerWorld, history: History, profile: ClientProfile, name: string, number: number) {
    this.world = world;
    this.history = history;
    this.profile = profile;
    this.name = name;
    this.prng = world.world.prng.fork(name);
    this.scope = new Scope(100 + number);
    world.net.addHost(name, name);
    this.net = world.net.netFor(name, name, this.scope);
    this.settings = clientSettings;
  }

  get now(): number {
    return this.world.world.now;
  }

  // ---- connecting ----

  connect(node: BrokerNode, cleanStart: boolean): void {
    this.#abandon();
    const clean = cleanStart || this.mustClean || (this.profile.version === 4 && !this.profile.lasting);
    this.state = 'dialling';
    this.node = node;
    this.nodeLife = node.sim.lives;
    const number = ++this.connections;
    this.open.set('connect', { what: `CONNECT to ${node.name}`, at: this.now });
    this.net.connect(
      { host: node.host, port: mqttPort },
      { timeoutMs: dialMs },
      (c) => {
        if (this.connections !== number) c.destroy();
        else this.#opened(c, clean);
      },
      () => {
        if (this.connections === number) this.#lost('dial');
      },
    );
  }

  #opened(c: Connection, clean: boolean): void {
    this.#conn = c;
    c.handler = this.#handler(c);
    this.state = 'connecting';
    this.#presence.cleanSent = clean;
    // A clean start gives up what was, from the moment it is asked for.
    if (clean) {
      this.mustClean = true;
      this.#forget();
    }
    this.#will = undefined;
    const packet: ConnectPacket = {
      type: 'connect',
      protocolVersion: this.profile.version,
      clientId: this.profile.clientId,
      cleanStart: clean,
      keepAlive: this.profile.pings ? 10 : 0,
    };
    if (this.profile.version === 5) {
      packet.properties = { sessionExpiryInterval: this.profile.lasting ? 3_600 : 0, receiveMaximum: this.profile.receiveMaximum };
    }
    if (this.profile.withWill) {
      this.#will = newWill(this.profile, this.history, this.node?.name ?? '', this.now);
      packet.will = willOf(this.profile, this.history, this.#will);
    }
    this.#disconnectSent = false;
    this.#presence.connectSent(this.now);
    this.send(packet);
    this.#lastPong = this.now;
  }

  #handler(c: Connection): ConnectionHandler {
    const decoder = new Decoder(this.settings[this.profile.version]);
    const mine = (): boolean => this.#conn === c;
    const onPacket = (packet: Packet): void => {
      if (mine()) this.#on(packet);
    };
    return {
      onData: (chunk) => {
        if (!mine()) return;
        const error = decoder.push(chunk, onPacket);
        if (error !== undefined) {
          this.history.violation(`${this.name} cannot read what ${this.node?.name} sent: ${error.message}`);
          this.drop();
        }
      },
      onDrain: () => {},
      onClose: (error) => {
        if (!mine()) return;
        if (this.#disconnectSent && error === undefined && this.#will !== undefined && !this.profile.double)
          this.#will.withdrawn = { at: this.#disconnectAt, node: this.node?.name ?? '', until: this.now };
        this.#lost(error?.code ?? 'end');
      },
    };
  }

  /** The connection is gone, or is given up. */
  #lost(_why: string): void {
    if (this.state === 'connecting') this.#presence.noAnswer();
    if (this.#will !== undefined && this.#will.lostAt === never) {
      this.#will.lostAt = this.now;
      this.#will.unseenFrom = this.#blind.over(this.now);
    }
    this.#conn = undefined;
    this.state = 'away';
    this.open.clear();
    this.#subscriptions.connectionLost();
    this.#inbox.connectionLost();
    if (this.session !== undefined && !this.session.lasting) this.#endSession();
    this.backoffUntil = this.now + this.prng.int(300);
  }

  #abandon(): void {
    const c = this.#conn;
    if (c === undefined) {
      this.connections++;
      if (this.state !== 'away') this.#lost('new');
      return;
    }
    this.#lost('new');
    // The old connection stays open for a while, as if the client had forgotten it.
    if (this.prng.chance(0.5)) c.destroy();
    else this.world.world.after(this.prng.int(3_000), () => c.destroy(), this.scope);
  }

  /** Cuts the connection off without a word. */
  drop(): void {
    const c = this.#conn;
    if (c === undefined) return;
    this.#lost('drop');
    c.destroy();
  }

  /** Says DISCONNECT and waits for the end. */
  disconnect(): void {
    if (this.state !== 'connected') return;
    this.send({ type: 'disconnect', reasonCode: 0 });
    this.#disconnectSent = true;
    if (this.#will !== undefined) this.#will.disconnectSent = true;
    this.#disconnectAt = this.now;
    const c = this.#conn;
    // The will is withdrawn if the server ends the connection in order; nothing more is said meanwhile.
    this.state = 'dialling';
    this.open.clear();
    this.world.world.after(
      500,
      () => {
        if (this.#conn === c && c !== undefined) this.drop();
      },
      this.scope,
    );
  }

  /** The socket is read no more for a while. */
  stopReading(ms: number): void {
    const c = this.#conn;
    if (c === undefined) return;
    c.pause();
    this.#blind.begin(this.now, ms);
    this.world.world.after(ms, () => c.resume(), this.scope);
  }

  /** Nothing that its node sends waits for it, and what waits for the client waits in a session that stays. */
  get readsAll(): boolean {
    const since = this.now - readsAllMs;
    return this.profile.lasting && !this.profile.double && !this.#blind.wasSince(since) && (this.world.clientCutUntil.get(this.name) ?? 0) < since;
  }

  #forget(): void {
    this.#endSession();
    this.#outbox.forget();
  }

  #endSession(): void {
    if (this.session !== undefined) this.session.endedAt = this.now;
    this.session = undefined;
    this.#inbox.sessionEnded();
  }

  // ---- what comes ----

  #on(packet: Packet): void {
    if (this.history.trace !== undefined) this.history.note(`${this.name} ← ${this.node?.name}`, () => show(packet));
    switch (packet.type) {
      case 'connack':
        return this.#onConnack(packet);
      case 'publish':
        return this.#inbox.onPublish(packet);
      case 'puback':
      case 'pubrec':
        return this.#outbox.onAck(packet.packetId, packet.type, packet.reasonCode);
      case 'pubrel':
        return this.#inbox.onPubrel(packet.packetId);
      case 'pubcomp':
        return this.#outbox.onPubcomp(packet.packetId);
      case 'suback':
      case 'unsuback':
        return this.#subscriptions.onSuback(packet.packetId, packet.reasonCodes);
      case 'disconnect':
        this.history.count(`disconnect0x${packet.reasonCode.toString(16)}`);
        checkFarewell(this, packet.reasonCode);
        return;
      case 'pingresp':
        this.#lastPong = this.now;
        return;
      default:
        this.history.violation(`${this.name} got ${packet.type}`);
    }
  }

  #onConnack(packet: ConnackPacket): void {
    if (this.state !== 'connecting') {
      this.history.violation(`${this.name} got a second CONNACK`);
      return;
    }
    if (packet.reasonCode !== 0) {
      this.history.count(`connack0x${packet.reasonCode.toString(16)}`);
      checkFarewell(this, packet.reasonCode);
      checkTurnedAway(this, packet.reasonCode, this.#presence.connectSentAt);
      if (packet.sessionPresent) this.history.violation(`${this.name}: Session Present with a refusal`);
      this.drop();
      this.backoffUntil = this.now + 200 + this.prng.int(500);
      return;
    }
    this.open.delete('connect');
    this.state = 'connected';
    this.history.count('connects');
    if (!this.#hasSession(packet.sessionPresent)) return;
    this.mustClean = false;
    this.#presence.accepted();
    this.session?.nodes.push({ at: this.now, node: this.node?.name ?? '' });
    this.#presence.taint();
    this.#noteWill();
    this.#outbox.resend(packet.sessionPresent);
  }

  #noteWill(): void {
    const { session } = this;
    if (session === undefined || session.tainted !== undefined) return;
    for (const will of this.history.wills) if (will.session === session && will.resumedAt === never) will.resumedAt = this.now;
    if (this.#will === undefined) return;
    this.#will.session = session;
    this.#will.acceptedAt = this.now;
  }

  /** Whatever CONNACK said of it; false: it is not the one that the client knows. */
  #hasSession(present: boolean): boolean {
    if (!present) this.#presence.absent(this.now);
    const verdict = present ? this.#presence.present() : 'new';
    if (verdict === 'new') this.#newSession();
    if (verdict !== 'not mine') return true;
    for (const will of this.history.wills) if (will.session === this.session && will.resumedAt === never) will.mayBeOff = true;
    this.mustClean = true;
    this.drop();
    return false;
  }

  #newSession(): void {
    this.#endSession();
    // Before 5.0 a clean session ends with its connection.
    const lasting = this.profile.version === 5 ? this.profile.lasting : !this.#presence.cleanSent;
    this.session = new SimSession(this.profile.clientId, ++this.#sessions, this.now, lasting);
    this.history.sessions.push(this.session);
    this.#presence.begun(this.session);
    if (lasting && !this.profile.double) this.subscribe([[this.session.marker, 0]]);
    for (const [filter, qos] of this.#subscriptions.wanted) this.subscribe([[filter, qos]]);
  }

  // ---- what the behaviour asks for ----

  get wanted(): Map<string, QoS> {
    return this.#subscriptions.wanted;
  }

  /** Hears of every filter that was granted: for publishing to it at once. */
  set onSubscribed(listener: (s: SimSubscription) => void) {
    this.#subscriptions.onSubscribed = listener;
  }

  subscribe(filters: readonly (readonly [string, QoS])[]): void {
    this.#subscriptions.subscribe(filters);
  }

  unsubscribe(filter: string): void {
    this.#subscriptions.unsubscribe(filter);
  }

  publish(topicName: string, qos: QoS, retain: boolean, empty: boolean): void {
    this.#outbox.publish(topicName, qos, retain, empty);
  }

  /** Keep-alive; a server that does not answer is left. Called now and then. */
  ping(): void {
    if (!this.profile.pings || this.state !== 'connected') return;
    if (this.#pingAt > this.#lastPong && this.now - this.#pingAt > pingWaitMs) {
      this.history.count('pingTimeouts');
      this.drop();
      return;
    }
    if (this.now - Math.max(this.#pingAt, this.#lastPong) < pingEveryMs) return;
    if (this.#pingAt <= this.#lastPong) this.#pingAt = this.now;
    this.send({ type: 'pingreq' });
  }

  nextPacketId(): number {
    do this.#packetId = this.#packetId === 0xffff ? 1 : this.#packetId + 1;
    while (this.#outbox.outgoing.has(this.#packetId) || this.#subscriptions.uses(this.#packetId));
    return this.#packetId;
  }

  later(ms: number, fn: () => void): void {
    const c = this.#conn;
    if (ms === 0) {
      fn();
      return;
    }
    this.world.world.after(
      ms,
      () => {
        if (this.#conn === c && this.state === 'connected') fn();
      },
      this.scope,
    );
  }

  send(packet: Packet): void {
    if (this.history.trace !== undefined) this.history.note(`${this.name} → ${this.node?.name}`, () => show(packet));
    this.#conn?.write(encode(packet, this.profile.version));
  }
}

const clientSettings: Record<ProtocolVersion, DecoderSettings> = {
  3: new DecoderSettings({ role: 'client', protocolVersion: 3 }),
  4: new DecoderSettings({ role: 'client', protocolVersion: 4 }),
  5: new DecoderSettings({ role: 'client', protocolVersion: 5 }),
};

function show(packet: Packet): string {
  if (packet.type === 'publish')
    return `publish ${packet.topicName} ${utf8Decode(packet.payload)?.trim()} QoS ${packet.qos}${packet.dup ? ' DUP' : ''}${packet.retain ? ' RETAIN' : ''} (${packet.packetId})`;
  return JSON.stringify(packet, (key, value) => (key === 'properties' ? undefined : value));
}
