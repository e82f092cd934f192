// One of the attacks of hostile.ts: persistent sessions of clients that are away are sent more than the node
// has memory for. Their publishers are slowed down, or refused; when the clients come back each gets
// every message that was acknowledged for it.
import { eventually, type TestNode, within } from '../cluster/nodes.js';
import { Bare, inGroups, subscriber } from './bare-client.js';
import { pause } from './load.js';

const publisherCount = 20;
/** What one of them has under way: it would send without an end. */
const underWay = 10;
const expiryS = 3_600;
const payloadBytes = 30_000;
/** A client that was closed connects again. */
const againMs = 200;

/** Its number stands in the first bytes. */
function payloadOf(message: number): Uint8Array {
  const payload = new Uint8Array(payloadBytes);
  new DataView(payload.buffer).setUint32(0, message);
  return payload;
}

function messageOf(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}

class Publisher {
  readonly bare: Bare;
  readonly #acknowledged: readonly Set<number>[];
  /** Messages by packet identifier, until they are answered. */
  readonly #open = new Map<number, number>();
  #sent = 0;

  constructor(node: TestNode, i: number, acknowledged: readonly Set<number>[]) {
    this.#acknowledged = acknowledged;
    this.bare = new Bare(node.mqttPort);
    this.bare.connect(`publisher-for-the-absent-${i}`);
    this.bare.read((packet) => {
      if (packet.type !== 'puback') return;
      const message = this.#open.get(packet.packetId) ?? 0;
      this.#open.delete(packet.packetId);
      if (packet.reasonCode < 0x80) acknowledged[message % acknowledged.length]?.add(message);
    });
  }

  get idle(): boolean {
    return this.#open.size === 0;
  }

  publish(next: () => number): void {
    while (this.#open.size < underWay) {
      const message = next();
      const packetId = (this.#sent++ % 60_000) + 1;
      this.#open.set(packetId, message);
      this.bare.publish(`away/${message % this.#acknowledged.length}`, payloadOf(message), 1, packetId);
    }
  }
}

export async function absentSessions(node: TestNode, { peers }: { readonly peers: number }): Promise<() => Promise<void>> {
  await inGroups(peers, async (i) => (await subscriber(node.mqttPort, `away-${i}`, `away/${i}`, 1, expiryS)).socket.destroy());
  const acknowledged = Array.from({ length: peers }, () => new Set<number>());
  const publishers = Array.from({ length: publisherCount }, (_, i) => new Publisher(node, i, acknowledged));
  let number = 0;
  const timer = setInterval(() => {
    for (const publisher of publishers) publisher.publish(() => number++);
  }, 5);
  return async () => {
    clearInterval(timer);
    await eventually('all messages for the absent are answered', () => Promise.resolve(publishers.every((p) => p.idle)));
    for (const publisher of publishers) publisher.bare.socket.destroy();
    let over = false;
    const missing = (): number => acknowledged.reduce((sum, { size }) => sum + size, 0);
    const all = inGroups(peers, (i) => comeBack(node, i, acknowledged[i] ?? new Set(), () => over));
    await within(60_000, () => `the absent get what was acknowledged for them; ${missing()} messages are missing`, all).finally(() => {
      over = true;
    });
  };
}

/** Resolves when the client has got all that is in `missing`. */
async function comeBack(node: TestNode, i: number, missing: Set<number>, over: () => boolean): Promise<void> {
  while (missing.size > 0 && !over()) {
    const client = new Bare(node.mqttPort);
    const end = new Promise<void>((done) => {
      client.socket.once('close', done);
      client.read((packet) => {
        if (packet.type !== 'publish') return;
        missing.delete(messageOf(packet.payload));
        client.send({ type: 'puback', packetId: packet.packetId, reasonCode: 0 });
        if (missing.size === 0) client.socket.destroy();
      });
    });
    client.connect(`away-${i}`, expiryS, false);
    await end;
    if (missing.size > 0) await pause(againMs);
  }
}
