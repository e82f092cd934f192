// Three of the partitions of test/long/partitions.ts, held only as long as it takes to be refused.
import { test } from 'node:test';
import { withoutNamespaces } from './machine.js';
import { PartitionLab, scenarios } from './partitions.js';

const chosen = ['isolated leader', 'one way: nobody hears the leader', 'all cores cut from each other'];

test('real partitions: what is acknowledged stays, what is refused says so, nobody restarts', { skip: withoutNamespaces() }, async (t) => {
  const lab = await PartitionLab.start(3, 1, { holdMs: 4_500, pausedMs: 4_500 });
  try {
    for (const scenario of scenarios.filter((s) => chosen.includes(s.name)))
      await t.test(scenario.name, async (inner) => {
        const r = await lab.run(scenario, 20_261);
        inner.diagnostic(
          `${r.acknowledged} operations acknowledged, ${r.refused} refused, ${r.unknown} unknown; back ${Math.round(r.backMs)} ms after healing`,
        );
      });
  } finally {
    await lab.close();
  }
});
