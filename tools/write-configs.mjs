// Writes what follows from rooms.mjs: one tsconfig.json (and tsconfig.test.json) per room, the root
// tsconfig, the overrides in biome.json, and the table of rooms in ARCHITECTURE.md.
// `--check` compares instead of writing and exits 1 when something differs.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { annexes, rooms } from './rooms.mjs';

const home = join(dirname(fileURLToPath(import.meta.url)), '..');
const tableStart = '<!-- rooms: written by tools/write-configs.mjs from tools/rooms.mjs -->';
const tableEnd = '<!-- rooms: end -->';

// TypeScript refuses a project without inputs, so a room gets its configs with its first file.
function hasFiles(root, dir, test) {
  if (!existsSync(join(root, dir))) return false;
  return readdirSync(join(root, dir), { recursive: true }).some((f) => f.endsWith('.ts') && (test === undefined || f.endsWith('.test.ts') === test));
}

/**
 * @param {string} [root] the checkout
 * @returns {Map<string, string>} path relative to the root -> expected content
 */
export function expectedConfigs(root = home) {
  const files = new Map();
  const json = (path, value) => files.set(path, `${JSON.stringify(value, null, 2)}\n`);
  const refs = [];
  const filled = new Set(rooms.filter((r) => hasFiles(root, `src/${r.name}`, false)).map((r) => r.name));
  for (const r of rooms) {
    if (!filled.has(r.name)) continue;
    const dir = `src/${r.name}`;
    const up = '../..';
    const out = `${up}/dist/${r.name}`;
    const references = r.mayImport.filter((n) => filled.has(n)).map((n) => ({ path: `../${n}` }));
    json(`${dir}/tsconfig.json`, {
      extends: `${up}/tsconfig.base.json`,
      compilerOptions: { rootDir: '.', outDir: out, tsBuildInfoFile: `${out}/.tsbuildinfo`, types: r.types },
      include: ['./**/*.ts'],
      exclude: ['./**/*.test.ts'],
      references,
    });
    refs.push({ path: `./${dir}` });
    if (!hasFiles(root, dir, true)) continue;
    json(`${dir}/tsconfig.test.json`, {
      extends: `${up}/tsconfig.base.json`,
      compilerOptions: { rootDir: '.', outDir: out, tsBuildInfoFile: `${out}/.tsbuildinfo.test`, types: ['node'] },
      include: ['./**/*.test.ts'],
      references: [{ path: './tsconfig.json' }, ...references],
    });
    refs.push({ path: `./${dir}/tsconfig.test.json` });
  }
  const filledAnnexes = new Set(annexes.filter((a) => hasFiles(root, a.name)).map((a) => a.name));
  for (const a of annexes) {
    if (!filledAnnexes.has(a.name)) continue;
    json(`${a.name}/tsconfig.json`, {
      extends: '../tsconfig.base.json',
      compilerOptions: { rootDir: '.', outDir: `../dist/${a.name}`, tsBuildInfoFile: `../dist/${a.name}/.tsbuildinfo`, types: a.types },
      include: ['./**/*.ts'],
      references: [
        ...a.mayImport.filter((n) => filled.has(n)).map((n) => ({ path: `../src/${n}` })),
        ...(a.annexes ?? []).filter((n) => filledAnnexes.has(n)).map((n) => ({ path: `../${n}` })),
      ],
    });
    refs.push({ path: `./${a.name}` });
  }
  json('tsconfig.json', { files: [], references: refs });
  return files;
}

/** Biome's part of the fence: an early answer in the editor. tools/check-fences.mjs decides. */
export function expectedBiomeOverrides() {
  return rooms.map((r) => {
    const rules = { noRestrictedImports: { level: 'error', options: { patterns: [restrictedImports(r)] } } };
    if (!r.types.includes('node')) rules.noRestrictedGlobals = { level: 'error', options: { deniedGlobals: deniedGlobals(r) } };
    return { includes: [`src/${r.name}/**`, '!**/*.test.ts'], linter: { rules: { style: rules } } };
  });
}

