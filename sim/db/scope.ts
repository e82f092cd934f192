// The database as a scope of the simulator's command line: whole database nodes, clients, faults.
import { crc32c } from '#base/crc32c.js';
import { utf8Encode } from '#base/utf8.js';
import type { RunOptions, RunResult, Scope } from '../scope.js';
import { runSeed } from './run.js';

function run(seed: number, seconds: number, options: RunOptions): RunResult {
  const r = runSeed(seed, { lengthMs: seconds * 1_000, ...(options.trace === undefined ? {} : { print: options.trace }) });
  return {
    violations: r.violations,
    traceHash: crc32c(utf8Encode(r.traceHash)) >>> 0,
    simSeconds: r.simSeconds,
    events: r.events,
    counts: {
      'acknowledged writes': r.acknowledged,
      'failed writes': r.failed,
      'comparisons of tables': r.comparisons,
      bootstraps: r.bootstraps,
      ...Object.fromEntries([...r.copies].map(([cause, n]) => [`copies: ${cause}`, n])),
      'linearizable reads of rows': r.reads,
      'histories without a verdict': r.decided ? 0 : 1,
      ...Object.fromEntries([...r.faults].map(([kind, n]) => [`faults: ${kind}`, n])),
    },
  };
}

export const dbScope: Scope = { name: 'db', defaultSeconds: 15, run };
