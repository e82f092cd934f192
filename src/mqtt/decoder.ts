// The streaming decoder: chunks of bytes in, packets out, one at a time and in order. `listener` has one
// per connection, bridges and tests use the other role. A packet that lies whole in a chunk is decoded
// where it lies; only what a chunk's end cuts off is copied.
// Invariants: nothing is thrown on bad input; after the first error nothing more is decoded; what is held
// of an incomplete packet is at most twice what has arrived of it (or `smallPacketSize`), never what its
// header announces; until CONNECT only a CONNECT of limited size is accepted.

import { CopySpace } from '#base/copy-space.js';
import { parseAck } from './acks.js';
import { parseConnack } from './connack.js';
import { parseConnect } from './connect.js';
import { parseAuth, parseDisconnect } from './disconnect.js';
import type { Packet, ProtocolVersion, PublishPacket } from './packet.js';
import { type PublishContext, parsePublish } from './publish.js';
import { ReasonCode } from './reason-code.js';
import { parseSuback, parseSubscribe } from './subscribe.js';
import { topicLevelsMax } from './topic.js';
import { isSame, TopicCache, type TopicEntry } from './topic-cache.js';
import { parseUnsuback, parseUnsubscribe } from './unsubscribe.js';
import { type DecodeError, WireReader } from './wire-reader.js';

export type { DecodeError } from './wire-reader.js';

/** Default of `mqtt.max_packet_size`. */
export const packetSizeMax: number = 1024 * 1024;
/** Default bound of a CONNECT: room for a will and a long token, not for a flood from strangers. */
export const connectSizeMax: number = 64 * 1024;
/** An incomplete packet up to this size is given its whole room at once. */
export const smallPacketSize = 4096;

export interface DecoderOptions {
  /** `server` decodes what clients send and wants CONNECT first; `client` decodes what a server sends. Default `server`. */
  readonly role?: 'server' | 'client';
  /** The client's version; needed in role `client`. In role `server` it means that CONNECT has been decoded elsewhere. */
  readonly protocolVersion?: ProtocolVersion | undefined;
  /** Largest packet in bytes, fixed header included. Default {@link packetSizeMax}. */
  readonly maxPacketSize?: number;
  /** Largest CONNECT; `maxPacketSize` counts too. Default {@link connectSizeMax}. */
  readonly maxConnectSize?: number;
  /** Topic Names seen before, shared by connections; it also says how many levels a name may have. */
  readonly topics?: TopicCache;
}

/** Options with their defaults: made once per listener and shared by the decoders of its connections. */
export class DecoderSettings {
  readonly fromClient: boolean;
  readonly protocolVersion: ProtocolVersion | 0;
  readonly maxPacketSize: number;
  readonly maxConnectSize: number;
  readonly topics: TopicCache;

  constructor(options: DecoderOptions = {}) {
    this.fromClient = options.role !== 'client';
    this.protocolVersion = options.protocolVersion ?? (this.fromClient ? 0 : 4);
    this.maxPacketSize = options.maxPacketSize ?? packetSizeMax;
    this.maxConnectSize = Math.min(options.maxConnectSize ?? connectSizeMax, this.maxPacketSize);
    this.topics = options.topics ?? new TopicCache(16, topicLevelsMax);
  }
}

// Parsing is synchronous and calls nobody, so one reader does for every decoder.
const reader = new WireReader();

// What a first byte means where the decoder stands: 0 fit, else why not.
const fit = 0;
const wrongFlags = 1;
const wrongTime = 2;

const fromClientTypes = [3, 4, 5, 6, 7, 8, 10, 12, 14];
const fromServerTypes = [2, 3, 4, 5, 6, 7, 9, 11, 13];

const beforeConnect = firstBytes([1], 4);
const fromClientBytes = [firstBytes(fromClientTypes, 3), firstBytes(fromClientTypes, 4), firstBytes([...fromClientTypes, 15], 5)];
const fromServerBytes = [firstBytes(fromServerTypes, 3), firstBytes(fromServerTypes, 4), firstBytes([...fromServerTypes, 14, 15], 5)];

function firstBytes(types: readonly number[], version: ProtocolVersion): Uint8Array {
  const out = new Uint8Array(256).fill(wrongTime);
  for (const type of types) {
    for (let flags = 0; flags < 16; flags++) out[(type << 4) | flags] = flagsFit(type, flags, version) ? fit : wrongFlags;
  }
  return out;
}

