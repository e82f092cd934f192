// What a simulated client publishes: kept until it is acknowledged, and sent again when the session is
// continued.
import { utf8Encode } from '#base/utf8.js';
import type { QoS } from '#mqtt/packet.js';
import { type ClientHost, never } from './client-host.js';
import { checkRefusedMessage } from './client-words.js';
import type { SimMessage } from './history.js';

interface Outgoing {
  readonly message: SimMessage;
  readonly packetId: number;
  phase: 'publish' | 'release';
}

const outgoingMax = 12;

export class Outbox {
  readonly outgoing: Map<number, Outgoing> = new Map();
  readonly #client: ClientHost;

  constructor(client: ClientHost) {
    this.#client = client;
  }

  /** A clean start: what is on its way is nobody's business any more. */
  forget(): void {
    for (const out of this.outgoing.values()) this.#giveUp(out);
    this.outgoing.clear();
  }

  publish(topicName: string, qos: QoS, retain: boolean, empty: boolean): void {
    const { node } = this.#client;
    if (this.#client.state !== 'connected' || node === undefined || (qos > 0 && this.outgoing.size >= outgoingMax)) return;
    const message: SimMessage = {
      id: this.#client.history.messages.length,
      publisher: this.#client.name,
      topicName,
      qos,
      retain,
      empty,
      sentAt: this.#client.now,
      connection: this.#client.connections,
      line: `${this.#client.name} ${this.#client.connections} ${topicName} ${qos}`,
      attempts: 0,
      firstNode: node.name,
      node: node.name,
      sendings: [],
      ackedAt: never,
      mayBeLost: false,
      refused: false,
    };
    this.#client.history.messages.push(message);
    const out: Outgoing = { message, packetId: qos === 0 ? 0 : this.#client.nextPacketId(), phase: 'publish' };
    if (qos > 0) this.outgoing.set(out.packetId, out);
    this.#sendPublish(out, false);
  }

  #sendPublish(out: Outgoing, dup: boolean): void {
    const { message } = out;
    const { node } = this.#client;
    message.attempts++;
    message.node = node?.name ?? '';
    if (message.qos > 0 && node !== undefined) message.sendings.push({ node, lostThen: node.lost });
    if (message.qos > 0) this.#client.open.set(out.packetId, { what: `PUBLISH ${message.id} QoS ${message.qos}`, at: this.#client.now });
    this.#client.send({
      type: 'publish',
      topicName: message.topicName,
      payload: message.empty ? new Uint8Array(0) : utf8Encode(String(message.id).padEnd(this.#client.world.payloadBytes(message.id))),
      qos: message.qos,
      retain: message.retain,
      dup,
      packetId: out.packetId,
    });
  }

  /** What was not acknowledged goes again, in its order. Without a session QoS 2 messages are given up: they may have arrived. */
  resend(present: boolean): void {
    const before = [...this.outgoing.values()];
    if (!present) this.outgoing.clear();
    for (const out of before) {
      const { message } = out;
      if (present) {
        if (out.phase === 'release') this.#client.send({ type: 'pubrel', packetId: out.packetId, reasonCode: 0 });
        else this.#sendPublish(out, true);
        continue;
      }
      if (message.qos === 2) {
        this.#giveUp(out);
        continue;
      }
      const again: Outgoing = { message, packetId: this.#client.nextPacketId(), phase: 'publish' };
      this.outgoing.set(again.packetId, again);
      this.#sendPublish(again, false);
    }
  }

  onAck(packetId: number, type: 'puback' | 'pubrec', reasonCode: number): void {
    const out = this.outgoing.get(packetId);
    if (out === undefined || (type === 'pubrec') !== (out.message.qos === 2)) {
      if (!this.#client.profile.double) this.#client.history.violation(`${this.#client.name} got ${type} for packet ${packetId}, which is not open`);
      return;
    }
    this.#client.open.delete(packetId);
    const { message } = out;
    if (reasonCode >= 0x80) {
      message.refused = true;
      checkRefusedMessage(this.#client, reasonCode, message.sentAt, `message ${message.id}`);
      this.#client.history.count(`${type}0x${reasonCode.toString(16)}`);
      this.outgoing.delete(packetId);
      return;
    }
    if (message.ackedAt === never) this.#acknowledged(message);
    if (type === 'puback') {
      this.outgoing.delete(packetId);
      return;
    }
    out.phase = 'release';
    this.#client.open.set(packetId, { what: `PUBREL ${packetId}`, at: this.#client.now });
    this.#client.send({ type: 'pubrel', packetId, reasonCode: 0 });
  }

  #acknowledged(message: SimMessage): void {
    message.ackedAt = this.#client.now;
    // A QoS 2 message goes on from where it was taken in first, a QoS 1 message from where it was sent last.
    const sendings = message.qos === 2 ? message.sendings : message.sendings.slice(-1);
    message.mayBeLost = sendings.some((s) => s.node.lost !== s.lostThen);
    this.#client.history.count('acknowledged');
    if (this.#client.node !== undefined) this.#client.history.onAcknowledged?.(this.#client.node, message);
  }

  onPubcomp(packetId: number): void {
    this.#client.open.delete(packetId);
    this.outgoing.delete(packetId);
  }

  /** The message may have been taken in or not; nothing more will tell. */
  #giveUp(out: Outgoing): void {
    if (out.phase === 'publish') out.message.refused = true;
  }
}
