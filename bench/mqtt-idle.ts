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
}

const { values } = parseArgs({
  options: { connections: { type: 'string', default: '15000' }, port: { type: 'string', default: '21880' }, hold: { type: 'string', default: '12' } },
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
  // All are connected after count / rate seconds; the rest of the holding time is quiet.
  await new Promise((resolve) => setTimeout(resolve, (count / 3000) * 1000 + Number(values.hold) * 500));
  const during = await memory();
  await ended;
  const bytes = ((during.anonymousKiB - before.anonymousKiB) * 1024) / count;
  process.stdout.write(
    `${count} idle connections: ${Math.round(bytes)} bytes each (private memory ${before.anonymousKiB} -> ${during.anonymousKiB} KiB, rss ${Math.round(before.rssKiB)} -> ${Math.round(during.rssKiB)} KiB)\n${said.trim()}\n`,
  );
} finally {
  node.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
}
