// Compares the micro-benchmarks of this checkout with those of another revision: checks that one out
// beside it, builds it, and runs both in turn, so that what else the machine does hits both. Says per
// benchmark the ratio of the medians, and how far the rounds' own ratios lie apart.
//   npm run bench -- compare REV [--rounds 7] [--only TEXT]
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '7' }, only: { type: 'string', default: '' } },
});
const [revision] = positionals;
const rounds = Number(values.rounds);

function run(command: string, args: readonly string[], cwd: string): string {
  const done = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${done.stdout}\n${done.stderr}`);
  return done.stdout;
}

function measure(checkout: string): Readonly<Record<string, number>> {
  const out = run(process.execPath, ['--expose-gc', join(checkout, 'dist/bench/micro.js'), '--json', '--only', values.only], checkout);
  return JSON.parse(out) as Record<string, number>;
}

/** The other revision, built, with today's benchmark where it has none of its own. */
function prepare(rev: string, dir: string): void {
  run('git', ['worktree', 'add', '--detach', dir, rev], root);
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
  const micro = 'bench/micro.ts';
  if (!existsSync(join(dir, micro))) copyFileSync(join(root, micro), join(dir, micro));
  run(process.execPath, ['tools/write-configs.mjs'], dir);
  run(process.execPath, [join(dir, 'node_modules/typescript/bin/tsc'), '-b', 'bench'], dir);
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

function report(here: readonly Readonly<Record<string, number>>[], there: readonly Readonly<Record<string, number>>[]): void {
  process.stdout.write('benchmark          there       here   ratio  of the rounds\n');
  for (const name of Object.keys(here[0] ?? {})) {
    const a = there.map((r) => r[name] ?? Number.NaN);
    const b = here.map((r) => r[name] ?? Number.NaN);
    const ratios = b.map((n, i) => n / (a[i] ?? Number.NaN));
    const cells = [
      name.padEnd(14),
      `${median(a).toFixed(0)} ns`.padStart(10),
      `${median(b).toFixed(0)} ns`.padStart(10),
      (median(b) / median(a)).toFixed(2).padStart(7),
      ` ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
    ];
    process.stdout.write(`${cells.join(' ')}\n`);
  }
}

function compare(rev: string): void {
  const parent = mkdtempSync(join(tmpdir(), 'starmesh-compare-'));
  const dir = join(parent, 'other');
  try {
    prepare(rev, dir);
    const here: Readonly<Record<string, number>>[] = [];
    const there: Readonly<Record<string, number>>[] = [];
    for (let i = 0; i < rounds; i++) {
      // Each goes first in turn.
      if (i % 2 === 0) there.push(measure(dir));
      here.push(measure(root));
      if (i % 2 === 1) there.push(measure(dir));
    }
    report(here, there);
  } finally {
    spawnSync('git', ['worktree', 'remove', '--force', dir], { cwd: root });
    rmSync(parent, { recursive: true, force: true });
  }
}

if (revision === undefined || !(rounds >= 1)) {
  process.stderr.write('usage: npm run bench -- compare REV [--rounds 7] [--only TEXT]\n');
  process.exitCode = 1;
} else compare(revision);
