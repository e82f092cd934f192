// The long run of rolling upgrades, of the library and of the broker: cores first, and replicants first. `--only library`, or `'broker, cores first'`.
import { type BrokerUpgraded, upgradeBroker } from './broker-upgrade.js';
import { type LongOptions, table } from './suite.js';
import { type Upgraded, upgrade } from './upgrade.js';

export async function upgradeLong({ seed, only }: LongOptions): Promise<boolean> {
  const library: Upgraded[] = [];
  const broker: BrokerUpgraded[] = [];
  for (const coresFirst of [true, false]) {
    const first = coresFirst ? 'cores first' : 'replicants first';
    if (`library, ${first}`.includes(only)) library.push(shown(await upgrade(coresFirst, seed)));
    if (`broker, ${first}`.includes(only)) broker.push(shown(await upgradeBroker(coresFirst)));
  }
  const row = (u: Upgraded): (string | number)[] => [u.from, u.order.join(', '), u.acknowledged, u.refused, u.unknown, u.bootstraps];
  if (library.length > 0)
    console.log(table(['from', 'order', 'acknowledged', 'refused', 'without a certain outcome', 'copies of tables'], library.map(row)));
  const brokerRow = (u: BrokerUpgraded): (string | number)[] => [
    u.from,
    u.order,
    u.acknowledged,
    u.delivered,
    u.resumed,
    u.moved,
    u.wills,
    u.outside,
    u.missing,
  ];
  const head = ['from', 'order', 'acknowledged', 'delivered', 'sessions resumed', 'sent away', 'wills', 'outside the promise', 'missing'];
  if (broker.length > 0) console.log(table(head, broker.map(brokerRow)));
  return true;
}

function shown<T>(done: T): T {
  console.log(JSON.stringify(done));
  return done;
}
