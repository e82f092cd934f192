// A shard whose tables stand still, or are being copied, delays no other shard: two shards on the same
// nodes, one of them slowed at its files or large enough to be copied for a while.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dbBounds } from '#db/bounds.js';
import { eventually } from '../cluster/nodes.js';
import type { RegisterProcess } from '../library/register-process.js';
import { generousMs, Lab } from './lab.js';
import { withoutStrace } from './machine.js';
import { Tracer } from './tracer.js';

const stallUs = 4_000_000;
const writes = 40;
const attemptsMax = 5;
/** More than the memory in front of the tables takes while a commit is under way (DbBounds.tableCommitRows): apply has to wait. */
const stalledRows = 8 * dbBounds.tableCommitRows;
const largeRows = 40_000;
const largeRowBytes = 1_000;

async function effective(on: RegisterProcess, name: string): Promise<void> {
  for (let i = 0; i < writes; i++) {
    const reply = await on.ask({ op: 'write', key: `${name}/${i}`, value: i, until: 'effective' });
    assert.deepEqual(reply && 'value' in reply, true, `write ${i} to the other shard is effective everywhere: ${JSON.stringify(reply)}`);
  }
}

async function besideIndex(n: RegisterProcess): Promise<number> {
  return (await n.shard('beside'))?.appliedIndex ?? 0;
}

async function stall(lab: Lab, node: RegisterProcess): Promise<void> {
  const writer = lab.cores.find((n) => n !== node);
  assert.ok(writer !== undefined);
  const path = lab.tablesFile(node, 'beside');
  const tracer = await Tracer.attach(node.pid, { calls: 'pwrite64,pwritev,writev', what: `delay_enter=${stallUs}`, when: '1+', path });
  assert.ok(tracer !== undefined);
  // On a machine that is slow itself the other shard's writes may take longer than the tables stand still.
  let stood = false;
  for (let attempt = 1; attempt <= attemptsMax && !stood; attempt++) {
    await writer.ask({ op: 'fill', rows: stalledRows, bytes: 100 });
    const ahead = await besideIndex(writer);
    const behind = async (): Promise<boolean> => (await besideIndex(node)) < ahead;
    const before = await behind();
    await effective(writer, `while ${node.name} stalls, ${attempt}`);
    stood = before && (await behind());
  }
  assert.ok(stood, `${node.name} stood still all the while`);
  await tracer.detach();
  await lab.caughtUp();
}

test('a shard whose tables stand still delays no other', { skip: withoutStrace() }, async (t) => {
  const lab = await Lab.start({ cores: 3, replicants: 1 });
  try {
    await t.test('on a replicant', async () => stall(lab, lab.replicants[0] as RegisterProcess));
    await t.test('on the core that leads it', async () => stall(lab, await lab.leader('beside')));
  } finally {
    await lab.close();
  }
});

test('a shard that is copied to a new replicant delays no other', async () => {
  const lab = await Lab.plan({ cores: 3, replicants: 1 });
  try {
    await Promise.all(lab.cores.map((n) => lab.startNode(n)));
    const [core] = lab.cores;
    const [fresh] = lab.replicants;
    assert.ok(core !== undefined && fresh !== undefined);
    await core.ask({ op: 'fill', rows: largeRows, bytes: largeRowBytes });
    const started = lab.startNode(fresh);
    started.catch(() => undefined);
    const states = (shard: string): string[] =>
      [...lab.said(fresh).matchAll(new RegExp(`"shard":"${shard}","state":"([a-z_]+)"`, 'g'))].map((m) => m[1] ?? '');
    await eventually('the large shard is being copied', async () => states('beside').includes('bootstrap'), generousMs);
    await eventually('the other one is in service', async () => states('registers').includes('normal'), generousMs);
    assert.ok(!states('beside').includes('normal'), 'while the large one is still being copied');
    await effective(core, 'while one is copied');
    await started;
    await lab.caughtUp();
    await lab.equal();
  } finally {
    await lab.close();
  }
});
