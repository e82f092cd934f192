// MQTT.js clients for tests: connected to one node, never reconnecting by themselves, with an inbox
// that a test can wait on.
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import { type TestNode, within } from './nodes.js';

const answerMsMax = 30_000;

export interface Received {
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
  readonly retain: boolean;
}

export class TestClient {
  readonly mqtt: MqttClient;
  readonly received: Received[] = [];
  /** Why the connection ended, if it has. */
  ended: string | undefined;
  sessionPresent = false;
  #waiting: { readonly met: () => boolean; readonly go: () => void }[] = [];

  private constructor(client: MqttClient) {
    this.mqtt = client;
    client.on('message', (topic: string, payload: Uint8Array, packet: IPublishPacket) => {
      this.received.push({ topic, payload: Buffer.from(payload).toString(), qos: packet.qos, retain: packet.retain });
      this.#look();
    });
    client.on('close', () => {
      this.ended ??= 'closed';
      this.#look();
    });
    client.on('error', (error) => {
      this.ended ??= error.message;
      this.#look();
    });
    client.on('disconnect', (packet) => {
      this.ended ??= `disconnect ${packet.reasonCode}`;
    });
  }

  static async connect(node: TestNode, options: IClientOptions = {}): Promise<TestClient> {
    const client = mqtt.connect(node.url, { protocolVersion: 5, reconnectPeriod: 0, connectTimeout: answerMsMax, ...options });
    const test = new TestClient(client);
    const answered = new Promise<void>((done, failed) => {
      client.once('connect', (ack) => {
        test.sessionPresent = ack.sessionPresent;
        done();
      });
      client.once('error', failed);
      client.once('close', () => failed(new Error('closed before CONNACK')));
    });
    await within(answerMsMax, `CONNACK of ${node.shortName}`, answered);
    return test;
  }

  /** Resolves with SUBACK; rejects when it refuses. */
  async subscribe(topicFilter: string, qos: 0 | 1 | 2 = 0): Promise<void> {
    const grants = await within(answerMsMax, `SUBACK for ${topicFilter.slice(0, 60)}`, this.mqtt.subscribeAsync(topicFilter, { qos }));
    for (const g of grants) if (g.qos > 2) throw new Error(`SUBACK refuses ${topicFilter.slice(0, 60)} with ${g.qos}`);
  }

  async publish(topic: string, payload: string, options: { readonly qos?: 0 | 1 | 2; readonly retain?: boolean } = {}): Promise<void> {
    await within(answerMsMax, `acknowledgement of ${topic.slice(0, 60)}`, this.mqtt.publishAsync(topic, payload, options));
  }

  /** Waits until `met` holds, looking again after each message and when the connection ends. */
  until(what: string, met: (received: readonly Received[]) => boolean, ms: number = answerMsMax): Promise<void> {
    const look = (): boolean => met(this.received);
    if (look()) return Promise.resolve();
    const waiting = new Promise<void>((go) => this.#waiting.push({ met: look, go }));
    return within(
      ms,
      () => `${what}; ${this.received.length} messages were received${this.ended === undefined ? '' : `, then ${this.ended}`}`,
      waiting,
    );
  }

  /** Waits until the connection has ended; gives the reason. */
  async end(): Promise<string> {
    await this.until('the connection ends', () => this.ended !== undefined);
    return this.ended ?? '';
  }

  #look(): void {
    const ready = this.#waiting.filter((w) => w.met());
    this.#waiting = this.#waiting.filter((w) => !ready.includes(w));
    for (const w of ready) w.go();
  }

  /** Leaves in order. */
  async close(): Promise<void> {
    await this.mqtt.endAsync();
  }

  /** The connection breaks, without DISCONNECT. */
  async drop(): Promise<void> {
    await this.mqtt.endAsync(true);
  }
}
