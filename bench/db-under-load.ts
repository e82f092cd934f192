// The benchmark of a replicant that copies the tables while they are written at a fixed rate: whether it gets there,
// how long it takes, and what memory and disk of the cores grow by meanwhile. Called by db-cluster.ts.
import type { Churned } from './db-loads.js';
import type { Usage } from './db-node.js';
import { type BenchNode, type ClusterOptions, cluster } from './db-nodes.js';

type Say = (line: string) => void;

const lookEveryMs = 250;
const sayEveryMs = 5_000;
/** Given up after this. */
const patienceMs = 5 * 60_000;
const mib = 2 ** 20;

export async function bootstrapUnderLoad(o: ClusterOptions, rows: number, rate: number, rowsEach: number, say: Say): Promise<void> {
  const c = await cluster({ ...o, replicants: 0 }).ready();
  try {
    const leader = await c.leader();
    const filled = await leader.ask({ type: 'fill', rows, valueBytes: 20, prefix: 'row/' });
    say(`filled ${rows} rows of 20 bytes in ${filled.seconds.toFixed(1)} s (${filled.failed} transactions failed)`);
    const load = { type: 'churn', rate, rows, rowsEach, valueBytes: 20, prefix: 'row/' } as const;
    await leader.ask(load);
    // The load alone first: what it brings to its size is none of the copy's.
    await pause(5_000);
    const before = await c.usage(true);
    const grown = new Grown(c.cores, before);
    const r = c.addReplicant();
    const copied = await watched(leader, r, grown, say);
    const churned: Churned = await leader.ask({ type: 'churned' });
    say(copied === undefined ? `given up after ${patienceMs / 1000} s` : copied);
    say(
      `meanwhile ${Math.round(churned.rows / churned.seconds)} rows/s written in transactions of ${rowsEach} (${rate} asked for, ${churned.leftOut} left out, ${churned.failed} transactions failed), p50 ${churned.p50Ms.toFixed(1)} ms, p99 ${churned.p99Ms.toFixed(1)} ms, longest time without an answer ${churned.gapMs.toFixed(0)} ms`,
    );
    say(grown.said());
    const { leads, appliedIndex } = await leader.ask({ type: 'seen' });
    const begun = performance.now();
    while ((await r.ask({ type: 'seen' })).appliedIndex < appliedIndex) await pause(20);
    say(
      `the replicant had everything ${(performance.now() - begun).toFixed(0)} ms after the last write; the leader ${leads ? 'is the same' : 'changed'}`,
    );
  } finally {
    await c.close();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** What there was at most of each core's memory, log and tables, beyond what there was in the beginning. */
class Grown {
  readonly #cores: readonly BenchNode[];
  readonly #before: readonly Usage[];
  readonly #most: { private: number; heap: number; log: number; tables: number } = { private: 0, heap: 0, log: 0, tables: 0 };

  constructor(cores: readonly BenchNode[], before: readonly Usage[]) {
    this.#cores = cores;
    this.#before = before;
  }

  async look(): Promise<void> {
    const now = await Promise.all(this.#cores.map((n) => n.ask({ type: 'usage', collect: false })));
    for (const [i, u] of now.entries()) {
      const b = this.#before[i] as Usage;
      const most = this.#most;
      most.private = Math.max(most.private, u.privateBytes - b.privateBytes);
      most.heap = Math.max(most.heap, u.heapBytes - b.heapBytes);
      most.log = Math.max(most.log, u.logBytes);
      most.tables = Math.max(most.tables, u.tableBytes / b.tableBytes);
    }
  }

  said(): string {
    const { private: memory, heap, log, tables } = this.#most;
    return `a core's private memory grew by at most ${(memory / mib).toFixed(0)} MiB (its heap by ${(heap / mib).toFixed(0)} MiB), its log was at most ${(log / mib).toFixed(0)} MiB, its tables' file became ${tables.toFixed(2)} times as large`;
  }
}

/** Until the replicant is in service: what to say of it; undefined: it took too long. */
async function watched(writer: BenchNode, r: BenchNode, grown: Grown, say: Say): Promise<string | undefined> {
  let begun = performance.now();
  let saidAt = begun;
  let copiedMs = 0;
  for (;;) {
    const s = await r.ask({ type: 'seen' });
    await grown.look();
    const now = performance.now();
    // From its first message on.
    if (s.state === 'disconnected' && s.bootstraps === 0) begun = saidAt = now;
    if (s.state !== 'bootstrap' && s.rows > 0) copiedMs ||= now - begun;
    if (s.state === 'normal')
      return `in service after ${((now - begun) / 1000).toFixed(1)} s (${s.rows} rows copied in ${(copiedMs / 1000).toFixed(1)} s, ${Math.round((s.rows * 1000) / copiedMs)} rows/s, then the log since), ${s.bootstraps} copies begun`;
    if (now - begun > patienceMs) return undefined;
    if (now - saidAt >= sayEveryMs) {
      saidAt = now;
      const u = await writer.ask({ type: 'usage', collect: false });
      say(
        `  ${((now - begun) / 1000).toFixed(0)} s: ${s.state}, ${s.rows} rows, ${s.queued} entries behind, said to take ${(s.leftMs / 1000).toFixed(0)} s more; ${u.churned} rows written`,
      );
    }
    await pause(lookEveryMs);
  }
}
