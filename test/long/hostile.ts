// Peers that mean no good, in numbers, against a real node: subscribers that never read, connections that
// say nothing, CONNECTs that trickle, one frozen subscriber among many. Beside each attack a pair of
// honest clients sends QoS 1 messages to each other; what they see is the result.
// Memory is to stay below the node's watermark, which is set so low, and the bounds of each client so high, that
// only the watermark can be what keeps it there. hostile.test.ts runs small ones, hostile-long.ts the long run.
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { encode } from '#mqtt/encoder.js';
import { TestCluster, type TestNode, within } from '../cluster/nodes.js';
import { absentSessions } from './absent-sessions.js';
import { Bare, inGroups, subscriber } from './bare-client.js';
import type { Seen } from './honest.js';
import { pause } from './load.js';

const MiB = 1024 * 1024;
/** The honest clients alone, to begin with. */
const calmMs = 2_000;

export interface HostileSizes {
  readonly peers: number;
  readonly seconds: number;
  /** `overload_protection.memory_high_watermark`. */
  readonly watermarkMiB: number;
  /** By so much it may be passed; none by default. */
  readonly slackMiB?: number;
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
  /** The most that was seen, without what stands for files. */
  readonly memoryMiB: number;
  readonly watermarkMiB: number;
  /** Up to which level of overload the node came, and what it did then. */
  readonly level: number;
  readonly cutClients: number;
  readonly refused: number;
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

interface Attack {
  /** Of the node: what one peer may take up is bounded loosely. */
  readonly settings: string;
  /** Begins; what is returned ends it, and rejects when the node has not kept what it promised meanwhile. */
  run(node: TestNode, sizes: HostileSizes): Promise<() => Promise<void> | void>;
}

const loose = 'listeners.tcp.default.tcp_options { high_watermark = 16MB, send_timeout = 60s }';
const patient = `${loose}\nmqtt.idle_timeout = 3s`;

/** They subscribe and never read; others publish to them. */
const neverRead: Attack = {
  settings: loose,
  async run(node, { peers }) {
    const all = await inGroups(peers, (i) => subscriber(node.mqttPort, `mute-${i}`, 'flood', i % 2 === 0 ? 0 : 1));
    for (const peer of all) peer.socket.pause();
    return publishing(node, 'flood', 4_096, 5, all, 40);
  },
};

/** They connect and say nothing: the most that is asked for, as far as the machine lets one process open sockets. */
const silent: Attack['run'] = async (node, { peers }) => {
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
const trickle: Attack['run'] = async (node, { peers }) => {
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
const frozen: Attack['run'] = async (node, { peers }) => {
  const all = await inGroups(peers, (i) => subscriber(node.mqttPort, `fan-${i}`, 'fan', 0));
  for (const [i, peer] of all.entries()) {
    if (i === 0) peer.socket.pause();
    else peer.socket.on('data', () => {});
  }
  return publishing(node, 'fan', 1_024, 10, all);
};

function publishing(node: TestNode, topicName: string, bytes: number, everyMs: number, all: readonly Bare[], atOnce: number = 1): () => void {
  const publisher = new Bare(node.mqttPort);
  publisher.connect(`publisher-of-${topicName}`);
  publisher.read(() => {});
  const payload = new Uint8Array(bytes);
  const timer = setInterval(() => {
    for (let i = 0; i < atOnce && publisher.socket.writableLength < MiB; i++) publisher.publish(topicName, payload, 0, 0);
  }, everyMs);
  return () => {
    clearInterval(timer);
    publisher.socket.destroy();
    for (const peer of all) peer.socket.destroy();
  };
}

/** They say that a large message follows, and send nearly all of it. */
const unfinished: Attack = {
  settings: loose,
  async run(node, { peers }) {
    const bytes = encode(
      { type: 'publish', topicName: 'never', payload: new Uint8Array(1_000_000), qos: 0, retain: false, dup: false, packetId: 0 },
      5,
    );
    const all: Bare[] = [];
    const begin = (i: number): Bare => {
      const peer = new Bare(node.mqttPort);
      peer.connect(`unfinished-${i}`);
      peer.socket.write(bytes.subarray(0, bytes.length - 1));
      return peer;
    };
    for (let i = 0; i < peers; i++) all.push(begin(i));
    // Those that the node has closed come again.
    const timer = setInterval(() => {
      for (const [i, peer] of all.entries()) if (peer.closed) all[i] = begin(i);
    }, 500);
    return () => {
      clearInterval(timer);
      for (const peer of all) peer.socket.destroy();
    };
  },
};

export const attacks: Readonly<Record<string, Attack>> = {
  'subscribers that never read': neverRead,
  'connections that say nothing': { settings: patient, run: silent },
  'CONNECTs that trickle': { settings: patient, run: trickle },
  'one frozen subscriber among many': { settings: patient, run: frozen },
  'absent sessions that are sent more than there is memory': { settings: patient, run: absentSessions },
  'large messages that are never finished': unfinished,
};

/** What the watermark counts, the most: also what was freed and is kept for later use. */
function memoryBytes(pid: number): number {
  const line = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1] ?? 0) * 1024;
}

async function whatWasDone(node: TestNode): Promise<Pick<HostileResult, 'level' | 'cutClients' | 'refused'>> {
  const sum = async (name: string, ...parts: string[]): Promise<number> => (await node.metric(name, ...parts)).reduce((a, b) => a + b, 0);
  const raised = await node.metric('starmesh_overload_raised_total');
  return {
    level: Math.max(
      0,
      raised.findLastIndex((times) => times > 0),
    ),
    cutClients: await sum('starmesh_overload_cut_clients_total'),
    refused:
      (await sum('emqx_overload_protection_new_conn')) +
      (await sum('starmesh_refused_connections', 'overload')) +
      (await sum('starmesh_overload_refused_messages_total')),
  };
}

/** Runs one attack; rejects when an honest message is lost, or the node takes more memory than it may. */
export async function runHostile(name: string, sizes: HostileSizes): Promise<HostileResult> {
  const attack = attacks[name];
  assert.ok(attack !== undefined, `there is no attack ${name}`);
  const settings = `${attack.settings}\noverload_protection.memory_high_watermark = ${sizes.watermarkMiB}MB`;
  const cluster = await TestCluster.start({ cores: 1, replicants: 0, settings });
  try {
    const [node] = cluster.nodes;
    assert.ok(node !== undefined);
    const honest = await Honest.start(node.mqttPort);
    await pause(calmMs);
    const calm = await honest.ask('calm');
    let most = memoryBytes(node.pid);
    const stop = await attack.run(node, sizes);
    const until = performance.now() + sizes.seconds * 1000;
    while (performance.now() < until) {
      await pause(50);
      most = Math.max(most, memoryBytes(node.pid));
    }
    const seen = await honest.ask('stop');
    const done = await whatWasDone(node);
    honest.close();
    await stop();
    const memoryMiB = Math.round(most / MiB);
    const said = node.lines.filter((line) => line.includes('memory'));
    assert.ok(
      memoryMiB < sizes.watermarkMiB + (sizes.slackMiB ?? 0),
      [`${memoryMiB} MiB of memory, the watermark is ${sizes.watermarkMiB} MiB`, ...said].join('\n'),
    );
    return {
      name,
      peers: sizes.peers,
      sent: seen.sent,
      received: seen.received,
      p50Ms: seen.p50Ms,
      p99Ms: seen.p99Ms,
      calmP99Ms: calm.p99Ms,
      memoryMiB,
      watermarkMiB: sizes.watermarkMiB,
      ...done,
    };
  } finally {
    await cluster.close();
  }
}
