// The long run of the hostile peers: as many as the machine's sockets allow, and honest clients that may
// not wait a second.
import { attacks, type HostileResult, runHostile } from './hostile.js';
import { type LongOptions, table } from './suite.js';

const sizes: Readonly<Record<string, number>> = {
  'subscribers that never read': 1_000,
  'connections that say nothing': 15_000,
  'CONNECTs that trickle': 2_000,
  'one frozen subscriber among many': 1_000,
  'absent sessions that are sent more than there is memory': 200,
  'large messages that are never finished': 1_000,
};
/** A node at rest has some 100 MiB; each of the attacks would take it beyond a gigabyte, but for the frozen one. */
const watermarkMiB = 512;
const seconds = 30;
const p99MsMax = 1_000;

export async function hostile(o: LongOptions): Promise<boolean> {
  const results: HostileResult[] = [];
  for (const name of Object.keys(attacks)) {
    if (!name.includes(o.only)) continue;
    console.log(`${name} …`);
    const result = await runHostile(name, { peers: o.points ?? sizes[name] ?? 1_000, seconds, watermarkMiB });
    console.log(JSON.stringify(result));
    results.push(result);
  }
  const ms = (n: number): string => `${n.toFixed(n < 10 ? 1 : 0)} ms`;
  console.log(
    table(
      ['attack', 'peers', 'honest messages', 'median', 'p99', 'p99 before', 'memory', 'watermark', 'level', 'cut off', 'refused'],
      results.map((r) => [
        r.name,
        r.peers,
        r.received,
        ms(r.p50Ms),
        ms(r.p99Ms),
        ms(r.calmP99Ms),
        `${r.memoryMiB} MiB`,
        `${r.watermarkMiB} MiB`,
        r.level,
        r.cutClients,
        r.refused,
      ]),
    ),
  );
  const late = results.filter((r) => !(r.p99Ms < p99MsMax));
  for (const r of late) console.error(`${r.name}: honest clients waited ${ms(r.p99Ms)} (p99), before the attack ${ms(r.calmP99Ms)}`);
  return late.length === 0 && results.length > 0;
}
