// One connection's MQTT conversation: a state machine fed with packets by `listener/connection` through
// `step.ts`. It answers through `out` (the connection) and hands what concerns others to `effects` (the
// broker), which may answer within the call or later. It does no I/O and takes the time as a parameter.
// One file per packet it handles (`on-*.ts`); this one keeps the states and what the others share.
// States: idle (before CONNECT), connecting (the broker decides), connected, closed. Closed is final: the
// session is unbound and the broker was told, exactly once; late answers are ignored.
import { defined } from '#base/assert.js';
import { Deque } from '#base/deque.js';
import type { AuthPacket, ConnectPacket, Packet, Properties, ProtocolVersion, PublishPacket, Will } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import { exclusiveFilter, mountFilter } from '#mqtt/special-topics.js';
import type { TopicEntry } from '#mqtt/topic-cache.js';
import type { SessionCounters } from './counters.js';
import { pump } from './deliver.js';
import type { SessionLimits } from './limits.js';
import type { Message } from './message.js';
import type { OutAliases } from './out-aliases.js';
import type { ChannelOutput } from './output.js';
import type { AckChannel, DeferredAck, Session, SessionChannel, SubscriptionOptions } from './session.js';

/** What concerns more than this client: performed by the broker, which answers on the channel. */
export interface ChannelEffects {
  /** CONNACK is about to be sent. */
  connack?(channel: Channel, reasonCode: number): void;
  /** Answer: `accept` or `refuse`, now or later. */
  connect(channel: Channel, packet: ConnectPacket, now: number): void;
  /** Answer for QoS 1 and 2: `acknowledge` within the call, or `defer` within it and `settle` later. `packet` is gone afterwards. */
  publish(channel: Channel, session: Session, message: Message, packet: PublishPacket, now: number): void;
  /**
   * The same for a PUBLISH of QoS 0 that is not retained and has no properties, as it lies in `bytes[start, end)`, which are
   * good for the time of the call alone. False: nothing has happened, `publish` must be asked.
   */
  pass?(channel: Channel, topicName: string, bytes: Uint8Array, start: number, end: number, now: number): boolean;
  /**
   * For the client's next plain PUBLISHes to the name, after one that {@link pass} took: what it would do, once for all of them. `before`: one of the same client, which
   * is made into it. undefined: there is none now.
   */
  shortcut?(channel: Channel, topic: TopicEntry, before: ClientShortcut | undefined, now: number): ClientShortcut | undefined;
  /** Answer: `suback`. */
  subscribe(channel: Channel, session: Session, packetId: number, requests: SubscribeRequest[], now: number): void;
  /** Answer: `unsuback`. */
  unsubscribe(channel: Channel, session: Session, packetId: number, topicFilters: readonly string[], now: number): void;
  /** An AUTH of a client whose CONNECT had an Authentication Method. Absent: enhanced authentication is not offered. */
  auth?(channel: Channel, packet: AuthPacket, now: number): void;
  /**
   * The channel has closed; it is unbound already. `session` undefined: it never got past CONNECT. `normal`: the will, if
   * there is one, must not be published.
   */
  closed(channel: Channel, session: Session | undefined, end: ChannelEnd, now: number): void;
}

/** Plain PUBLISHes of one client with one Topic Name: to be asked while nothing else has come from it. */
export interface ClientShortcut {
  /**
   * Takes those at the beginning of `bytes[start, end)`, which are good for the time of the call alone. Returns where what it did
   * not take begins.
   */
  take(bytes: Uint8Array, start: number, end: number, now: number): number;
  /** Its client has gone. Nothing is asked of it any more. */
  close(): void;
}

/** Who ended it, and the reason code of MQTT 5.0 that says why (also where no packet carried it). */
export interface ChannelEnd {
  readonly by: 'client' | 'server' | 'transport';
  readonly reasonCode: number;
  /** A DISCONNECT of the client that takes its will back. */
  readonly normal: boolean;
}

