// The simulator's command line: runs seeds of a scope, repeats one, checks determinism, and lets the
// mutants (mutants.ts) prove that the checkers can fail. `node dist/sim/main.js --help`.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runCampaign, serveBatches } from './campaign.js';
import { knownSeeds } from './known-seeds.js';
import { type MutantOutcome, mutants, prepareMutant, runMutant } from './mutants.js';
import { runnerFlags } from './processes.js';
import type { RunResult, Scope } from './scope.js';
import { scopes } from './scopes.js';
import { addResult, noTotals, repeatCommand, type Totals } from './totals.js';

const help = `usage: node dist/sim/main.js [options]
  --scope NAME     ${Object.keys(scopes).join(' | ')} (default raft)
  --seed N         first seed (default 1)
  --runs N         number of seeds, one after the other (default 1)
  --seconds S      simulated seconds of faults per seed (default: the scope's)
  --jobs N         processes to share the seeds (default 1)
  --doublecheck    run each seed twice and compare the trace hashes
  --replay         run the seeds of sim/seeds.md for this scope
  --trace          print every event
  --resume FILE    a campaign: --runs seeds that the ledger FILE does not have yet; records each batch in it
  --minutes M      of a campaign: no batch begins later than that
  --keep-going     do not stop at the first violation
  --mutant NAME    run a patched copy of the program
  --mutants        run all mutants of the scope; each must be caught
  --limit N        seeds a mutant may survive (default 2000)
  --json           one JSON object per line instead of text`;

/** What the command line says; what it should not say ends the program with one sentence. */
const args = ((): ReturnType<typeof parse>['values'] => {
  try {
    return parse().values;
  } catch (error) {
    const first = (error instanceof Error ? error.message : String(error)).split(/[.\n]( |$)/)[0];
    console.error(`${first}; usage: node dist/sim/main.js [options], --help lists them`);
    process.exit(2);
  }
})();

function parse() {
  return parseArgs({
    options: {
      scope: { type: 'string', default: 'raft' },
      seed: { type: 'string', default: '1' },
      runs: { type: 'string', default: '1' },
      seconds: { type: 'string' },
      jobs: { type: 'string', default: '1' },
      doublecheck: { type: 'boolean', default: false },
      replay: { type: 'boolean', default: false },
      trace: { type: 'boolean', default: false },
      resume: { type: 'string' },
      minutes: { type: 'string' },
      serve: { type: 'boolean', default: false },
      'keep-going': { type: 'boolean', default: false },
      mutant: { type: 'string' },
      mutants: { type: 'boolean', default: false },
      limit: { type: 'string', default: '2000' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
}

function number(text: string, name: string): number {
  const n = Number(text);
  if (!Number.isFinite(n) || n < 0) throw new Error(`--${name}: not a number: ${text}`);
  return n;
}

async function loadScope(name: string): Promise<Scope> {
  const load = scopes[name];
  if (load === undefined) throw new Error(`no scope ${name}; there are: ${Object.keys(scopes).join(', ')}`);
  return load();
}

function print(text: string, object: unknown): void {
  console.log(args.json ? JSON.stringify(object) : text);
}

/** Runs one seed, twice with --doublecheck, and reports what went wrong. */
function runSeed(scope: Scope, seed: number, seconds: number, totals: Totals): void {
  const trace = args.trace ? (line: string): void => console.log(line) : undefined;
  const result = scope.run(seed, seconds, { trace });
  const violations = [...result.violations];
  if (args.doublecheck) {
    const again: RunResult = scope.run(seed, seconds, {});
    if (again.traceHash !== result.traceHash)
      violations.push(`determinism: trace hashes ${result.traceHash} and ${again.traceHash} of the same seed`);
  }
  addResult(totals, seed, result, violations.length);
  if (violations.length === 0) return;
  const repeat = repeatCommand(scope.name, seed, seconds, args.mutant);
  print(`seed ${seed}: ${violations.join('\n  ')}\n  repeat: ${repeat}`, { type: 'violation', scope: scope.name, seed, seconds, violations, repeat });
}

/** Time on the clock and on the processors so far; others may use the machine, so the second says more about speed. */
function spent(): { readonly wallMs: number; readonly cpuMs: number } {
  const { user, system } = process.cpuUsage();
  return { wallMs: performance.now(), cpuMs: (user + system) / 1000 };
}

function summary(totals: Totals, started: ReturnType<typeof spent>, hash: number | undefined): void {
  const wallMs = spent().wallMs - started.wallMs;
  const cpuMs = spent().cpuMs - started.cpuMs;
  const perSecond = totals.simSeconds / (wallMs / 1000);
  const perCpuSecond = totals.simSeconds / (cpuMs / 1000);
  const counts = Object.entries(totals.counts)
    .map(([what, n]) => `${n} ${what}`)
    .join(', ');
  const hashText = hash === undefined ? '' : `, trace hash ${hash.toString(16).padStart(8, '0')}`;
  print(
    `${totals.runs} runs, ${totals.violations} violations, ${totals.events} events, ${totals.simSeconds.toFixed(0)} simulated s in ${(wallMs / 1000).toFixed(1)} s (${perSecond.toFixed(0)} per s, ${perCpuSecond.toFixed(0)} per s of processor)${hashText}\n  ${counts}`,
    { type: 'summary', ...totals, wallMs, cpuMs, traceHash: hash },
  );
}

function runHere(scope: Scope, seeds: readonly number[], seconds: number): Totals {
  const totals = noTotals();
  const started = spent();
  // As in campaigns (campaign.ts).
  if (seeds.length > 1) Error.stackTraceLimit = 0;
  for (const seed of seeds) {
    runSeed(scope, seed, seconds, totals);
    if (totals.violations > 0 && !args['keep-going']) break;
  }
  const hash = seeds.length === 1 && totals.violations === 0 ? totals.traceHash : undefined;
  summary(totals, started, hash);
  return totals;
}

/** Shares the seeds among processes of this same program. */
async function runJobs(scope: string, first: number, runs: number, seconds: number, jobs: number): Promise<number> {
  const each = Math.ceil(runs / jobs);
  const parts: Promise<number>[] = [];
  for (let j = 0; j * each < runs; j++) {
    const own = [
      '--scope',
      scope,
      '--seed',
      String(first + j * each),
      '--runs',
      String(Math.min(each, runs - j * each)),
      '--seconds',
      String(seconds),
    ];
    const flags = [args.doublecheck ? ['--doublecheck'] : [], args['keep-going'] ? ['--keep-going'] : [], args.json ? ['--json'] : []].flat();
    parts.push(runChild([fileURLToPath(import.meta.url), ...own, ...flags]));
  }
  return Math.max(...(await Promise.all(parts)));
}

function runChild(argv: readonly string[]): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...runnerFlags, ...argv], { stdio: 'inherit' });
    child.on('close', (code) => resolve(code ?? 1));
  });
}