function flagsFit(type: number, flags: number, version: ProtocolVersion): boolean {
  if (type === 3) {
    const qos = (flags >> 1) & 3;
    return qos !== 3 && !(qos === 0 && (flags & 8) !== 0); // [MQTT-3.3.1-4] [MQTT-3.3.1-2]
  }
  // PUBREL, SUBSCRIBE, UNSUBSCRIBE: 0010 [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]; 3.1 repeats them with DUP.
  if (type === 6 || type === 8 || type === 10) return flags === 2 || (version === 3 && flags === 10);
  return flags === 0; // [MQTT-2.1.3-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
}

/** QoS 0, nothing retained. */
const plainPublish = 0x30;
/** For what must last of bytes that are lent. */
const space = new CopySpace();

/** A whole PUBLISH in `bytes[start, end)` that is good until this returns, fit to be sent on as it is. False: it is needed for longer. */
export type OnLentPublish = (topicName: string, bytes: Uint8Array, start: number, end: number) => boolean;

export class Decoder implements PublishContext {
  readonly #settings: DecoderSettings;
  /** Which first bytes may come next. */
  #first: Uint8Array;
  /** An incomplete packet's bytes so far; undefined between packets. */
  #held: Uint8Array | undefined = undefined;
  #heldLength = 0;
  /** Size of the packet in `#held`; 0 while its fixed header is incomplete. */
  #needed = 0;
  #maxSize: number;
  #closed = false;
  #error: DecodeError | undefined = undefined;
  /** The client's version; 0 until CONNECT. */
  protocolVersion: ProtocolVersion | 0;
  /** For parsing PUBLISH only. */
  lastTopic: TopicEntry | undefined = undefined;

  constructor(settings: DecoderSettings) {
    this.#settings = settings;
    this.protocolVersion = settings.protocolVersion;
    this.#first = this.#expected();
    this.#maxSize = this.protocolVersion === 0 ? settings.maxConnectSize : settings.maxPacketSize;
  }

  get fromClient(): boolean {
    return this.#settings.fromClient;
  }

  get topics(): TopicCache {
    return this.#settings.topics;
  }

  /** Why decoding stopped; the result of every `push` from then on. */
  get error(): DecodeError | undefined {
    return this.#error;
  }

  /** Bytes of memory that an incomplete packet takes now. */
  get heldBytes(): number {
    return this.#held?.length ?? 0;
  }

  /** Ends decoding, also from within `onPacket`: the rest of the chunk is not looked at. */
  close(): void {
    this.#closed = true;
    this.#held = undefined;
  }

  /**
   * Decodes `chunk`, and calls `onPacket` for each packet completed by it. Returns the error that
   * stopped decoding, if one did. `onPublish` gets those of PUBLISH instead: of one kind, they are looked at faster. Packets hold views of `chunk`, or of a buffer of their own when they
   * came in pieces; `onPacket` must not throw and must not push into the same decoder.
   */
  push(chunk: Uint8Array, onPacket: (packet: Packet) => void, onPublish: (packet: PublishPacket) => void = onPacket): DecodeError | undefined {
    return this.#run(chunk, 0, chunk.length, onPacket, onPublish);
  }

