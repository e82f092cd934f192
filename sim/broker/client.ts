// A simulated MQTT client, 3.1.1 or 5.0, on a host of its own: keeps the protocol's state as the
// specification asks of a client with lasting storage, and writes down what happens (history.ts).
// What it does and when is behaviour.ts' business. It uses the broker's codec, so that what both get
// wrong in the same way is not found here.
import type { Prng } from '#base/prng.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import type { Connection, ConnectionHandler, Net } from '#env/net.js';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { ConnackPacket, ConnectPacket, Packet, ProtocolVersion, PublishPacket, QoS } from '#mqtt/packet.js';
import { Scope } from '../world/scheduler.js';
import { type BrokerNode, type BrokerWorld, mqttPort } from './broker-world.js';
import { type History, type SimMessage, SimSession, type SimSubscription, type SimWill } from './history.js';

export interface ClientProfile {
  readonly clientId: string;
  readonly version: 4 | 5;
  /** The session outlives its connection. */
  readonly lasting: boolean;
  readonly receiveMaximum: number;
  /** Acknowledges late, by up to so much. */
  readonly ackDelayMs: number;
  /** Another client uses the same client id: nothing is promised to either. */
  readonly double: boolean;
  readonly withWill: boolean;
  readonly pings: boolean;
}

interface Outgoing {
  readonly message: SimMessage;
  readonly packetId: number;
  phase: 'publish' | 'release';
}

interface Operation {
  readonly what: string;
  readonly at: number;
}

const dialMs = 2_000;
const pingEveryMs = 2_000;
const pingWaitMs = 3_000;
const payloadPadding = 24;
const never = Number.POSITIVE_INFINITY;

