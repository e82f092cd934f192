// The benchmarks of the database that are not throughput: lag, loss of a core, copying of tables,
// failover, reads, memory. One function each, called by db-cluster.ts.

import { percentile } from './db-loads.js';
import type { Usage } from './db-node.js';
import { type BenchCluster, type BenchNode, type ClusterOptions, cluster } from './db-nodes.js';

type Say = (line: string) => void;

export async function startCluster(o: ClusterOptions): Promise<BenchCluster> {
  return cluster(o).ready();
}

async function within(c: BenchCluster, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } finally {
    await c.close();
  }
}

/** From the leader's answer, and from the beginning of the wait for it, to visible on a replicant. */
export async function lag(o: ClusterOptions, rates: readonly number[], seconds: number, rounds: number, say: Say): Promise<void> {
  const c = await startCluster({ ...o, replicants: Math.max(2, o.replicants) });
  await within(c, async () => {
    const leader = await c.leader();
    for (const rate of rates) {
      const load = { writers: 16, valueBytes: 100, keys: 1000, rate } as const;
      // As fast as it can: compilers and buffers need about half a million writes.
      await leader.ask({ type: 'write', ...load, rate: 0, seconds: 8, times: false });
      for (let round = 0; round < rounds; round++) {
        for (const r of c.replicants) await r.ask({ type: 'watch' });
        const w = await leader.ask({ type: 'write', ...load, seconds, times: true });
        await new Promise((resolve) => setTimeout(resolve, 300));
        for (const r of c.replicants) {
          const { at } = await r.ask({ type: 'watched' });
          // A row may be visible before the leader's answer has come to its caller.
          const lags = w.answeredAt.flatMap((answered, n) => (answered === 0 || !at[n] ? [] : [Math.max(0, (at[n] as number) - answered)]));
          const sorted = Float64Array.from(lags).sort();
          say(
            `lag of ${r.name} at ${Math.round(w.writes / w.seconds)} writes/s: p50 ${percentile(sorted, 0.5).toFixed(2)} ms, p99 ${percentile(sorted, 0.99).toFixed(2)} ms after the answer (${sorted.length} of ${w.writes} writes seen; write latency p50 ${w.p50Ms.toFixed(2)} ms, p99 ${w.p99Ms.toFixed(2)} ms)`,
          );
        }
      }
    }
  });
}

/** Kills the core that the first replicant follows: how long until it is `normal` on another. */
export async function resume(o: ClusterOptions, rows: number, say: Say): Promise<void> {
  const c = await startCluster({ ...o, replicants: Math.max(1, o.replicants) });
  await within(c, async () => {
    const filled = await (await c.leader()).ask({ type: 'fill', rows, valueBytes: 100, prefix: 'fill/' });
    say(`filled ${rows} rows in ${filled.seconds.toFixed(1)} s`);
    const replicant = c.replicants[0] as BenchNode;
    await replicant.ask({ type: 'normal' });
    const before = await replicant.ask({ type: 'seen' });
    const answer = replicant.ask({ type: 'resume' });
    await c.nodes.find((n) => n.name === before.upstream)?.kill();
    const r = await answer;
    say(
      `core killed: replicant normal on another one ${(r.seconds * 1000).toFixed(0)} ms after it noticed, bootstraps ${before.bootstraps} before, ${r.bootstraps} after`,
    );
  });
}

