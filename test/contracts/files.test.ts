import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { OsFiles } from '#os/files.js';
import { MemoryFiles } from '#store/memory-files.js';
import { checkFiles } from './files-contract.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(done: () => boolean): Promise<void> {
  while (!done()) await turn();
}

test('files: the real disk', () =>
  checkFiles({
    create() {
      const dir = mkdtempSync(join(tmpdir(), 'starmesh-files-'));
      const files = new OsFiles(dir);
      return { files, destroy: () => files.close(() => rmSync(dir, { recursive: true, force: true })) };
    },
    until,
  }));

test('files: the model that the log is tested with', () =>
  checkFiles({
    create: () => ({ files: new MemoryFiles((fn) => void setImmediate(fn)), destroy: () => undefined }),
    until,
  }));
