// The long run of the partitions: every scenario, with times as they are outside.
import { withoutNamespaces } from './machine.js';
import { PartitionLab, type Result, scenarios } from './partitions.js';
import { type LongOptions, table } from './suite.js';

const times = { holdMs: 10_000, pausedMs: 30_000 };
/** Copies are equal so long after healing. */
const backMsMax = 5_000;

export async function partitions(o: LongOptions): Promise<boolean> {
  const why = withoutNamespaces();
  if (why !== false) {
    console.error(`skipped: ${why}`);
    return false;
  }
  const results: Result[] = [];
  let failed = 0;
  for (const cores of [3, 5]) {
    const chosen = scenarios.filter((s) => (s.cores ?? 3) === cores && s.name.includes(o.only));
    if (chosen.length === 0) continue;
    const lab = await PartitionLab.start(cores, cores === 3 ? 1 : 0, times);
    try {
      for (const s of chosen) {
        console.log(`${s.name} …`);
        const r = await lab.run(s, o.seed);
        console.log(JSON.stringify(r));
        if (r.backMs > backMsMax) failed++;
        results.push(r);
      }
    } finally {
      await lab.close();
    }
  }
  console.log(
    table(
      ['scenario', 'operations', 'acknowledged', 'refused', 'unknown', 'terms', 'back after'],
      results.map((r) => [r.name, r.operations, r.acknowledged, r.refused, r.unknown, r.elections, `${(r.backMs / 1000).toFixed(1)} s`]),
    ),
  );
  if (failed > 0) console.error(`${failed} took more than ${backMsMax} ms to come back`);
  return failed === 0;
}
