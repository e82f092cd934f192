// A rolling upgrade with real processes: a cluster of the old build at work, whose nodes are replaced by this build
// one by one, some stopped in order, some killed; nothing acknowledged is lost, and every client's answers have one order.
import assert from 'node:assert/strict';
import { within } from '../cluster/nodes.js';
import type { RegisterProcess } from '../library/register-process.js';
import { generousMs, Lab } from './lab.js';
import { Load, pause } from './load.js';
import { type OldBuild, oldBuild } from './old-build.js';

/** Between two nodes both builds work together. */
const mixedMs = 3_000;
const pauseMs = 15;

export interface Upgraded {
  readonly from: string;
  readonly order: readonly string[];
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
  /** Copies of tables that replicants made in their last lives. */
  readonly bootstraps: number;
}

/** `coresFirst`: or the replicants. `seed`: of the load. */
export async function upgrade(coresFirst: boolean, seed: number): Promise<Upgraded> {
  const old = oldBuild('library');
  try {
    return await upgradeFrom(old, coresFirst, seed);
  } finally {
    old.remove();
  }
}

async function upgradeFrom(old: OldBuild, coresFirst: boolean, seed: number): Promise<Upgraded> {
  const lab = await Lab.plan({ cores: 3, replicants: 2 });
  const load = new Load({ name: 'upgrade', seed, clientsPerNode: 3, pauseMs });
  const order = coresFirst ? [...lab.cores, ...lab.replicants] : [...lab.replicants, ...lab.cores];
  try {
    for (const n of lab.nodes) n.program = old.program;
    await Promise.all(lab.nodes.map((n) => lab.startNode(n)));
    load.start(lab.nodes);
    await pause(mixedMs);
    for (const [i, n] of order.entries()) await replace(lab, n, i % 2 === 0);
    await lab.caughtUp();
    await load.stop();
    const rows = await lab.equal();
    for (const n of lab.nodes) assert.equal(n.program, undefined, `${n.name} is of the new build`);
    load.checkRows('after the upgrade', rows);
    load.checkOrder();
    let bootstraps = 0;
    for (const n of lab.replicants) for (const s of (await n.report())?.shards ?? []) bootstraps += s.bootstraps;
    const { acknowledged, refused, unknown } = load.counts;
    return { from: old.what, order: order.map((n) => n.name), acknowledged, refused, unknown, bootstraps };
  } finally {
    await lab.close();
  }
}

async function replace(lab: Lab, n: RegisterProcess, inOrder: boolean): Promise<void> {
  if (inOrder) await within(generousMs, `${n.name} stops`, n.stop());
  else await n.kill();
  n.program = undefined;
  await within(generousMs, `${n.name} is in service with the new build`, lab.startNode(n));
  await lab.caughtUp();
  await pause(mixedMs);
}
