// A load of MQTT clients on real nodes, for suites in which nodes go and come back: publishers and subscribers that go to
// another node when theirs sends them away, sessions of clients that stay away, retained messages, and wills; with what each
// was told. What was acknowledged has to be there at the end, and in order.
import assert from 'node:assert/strict';
import type { IClientOptions } from 'mqtt';
import { TestClient } from '../cluster/clients.js';
import type { TestNode } from '../cluster/nodes.js';
import { generousMs } from './lab.js';
import { pause } from './load.js';

const betweenAttemptsMs = 100;
/** Every so many messages of a publisher one is retained. */
const retainedEvery = 10;
const expiry = { sessionExpiryInterval: 3_600 };
/** Of messages that may be missing: routed by a table that was not up to date, or to a node that was given up, or for a route that was not seen in time. */
const outsidePromise = ['starmesh_route_match_out_of_sync_total', 'starmesh_forward_lost_total', 'starmesh_suback_not_effective_total'];
/** What was acknowledged has come by then, unless it never will. */
const arrivalMsMax = 30_000;
/** Connections that were refused before somebody is taken for locked out. */
const attemptsMax = 600;

export interface MqttLoadShape {
  readonly publishers: number;
  readonly subscribers: number;
  readonly sleepersPerNode: number;
  readonly pauseMs: number;
}

export interface MqttLoadCounts {
  readonly acknowledged: number;
  readonly delivered: number;
  readonly resumed: number;
  readonly moved: number;
  readonly outside: number;
  readonly missing: number;
}

/** A client with a persistent session. */
class Lasting {
  readonly clientId: string;
  readonly received: { readonly topic: string; readonly payload: string }[] = [];
  client: TestClient | undefined = undefined;
  at: TestNode | undefined = undefined;
  readonly stays: string[] = [];
  connections = 0;
  #present = false;

  constructor(clientId: string) {
    this.clientId = clientId;
  }

  async connect(node: TestNode): Promise<TestClient> {
    const c = await TestClient.connect(node, { clientId: this.clientId, clean: false, properties: expiry });
    c.mqtt.on('message', (topic: string, payload: Uint8Array) => void this.received.push({ topic, payload: Buffer.from(payload).toString() }));
    // What came with CONNACK was received before.
    for (const { topic, payload } of c.received) this.received.push({ topic, payload });
    assert.equal(c.sessionPresent, this.#present, `${this.clientId} at ${node.shortName}, connection ${this.connections + 1}: Session Present`);
    this.#present = true;
    this.connections++;
    this.client = c;
    this.at = node;
    this.stays.push(`${node.shortName} from ${new Date().toISOString()}`);
    return c;
  }
}

export class MqttLoad {
  /** Where clients go; a node that is about to go is taken out before. */
  readonly open: Set<TestNode>;
  readonly #shape: MqttLoadShape;
  readonly #acknowledged: string[][];
  readonly #retained: { acknowledged: number; sent: number }[];
  readonly #subscribers: Lasting[];
  readonly #witness: Lasting = new Lasting('witness');
  readonly #sleepers: Lasting[] = [];
  readonly #wanted: string[] = [];
  readonly #unwanted: string[] = [];
  #running: Promise<void>[] = [];
  #publishing = true;
  #subscribing = true;
  #failure: { readonly error: unknown; readonly at: string } | undefined = undefined;
  #turn = 0;
  #moved = 0;
  #outside = 0;
  #missing = 0;

  constructor(nodes: readonly TestNode[], shape: MqttLoadShape) {
    this.open = new Set(nodes);
    this.#shape = shape;
    this.#acknowledged = Array.from({ length: shape.publishers }, () => []);
    this.#retained = Array.from({ length: shape.publishers }, () => ({ acknowledged: -1, sent: -1 }));
    this.#subscribers = Array.from({ length: shape.subscribers }, (_, i) => new Lasting(`subscriber-${i}`));
  }

  #next(): TestNode {
    const nodes = [...this.open];
    const node = nodes[this.#turn++ % nodes.length];
    assert.ok(node !== undefined, 'a node is open');
    return node;
  }

