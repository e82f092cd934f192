// Compiles what changed into dist/, and removes from dist/ what has no source any more, so that
// neither a node nor the test runner ever runs a file that somebody deleted.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { explain, Problem } from './problem.mjs';
import { annexes } from './rooms.mjs';
import { writeConfigs } from './write-configs.mjs';

/**
 * @param {string} root the checkout
 * @param {{ project?: string }} [options] project: what to compile with all it needs; everything by default
 */
export function build(root, options = {}) {
  try {
    writeConfigs(root);
    removeStale(root);
  } catch (error) {
    throw explain(error, 'Starmesh compiles into its own folder');
  }
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  if (!existsSync(compiler))
    throw new Problem('The packages are not installed yet: run `npm install --ignore-scripts` (or `npm start`, which does it).');
  const result = spawnSync(process.execPath, [compiler, '-b', options.project ?? 'tsconfig.json'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (result.status !== 0) throw new Problem('The build failed; the errors are above.');
}

/** Removes outputs without a source; returns what was removed, relative to the root. */
export function removeStale(root) {
  const dist = join(root, 'dist');
  const removed = [];
  if (!existsSync(dist)) return removed;
  const outside = new Set(annexes.map((a) => a.name));
  for (const room of readdirSync(dist)) {
    const source = join(root, outside.has(room) ? room : `src/${room}`);
    for (const file of readdirSync(join(dist, room), { recursive: true })) {
      const stem = /^(.*?)(?:\.d\.ts|\.js|\.js\.map)$/.exec(file)?.[1];
      if (stem === undefined || existsSync(join(source, `${stem}.ts`))) continue;
      rmSync(join(dist, room, file));
      removed.push(`dist/${room}/${file}`);
    }
    if (!existsSync(source)) rmSync(join(dist, room), { recursive: true, force: true });
  }
  return removed;
}
