// One client's connection: drives its channel with what arrives, and gathers what the channel and other
// clients' messages want sent. Also keeps its times: CONNECT must come, the client must not fall silent,
// it must take what it is sent, and a closed one must go.
// Invariants: nothing thrown in here gets past its edges (the handlers and the timer); after `close`
// nothing is read and nothing more is sent.
import { WheelTimer } from '#base/timer-wheel.js';
import { backlogBytes } from '#broker/pressure.js';
import type { Connection, ConnectionHandler, NetError } from '#env/net.js';
import type { DecodeError } from '#mqtt/decoder.js';
import { Decoder } from '#mqtt/decoder.js';
import type { Packet, ProtocolVersion, PublishPacket } from '#mqtt/packet.js';
import { ReasonCode } from '#mqtt/reason-code.js';
import type { TopicEntry } from '#mqtt/topic-cache.js';
import type { Channel, ClientShortcut } from '#session/channel.js';
import { noMaximum } from '#session/channel.js';
import type { Frame } from '#session/frames.js';
import type { AckByte, ChannelOutput } from '#session/output.js';
import { shortcutOf, step, stepLent, stepPublish } from '#session/step.js';
import { sendAck, sendAliased, sendPacket } from './answers.js';
import { type ChunkReader, chunk, onLentPublish, onPacket, onPublish } from './chunk.js';
import type { ConnectionHome } from './connection-home.js';
import { identify } from './identity.js';
import { absent, type OutboxClient } from './outbox.js';
import { RateLimit } from './rate-limit.js';
import { type Holder, holderBytesMin } from './relief.js';

type Home = ConnectionHome<ClientConnection>;

/** The channel holds the client back; its output is full; it has sent too much too fast; it sends a large packet while memory is short. */
const held = 1;
const full = 2;
const throttled = 4;
const slowed = 8;

export class ClientConnection extends WheelTimer implements ConnectionHandler, ChannelOutput, OutboxClient, Holder, ChunkReader {
  // What every message of the client looks at comes first, to be near each other in memory.
  readonly #home: Home;
  /** For what comes next, if it is like what came last. */
  #shortcut: ClientShortcut | undefined = undefined;
  /** Seconds on the monotonic clock, a small integer: of the last packet. */
  #lastS: number;
  #closing = false;
  readonly net: Connection;
  readonly #decoder: Decoder;
  readonly #channel: Channel;
  outHead: number = absent;
  outTail = -1;
  outBytes = 0;
  /** Bytes that the transport has not passed on, as of the last flush. */
  #buffered = 0;
  #gone = false;
  /** One that is not good now. */
  #spare: ClientShortcut | undefined = undefined;
  introduced = false;
  /** Why the client is not read: `held`, `full`, `throttled`, `slowed`, together; 0: it is. */
  #unread = 0;
  /** Only where the listener has such limits. */
  readonly #rate: RateLimit | undefined;
  /** Milliseconds of silence that end the connection; 0: any. */
  #silenceMs = 0;
  /** As `#lastS`: since when the transport is full; -1: it is not. */
  #fullSinceS = -1;
  #bufferedThen = 0;

  constructor(net: Connection, home: Home, now: number) {
    super();
    this.#home = home;
    this.#lastS = secondsOf(now);
    this.net = net;
    this.#decoder = new Decoder(home.decoding);
    this.#channel = home.broker.newChannel(this, home.limits);
    this.#rate = home.rates === undefined ? undefined : new RateLimit(home.rates, now);
    net.handler = this;
    home.strangers++;
    home.broker.timers.schedule(this, now + home.options.idleTimeoutMs);
  }

  get peer(): string {
    const { host, port } = this.net.remote;
    return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  }

  get authenticates(): boolean {
    return this.#home.options.enableAuthn;
  }

  get mountpoint(): string {
    return this.#home.options.mountpoint;
  }

  certificateField(field: 'cn' | 'dn'): string | undefined {
    return this.net.certificateField?.(field);
  }

  // ---- what arrives ----

  onData(bytes: Uint8Array): void {
    this.#received(bytes, 0, bytes.length, false);
  }

  onLent(bytes: Uint8Array, start: number, end: number): void {
    const at = this.#shortcut === undefined ? start : this.#takeShortcut(this.#shortcut, bytes, start, end);
    if (at < end) this.#received(bytes, at, end, true);
  }

