// A client that speaks packet by packet, for conversations that end in the middle: it sends and answers
// what the test says and nothing else.
import { createConnection, type Socket } from 'node:net';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { Packet } from '#mqtt/packet.js';
import { type TestNode, within } from './nodes.js';

const answerMsMax = 30_000;

export class PacketClient {
  readonly #socket: Socket;
  readonly #got: Packet[] = [];
  #waiting: (() => void)[] = [];

  constructor(node: TestNode) {
    this.#socket = createConnection({ host: '127.0.0.1', port: node.mqttPort });
    const decoder = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: 5 }));
    this.#socket.on('error', () => {});
    this.#socket.on('data', (chunk) => {
      decoder.push(chunk, (packet) => {
        // A packet is good during the call only.
        this.#got.push(packet.type === 'publish' ? { ...packet, payload: packet.payload.slice() } : { ...packet });
      });
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const look of waiting) look();
    });
  }

  /** Resolves with whether a session is present. */
  async connect(clientId: string): Promise<boolean> {
    this.send({
      type: 'connect',
      protocolVersion: 5,
      clientId,
      cleanStart: false,
      keepAlive: 0,
      properties: { sessionExpiryInterval: 3600 },
    });
    const connack = await this.next('connack');
    if (connack.reasonCode !== 0) throw new Error(`refused with ${connack.reasonCode}`);
    return connack.sessionPresent;
  }

  send(packet: Packet): void {
    this.#socket.write(encode(packet, 5));
  }

  /** The next packet, which has to be of this type. */
  async next<T extends Packet['type']>(type: T): Promise<Extract<Packet, { readonly type: T }>> {
    while (this.#got.length === 0) await within(answerMsMax, `a packet ${type}`, new Promise<void>((go) => this.#waiting.push(go)));
    const packet = this.#got.shift() as Packet;
    if (packet.type !== type) throw new Error(`${packet.type} came, not ${type}`);
    return packet as Extract<Packet, { readonly type: T }>;
  }

  /** PINGREQ and PINGRESP: nothing else was on its way. */
  async quiet(): Promise<void> {
    this.send({ type: 'pingreq' });
    await this.next('pingresp');
  }

  drop(): void {
    this.#socket.destroy();
  }
}
