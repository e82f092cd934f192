// Four of the disk faults of test/long/disk-faults.ts.
import { test } from 'node:test';
import { DiskLab, diskFaults } from './disk-faults.js';
import { withoutStrace } from './machine.js';

const chosen = [
  'sync of the log fails: leader',
  'write to the tables fails: follower',
  'a byte of the log flipped in the middle: follower',
  'half of the tables missing: replicant',
];

test('a disk that fails or lies stops its node with the reason; the others go on, and it comes back whole', { skip: withoutStrace() }, async (t) => {
  const lab = await DiskLab.start();
  try {
    for (const fault of diskFaults) {
      const name = `${fault.name}: ${fault.who}`;
      if (!chosen.includes(name)) continue;
      await t.test(name, async (inner) => {
        const r = await lab.run(fault);
        inner.diagnostic(
          `${r.acknowledged} operations acknowledged, ${r.refused} refused, ${r.unknown} unknown; ${r.emptied ? 'emptied' : 'repaired'}`,
        );
      });
    }
  } finally {
    await lab.close();
  }
});
