// Cores 100 and 250 ms apart, by test/long/round-trips.ts: they come into service, and writes are slower, and right.
import { test } from 'node:test';
import { SlowLab } from './round-trips.js';

test('cores that are far apart: in service, what clients are told has one order, nothing acknowledged is lost', async (t) => {
  const slow = await SlowLab.start(3);
  try {
    for (const roundTripMs of [100, 250]) {
      await slow.roundTrip(roundTripMs);
      const before = await slow.terms();
      const acknowledged = await slow.load(`far ${roundTripMs}`, 3_000);
      const burst = await slow.burst(roundTripMs, 'leader', 500, 2_000);
      const terms = (await slow.terms()) - before;
      t.diagnostic(
        `${roundTripMs} ms: ${acknowledged} operations acknowledged; 500 writers ${Math.round((burst.written * 1000) / burst.ms)} writes/s; ${terms} terms more`,
      );
    }
  } finally {
    await slow.close();
  }
});