/** One topic filter of a SUBSCRIBE. */
export interface SubscribeRequest {
  /** As the client gave it, without `$exclusive/`: rights are asked for it. */
  readonly topicFilter: string;
  /** Under which the session has it: behind the mountpoint. */
  readonly key: string;
  readonly options: SubscriptionOptions;
  /** The code for SUBACK: 0x80 and above was refused here already, otherwise the granted QoS. */
  reasonCode: number;
}

export type ChannelState = 'idle' | 'connecting' | 'connected' | 'closed';

const dollar = 0x24;

/** While this many acknowledgements are owed, the publisher is not read. */
const owedAcksPause = 1000;

export class Channel implements SessionChannel, AckChannel {
  // What every message of the client looks at comes first, to be near each other in memory.
  readonly effects: ChannelEffects;
  readonly limits: SessionLimits;
  state: ChannelState = 'idle';
  version: ProtocolVersion = 4;
  clientId = '';
  /** What stands before the topics of the client, its names filled in; empty: nothing. Known once the client is. */
  mountpoint = '';
  /** What access control keeps with the connection. */
  grant: unknown = undefined;
  /** What the broker remembers of where the client's last message went. */
  way: unknown = undefined;
  session: Session | undefined = undefined;
  readonly out: ChannelOutput;
  readonly counters: SessionCounters;
  username: string | undefined = undefined;
  cleanStart = true;
  keepAliveS = 0;
  /** QoS 1 and 2 messages that may be unacknowledged towards the client. [MQTT-3.3.4-9] */
  window: number;
  /** Bytes; the client takes no longer packet. */
  maximumPacketSize: number = noMaximum;
  /** 3.1 and 3.1.1: a bridge, all of whose subscriptions are no-local and retain-as-published. */
  bridgeMode = false;
  will: Will | undefined = undefined;
  /** Aliases that we set: of this connection only. [MQTT-3.3.2-7] */
  outAliases: OutAliases | undefined = undefined;
  /** Names by topic alias: of this connection only. [MQTT-3.3.2-7] */
  topicAliases: Map<number, string> | undefined = undefined;
  /** CONNECT's Authentication Method, and what CONNACK says to it. */
  authMethod: string | undefined = undefined;
  authData: Uint8Array | undefined = undefined;
  /** Wall clock seconds of CONNACK: a number that needs no memory of its own. */
  #connectedS = 0;
  #owed: Deque<DeferredAck> | undefined = undefined;
  /** Reasons not to read from the peer; one of them is {@link holdUntilConnected}. */
  #paused = 0;
  #heldBack = false;
  /** Packets that came before the broker has decided about CONNECT: clients need not wait for CONNACK (section 3.1.4). */
  early: Packet[] | undefined = undefined;

  constructor(out: ChannelOutput, effects: ChannelEffects, limits: SessionLimits, counters: SessionCounters) {
    this.out = out;
    this.effects = effects;
    this.limits = limits;
    this.counters = counters;
    this.window = limits.maxInflight;
  }

  /** Wall clock ms of CONNACK, of a whole second. */
  get connectedAt(): number {
    return this.#connectedS * 1000;
  }

  set connectedAt(at: number) {
    this.#connectedS = Math.trunc(at / 1000);
  }

  /** `1.2.3.4:56789`. */
  get peer(): string {
    return this.out.peer;
  }

  /** Of the certificate that the client has proved to own. */
  get certCommonName(): string | undefined {
    return this.out.certificateField?.('cn');
  }

  get certSubject(): string | undefined {
    return this.out.certificateField?.('dn');
  }

  /** False: the listener lets everybody in. */
  get authenticates(): boolean {
    return this.out.authenticates !== false;
  }

  /** What waits for the client and for it alone: the session ends with the connection. */
  get passingBytes(): number {
    const { session } = this;
    return session === undefined || session.lasting ? 0 : (session.queue?.bytes ?? 0);
  }

  /** Under which a session keeps the client's filter. */
  keyOf(topicFilter: string): string {
    if (this.mountpoint === '' && topicFilter.charCodeAt(0) !== dollar) return topicFilter;
    return mountFilter(this.mountpoint, exclusiveFilter(topicFilter) ?? topicFilter);
  }

