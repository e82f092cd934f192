// The lock of a data directory: a file `lock` that names the process that uses it. A process
// is its id together with its start time, so that the leftover of a crashed run does not stop
// the next one, even when its id has been given to somebody else since (always so in containers).
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Another live process uses the data directory. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
  readonly pid: number;
  constructor(dir: string, pid: number) {
    super(`the data directory ${dir} is in use by process ${pid}`);
    this.pid = pid;
  }
}

export interface Lock {
  release(): void;
}

/** How often a leftover is taken over before giving up: each time another starter was faster. */
const attemptsMax = 10;

/** Takes the lock or throws {@link LockedError}. */
export function takeLock(dir: string): Lock {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, 'lock');
  const mine = `${process.pid} ${startTime(process.pid) ?? 'unknown'}\n`;
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    if (createLock(path, mine)) return { release: () => releaseLock(path, mine) };
    const found = readOrUndefined(path);
    if (found === undefined) continue;
    const pid = livingOwner(found);
    if (pid !== undefined) throw new LockedError(dir, pid);
    removeLeftover(path, found);
  }
  throw new LockedError(dir, 0);
}

/** With its content in one step, so that nobody takes a lock in the making for a leftover. False when there is one. */
function createLock(path: string, mine: string): boolean {
  const fresh = `${path}.${process.pid}.new`;
  writeFileSync(fresh, mine, { mode: 0o600 });
  try {
    linkSync(fresh, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  } finally {
    rmSync(fresh, { force: true });
  }
}

/**
 * Moves the leftover aside before removing it: of two starters that saw the same leftover only
 * one gets it, and one that caught the other's fresh lock instead puts that back.
 */
function removeLeftover(path: string, leftover: string): void {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  if (readOrUndefined(aside) !== leftover) renameSync(aside, path);
  else rmSync(aside, { force: true });
}

function releaseLock(path: string, mine: string): void {
  if (readOrUndefined(path) === mine) rmSync(path, { force: true });
}

function readOrUndefined(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** The id of the process that the lock names, if it still runs (this one included). */
function livingOwner(text: string): number | undefined {
  const match = /^(\d+) (.+)\n$/.exec(text);
  // Torn by a crash: nobody whom we could ask.
  if (match === null) return undefined;
  const pid = Number(match[1]);
  const started = startTime(pid);
  return started !== undefined && started === match[2] ? pid : undefined;
}

/** When a process started, as text that only compares; undefined when there is no such process. */
function startTime(pid: number): string | undefined {
  if (process.platform === 'linux') {
    const stat = readOrUndefined(`/proc/${pid}/stat`);
    if (stat === undefined) return undefined;
    // The name in parentheses may hold anything; field 22 is the 20th after it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    return `${fields[19] ?? ''}@${readOrUndefined('/proc/sys/kernel/random/boot_id')?.trim() ?? ''}`;
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}
