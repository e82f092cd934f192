// Two clients that do as they should, in a process of their own, so that what they see is the node's doing:
// QoS 1 messages from one to the other. Argument: the MQTT port. Forked by hostile.ts; answers `calm` with
// what it has seen so far, and `stop` with what it has seen since.
import { utf8Encode } from '#base/utf8.js';
import { eventually } from '../cluster/nodes.js';
import { Bare, subscriber } from './bare-client.js';

export interface Seen {
  readonly sent: number;
  readonly received: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Two clients that do as they should. */
class Pair {
  latencies: number[] = [];
  received = 0;
  sent = 0;
  acknowledged = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #publisher: Bare;
  readonly #subscriber: Bare;

  private constructor(publisher: Bare, subscribed: Bare) {
    this.#publisher = publisher;
    this.#subscriber = subscribed;
    subscribed.read((packet) => {
      if (packet.type !== 'publish') return;
      this.received++;
      this.latencies.push(performance.now() - Number(Buffer.from(packet.payload).toString()));
      subscribed.send({ type: 'puback', packetId: packet.packetId, reasonCode: 0 });
    });
    publisher.read((packet) => {
      if (packet.type === 'puback') this.acknowledged++;
    });
  }

  static async start(port: number): Promise<Pair> {
    const subscribed = await subscriber(port, 'honest-subscriber', 'honest', 1);
    const publisher = new Bare(port);
    publisher.connect('honest-publisher');
    const honest = new Pair(publisher, subscribed);
    honest.#timer = setInterval(() => honest.#publish(), 20);
    return honest;
  }

  #publish(): void {
    // What is not acknowledged yet counts against the server's Receive Maximum.
    if (this.sent - this.acknowledged >= 50) return;
    this.sent++;
    this.#publisher.publish('honest', utf8Encode(String(performance.now())), 1, (this.sent % 60_000) + 1);
  }

  /** Waits for what is under way. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await eventually('the honest messages arrive', async () => this.received >= this.sent && this.acknowledged >= this.sent);
    this.#publisher.socket.destroy();
    this.#subscriber.socket.destroy();
  }

  quantile(q: number): number {
    const sorted = [...this.latencies].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
  }

  /** Of the messages since the last call. */
  seen(): Seen {
    const found = { sent: this.sent, received: this.received, p50Ms: this.quantile(0.5), p99Ms: this.quantile(0.99) };
    this.latencies = [];
    return found;
  }
}

const pair = await Pair.start(Number(process.argv[2]));
process.on('message', async (word) => {
  if (word === 'stop') await pair.stop();
  process.send?.(pair.seen());
  if (word === 'stop') process.disconnect();
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
