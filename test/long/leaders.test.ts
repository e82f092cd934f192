// How leaders are spread over real core processes: evenly after the start, and again when a core that was killed is
// back, while clients on all cores write to every shard. Every write is acknowledged (the library asks again where
// a shard has another leader), and what was acknowledged is on every core at the end.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually } from '../cluster/nodes.js';
import type { Texts } from '../library/register-node.js';
import type { RegisterProcess } from '../library/register-process.js';
import { Lab } from './lab.js';
import { pause } from './load.js';

const more = ['more1', 'more2', 'more3', 'more4'];
/** That count; the shard of the members is led wherever it is. */
const shards = ['registers', 'beside', ...more];
const written = ['beside', ...more];
const spreadMs = 500;
/** Each move comes after `spreadMs` of calm; the rest is for a machine that does other things, whose cores elect now and then. */
const evenMsMax = 90_000;
/** A write waits for an election at most; one that nobody answers in this time was lost. */
const deadlineMs = 30_000;
const pauseMs = 10;

/** One writer per node and shard, each waiting for its last write. */
class Writers {
  readonly acknowledged: Map<string, string[]> = new Map(written.map((s) => [s, []]));
  readonly failures: string[] = [];
  longestMs = 0;
  #all: Promise<void>[] = [];
  #stopping = false;

  start(node: RegisterProcess): void {
    for (const shard of written) this.#all.push(this.#write(node, shard, node.starts));
  }

  async #write(node: RegisterProcess, shard: string, life: number): Promise<void> {
    for (let i = 0; !this.#stopping && node.running && node.starts === life; i++) {
      const key = `${node.name}/${life}/${i}`;
      const from = performance.now();
      const reply = await node.ask({ op: 'beside', shard, key, text: key, until: i % 2 === 0 ? 'committed' : 'effective' });
      // It was killed meanwhile.
      if (reply === undefined) return;
      if ('value' in reply) this.acknowledged.get(shard)?.push(key);
      else this.failures.push(`${shard} ${key}: ${JSON.stringify(reply)}`);
      this.longestMs = Math.max(this.longestMs, performance.now() - from);
      await pause(pauseMs);
    }
  }

  async stop(): Promise<number> {
    this.#stopping = true;
    await Promise.all(this.#all);
    return [...this.acknowledged.values()].reduce((sum, keys) => sum + keys.length, 0);
  }
}

/** How many of the shards that count each of the cores leads, as it says itself; undefined: not all of them are led, once. */
async function leads(cores: readonly RegisterProcess[]): Promise<number[] | undefined> {
  const reports = await Promise.all(cores.map((n) => n.report()));
  const by = reports.map((r) => r?.shards.filter((s) => shards.includes(s.shard) && s.state === 'leader').length ?? 0);
  return by.reduce((a, b) => a + b) === shards.length ? by : undefined;
}

/** Resolves when no core leads two shards more than another; how long it took, in ms. */
async function even(lab: Lab, cores: readonly RegisterProcess[], when: string): Promise<{ readonly ms: number; readonly by: readonly number[] }> {
  const from = performance.now();
  let by: number[] | undefined;
  await eventually(
    `leaders are spread evenly ${when}`,
    async () => {
      by = await leads(cores);
      return by !== undefined && Math.max(...by) - Math.min(...by) <= 1;
    },
    evenMsMax,
  ).catch((error: Error) => {
    const said = cores.flatMap((n) =>
      lab
        .said(n)
        .split('\n')
        .filter((line) => line.includes('leadership is'))
        .slice(-5),
    );
    throw new Error(`${error.message}; the cores lead ${by}; they said:\n${said.join('\n')}`);
  });
  return { ms: Math.round(performance.now() - from), by: by ?? [] };
}

async function nothingLost(lab: Lab, writers: Writers): Promise<void> {
  for (const [shard, keys] of writers.acknowledged)
    for (const n of lab.cores) {
      const texts = await n.asJson<Texts>({ op: 'texts', shard });
      const found = new Map(texts?.rows);
      const missing = keys.filter((key) => found.get(key) !== key);
      assert.deepEqual(missing, [], `${shard} on ${n.name}`);
    }
}

async function run(t: TestContext, lab: Lab, writers: Writers): Promise<void> {
  const [core1, core2, core3] = lab.cores;
  assert.ok(core1 !== undefined && core2 !== undefined && core3 !== undefined);
  const first = await even(lab, lab.cores, 'after the start');
  t.diagnostic(`${first.by} led after ${first.ms} ms`);
  for (const n of lab.cores) writers.start(n);
  for (const gone of [core3, core1]) {
    const rest = lab.cores.filter((n) => n !== gone);
    await gone.kill();
    const without = await even(lab, rest, `without ${gone.name}`);
    assert.deepEqual([...without.by], [3, 3]);
    const from = performance.now();
    await lab.startNode(gone);
    const startedMs = Math.round(performance.now() - from);
    writers.start(gone);
    const again = await even(lab, lab.cores, `since ${gone.name} is back`);
    assert.deepEqual([...again.by], [2, 2, 2]);
    t.diagnostic(
      `${gone.name} killed: even without it after ${without.ms} ms; in service ${startedMs} ms after its start, with its share ${again.ms} ms later`,
    );
  }
}

test('leaders are spread over three cores, and again when one that was killed is back, and no write fails', async (t) => {
  const lab = await Lab.start({
    cores: 3,
    replicants: 0,
    // A write that waits for who was killed is told so only if it takes much longer than its lease.
    options: { more, deadlineMs, bounds: { leaderSpreadMs: spreadMs, proposalDeadlineMs: deadlineMs, effectiveWaitMs: 10_000 } },
  });
  const writers = new Writers();
  try {
    await run(t, lab, writers);
    const acknowledged = await writers.stop();
    t.diagnostic(`${acknowledged} writes acknowledged, the slowest after ${Math.round(writers.longestMs)} ms`);
    assert.deepEqual(writers.failures, []);
    assert.ok([...writers.acknowledged.values()].every((keys) => keys.length > 20));
    await nothingLost(lab, writers);
    const last = await even(lab, lab.cores, 'to the end');
    assert.deepEqual([...last.by], [2, 2, 2]);
  } finally {
    await writers.stop();
    await lab.close();
  }
});