function replay(scope: Scope): number {
  const totals = noTotals();
  const started = spent();
  for (const { seed, seconds } of knownSeeds(readFileSync(new URL('../../sim/seeds.md', import.meta.url), 'utf8'), scope.name))
    runSeed(scope, seed, seconds, totals);
  summary(totals, started, undefined);
  return totals.violations > 0 ? 1 : 0;
}

async function runAllMutants(scope: string, seconds: number): Promise<number> {
  const outcomes: MutantOutcome[] = [];
  for (const mutant of mutants.filter((m) => m.scope === scope)) {
    const outcome = await runMutant(mutant, number(args.seed, 'seed'), number(args.limit, 'limit'), seconds);
    outcomes.push(outcome);
    print(
      outcome.caughtAfter === undefined
        ? `SURVIVED ${mutant.name}: ${outcome.detail}`
        : `caught ${mutant.name} after ${outcome.caughtAfter} seeds: ${outcome.detail}`,
      { type: 'mutant', ...outcome },
    );
  }
  const survived = outcomes.filter((o) => o.caughtAfter === undefined).length;
  print(`${outcomes.length} mutants, ${survived} survived`, { type: 'mutants', mutants: outcomes.length, survived });
  return survived > 0 ? 1 : 0;
}

async function main(): Promise<number> {
  if (args.help) {
    console.log(help);
    return 0;
  }
  const first = number(args.seed, 'seed');
  const runs = number(args.runs, 'runs');
  if (args.mutant !== undefined && process.env.STARMESH_SIM_MUTANT !== args.mutant) {
    const mutant = mutants.find((m) => m.name === args.mutant);
    if (mutant === undefined) throw new Error(`no mutant ${args.mutant}; there are: ${mutants.map((m) => m.name).join(', ')}`);
    const main = prepareMutant(mutant);
    process.env.STARMESH_SIM_MUTANT = mutant.name;
    return runChild([main, ...process.argv.slice(2), ...(process.argv.includes('--scope') ? [] : ['--scope', mutant.scope])]);
  }
  const scope = await loadScope(args.scope);
  const seconds = args.seconds === undefined ? scope.defaultSeconds : number(args.seconds, 'seconds');
  if (args.mutants) return runAllMutants(args.scope, seconds);
  if (args.replay) return replay(scope);
  const jobs = number(args.jobs, 'jobs');
  if (args.serve) {
    await serveBatches(scope, seconds);
    return 0;
  }
  if (args.resume !== undefined) {
    const minutes = args.minutes === undefined ? Number.POSITIVE_INFINITY : number(args.minutes, 'minutes');
    return runCampaign({
      scope: args.scope,
      seconds,
      ledger: args.resume,
      first,
      runs,
      jobs,
      minutes,
      print: (line) => print(line, { type: 'campaign', line }),
    });
  }
  if (jobs > 1) return runJobs(args.scope, first, runs, seconds, jobs);
  const seeds = Array.from({ length: runs }, (_, i) => first + i);
  return runHere(scope, seeds, seconds).violations > 0 ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
