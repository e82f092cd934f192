// One real node for the cases of one test file: embedded database, broker and listeners over real
// sockets, in the test's own process, so that what a case leaves behind can be counted. An honest pair of
// clients talks through it all the time. Called by `attack.ts`.
// Invariants: after each case the pair's round trip ends within its bound, and the node's counts are
// those of before the first case.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { type AdminServer, startAdmin } from '#admin/server.js';
import { adminNode } from '#node/admin-node.js';
import { loadConfig } from '#node/config/load.js';
import { createNode, type StarmeshNode } from '#node/create-node.js';
import { nodeOptions, refusals } from '#node/node-options.js';
import { createOsEnv, type OsEnv } from '#os/env.js';
import { makeMessage } from '#session/message.js';

/**
 * So much this process may work during the honest pair's round trip, whatever the attack goes on with. Time of the
 * processor: on a machine that has other things to do, only that is the node's.
 */
const witnessCpuMsMax = 2_000;
/** Everything else: turns a hang into a failure that says what was awaited. */
const hangMs = 60_000;

const logLinesKept = 2_000;
const stopMsMax = 20_000;

export type Kind = 'tcp' | 'ws';

export function within<T>(what: string, promise: Promise<T>, ms: number = hangMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Looks each turn of the event loop. */
export async function eventually(what: () => string, holds: () => boolean): Promise<void> {
  const end = Date.now() + hangMs;
  while (!holds()) {
    if (Date.now() > end) assert.fail(`never: ${what()}`);
    await new Promise((turn) => setImmediate(turn));
  }
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** What a case must leave as it was. */
interface Counts {
  readonly connections: number;
  readonly sessions: number;
  readonly subscriptions: number;
  readonly filters: number;
  readonly routes: number;
  readonly retained: number;
  readonly pendingWills: number;
  readonly sockets: number;
}

export interface LabOptions {
  /** What a second round of all cases may leave on the heap: caches that are bounded, nothing per attack. Default 24 MiB. */
  readonly growthBytesMax?: number;
  /** Lines of configuration. */
  readonly settings?: string;
  /** The HTTP port of operators is open. */
  readonly http?: boolean;
  /** What the honest clients come in with. */
  readonly honest?: IClientOptions;
  /** Before the honest clients come. */
  readonly prepare?: (node: StarmeshNode) => Promise<void>;
}

export class Lab {
  readonly dir: string = mkdtempSync(join(tmpdir(), 'starmesh-attacks-'));
  readonly env: OsEnv;
  readonly #options: LabOptions;
  readonly #clients: MqttClient[] = [];
  #node: StarmeshNode | undefined;
  #admin: AdminServer | undefined;
  clusterPort = 0;
  #before: Counts | undefined;
  #round = 0;
  readonly #lines: string[] = [];
  #heard: (text: string) => void = () => {};

  constructor(options: LabOptions = {}) {
    this.#options = options;
    this.env = createOsEnv({
      dataDir: this.dir,
      logger: { targets: [{ level: 'debug', formatter: 'text', to: { write: (line) => this.#log(line) } }] },
    });
  }

  /** What the node has logged lately, as operators read it. */
  get logged(): string {
    return this.#lines.join('');
  }

  #log(line: string): void {
    if (this.#lines.push(line) > logLinesKept) this.#lines.shift();
  }

  /** Ends all sessions but the honest ones', and deletes what is retained. */
  async sweep(): Promise<void> {
    const { broker, retained } = this.node;
    for (const { clientId } of [...broker.clients()]) {
      if (!clientId.startsWith('witness-')) await new Promise<void>((done) => broker.kick(clientId, () => done()));
    }
    const names: string[] = [];
    for (const filter of ['#', '$SYS/#']) retained.scan(filter, ({ topicName }) => names.push(topicName) > 0);
    for (const topicName of names) {
      const nothing = makeMessage(topicName, new Uint8Array(0), 1, true, undefined, Number.POSITIVE_INFINITY, '');
      await new Promise<void>((done) => broker.publishOwn(nothing, () => done()));
    }
  }

  get node(): StarmeshNode {
    assert.ok(this.#node !== undefined);
    return this.#node;
  }

  get httpPort(): number {
    return this.#admin?.address.port ?? 0;
  }

  port(kind: Kind): number {
    const port = this.node.listeners.all.find((l) => l.id === `${kind}:default`)?.address?.port;
    assert.ok(port !== undefined);
    return port;
  }

  async start(): Promise<void> {
    const text = `node { name = "core1@127.0.0.1", data_dir = "${this.dir}" }
      dashboard.listeners.http.enable = false
      listeners.tcp.default.bind = "127.0.0.1:0"
      listeners.ws.default.bind = "127.0.0.1:0"
      ${this.#options.settings ?? ''}`;
    const { config } = loadConfig({ file: 'lab', text, readText: () => undefined, environment: {} });
    assert.deepEqual(refusals(config), []);
    const options = nodeOptions(config, 'the cookie of a node that is alone', (error) => {
      throw error;
    });
    await within(
      'the node serves',
      new Promise<void>((resolve) => {
        const onListening = ({ port }: { readonly port: number }): void => {
          this.clusterPort = port;
        };
        this.#node = createNode(this.env, { ...options, core: { ...options.core, onListening }, onServing: () => resolve() });
      }),
    );
    if (this.#options.http === true) this.#admin = await startAdmin(adminNode(config, this.env, this.node), { host: '127.0.0.1', port: 0 });
    await this.#options.prepare?.(this.node);
    const { honest } = this.#options;
    const subscriber = await this.client('tcp', { clientId: 'witness-s', ...honest });
    this.#clients.push(subscriber);
    subscriber.on('message', (_topic, payload) => this.#heard(String(payload)));
    await subscriber.subscribeAsync('witness/+', { qos: 1 });
    this.#clients.push(await this.client('ws', { clientId: 'witness-p', ...honest }));
    await this.witness();
    await eventually(
      () => 'routes are written',
      () => this.node.routes.quiet,
    );
    this.#before = this.#counts();
  }

  client(kind: Kind, options: IClientOptions): Promise<MqttClient> {
    const url = kind === 'tcp' ? `mqtt://127.0.0.1:${this.port('tcp')}` : `ws://127.0.0.1:${this.port('ws')}/mqtt`;
    return within('an honest client is in', mqtt.connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5, ...options }, false));
  }

  /** The honest pair's round trip, within its bound. */
  async witness(): Promise<void> {
    const [, publisher] = this.#clients;
    assert.ok(publisher !== undefined);
    const text = `round ${++this.#round}`;
    const heard = new Promise<void>((resolve) => {
      this.#heard = (said) => {
        if (said === text) resolve();
      };
    });
    const began = process.cpuUsage();
    await within('the honest clients talk', Promise.all([publisher.publishAsync('witness/1', text, { qos: 1 }), heard]));
    const { user, system } = process.cpuUsage(began);
    const cpuMs = (user + system) / 1000;
    assert.ok(cpuMs < witnessCpuMsMax, `the honest clients talk after ${cpuMs} ms of work`);
  }

  /** The rows themselves: the number in the statistics may be high until it is counted anew. */
  #routes(): string[] {
    const all: string[] = [];
    this.node.routes.list((topicFilter) => all.push(topicFilter) > 0);
    return all;
  }

  #counts(): Counts {
    const { connections, sessions, subscriptions, filters, retained, pendingWills } = this.node.broker.stats();
    const sockets = this.node.listeners.connectionCount;
    const routes = this.#routes().length;
    return { connections, sessions, subscriptions, filters, routes, retained, pendingWills, sockets };
  }

  /** Nothing stays: no connection, session, subscription, route, retained message or will, and nothing failed inside. */
  async clean(): Promise<void> {
    const before = this.#before;
    assert.ok(before !== undefined);
    const wanted = JSON.stringify(before);
    await eventually(
      () => `${JSON.stringify(this.#counts())} becomes ${wanted}; routes: ${this.#routes().slice(0, 20).join(' ')}`,
      () => JSON.stringify(this.#counts()) === wanted && this.node.registry.idle,
    );
    assert.equal(this.metric('starmesh_connection_failures'), 0, 'failures inside');
  }

  metric(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return this.env.metrics.counter(name, '', labels).value;
  }

  /** Bytes in use after a collection. */
  memory(): number {
    // The second one waits for what the first one has left to another thread.
    for (let i = 0; i < 3; i++) collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  }

  async close(): Promise<void> {
    // A node's own timers do not keep a process alive, and its directory is removed last.
    const late = setTimeout(() => assert.fail('the node did not stop'), stopMsMax);
    for (const client of this.#clients) client.end(true);
    await this.#admin?.close();
    await new Promise<void>((resolve) => (this.#node === undefined ? resolve() : this.#node.stop(resolve)));
    await new Promise<void>((resolve) => this.env.close(resolve));
    clearTimeout(late);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
