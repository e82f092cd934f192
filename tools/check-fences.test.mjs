// Plants each violation and sees it refused: a fence that nobody has seen hold is no fence.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { removeStale } from './build.mjs';
import { findCompiled, houseOf } from './check-fences.mjs';
import { lex } from './fences/lex.mjs';
import { findTraces } from './fences/repo.mjs';
import { findCycles, inspectFile } from './fences/rooms-fence.mjs';
import { compareSizes, findFunctions, tighten } from './fences/sizes.mjs';
import { rooms } from './rooms.mjs';
import { differences, expectedConfigs, expectedRoomTable, writeConfigs } from './write-configs.mjs';

const home = join(dirname(fileURLToPath(import.meta.url)), '..');
const house = houseOf(home);

function problemsOf(path, source) {
  return inspectFile(path, source, house).problems.map((p) => p.message);
}

function refused(path, source, pattern) {
  const problems = problemsOf(path, source);
  assert.ok(
    problems.some((m) => pattern.test(m)),
    `${path}: ${source}\nshould be refused for ${pattern}, got ${JSON.stringify(problems)}`,
  );
}

function accepted(path, source) {
  assert.deepEqual(problemsOf(path, source), [], source);
}

test('the lexer: code is told from comments, strings, templates and regular expressions', () => {
  const source = [
    '// Date in a comment',
    '/* Date */ const a = \'Date\', b = "Da\\"te";',
    'const c = `Date ${f(`inner ${Date}`)} Date`;',
    'const d = x / Date / y; const e = /Date[/]/g.test(s); if (a) /Date/.test(b);',
    'const f = a() / Date;',
  ].join('\n');
  const words = lex(source).tokens.filter((t) => t.kind === 'word' && t.text === 'Date');
  assert.deepEqual(
    words.map((t) => t.line),
    [3, 4, 5],
  );
  assert.equal(lex(source).comments.length, 2);
  assert.equal(lex('a\nb\n').lines, 2);
});

test('imports of a room that the table does not allow are refused in every spelling', () => {
  for (const source of [
    "import { x } from '#db/x.js';",
    "import type { X } from '#db/x.js';",
    "import { type X } from '#db/x.js';",
    "import '#db/x.js';",
    "import * as db from '#db/x.js';",
    "import X, { y as z } from '#db/x.js';",
    "export { x } from '#db/x.js';",
    "export type { X } from '#db/x.js';",
    "const m = await import('#db/x.js');",
    "type X = import('#db/x.js').X;",
    "let x: typeof import('#db/x.js');",
  ]) {
    refused('src/raft/x.ts', source, /raft may not import db/);
    refused('src/raft/x.test.ts', source, /raft may not import db/);
    accepted('src/broker/x.ts', source);
  }
  refused('src/raft/x.ts', "const m = await import('#d' + 'b/x.js');", /computed name/);
  refused('src/raft/x.ts', 'const m = await import(`#db/x.js`);', /computed name/);
  accepted('src/raft/x.ts', "// import '#db/x.js'\nconst s = \"import '#db/x.js'\";\nconst t = { import: 1 };");
});

test('paths that leave the room are refused, and those that stay inside are not', () => {
  refused('src/raft/x.ts', "import '../db/x.js';", /leaves src\/raft/);
  refused('src/raft/x.ts', "import './../db/x.js';", /leaves src\/raft/);
  refused('src/raft/x.ts', "import '#base/../db/x.js';", /climbs out/);
  refused('src/raft/x.ts', "import '#raft/y.js';", /inside a room/);
  refused('src/raft/x.ts', "import '/x.js';", /plain name/);
  refused('src/raft/x.ts', "import '#base/x.ts';", /name with \.js/);
  refused('src/raft/x.ts', "import './y.test.js';", /only tests import/);
  refused('src/session/x.test.ts', "import '#mqtt/y.test.js';", /nothing imports a test/);
  accepted('src/raft/x.test.ts', "import './y.test.js';");
  accepted('src/node/config/x.ts', "import '../hocon/y.js';\nimport './y.js';");
});

