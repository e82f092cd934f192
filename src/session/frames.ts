// The PUBLISH frames of one message: each (version, QoS, RETAIN, identifiers) is encoded once, however
// many clients get it, and the publisher's own frame is passed through when nothing in it changes.
// Frames are positions in a buffer that is never written again, so they may be sent until the turn ends
// and beyond. Packet identifiers are patched in by whoever copies a frame into the output.
// One instance per broker: `begin` for a message, then `frame` for each receiver.
import { emptyBytes } from '#base/bytes.js';
import type { Properties, ProtocolVersion, PublishPacket, UserProperty } from '#mqtt/packet.js';
import { publishSizeAs, writePublishAs } from '#mqtt/publish.js';
import { unmountName } from '#mqtt/special-topics.js';
import { stringSize } from '#mqtt/wire-writer.js';
import type { Message, Qos } from './message.js';

/** `bytes[start, end)`; `packetIdAt` is where in `bytes` the Packet Identifier is, 0 when there is none. */
export interface Frame {
  bytes: Uint8Array;
  start: number;
  end: number;
  packetIdAt: number;
}

/** Fresh memory is taken in pieces of this size, and cut up. */
const slabBytes = 64 * 1024;
/** Rounds are small integers. */
const roundMax = 2 ** 30;

class Slot implements Frame {
  bytes: Uint8Array = emptyBytes;
  start = 0;
  end = 0;
  packetIdAt = 0;
  /** The message it was made for. */
  round = 0;
  identifiers: readonly number[] | undefined = undefined;
  dup = false;
}

