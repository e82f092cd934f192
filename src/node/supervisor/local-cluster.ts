// A whole cluster on this machine: starts every node, asks each how it is, says when all are in sync,
// and stops them.
import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from '../ctl/client.js';
import { ctlSocketPath } from '../ctl/sockets.js';
import type { Display } from './display.js';
import { isServing } from './health.js';
import { NodeProcess, type NodeProcessOptions } from './node-process.js';
import type { PlannedNode } from './plan.js';

const askEveryMs = 250;
/** Once all is well, less often: asking costs the nodes a little. */
const askEveryMsReady = 1000;
const askMsMax = 2000;
const trimEveryMs = 60_000;
const stopMsMax = 10_000;

export interface ClusterEvents {
  /** All shards are in sync on every node: the first time, and again after it was not so. */
  onReady(): void;
  /** No process is left and none will be started again. */
  onGone(): void;
}

export class LocalCluster {
  readonly nodes: readonly NodeProcess[];
  readonly #display: Display;
  readonly #events: ClusterEvents;
  #ready = false;
  #stopping = false;
  #lastTrim = 0;

  constructor(plan: readonly PlannedNode[], options: NodeProcessOptions, display: Display, events: ClusterEvents) {
    this.#display = display;
    this.#events = events;
    const nodeEvents = {
      say: (node: PlannedNode, text: string): void => display.line(`${node.shortName} ${text}`),
      changed: (): void => this.#changed(),
    };
    this.nodes = plan.map((p) => new NodeProcess(p, options, nodeEvents));
  }

  /** Starts all and keeps asking until `stop`. */
  async run(): Promise<void> {
    for (const node of this.nodes) node.start();
    this.#changed();
    while (!this.#stopping) {
      await Promise.all(this.nodes.map((node) => this.#askOne(node)));
      this.#judge();
      this.#trimLogs();
      await sleep(this.#ready ? askEveryMsReady : askEveryMs, undefined, { ref: !this.#stopping });
    }
  }

  /** Replicants first, so that the cores still see them leave; what does not leave in time is killed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const node of this.nodes) node.expectEnd();
    const deadline = setTimeout(() => this.kill(), stopMsMax);
    for (const role of ['replicant', 'core'] as const) {
      await Promise.all(this.nodes.filter((n) => n.plan.role === role).map((n) => n.stop()));
    }
    clearTimeout(deadline);
  }

  /** At once, without goodbye. */
  kill(): void {
    this.#stopping = true;
    for (const node of this.nodes) node.kill();
  }

  async #askOne(node: NodeProcess): Promise<void> {
    if (node.state !== 'running') return;
    const { pid } = node;
    let data: unknown;
    let serving = false;
    try {
      const path = ctlSocketPath(node.plan.dataDir);
      const reply = await ask(path, ['rlog', 'status'], askMsMax);
      data = reply.ok ? reply.data : undefined;
      serving = isServing((await ask(path, ['status'], askMsMax)).data);
    } catch {
      // Not up yet, or just gone: the process itself tells which.
    }
    if (node.pid === pid) node.heard(data, serving);
  }

  #changed(): void {
    this.#display.show(this.nodes);
    if (this.#stopping) return;
    if (this.nodes.every((n) => n.state === 'dead')) this.#events.onGone();
  }

  #judge(): void {
    const ready = this.nodes.every((n) => n.state === 'running' && n.health.inSync);
    if (ready && !this.#ready && !this.#stopping) this.#events.onReady();
    this.#ready = ready;
  }

  #trimLogs(): void {
    if (performance.now() - this.#lastTrim < trimEveryMs) return;
    this.#lastTrim = performance.now();
    for (const node of this.nodes) node.trimLog();
  }
}
