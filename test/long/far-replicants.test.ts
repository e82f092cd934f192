// A replicant 20 ms from the cores and one 500 ms, at the default lease: what docs/replication.md says of leases and of
// writes that wait to be effective, with real processes.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually } from '../cluster/nodes.js';
import { FarLab, median, type Seen, Writer, watched } from './far-replicants.js';
import { generousMs } from './lab.js';
import { longestStall } from './machine.js';

const nearMs = 20;
const farMs = 500;
/** Beyond the ways: commits on disk, pauses of streams, and a machine that does other things. Medians bear some of that. */
const slackMs = 200;
const few = 8;
/** A far lease outlasts what it takes to renew it by 140 ms: a busy machine ends one now and then. It is looked at so often until all is well once. */
const attempts = 5;
/** So late are timers on a machine that is not to blame, on this process where the proxies are. */
const stalledMsMax = 30;
/** Of the looks at a node. */
const inSyncMin = 0.9;
/** They would come of chance, and are another test's concern. */
const nobodyMoves = { rebalanceMs: 3_600_000, leaderSpreadMs: 3_600_000 };

function told(...all: readonly Writer[]): string {
  for (const w of all) assert.deepEqual(w.failures, []);
  return all.map((w) => `${w.name}: median ${Math.round(median(w.tookMs))} of ${w.tookMs.length}`).join('; ');
}

function mostlyInSync(who: string, { looks, inSync }: Seen): void {
  assert.ok(looks > 20 && inSync >= inSyncMin * looks, `${who}: in sync at ${inSync} of ${looks} looks`);
}

/** Both in service: everybody waits for the far one, once, and nobody who does not ask for it. Otherwise, what was wrong. */
async function inService(t: TestContext, all: FarLab): Promise<{ readonly wrong: unknown; readonly stalledMs: number }> {
  const { near, far, lab } = all;
  const leader = await lab.leader();
  const ofNear = new Writer(near, 'effective');
  const ofLeader = new Writer(leader, 'effective');
  const ofFar = new Writer(far, 'effective');
  const committed = new Writer(near, 'committed');
  const work = Promise.all([ofNear.times(few), ofLeader.times(few), ofFar.times(few / 2)]);
  const beside = committed.until(work);
  const [nearSeen, farSeen, stalledMs] = await Promise.all([watched(near, work), watched(far, work), longestStall(work), beside]);
  t.diagnostic(told(ofNear, ofLeader, ofFar, committed));
  t.diagnostic(
    `in sync at ${nearSeen.inSync} of ${nearSeen.looks} looks (near), ${farSeen.inSync} of ${farSeen.looks} (far); this process stood still for ${stalledMs} ms`,
  );
  try {
    mostlyInSync(near.name, nearSeen);
    mostlyInSync(far.name, farSeen);
    // The way of the writer to the leader, and that of the entry to the farthest and of its word back.
    for (const [w, wayMs] of [[ofNear, nearMs + farMs] as const, [ofLeader, farMs] as const, [ofFar, 2 * farMs] as const]) {
      const ms = median(w.tookMs);
      assert.ok(ms >= 0.9 * wayMs && ms < wayMs + slackMs, `${w.name}: ${ms} ms, the way is ${wayMs} ms`);
    }
    assert.ok(median(committed.tookMs) < farMs / 2, `${committed.name}: ${median(committed.tookMs)} ms`);
    return { wrong: undefined, stalledMs };
  } catch (error) {
    return { wrong: error, stalledMs };
  }
}

/** Until a write waits for the far one: it holds a lease. */
async function waitedFor(all: FarLab): Promise<void> {
  const w = new Writer(all.near, 'effective');
  await eventually('the far replicant is waited for', async () => (await w.write()) > 0.9 * farMs, generousMs);
  assert.deepEqual(w.failures, []);
}

/**
 * One write of each writer waits for the far one's lease, and is answered; the next ones do not wait. False: it
 * had lost its lease before, as it may on a busy machine, and nobody waited.
 */
async function silent(t: TestContext, all: FarLab): Promise<boolean> {
  const writers = [new Writer(await all.lab.leader(), 'effective'), new Writer(all.near, 'effective')];
  await waitedFor(all);
  all.silence();
  await Promise.all(writers.map((w) => w.times(1 + few)));
  let waited = true;
  for (const w of writers) {
    const [first = Number.NaN, ...later] = w.tookMs;
    t.diagnostic(`silent, ${w.name}: ${Math.round(first)} ms, then median ${Math.round(median(later))}`);
    assert.deepEqual(w.failures, []);
    waited &&= first > farMs / 2;
    assert.ok(median(later) < farMs / 2, `${w.name}: not any more, ${later}`);
  }
  assert.equal((await all.far.report())?.serving, false, 'and it does not believe to be in sync');
  return waited;
}

async function back(t: TestContext, all: FarLab): Promise<void> {
  const from = performance.now();
  all.heard();
  await eventually('the far replicant is in sync again', async () => (await all.far.report())?.serving === true, generousMs);
  t.diagnostic(`back in sync after ${Math.round(performance.now() - from)} ms`);
  await waitedFor(all);
  await all.lab.caughtUp();
  await all.lab.equal();
}

async function copies(all: FarLab): Promise<number> {
  const report = await all.far.report();
  return report?.shards.reduce((sum, s) => sum + s.bootstraps, 0) ?? Number.NaN;
}

test(`a replicant ${farMs} ms away beside one ${nearMs} ms away: both in sync, each write as fast as its way, and silence costs one lease`, async (t) => {
  const all = await FarLab.start({ nearMs, farMs, bounds: nobodyMoves });
  try {
    const alone = [await new Writer(all.near, 'effective').times(few), await new Writer(all.near, 'committed').times(few)];
    t.diagnostic(`without the far one: ${told(...alone)}`);
    await all.lab.startNode(all.far);
    const before = await copies(all);
    let seen = await inService(t, all);
    for (let i = 1; i < attempts && seen.wrong !== undefined; i++) seen = await inService(t, all);
    if (seen.wrong !== undefined && seen.stalledMs < stalledMsMax) throw seen.wrong;
    // Timers of this process, which are the ways, were late by more than a far lease bears: nothing can be said of leases here. It is told.
    if (seen.wrong !== undefined) return t.skip(`this machine is too busy for ways of ${farMs} ms: ${seen.wrong}`);
    let waited = false;
    for (let i = 0; i < attempts && !waited; i++) {
      waited = await silent(t, all);
      await back(t, all);
    }
    assert.ok(waited, 'a write waits for the lease of one that fell silent');
    assert.equal(await copies(all), before, 'nothing was copied again');
  } finally {
    await all.close();
  }
});
