// Checks that the walls between the rooms stand: generated files match tools/rooms.mjs, every import
// and every word of the source is allowed where it stands, no cycles, no barrels, no oversized files,
// no traces of one machine. `--tighten` lowers tools/ratchet.json to what is there now.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findTraces } from './fences/repo.mjs';
import { findCycles, inspectFile } from './fences/rooms-fence.mjs';
import { compareSizes, tighten } from './fences/sizes.mjs';
import { annexes, rooms } from './rooms.mjs';
import { differences } from './write-configs.mjs';

const home = join(dirname(fileURLToPath(import.meta.url)), '..');
const textFile = /\.(?:[cm]?[jt]sx?|json|md|conf|ya?ml|html|css|sh|txt)$|^(?:\.ci\/run|LICENSE|\.gitignore|\.npmrc)$/;
const sourceFolders = ['src', ...annexes.map((a) => a.name)];
/** Larger files are data; a path of one machine in them would be found where they are made. */
const textBytesMax = 2_000_000;

/** @param {string} root the checkout */
export function houseOf(root) {
  const pkg = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const dev = Object.keys(pkg.devDependencies ?? {});
  const all = [...Object.keys(pkg.dependencies ?? {}), ...dev];
  const packages = { sim: ['fast-check'], test: all, bench: all };
  return { rooms, annexes: annexes.map((a) => ({ ...a, packages: packages[a.name] ?? [] })), devPackages: dev };
}

/** Compiled files beside their sources: the compiler wrote into the wrong folder, and imports may find them first. */
export function findCompiled(paths) {
  const compiled = paths.filter((p) => /\.(?:d\.[cm]?ts|[cm]?js|map)$/.test(p));
  return compiled.map((path) => ({ path, line: 1, message: 'a compiled file; what is built belongs into dist/' }));
}

/** Every TypeScript file of the rooms and annexes, inspected. */
export function inspectTree(root) {
  const house = houseOf(root);
  const files = new Map();
  for (const dir of sourceFolders) {
    for (const path of listFiles(root, dir)) {
      if (/\.[cm]?tsx?$/.test(path) && !/\.d\.[cm]?ts$/.test(path)) files.set(path, inspectFile(path, readFileSync(join(root, path), 'utf8'), house));
    }
  }
  return files;
}

/** @returns {{ problems: { path: string, line: number, message: string }[], notes: string[] }} */
export function checkSource(root, ratchet) {
  const files = inspectTree(root);
  const compiled = findCompiled(sourceFolders.flatMap((dir) => listFiles(root, dir)));
  const problems = [...compiled, ...[...files.values()].flatMap((f) => f.problems)];
  const edges = new Map([...files].map(([path, f]) => [path, f.edges]));
  for (const cycle of findCycles(edges)) problems.push({ path: cycle[0], line: 1, message: `import cycle: ${cycle.join(' -> ')}` });
  for (const path of files.keys()) {
    const room = path.startsWith('src/') ? path.split('/')[1] : undefined;
    if (room !== undefined && !rooms.some((r) => r.name === room))
      problems.push({ path, line: 1, message: `src/${room} is no room of tools/rooms.mjs` });
  }
  const sizes = compareSizes(files, ratchet);
  return { problems: [...problems, ...sizes.problems], notes: sizes.notes };
}

/** Every text file that is, or is about to be, in the repository. */
export function checkRepository(root) {
  const problems = [];
  for (const path of repositoryFiles(root)) {
    const full = join(root, path);
    if (!textFile.test(path) || !existsSync(full) || statSync(full).size > textBytesMax) continue;
    problems.push(...findTraces(path, readFileSync(full, 'utf8')));
  }
  return problems;
}

function repositoryFiles(root) {
  try {
    const out = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return out.split('\0').filter((p) => p.length > 0);
  } catch {
    // No git here (a tarball): the folders that make up the project.
    const folders = ['src', 'sim', 'test', 'bench', 'tools', 'bin', 'docs', '.ci'].flatMap((d) => listFiles(root, d));
    return [...folders, ...readdirSync(root).filter((n) => statSync(join(root, n)).isFile())];
  }
}

function listFiles(root, dir) {
  const full = join(root, dir);
  if (!existsSync(full)) return [];
  return readdirSync(full, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile())
    .map((e) =>
      join(e.parentPath ?? e.path, e.name)
        .slice(root.length + 1)
        .replaceAll('\\', '/'),
    )
    .filter((p) => !p.includes('node_modules/'))
    .sort();
}

function main() {
  const ratchetPath = join(home, 'tools/ratchet.json');
  const ratchet = JSON.parse(readFileSync(ratchetPath, 'utf8'));
  if (process.argv.includes('--tighten')) {
    writeFileSync(ratchetPath, `${JSON.stringify(tighten(inspectTree(home), ratchet), null, 2)}\n`);
    return 0;
  }
  const generated = differences(home).map((path) => ({ path, line: 1, message: 'differs from tools/rooms.mjs; run: node tools/write-configs.mjs' }));
  const source = checkSource(home, ratchet);
  const problems = [...generated, ...source.problems, ...checkRepository(home)];
  for (const note of source.notes) console.log(`note: ${note}`);
  for (const p of problems) console.error(`${p.path}:${p.line}: ${p.message}`);
  console.log(problems.length === 0 ? 'fences: all stand' : `fences: ${problems.length} broken`);
  return problems.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main();
