// What single steps of a message's way cost, in nanoseconds of CPU, without sockets: decode, encode, match,
// one publisher to one subscriber and to a thousand (through a whole broker, over connections that swallow
// what they are given), and a client that comes and goes.
//   npm run bench -- micro [--only TEXT] [--json]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createBroker } from '#broker/broker.js';
import { localPorts } from '#broker/local-ports.js';
import { LocalSubscribers } from '#broker/local-subscribers.js';
import type { Connection, ConnectionHandler } from '#env/net.js';
import { Listener } from '#listener/listener.js';
import { defaultListenerOptions } from '#listener/options.js';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { ConnectPacket, Packet, PublishPacket } from '#mqtt/packet.js';
import { createOsEnv, type OsEnv } from '#os/env.js';
import { Session, type SessionHome, Subscription } from '#session/session.js';

const { values } = parseArgs({ options: { only: { type: 'string', default: '' }, json: { type: 'boolean', default: false } } });
/** Each measurement runs so long, after as long a warm-up. */
const measureMs = 400;
const perChunk = 100;

type Work = () => void | Promise<void>;
interface Benchmark {
  readonly name: string;
  /** Units of work in one call. */
  readonly units: number;
  prepare(): Work | Promise<Work>;
}

/** Takes everything, and forgets it. */
class Sink implements Connection {
  readonly remote = { host: '127.0.0.1', port: 1 };
  handler: ConnectionHandler | undefined = undefined;
  readonly bufferedBytes = 0;
  write(): boolean {
    return true;
  }
  pause(): void {}
  resume(): void {}
  end(): void {
    this.destroy();
  }
  destroy(): void {
    const { handler } = this;
    this.handler = undefined;
    handler?.onClose(undefined);
  }
}

const payload = new Uint8Array(64);
const publish = (topicName: string, qos: 0 | 1 = 0, packetId = 0): PublishPacket => ({
  type: 'publish',
  topicName,
  payload,
  qos,
  retain: false,
  dup: false,
  packetId,
  properties: undefined,
});
const connectPacket = (clientId: string): ConnectPacket => ({ type: 'connect', protocolVersion: 5, clientId, cleanStart: true, keepAlive: 60 });
const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

function chunkOf(packets: readonly Packet[]): Uint8Array {
  const parts = packets.map((p) => encode(p, 5));
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

class Bench {
  readonly env: OsEnv;
  readonly dir = mkdtempSync(join(tmpdir(), 'starmesh-micro-'));
  readonly #listener: Listener;

  constructor() {
    this.env = createOsEnv({ dataDir: this.dir, logger: { targets: [{ level: 'error' }] } });
    this.#listener = new Listener(this.env, createBroker(this.env, {}, localPorts()), { ...defaultListenerOptions });
  }

  client(clientId: string): Sink {
    const sink = new Sink();
    this.#listener.accept(sink);
    sink.handler?.onData(encode(connectPacket(clientId), 5));
    return sink;
  }

  subscriber(clientId: string, topicFilter: string): void {
    const options = { qos: 0 as const, noLocal: false, retainAsPublished: false, retainHandling: 2 as const };
    this.client(clientId).handler?.onData(encode({ type: 'subscribe', packetId: 1, subscriptions: [{ topicFilter, ...options }] }, 5));
  }

  close(): Promise<void> {
    return new Promise((done) =>
      this.env.close(() => {
        rmSync(this.dir, { recursive: true, force: true });
        done();
      }),
    );
  }
}

const bench = new Bench();

function throughBroker(name: string, subscribers: number, units: number, messages: number): Benchmark {
  return {
    name,
    units,
    prepare: async () => {
      for (let i = 0; i < subscribers; i++) bench.subscriber(`${name}-${i}`, `${name}/t`);
      const publisher = bench.client(`${name}-publisher`);
      const bytes = chunkOf(Array.from({ length: messages }, () => publish(`${name}/t`)));
      await turn();
      return async () => {
        publisher.handler?.onData(bytes.slice());
        await turn();
      };
    },
  };
}

const benchmarks: readonly Benchmark[] = [
  {
    name: 'decode',
    units: perChunk,
    prepare: () => {
      const bytes = chunkOf(Array.from({ length: perChunk }, (_, i) => publish(`sensors/${i}/temperature`)));
      const decoder = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: 5 }));
      return () => void decoder.push(bytes, () => {});
    },
  },
  {
    name: 'encode',
    units: perChunk,
    prepare: () => {
      const packets = Array.from({ length: perChunk }, (_, i) => publish(`sensors/${i}/temperature`, 1, i + 1));
      return () => {
        for (const p of packets) encode(p, 5);
      };
    },
  },
  {
    name: 'match-cold',
    units: perChunk,
    prepare: () => {
      const index = subscriptions();
      let n = 0;
      return () => {
        for (let i = 0; i < perChunk; i++) index.match(`bench/${n++ % 10_000}/${n}`);
      };
    },
  },
  {
    name: 'match-hot',
    units: perChunk,
    prepare: () => {
      const index = subscriptions();
      const names = Array.from({ length: perChunk }, (_, i) => `bench/${i}/x`);
      return () => {
        for (const name of names) index.match(name);
      };
    },
  },
  throughBroker('one-to-one', 1, perChunk, perChunk),
  throughBroker('fan-out', 1_000, 10_000, 10),
  {
    name: 'connect',
    units: perChunk,
    prepare: () => async () => {
      const clients = Array.from({ length: perChunk }, (_, i) => bench.client(`connect-${i}`));
      await turn();
      for (const client of clients) client.destroy();
      await turn();
    },
  },
];

function subscriptions(): LocalSubscribers {
  const home = { limits: {}, now: () => 0, onSessionTimer: () => {} } as unknown as SessionHome;
  const session = new Session(home, 'bench', 1, 0, 0);
  const options = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: undefined } as const;
  const index = new LocalSubscribers();
  for (let i = 0; i < 10_000; i++) index.add(new Subscription(session, `bench/${i}/#`, options));
  return index;
}

async function cpuOf(work: Work): Promise<{ readonly calls: number; readonly us: number }> {
  const before = process.cpuUsage();
  const end = performance.now() + measureMs;
  let calls = 0;
  while (performance.now() < end) {
    for (let i = 0; i < 10; i++) {
      const waited = work();
      if (waited !== undefined) await waited;
    }
    calls += 10;
  }
  const { user, system } = process.cpuUsage(before);
  return { calls, us: user + system };
}

const results: Record<string, number> = {};
for (const { name, units, prepare } of benchmarks) {
  if (!name.includes(values.only)) continue;
  const work = await prepare();
  await cpuOf(work);
  const { calls, us } = await cpuOf(work);
  results[name] = (us * 1000) / (calls * units);
}
if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`);
else for (const [name, ns] of Object.entries(results)) process.stdout.write(`${name.padEnd(12)} ${ns.toFixed(0).padStart(7)} ns\n`);
await bench.close();
process.exit(0);
