// Peers that mean no good, in numbers, against a real node: subscribers that never read, connections that
// say nothing, CONNECTs that trickle, one frozen subscriber among many. Beside each attack a pair of
// honest clients sends QoS 1 messages to each other; what they see is the result.
// hostile.test.ts runs small ones, hostile-long.ts the long run.
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { encode } from '#mqtt/encoder.js';
import { TestCluster, type TestNode, within } from '../cluster/nodes.js';
import { Bare, subscriber } from './bare-client.js';
import type { Seen } from './honest.js';
import { pause } from './load.js';

/** Bytes that the node may keep for one client that does not read: `tcp_options.high_watermark` of the runs. */
const watermarkBytes = 65_536;
const MiB = 1024 * 1024;
/** The honest clients alone, to begin with. */
const calmMs = 2_000;
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
  /** Before the attack, on the same machine. */
  readonly calmP99Ms: number;
  /** The most that was seen. */
  readonly residentMiB: number;
  readonly residentMiBMax: number;
}

/** The pair of clients that do as they should. */
class Honest {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(port: number): Promise<Honest> {
    const honest = new Honest(fork(fileURLToPath(new URL('honest.js', import.meta.url)), [String(port)]));
    await honest.#next();
    return honest;
  }

  /** `calm`: what it has seen since the last question; `stop`: the same, when all that was sent has come. */
  async ask(word: 'calm' | 'stop'): Promise<Seen> {
    const answer = this.#next();
    this.#child.send(word);
    return (await answer) as Seen;
  }

  #next(): Promise<unknown> {
    const { promise, resolve, reject } = withResolvers();
    this.#child.once('message', resolve);
    this.#child.once('exit', () => reject(new Error('the honest clients have ended')));
    return within(120_000, 'the honest clients', promise);
  }

  close(): void {
    this.#child.kill();
  }
}

function withResolvers(): { promise: Promise<unknown>; resolve: (value: unknown) => void; reject: (error: Error) => void } {
  let resolve: (value: unknown) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<unknown>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
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
    await pause(calmMs);
    const calm = await honest.ask('calm');
    let resident = residentBytes(node.pid);
    const stop = await attack(node, sizes);
    const until = performance.now() + sizes.seconds * 1000;
    while (performance.now() < until) {
      await pause(200);
      resident = Math.max(resident, residentBytes(node.pid));
    }
    const seen = await honest.ask('stop');
    honest.close();
    stop();
    // A slow client may hold its bound twice: what the node has gathered, and what the kernel has not taken.
    const most = restBytes + sizes.peers * watermarkBytes * 2;
    assert.ok(resident < most, `${Math.round(resident / MiB)} MiB resident, at most ${Math.round(most / MiB)}`);
    return {
      name,
      peers: sizes.peers,
      sent: seen.sent,
      received: seen.received,
      p50Ms: seen.p50Ms,
      p99Ms: seen.p99Ms,
      calmP99Ms: calm.p99Ms,
      residentMiB: Math.round(resident / MiB),
      residentMiBMax: Math.round(most / MiB),
    };
  } finally {
    await cluster.close();
  }
}
