// When a file of tables is walked through before LMDB maps it (`tables-walk.ts`), and how the end of a process
// over a damaged page is noticed: beside the file lies a mark while somebody has it open, with the number of
// ends in a row at which nobody took it away. Called by `os/tables.ts`.
//
// Small files are walked through at each start, larger ones after one such end, and all of them after two:
// a damaged page ends a process twice at most, and a start after `kill -9` is not held up by a large file. The
// mark is not synced: after a power cut it may say less or more than it should, and costs a death or a walk.
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lookAtTablesFile } from './tables-file.js';
import { walkTablesFile } from './tables-walk.js';

/**
 * Files up to so many bytes are walked through: after an end at which they were closed, after one at which they
 * were not. (A walk reads about 1 GB/s of what is in memory.)
 */
export interface WalkLimits {
  readonly closed: number;
  readonly notClosed: number;
}

export const walkLimits: WalkLimits = { closed: 64 * 1024 ** 2, notClosed: 2 * 1024 ** 3 };

const dataFile = 'data.mdb';
const mark = 'open';

/**
 * Throws `DamagedTablesError` when LMDB must not open what is in this directory; marks it as open. False: the last
 * time it was not closed.
 */
export function beginUse(dir: string, limits: WalkLimits): boolean {
  const data = join(dir, dataFile);
  // Before it is made as long as its first pages say, right or wrong.
  const size = existsSync(data) ? statSync(data).size : 0;
  lookAtTablesFile(data);
  let ends = endsBefore(dir);
  const wasClosed = ends === 0;
  if (ends > 1 || size <= (ends === 0 ? limits.closed : limits.notClosed)) {
    walkTablesFile(data);
    ends = 0;
  }
  quietly(() => writeFileSync(join(dir, mark), `${ends + 1}\n`, { mode: 0o600 }));
  return wasClosed;
}

/** It was closed as it should be. */
export function endUse(dir: string): void {
  quietly(() => rmSync(join(dir, mark), { force: true }));
}

/** A disk that is full or may not be written is somebody else's to say; without the mark there is a walk too many, or a death. */
function quietly(change: () => void): void {
  try {
    change();
  } catch {
    // As above.
  }
}

/** How many times in a row it was not closed. A mark that cannot be read says two: better once more than too little. */
function endsBefore(dir: string): number {
  const path = join(dir, mark);
  if (!existsSync(path)) return 0;
  const text = readFileSync(path, 'latin1');
  return /^[12]\n$/.test(text) ? Number.parseInt(text, 10) : 2;
}
