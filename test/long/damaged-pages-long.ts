// `npm run long -- damaged-pages [--points N] [--seed N]`: N damaged files (default 1,000) walked through before
// they are opened, and as many that are not.
import { type DamagedPages, damagedPages } from './damaged-pages.js';
import { type LongOptions, table } from './suite.js';

const pointsDefault = 1_000;

export async function damagedPagesLong(o: LongOptions): Promise<boolean> {
  const points = o.points ?? pointsDefault;
  let died = 0;
  for (const walk of [true, false]) {
    const results = await damagedPages(points, o.seed, walk);
    console.log(walk ? 'walked through before they are opened' : 'walked through after two deaths');
    const row = (r: DamagedPages): (string | number)[] => [r.kind, r.files, r.refused, r.told, r.fine, r.once, r.twice];
    console.log(table(['changed bytes', 'files', 'not opened', 'told while in use', 'not noticed', 'one death', 'two deaths'], results.map(row)));
    if (walk) for (const r of results) died += r.once + r.twice;
  }
  if (died > 0) console.error(`${died} files were walked through, and a process died of them`);
  return died === 0;
}