  /** Until somebody lets it in; a node may close while it is asked. */
  async #anywhere<T>(connect: (node: TestNode) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await connect(this.#next());
      } catch (error) {
        if (error instanceof assert.AssertionError || attempt >= attemptsMax) throw error;
        await pause(betweenAttemptsMs);
      }
    }
  }

  async start(): Promise<void> {
    for (const node of this.open) {
      for (let i = 0; i < this.#shape.sleepersPerNode; i++) {
        const sleeper = new Lasting(`sleeper-${node.shortName}-${i}`);
        this.#sleepers.push(sleeper);
        const c = await sleeper.connect(node);
        await c.subscribe('load/#', 1);
        await c.close();
      }
    }
    for (const s of [...this.#subscribers, this.#witness]) {
      const c = await this.#anywhere((node) => s.connect(node));
      await c.subscribe(s === this.#witness ? 'will/#' : 'load/#', 1);
      this.#run(this.#subscriber(s, c));
    }
    for (let p = 0; p < this.#shape.publishers; p++) this.#run(this.#publisher(p));
  }

  #run(client: Promise<void>): void {
    this.#running.push(
      client.catch((error: unknown) => {
        this.#failure ??= { error, at: new Date().toISOString() };
      }),
    );
  }

  /** Throws what a client has met since. */
  check(): void {
    if (this.#failure !== undefined) throw new Error(`at ${this.#failure.at}`, { cause: this.#failure.error });
  }

  async #subscriber(s: Lasting, first: TestClient): Promise<void> {
    for (let c = first; ; ) {
      await gone(c);
      if (!this.#subscribing) return;
      this.#moved++;
      c = await this.#anywhere((node) => s.connect(node));
    }
  }

  async #publisher(p: number): Promise<void> {
    const [acknowledged, retained] = [this.#acknowledged[p], this.#retained[p]];
    assert.ok(acknowledged !== undefined && retained !== undefined);
    let n = 0;
    while (this.#publishing) {
      const c = await this.#anywhere((node) => TestClient.connect(node, { clientId: `publisher-${p}`, clean: true }));
      const closed = gone(c).then(() => false);
      const told = (sent: Promise<unknown>): Promise<boolean> =>
        Promise.race([
          sent.then(
            () => true,
            () => false,
          ),
          closed,
        ]);
      for (let ok = true; ok && this.#publishing; await pause(this.#shape.pauseMs)) {
        const payload = `${p}/${n++}`;
        ok = await told(c.mqtt.publishAsync(`load/${p}`, payload, { qos: 1 }));
        if (ok) acknowledged.push(payload);
        if (!ok || n % retainedEvery !== 0) continue;
        retained.sent = n;
        ok = await told(c.mqtt.publishAsync(`kept/${p}`, `${n}`, { qos: 1, retain: true }));
        if (ok) retained.acknowledged = n;
      }
      if (!this.#publishing) await c.close();
    }
  }

  // ---- wills ----

  /** A client that has a will: `sessionMs` how long its session lasts. */
  willing(name: string, node: TestNode, lasting: boolean, delayS: number = 0): Promise<TestClient> {
    const will = { topic: `will/${name}`, payload: Buffer.from('gone'), qos: 1, retain: false, properties: { willDelayInterval: delayS } } as const;
    const options: IClientOptions = { clientId: `willing-${name}`, clean: !lasting, will };
    return TestClient.connect(node, lasting ? { ...options, properties: expiry } : options);
  }

  /** The will of the client of this name comes, or came: `isOff` it never does. */
  willIs(name: string, what: 'sent' | 'off'): void {
    (what === 'sent' ? this.#wanted : this.#unwanted).push(`will/${name}`);
  }

  /** A client that breaks off, and one that takes its will back. */
  async wills(name: string, node: TestNode): Promise<void> {
    const broken = await this.willing(`${name}-broken`, node, false);
    await broken.drop();
    this.willIs(`${name}-broken`, 'sent');
    const taken = await this.willing(`${name}-taken`, node, true);
    await taken.close();
    this.willIs(`${name}-taken`, 'off');
  }

  async willSeen(name: string): Promise<void> {
    const seen = (): boolean => this.#witness.received.some((m) => m.topic === `will/${name}`);
    for (let waited = 0; !seen(); waited += betweenAttemptsMs) {
      assert.ok(waited < generousMs, `the will of ${name} never came`);
      await pause(betweenAttemptsMs);
    }
  }

  /** The node is about to end: what it has counted. */
  async count(node: TestNode): Promise<void> {
    for (const name of outsidePromise) {
      const counted = (await node.metric(name)).reduce((sum, n) => sum + n, 0);
      this.#outside += counted;
      if (counted > 0) console.log(`${new Date().toISOString()} ${node.shortName} ${name} ${counted}`);
    }
  }

  /** Nobody who looks for wills is on the node from now on. */
  async leftAlone(node: TestNode): Promise<void> {
    this.open.delete(node);
    if (this.#witness.at === node) await this.#witness.client?.drop();
    while (this.#witness.at === node) await pause(betweenAttemptsMs);
  }

  get willCount(): number {
    return this.#wanted.length;
  }

  /** No will that is off was sent, none came twice. */
  checkWills(): void {
    const seen = this.#witness.received.map((m) => m.topic);
    const sentThoughOff = this.#unwanted.filter((t) => seen.includes(t));
    const never = this.#wanted.filter((t) => !seen.includes(t));
    const twice = this.#wanted.filter((t) => seen.filter((s) => s === t).length > 1);
    assert.deepEqual({ sentThoughOff, never, twice }, { sentThoughOff: [], never: [], twice: [] });
  }

  // ---- the end ----

  async stop(): Promise<void> {
    this.#publishing = false;
    await Promise.all(this.#running.slice(this.#subscribers.length + 1));
    for (const s of this.#sleepers) {
      const c = await this.#anywhere((node) => s.connect(node));
      await this.#complete(s);
      await c.close();
    }
    for (const s of this.#subscribers) await this.#complete(s);
  }

  async close(): Promise<void> {
    this.#publishing = false;
    this.#subscribing = false;
    for (const s of [...this.#subscribers, this.#witness]) await s.client?.drop().catch(() => undefined);
    await Promise.all(this.#running);
    this.#running = [];
  }

  /** Everything that was acknowledged has come, in the order of its publisher. */
  async #complete(s: Lasting): Promise<void> {
    const missing = (): string[] => {
      const got = new Set(s.received.map((m) => m.payload));
      return this.#acknowledged.flat().filter((payload) => !got.has(payload));
    };
    for (let waited = 0; missing().length > 0 && waited < arrivalMsMax; waited += betweenAttemptsMs) await pause(betweenAttemptsMs);
    const lost = missing();
    if (lost.length > 0) console.log(`${s.clientId} never got ${lost.join(', ')}; it was at ${s.stays.join(', ')}`);
    assert.ok(lost.length === 0 || this.#outside > 0, `${s.clientId} never got ${lost.length}`);
    this.#missing += lost.length;
    const last = this.#acknowledged.map(() => -1);
    const seen = new Set<string>();
    for (const { payload } of s.received) {
      if (seen.has(payload)) continue;
      seen.add(payload);
      const [p = -1, n = -1] = payload.split('/').map(Number);
      assert.ok(n > (last[p] ?? -1), `${s.clientId} got ${payload} after ${p}/${last[p]}`);
      last[p] = n;
    }
  }

  /** On each node, a new subscriber gets what was retained last. */
  async checkRetained(): Promise<void> {
    for (const node of this.open) {
      const c = await TestClient.connect(node);
      await c.subscribe('kept/#', 1);
      await c.until(`what was retained, on ${node.shortName}`, (all) => all.length >= this.#retained.length);
      for (const [p, { acknowledged, sent }] of this.#retained.entries()) {
        const value = Number(c.received.find((m) => m.topic === `kept/${p}`)?.payload);
        assert.ok(value >= acknowledged && value <= sent, `kept/${p} is ${value} on ${node.shortName}, acknowledged ${acknowledged}, sent ${sent}`);
      }
      await c.close();
    }
  }

  get counts(): MqttLoadCounts {
    const all = [...this.#subscribers, ...this.#sleepers];
    return {
      acknowledged: this.#acknowledged.flat().length,
      delivered: all.reduce((sum, s) => sum + s.received.length, 0),
      resumed: all.reduce((sum, s) => sum + s.connections - 1, 0),
      moved: this.#moved,
      outside: this.#outside,
      missing: this.#missing,
    };
  }
}

function gone(c: TestClient): Promise<void> {
  return new Promise((done) => {
    if (c.ended === undefined) c.mqtt.once('close', () => done());
    else done();
  });
}
