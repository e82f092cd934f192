// Shared by the MQTT benchmarks: builds and runs the load generator, pins processes to processors.
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout, seen from dist/bench. */
const root = fileURLToPath(new URL('../..', import.meta.url));

export function buildLoadgen(): string {
  const dir = join(tmpdir(), 'starmesh-loadgen');
  mkdirSync(dir, { recursive: true });
  const source = join(root, 'bench/loadgen.c');
  const out = join(dir, 'loadgen');
  if (!existsSync(out) || statSync(out).mtimeMs < statSync(source).mtimeMs) execFileSync('gcc', ['-O2', '-o', out, source]);
  return out;
}

/** On two processors or more: the command that runs `command` on processor `cpu` only. */
export function pinned(cpu: number, command: readonly string[]): readonly [string, string[]] {
  const hasTaskset = spawnSync('taskset', ['-V']).status === 0;
  const all = hasTaskset ? ['taskset', '-c', String(cpu), ...command] : [...command];
  return [all[0] as string, all.slice(1)];
}

/** Runs the load generator on processor 1 and gives back the last line it printed. */
export function runLoad(loadgen: string, args: readonly string[]): Promise<string> {
  const [file, rest] = pinned(1, [loadgen, ...args]);
  return new Promise((resolve, reject) => {
    execFile(file, rest, { maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      const lines = `${stdout}${stderr}`.trim().split('\n');
      const line = lines.reverse().find((l) => l.startsWith('bench:') || l.includes(' conn/s'));
      if (line === undefined) reject(error ?? new Error(`the load generator said nothing: ${lines.join(' ')}`));
      else resolve(line);
    });
  });
}

export function figure(line: string, name: string): number {
  const escaped = name.replaceAll('/', '\\/');
  const found = new RegExp(`\\b${escaped}=([0-9.]+)`).exec(line) ?? new RegExp(`= ([0-9.]+) ${escaped}`).exec(line);
  return found === null ? Number.NaN : Number(found[1]);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