  /**
   * As `push`, of bytes that are written over once it returns. Plain PUBLISHes at their beginning (QoS 0, nothing retained, no
   * properties, whole) are offered to `onLent` where they lie; from the first that it refuses on, and from the first other
   * packet, the rest is copied and decoded like every other chunk.
   */
  pushLent(
    bytes: Uint8Array,
    start: number,
    end: number,
    onLent: OnLentPublish,
    onPacket: (packet: Packet) => void,
    onPublish: (packet: PublishPacket) => void,
  ): DecodeError | undefined {
    let at = start;
    if (this.#held === undefined) {
      for (let next = at; next >= 0 && at < end && !this.#closed; ) {
        next = this.#lentPublish(bytes, at, end, onLent);
        if (next >= 0) at = next;
      }
    }
    if (at >= end || this.#closed) return this.#error;
    const from = space.copy(bytes, at, end);
    return this.#run(space.bytes, from, from + end - at, onPacket, onPublish);
  }

  /** Where the PUBLISH at `at` ends, if `onLent` took it; else -1. What is wrong with one is found when it is decoded again. */
  #lentPublish(bytes: Uint8Array, at: number, end: number, onLent: OnLentPublish): number {
    if (bytes[at] !== plainPublish || this.#first[plainPublish] !== fit) return -1;
    let bodyAt = at + 1;
    let remaining = 0;
    let b = 0x80;
    for (let shift = 0; b >= 0x80 && shift < 28 && bodyAt < end; shift += 7) {
      b = bytes[bodyAt++] as number;
      remaining |= (b & 0x7f) << shift;
    }
    const packetEnd = bodyAt + remaining;
    const nameAt = bodyAt + 2;
    if (b >= 0x80 || packetEnd > end || packetEnd - at > this.#maxSize || nameAt > packetEnd) return -1;
    // Not in the shortest form: no frame to be sent on.
    if (b === 0 && bodyAt - at > 2) return -1;
    const nameEnd = nameAt + (((bytes[bodyAt] as number) << 8) | (bytes[bodyAt + 1] as number));
    if (nameEnd > packetEnd || nameEnd === nameAt) return -1;
    if (this.protocolVersion === 5 && (nameEnd === packetEnd || bytes[nameEnd] !== 0)) return -1;
    let topic = this.lastTopic;
    if (topic === undefined || !isSame(topic, bytes, nameAt, nameEnd)) {
      topic = this.topics.find(bytes, nameAt, nameEnd);
      if (topic === undefined) return -1;
      this.lastTopic = topic;
    }
    return onLent(topic.topicName, bytes, at, packetEnd) ? packetEnd : -1;
  }

  #run(
    chunk: Uint8Array,
    start: number,
    end: number,
    onPacket: (packet: Packet) => void,
    onPublish: (packet: PublishPacket) => void,
  ): DecodeError | undefined {
    let at = start;
    if (this.#held !== undefined && !this.#closed) at = this.#resume(this.#held, chunk, at, end, onPacket, onPublish);
    while (at < end && !this.#closed) {
      const first = chunk[at] as number;
      if (this.#first[first] !== fit) return this.#refuseFirst(first);
      let bodyAt = at + 1;
      let remaining = 0;
      let shift = 0;
      let b = 0x80;
      while (b >= 0x80 && shift < 28 && bodyAt < end) {
        b = chunk[bodyAt++] as number;
        remaining |= (b & 0x7f) << shift;
        shift += 7;
      }
      if (b >= 0x80) {
        if (shift === 28) return this.#fail(ReasonCode.malformedPacket, 'remaining length longer than 4 bytes');
        this.#hold(chunk, at, end, 0);
        break;
      }
      const packetEnd = bodyAt + remaining;
      if (packetEnd - at > this.#maxSize) return this.#fail(ReasonCode.packetTooLarge, 'packet too large'); // [MQTT-3.2.2-15]
      if (packetEnd > end) {
        this.#hold(chunk, at, end, packetEnd - at);
        break;
      }
      if (!this.#packet(first, chunk, at, bodyAt, packetEnd, onPacket, onPublish)) break;
      at = packetEnd;
    }
    return this.#error;
  }

  /** Parses one whole packet and hands it on; false when it is wrong. */
  #packet(
    first: number,
    bytes: Uint8Array,
    start: number,
    bodyAt: number,
    end: number,
    onPacket: (packet: Packet) => void,
    onPublish: (packet: PublishPacket) => void,
  ): boolean {
    if (bodyAt - start > 2 && bytes[bodyAt - 1] === 0 && this.protocolVersion === 5) {
      this.#fail(ReasonCode.malformedPacket, 'remaining length not in its shortest form'); // [MQTT-1.5.5-1]
      return false;
    }
    if (first >> 4 === 3) {
      const publish = parsePublish(this, reader, bytes, start, bodyAt, end);
      if (publish === undefined) return this.#refused();
      onPublish(publish);
      return true;
    }
    const packet = this.#parse(first >> 4, bytes, start, bodyAt, end);
    if (packet === undefined) return this.#refused();
    onPacket(packet);
    return true;
  }

  #refused(): false {
    this.#error = reader.error;
    reader.error = undefined;
    this.close();
    return false;
  }

  #parse(type: number, bytes: Uint8Array, start: number, bodyAt: number, end: number): Packet | undefined {
    reader.reset(bytes, bodyAt, end);
    const shortest = bodyAt - start === 2 || bytes[bodyAt - 1] !== 0;
    const packet = type === 1 ? this.#parseConnect(shortest) : this.#parseBody(type, this.protocolVersion || 4);
    reader.release();
    return packet;
  }

  #parseConnect(shortest: boolean): Packet | undefined {
    const packet = parseConnect(reader, this.topics.levelsMax);
    if (packet === undefined) return undefined;
    if (packet.protocolVersion === 5 && !shortest) {
      reader.fail(ReasonCode.malformedPacket, 'remaining length not in its shortest form', 5); // [MQTT-1.5.5-1]
      return undefined;
    }
    this.protocolVersion = packet.protocolVersion;
    this.#first = this.#expected();
    this.#maxSize = this.#settings.maxPacketSize;
    return packet;
  }

  #parseBody(type: number, version: ProtocolVersion): Packet | undefined {
    switch (type) {
      case 2:
        return parseConnack(reader, version);
      case 4:
        return parseAck(reader, 'puback', version);
      case 5:
        return parseAck(reader, 'pubrec', version);
      case 6:
        return parseAck(reader, 'pubrel', version);
      case 7:
        return parseAck(reader, 'pubcomp', version);
      case 8:
        return parseSubscribe(reader, version);
      case 9:
        return parseSuback(reader, version);
      case 10:
        return parseUnsubscribe(reader, version);
      case 11:
        return parseUnsuback(reader, version);
      case 14:
        return parseDisconnect(reader, version, this.fromClient);
      case 15:
        return parseAuth(reader);
      default:
        reader.done();
        return reader.error === undefined ? { type: type === 12 ? 'pingreq' : 'pingresp' } : undefined;
    }
  }

