// A campaign: seeds that the ledger does not have yet, in batches, shared among processes of this
// program; each batch that ends is in the ledger at once, so that a campaign that is stopped loses the
// batches under way and nothing else. Called by main.ts (`--resume`); `serveBatches` is the other process.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type LedgerRow, type LedgerViolation, parseLedger, seedsToRun, violationText, writeLedger } from './ledger.js';
import { runnerFlags } from './processes.js';
import type { Scope } from './scope.js';
import { addResult, noTotals, repeatCommand, runSafely } from './totals.js';

export interface CampaignOptions {
  readonly scope: string;
  readonly seconds: number;
  readonly ledger: string;
  readonly first: number;
  readonly runs: number;
  readonly jobs: number;
  /** No batch begins after so many minutes. */
  readonly minutes: number;
  readonly print: (line: string) => void;
}

interface Batch {
  readonly first: number;
  readonly last: number;
}

interface BatchResult extends Batch {
  readonly simSeconds: number;
  readonly events: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly violations: readonly { readonly seed: number; readonly what: readonly string[] }[];
}

/** A few seconds of work: what a stopped campaign loses per process. */
const batchSeeds = 100;
/** A process makes place for a fresh one after so many batches: memory of a long campaign stays bounded. */
const batchesPerProcess = 200;

/** The other process: runs the ranges that come as lines, answers each with one line. */
export function serveBatches(scope: Scope, seconds: number): Promise<void> {
  // Errors are part of every run, and where they were made is not asked: a violation is repeated by itself.
  Error.stackTraceLimit = 0;
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    const batch = JSON.parse(line) as Batch;
    const totals = noTotals();
    const violations: { seed: number; what: readonly string[] }[] = [];
    for (let seed = batch.first; seed <= batch.last; seed++) {
      const result = runSafely(scope, seed, seconds);
      addResult(totals, seed, result, result.violations.length);
      if (result.violations.length > 0) violations.push({ seed, what: result.violations });
    }
    const { simSeconds, events, counts } = totals;
    const answer: BatchResult = { ...batch, simSeconds, events, counts, violations };
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  });
  return new Promise((resolve) => lines.on('close', resolve));
}

/** The commit that runs, with a mark when the sources are not as committed. */
function commitName(): string {
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  const git = (...args: string[]): string => spawnSync('git', args, { cwd, encoding: 'utf8' }).stdout?.trim() ?? '';
  const commit = git('rev-parse', '--short=10', 'HEAD');
  const changed = git('status', '--porcelain', '--', 'src', 'sim') !== '';
  return commit === '' ? 'unknown' : `${commit}${changed ? '+' : ''}`;
}

class Campaign {
  readonly #o: CampaignOptions;
  readonly #commit = commitName();
  readonly #todo: Iterator<[number, number]>;
  readonly #endsAt: number;
  #stopping = false;
  violations = 0;
  runs = 0;

  constructor(options: CampaignOptions) {
    this.#o = options;
    this.#endsAt = performance.now() + options.minutes * 60_000;
    this.#todo = seedsToRun(
      parseLedger(this.#text()).rows,
      options.scope,
      options.first,
      options.runs,
      Math.min(batchSeeds, Math.ceil(options.runs / options.jobs)),
    );
  }

  #text(): string {
    return existsSync(this.#o.ledger) ? readFileSync(this.#o.ledger, 'utf8') : '';
  }

  next(): Batch | undefined {
    if (this.#stopping || performance.now() >= this.#endsAt) return undefined;
    const range = this.#todo.next();
    return range.done === true ? undefined : { first: range.value[0], last: range.value[1] };
  }

  stop(): void {
    this.#stopping = true;
  }

  /** The file is read anew each time: people may write into it meanwhile. */
  #record(rows: readonly LedgerRow[], found: readonly LedgerViolation[]): void {
    this.violations += found.length;
    const text = this.#text();
    const ledger = parseLedger(text);
    const next = writeLedger(text, { rows: [...ledger.rows, ...rows], violationLines: [...ledger.violationLines, ...found.map(violationText)] });
    writeFileSync(`${this.#o.ledger}.new`, next);
    renameSync(`${this.#o.ledger}.new`, this.#o.ledger);
    for (const v of found) this.#o.print(`seed ${v.seed}: ${v.what}\n  repeat: ${v.repeat}`);
  }

  ended(b: BatchResult): void {
    const { scope, seconds } = this.#o;
    const commit = this.#commit;
    this.runs += b.last - b.first + 1;
    const found = b.violations.map((v) => ({ scope, commit, seed: v.seed, what: v.what.join('; '), repeat: repeatCommand(scope, v.seed, seconds) }));
    this.#record([{ ...b, scope, commit, seconds, violations: found.length }], found);
    this.#o.print(`${scope} ${b.first}–${b.last}: ${b.simSeconds.toFixed(0)} simulated s, ${found.length} violations`);
  }

  /** Not in the rows: the next campaign runs them again. */
  died(b: Batch, how: string): void {
    if (this.#stopping) return;
    const { scope, seconds } = this.#o;
    const what = `the process ended (${how}) in one of the seeds ${b.first} to ${b.last}`;
    this.#record([], [{ scope, commit: this.#commit, seed: b.first, what, repeat: repeatCommand(scope, b.first, seconds) }]);
  }
}

function startProcess(o: CampaignOptions): ChildProcess {
  const main = fileURLToPath(new URL('main.js', import.meta.url));
  const args = [...runnerFlags, main, '--scope', o.scope, '--seconds', String(o.seconds), '--serve'];
  return spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
}

/** Feeds one process with batches until there are no more; starts another when it has run its share. */
function runProcess(o: CampaignOptions, campaign: Campaign, children: Set<ChildProcess>): Promise<void> {
  return new Promise((resolve) => {
    const begin = (batch: Batch | undefined): void => {
      if (batch === undefined) return resolve();
      const child = startProcess(o);
      children.add(child);
      let left = batchesPerProcess;
      let running: Batch | undefined;
      const give = (next: Batch | undefined): void => {
        running = next;
        if (next === undefined || left-- === 0) child.stdin?.end();
        else child.stdin?.write(`${JSON.stringify({ first: next.first, last: next.last })}\n`);
      };
      if (child.stdout !== null)
        createInterface({ input: child.stdout }).on('line', (line) => {
          campaign.ended(JSON.parse(line) as BatchResult);
          give(campaign.next());
        });
      child.stdin?.on('error', () => undefined);
      child.on('close', (code, signal) => {
        children.delete(child);
        // Its share is done: the batch that it did not take is the next process's first.
        if (code === 0) return begin(running);
        if (running !== undefined) campaign.died(running, signal ?? `status ${code}`);
        begin(campaign.next());
      });
      give(batch);
    };
    begin(campaign.next());
  });
}

/** Status: 0 when every batch ran and no violation was found. */
export async function runCampaign(options: CampaignOptions): Promise<number> {
  const campaign = new Campaign(options);
  const children = new Set<ChildProcess>();
  const stop = (): void => {
    campaign.stop();
    for (const child of children) child.kill();
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  const processes = options.jobs;
  await Promise.all(Array.from({ length: processes }, () => runProcess(options, campaign, children)));
  options.print(`${campaign.runs} runs, ${campaign.violations} violations; recorded in ${options.ledger}`);
  return campaign.violations > 0 ? 1 : 0;
}
