// Memory per idle connection: growth of the broker's private memory, mapped files apart, after a
// collection, from none to N connections, all registered in the database.
//   npm run bench -- idle [--connections 15000]
import { fork, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildLoadgen } from './load.js';

interface Memory {
  readonly anonymousKiB: number;
  readonly rssKiB: number;
  readonly connections: number;
}

const { values } = parseArgs({
  options: { connections: { type: 'string', default: '15000' }, port: { type: 'string', default: '21880' }, hold: { type: 'string', default: '20' } },
});
const count = Number(values.connections);
const loadgen = buildLoadgen();
const dir = mkdtempSync(join(tmpdir(), 'starmesh-bench-'));
const node = fork(fileURLToPath(new URL('mqtt-node.js', import.meta.url)), [values.port, dir], {
  execArgv: ['--expose-gc'],
  stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
});
const message = (): Promise<Memory> => new Promise((resolve) => node.once('message', (m) => resolve(m as Memory)));
const memory = (): Promise<Memory> => {
  const answer = message();
  node.send({});
  return answer;
};
try {
  await message();
  const before = await memory();
  const load = spawn(loadgen, ['conn', '-p', values.port, '-n', String(count), '-r', '3000', '-H', values.hold], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  load.stdout.on('data', (d: Buffer) => {
    said += d.toString();
  });
  load.stderr.on('data', (d: Buffer) => {
    said += d.toString();
  });
  const ended = new Promise((resolve) => load.on('exit', resolve));
  // Until all are connected, and then what is left after the third collection.
  let during = await memory();
  for (let rounds = 0; during.connections < count && rounds < 60; rounds++) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    during = await memory();
  }
  if (during.connections < count) throw new Error(`only ${during.connections} clients are connected`);
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    during = await memory();
  }
  await ended;
  const bytes = ((during.anonymousKiB - before.anonymousKiB) * 1024) / count;
  process.stdout.write(
    `${count} idle connections: ${Math.round(bytes)} bytes each (private memory ${before.anonymousKiB} -> ${during.anonymousKiB} KiB, rss ${Math.round(before.rssKiB)} -> ${Math.round(during.rssKiB)} KiB)\n${said.trim()}\n`,
  );
} finally {
  node.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
}
