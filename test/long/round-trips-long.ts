// The long run of the round trips: 100 and 250 ms against none, interleaved.
import { type Measured, SlowLab } from './round-trips.js';
import { type LongOptions, table } from './suite.js';

const writers = 4_000;
const burstMs = 8_000;
const rounds = 2;

export async function roundTrips(_o: LongOptions): Promise<boolean> {
  const slow = await SlowLab.start(3);
  const all: Measured[] = [];
  let needless = 0;
  try {
    for (let round = 0; round < rounds; round++) {
      for (const ms of [1, 100, 250]) {
        await slow.roundTrip(ms === 1 ? 0 : ms);
        const before = await slow.terms();
        console.log(`round trip ${ms} ms: ${await slow.load(`load ${ms} ${round}`, burstMs)} operations acknowledged, in one order`);
        const paced = (await slow.terms()) - before;
        needless += paced;
        for (const from of ['leader', 'follower'] as const) {
          const m = await slow.burst(ms, from, writers, burstMs);
          console.log(JSON.stringify(m));
          all.push(m);
        }
        // Thousands of writers may keep a busy machine from answering in time: told, and held against nobody.
        console.log(`terms more: ${paced} under the paced load, ${(await slow.terms()) - before - paced} under all writers`);
      }
    }
  } finally {
    await slow.close();
  }
  const row = (m: Measured): (string | number)[] => [
    m.roundTripMs,
    m.from,
    m.writers,
    Math.round((m.written * 1000) / m.ms),
    Math.round(m.meanMs),
    Math.round(m.p99Ms),
    m.failed,
  ];
  console.log(table(['round trip, ms', 'writers at', 'writers', 'writes/s', 'mean, ms', 'p99, ms', 'failed'], all.map(row)));
  console.log(`elections without need under the paced load: ${needless}`);
  return needless === 0;
}
