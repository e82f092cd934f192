// Twelve of the crash points of test/long/crash-points.ts: a node alone, then each kind of node of a cluster.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CrashLab, drawPoints, type Victim } from './crash-points.js';
import { withoutStrace } from './machine.js';

const seed = 20_262;

async function crashes(cores: number, replicants: number, victims: readonly Victim[]): Promise<string> {
  const lab = await CrashLab.start(cores, replicants, seed);
  try {
    let reached = 0;
    const points = drawPoints(victims, 6, seed);
    for (const point of points) reached += (await lab.crash(point)).reached ? 1 : 0;
    await lab.checkAll();
    assert.ok(reached >= points.length / 2, `${reached} of ${points.length} died where they should`);
    return `${reached} of ${points.length} killed at their points, ${lab.acknowledged} operations acknowledged`;
  } finally {
    await lab.close();
  }
}

test('a node alone, killed right before a call: everything acknowledged is there, tables equal the log', { skip: withoutStrace() }, async (t) =>
  t.diagnostic(await crashes(1, 0, ['alone'])),
);

test('leader, follower and replicant, killed right before a call: the same', { skip: withoutStrace() }, async (t) =>
  t.diagnostic(await crashes(3, 1, ['leader', 'follower', 'replicant'])),
);
