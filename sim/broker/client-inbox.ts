// What a simulated client gets: messages, told apart by packet identifier as the specification asks, and
// written down; and their acknowledgements, late if the client is slow.
import { utf8Decode } from '#base/utf8.js';
import type { PublishPacket } from '#mqtt/packet.js';
import type { BrokerWorld } from './broker-world.js';
import type { ClientHost } from './client-host.js';
import type { SimSession, SimWill } from './history.js';

/** CONNACK may be long on its way: the will can come before its client knows. */
function takenInWithoutQuorum({ clientId, node, sentAt }: SimWill, { nodes }: BrokerWorld): boolean {
  return nodes.some((n) => n.name === node && (n.isolatedAt.get(clientId) ?? Number.NEGATIVE_INFINITY) >= sentAt);
}

/** With QoS 2 it comes once; a subscriber's node that was lost since has forgotten that it delivered it (docs/guarantees.md). */
function noteWill(will: SimWill, session: SimSession, packet: PublishPacket, { history, now, name, world }: ClientHost): void {
  const known = will.received.get(session);
  if (known === undefined) {
    will.received.set(session, { count: 1, firstAt: now });
    return;
  }
  known.count++;
  const forgotten = session.nodes.some(({ node }) => history.ended(node, known.firstAt)) || history.ended(will.node, will.acceptedAt);
  if (packet.qos !== 2 || session.tainted !== undefined) return;
  if (forgotten) history.count('excused: will twice, a node ended in between');
  else if (takenInWithoutQuorum(will, world)) history.count('excused: will twice, its client was taken in without a quorum');
  else history.violation(`${name} got the will of ${will.clientId} ${known.count} times`);
}

export class Inbox {
  readonly #client: ClientHost;
  /** QoS 2 identifiers that are not released. */
  readonly #incoming: Set<number> = new Set();
  readonly #unacked: Set<number> = new Set();

  constructor(client: ClientHost) {
    this.#client = client;
  }

  connectionLost(): void {
    this.#unacked.clear();
  }

  sessionEnded(): void {
    this.#incoming.clear();
  }

  onPublish(packet: PublishPacket): void {
    const text = utf8Decode(packet.payload) ?? '';
    const { session } = this.#client;
    if (session === undefined) return;
    if (packet.qos > 0) {
      this.#unacked.add(packet.packetId);
      const allowed = this.#client.profile.version === 5 ? Math.min(32, this.#client.profile.receiveMaximum) : 32;
      if (this.#unacked.size > allowed)
        this.#client.history.violation(`${this.#client.name}: ${this.#unacked.size} unacknowledged messages, ${allowed} are allowed`);
    }
    const known = packet.qos === 2 && this.#incoming.has(packet.packetId);
    if (!known) this.#take(session, packet, text);
    if (packet.qos === 0) return;
    if (packet.qos === 2) this.#incoming.add(packet.packetId);
    const type = packet.qos === 1 ? 'puback' : 'pubrec';
    const ackDelayMs = this.#client.prompt ? 0 : this.#client.profile.ackDelayMs;
    this.#client.later(ackDelayMs === 0 ? 0 : this.#client.prng.int(ackDelayMs), () => {
      if (type === 'puback') this.#unacked.delete(packet.packetId);
      this.#client.send({ type, packetId: packet.packetId, reasonCode: 0 });
    });
  }

  #take(session: SimSession, packet: PublishPacket, text: string): void {
    // The deletion of a retained message.
    if (text === '' && packet.topicName.startsWith('r/')) return;
    if (text.startsWith('w')) {
      const will = this.#client.history.wills[Number(text.slice(1))];
      this.#client.history.count('wills');
      if (will !== undefined) noteWill(will, session, packet, this.#client);
      if (will === undefined || will.topicName !== packet.topicName)
        this.#client.history.violation(`${this.#client.name} got an unknown will ${text} on ${packet.topicName}`);
      return;
    }
    const message = this.#client.history.messages[Number.parseInt(text, 10)];
    if (message === undefined || message.topicName !== packet.topicName) {
      this.#client.history.violation(`${this.#client.name} got ${JSON.stringify(text)} on ${packet.topicName}, which nobody published`);
      return;
    }
    if (packet.qos > message.qos)
      this.#client.history.violation(`${this.#client.name} got message ${message.id} with QoS ${packet.qos}, published with ${message.qos}`);
    if (message.topicName.startsWith('s/')) this.#client.history.deliveredShared(session, message, packet.qos, packet.dup);
    else this.#client.history.delivered(session, message, packet.qos, packet.dup, packet.retain);
  }

  onPubrel(packetId: number): void {
    this.#incoming.delete(packetId);
    this.#unacked.delete(packetId);
    this.#client.send({ type: 'pubcomp', packetId, reasonCode: 0 });
  }
}
