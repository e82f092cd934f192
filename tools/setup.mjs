// Brings node_modules in line with package-lock.json, and does nothing when it already is.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { explain, Problem } from './problem.mjs';

/** Written after a complete install only, so an interrupted one is done again. */
const stampName = '.starmesh-installed';

// --include=dev: the compiler is a development package, and NODE_ENV=production would leave it out.
const installArguments = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--include=dev', '--loglevel=error'];

/** @param {string} root the checkout */
export function setUp(root) {
  const stamp = join(root, 'node_modules', stampName);
  const wanted = fingerprint(root);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  writable(root);
  console.log('Installing packages (once; needs the npm registry) …');
  const npm = process.env.npm_execpath;
  const viaNode = npm !== undefined && /\.[cm]?js$/.test(npm);
  const command = viaNode ? process.execPath : 'npm';
  const args = viaNode ? [npm, ...installArguments] : installArguments;
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], shell: !viaNode && process.platform === 'win32' });
  if (result.error !== undefined)
    throw new Problem(`npm could not be started (${result.error.code ?? result.error.message}): install Node.js together with npm.`);
  if (result.status !== 0)
    throw new Problem(
      'npm install failed (its message is above): check the network and the registry setting of npm, then run the same command again.',
    );
  try {
    mkdirSync(join(root, 'node_modules'), { recursive: true });
    writeFileSync(stamp, fingerprint(root));
  } catch (error) {
    throw explain(error, 'The packages are installed but could not be marked so');
  }
}

// Native parts of packages differ by platform: a folder shared between two machines is installed anew.
function fingerprint(root) {
  const hash = createHash('sha256');
  for (const name of ['package.json', 'package-lock.json']) {
    const path = join(root, name);
    if (existsSync(path)) hash.update(name === 'package.json' ? dependenciesOf(path) : readFileSync(path));
  }
  return `${hash.digest('hex')} ${process.platform}-${process.arch}\n`;
}

function dependenciesOf(path) {
  const { dependencies, devDependencies, optionalDependencies, overrides } = JSON.parse(readFileSync(path, 'utf8'));
  return JSON.stringify({ dependencies, devDependencies, optionalDependencies, overrides });
}

function writable(root) {
  try {
    accessSync(root, constants.W_OK);
    if (existsSync(join(root, 'node_modules'))) accessSync(join(root, 'node_modules'), constants.W_OK);
  } catch (error) {
    throw explain(error, 'Starmesh installs its packages into its own folder');
  }
}
