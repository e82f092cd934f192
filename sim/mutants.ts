// Deliberate bugs, one at a time, to prove that the checkers can fail. The program has no hooks for
// them: a mutant is a copy of dist/ with one piece of text replaced, or several, run as a process of its own.
// Called by main.ts (`--mutant`, `--mutants`).
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { brokerMutants } from './broker/mutants.js';
import { dbMuseum } from './db/museum.js';
import { dbMutants } from './db/mutants.js';
import { type Mutant, patchesOf } from './mutant.js';
import { runnerFlags } from './processes.js';
import { raftMuseum } from './raft/museum.js';
import { raftMutants } from './raft/mutants.js';

export type { Mutant };

export interface MutantOutcome {
  readonly name: string;
  /** Seeds run until the first violation; undefined: it survived. */
  readonly caughtAfter: number | undefined;
  readonly detail: string;
}

export const mutants: readonly Mutant[] = [...raftMutants, ...raftMuseum, ...dbMutants, ...dbMuseum, ...brokerMutants];

const dist = fileURLToPath(new URL('..', import.meta.url));

/** Copies dist/ to dist/mutants/NAME, patches it, and returns the path of its main.js. */
export function prepareMutant(mutant: Mutant): string {
  const target = join(dist, 'mutants', mutant.name);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  for (const room of readdirSync(dist, { withFileTypes: true })) {
    if (!room.isDirectory() || room.name === 'mutants') continue;
    cpSync(join(dist, room.name), join(target, room.name), {
      recursive: true,
      filter: (path) => !/\.(map|d\.ts|test\.js|tsbuildinfo(\.\w+)?)$/.test(path),
    });
  }
  writeFileSync(join(target, 'package.json'), '{"type":"module","imports":{"#*":"./*"}}\n');
  for (const patch of patchesOf(mutant)) {
    const file = join(target, patch.file);
    const text = readFileSync(file, 'utf8');
    const times = text.split(patch.find).length - 1;
    if (times !== 1)
      throw new Error(`mutant ${mutant.name}: the text to replace occurs ${times} times in dist/${patch.file}; it must occur once: ${patch.find}`);
    writeFileSync(
      file,
      text.replace(patch.find, () => patch.replace),
    );
  }
  return join(target, 'sim', 'main.js');
}

interface Line {
  readonly type: string;
  readonly seed?: number;
  readonly violations?: readonly string[];
  readonly runs?: number;
}

/** Runs seeds until one is caught or `limit` have passed. */
export async function runMutant(mutant: Mutant, firstSeed: number, limit: number, seconds: number): Promise<MutantOutcome> {
  const main = prepareMutant(mutant);
  const argv = [
    ...runnerFlags,
    main,
    '--scope',
    mutant.scope,
    '--seed',
    String(firstSeed),
    '--runs',
    String(limit),
    '--seconds',
    String(seconds),
    '--json',
  ];
  const output = await new Promise<string>((resolve) => {
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    const parts: string[] = [];
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (text: string) => parts.push(text));
    child.on('close', () => resolve(parts.join('')));
  });
  rmSync(join(dist, 'mutants', mutant.name), { recursive: true, force: true });
  for (const text of output.split('\n')) {
    if (text === '') continue;
    const line = JSON.parse(text) as Line;
    if (line.type !== 'violation' || line.seed === undefined) continue;
    const first = (line.violations?.[0] ?? '').split('\n')[0] ?? '';
    return { name: mutant.name, caughtAfter: line.seed - firstSeed + 1, detail: first };
  }
  return { name: mutant.name, caughtAfter: undefined, detail: `no violation in ${limit} seeds` };
}
