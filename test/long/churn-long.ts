// The long run of replicants that come and go.
import { type Churned, churn, type Latency } from './churn.js';
import { type LongOptions, table } from './suite.js';

const changesDefault = 100;
const quietMs = 5_000;

export async function churnLong(o: LongOptions): Promise<boolean> {
  const r = await churn(o.points ?? changesDefault, o.seed, quietMs);
  console.log(JSON.stringify(r.changes), `${r.acknowledged} operations acknowledged, ${r.unknown} unknown`);
  console.log(latencies(r));
  return true;
}

function latencies(r: Churned): string {
  const row = (name: string, l: Latency): (string | number)[] => [name, l.writes, l.p50Ms.toFixed(1), l.p99Ms.toFixed(1)];
  return table(
    ['writes by clients of cores', 'number', 'median, ms', 'p99, ms'],
    [row('without replicants', r.coresAlone), row('with four', r.allThere), row('while they come and go', r.meanwhile)],
  );
}
