// A look at LMDB's data file before LMDB maps it. LMDB trusts the file: of a truncated or overwritten one
// it reads beyond the end, and the process dies of a signal without a word. Called by `os/tables.ts`.
//
// What is known of the format (LMDB's mdb.c, version 2; checked by a test that damages real files): two
// meta pages at the start, each with a magic number, the page size, and the last page in use. The file may
// rightly end before that page, when the pages behind its end are free; those are made to read as zeros,
// which LMDB reports as an error if it ever follows a pointer there.

import { closeSync, existsSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { DamagedTablesError } from '#env/tables.js';

const metaPages = 2;
const at = { magic: 24, pageSize: 48, lastPage: 144, end: 152 } as const;
const magic = 0xbeefc0de;
const pageSizes: readonly number[] = [4096, 8192, 16_384, 32_768, 65_536];

/** Throws with the reason when this is no file that LMDB can open. A file that does not exist, or was not begun, is fine. */
export function lookAtTablesFile(path: string): void {
  if (!existsSync(path)) return;
  const fd = openSync(path, 'r+');
  try {
    const { size } = fstatSync(fd);
    const first = readMeta(fd, 0);
    if (size === 0 || first === undefined) return;
    if (!pageSizes.includes(first.pageSize)) throw new DamagedTablesError('its first page is damaged');
    const second = readMeta(fd, first.pageSize);
    if (second === undefined) throw new DamagedTablesError(`it was cut to ${size} bytes`);
    if (first.magic !== magic || second.magic !== magic || second.pageSize !== first.pageSize)
      throw new DamagedTablesError('its first pages are damaged');
    const pages = Math.max(metaPages, first.lastPage + 1, second.lastPage + 1);
    if (!Number.isSafeInteger(pages * first.pageSize)) throw new DamagedTablesError('its first pages are damaged');
    if (size < pages * first.pageSize) ftruncateSync(fd, pages * first.pageSize);
  } finally {
    closeSync(fd);
  }
}

interface Meta {
  readonly magic: number;
  readonly pageSize: number;
  readonly lastPage: number;
}

function readMeta(fd: number, offset: number): Meta | undefined {
  const bytes = Buffer.alloc(at.end);
  if (readSync(fd, bytes, 0, at.end, offset) < at.end) return undefined;
  return { magic: bytes.readUInt32LE(at.magic), pageSize: bytes.readUInt32LE(at.pageSize), lastPage: Number(bytes.readBigUInt64LE(at.lastPage)) };
}
