// A client over a bare socket that can be rude: for the hostile peers and the honest pair beside them.
import assert from 'node:assert/strict';
import { createConnection, type Socket } from 'node:net';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { Packet } from '#mqtt/packet.js';
import { within } from '../cluster/nodes.js';

const MiB = 1024 * 1024;

export class Bare {
  readonly socket: Socket;
  closed = false;
  constructor(port: number) {
    this.socket = createConnection({ port, host: '127.0.0.1' });
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.closed = true;
    });
  }

  send(packet: Packet): void {
    this.socket.write(encode(packet, 5));
  }

  /** `expiryS`: of the session; 0: it ends with the connection. */
  connect(clientId: string, expiryS: number = 0, cleanStart: boolean = true): void {
    const properties = expiryS === 0 ? undefined : { sessionExpiryInterval: expiryS };
    this.send({ type: 'connect', protocolVersion: 5, clientId, cleanStart, keepAlive: 0, properties });
  }

  subscribe(topicFilter: string, qos: 0 | 1): void {
    this.send({ type: 'subscribe', packetId: 1, subscriptions: [{ topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 }] });
  }

  /** Calls back for every packet that comes. */
  read(onPacket: (packet: Packet) => void): void {
    const decoder = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: 5, maxPacketSize: MiB }));
    this.socket.on('data', (chunk) => {
      const error = decoder.push(chunk, onPacket);
      assert.equal(error, undefined);
    });
  }

  publish(topicName: string, payload: Uint8Array, qos: 0 | 1, packetId: number): void {
    this.send({ type: 'publish', topicName, payload, qos, retain: false, dup: false, packetId });
  }
}

/** One that is in, with its subscription. */
export function subscriber(port: number, clientId: string, topicFilter: string, qos: 0 | 1, expiryS: number = 0): Promise<Bare> {
  const client = new Bare(port);
  client.connect(clientId, expiryS);
  client.subscribe(topicFilter, qos);
  const granted = new Promise<Bare>((done, failed) => {
    const decoder = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: 5, maxPacketSize: MiB }));
    const onData = (chunk: Uint8Array): void => {
      decoder.push(chunk, (packet) => {
        if (packet.type !== 'suback') return;
        client.socket.off('data', onData);
        done(client);
      });
    };
    client.socket.on('data', onData);
    client.socket.once('close', () => failed(new Error(`${clientId} was closed`)));
  });
  return within(60_000, `SUBACK of ${clientId}`, granted);
}

/** Makes so many, a hundred at a time. */
export async function inGroups<T>(count: number, make: (i: number) => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  while (made.length < count)
    made.push(...(await Promise.all(Array.from({ length: Math.min(100, count - made.length) }, (_, i) => make(made.length + i)))));
  return made;
}