test('nothing imports the simulator or the suites; they import rooms', () => {
  refused('src/node/x.ts', "import '../../sim/x.js';", /leaves src\/node/);
  refused('src/node/x.ts', "import '#sim/x.js';", /may not import sim/);
  refused('sim/x.ts', "import '#os/x.js';", /sim may not import os/);
  refused('sim/x.ts', "import '../test/x.js';", /leaves sim/);
  accepted('test/x.ts', "import '../sim/world/x.js';\nimport '#os/x.js';\nimport 'mqtt';\nimport 'node:net';");
  refused('sim/x.ts', "import 'lmdb';", /package lmdb/);
});

test('packages and Node belong to the rooms that own them', () => {
  refused('src/raft/x.ts', "import { readFileSync } from 'node:fs';", /env only/);
  refused('src/raft/x.ts', "import type { Socket } from 'net';", /env only/);
  refused('src/raft/x.ts', "import fs from 'fs/promises';", /env only/);
  refused('src/db/x.ts', "import { open } from 'lmdb';", /package lmdb/);
  refused('src/os/x.ts', "import fastify from 'fastify';", /package fastify/);
  refused('src/raft/x.ts', "import fc from 'fast-check';", /package fast-check/);
  refused('src/os/x.ts', "import x from '@scope/name/deep.js';", /package @scope\/name/);
  accepted('src/raft/x.test.ts', "import fc from 'fast-check';\nimport { test } from 'node:test';");
  accepted('src/os/x.ts', "import { open } from 'lmdb';\nimport 'node:fs';");
  refused('src/raft/x.ts', "const x = require('fs');", /require/);
});

test('clocks, randomness and the host are refused in rooms that the simulator runs', () => {
  const cases = {
    'Date.now()': /Date is a clock/,
    'new Date()': /Date is a clock/,
    'Date()': /Date is a clock/,
    'const D = Date': /Date is a clock/,
    'Math.random()': /Math\.random/,
    "Math['random']()": /Math only as/,
    'Math?.random()': /Math only as/,
    'const { random } = Math': /Math only as/,
    'const M = Math': /Math only as/,
    'f(Math)': /Math only as/,
    'performance.now()': /performance is a clock/,
    'globalThis.Date.now()': /globalThis/,
    "globalThis['Date']": /globalThis/,
    'Reflect.get(x, y)': /Reflect/,
    "new Function('return 1')": /Function/,
    "Function('return this')()": /Function/,
    "(() => 1).constructor('return this')()": /constructor/,
    "f['constructor']('return this')": /constructor/,
    "eval('1')": /eval/,
    'setTimeout(f, 1)': /setTimeout/,
    'setInterval(f, 1)': /setInterval/,
    'setImmediate(f)': /setImmediate/,
    'queueMicrotask(f)': /queueMicrotask/,
    'process.hrtime()': /process belongs to Node/,
    "process['env']": /process belongs to Node/,
    'Buffer.alloc(1)': /Buffer/,
    'new TextEncoder()': /TextEncoder/,
    'new Intl.Collator()': /Intl/,
    'a.localeCompare(b)': /locale/,
    'a.toLocaleLowerCase()': /locale/,
    'new WeakRef(x)': /WeakRef/,
    'new FinalizationRegistry(f)': /FinalizationRegistry/,
    'Atomics.wait(a, 0, 0)': /Atomics/,
    'D\\u0061te.now()': /escaped identifier/,
    'import.meta.url': /import\.meta/,
    'declare const setTimeout: (f: () => void, ms: number) => void': /declare const/,
    'declare let x: number': /declare let/,
    'declare var x: number': /declare var/,
    'declare function setTimeout(): void': /declare function/,
    'declare global { }': /declare global/,
    "declare module 'x' { }": /declare module/,
    '/// <reference types="node" />': /reference/,
    'const s = `${Date.now()}`': /Date is a clock/,
  };
  for (const [source, pattern] of Object.entries(cases)) refused('src/raft/x.ts', `export function f() {\n${source}\n}`, pattern);
  accepted('src/os/x.ts', 'setTimeout(f, Date.now() + Math.random());');
  accepted('src/raft/x.test.ts', 'const b = Buffer.from([Math.random()]);');
  accepted('src/raft/x.ts', "const s = 'Date.now()'; // Date\nx.process(); Math.max(1, 2);\nclass A { declare readonly x: number }");
});

