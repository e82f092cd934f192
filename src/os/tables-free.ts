// Which of LMDB's lists of free pages it reads first. Called by `os/tables.ts` at the first write to a file that was
// not closed the last time.
//
// Each transaction leaves a list of the pages that it has freed. A process that has opened a file reads the newest
// lists first, and goes back. One that has outgrown its place is taken out of its page of the tree of lists, and a
// page for it is looked for in the lists before it (mdb_page_alloc within mdb_freelist_save): where it was the only one
// in its page, that search reads what an empty page holds, and the process dies, or a commit is refused as invalid. The
// file is sound; seen once in some thousand starts with batches that free 130 to 250 pages each. What has changed by
// then makes the next start another one, unless it was the first commit: then all starts would end the same way.
//
// So a start after such an end begins with the oldest list and goes forward, where nothing is before the one that is
// written back. LMDB does so as long as somebody reads the first snapshot of all; the entry of this process in the table
// of readers (`lock.mdb`) is made to say so for the time of one commit, which takes its pages from the end of the file.
// An entry that says less than it should only keeps pages from being used again.
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** Of an entry: the snapshot, the process. Entries lie on multiples of 8, of whatever size the head of the file is. */
const entry = { snapshot: 0, process: 8, afterProcess: 12, end: 24 } as const;
const firstEntryAt = 64;
const firstSnapshot = 1n;
/** Above it: nothing is read. */
const snapshotMax = 2n ** 62n;

/** The caller reads a snapshot, and will end that reading. False: there is no such entry, on another system perhaps. */
export function readFirstSnapshot(dir: string): boolean {
  try {
    const fd = openSync(join(dir, 'lock.mdb'), 'r+');
    try {
      return change(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}

function change(fd: number): boolean {
  const table = Buffer.alloc(fstatSync(fd).size);
  const bytes = readSync(fd, table, 0, table.length, 0);
  const first = Buffer.alloc(8);
  first.writeBigUInt64LE(firstSnapshot);
  let changed = false;
  for (let at = firstEntryAt; at + entry.end <= bytes; at += 8) {
    if (table.readUInt32LE(at + entry.process) !== process.pid || table.readUInt32LE(at + entry.afterProcess) !== 0) continue;
    const snapshot = table.readBigUInt64LE(at + entry.snapshot);
    if (snapshot <= firstSnapshot || snapshot > snapshotMax) continue;
    writeSync(fd, first, 0, first.length, at + entry.snapshot);
    changed = true;
  }
  return changed;
}
