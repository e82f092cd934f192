// `npm run long -- NAME [--only TEXT] [--points N] [--seed N]`: the long suites with real processes.
// Each prints what it saw as it goes, and a table at the end; the exit status says whether all held.
import { parseArgs } from 'node:util';
import { churnLong } from './churn-long.js';
import { crashPoints } from './crash-points-long.js';
import { damagedPagesLong } from './damaged-pages-long.js';
import { diskFaultsLong } from './disk-faults-long.js';
import { fuzzInputsLong } from './fuzz-inputs-long.js';
import { hostile } from './hostile-long.js';
import { lostLog } from './lost-log-long.js';
import { partitions } from './partitions-long.js';
import { roundTrips } from './round-trips-long.js';
import type { LongOptions } from './suite.js';
import { upgradeLong } from './upgrade-long.js';

const suites: Readonly<Record<string, (o: LongOptions) => Promise<boolean>>> = {
  churn: churnLong,
  'crash-points': crashPoints,
  'damaged-pages': damagedPagesLong,
  'disk-faults': diskFaultsLong,
  'fuzz-inputs': fuzzInputsLong,
  'lost-log': lostLog,
  hostile,
  partitions,
  'round-trips': roundTrips,
  upgrade: upgradeLong,
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string', default: '' }, points: { type: 'string' }, seed: { type: 'string', default: '1' } },
});
const [name] = positionals;
const suite = Object.hasOwn(suites, name ?? '') ? suites[name ?? ''] : undefined;
if (suite === undefined) {
  console.error(`Which suite? There are ${Object.keys(suites).join(', ')}.`);
  process.exitCode = 1;
} else {
  const points = values.points === undefined ? undefined : Number(values.points);
  const ok = await suite({ only: values.only, points, seed: Number(values.seed) });
  process.exitCode = ok ? 0 : 1;
}