/** A replicant copies everything: rows a second, and what its core's memory grows by meanwhile. */
export async function bootstrap(o: ClusterOptions, rows: number, say: Say): Promise<void> {
  const c = await startCluster({ ...o, replicants: 0 });
  await within(c, async () => {
    const filled = await (await c.leader()).ask({ type: 'fill', rows, valueBytes: 20, prefix: 'row/' });
    say(`filled ${rows} rows of 20 bytes in ${filled.seconds.toFixed(1)} s`);
    const before = await c.usage(true);
    const r = c.addReplicant();
    let grown = 0;
    const progress: number[] = [];
    for (;;) {
      const s = await r.ask({ type: 'seen' });
      const now = await Promise.all(c.cores.map((n) => n.ask({ type: 'usage', collect: false })));
      for (const [i, u] of now.entries()) grown = Math.max(grown, u.privateBytes - (before[i]?.privateBytes ?? 0));
      if (s.state === 'normal' && s.rows >= rows) {
        say(
          `bootstrap of ${s.rows} rows: ${(s.bootstrapMs / 1000).toFixed(2)} s, ${Math.round((s.rows * 1000) / s.bootstrapMs)} rows/s; a core's private memory grew by at most ${(grown / 2 ** 20).toFixed(0)} MiB; progress seen at ${progress.map((p) => `${Math.round((100 * p) / rows)} %`).join(', ')}`,
        );
        return;
      }
      if (s.state === 'bootstrap') progress.push(s.rows);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  });
}

/** The leader is killed under writes from another core: the longest time without an answer. */
export async function failover(o: ClusterOptions, rounds: number, say: Say): Promise<void> {
  const c = await startCluster(o);
  await within(c, async () => {
    const gaps: number[] = [];
    for (let round = 0; round < Math.max(1, rounds); round++) {
      const leader = await c.leader();
      const other = c.cores.find((n) => n !== leader) as BenchNode;
      const load = other.ask({ type: 'write', writers: 4, seconds: 5, valueBytes: 100, keys: 1000, rate: 0, times: false });
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      await leader.kill();
      const w = await load;
      gaps.push(w.gapMs);
      say(`leader killed: ${w.gapMs.toFixed(0)} ms until the next commit, ${w.failed} writes failed`);
      await c.restart(leader);
    }
    const sorted = Float64Array.from(gaps).sort();
    say(`of ${gaps.length}: p50 ${percentile(sorted, 0.5).toFixed(0)} ms, p99 ${percentile(sorted, 0.99).toFixed(0)} ms`);
  });
}

export async function reads(o: ClusterOptions, rows: number, say: Say): Promise<void> {
  const c = await startCluster({ ...o, replicants: Math.max(1, o.replicants) });
  await within(c, async () => {
    await (await c.leader()).ask({ type: 'fill', rows, valueBytes: 100, prefix: 'fill/' });
    for (const n of [c.cores[0] as BenchNode, c.replicants[0] as BenchNode]) {
      await n.ask({ type: 'normal' });
      await new Promise((resolve) => setTimeout(resolve, 300));
      const load = { type: 'read', rows, prefix: 'fill/' } as const;
      await n.ask({ ...load, count: 200_000 });
      const { usEach } = await n.ask({ ...load, count: 1_000_000 });
      say(`local read on ${n.name}: ${usEach.toFixed(2)} us`);
    }
  });
}

/** Rows as the table of routes has them: a filter and a node in the key, nothing in the value. */
export async function memory(o: ClusterOptions, rows: number, say: Say): Promise<void> {
  const c = await startCluster({ ...o, replicants: Math.max(1, o.replicants) });
  await within(c, async () => {
    const replicant = c.replicants[0] as BenchNode;
    const at = c.nodes.indexOf(replicant);
    const leader = await c.leader();
    // The first half brings buffers and heaps to their size; what the second half adds is the rows.
    const fill = async (prefix: string): Promise<Usage | undefined> => {
      await leader.ask({ type: 'fill', rows, valueBytes: 8, prefix: `devices/0123456789abcdef/${prefix}/` });
      await replicant.ask({ type: 'normal' });
      const { appliedIndex } = await leader.ask({ type: 'seen' });
      while ((await replicant.ask({ type: 'seen' })).appliedIndex < appliedIndex) await new Promise((resolve) => setTimeout(resolve, 50));
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      return (await c.usage(true))[at];
    };
    const before = await fill('first');
    const after = await fill('other');
    if (before === undefined || after === undefined) return;
    const each = (pick: (u: Usage) => number): string => ((pick(after) - pick(before)) / rows).toFixed(0);
    say(
      `memory of ${rows} more rows on ${replicant.name}, bytes a row: ${each((u) => u.tableBytes)} in the tables' file (mapped, in memory ${each((u) => u.mappedBytes)}), ${each((u) => u.privateBytes)} of private memory, of it ${each((u) => u.heapBytes)} in the JavaScript heap`,
    );
  });
}
