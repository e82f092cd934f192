// A client of the broker that warms the code up (`warm-up.ts`): says what a client says, in bytes made
// here, and counts the packets that come back. It uses none of the codec, whose decoders are to meet
// what servers meet and nothing else. All its packets are shorter than 128 bytes.
import { utf8Encode } from '#base/utf8.js';
import type { Connection, ConnectionHandler } from '#env/net.js';

export interface WarmUpEvents {
  packet(isPublish: boolean): void;
  lost(): void;
}

const payloadBytes = 64;

export class WarmUpClient implements ConnectionHandler {
  readonly number: number;
  readonly #net: Connection;
  readonly #version: 4 | 5;
  readonly #events: WarmUpEvents;
  /** A packet that came in part. */
  #held: Uint8Array = new Uint8Array(0);
  #packetId = 0;
  #closed = false;

  constructor(net: Connection, number: number, version: 4 | 5, events: WarmUpEvents) {
    this.#net = net;
    this.number = number;
    this.#version = version;
    this.#events = events;
    net.handler = this;
  }

  /** CONNECT, and SUBSCRIBE with QoS 1 where there are filters. */
  connect(filters: readonly string[]): void {
    const properties = this.#version === 5 ? [0] : [];
    const body = [...text('MQTT'), this.#version, 2, 0, 0, ...properties, ...text(`warm-up-${this.number}`)];
    const out = packet(0x10, body);
    if (filters.length > 0) out.push(...packet(0x82, [0, 1, ...properties, ...filters.flatMap((f) => [...text(f), 1])]));
    this.#net.write(Uint8Array.from(out));
  }

  /** `count` messages in one write. */
  publish(topicName: string, qos: number, count: number): void {
    const head = text(topicName);
    const tail = [...(this.#version === 5 ? [0] : []), ...new Array<number>(payloadBytes).fill(0x78)];
    const one = Uint8Array.from(packet(0x30 | (qos << 1), [...head, ...(qos === 0 ? [] : [0, 0]), ...tail]));
    const out = new Uint8Array(count * one.length);
    for (let i = 0; i < count; i++) {
      out.set(one, i * one.length);
      if (qos === 0) continue;
      this.#packetId = (this.#packetId % 0xffff) + 1;
      const at = i * one.length + 2 + head.length;
      out[at] = this.#packetId >> 8;
      out[at + 1] = this.#packetId & 255;
    }
    this.#net.write(out);
  }

  onData(chunk: Uint8Array): void {
    let bytes = chunk;
    if (this.#held.length > 0) {
      bytes = new Uint8Array(this.#held.length + chunk.length);
      bytes.set(this.#held);
      bytes.set(chunk, this.#held.length);
    }
    const acks: number[] = [];
    let at = 0;
    while (at + 2 <= bytes.length) {
      const end = at + 2 + (bytes[at + 1] as number);
      if (end > bytes.length) break;
      const first = bytes[at] as number;
      const isPublish = first >> 4 === 3;
      if ((first & 0xf6) === 0x32) {
        const idAt = at + 4 + (((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number));
        acks.push(0x40, 2, bytes[idAt] as number, bytes[idAt + 1] as number);
      }
      this.#events.packet(isPublish);
      at = end;
    }
    this.#held = bytes.slice(at);
    if (acks.length > 0 && !this.#closed) this.#net.write(Uint8Array.from(acks));
  }

  onDrain(): void {}

  onClose(): void {
    if (!this.#closed) this.#events.lost();
    this.#closed = true;
  }

  close(): void {
    this.#closed = true;
    this.#net.destroy();
  }
}

function text(s: string): number[] {
  const bytes = utf8Encode(s);
  return [bytes.length >> 8, bytes.length & 255, ...bytes];
}

function packet(first: number, body: readonly number[]): number[] {
  return [first, body.length, ...body];
}
