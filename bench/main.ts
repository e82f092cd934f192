// npm run bench -- NAME [options]: runs one of the benchmarks beside this file.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const benchmarks: Readonly<Record<string, string>> = {
  db: 'db-cluster.js',
  peers: 'mqtt-peers.js',
  idle: 'mqtt-idle.js',
  routes: 'routes.js',
  micro: 'micro.js',
  compare: 'compare.js',
};

const [name = '', ...rest] = process.argv.slice(2);
const file = Object.hasOwn(benchmarks, name) ? benchmarks[name] : undefined;
if (file === undefined) {
  process.stderr.write(`usage: npm run bench -- ${Object.keys(benchmarks).join('|')} [options]; see docs/benchmarks.md\n`);
  process.exitCode = 1;
} else {
  const run = spawnSync(process.execPath, ['--expose-gc', fileURLToPath(new URL(file, import.meta.url)), ...rest], { stdio: 'inherit' });
  process.exitCode = run.status ?? 1;
}