test('a room that stores dates may name the type and build one from a number, not ask for the time', () => {
  accepted('src/db/x.ts', 'export function f(v: Date | number): unknown {\n  return v instanceof Date ? v.getTime() : new Date(v);\n}');
  for (const source of ['Date.now()', 'new Date()', 'new Date(...[])', 'const D = Date', 'Date()']) refused('src/db/x.ts', source, /Date is a clock/);
});

test('switched-off checks, barrels, lone tests and export * are refused', () => {
  refused('src/os/x.ts', '// @ts-ign' + 'ore\nf();', /switches a check off/);
  refused('src/os/x.ts', '// biome-ign' + 'ore lint/x: y\nf();', /switches a check off/);
  refused('src/os/index.ts', 'f();', /barrels/);
  refused('src/os/x.ts', "export * from './y.js';", /export \*/);
  refused('src/os/x.test.ts', "test.only('x', () => {});", /silences/);
});

test('compiled files beside the sources are refused', () => {
  const paths = ['src/os/x.ts', 'src/os/x.js', 'src/os/x.d.ts', 'src/os/x.js.map', 'src/os/tsconfig.json', 'sim/seeds.md'];
  assert.deepEqual(
    findCompiled(paths).map((p) => p.path),
    ['src/os/x.js', 'src/os/x.d.ts', 'src/os/x.js.map'],
  );
});

test('import cycles are found, through three files and through one', () => {
  const edges = new Map([
    ['a', ['b']],
    ['b', ['c']],
    ['c', ['a', 'd']],
    ['d', ['d']],
  ]);
  assert.deepEqual(findCycles(edges), [
    ['a', 'b', 'c', 'a'],
    ['d', 'd'],
  ]);
  assert.deepEqual(
    findCycles(
      new Map([
        ['a', ['b', 'c']],
        ['b', ['c']],
        ['c', []],
      ]),
    ),
    [],
  );
});

test('functions are measured by name: declarations, methods, arrows, with return types', () => {
  const source = [
    'export function one<T extends { a: 1 }>(x: T): { a: number } {',
    '  return x;',
    '}',
    'class A {',
    '  two(x = () => 1): asserts x is string {',
    '    if (x) {',
    '      y();',
    '    }',
    '  }',
    '}',
    'const three = async (a: number): Promise<void> => {',
    '};',
    'const four = x => {',
    '  const o = cond ? f(x) : { a: 1 };',
    '};',
  ].join('\n');
  assert.deepEqual(
    findFunctions(lex(source).tokens).map((f) => [f.name, f.lines]),
    [
      ['one', 3],
      ['two', 5],
      ['three', 2],
      ['four', 3],
    ],
  );
});

test('the ratchet: limits hold, exceptions do not grow, and stale ones are refused', () => {
  const file = (lines, functions = []) => ({ lines, functions, test: false });
  const none = { files: {}, functions: {} };
  const messages = (files, ratchet) => compareSizes(new Map(Object.entries(files)), ratchet).problems.map((p) => p.message);
  assert.deepEqual(messages({ a: file(500) }, none), []);
  assert.match(messages({ a: file(501) }, none)[0] ?? '', /501 lines/);
  const listed = { files: { a: { lines: 600, why: 'x' } }, functions: { 'a#f': { lines: 90, why: 'x' } } };
  const long = (lines) => [{ name: 'f', line: 1, lines }];
  assert.deepEqual(messages({ a: file(600, long(90)) }, listed), []);
  assert.match(messages({ a: file(601, long(90)) }, listed)[0] ?? '', /at most 600/);
  assert.match(messages({ a: file(600, long(91)) }, listed)[0] ?? '', /at most 90/);
  assert.match(messages({ a: file(10, long(71)) }, none)[0] ?? '', /f has 71 lines/);
  assert.match(messages({}, listed)[0] ?? '', /no longer exists/);
  const lowered = tighten(new Map(Object.entries({ a: file(550, long(60)) })), listed);
  assert.deepEqual(lowered, { files: { a: { lines: 550, why: 'x' } }, functions: {} });
});

