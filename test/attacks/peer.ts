// The attacker's end of a connection: bytes out, packets in, over plain TCP or in WebSocket messages.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type Socket, connect as tcpConnect } from 'node:net';
import { WebSocket } from 'ws';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { Packet, ProtocolVersion } from '#mqtt/packet.js';
import { type Kind, within } from './lab.js';

const hugest = 300 * 1024 * 1024;

/** `puback 0x10`, `publish a/b=payload q1`, `suback 00 8f`: what a table can say of a packet. */
export function describe(packet: Packet): string {
  const hex = (n: number): string => `0x${n.toString(16).padStart(2, '0')}`;
  switch (packet.type) {
    case 'connack':
    case 'disconnect':
    case 'auth':
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return packet.reasonCode === 0 ? packet.type : `${packet.type} ${hex(packet.reasonCode)}`;
    case 'suback':
    case 'unsuback':
      return `${packet.type} ${packet.reasonCodes.map(hex).join(' ')}`.trimEnd();
    case 'publish':
      return `publish ${packet.topicName}=${new TextDecoder().decode(packet.payload)}${packet.qos === 0 ? '' : ` q${packet.qos}`}`;
    default:
      return packet.type;
  }
}

export class Peer {
  readonly kind: Kind;
  readonly version: ProtocolVersion;
  /** Everything that came, in order. */
  readonly packets: Packet[] = [];
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>;
  isClosed = false;
  #over = false;
  readonly #socket: Socket;
  readonly #web: WebSocket | undefined;
  readonly #decoder: Decoder;
  #look: () => void = () => {};

  private constructor(kind: Kind, version: ProtocolVersion, socket: Socket, web: WebSocket | undefined) {
    this.kind = kind;
    this.version = version;
    this.#socket = socket;
    this.#web = web;
    this.#decoder = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: version, maxPacketSize: hugest }));
    const take = (chunk: Buffer): void => {
      if (this.#over) return;
      // Decoded packets hold views of the chunk, which is theirs.
      this.#decoder.push(chunk, (packet) => this.packets.push(packet));
      this.#look();
    };
    this.closed = new Promise((resolve) => {
      const over = (): void => {
        this.isClosed = true;
        this.#look();
        resolve();
      };
      (web ?? socket).on('error', () => {});
      if (web === undefined) {
        socket.on('data', take);
        socket.once('close', over);
      } else {
        web.on('message', take);
        web.once('close', over);
      }
    });
  }

  static async open(kind: Kind, port: number, version: ProtocolVersion): Promise<Peer> {
    const socket = tcpConnect({ host: '127.0.0.1', port, noDelay: true });
    if (kind === 'tcp') {
      const peer = new Peer(kind, version, socket, undefined);
      await within('a TCP connection', once(socket, 'connect'));
      return peer;
    }
    const web = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, ['mqtt'], { createConnection: () => socket, perMessageDeflate: false });
    const peer = new Peer(kind, version, socket, web);
    await within('an upgrade', once(web, 'open'));
    return peer;
  }

  /** The same bytes, as they are or as one binary message. */
  write(bytes: Uint8Array): void {
    if (this.#web === undefined) this.#socket.write(bytes);
    else if (this.#web.readyState === WebSocket.OPEN) this.#web.send(bytes);
  }

  /** Each piece leaves before the next one is handed over. */
  async drip(pieces: Iterable<Uint8Array>): Promise<void> {
    for (const piece of pieces) {
      if (this.isClosed) return;
      await new Promise<void>((sent) => {
        if (this.#web === undefined) this.#socket.write(piece, () => sent());
        else this.#web.send(piece, () => sent());
      });
      await new Promise((turn) => setImmediate(turn));
    }
  }

  send(...packets: Packet[]): void {
    for (const packet of packets) this.write(encode(packet, this.version));
  }

  /** Until `enough` of what came; the connection's end is a failure. */
  async until(what: string, enough: (packets: readonly Packet[]) => boolean): Promise<void> {
    await within(
      `${what}; there came: ${this.seen().join(', ')}`,
      new Promise<void>((resolve, reject) => {
        this.#look = () => {
          if (enough(this.packets)) resolve();
          else if (this.isClosed) reject(new Error(`closed before: ${what}; there came: ${this.seen().join(', ')}`));
        };
        this.#look();
      }),
    );
  }

  /** The next packet of a type, behind those that were awaited before. */
  async next<T extends Packet['type']>(type: T): Promise<Extract<Packet, { type: T }>> {
    await this.until(type, (packets) => packets.some((p) => p.type === type));
    const at = this.packets.findIndex((p) => p.type === type);
    const [packet] = this.packets.splice(at, 1);
    assert.ok(packet !== undefined);
    return packet as Extract<Packet, { type: T }>;
  }

  /** The node closes the connection; what it said before. */
  async fate(): Promise<string[]> {
    await within(`the node closes the connection; there came: ${this.seen().join(', ')}`, this.closed);
    return this.seen();
  }

  /** The node still answers here; what it said before. */
  async alive(): Promise<string[]> {
    this.send({ type: 'pingreq' });
    await this.until('PINGRESP', (packets) => packets.some((p) => p.type === 'pingresp'));
    return this.seen().filter((said) => said !== 'pingresp');
  }

  seen(): string[] {
    return this.packets.map(describe);
  }

  pause(): void {
    if (this.#web === undefined) this.#socket.pause();
    else this.#web.pause();
  }

  /** FIN: nothing more is sent, but everything is read. */
  half(): void {
    this.#socket.end();
  }

  /** RST. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  destroy(): void {
    this.packets.length = 0;
    this.#over = true;
    this.#socket.destroy();
  }
}
