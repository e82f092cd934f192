// Replicants that are added, stopped, killed, emptied and brought back at random while clients write: nothing
// acknowledged is lost, whoever is in service has all of it, and the others' writes go on as before. How
// long those took is told, with and without the coming and going, and judged by nobody.
import assert from 'node:assert/strict';
import { Prng } from '#base/prng.js';
import { within } from '../cluster/nodes.js';
import type { RegisterProcess } from '../library/register-process.js';
import { generousMs, Lab } from './lab.js';
import { Load, pause } from './load.js';

const replicants = 4;
const pauseMsMax = 300;

export interface Latency {
  readonly writes: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface Churned {
  readonly changes: Readonly<Record<string, number>>;
  readonly acknowledged: number;
  readonly unknown: number;
  /** Of writes by clients of cores: before any replicant was there, with all there, and during the changes. */
  readonly coresAlone: Latency;
  readonly allThere: Latency;
  readonly meanwhile: Latency;
}

type Change = 'added' | 'added empty' | 'stopped' | 'killed';

class Churn {
  readonly #lab: Lab;
  readonly #prng: Prng;
  readonly changes: Record<string, number> = {};

  constructor(lab: Lab, seed: number) {
    this.#lab = lab;
    this.#prng = new Prng(seed).fork('churn');
  }

  async change(): Promise<void> {
    const node = this.#prng.pick(this.#lab.replicants);
    const change = this.#draw(node);
    this.changes[change] = (this.changes[change] ?? 0) + 1;
    if (change === 'stopped') await within(generousMs, `${node.name} stops`, node.stop());
    else if (change === 'killed') await node.kill();
    else {
      if (change === 'added empty') this.#lab.wipe(node);
      await within(generousMs, `${node.name} is in service`, this.#lab.startNode(node));
    }
    await pause(this.#prng.int(pauseMsMax));
  }

  #draw(node: RegisterProcess): Change {
    if (node.running) return this.#prng.next() < 0.5 ? 'stopped' : 'killed';
    return this.#prng.next() < 0.3 ? 'added empty' : 'added';
  }
}

/** `quietMs`: how long writes are measured without changes. */
export async function churn(changes: number, seed: number, quietMs: number): Promise<Churned> {
  const lab = await Lab.plan({ cores: 3, replicants });
  const load = new Load({ name: 'churn', seed, clientsPerNode: 3, pauseMs: 15 });
  try {
    await Promise.all(lab.cores.map((n) => lab.startNode(n)));
    load.start(lab.nodes);
    const coresAlone = await during(load, lab, () => pause(quietMs));
    await Promise.all(lab.replicants.map((n) => lab.startNode(n)));
    const allThere = await during(load, lab, () => pause(quietMs));
    const some = new Churn(lab, seed);
    const meanwhile = await during(load, lab, async () => {
      for (let i = 0; i < changes; i++) await some.change();
    });
    for (const n of lab.replicants) if (!n.running) await lab.startNode(n);
    await lab.caughtUp();
    await load.stop();
    load.checkRows(`after ${changes} changes`, await lab.equal());
    load.checkOrder();
    assert.equal(
      lab.cores.every((n) => n.starts === 1),
      true,
      'no core was disturbed',
    );
    const { acknowledged, unknown } = load.counts;
    return { changes: some.changes, acknowledged, unknown, coresAlone, allThere, meanwhile };
  } finally {
    await lab.close();
  }
}

/** How long acknowledged writes of rows by clients of cores took meanwhile. */
async function during(load: Load, lab: Lab, what: () => Promise<void>): Promise<Latency> {
  const from = performance.now();
  await what();
  const to = performance.now();
  const cores = new Set(lab.cores.map((n) => n.name));
  const took = load.outcomes
    .filter((o) => o.kind === 'row' && o.told === 'done' && cores.has(o.node) && o.calledAt >= from && o.endedAt <= to)
    .map((o) => o.endedAt - o.calledAt)
    .sort((a, b) => a - b);
  return { writes: took.length, p50Ms: took[took.length >> 1] ?? 0, p99Ms: took[Math.floor(took.length * 0.99)] ?? 0 };
}
