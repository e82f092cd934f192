// What the npm scripts do, in order: set up, build, run.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from './build.mjs';
import { check } from './check.mjs';
import { Problem } from './problem.mjs';
import { setUp } from './setup.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const commands = {
  start: (args) => {
    setUp(root);
    build(root, { project: 'src/node' });
    return supervise(args);
  },
  test: (args) => {
    setUp(root);
    return check(root, args);
  },
  check: (args) => check(root, args),
  build: () => {
    build(root);
    return 0;
  },
  sim: (args) => {
    setUp(root);
    build(root, { project: 'sim' });
    return script('dist/sim/main.js', args);
  },
  long: (args) => {
    setUp(root);
    build(root, { project: 'test' });
    return script('dist/test/long/main.js', args);
  },
  bench: (args) => {
    setUp(root);
    build(root, { project: 'bench' });
    return script('dist/bench/main.js', args);
  },
};

/** @param {string[]} argv command and its arguments */
export async function run(argv) {
  const [name, ...args] = argv;
  const command = Object.hasOwn(commands, name ?? '') ? commands[name] : undefined;
  try {
    if (command === undefined) throw new Problem(`Unknown command ${name ?? '(none)'}; there are ${Object.keys(commands).join(', ')}.`);
    process.exitCode = await command(args);
  } catch (error) {
    console.error(error instanceof Problem ? error.message : error);
    process.exitCode = 1;
  }
}

// In this process, so that signals and the terminal reach the supervisor itself.
async function supervise(args) {
  const { main } = await import(pathToFileURL(present('dist/node/supervisor/main.js')).href);
  return main(args);
}

function script(path, args) {
  const result = spawnSync(process.execPath, [present(path), ...args], { cwd: root, stdio: 'inherit' });
  return result.status ?? 1;
}

function present(path) {
  if (!existsSync(join(root, path))) throw new Problem(`${path} does not exist yet in this version.`);
  return join(root, path);
}
