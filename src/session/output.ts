// What a channel asks of its connection. `listener/connection` implements it; tests record it.
import type { Packet, ProtocolVersion } from '#mqtt/packet.js';
import type { Frame } from './frames.js';

/** The connection, as its channel sees it. Nothing here throws or calls back into the channel at once. */
export interface ChannelOutput {
  /** False while more is buffered than the connection's bound. `Channel.drained` follows. */
  readonly writable: boolean;
  send(packet: Packet, version: ProtocolVersion, maximumPacketSize: number): void;
  /** A PUBLISH; `packetId` is patched in where the frame says. */
  frame(frame: Frame, packetId: number): void;
  /**
   * A PUBLISH of QoS 0 as it was received, in `bytes[start, end)`, which are good for the time of the call alone. Absent: this
   * connection takes none.
   */
  pass?(bytes: Uint8Array, start: number, end: number): void;
  /** As `frame`, with a Topic Alias (5.0), and without its Topic Name unless `named`. */
  aliased(frame: Frame, packetId: number, alias: number, named: boolean): void;
  /** An acknowledgement without properties [MQTT-3.1.2-29], for the PUBLISH of that identifier [MQTT-2.2.1-5]. `type` is the first byte. */
  ack(type: AckByte, packetId: number, reasonCode: number): void;
  /** Holds the peer back, and lets it go on. Calls do not nest. */
  pauseReading(): void;
  resumeReading(): void;
  /** Sends what was handed over, then closes the connection. Nothing is read any more. */
  close(): void;
  /** `seconds` of silence, times 1.5, end the connection; 0: never. */
  setKeepAlive(seconds: number): void;
  /** `1.2.3.4:56789`, for status and logs. */
  readonly peer: string;
  /** Common name and subject of the certificate that the peer has proved to own; undefined: none. */
  certificateField?(field: 'cn' | 'dn'): string | undefined;
  /** False: the listener lets everybody in (`enable_authn`). */
  readonly authenticates?: boolean;
  /** What the listener puts before the topics of its clients, with placeholders; empty: nothing. */
  readonly mountpoint?: string;
}

export type AckByte = 0x40 | 0x50 | 0x62 | 0x70;