  /** The connection's output has room again. */
  drained(): void {
    if (this.session !== undefined) pump(this.session);
  }

  // ---- what the packet handlers and the broker answer with ----

  /** Acknowledges a QoS 1 or 2 PUBLISH, behind those that are owed. [MQTT-3.3.4-1] */
  acknowledge(packetId: number, qos: 1 | 2, reasonCode: number): void {
    const owed = this.#owed;
    const message = this.session?.home.hooks?.answering;
    if (owed === undefined || owed.length === 0) {
      this.#sendAck(packetId, qos, reasonCode, message);
      return;
    }
    const session = defined(this.session, 'channel: an acknowledgement without a session');
    owed.push({ channel: this, session, packetId, qos, reasonCode, message });
  }

  /** The PUBLISH is on its way; `settle` when everybody who must has accepted it. */
  defer(packetId: number, qos: 1 | 2): DeferredAck {
    const session = defined(this.session, 'channel: an acknowledgement without a session');
    const message = session.home.hooks?.answering;
    const ack: DeferredAck = { channel: this, session, packetId, qos, reasonCode: -1, message };
    if (qos === 2) session.awaitingRel?.set(packetId, ack);
    this.#owe(ack);
    return ack;
  }

  /** The client repeats, on a new connection, a PUBLISH whose PUBREC is still owed: it gets it here. */
  adopt(ack: DeferredAck): void {
    if (ack.channel === this) return;
    ack.channel = this;
    this.#owe(ack);
  }

  #owe(ack: DeferredAck): void {
    this.#owed ??= new Deque();
    this.#owed.push(ack);
    if (this.#owed.length === owedAcksPause) this.pauseReading();
  }

  /** Acknowledgements owed: they count against our Receive Maximum. */
  get owedAcks(): number {
    return this.#owed?.length ?? 0;
  }