export class Frames {
  readonly #slots: Slot[] = [];
  #round = 0;
  #slab: Uint8Array = new Uint8Array(slabBytes);
  #slabAt = 0;
  #message: Message | undefined = undefined;
  #now = 0;
  /** The publisher's packet and its version (3.1 and 3.1.1 are alike here), while its frame may serve. */
  #source: PublishPacket | undefined = undefined;
  #sourceIs5 = false;
  readonly #packet: Scratch = {
    type: 'publish',
    topicName: '',
    payload: emptyBytes,
    qos: 0,
    retain: false,
    dup: false,
    packetId: 0,
    properties: undefined,
  };
  /** Whether `#packet.properties` belongs to the current message. */
  #hasProperties = false;

  #unmounted: Frames | undefined = undefined;
  #mountedMessage: Message | undefined = undefined;
  #mountpoint = '';

  constructor() {
    for (let i = 0; i < 12; i++) this.#slots.push(new Slot());
  }

  /** Starts on a message. `source`: the packet it came in, when it came from a client in this turn. */
  begin(message: Message, now: number, source?: PublishPacket, sourceVersion?: ProtocolVersion): void {
    this.#message = message;
    this.#now = now;
    if (++this.#round === roundMax) {
      // An old slot must not pass for one of this message.
      for (const slot of this.#slots) slot.round = 0;
      this.#round = 1;
    }
    this.#hasProperties = false;
    // A frame with a topic alias means something to its own connection only; DUP is the sender's own. [MQTT-3.3.1-3]
    if (source !== undefined && !source.dup && source.properties?.topicAlias === undefined && source.rawChunk !== undefined) {
      this.#source = source;
      this.#sourceIs5 = sourceVersion === 5;
    } else {
      this.#source = undefined;
    }
  }

  /**
   * The frames of the message as the clients behind a mountpoint know it: the same ones as long as message and mountpoint
   * are the same. Good until the next call.
   */
  unmounted(message: Message, mountpoint: string, now: number): Frames {
    this.#unmounted ??= new Frames();
    const inner = this.#unmounted;
    if (this.#mountedMessage === message && this.#mountpoint === mountpoint && inner.#now === now) return inner;
    this.#mountedMessage = message;
    this.#mountpoint = mountpoint;
    inner.begin({ ...message, topicName: unmountName(mountpoint, message.topicName) }, now);
    return inner;
  }

  /** The name that the frames carry. */
  get topicName(): string {
    return this.#message?.topicName ?? '';
  }

  /** Lets go of the message; frames that were handed out stay good. */
  end(): void {
    this.#message = undefined;
    this.#source = undefined;
    this.#packet.properties = undefined;
    this.#packet.payload = emptyBytes;
    if (this.#mountedMessage === undefined) return;
    this.#mountedMessage = undefined;
    this.#unmounted?.end();
  }

  /** The frame for a receiver of this kind; read it before the next call. */
  frame(version: ProtocolVersion, qos: Qos, retain: boolean, identifiers: readonly number[] | undefined, dup: boolean): Frame {
    const is5 = version === 5;
    const slot = this.#slots[(is5 ? 6 : 0) + qos * 2 + (retain ? 1 : 0)] as Slot;
    const ids = is5 ? identifiers : undefined;
    if (slot.round === this.#round && slot.identifiers === ids && slot.dup === dup) return slot;
    slot.round = this.#round;
    slot.identifiers = ids;
    slot.dup = dup;
    const source = this.#source;
    if (source !== undefined && source.qos === qos && source.retain === retain && this.#sourceIs5 === is5 && ids === undefined && !dup) {
      passThrough(source, slot);
    } else {
      this.#encode(slot, version, qos, retain, ids, dup);
    }
    return slot;
  }

  #encode(slot: Slot, version: ProtocolVersion, qos: Qos, retain: boolean, ids: readonly number[] | undefined, dup: boolean): void {
    const message = this.#message as Message;
    const packet = this.#packet;
    packet.topicName = message.topicName;
    packet.payload = message.payload;
    if (version === 5) {
      if (!this.#hasProperties) {
        packet.properties = outgoingProperties(message, this.#now);
        this.#hasProperties = true;
      }
      if (ids !== undefined) packet.properties = { ...packet.properties, subscriptionIdentifiers: ids as number[] };
      else if (packet.properties?.subscriptionIdentifiers !== undefined) packet.properties.subscriptionIdentifiers = undefined;
    }
    const size = publishSizeAs(packet, version, qos);
    if (this.#slabAt + size > this.#slab.length) {
      this.#slab = new Uint8Array(Math.max(slabBytes, size));
      this.#slabAt = 0;
    }
    const start = this.#slabAt;
    this.#slabAt = writePublishAs(this.#slab, start, packet, version, qos, retain, dup, qos === 0 ? 0 : 1);
    slot.bytes = this.#slab;
    slot.start = start;
    slot.end = this.#slabAt;
    slot.packetIdAt = qos === 0 ? 0 : start + packetIdOffset(this.#slab, start, packet.topicName);
  }
}

type Scratch = { -readonly [K in keyof Omit<PublishPacket, 'raw' | 'rawTopicNameAt' | 'rawPacketIdAt'>]: PublishPacket[K] };

function packetIdOffset(bytes: Uint8Array, start: number, topicName: string): number {
  let at = 1;
  while ((bytes[start + at] as number) >= 0x80) at++;
  return at + 1 + stringSize(topicName);
}

function passThrough(source: PublishPacket, slot: Slot): void {
  const start = source.rawStart as number;
  slot.bytes = source.rawChunk as Uint8Array;
  slot.start = start;
  slot.end = source.rawEnd as number;
  slot.packetIdAt = source.qos === 0 ? 0 : start + (source.rawPacketIdAt as number);
}

/** The properties as a receiver gets them. Undefined when there are none. */
function outgoingProperties(message: Message, now: number): Properties | undefined {
  const p = message.properties;
  const expires = message.expiresAt !== Number.POSITIVE_INFINITY;
  if (p === undefined && !expires) return undefined;
  const out: Properties = {};
  if (p?.payloadFormatIndicator !== undefined) out.payloadFormatIndicator = p.payloadFormatIndicator === 1 ? 1 : 0;
  // What is left of the interval, rounded up. [MQTT-3.3.2-6]
  if (expires) out.messageExpiryInterval = Math.max(0, Math.ceil((message.expiresAt - now) / 1000));
  if (p?.contentType !== undefined) out.contentType = p.contentType;
  if (p?.responseTopic !== undefined) out.responseTopic = p.responseTopic;
  if (p?.correlationData !== undefined) out.correlationData = p.correlationData;
  if (p?.userProperties !== undefined) out.userProperties = p.userProperties as UserProperty[];
  return out;
}