  /** Returns where what is left begins. */
  #takeShortcut(shortcut: ClientShortcut, bytes: Uint8Array, start: number, end: number): number {
    const home = this.#home;
    const { broker, metrics, outbox } = home;
    const now = outbox.now();
    let at = start;
    try {
      at = shortcut.take(bytes, start, end, now);
    } catch (error) {
      this.#failed(error);
      at = end;
    }
    if (at === start) return start;
    this.#lastS = secondsOf(now);
    const n = broker.passed();
    metrics.packetsReceived.value += n;
    metrics.publishReceived.value += n;
    metrics.bytesReceived.value += at - start;
    if (at < end) return at;
    outbox.early();
    if (metrics.bytesReceived.value >= home.lookAtBytes) home.look();
    return at;
  }

  #received(bytes: Uint8Array, start: number, end: number, lent: boolean): void {
    if (this.#closing) {
      // By its own shortcut, just now.
      this.#home.outbox.early();
      return;
    }
    const now = this.#home.outbox.now();
    this.#lastS = secondsOf(now);
    const { bytesReceived, publishReceived } = this.#home.metrics;
    const before = publishReceived.value;
    const { lastTopic } = this.#decoder;
    if (this.#shortcut !== undefined) this.#spare = this.#shortcut;
    this.#shortcut = undefined;
    bytesReceived.value += end - start;
    chunk.reader = this;
    chunk.now = now;
    try {
      const error = lent
        ? this.#decoder.pushLent(bytes, start, end, onLentPublish, onPacket, onPublish)
        : this.#decoder.push(bytes, onPacket, onPublish);
      if (chunk.passed > 0) {
        this.#countPassed();
        if (chunk.passedTo === end && lastTopic !== undefined && lastTopic === this.#decoder.lastTopic) this.#findShortcut(lastTopic, now);
      }
      if (error !== undefined && !this.#closing) this.#refuse(error, now);
      // Decoding is synchronous: whatever was counted meanwhile came from here.
      if (this.#rate !== undefined) this.#throttle(this.#rate, publishReceived.value - before, end - start, now);
    } catch (error) {
      if (chunk.passed > 0) this.#countPassed();
      this.#failed(error);
    } finally {
      chunk.reader = undefined;
    }
    // Between two chunks nobody is in the middle of a delivery, and what was lent must not be referred to any more.
    this.#home.outbox.early();
    const { slow, lookAtBytes } = this.#home;
    if (slow !== undefined && this.#decoder.heldBytes >= holderBytesMin) {
      slow.add(this);
      this.#stopReading(slowed);
    }
    if (bytesReceived.value >= lookAtBytes) this.#home.look();
  }

  /** Messages with the same name ended two chunks, and the second, if not both, took the short way. */
  #findShortcut(topic: TopicEntry, now: number): void {
    if (this.#closing || this.#rate !== undefined) return;
    this.#shortcut = shortcutOf(this.#channel, topic, this.#spare, now);
    if (this.#shortcut !== undefined) this.#spare = undefined;
  }

  #shut(): void {
    this.#closing = true;
    this.#decoder.close();
    (this.#shortcut ?? this.#spare)?.close();
    this.#shortcut = undefined;
    this.#spare = undefined;
  }

  #countPassed(): void {
    const { broker, metrics } = this.#home;
    metrics.packetsReceived.value += chunk.passed;
    metrics.publishReceived.value += chunk.passed;
    chunk.passed = 0;
    broker.passed();
  }

  // ---- ChunkReader ----

  passPublish(topicName: string, bytes: Uint8Array, start: number, end: number, now: number): boolean {
    return stepLent(this.#channel, topicName, bytes, start, end, now);
  }

  handlePublish(packet: PublishPacket, now: number): void {
    const { metrics } = this.#home;
    metrics.packetsReceived.value++;
    metrics.publishReceived.value++;
    stepPublish(this.#channel, packet, now);
  }

  handle(packet: Packet, now: number): void {
    const { metrics } = this.#home;
    metrics.packetsReceived.value++;
    const counter = metrics.receivedByType.get(packet.type);
    if (counter !== undefined) counter.value++;
    if (packet.type === 'connect') {
      this.#introduce();
      if (this.#home.identity !== undefined) identify(packet, this.net, this.#home.identity);
    }
    step(this.#channel, packet, now);
  }

  #introduce(): void {
    if (this.introduced) return;
    this.introduced = true;
    this.#home.strangers--;
  }

  /** Bytes that are no packet, or one that must not come: the client is told why, where its version can say it. */
  #refuse(error: DecodeError, now: number): void {
    this.#home.metrics.malformed.value++;
    if (error.reasonCode === ReasonCode.packetTooLarge) this.#home.metrics.packetsTooLarge.value++;
    this.#home.broker.env.log.debug('closing a connection for what it sent', { peer: this.peer, reason: error.message });
    const version = error.connackVersion;
    if (version !== undefined && this.#channel.state === 'idle') {
      this.send({ type: 'connack', sessionPresent: false, reasonCode: error.reasonCode }, version, noMaximum);
    }
    this.#channel.fail(error.reasonCode, now);
  }

  onDrain(): void {
    this.#buffered = 0;
    this.#fullSinceS = -1;
    if (this.#closing) return;
    this.#read(full);
    this.#goOn();
  }

  /** There is room for what waits. */
  #goOn(): void {
    try {
      this.#channel.drained();
    } catch (error) {
      this.#failed(error);
    }
  }

  onClose(_error: NetError | undefined): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#shut();
    this.#introduce();
    this.#home.broker.timers.cancel(this);
    try {
      this.#channel.lost(this.#home.broker.env.clock.now());
    } catch (error) {
      this.#failed(error);
    }
    // The channel asked to be closed, which would keep a timer for a connection that is gone.
    this.#home.broker.timers.cancel(this);
    this.#home.closed(this);
  }

  /** A bug in here or further in: it costs this connection, not the process. [MQTT-4.8.0-2] of 3.1.1 */
  #failed(error: unknown): void {
    this.#home.metrics.failures.value++;
    this.#home.broker.env.log.error('handling a connection failed', {
      peer: this.peer,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    this.#shut();
    this.net.destroy();
  }

  // ---- ChannelOutput ----

  get writable(): boolean {
    return this.outBytes + this.#buffered < this.#home.outputBytesMax;
  }

  frame(frame: Frame, packetId: number): void {
    if (this.#closing) return;
    const { metrics, outbox } = this.#home;
    metrics.packetsSent.value++;
    metrics.publishSent.value++;
    outbox.add(this, frame.bytes, frame.start, frame.end, frame.packetIdAt, packetId);
  }

  pass(bytes: Uint8Array, start: number, end: number): void {
    if (this.#closing) return;
    const { metrics, outbox } = this.#home;
    metrics.packetsSent.value++;
    metrics.publishSent.value++;
    outbox.pass(this, bytes, start, end);
  }

  aliased(frame: Frame, packetId: number, alias: number, named: boolean): void {
    if (!this.#closing) sendAliased(this.#home.metrics, this.#home.outbox, this, frame, packetId, alias, named);
  }

  ack(type: AckByte, packetId: number, reasonCode: number): void {
    if (!this.#closing) sendAck(this.#home.metrics, this.#home.outbox, this, type, packetId, reasonCode);
  }

  send(packet: Packet, version: ProtocolVersion, maximumPacketSize: number): void {
    if (!this.#closing) sendPacket(this.#home.metrics, this.#home.outbox, this, packet, version, maximumPacketSize);
  }

  pauseReading(): void {
    this.#stopReading(held);
  }

  resumeReading(): void {
    this.#read(held);
  }

  #stopReading(reason: number): void {
    if (this.#unread === 0) this.net.pause();
    this.#unread |= reason;
  }

  /** `reason` is over; the client is read again when it was the last one. */
  #read(reason: number): void {
    if ((this.#unread & reason) === 0) return;
    this.#unread &= ~reason;
    if (this.#unread === 0 && !this.#closing) this.net.resume();
  }

  #throttle(rate: RateLimit, messages: number, bytes: number, now: number): void {
    // Before CONNECT there is the bound of a CONNECT, and one time that nothing extends.
    if (!rate.spend(messages, bytes, now) || this.#closing || this.#channel.state === 'idle') return;
    this.#stopReading(throttled);
    this.#arm(now);
  }

  setKeepAlive(seconds: number): void {
    this.#silenceMs = Math.ceil(seconds * 1000 * this.#home.options.keepAliveMultiplier); // [MQTT-3.1.2-22]
    this.#arm(this.#home.broker.env.clock.now());
  }

  close(): void {
    if (this.#closing) return;
    this.#shut();
    this.#home.outbox.touch(this);
    this.#home.broker.timers.schedule(this, this.#home.broker.env.clock.now() + this.#home.options.lingerMs);
  }

  // ---- when memory is short ----

  get quiet(): boolean {
    return secondsOf(this.#home.outbox.now()) - this.#lastS >= unreadS;
  }

  held(patient: boolean): number {
    const reads = this.#fullSinceS === -1 || secondsOf(this.#home.outbox.now()) - this.#fullSinceS < unreadS;
    const output = patient && reads ? 0 : this.outBytes + this.net.bufferedBytes;
    const waits = this.#channel.passingBytes;
    return output + this.#decoder.heldBytes + (waits > backlogBytes ? waits : 0);
  }

  /** A chunk more of its large packet. */
  readOn(): void {
    this.#lastS = secondsOf(this.#home.outbox.now()); // its silence was ours
    this.#read(slowed);
  }

  cutOff(): void {
    if (this.#gone) return;
    this.#channel.disconnect(ReasonCode.quotaExceeded, this.#home.broker.env.clock.now());
    this.net.destroy(); // what it is sent it would not read
  }

  // ---- after a write ----

  flushed(isFull: boolean, bytes: number): void {
    if (this.#gone) return;
    if (this.#closing) {
      this.net.end();
      return;
    }
    if (!isFull) {
      // What is left has not reached the mark at which `onDrain` would follow.
      if (this.#fullSinceS === -1) this.#buffered = 0;
      // These bytes alone were over the bound, which may have been lower then, and the transport took them all.
      if (bytes >= this.#home.outputBytesMin) this.#goOn();
      return;
    }
    this.#buffered = this.net.bufferedBytes;
    if (this.#fullSinceS === -1) {
      this.#markFull(this.#home.broker.env.clock.now());
    }
    if ((this.#unread & full) === 0 && this.#buffered >= this.#home.outputBytesMax) {
      this.#home.metrics.outputFull.value++;
      this.#stopReading(full);
    }
  }

  #markFull(now: number): void {
    this.#fullSinceS = secondsOf(now);
    this.#bufferedThen = this.#buffered;
    this.#arm(now);
  }

  // ---- times ----

  onTimer(now: number): void {
    try {
      this.#check(now);
    } catch (error) {
      this.#failed(error);
    }
  }

  #check(now: number): void {
    const { metrics, options } = this.#home;
    if (this.#closing) {
      this.net.destroy();
      return;
    }
    if (this.#channel.state === 'idle') {
      metrics.idleTimeouts.value++;
      this.#channel.fail(ReasonCode.keepAliveTimeout, now);
      return;
    }
    if (this.#fullSinceS !== -1 && now - this.#fullSinceS * 1000 >= options.sendTimeoutMs) {
      const buffered = this.net.bufferedBytes;
      if (buffered >= this.#bufferedThen) {
        metrics.sendTimeouts.value++;
        this.#channel.disconnect(ReasonCode.quotaExceeded, now);
        this.net.destroy(); // it would not take the rest either
        return;
      }
      this.#buffered = buffered;
      this.#markFull(now);
      return;
    }
    if ((this.#unread & throttled) !== 0 && this.#rate !== undefined && now >= this.#rate.resumeAt) {
      this.#lastS = secondsOf(now);
      this.#read(throttled);
    }
    // While we do not read, the client's silence is ours.
    const silent = now - (this.#lastS + 1) * 1000;
    if (this.#silenceMs > 0 && this.#unread === 0 && silent >= this.#silenceMs) {
      metrics.keepAliveTimeouts.value++;
      this.#channel.disconnect(ReasonCode.keepAliveTimeout, now);
      return;
    }
    this.#arm(now);
  }

  /** The next moment at which something may be over. */
  #arm(now: number): void {
    const { options, broker } = this.#home;
    let due = Number.POSITIVE_INFINITY;
    if (this.#channel.state === 'connecting') due = now + options.idleTimeoutMs;
    if (this.#silenceMs > 0) due = Math.max((this.#lastS + 1) * 1000 + this.#silenceMs, now + minRecheckMs);
    if (this.#fullSinceS !== -1) due = Math.min(due, this.#fullSinceS * 1000 + options.sendTimeoutMs);
    if ((this.#unread & throttled) !== 0 && this.#rate !== undefined) due = Math.min(due, this.#rate.resumeAt);
    if (due === Number.POSITIVE_INFINITY) broker.timers.cancel(this);
    else broker.timers.schedule(this, due);
  }
}

/** A small integer, which needs no memory of its own; good for 68 years of running. */
function secondsOf(now: number): number {
  return (now / 1000) | 0;
}

/** Seconds, begun ones included, after which output that has not all been taken counts as not read. */
const unreadS = 2;

/** A client that is held back is looked at again after this, in ms. */
const minRecheckMs = 500;
