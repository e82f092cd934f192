// The long run of the crash points: a node alone, then leader, follower and replicant of a cluster.
import { type Crash, CrashLab, drawPoints, type Victim } from './crash-points.js';
import { withoutStrace } from './machine.js';
import { type LongOptions, table } from './suite.js';

const pointsDefault = 300;
/** A new cluster after so many points. */
const pointsPerLab = 40;

export async function crashPoints(o: LongOptions): Promise<boolean> {
  const why = withoutStrace();
  if (why !== false) {
    console.error(`skipped: ${why}`);
    return false;
  }
  const count = o.points ?? pointsDefault;
  const crashes: Crash[] = [];
  const run = async (victims: readonly Victim[], cores: number, replicants: number, points: number): Promise<void> => {
    const all = drawPoints(victims, points, o.seed);
    for (let at = 0; at < all.length; at += pointsPerLab) {
      const lab = await CrashLab.start(cores, replicants, o.seed + at);
      try {
        for (const point of all.slice(at, at + pointsPerLab)) {
          console.log(`${point.victim}: ${point.name}, number ${point.when} …`);
          const crash = await lab.crash(point);
          console.log(
            `  ${crash.reached ? 'killed there' : 'not reached, killed later'}; ${crash.acknowledged} acknowledged, ${crash.entries} entries`,
          );
          crashes.push(crash);
        }
        await lab.checkAll();
      } finally {
        await lab.close();
      }
    }
  };
  if (o.only !== 'cluster') await run(['alone'], 1, 0, Math.round(count / 3));
  if (o.only !== 'alone') await run(['leader', 'follower', 'replicant'], 3, 1, count - Math.round(count / 3));
  console.log(summary(crashes));
  return true;
}

function summary(crashes: readonly Crash[]): string {
  const groups = new Map<string, Crash[]>();
  for (const c of crashes) {
    const name = `${c.point.victim} | ${c.point.name}`;
    groups.set(name, [...(groups.get(name) ?? []), c]);
  }
  const sum = (of: readonly Crash[], what: (c: Crash) => number): number => of.reduce((n, c) => n + what(c), 0);
  const row = (name: string, of: readonly Crash[]): (string | number)[] => [
    name,
    of.length,
    sum(of, (c) => (c.reached ? 1 : 0)),
    sum(of, (c) => c.acknowledged),
    sum(of, (c) => c.entries),
  ];
  const rows = [...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, of]) => row(name, of));
  return table(['who | before which call', 'points', 'killed there', 'acknowledged', 'entries compared'], [...rows, row('all | ', crashes)]);
}
