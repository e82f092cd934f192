// The long run of the round trips: 100 and 250 ms against none, interleaved.
import { type Elections, type Measured, SlowLab } from './round-trips.js';
import { type LongOptions, table } from './suite.js';

const writers = 4_000;
const burstMs = 8_000;
const rounds = 2;

/** Standing still for longer than half an election timeout, this machine may have made an election necessary. */
const stalledMsMax = 500;

interface Counted extends Elections {
  readonly roundTripMs: number;
  readonly load: string;
}

export async function roundTrips(_o: LongOptions): Promise<boolean> {
  const slow = await SlowLab.start(3);
  const all: Measured[] = [];
  const counted: Counted[] = [];
  const count = async (roundTripMs: number, load: string, what: () => Promise<void>): Promise<void> => {
    const one = { roundTripMs, load, ...(await slow.elections(what)) };
    console.log(JSON.stringify(one));
    counted.push(one);
  };
  try {
    for (let round = 0; round < rounds; round++) {
      for (const ms of [1, 100, 250]) {
        await slow.roundTrip(ms === 1 ? 0 : ms);
        await count(ms, 'paced', async () => {
          console.log(`round trip ${ms} ms: ${await slow.load(`load ${ms} ${round}`, burstMs)} operations acknowledged, in one order`);
        });
        for (const from of ['leader', 'follower'] as const) {
          await slow.settled();
          await count(ms, `${writers} writers at the ${from}`, async () => {
            const m = await slow.burst(ms, from, writers, burstMs);
            console.log(JSON.stringify(m));
            all.push(m);
          });
        }
      }
    }
  } finally {
    await slow.close();
  }
  report(all, counted);
  // Thousands of writers, or others, may keep a machine from answering in time: told, and held against nobody.
  return counted.every((c) => c.elections === 0 || c.load !== 'paced' || c.stalledMs > stalledMsMax);
}

function report(all: readonly Measured[], counted: readonly Counted[]): void {
  const row = (m: Measured): (string | number)[] => [
    m.roundTripMs,
    m.from,
    m.writers,
    perSecond(m),
    Math.round(m.meanMs),
    Math.round(m.p99Ms),
    m.failed,
  ];
  console.log(table(['round trip, ms', 'writers at', 'writers', 'writes/s', 'mean, ms', 'p99, ms', 'failed'], all.map(row)));
  const elections = counted.map((c): (string | number)[] => [c.roundTripMs, c.load, c.elections, c.stalledMs]);
  console.log(table(['round trip, ms', 'load', 'elections', 'this process stood still, ms at most'], elections));
  for (const from of ['leader', 'follower'] as const) {
    const best = (ms: number): number => Math.max(...all.filter((m) => m.from === from && m.roundTripMs === ms).map(perSecond));
    for (const ms of [100, 250])
      console.log(`writers at the ${from}: at ${ms} ms ${(best(ms) / best(1)).toFixed(2)} of the writes per second at 1 ms, best rounds`);
  }
}

function perSecond(m: Measured): number {
  return Math.round((m.written * 1000) / m.ms);
}