export class SimClient {
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
  /** Filters that the client wants; those of a lost session are asked for again. */
  readonly wanted: Map<string, QoS> = new Map();
  readonly outgoing: Map<number, Outgoing> = new Map();
  /** CONNECT, SUBSCRIBE, UNSUBSCRIBE and PUBLISH without an answer. */
  readonly open: Map<number | 'connect', Operation> = new Map();
  backoffUntil = 0;
  /** Acknowledges at once from now on. */
  prompt = false;
  /** The next CONNECT must be a clean start. */
  mustClean = false;
  connections = 0;
  #conn: Connection | undefined = undefined;
  #incoming: Set<number> = new Set();
  #unacked: Set<number> = new Set();
  #pending: Map<number, { readonly subs: SimSubscription[]; readonly unsub: boolean; readonly lossesThen: number; readonly node: BrokerNode }> =
    new Map();
  #cleanSent = false;
  /** Attempts since the last CONNACK that sent a CONNECT and got no answer: the server may have begun a session that we do not know. */
  #unanswered = 0;
  /** The client had sessions that the registry did not know. */
  #wasIsolated = false;
  readonly #isolatedMarkers: Set<string> = new Set();
  /** Also when it has ended. */
  #latest: SimSession | undefined = undefined;
  #sessions = 0;
  #packetId = 0;
  #will: SimWill | undefined = undefined;
  #disconnectSent = false;
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
    this.#cleanSent = clean;
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
      const will: SimWill = { clientId: this.profile.clientId, topicName: `will/${this.profile.clientId}`, withdrawn: false };
      this.history.wills.push(will);
      this.#will = will;
      packet.will = { topicName: will.topicName, payload: utf8Encode(`w${this.history.wills.length - 1}`), qos: 1, retain: false };
    }
    this.#disconnectSent = false;
    this.#send(packet);
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
        if (this.#disconnectSent && error === undefined && this.#will !== undefined && !this.profile.double) this.#will.withdrawn = true;
        this.#lost(error?.code ?? 'end');
      },
    };
  }

  /** The connection is gone, or is given up. */
  #lost(_why: string): void {
    if (this.state === 'connecting') {
      this.#unanswered++;
    }
    this.#conn = undefined;
    this.state = 'away';
    this.open.clear();
    this.#pending.clear();
    this.#unacked.clear();
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
    this.#send({ type: 'disconnect', reasonCode: 0 });
    this.#disconnectSent = true;
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
    this.world.world.after(ms, () => c.resume(), this.scope);
  }

  #forget(): void {
    this.#endSession();
    for (const out of this.outgoing.values()) this.#giveUp(out);
    this.outgoing.clear();
    this.#incoming.clear();
  }

  #endSession(): void {
    if (this.session !== undefined) this.session.endedAt = this.now;
    this.session = undefined;
    this.#incoming.clear();
  }

  /** The message may have been taken in or not; nothing more will tell. */
  #giveUp(out: Outgoing): void {
    if (out.phase === 'publish') out.message.refused = true;
  }

  // ---- what comes ----

  #on(packet: Packet): void {
    if (this.history.trace !== undefined) this.history.note(`${this.name} ← ${this.node?.name}`, () => show(packet));
    switch (packet.type) {
      case 'connack':
        return this.#onConnack(packet);
      case 'publish':
        return this.#onPublish(packet);
      case 'puback':
      case 'pubrec':
        return this.#onAck(packet.packetId, packet.type, packet.reasonCode);
      case 'pubrel':
        return this.#onPubrel(packet.packetId);
      case 'pubcomp':
        return this.#onPubcomp(packet.packetId);
      case 'suback':
      case 'unsuback':
        return this.#onSuback(packet.packetId, packet.reasonCodes);
      case 'disconnect':
        this.history.count(`disconnect0x${packet.reasonCode.toString(16)}`);
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
      if (packet.sessionPresent) this.history.violation(`${this.name}: Session Present with a refusal`);
      this.drop();
      this.backoffUntil = this.now + 200 + this.prng.int(500);
      return;
    }
    this.open.delete('connect');
    this.state = 'connected';
    this.history.count('connects');
    if (packet.sessionPresent) this.#onSessionPresent();
    else this.#onFreshSession();
    if (this.state !== 'connected') return;
    this.mustClean = false;
    this.#unanswered = 0;
    this.session?.nodes.push({ at: this.now, node: this.node?.name ?? '' });
    this.#taintIfIsolated();
    this.#resend(packet.sessionPresent);
  }

  /** The broker's own view of the client, while its process is the one that we are connected to. */
  #broker(): NonNullable<BrokerNode['node']>['broker'] | undefined {
    const { node } = this;
    return node?.sim.up === true && node.sim.lives === this.nodeLife ? node.node?.broker : undefined;
  }

  #taintIfIsolated(): void {
    const broker = this.#broker();
    if (this.session === undefined) return;
    if (this.profile.double) this.session.tainted = 'double';
    const info = broker?.client(this.profile.clientId);
    if (info === undefined) return;
    if (info.epoch === 0) {
      this.session.tainted = 'isolated';
      this.#wasIsolated = true;
      this.#isolatedMarkers.add(this.session.marker);
      this.history.count('isolated');
    }
  }

  #onSessionPresent(): void {
    const { session } = this;
    if (this.profile.double) {
      this.#newSession();
      return;
    }
    if (this.#cleanSent) {
      this.history.violation(`${this.name}: Session Present after a clean start`);
      return;
    }
    const broker = this.#broker();
    if (broker?.client(this.profile.clientId)?.epoch === 0) {
      this.history.violation(`${this.name}: Session Present on ${this.node?.name}, which has no registration of it`);
      return;
    }
    const markers = broker === undefined ? [] : [...broker.subscriptions(this.profile.clientId)].filter((x) => x.topicFilter.startsWith('session/'));
    if (session?.lasting === true && markers.some((x) => x.topicFilter === session.marker)) {
      this.history.count('resumed');
      return;
    }
    const known = session !== undefined && session.active(session.marker)?.ackedAt !== never;
    // The registry knows the session that the client left, even by a clean start, for one without a registration, or has got
    // to know that one later.
    const isolated = this.#latest?.tainted !== undefined || (this.#wasIsolated && markers.every((x) => this.#isolatedMarkers.has(x.topicFilter)));
    if (broker === undefined || isolated || this.#unanswered > 0 || (session?.lasting === true && !known)) {
      // Not the session that we know: begin anew.
      this.mustClean = true;
      this.drop();
      return;
    }
    this.history.violation(
      `${this.name}: Session Present on ${this.node?.name}, but ${session === undefined ? 'there was no session' : `it is not session ${session.number}`}`,
    );
    this.mustClean = true;
    this.drop();
  }

  #onFreshSession(): void {
    if (this.session?.lasting === true && !this.#cleanSent) {
      this.history.count('sessionsLost');
      if (this.history.calm && !this.profile.double)
        this.history.violation(`${this.name}: session ${this.session.number} is lost and nothing had failed`);
    }
    this.#newSession();
  }

  #newSession(): void {
    this.#endSession();
    // Before 5.0 a clean session ends with its connection.
    const lasting = this.profile.version === 5 ? this.profile.lasting : !this.#cleanSent;
    this.session = new SimSession(this.profile.clientId, ++this.#sessions, this.now, lasting);
    this.history.sessions.push(this.session);
    this.#latest = this.session;
    if (lasting && !this.profile.double) this.subscribe([[this.session.marker, 0]]);
    for (const [filter, qos] of this.wanted) this.subscribe([[filter, qos]]);
  }

  /** What was not acknowledged goes again, in its order. Without a session QoS 2 messages are given up: they may have arrived. */
  #resend(present: boolean): void {
    const before = [...this.outgoing.values()];
    if (!present) this.outgoing.clear();
    for (const out of before) {
      const { message } = out;
      if (present) {
        if (out.phase === 'release') this.#send({ type: 'pubrel', packetId: out.packetId, reasonCode: 0 });
        else this.#sendPublish(out, true);
        continue;
      }
      if (message.qos === 2) {
        this.#giveUp(out);
        continue;
      }
      const again: Outgoing = { message, packetId: this.#nextPacketId(), phase: 'publish' };
      this.outgoing.set(again.packetId, again);
      this.#sendPublish(again, false);
    }
  }

  #onPublish(packet: PublishPacket): void {
    const text = utf8Decode(packet.payload) ?? '';
    const { session } = this;
    if (session === undefined) return;
    if (packet.qos > 0) {
      this.#unacked.add(packet.packetId);
      const allowed = this.profile.version === 5 ? Math.min(32, this.profile.receiveMaximum) : 32;
      if (this.#unacked.size > allowed) this.history.violation(`${this.name}: ${this.#unacked.size} unacknowledged messages, ${allowed} are allowed`);
    }
    const known = packet.qos === 2 && this.#incoming.has(packet.packetId);
    if (!known) this.#take(session, packet, text);
    if (packet.qos === 0) return;
    if (packet.qos === 2) this.#incoming.add(packet.packetId);
    const type = packet.qos === 1 ? 'puback' : 'pubrec';
    this.#later(() => {
      if (type === 'puback') this.#unacked.delete(packet.packetId);
      this.#send({ type, packetId: packet.packetId, reasonCode: 0 });
    });
  }

  #take(session: SimSession, packet: PublishPacket, text: string): void {
    // The deletion of a retained message.
    if (text === '' && packet.topicName.startsWith('r/')) return;
    if (text.startsWith('w')) {
      const will = this.history.wills[Number(text.slice(1))];
      this.history.count('wills');
      if (will === undefined || will.topicName !== packet.topicName)
        this.history.violation(`${this.name} got an unknown will ${text} on ${packet.topicName}`);
      else if (will.withdrawn) this.history.violation(`${this.name} got the will ${text} of ${will.clientId}, which had taken it back`);
      return;
    }
    const message = this.history.messages[Number.parseInt(text, 10)];
    if (message === undefined || message.topicName !== packet.topicName) {
      this.history.violation(`${this.name} got ${JSON.stringify(text)} on ${packet.topicName}, which nobody published`);
      return;
    }
    if (packet.qos > message.qos)
      this.history.violation(`${this.name} got message ${message.id} with QoS ${packet.qos}, published with ${message.qos}`);
    this.history.delivered(session, message, packet.qos, packet.dup, packet.retain);
  }

  #later(fn: () => void): void {
    const ackDelayMs = this.prompt ? 0 : this.profile.ackDelayMs;
    const c = this.#conn;
    if (ackDelayMs === 0) fn();
    else
      this.world.world.after(
        this.prng.int(ackDelayMs),
        () => {
          if (this.#conn === c && this.state === 'connected') fn();
        },
        this.scope,
      );
  }

  #onPubrel(packetId: number): void {
    this.#incoming.delete(packetId);
    this.#unacked.delete(packetId);
    this.#send({ type: 'pubcomp', packetId, reasonCode: 0 });
  }

  #onAck(packetId: number, type: 'puback' | 'pubrec', reasonCode: number): void {
    const out = this.outgoing.get(packetId);
    if (out === undefined || (type === 'pubrec') !== (out.message.qos === 2)) {
      if (!this.profile.double) this.history.violation(`${this.name} got ${type} for packet ${packetId}, which is not open`);
      return;
    }
    this.open.delete(packetId);
    const { message } = out;
    if (reasonCode >= 0x80) {
      message.refused = true;
      this.history.count(`${type}0x${reasonCode.toString(16)}`);
      this.outgoing.delete(packetId);
      return;
    }
    if (message.ackedAt === never) this.#acknowledged(message);
    if (type === 'puback') {
      this.outgoing.delete(packetId);
      return;
    }
    out.phase = 'release';
    this.open.set(packetId, { what: `PUBREL ${packetId}`, at: this.now });
    this.#send({ type: 'pubrel', packetId, reasonCode: 0 });
  }

  #acknowledged(message: SimMessage): void {
    message.ackedAt = this.now;
    // A QoS 2 message goes on from where it was taken in first, a QoS 1 message from where it was sent last.
    const sendings = message.qos === 2 ? message.sendings : message.sendings.slice(-1);
    message.mayBeLost = sendings.some((s) => s.node.lost !== s.lostThen);
    this.history.count('acknowledged');
  }

  #onPubcomp(packetId: number): void {
    this.open.delete(packetId);
    this.outgoing.delete(packetId);
  }

  #onSuback(packetId: number, codes: readonly number[]): void {
    this.open.delete(packetId);
    const pending = this.#pending.get(packetId);
    this.#pending.delete(packetId);
    if (pending === undefined) {
      this.history.violation(`${this.name} got SUBACK or UNSUBACK ${packetId}, which is not open`);
      return;
    }
    pending.subs.forEach((s, i) => {
      if (pending.unsub) s.unsubscribedAt = this.now;
      else if ((codes[i] ?? 0x80) >= 0x80) {
        this.history.count('subscribeRefused');
        this.history.refusals.push({ what: `${this.name}: ${s.filter} was refused by ${pending.node.name}`, from: s.sentAt, to: this.now });
        this.#retrySubscribe(s);
      } else {
        s.ackedAt = this.now;
        s.notEffective = !pending.node.sim.up || notEffective(pending.node) !== pending.lossesThen;
        if (s.notEffective) this.history.count('notEffective');
        this.onSubscribed?.(s);
      }
    });
  }

  /** Hears of every filter that was granted: for publishing to it at once. */
  onSubscribed: ((s: SimSubscription) => void) | undefined = undefined;

  #retrySubscribe(s: SimSubscription): void {
    s.unsubscribeSentAt = this.now;
    const { session } = this;
    this.world.world.after(
      200 + this.prng.int(300),
      () => {
        if (this.session !== session || this.state !== 'connected' || session?.active(s.filter) !== undefined) return;
        if (s.filter === session?.marker || this.wanted.has(s.filter)) this.subscribe([[s.filter, s.qos]]);
      },
      this.scope,
    );
  }

  // ---- what the behaviour asks for ----

  subscribe(filters: readonly (readonly [string, QoS])[]): void {
    const { session, node } = this;
    if (this.state !== 'connected' || session === undefined || node === undefined) return;
    const packetId = this.#nextPacketId();
    const subs = filters.map(
      ([filter, qos]): SimSubscription => ({
        filter,
        qos,
        sentAt: this.now,
        ackedAt: never,
        notEffective: false,
        unsubscribeSentAt: never,
        unsubscribedAt: never,
      }),
    );
    session.subscriptions.push(...subs);
    this.#pending.set(packetId, { subs, unsub: false, lossesThen: notEffective(node), node });
    this.open.set(packetId, { what: `SUBSCRIBE ${filters.map((f) => f[0]).join(' ')}`, at: this.now });
    this.#send({
      type: 'subscribe',
      packetId,
      subscriptions: filters.map(([topicFilter, qos]) => ({ topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 })),
    });
  }

  unsubscribe(filter: string): void {
    const { session, node } = this;
    this.wanted.delete(filter);
    const s = session?.active(filter);
    if (this.state !== 'connected' || s === undefined || node === undefined) return;
    const packetId = this.#nextPacketId();
    s.unsubscribeSentAt = this.now;
    this.#pending.set(packetId, { subs: [s], unsub: true, lossesThen: 0, node });
    this.open.set(packetId, { what: `UNSUBSCRIBE ${filter}`, at: this.now });
    this.#send({ type: 'unsubscribe', packetId, topicFilters: [filter] });
  }

  publish(topicName: string, qos: QoS, retain: boolean, empty: boolean): void {
    const { node } = this;
    if (this.state !== 'connected' || node === undefined || (qos > 0 && this.outgoing.size >= outgoingMax)) return;
    const message: SimMessage = {
      id: this.history.messages.length,
      publisher: this.name,
      topicName,
      qos,
      retain,
      empty,
      sentAt: this.now,
      connection: this.connections,
      line: `${this.name} ${this.connections} ${topicName} ${qos}`,
      attempts: 0,
      firstNode: node.name,
      node: node.name,
      sendings: [],
      ackedAt: never,
      mayBeLost: false,
      refused: false,
    };
    this.history.messages.push(message);
    const out: Outgoing = { message, packetId: qos === 0 ? 0 : this.#nextPacketId(), phase: 'publish' };
    if (qos > 0) this.outgoing.set(out.packetId, out);
    this.#sendPublish(out, false);
  }

  #sendPublish(out: Outgoing, dup: boolean): void {
    const { message } = out;
    const { node } = this;
    message.attempts++;
    message.node = node?.name ?? '';
    if (message.qos > 0 && node !== undefined) message.sendings.push({ node, lostThen: node.lost });
    if (message.qos > 0) this.open.set(out.packetId, { what: `PUBLISH ${message.id} QoS ${message.qos}`, at: this.now });
    this.#send({
      type: 'publish',
      topicName: message.topicName,
      payload: message.empty ? new Uint8Array(0) : utf8Encode(String(message.id).padEnd(payloadPadding)),
      qos: message.qos,
      retain: message.retain,
      dup,
      packetId: out.packetId,
    });
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
    this.#send({ type: 'pingreq' });
  }

  #nextPacketId(): number {
    do this.#packetId = this.#packetId === 0xffff ? 1 : this.#packetId + 1;
    while (this.outgoing.has(this.#packetId) || this.#pending.has(this.#packetId));
    return this.#packetId;
  }

  #send(packet: Packet): void {
    if (this.history.trace !== undefined) this.history.note(`${this.name} → ${this.node?.name}`, () => show(packet));
    this.#conn?.write(encode(packet, this.profile.version));
  }
}

const outgoingMax = 12;

const clientSettings: Record<ProtocolVersion, DecoderSettings> = {
  3: new DecoderSettings({ role: 'client', protocolVersion: 3 }),
  4: new DecoderSettings({ role: 'client', protocolVersion: 4 }),
  5: new DecoderSettings({ role: 'client', protocolVersion: 5 }),
};

function notEffective(node: BrokerNode): number {
  return node.sim.metrics.value('starmesh_suback_not_effective_total', {});
}

function show(packet: Packet): string {
  if (packet.type === 'publish')
    return `publish ${packet.topicName} ${utf8Decode(packet.payload)?.trim()} QoS ${packet.qos}${packet.dup ? ' DUP' : ''}${packet.retain ? ' RETAIN' : ''} (${packet.packetId})`;
  return JSON.stringify(packet, (key, value) => (key === 'properties' ? undefined : value));
}
