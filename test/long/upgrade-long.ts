// The long run of rolling upgrades: cores first, and replicants first.
import { type LongOptions, table } from './suite.js';
import { type Upgraded, upgrade } from './upgrade.js';

export async function upgradeLong({ seed }: LongOptions): Promise<boolean> {
  const all: Upgraded[] = [];
  for (const coresFirst of [true, false]) {
    const done = await upgrade(coresFirst, seed);
    console.log(JSON.stringify(done));
    all.push(done);
  }
  const row = (u: Upgraded): (string | number)[] => [u.from, u.order.join(', '), u.acknowledged, u.refused, u.unknown, u.bootstraps];
  console.log(table(['from', 'order', 'acknowledged', 'refused', 'without a certain outcome', 'copies of tables'], all.map(row)));
  return true;
}
