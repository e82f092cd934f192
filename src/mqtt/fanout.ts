// One message for many receivers: its PUBLISH is encoded once per (encoding, QoS, RETAIN), and each
// receiver gets the same bytes with its own Packet Identifier patched in. `broker` makes one per message
// and hands the frames to `session`; the frames are shared and must not be changed, only copies of them.
// Small frames are cut from slabs, since a buffer of its own costs more than encoding: a frame kept past
// the turn keeps its slab alive, so copy what is kept.
import type { ProtocolVersion, PublishPacket, QoS } from './packet.js';
import { publishSizeAs, writePublishAs } from './publish.js';
import { writeU16 } from './wire-writer.js';

/** A PUBLISH as every receiver of its kind gets it. */
export interface PreparedPublish {
  /** The whole packet; with QoS 1 and 2 the Packet Identifier is left to the receiver. */
  readonly bytes: Uint8Array;
  /** Where the Packet Identifier goes; 0 with QoS 0. */
  readonly packetIdAt: number;
}

const slabBytes = 16 * 1024;
/** Larger frames get a buffer of their own. */
const slabFrameMax = 2048;
let slab: Uint8Array = new Uint8Array(slabBytes);
let slabUsed = 0;

function allocate(size: number): Uint8Array {
  if (size > slabFrameMax) return new Uint8Array(size);
  if (slabUsed + size > slabBytes) {
    slab = new Uint8Array(slabBytes);
    slabUsed = 0;
  }
  const bytes = new Uint8Array(slab.buffer, slabUsed, size);
  slabUsed += size;
  return bytes;
}

/** Encodes `packet` with another QoS and RETAIN, DUP 0. */
export function preparePublish(packet: PublishPacket, version: ProtocolVersion, qos: QoS, retain: boolean): PreparedPublish {
  const bytes = allocate(publishSizeAs(packet, version, qos));
  writePublishAs(bytes, 0, packet, version, qos, retain, false, qos === 0 ? 0 : anyPacketId); // DUP 0 [MQTT-3.3.1-3]
  return { bytes, packetIdAt: qos === 0 ? 0 : packetIdOffset(bytes) };
}

const anyPacketId = 1;

/** Where the Packet Identifier of a PUBLISH frame of QoS 1 or 2 is. */
export function packetIdOffset(frame: Uint8Array): number {
  let at = 1;
  while ((frame[at++] as number) >= 0x80);
  return at + 2 + (((frame[at] as number) << 8) | (frame[at + 1] as number));
}

/** Copies a prepared PUBLISH for one receiver into its output and returns the position after it. */
export function writePrepared(out: Uint8Array, at: number, prepared: PreparedPublish, packetId: number, dup: boolean = false): number {
  out.set(prepared.bytes, at);
  if (prepared.packetIdAt !== 0) {
    writeU16(out, at + prepared.packetIdAt, packetId);
    if (dup) out[at] = (out[at] as number) | 8; // [MQTT-3.3.1-1]
  }
  return at + prepared.bytes.length;
}

/** The frames of one message, each made when first asked for. */
export class PublishFanout {
  readonly packet: PublishPacket;
  readonly #version: ProtocolVersion;
  // 3.1 and 3.1.1 share their encoding: (5.0 or not) × QoS × RETAIN.
  readonly #frames: (PreparedPublish | undefined)[] = [];

  /** `version` is the one that `packet` came in, of use only if it was decoded and not changed since. */
  constructor(packet: PublishPacket, version: ProtocolVersion) {
    this.packet = packet;
    this.#version = version;
  }

  frame(version: ProtocolVersion, qos: QoS, retain: boolean): PreparedPublish {
    const slot = (version === 5 ? 6 : 0) + qos * 2 + (retain ? 1 : 0);
    let frame = this.#frames[slot];
    if (frame === undefined) {
      frame = this.#asReceived(version, qos, retain) ?? preparePublish(this.packet, version, qos, retain);
      this.#frames[slot] = frame;
    }
    return frame;
  }

  /** The received bytes themselves, when they are what a receiver should get; `raw` leaves out those with a Topic Alias. */
  #asReceived(version: ProtocolVersion, qos: QoS, retain: boolean): PreparedPublish | undefined {
    const { packet } = this;
    if (qos !== 0 || packet.qos !== 0 || packet.retain !== retain) return undefined;
    if ((version === 5) !== (this.#version === 5)) return undefined;
    const raw = packet.raw;
    return raw === undefined ? undefined : { bytes: raw, packetIdAt: 0 };
  }
}