  /** Keeps what there is of the packet at `at`, whose size is `needed` (0: not known yet). */
  #hold(chunk: Uint8Array, at: number, end: number, needed: number): void {
    this.#held = undefined;
    this.#heldLength = 0;
    this.#needed = needed;
    this.#append(chunk, at, end);
  }

  /** Adds `chunk[at, end)` to what is held, and returns the bytes that hold it. */
  #append(chunk: Uint8Array, at: number, end: number): Uint8Array {
    const length = this.#heldLength + end - at;
    let held = this.#held;
    if (held === undefined || held.length < length) {
      const room = this.#needed <= smallPacketSize ? this.#needed : Math.min(this.#needed, Math.max(smallPacketSize, 2 * length));
      const next = new Uint8Array(this.#needed === 0 ? fixedHeaderMax : room);
      if (held !== undefined) next.set(held.subarray(0, this.#heldLength));
      held = next;
      this.#held = held;
    }
    held.set(chunk.subarray(at, end), this.#heldLength);
    this.#heldLength = length;
    return held;
  }

  /** Goes on with the held packet; returns how far into `chunk` it went. */
  #resume(
    held: Uint8Array,
    chunk: Uint8Array,
    at: number,
    end: number,
    onPacket: (packet: Packet) => void,
    onPublish: (packet: PublishPacket) => void,
  ): number {
    while (this.#needed === 0) {
      if (at === end) return at;
      held = this.#append(chunk, at, at + 1);
      at++;
      this.#needed = this.#sizeOfHeld(held);
      if (this.#error !== undefined) return at;
    }
    const take = Math.min(this.#needed - this.#heldLength, end - at);
    held = this.#append(chunk, at, at + take);
    at += take;
    if (this.#heldLength < this.#needed) return at;
    const needed = this.#needed;
    this.#held = undefined; // the bytes belong to the packet now
    this.#heldLength = 0;
    this.#needed = 0;
    let bodyAt = 1;
    while ((held[bodyAt++] as number) >= 0x80);
    this.#packet(held[0] as number, held, 0, bodyAt, needed, onPacket, onPublish);
    return at;
  }

  /** The held packet's size from its fixed header, 0 while that is incomplete. */
  #sizeOfHeld(held: Uint8Array): number {
    const last = this.#heldLength - 1;
    if (last === 0) return 0;
    if ((held[last] as number) >= 0x80) {
      if (last === 4) this.#fail(ReasonCode.malformedPacket, 'remaining length longer than 4 bytes');
      return 0;
    }
    let remaining = 0;
    for (let i = last; i > 0; i--) remaining = (remaining << 7) | ((held[i] as number) & 0x7f);
    const size = 1 + last + remaining;
    if (size > this.#maxSize) this.#fail(ReasonCode.packetTooLarge, 'packet too large');
    return size;
  }

  #expected(): Uint8Array {
    const version = this.protocolVersion;
    if (version === 0) return beforeConnect;
    const tables = this.#settings.fromClient ? fromClientBytes : fromServerBytes;
    return tables[version - 3] as Uint8Array;
  }

  #refuseFirst(first: number): DecodeError {
    if (this.#first[first] === wrongFlags) return this.#fail(ReasonCode.malformedPacket, 'flags of the fixed header'); // [MQTT-2.1.3-1]
    if (this.protocolVersion === 0) return this.#fail(ReasonCode.protocolError, 'first packet is not CONNECT'); // [MQTT-3.1.0-1]
    if (first >> 4 === 1 && this.fromClient) return this.#fail(ReasonCode.protocolError, 'second CONNECT'); // [MQTT-3.1.0-2]
    if (first >> 4 === 0) return this.#fail(ReasonCode.malformedPacket, 'packet type 0');
    return this.#fail(ReasonCode.protocolError, 'packet that this side does not send in this version');
  }

  #fail(reasonCode: number, message: string): DecodeError {
    const error: DecodeError = { reasonCode, message };
    this.#error = error;
    this.close();
    return error;
  }
}

/** Bytes of the longest fixed header. */
const fixedHeaderMax = 5;
