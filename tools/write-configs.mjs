// Writes one tsconfig.json (and tsconfig.test.json) per room, and the root tsconfig, from rooms.mjs.
// `--check` compares instead of writing and exits 1 when a file differs.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { annexes, rooms } from './rooms.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

// TypeScript refuses a project without inputs, so a room gets its configs with its first file.
function hasFiles(dir, test) {
  if (!existsSync(join(root, dir))) return false;
  return readdirSync(join(root, dir), { recursive: true }).some((f) => f.endsWith('.ts') && (test === undefined || f.endsWith('.test.ts') === test));
}

/** @returns {Map<string, string>} path relative to the root -> expected content */
export function expectedConfigs() {
  const files = new Map();
  const json = (path, value) => files.set(path, `${JSON.stringify(value, null, 2)}\n`);
  const refs = [];
  const filled = new Set(rooms.filter((r) => hasFiles(`src/${r.name}`, false)).map((r) => r.name));
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
    if (!hasFiles(dir, true)) continue;
    json(`${dir}/tsconfig.test.json`, {
      extends: `${up}/tsconfig.base.json`,
      compilerOptions: { rootDir: '.', outDir: out, tsBuildInfoFile: `${out}/.tsbuildinfo.test`, types: ['node'] },
      include: ['./**/*.test.ts'],
      references: [{ path: './tsconfig.json' }, ...references],
    });
    refs.push({ path: `./${dir}/tsconfig.test.json` });
  }
  for (const a of annexes) {
    if (!hasFiles(a.name)) continue;
    json(`${a.name}/tsconfig.json`, {
      extends: '../tsconfig.base.json',
      compilerOptions: { rootDir: '.', outDir: `../dist/${a.name}`, tsBuildInfoFile: `../dist/${a.name}/.tsbuildinfo`, types: a.types },
      include: ['./**/*.ts'],
      references: [
        ...a.mayImport.filter((n) => filled.has(n)).map((n) => ({ path: `../src/${n}` })),
        ...(a.annexes ?? []).map((n) => ({ path: `../${n}` })),
      ],
    });
    refs.push({ path: `./${a.name}` });
  }
  json('tsconfig.json', { files: [], references: refs });
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const check = process.argv.includes('--check');
  let wrong = 0;
  for (const [path, text] of expectedConfigs()) {
    const full = join(root, path);
    const now = existsSync(full) ? readFileSync(full, 'utf8') : undefined;
    if (now === text) continue;
    if (check) {
      console.error(`${path} differs from tools/rooms.mjs; run: node tools/write-configs.mjs`);
      wrong++;
    } else {
      mkdirSync(dirname(full), { recursive: true });
      writeFileSync(full, text);
    }
  }
  process.exit(wrong > 0 ? 1 : 0);
}