  #sendAck(packetId: number, qos: 1 | 2, reasonCode: number, message: Message | undefined): void {
    if (qos === 2 && reasonCode >= 0x80) this.session?.awaitingRel?.delete(packetId); // [MQTT-4.3.3-9]
    if (message !== undefined) this.session?.home.hooks?.answered?.(this, message, reasonCode);
    this.out.ack(qos === 1 ? 0x40 : 0x50, packetId, this.version === 5 ? reasonCode : 0); // [MQTT-4.3.2-4] [MQTT-4.3.3-8]
  }

  /** Sends the settled acknowledgements at the head of the line. */
  flushAcks(): void {
    const owed = this.#owed;
    if (owed === undefined || this.state !== 'connected') return;
    const before = owed.length;
    for (let ack = owed.peek(); ack !== undefined && ack.reasonCode >= 0; ack = owed.peek()) {
      owed.shift();
      if (ack.channel === this) this.#sendAck(ack.packetId, ack.qos, ack.reasonCode, ack.message);
    }
    if (before >= owedAcksPause && owed.length < owedAcksPause) this.resumeReading();
  }

  sendPubrel(packetId: number, reasonCode: number): void {
    this.out.ack(0x62, packetId, this.version === 5 ? reasonCode : 0);
  }

  // SUBACK and UNSUBACK have no properties either: [MQTT-3.1.2-29].

  suback(packetId: number, reasonCodes: number[]): void {
    if (this.state === 'connected') this.out.send({ type: 'suback', packetId, reasonCodes }, this.version, this.maximumPacketSize); // [MQTT-2.2.1-6]
  }

  unsuback(packetId: number, reasonCodes: number[]): void {
    if (this.state === 'connected') this.out.send({ type: 'unsuback', packetId, reasonCodes }, this.version, this.maximumPacketSize);
  }

  /** Before CONNACK: nothing more is read until the client is in. A client that waits for CONNACK is never held. */
  holdUntilConnected(): void {
    if (this.#heldBack) return;
    this.#heldBack = true;
    this.pauseReading();
  }

  /** The end of that. */
  release(): void {
    if (!this.#heldBack) return;
    this.#heldBack = false;
    this.resumeReading();
  }

  /** Pauses nest: the peer is read again when every pause was taken back. */
  pauseReading(): void {
    if (this.#paused++ === 0) this.out.pauseReading();
  }

  resumeReading(): void {
    if (this.#paused > 0 && --this.#paused === 0 && this.state !== 'closed') this.out.resumeReading();
  }

  // ---- the end ----

  /** The client broke a rule, or a limit: MQTT 5.0 clients are told why. [MQTT-4.13.1-1] [MQTT-3.14.0-1] */
  fail(reasonCode: number, now: number): void {
    this.disconnect(reasonCode, now);
  }

  /** The server ends the connection. */
  disconnect(reasonCode: number, now: number, properties?: Properties): void {
    if (this.state === 'closed') return;
    if (this.state === 'connected' && this.version === 5) {
      this.out.send({ type: 'disconnect', reasonCode, properties }, 5, this.maximumPacketSize);
    } else if (this.state === 'connecting') {
      // Not decided yet: the client learns it from CONNACK.
      const code = connackCode(reasonCode);
      this.effects.connack?.(this, code);
      this.out.send({ type: 'connack', sessionPresent: false, reasonCode: code }, this.version, this.maximumPacketSize);
    }
    this.end({ by: 'server', reasonCode, normal: false }, now); // told or not: [MQTT-4.13.2-1] [MQTT-3.14.4-2]
  }

  /** The connection is gone without a DISCONNECT. */
  lost(now: number): void {
    this.end({ by: 'transport', reasonCode: ReasonCode.unspecifiedError, normal: false }, now);
  }

  /** Closes for good: unbinds the session, tells the broker, closes the connection. Nothing is sent or handled after it. [MQTT-3.14.4-1] [MQTT-3.1.4-6] */
  end(end: ChannelEnd, now: number): void {
    if (this.state === 'closed') return;
    const session = this.session;
    this.state = 'closed';
    this.session = undefined;
    this.early = undefined;
    this.topicAliases = undefined;
    this.outAliases = undefined;
    if (session?.channel === this) session.channel = undefined;
    this.out.close();
    this.effects.closed(this, session, end, now);
  }
}

/** No Maximum Packet Size: more than any packet has. */
export const noMaximum = 268_435_460;

/** The nearest code that CONNACK may carry, for a connection that ends before it was accepted. */
function connackCode(reasonCode: number): number {
  switch (reasonCode) {
    case ReasonCode.sessionTakenOver:
    case ReasonCode.administrativeAction:
    case ReasonCode.serverShuttingDown:
    case ReasonCode.keepAliveTimeout:
      return ReasonCode.serverUnavailable;
    default:
      return reasonCode;
  }
}

/**
 * The acknowledgement is complete: its turn comes when those before it have left, and for QoS 2 in a persistent session once
 * the identifier is on disk.
 */
export function settle(ack: DeferredAck, reasonCode: number): void {
  const { session, packetId } = ack;
  const { log } = session;
  if (log === undefined || ack.qos !== 2 || reasonCode >= 0x80 || session.awaitingRel?.get(packetId) !== ack) {
    settleNow(ack, reasonCode);
    return;
  }
  log.received(session, packetId);
  log.whenDurable((ok) => {
    if (ok) settleNow(ack, reasonCode);
    else settleRefused(ack, ReasonCode.quotaExceeded, session.home.now());
  });
}

/** The message was not taken. Before 5.0 only a closed connection tells the publisher that it must try again. */
export function settleRefused(ack: DeferredAck, reasonCode: number, now: number): void {
  const { channel } = ack;
  if (channel instanceof Channel && channel.version !== 5) channel.disconnect(ReasonCode.serverUnavailable, now);
  settleNow(ack, reasonCode);
}

function settleNow(ack: DeferredAck, reasonCode: number): void {
  ack.reasonCode = reasonCode;
  if (ack.qos === 2) {
    const ids = ack.session.awaitingRel;
    if (ids?.get(ack.packetId) === ack) {
      if (reasonCode >= 0x80) ids.delete(ack.packetId);
      else ids.set(ack.packetId, undefined);
    }
  }
  ack.channel.flushAcks();
}
