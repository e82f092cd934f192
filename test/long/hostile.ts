// Peers that mean no good, in numbers, against a real node: subscribers that never read, connections that
// say nothing, CONNECTs that trickle, one frozen subscriber among many. Beside each attack a pair of
// honest clients sends QoS 1 messages to each other; what they see is the result.
// hostile.test.ts runs small ones, hostile-long.ts the long run.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { utf8Encode } from '#base/utf8.js';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { Packet } from '#mqtt/packet.js';
import { eventually, TestCluster, type TestNode, within } from '../cluster/nodes.js';
import { pause } from './load.js';

/** Bytes that the node may keep for one client that does not read: `tcp_options.high_watermark` of the runs. */
const watermarkBytes = 65_536;
const MiB = 1024 * 1024;
/** A node with its caches, whatever its clients do. */
const restBytes = 384 * MiB;

export interface HostileSizes {
  readonly peers: number;
  readonly seconds: number;
}

export interface HostileResult {
  readonly name: string;
  readonly peers: number;
  readonly sent: number;
  readonly received: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The most that was seen. */
  readonly residentMiB: number;
  readonly residentMiBMax: number;
}

/** One client over a bare socket. */
class Bare {
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

  connect(clientId: string): void {
    this.send({ type: 'connect', protocolVersion: 5, clientId, cleanStart: true, keepAlive: 0 });
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
function subscriber(port: number, clientId: string, topicFilter: string, qos: 0 | 1): Promise<Bare> {
  const client = new Bare(port);
  client.connect(clientId);
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

/** Two clients that do as they should. */
class Honest {
  readonly latencies: number[] = [];
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
      this.latencies.push(performance.now() - Number(Buffer.from(packet.payload).toString()));
      subscribed.send({ type: 'puback', packetId: packet.packetId, reasonCode: 0 });
    });
    publisher.read((packet) => {
      if (packet.type === 'puback') this.acknowledged++;
    });
  }

  static async start(port: number): Promise<Honest> {
    const subscribed = await subscriber(port, 'honest-subscriber', 'honest', 1);
    const publisher = new Bare(port);
    publisher.connect('honest-publisher');
    const honest = new Honest(publisher, subscribed);
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
    await eventually('the honest messages arrive', async () => this.latencies.length >= this.sent && this.acknowledged >= this.sent);
    this.#publisher.socket.destroy();
    this.#subscriber.socket.destroy();
  }

  quantile(q: number): number {
    const sorted = [...this.latencies].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
  }
}

type Attack = (node: TestNode, sizes: HostileSizes) => Promise<() => void>;

/** They subscribe and never read; others publish to them. */
const neverRead: Attack = async (node, { peers }) => {
  const all = await inGroups(peers, (i) => subscriber(node.mqttPort, `mute-${i}`, 'flood', i % 2 === 0 ? 0 : 1));
  for (const peer of all) peer.socket.pause();
  return publishing(node, 'flood', 4_096, 20, all);
};

/** They connect and say nothing: the most that is asked for, as far as the machine lets one process open sockets. */
const silent: Attack = async (node, { peers }) => {
  const all: Bare[] = [];
  const timer = setInterval(() => {
    // Those that the node has closed come again.
    for (let i = 0; i < 500 && all.length < peers; i++) all.push(new Bare(node.mqttPort));
    for (let i = all.length - 1; i >= 0; i--) if (all[i]?.closed === true) all.splice(i, 1);
  }, 50);
  return () => {
    clearInterval(timer);
    for (const peer of all) peer.socket.destroy();
  };
};

/** CONNECTs of which one byte comes at a time. */
const trickle: Attack = async (node, { peers }) => {
  const bytes = encode({ type: 'connect', protocolVersion: 5, clientId: 'x'.repeat(2_000), cleanStart: true, keepAlive: 0 }, 5);
  const all = Array.from({ length: peers }, () => ({ bare: new Bare(node.mqttPort), at: 0 }));
  const timer = setInterval(() => {
    for (const peer of all) {
      if (peer.bare.closed) {
        peer.bare = new Bare(node.mqttPort);
        peer.at = 0;
      } else peer.bare.socket.write(bytes.subarray(peer.at, ++peer.at));
    }
  }, 200);
  return () => {
    clearInterval(timer);
    for (const { bare } of all) bare.socket.destroy();
  };
};

/** Many read what they get; one does not. */
const frozen: Attack = async (node, { peers }) => {
  const all = await inGroups(peers, (i) => subscriber(node.mqttPort, `fan-${i}`, 'fan', 0));
  for (const [i, peer] of all.entries()) {
    if (i === 0) peer.socket.pause();
    else peer.socket.on('data', () => {});
  }
  return publishing(node, 'fan', 1_024, 10, all);
};

function publishing(node: TestNode, topicName: string, bytes: number, everyMs: number, all: readonly Bare[]): () => void {
  const publisher = new Bare(node.mqttPort);
  publisher.connect(`publisher-of-${topicName}`);
  publisher.read(() => {});
  const payload = new Uint8Array(bytes);
  const timer = setInterval(() => {
    if (publisher.socket.writableLength < MiB) publisher.publish(topicName, payload, 0, 0);
  }, everyMs);
  return () => {
    clearInterval(timer);
    publisher.socket.destroy();
    for (const peer of all) peer.socket.destroy();
  };
}

async function inGroups<T>(count: number, make: (i: number) => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  while (made.length < count)
    made.push(...(await Promise.all(Array.from({ length: Math.min(100, count - made.length) }, (_, i) => make(made.length + i)))));
  return made;
}

export const attacks: Readonly<Record<string, Attack>> = {
  'subscribers that never read': neverRead,
  'connections that say nothing': silent,
  'CONNECTs that trickle': trickle,
  'one frozen subscriber among many': frozen,
};

function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1] ?? 0) * 1024;
}

/** Runs one attack; rejects when an honest message is lost, or the node takes more memory than it may. */
export async function runHostile(name: string, sizes: HostileSizes): Promise<HostileResult> {
  const attack = attacks[name];
  assert.ok(attack !== undefined, `there is no attack ${name}`);
  const settings = `listeners.tcp.default.tcp_options { high_watermark = ${watermarkBytes}, send_timeout = 5s }\nmqtt.idle_timeout = 3s`;
  const cluster = await TestCluster.start({ cores: 1, replicants: 0, settings });
  try {
    const [node] = cluster.nodes;
    assert.ok(node !== undefined);
    const honest = await Honest.start(node.mqttPort);
    let resident = residentBytes(node.pid);
    const stop = await attack(node, sizes);
    const until = performance.now() + sizes.seconds * 1000;
    while (performance.now() < until) {
      await pause(200);
      resident = Math.max(resident, residentBytes(node.pid));
    }
    await honest.stop();
    stop();
    // A slow client may hold its bound twice: what the node has gathered, and what the kernel has not taken.
    const most = restBytes + sizes.peers * watermarkBytes * 2;
    assert.ok(resident < most, `${Math.round(resident / MiB)} MiB resident, at most ${Math.round(most / MiB)}`);
    return {
      name,
      peers: sizes.peers,
      sent: honest.sent,
      received: honest.latencies.length,
      p50Ms: honest.quantile(0.5),
      p99Ms: honest.quantile(0.99),
      residentMiB: Math.round(resident / MiB),
      residentMiBMax: Math.round(most / MiB),
    };
  } finally {
    await cluster.close();
  }
}
