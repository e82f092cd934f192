// Real nodes for tests: child processes of the built command line, with ports and data of their own.
// A test waits for what the nodes say and do, never for time; the deadlines here only turn a hang
// into a failure that says what was awaited. Nodes end when the pipe to the test closes, so that none
// outlives its test, however that ends.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ask } from '#node/ctl/client.js';
import type { CtlReply } from '#node/ctl/replies.js';
import { ctlSocketPath } from '#node/ctl/sockets.js';

const command = fileURLToPath(new URL('../../../bin/starmesh.js', import.meta.url));
const host = '127.0.0.1';
/** Generous: a loaded machine with a few processors starts five nodes at once. */
const readyMsMax = 60_000;
const linesKept = 200;
/** Of a configuration; the node's own come after them. */
const commonLines = 5;

/** Rejects with `what` after `ms`, so that a hang is a failure with a name. */
export function within<T>(ms: number, what: string | (() => string), promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${typeof what === 'string' ? what : what()}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export interface ClusterShape {
  readonly cores: number;
  readonly replicants: number;
  /** Further cores, configured with the others as seeds and not started: to come in later. Named on from the last core. */
  readonly spares?: number;
  /** Lines of configuration for every node. */
  readonly settings?: string;
  /** Lines of configuration for one node, by short name. */
  readonly settingsOf?: Readonly<Record<string, string>>;
}

export class TestNode {
  readonly shortName: string;
  readonly name: string;
  readonly role: 'core' | 'replicant';
  readonly mqttPort: number;
  readonly httpPort: number;
  readonly linkPort: number;
  readonly dataDir: string;
  /** Of another build: its `bin/starmesh.js`, from the next start on. */
  program: string | undefined = undefined;
  readonly #config: string;
  readonly #runDir: string;
  #child: ChildProcess | undefined;
  #lines: string[] = [];
  #waiting: { readonly text: string; readonly found: () => void }[] = [];

  constructor(
    shortName: string,
    role: 'core' | 'replicant',
    ports: { readonly mqtt: number; readonly http: number; readonly link: number },
    dataDir: string,
    config: string,
    runDir: string,
  ) {
    this.shortName = shortName;
    this.name = `${shortName}@${host}`;
    this.role = role;
    this.mqttPort = ports.mqtt;
    this.httpPort = ports.http;
    this.linkPort = ports.link;
    this.dataDir = dataDir;
    this.#config = config;
    this.#runDir = runDir;
  }

  /** A second process of the same node: same configuration unless `settings` replace its own lines, same data directory. */
  twin(settings?: string): TestNode {
    const ports = { mqtt: this.mqttPort, http: this.httpPort, link: this.linkPort };
    let config = this.#config;
    if (settings !== undefined) {
      const lines = readFileSync(config, 'utf8').split('\n');
      config = `${this.#config}.twin`;
      writeFileSync(config, [...lines.slice(0, commonLines), settings].join('\n'));
    }
    return new TestNode(this.shortName, this.role, ports, this.dataDir, config, this.#runDir);
  }

  /** Changes the configuration that the next start reads. */
  reconfigure(change: (text: string) => string): void {
    writeFileSync(this.#config, change(readFileSync(this.#config, 'utf8')));
  }

  get url(): string {
    return `mqtt://${host}:${this.mqttPort}`;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.shortName} does not run`);
    return pid;
  }

  /** What the process has said since its start, for failures. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /** Starts the process; `said` and `serving` wait for what it says. */
  start(): void {
    this.#lines = [];
    const child = spawn(process.execPath, [this.program ?? command, 'start', '--supervised', '-c', this.#config], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, STARMESH_RUN_DIR: this.#runDir },
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', (line) => this.#heard(line));
    child.stdin.on('error', () => {});
  }

  #heard(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > linesKept) this.#lines.shift();
    const found = this.#waiting.filter((w) => line.includes(w.text));
    this.#waiting = this.#waiting.filter((w) => !line.includes(w.text));
    for (const w of found) w.found();
  }

  /** Resolves with the next line that contains `text`, or at once when it was said already. */
  said(text: string): Promise<void> {
    if (this.#lines.some((l) => l.includes(text))) return Promise.resolve();
    const heard = new Promise<void>((found) => this.#waiting.push({ text, found }));
    return within(readyMsMax, () => `${this.shortName} says "${text}"; it said:\n${this.#lines.join('\n')}`, heard);
  }

  /** Clients can connect. */
  serving(): Promise<void> {
    return this.said('the node serves clients');
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) return null;
    this.#child = undefined;
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill(signal);
      await within(readyMsMax, `${this.shortName} ends after ${signal}`, exited);
    }
    return child.exitCode;
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** The orderly way; resolves with the exit status. */
  stop(): Promise<number | null> {
    return this.#end('SIGTERM');
  }

  /** Exit status of a process that ends by itself. */
  async exited(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) throw new Error(`${this.shortName} does not run`);
    if (child.exitCode === null && child.signalCode === null)
      await within(readyMsMax, () => `${this.shortName} ends; it said:\n${this.#lines.join('\n')}`, once(child, 'close'));
    this.#child = undefined;
    return child.exitCode;
  }

  ctl(...words: string[]): Promise<CtlReply> {
    return ask(ctlSocketPath(this.dataDir), words, readyMsMax);
  }

  get(path: string): Promise<Response> {
    return fetch(`http://${host}:${this.httpPort}${path}`);
  }

  /** Samples of the metrics page whose name and labels contain every part. */
  async metric(name: string, ...parts: string[]): Promise<number[]> {
    const text = await (await this.get('/metrics')).text();
    return text
      .split('\n')
      .filter((l) => (l.startsWith(`${name}{`) || l.startsWith(`${name} `)) && parts.every((p) => l.includes(p)))
      .map((l) => Number(l.slice(l.lastIndexOf(' ') + 1)));
  }
}

export class TestCluster {
  readonly nodes: readonly TestNode[];
  readonly #spares: number;
  readonly #dir: string;

  private constructor(dir: string, nodes: readonly TestNode[], spares: number) {
    this.#dir = dir;
    this.#spares = spares;
    this.nodes = nodes;
  }

  /** Lays out configuration and data; nothing runs yet. */
  static async plan(shape: ClusterShape): Promise<TestCluster> {
    const dir = mkdtempSync(join(tmpdir(), 'starmesh-test-'));
    const spares = shape.spares ?? 0;
    const count = shape.cores + shape.replicants + spares;
    const ports = await freePorts(count * 3);
    const plan = Array.from({ length: count }, (_, i) => {
      const spare = i - shape.cores - shape.replicants;
      const role = i < shape.cores || spare >= 0 ? ('core' as const) : ('replicant' as const);
      const number = i < shape.cores ? i + 1 : spare >= 0 ? shape.cores + spare + 1 : i - shape.cores + 1;
      const shortName = `${role}${number}`;
      return { shortName, role, mqtt: ports[3 * i] ?? 0, http: ports[3 * i + 1] ?? 0, link: ports[3 * i + 2] ?? 0 };
    });
    const cores = plan.slice(0, shape.cores).map((p) => `"${p.shortName}@${host}:${p.link}"`);
    const nodes = plan.map((p) => {
      const dataDir = join(dir, p.shortName);
      mkdirSync(dataDir);
      const text = [
        `node { name = "${p.shortName}@${host}", role = ${p.role}, cookie = "a cookie of this test alone", data_dir = "${dataDir}" }`,
        `cluster { core_nodes = [${cores.join(', ')}], listen = "${host}:${p.link}" }`,
        `listeners.tcp.default.bind = "${host}:${p.mqtt}"`,
        `dashboard.listeners.http.bind = "${host}:${p.http}"`,
        shape.settings ?? '',
        shape.settingsOf?.[p.shortName] ?? '',
      ];
      const config = join(dir, `${p.shortName}.conf`);
      writeFileSync(config, text.join('\n'));
      return new TestNode(p.shortName, p.role, p, dataDir, config, join(dir, 'run'));
    });
    return new TestCluster(dir, nodes, spares);
  }

  /** Starts all nodes and waits until each serves. */
  static async start(shape: ClusterShape): Promise<TestCluster> {
    const cluster = await TestCluster.plan(shape);
    try {
      await cluster.startAll();
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  async startAll(): Promise<void> {
    const first = this.nodes.slice(0, this.nodes.length - this.#spares);
    for (const n of first) n.start();
    await Promise.all(first.map((n) => n.serving()));
  }

  node(shortName: string): TestNode {
    const found = this.nodes.find((n) => n.shortName === shortName);
    if (found === undefined) throw new Error(`no node ${shortName}`);
    return found;
  }

  get cores(): readonly TestNode[] {
    return this.nodes.filter((n) => n.role === 'core');
  }

  get replicants(): readonly TestNode[] {
    return this.nodes.filter((n) => n.role === 'replicant');
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((n) => n.kill()));
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Below the ports that the system gives to outgoing connections, which would take one away before a node has it again. */
const lowestPort = 12_000;
const portsPerProcess = 60;
const processesApart = 300;

function listens(server: Server, port: number): Promise<boolean> {
  return new Promise((done) => {
    server.once('error', () => done(false));
    server.listen(port, host, () => done(true));
  });
}

/** The first port of a range is held for as long as this process lives: nobody else takes the others while their nodes are down. */
async function ownRange(): Promise<number> {
  for (let n = 0; n < processesApart; n++) {
    const port = lowestPort + ((process.pid + n) % processesApart) * portsPerProcess;
    const guard = createServer().unref();
    if (await listens(guard, port)) return port;
  }
  throw new Error('no range of ports is free');
}

let range: Promise<number> | undefined;

/** Free ports from a range of this process's own: suites run side by side. A node that is killed finds its port again. */
export async function freePorts(count: number): Promise<number[]> {
  range ??= ownRange();
  const servers: Server[] = [];
  const ports: number[] = [];
  for (let port = (await range) + 1; ports.length < count; port++) {
    assert.ok(port < 32_000, 'there are free ports');
    const server = createServer();
    if (!(await listens(server, port))) continue;
    servers.push(server);
    ports.push(port);
  }
  await Promise.all(servers.map((s) => new Promise((done) => s.close(done))));
  return ports;
}

const pollMs = 50;

/** Asks again and again until `met` holds, for states that nobody announces. */
export async function eventually(what: string, met: () => Promise<boolean>, ms: number = readyMsMax): Promise<void> {
  let over = false;
  const asking = async (): Promise<void> => {
    while (!over && !(await met())) await new Promise((done) => setTimeout(done, pollMs));
  };
  try {
    await within(ms, what, asking());
  } finally {
    over = true;
  }
}
