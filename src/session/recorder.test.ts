// What the tests of this room share: a connection that records, a broker that does what it is told.

import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { Packet, ProtocolVersion } from '#mqtt/packet.js';
import { aliasedSize, aliasedTailAt, writeAliasedHead } from '#mqtt/publish-alias.js';
import type { ChannelEffects, ChannelEnd, SubscribeRequest } from './channel.js';
import { Channel } from './channel.js';
import type { SessionCounters } from './counters.js';
import type { Frame } from './frames.js';
import { Frames } from './frames.js';
import type { SessionLimits } from './limits.js';
import { defaultLimits } from './limits.js';
import type { Message } from './message.js';
import { accept } from './on-connect.js';
import type { AckByte, ChannelOutput } from './output.js';
import type { DeliveryHooks, SessionHome } from './session.js';
import { Session } from './session.js';
import { start, step } from './step.js';

export class Recorder implements ChannelOutput {
  writable = true;
  closed = false;
  reading = true;
  keepAlive = -1;
  readonly peer = '127.0.0.1:1';
  packets: Packet[] = [];
  version: ProtocolVersion = 4;

  send(packet: Packet): void {
    this.packets.push(packet);
  }

  frame(frame: Frame, packetId: number): void {
    const bytes = frame.bytes.slice(frame.start, frame.end);
    if (frame.packetIdAt !== 0) {
      bytes[frame.packetIdAt - frame.start] = packetId >> 8;
      bytes[frame.packetIdAt - frame.start + 1] = packetId & 255;
    }
    const error = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: this.version })).push(bytes, (p) => this.packets.push(p));
    if (error !== undefined) throw new Error(error.message);
  }

  aliased({ bytes, start, end }: Frame, packetId: number, alias: number, named: boolean): void {
    const tailAt = aliasedTailAt(bytes, start);
    const out = new Uint8Array(aliasedSize(bytes, start, end, named));
    const at = writeAliasedHead(out, 0, bytes, start, end, packetId, alias, named);
    out.set(bytes.subarray(tailAt, end), at);
    const error = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: 5 })).push(out, (p) => this.packets.push(p));
    if (error !== undefined) throw new Error(error.message);
  }

  ack(type: AckByte, packetId: number, reasonCode: number): void {
    const types = { 64: 'puback', 80: 'pubrec', 98: 'pubrel', 112: 'pubcomp' } as const;
    this.packets.push({ type: types[type], packetId, reasonCode });
  }

  pauseReading(): void {
    this.reading = false;
  }

  resumeReading(): void {
    this.reading = true;
  }

  close(): void {
    this.closed = true;
  }

  setKeepAlive(seconds: number): void {
    this.keepAlive = seconds;
  }

  take(): Packet[] {
    const all = this.packets;
    this.packets = [];
    return all;
  }
}

export function counters(): SessionCounters & Record<string, { value: number }> {
  const names = 'sent sentQos0 sentQos1 sentQos2 acked pubackMissed pubrecMissed pubrelMissed pubcompMissed publishInUse dropped';
  const causes = 'droppedQueueFull droppedQos0 droppedExpired droppedTooLarge droppedNoLocal';
  const all: Record<string, { value: number }> = {};
  for (const name of `${names} ${causes}`.split(' ')) all[name] = { value: 0 };
  return all as SessionCounters & Record<string, { value: number }>;
}

/** A broker of one session. */
export class OneSession implements SessionHome, ChannelEffects {
  readonly limits: SessionLimits;
  readonly counters: SessionCounters & Record<string, { value: number }> = counters();
  readonly frames: Frames = new Frames();
  readonly hooks: DeliveryHooks = {
    delivered: undefined,
    acked: undefined,
    undelivered: undefined,
    completed: undefined,
    answered: undefined,
    answering: undefined,
    pinged: undefined,
  };
  time = 0;
  session: Session | undefined = undefined;
  out: Recorder = new Recorder();
  channel: Channel | undefined = undefined;
  published: { message: Message; packetId: number }[] = [];
  subscribed: { packetId: number; requests: SubscribeRequest[] }[] = [];
  unsubscribed: (readonly string[])[] = [];
  ends: ChannelEnd[] = [];
  /** False: CONNECT is left undecided. */
  accepts = true;

  constructor(limits: Partial<SessionLimits> = {}) {
    this.limits = { ...defaultLimits, ...limits };
  }

  now(): number {
    return this.time;
  }

  onSessionTimer(): void {}

  /** A new connection; `packet` as MQTT.js would send it. */
  open(): Channel {
    this.out = new Recorder();
    this.channel = new Channel(this.out, this, this.limits, this.counters);
    return this.channel;
  }

  step(packet: Packet): void {
    if (this.channel !== undefined) step(this.channel, packet, this.time);
  }

  /** The packet as bytes first, so that it has a frame of its own. */
  wire(packet: Packet, version: ProtocolVersion): void {
    const bytes = encode(packet, version);
    new Decoder(new DecoderSettings({ role: 'server', protocolVersion: version })).push(bytes, (p) => this.step(p));
  }

  connect(channel: Channel, packet: Packet & { type: 'connect' }): void {
    if (!this.accepts) return;
    const present = this.session !== undefined && !packet.cleanStart;
    const expiry = packet.protocolVersion === 5 ? (packet.properties?.sessionExpiryInterval ?? 0) : packet.cleanStart ? 0 : 7200;
    const session = present && this.session !== undefined ? this.session : new Session(this, packet.clientId, 1, expiry, 0);
    session.expiryIntervalS = expiry;
    this.session = session;
    this.out.version = packet.protocolVersion;
    accept(channel, session, present, packet, 0);
    start(channel, this.time);
  }

  publish(_channel: Channel, _session: Session, message: Message, packet: Packet & { type: 'publish' }): void {
    this.published.push({ message, packetId: packet.packetId });
  }

  subscribe(_channel: Channel, _session: Session, packetId: number, requests: SubscribeRequest[]): void {
    this.subscribed.push({ packetId, requests });
  }

  unsubscribe(_channel: Channel, _session: Session, _packetId: number, topicFilters: readonly string[]): void {
    this.unsubscribed.push(topicFilters);
  }

  closed(_channel: Channel, _session: Session | undefined, end: ChannelEnd): void {
    this.ends.push(end);
  }
}

export function connectPacket(version: ProtocolVersion, more: Partial<Packet & { type: 'connect' }> = {}): Packet & { type: 'connect' } {
  return { type: 'connect', protocolVersion: version, clientId: 'c', cleanStart: true, keepAlive: 60, ...more };
}