test('traces of a machine or a registry are refused', () => {
  const one = (path, text) => findTraces(path, text).length;
  assert.equal(one('a.md', 'see /wor' + 'k/main/x'), 1);
  assert.equal(one('a.md', 'in /hom' + 'e/someone/x'), 1);
  assert.equal(one('a.md', 'https://registry.npm' + 'js.org/x'), 1);
  assert.equal(one('package-lock.json', '  "resolved": "x"\n  "resolved": "y"'), 1);
  assert.equal(one('a.md', 'the framework and the homework'), 0);
});

// A tree with one small file in every room, its configs from the same generator as the real ones.
function plantedTree(t, planted) {
  const root = mkdtempSync(join(tmpdir(), 'starmesh-fences-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const write = (path, text) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  for (const name of ['package.json', 'tsconfig.base.json']) write(name, readFileSync(join(home, name), 'utf8'));
  for (const r of rooms) write(`src/${r.name}/x.ts`, 'export const x: number = 1;\n');
  for (const [path, text] of Object.entries(planted)) write(path, text);
  symlinkSync(join(home, 'node_modules'), join(root, 'node_modules'), 'junction');
  writeConfigs(root);
  return root;
}

// Forced: a file planted within the same tick of the file system's clock would count as built.
function compile(root, project) {
  const result = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', project, '--force', '--pretty', 'false'], {
    cwd: root,
    encoding: 'utf8',
  });
  return { status: result.status, out: result.stdout + result.stderr };
}

test('TypeScript refuses another room, timers and Node in the room raft', (t) => {
  const cases = [
    ["import { x } from '#db/x.js';\nexport const y: number = x;\n", /TS6059|TS6307/],
    ["import type { x } from '#db/x.js';\nexport type Y = typeof x;\n", /TS6059|TS6307/],
    ['setTimeout(() => {}, 1);\n', /TS2304/],
    ["import { readFileSync } from 'node:fs';\nexport const y: unknown = readFileSync;\n", /TS2307|TS2591/],
    ['process.exit();\n', /TS2591|TS2304|TS2580/],
  ];
  const root = plantedTree(t, {});
  assert.equal(compile(root, 'src/raft').status, 0, 'the tree without a violation compiles');
  for (const [source, code] of cases) {
    writeFileSync(join(root, 'src/raft/planted.ts'), source);
    const { status, out } = compile(root, 'src/raft');
    assert.notEqual(status, 0, `compiled: ${source}`);
    assert.match(out, code);
  }
});

test('generated configs: a changed one is noticed and mended; so is the table in ARCHITECTURE.md', (t) => {
  const root = plantedTree(t, { 'ARCHITECTURE.md': '# A\n', 'biome.json': '{ "linter": {} }\n' });
  assert.deepEqual(differences(root), []);
  writeFileSync(join(root, 'src/raft/tsconfig.json'), readFileSync(join(root, 'src/raft/tsconfig.json'), 'utf8').replace('../base', '../db'));
  writeFileSync(join(root, 'ARCHITECTURE.md'), `# A\n\n${expectedRoomTable().replace('| `raft` |', '| `graft` |')}\n`);
  writeFileSync(join(root, 'biome.json'), '{ "linter": {}, "overrides": [] }\n');
  assert.deepEqual(differences(root).sort(), ['ARCHITECTURE.md', 'biome.json', 'src/raft/tsconfig.json']);
  writeConfigs(root);
  assert.deepEqual(differences(root), []);
  assert.ok(expectedConfigs(root).has('src/raft/tsconfig.json'));
});

test('compiled files without a source are removed, the others stay', (t) => {
  const root = plantedTree(t, {
    'dist/raft/x.js': '',
    'dist/raft/x.d.ts': '',
    'dist/raft/.tsbuildinfo': '',
    'dist/raft/gone.test.js': '',
    'dist/raft/gone.test.js.map': '',
    'dist/lost/y.js': '',
  });
  assert.deepEqual(removeStale(root).sort(), ['dist/lost/y.js', 'dist/raft/gone.test.js', 'dist/raft/gone.test.js.map']);
});
