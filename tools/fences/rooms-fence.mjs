// The walls between rooms: decides for one file which of its imports and words are refused.
import { builtinModules } from 'node:module';
import { posix } from 'node:path';
import { findForbidden } from './globals.mjs';
import { findImports } from './imports.mjs';
import { lex } from './lex.mjs';
import { findFunctions } from './sizes.mjs';

const builtins = new Set(builtinModules);
const mutedChecks = /@ts-(?:ignore|expect-error|nocheck)|biome-ignore|eslint-disable/;

/**
 * @typedef {object} House
 * @property {import('../rooms.mjs').Room[]} rooms
 * @property {{ name: string, mayImport: string[], annexes?: string[], packages: string[] }[]} annexes
 * @property {string[]} devPackages packages that tests may use
 */

/**
 * @param {string} path relative to the root, with '/'
 * @param {string} source
 * @param {House} house
 */
export function inspectFile(path, source, house) {
  const { tokens, comments, lines } = lex(source);
  const where = locate(path, house);
  const problems = [];
  const add = (line, message) => problems.push({ path, line, message });
  for (const c of comments) {
    if (/^\/\/\/\s*<reference/.test(c.text)) add(c.line, '/// <reference> brings in types that the room does not have');
    const muted = mutedChecks.exec(c.text);
    if (muted !== null) add(c.line, `${muted[0]} switches a check off; mend what it complains about`);
  }
  if (/(?:^|\/)index\.[cm]?tsx?$/.test(path)) add(1, 'no barrels: name the file after what is in it');
  const found = findImports(tokens);
  for (const p of found.problems) add(p.line, p.message);
  const edges = [];
  for (const i of found.imports) {
    const verdict = judgeImport(path, where, i, house);
    if (verdict.refused !== undefined) add(i.line, verdict.refused);
    if (verdict.file !== undefined) edges.push(verdict.file);
    if (i.star) add(i.line, 'export * hides what is exported; import the file itself');
  }
  const room = house.rooms.find((r) => r.name === where.room);
  if (room !== undefined && !where.test && !room.types.includes('node')) {
    for (const f of findForbidden(tokens, { dates: room.dates })) add(f.line, `${f.message} (room ${room.name})`);
  }
  if (where.test) focused(tokens, add);
  return { problems, edges, lines, functions: findFunctions(tokens), test: where.test };
}

/** `test.only` would make every other test of the file pass unrun. */
function focused(tokens, add) {
  for (let i = 2; i < tokens.length; i++) {
    const owner = tokens[i - 2].text;
    if (tokens[i].text === 'only' && tokens[i - 1].text === '.' && ['test', 'it', 'describe', 'suite'].includes(owner))
      add(tokens[i].line, `${owner}.only silences the other tests`);
  }
}

function locate(path, house) {
  const parts = path.split('/');
  const test = path.endsWith('.test.ts');
  if (parts[0] === 'src') return { room: parts[1], base: `src/${parts[1]}`, test };
  const annex = house.annexes.find((a) => a.name === parts[0]);
  return { annex, base: parts[0], test };
}

function judgeImport(path, where, found, house) {
  const s = found.specifier;
  if (s.startsWith('#')) return crossRoom(where, s, house);
  if (s.startsWith('.')) return relative(path, where, s);
  if (s.startsWith('/') || s.includes('\\') || s.includes('%')) return { refused: `${s}: write the module's plain name` };
  return outside(where, s, house);
}

function crossRoom(where, specifier, house) {
  const target = /^#([a-z]+)\/(.+)$/.exec(specifier);
  if (target === null) return { refused: `${specifier}: across rooms it is #room/file.js` };
  const [, name, rest] = target;
  if (rest.split('/').includes('..')) return { refused: `${specifier} climbs out of its room` };
  if (!rest.endsWith('.js')) return { refused: `${specifier}: the file's name with .js` };
  if (name === where.room) return { refused: `${specifier}: inside a room it is ./file.js` };
  const room = house.rooms.find((r) => r.name === where.room);
  const allowed = room?.mayImport ?? where.annex?.mayImport ?? [];
  if (!allowed.includes(name)) return { refused: `${where.room ?? where.annex?.name} may not import ${name} (tools/rooms.mjs)` };
  if (/\.test\.js$/.test(rest)) return { refused: `${specifier}: nothing imports a test` };
  return { file: `src/${name}/${rest.replace(/\.js$/, '.ts')}` };
}

function relative(path, where, specifier) {
  const target = posix.normalize(posix.join(posix.dirname(path), specifier));
  if (/\.test\.js$/.test(target) && !where.test) return { refused: `${specifier}: only tests import a test's helpers` };
  if (!target.endsWith('.js')) return { refused: `${specifier}: the file's name with .js` };
  const file = target.replace(/\.js$/, '.ts');
  if (target.startsWith(`${where.base}/`)) return { file };
  const neighbour = (where.annex?.annexes ?? []).find((a) => target.startsWith(`${a}/`));
  if (neighbour !== undefined) return { file };
  return { refused: `${specifier} leaves ${where.base}; across rooms it is #room/file.js` };
}

function outside(where, specifier, house) {
  const room = house.rooms.find((r) => r.name === where.room);
  const isNode = specifier.startsWith('node:') || builtins.has(specifier);
  const name = specifier.startsWith('@') ? specifier.split('/').slice(0, 2).join('/') : specifier.split('/')[0];
  const here = where.room ?? where.base;
  if (room === undefined) {
    if (isNode || (where.annex?.packages ?? []).includes(name)) return {};
    return { refused: `package ${name} does not belong to ${here} (tools/rooms.mjs)` };
  }
  if (isNode) {
    if (where.test || room.types.includes('node')) return {};
    return { refused: `${specifier}: room ${room.name} asks the world through env only` };
  }
  if (room.packages.includes(name) || (where.test && house.devPackages.includes(name))) return {};
  return { refused: `package ${name} does not belong to room ${room.name} (tools/rooms.mjs)` };
}

/**
 * @param {Map<string, string[]>} edges file -> files it imports
 * @returns {string[][]} one path per cycle found, first file repeated at the end
 */
export function findCycles(edges) {
  const state = new Map();
  const cycles = [];
  const visit = (file, path) => {
    const known = state.get(file);
    if (known === 'done') return;
    if (known === 'open') {
      cycles.push([...path.slice(path.indexOf(file)), file]);
      return;
    }
    state.set(file, 'open');
    path.push(file);
    for (const next of edges.get(file) ?? []) visit(next, path);
    path.pop();
    state.set(file, 'done');
  };
  for (const file of edges.keys()) visit(file, []);
  return cycles;
}
