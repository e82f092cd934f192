// What lmdb (3.5.6, the newest) does wrong where a write to its file has failed or a process ends, and what is done
// about it. Called by `os/tables.ts`; each point has a test that dies without it (`test/long/failed-tables.test.ts`).
//
// 1. It writes the reason into a buffer that is too short: `sprintf` of "Attempting to write page at position
//    %u, … buffer sizes %i %i %i" into `malloc(100)` (mdb.c, mdb_page_flush), where the last numbers are whatever
//    was on the stack. The heap is damaged before anybody hears of the failure, and the process is ended by
//    the C library at some later `free`. Nothing in JavaScript can keep it from doing so, but the text can be
//    made shorter: one zero byte in the middle of that constant, where it has been loaded.
// 2. Environments that are open are closed when the process ends. After a failure one of their locks may be held by
//    nobody any more, and that close waits for it for ever; and a thread that still writes meets memory that is
//    gone. Nothing is lost without it: the kernel has what was written, and the file has its snapshots.
//
// A third is in how `os/tables.ts` closes: lmdb says that a transaction is done while its thread still uses the
// environment; only the call of its writer with the last status comes when the thread is done as well.
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
// What is not loaded cannot be changed.
import 'lmdb';

const longText = Buffer.from('Attempting to write page at position %u, size %u, blocks %u, buffer sizes %i %i %i\0');
const shortText = Buffer.from('Attempting to write page at position %u, size %u\0');

/** A mapping of a file: `7f593453b000-7f5934557000 r--p 000a1000 fe:00 2770276  /…/lmdb-linux-x64/….node`. */
const mapping = /^([0-9a-f]+)-([0-9a-f]+) r.{3} \S+ \S+ \S+ +.*lmdb.*\.node$/;

let shortened: boolean | undefined;

/**
 * Shortens lmdb's text; done once. False where it cannot be done: another system than Linux, no /proc, another
 * lmdb. Then a failed write may end the process by a signal, with lmdb's own line on standard error.
 */
export function shortenWriteError(): boolean {
  shortened ??= shorten();
  return shortened;
}

function shorten(): boolean {
  if (process.platform !== 'linux') return false;
  try {
    const lines = readFileSync('/proc/self/maps', 'latin1').split('\n');
    const memory = openSync('/proc/self/mem', 'r+');
    try {
      return lines.map((line) => shortenIn(memory, line)).includes(true);
    } finally {
      closeSync(memory);
    }
  } catch {
    return false;
  }
}

function shortenIn(memory: number, line: string): boolean {
  const found = mapping.exec(line);
  if (found === null) return false;
  const start = Number.parseInt(found[1] ?? '', 16);
  const bytes = Buffer.alloc(Number.parseInt(found[2] ?? '', 16) - start);
  readSync(memory, bytes, 0, bytes.length, start);
  const at = bytes.indexOf(longText);
  if (at < 0) return false;
  writeSync(memory, shortText, shortText.length - 1, 1, start + at + shortText.length - 1);
  readSync(memory, bytes, 0, shortText.length, start + at);
  return bytes.subarray(0, shortText.length).equals(shortText);
}

let openStores = 0;

/** While stores are open the process ends without lmdb's closing them, and with the exit status that it would have had. */
export function storeOpened(): void {
  openStores++;
  if (!process.listeners('exit').includes(end)) process.prependListener('exit', end);
}

/** It was closed, which one that has failed never is. */
export function storeClosed(): void {
  openStores--;
}

function end(code: number): void {
  if (openStores === 0) return;
  try {
    for (const listener of process.listeners('exit')) if (listener !== end && !isLmdbs(listener)) listener.call(process, code);
  } finally {
    // Within `exit` this ends the process at once: no other listener runs, and no hook of a native module.
    process.exit();
  }
}

/** lmdb's listener is native code without a name; a bound function has one. */
function isLmdbs(listener: (...args: never[]) => unknown): boolean {
  return listener.name === '' && Function.prototype.toString.call(listener).includes('[native code]');
}

/** lmdb's name for an error is a number: the system's, or one of LMDB's own below them. */
export function errorName(status: number): string {
  return Object.values(constants.errno).includes(status) ? getSystemErrorName(-status) : `LMDB error ${status}`;
}
