// Memory per idle connection: growth of the broker's private memory, mapped files apart, after a
// collection, from none to N connections, all registered in the database; and from a fifth of them to N, when
// code is compiled and buffers have their size. V8's young generation is counted apart: it is of 1 to 48 MiB, by
// what was allocated in the seconds before, and no larger for more connections.
//   npm run bench -- idle [--connections 15000]
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildLoadgen } from './load.js';

interface Memory {
  readonly anonymousKiB: number;
  readonly youngKiB: number;
  readonly rssKiB: number;
  readonly connections: number;
}

const { values } = parseArgs({
  options: {
    connections: { type: 'string', default: '15000' },
    port: { type: 'string', default: '21880' },
    rate: { type: 'string', default: '3000' },
  },
});
const count = Number(values.connections);
const loadgen = buildLoadgen();
const dir = mkdtempSync(join(tmpdir(), 'starmesh-bench-'));
const node = fork(fileURLToPath(new URL('mqtt-node.js', import.meta.url)), [values.port, dir], {
  execArgv: ['--expose-gc'],
  stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
});
const loads: ChildProcess[] = [];
const message = (): Promise<Memory> => new Promise((resolve) => node.once('message', (m) => resolve(m as Memory)));
const memory = (): Promise<Memory> => {
  const answer = message();
  node.send({});
  return answer;
};
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** So many more connections, until all are idle; then what is left after the third collection. */
async function connect(more: number, name: string): Promise<Memory> {
  const before = (await memory()).connections;
  const args = ['conn', '-p', values.port, '-n', String(more), '-r', values.rate, '-x', name, '-H', '600'];
  loads.push(spawn(loadgen, args, { stdio: ['ignore', 'inherit', 'inherit'] }));
  let during = await memory();
  for (let rounds = 0; during.connections < before + more && rounds < 60; rounds++) {
    await pause(1000);
    during = await memory();
  }
  if (during.connections < before + more) throw new Error(`only ${during.connections} clients are connected`);
  for (let i = 0; i < 3; i++) {
    await pause(1500);
    during = await memory();
  }
  return during;
}

function told(what: string, from: Memory, to: Memory): string {
  const connections = to.connections - from.connections;
  const each = (kib: number): number => Math.round((kib * 1024) / connections);
  const all = to.anonymousKiB - from.anonymousKiB;
  const young = to.youngKiB - from.youngKiB;
  const kib = (m: Memory): string => `${m.anonymousKiB} KiB, young ${Math.round(m.youngKiB)}`;
  return `${what} ${connections} idle connections: ${each(all - young)} bytes each, ${each(all)} with the young generation (private memory ${kib(from)} -> ${kib(to)})\n`;
}

try {
  await message();
  const none = await memory();
  const some = await connect(Math.round(count / 5), 'first');
  const all = await connect(count - some.connections, 'more');
  process.stdout.write(told('all', none, all) + told('the last', some, all));
} finally {
  for (const load of loads) load.kill('SIGKILL');
  node.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
}
