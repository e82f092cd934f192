// Nodes for tests of what one of them does for the others while its memory is short: real brokers, forwarders,
// registries, routes and journals; links, database and disks are doubles that the test holds.
import { NodeHandover } from '#broker/adoption.js';
import { ReplicatedDelayed } from '#broker/delayed.js';
import { NodeForwarder } from '#broker/forward.js';
import type { OverloadLevel } from '#broker/overload.js';
import type { BrokerPorts } from '#broker/ports.js';
import { ClusterRegistry } from '#broker/registry.js';
import { ReplicatedRetained } from '#broker/retained.js';
import { RouteSync } from '#broker/route-sync.js';
import { brokerSchema } from '#broker/schema.js';
import type { Env } from '#env/env.js';
import type { ConnectPacket, ProtocolVersion, QoS } from '#mqtt/packet.js';
import { RecoveringSessions } from '#session/session-record.js';
import { openJournal } from '#store/journal.js';
import { MemoryFiles } from '#store/memory-files.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster } from '../doubles/memory-database.js';
import { MemoryNetwork } from '../doubles/memory-links.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';
import { type BenchClient, MqttBench } from './mqtt-bench.js';

const id = (i: number): string => i.toString(16).padStart(32, '0');
/** Nothing that is under way takes longer. */
const idleMs = 60;

export class Node {
  readonly bench: MqttBench;
  readonly routes: RouteSync;
  /** False: what is to be synced waits. */
  syncs = true;
  #waiting: (() => void)[] = [];

  constructor(clock: ManualClock, db: MemoryCluster, net: MemoryNetwork, number: number) {
    const nodeId = id(number);
    const database = db.join(nodeId, number === 1 ? 'core' : 'replicant');
    const links = net.start(nodeId, database.incarnation);
    const random = { next: () => 0.5, int: () => number, bytes: (n: number) => new Uint8Array(n).fill(number) };
    const env = { clock, random, metrics: new ReadableMetrics(), log: quietLog } as unknown as Env;
    const forwarder = new NodeForwarder(env, links, database);
    this.routes = new RouteSync(env, database);
    const registry = new ClusterRegistry(env, database, links, {});
    registry.beforeHandOver = (done) => forwarder.arrived(done);
    registry.keepsWills = () => true;
    const ports: BrokerPorts = {
      routes: this.routes,
      shared: this.routes.shared,
      forwarder,
      registry,
      retained: new ReplicatedRetained(env, database),
      delayed: new ReplicatedDelayed(env, database, {}),
      handover: new NodeHandover(links, () => true),
      identity: database,
    };
    this.bench = new MqttBench({ clock, ports });
    const found = new RecoveringSessions(clock.wallNow() - clock.now());
    const files = new MemoryFiles((fn) => void this.#waiting.push(fn));
    const { journal } = openJournal({ clock, files, metrics: new ReadableMetrics(), log: quietLog }, { nodeId }, found);
    this.bench.broker.keepSessions(journal, found, {});
    if (this.bench.broker.durable !== undefined) forwarder.keeping = this.bench.broker.durable;
  }

  /** The disk does what it was asked for. */
  turn(): void {
    if (this.syncs) for (const fn of this.#waiting.splice(0)) fn();
  }

  press(level: OverloadLevel): void {
    this.bench.broker.press(level, true);
    this.bench.listener.shortMemory(level > 0, true);
  }
}

export class FewNodes {
  readonly clock: ManualClock = new ManualClock();
  readonly a: Node;
  readonly b: Node;
  /** One that few tests need. */
  readonly c: Node;
  readonly #net: MemoryNetwork;

  constructor() {
    const db = new MemoryCluster(this.clock, brokerSchema);
    const net = new MemoryNetwork(this.clock);
    this.#net = net;
    this.a = new Node(this.clock, db, net, 1);
    this.b = new Node(this.clock, db, net, 2);
    this.c = new Node(this.clock, db, net, 3);
    net.linkAll();
    this.run();
  }

  /** What is on its way between the first two is lost, and they find each other again. */
  relink(): void {
    this.#net.cut(id(1), id(2));
    this.#net.heal(id(1), id(2));
    this.run();
  }

  /** Until nothing is on its way, unless it waits for a disk. */
  run(ms: number = idleMs, stepMs: number = 1): void {
    for (let i = 0; i < ms; i += stepMs) {
      this.clock.advance(stepMs);
      this.a.turn();
      this.b.turn();
      this.c.turn();
    }
  }

  connect(node: Node, more: Partial<ConnectPacket> = {}): BenchClient {
    const client = node.bench.connect(more);
    this.run();
    return client;
  }

  /** A persistent session on the node, subscribed, whose client has gone. */
  away(node: Node, clientId: string, filter: string, qos: QoS = 2, version: ProtocolVersion = 5): Partial<ConnectPacket> {
    const who = lasting(clientId, version);
    const client = this.connect(node, who);
    client.subscribe({ topicFilter: filter, qos });
    this.run();
    client.drop();
    this.run();
    return who;
  }

  /** The client comes back to the node: what it gets, PUBLISHes alone, and without leaving anything open. */
  collect(node: Node, who: Partial<ConnectPacket>): string[] {
    const client = this.connect(node, who);
    const got = this.read(client);
    client.drop();
    this.run();
    return got;
  }

  /** What the client gets, PUBLISHes alone; it acknowledges all of it. */
  read(client: BenchClient): string[] {
    const seen: string[] = [];
    for (let quiet = 0; quiet < 3; ) {
      client.acknowledge();
      const got = client.seen();
      quiet = got.length === 0 ? quiet + 1 : 0;
      seen.push(...got.filter((p) => p.includes('=')));
      this.run();
    }
    return seen;
  }

  /** Says PUBREL to every PUBREC that took the message; what the publisher was told. */
  answers(client: BenchClient): string[] {
    for (const p of client.received)
      if (p.type === 'pubrec' && p.reasonCode < 0x80) client.push({ type: 'pubrel', packetId: p.packetId, reasonCode: 0 });
    this.run();
    return client.seen().filter((p) => !p.startsWith('pubcomp'));
  }
}

export function lasting(clientId: string, version: ProtocolVersion = 5): Partial<ConnectPacket> {
  const who = { clientId, cleanStart: false, protocolVersion: version };
  return version === 5 ? { ...who, properties: { sessionExpiryInterval: 3_600 } } : who;
}
