// The long run of the disk faults: all of them, on one cluster.
import { DiskLab, diskFaults, type Survived } from './disk-faults.js';
import { withoutStrace } from './machine.js';
import { type LongOptions, table } from './suite.js';

export async function diskFaultsLong(o: LongOptions): Promise<boolean> {
  const why = withoutStrace();
  if (why !== false) {
    console.error(`skipped: ${why}`);
    return false;
  }
  const results: Survived[] = [];
  const lab = await DiskLab.start();
  try {
    for (const fault of diskFaults) {
      if (!`${fault.name} ${fault.who}`.includes(o.only)) continue;
      console.log(`${fault.name}: ${fault.who} …`);
      results.push(await lab.run(fault));
    }
  } finally {
    await lab.close();
  }
  const row = (r: Survived): (string | number)[] => [
    r.name,
    r.who,
    r.acknowledged,
    r.refused,
    r.unknown,
    r.emptied ? 'without its data' : 'as it was',
  ];
  console.log(table(['fault', 'of the', 'acknowledged', 'refused', 'unknown', 'came back'], results.map(row)));
  return true;
}
