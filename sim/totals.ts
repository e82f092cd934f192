// Sums over the runs of a command, a batch or a campaign. Used by main.ts and campaign.ts.
import type { RunResult, Scope } from './scope.js';

export interface Totals {
  runs: number;
  events: number;
  simSeconds: number;
  violations: number;
  /** First failing seed. */
  failedSeed: number | undefined;
  /** Of the last run. */
  traceHash: number;
  counts: Record<string, number>;
}

export function noTotals(): Totals {
  return { runs: 0, events: 0, simSeconds: 0, violations: 0, failedSeed: undefined, traceHash: 0, counts: {} };
}

export function addResult(totals: Totals, seed: number, result: RunResult, violations: number): void {
  totals.runs++;
  totals.traceHash = result.traceHash;
  totals.events += result.events;
  totals.simSeconds += result.simSeconds;
  for (const [what, n] of Object.entries(result.counts)) totals.counts[what] = (totals.counts[what] ?? 0) + n;
  totals.violations += violations;
  if (violations > 0) totals.failedSeed ??= seed;
}

/** What repeats one seed. */
export function repeatCommand(scope: string, seed: number, seconds: number, mutant: string | undefined = undefined): string {
  return `node dist/sim/main.js --scope ${scope} --seed ${seed} --seconds ${seconds}${mutant === undefined ? '' : ` --mutant ${mutant}`}`;
}

/** Runs one seed; what a scope throws is a violation too. */
export function runSafely(scope: Scope, seed: number, seconds: number): RunResult {
  try {
    return scope.run(seed, seconds, {});
  } catch (error) {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { violations: [what], traceHash: 0, simSeconds: 0, events: 0, counts: {} };
  }
}
