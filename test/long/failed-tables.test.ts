// Tables and the end of a process. A failed write to the tables ends in a process that says why and ends by itself, with the status that it
// chose. What lmdb does to a process without `os/lmdb-faults.ts` comes by chance (a damaged heap in one
// run of two, a lock that nobody gives back in one of four), so each fault is tried several times.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { shortenWriteError } from '#os/lmdb-faults.js';
import { withoutStrace } from './machine.js';
import { underHarm } from './tracer.js';

const program = fileURLToPath(new URL('./failing-tables.js', import.meta.url));
const runs = 6;
/** A process that has not ended by then never does. */
const endMsMax = 120_000;
const writes = 'pwrite64,pwritev,writev,write';
/** In blocks of 512 bytes (dash) or 1,024 (bash). The first write that reaches it is cut short. */
const fileBlocksMax = 16_000;

interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

/** Runs the program under what `command` makes of its file of tables. */
async function run(what: readonly string[], command: (file: string) => readonly string[]): Promise<End> {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-failing-'));
  try {
    const [name, ...args] = [...command(join(dir, 'failing', 'data.mdb')), process.execPath, program, dir, ...what];
    const child = spawn(name ?? '', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: endMsMax, killSignal: 'SIGKILL' });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
    await once(child, 'close');
    return { code: child.exitCode, signal: child.signalCode, output };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function endsItself(command: (n: number, file: string) => readonly string[], reason: RegExp): Promise<void> {
  for (let n = 0; n < runs; n++) {
    const { code, signal, output } = await run(['fail'], (file) => command(n, file));
    assert.deepEqual({ code, signal }, { code: 3, signal: null }, output);
    assert.match(output, reason);
    assert.match(output, /closed\n/);
    assert.match(output, /listeners are heard/);
  }
}

const otherSystem = process.platform === 'linux' ? false : 'only done on Linux';

test("tables: lmdb's text fits into its buffer", { skip: otherSystem }, () => {
  assert.equal(shortenWriteError(), true);
});

test('tables: a file that may not grow', { skip: otherSystem }, () =>
  endsItself(() => ['sh', '-c', `ulimit -f ${fileBlocksMax} && exec "$@"`, 'sh'], /a write failed: (EFBIG|EIO)/),
);

for (const error of ['EIO', 'ENOSPC'])
  test(`tables: writes fail with ${error}, with which one of a commit differs`, { skip: withoutStrace() }, () =>
    endsItself(
      (n, path) => underHarm({ calls: writes, what: `error=${error}`, when: `${100 + n}+`, path }),
      new RegExp(`a write failed: (${error}|LMDB error -30795)`),
    ),
  );

test('tables: syncs fail', { skip: withoutStrace() }, () =>
  endsItself((n, path) => underHarm({ calls: 'fdatasync,fsync,msync', what: 'error=EIO', when: `${20 + n}+`, path }), /a write failed: EIO/),
);

test('tables: closed right after they were written, many times', async () => {
  const { code, signal, output } = await run(['close'], () => []);
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, output);
});

test('tables: a process that ends while it writes ends with its own status', async () => {
  for (let n = 0; n < runs; n++) {
    const { code, signal, output } = await run(['exit', String(n)], () => []);
    assert.deepEqual({ code, signal }, { code: 7, signal: null }, output);
  }
});
