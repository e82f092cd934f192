// Reads the data types of MQTT (1.5) out of one packet, never beyond its end, and never throws: the
// first violation is kept in `error` and moves the reader to the end, so that loops over the rest stop.
// After a violation the read functions return zeros and empty values; whoever parses a packet looks at
// `error` once, at the end. One reader serves all decoders of a process: parsing is synchronous.
import { emptyBytes } from '#base/bytes.js';
import type { ProtocolVersion } from './packet.js';
import { ReasonCode } from './reason-code.js';
import { decodeText } from './text.js';

/** Why a decoder refused what it was given. The connection is to be closed; nothing more is decoded. */
export interface DecodeError {
  /** What a DISCONNECT or CONNACK of MQTT 5.0 would say. */
  readonly reasonCode: number;
  /** For logs; fixed text, never bytes from the wire. */
  readonly message: string;
  /** Only when a CONNECT was refused, and only if the protocol has the server answer: the version in which to send that CONNACK. */
  readonly connackVersion?: ProtocolVersion | undefined;
}

export class WireReader {
  bytes: Uint8Array = emptyBytes;
  at = 0;
  end = 0;
  error: DecodeError | undefined = undefined;

  /** Starts on `bytes[at, end)`. */
  reset(bytes: Uint8Array, at: number, end: number): void {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
    this.error = undefined;
  }

  /** Lets go of the chunk: the reader lives as long as the process. */
  release(): void {
    this.bytes = emptyBytes;
    this.at = 0;
    this.end = 0;
  }

  get remaining(): number {
    return this.end - this.at;
  }

  malformed(message: string): void {
    this.fail(ReasonCode.malformedPacket, message);
  }

  protocolError(message: string): void {
    this.fail(ReasonCode.protocolError, message);
  }

  /** Only the first violation counts: what follows it may be its echo. */
  fail(reasonCode: number, message: string, connackVersion?: ProtocolVersion): void {
    this.error ??= { reasonCode, message, connackVersion };
    this.at = this.end;
  }

  u8(): number {
    if (this.at >= this.end) {
      this.malformed('packet ends early');
      return 0;
    }
    return this.bytes[this.at++] as number;
  }

  u16(): number {
    const at = this.at;
    if (this.end - at < 2) {
      this.malformed('packet ends early');
      return 0;
    }
    this.at = at + 2;
    return ((this.bytes[at] as number) << 8) | (this.bytes[at + 1] as number);
  }

  u32(): number {
    const high = this.u16();
    return high * 0x10000 + this.u16();
  }

  /** A Variable Byte Integer of MQTT 5.0. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      if (this.at >= this.end) {
        this.malformed('packet ends early');
        return 0;
      }
      const b = this.bytes[this.at++] as number;
      value |= (b & 0x7f) << shift;
      if (b >= 0x80) continue;
      if (b === 0 && shift > 0) {
        this.malformed('variable byte integer not in its shortest form'); // [MQTT-1.5.5-1]
        return 0;
      }
      return value;
    }
    this.malformed('variable byte integer longer than 4 bytes');
    return 0;
  }

  string(): string {
    const n = this.u16();
    const at = this.at;
    if (n > this.end - at) {
      this.malformed('packet ends early');
      return '';
    }
    this.at = at + n;
    const s = decodeText(this.bytes, at, at + n);
    if (s === undefined) {
      this.malformed('string is not UTF-8 or holds U+0000'); // [MQTT-1.5.4-1] [MQTT-1.5.4-2]
      return '';
    }
    return s;
  }

  /** A view, not a copy. */
  binary(): Uint8Array {
    const n = this.u16();
    const at = this.at;
    if (n > this.end - at) {
      this.malformed('packet ends early');
      return emptyBytes;
    }
    this.at = at + n;
    return viewOf(this.bytes, at, at + n);
  }

  /** Non-zero. */
  packetId(): number {
    const id = this.u16();
    if (id === 0) this.protocolError('packet identifier 0'); // [MQTT-2.2.1-3] [MQTT-2.2.1-4]
    return id;
  }

  /** Refuses what is left of the packet. */
  done(): void {
    if (this.at < this.end) this.malformed('bytes left over at the end of the packet');
  }
}

/** A plain Uint8Array over `bytes[start, end)`: `subarray` of a Node Buffer would be slower, and a Buffer again. */
export function viewOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return start === end ? emptyBytes : new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
}