function restrictedImports(r) {
  const allowed = r.mayImport.map((n) => `!#${n}/**`);
  const node = r.types.includes('node') ? [] : ['node:*'];
  return {
    group: ['#*/**', ...allowed, ...node],
    message: `${r.name} may import ${r.mayImport.join(', ') || 'no other room'}${node.length > 0 ? ', and nothing of Node' : ''}.`,
  };
}

function deniedGlobals(r) {
  const names = [
    'globalThis',
    'Reflect',
    'Function',
    'performance',
    'Intl',
    'WeakRef',
    'FinalizationRegistry',
    'Buffer',
    'process',
    'setTimeout',
    'setInterval',
  ];
  if (!r.dates) names.push('Date');
  return Object.fromEntries(names.map((n) => [n, 'Rooms that the simulator runs reach the world through env only.']));
}

/** The table of ARCHITECTURE.md, markers included. */
export function expectedRoomTable() {
  const cell = (names) => (names.length === 0 ? '–' : names.map((n) => `\`${n}\``).join(' '));
  const rows = rooms.map((r) => {
    const imports = r.mayImport.length === rooms.length - 1 ? 'every other room' : cell(r.mayImport);
    return `| \`${r.name}\` | ${r.job} | ${imports} | ${cell(r.packages)} | ${r.pure ? 'pure' : r.types.includes('node') ? 'Node' : 'env'} |`;
  });
  const annexRows = annexes.map((a) => {
    const left = rooms.filter((r) => !a.mayImport.includes(r.name)).map((r) => `\`${r.name}\``);
    return `| \`${a.name}/\` | ${a.job} | every room${left.length > 0 ? ` but ${left.join(' ')}` : ''}${(a.annexes ?? []).map((n) => `, \`${n}/\``).join('')} | development only | Node |`;
  });
  const head = ['| room | job | may import | packages | touches |', '|---|---|---|---|---|'];
  return [tableStart, ...head, ...rows, ...annexRows, tableEnd].join('\n');
}

/** Everything generated: path -> content. Files that only carry a generated part keep the rest. */
function expectedFiles(root) {
  const files = expectedConfigs(root);
  const biomePath = join(root, 'biome.json');
  if (existsSync(biomePath)) {
    const biome = JSON.parse(readFileSync(biomePath, 'utf8'));
    const same = JSON.stringify(biome.overrides) === JSON.stringify(expectedBiomeOverrides());
    files.set(
      'biome.json',
      same ? readFileSync(biomePath, 'utf8') : `${JSON.stringify({ ...biome, overrides: expectedBiomeOverrides() }, null, 2)}\n`,
    );
  }
  const architecture = join(root, 'ARCHITECTURE.md');
  if (existsSync(architecture)) {
    const text = readFileSync(architecture, 'utf8');
    const from = text.indexOf(tableStart);
    const to = text.indexOf(tableEnd);
    const kept = from < 0 || to < from ? [text.trimEnd(), '\n\n', '\n'] : [text.slice(0, from), '', text.slice(to + tableEnd.length)];
    files.set('ARCHITECTURE.md', `${kept[0]}${kept[1]}${expectedRoomTable()}${kept[2]}`);
  }
  return files;
}

/** Paths whose content is not what rooms.mjs asks for. */
export function differences(root = home) {
  const wrong = [];
  for (const [path, text] of expectedFiles(root)) {
    const full = join(root, path);
    if (!existsSync(full) || readFileSync(full, 'utf8') !== text) wrong.push(path);
  }
  return wrong;
}

/** Writes what differs, each file in one step, because others may be compiling meanwhile. */
export function writeConfigs(root = home) {
  const expected = expectedFiles(root);
  for (const path of differences(root)) {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(`${full}.${process.pid}.tmp`, expected.get(path));
    renameSync(`${full}.${process.pid}.tmp`, full);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--check')) {
    const wrong = differences();
    for (const path of wrong) console.error(`${path} differs from tools/rooms.mjs; run: node tools/write-configs.mjs`);
    process.exitCode = wrong.length > 0 ? 1 : 0;
  } else writeConfigs();
}
