// Which normative statement of MQTT is kept where: docs/mqtt-coverage.md, made from tools/mqtt-statements.txt
// and the citations in the sources (`[MQTT-3.3.4-7]`; those of 3.1.1 alone: `[MQTT-3.1.2-22] of 3.1.1`).
//   node tools/mqtt-coverage.mjs           checks, as `npm run check` does
//   node tools/mqtt-coverage.mjs --write   writes the document
// It fails when the document is stale, when a citation names no statement, and when a statement that binds
// a server is cited by no code or no test and has no reason beside it.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const versions = ['5.0', '3.1.1'];
const documentPath = 'docs/mqtt-coverage.md';
const statementLine = /^(5\.0|3\.1\.1) ([0-9.]+-[0-9]+) (server|client|both) (?:= ([0-9.]+-[0-9]+) )?(.+?)(?: ! (.+))?$/;
const citation = /\[MQTT-([0-9.]+-[0-9]+)\]( of 3\.1\.1)?/g;
const testStart = /^\s*(?:await )?(?:t\.)?test\(\s*(?:'((?:[^'\\]|\\.)*)'|`((?:[^`\\]|\\.)*)`|"((?:[^"\\]|\\.)*)")/;

/** @returns {{version: string, id: string, binds: string, same: string | undefined, words: string, reason: string | undefined}[]} */
export function parseStatements(text) {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => {
    const found = statementLine.exec(line);
    if (found === null) throw new Error(`mqtt-statements.txt: not a statement: ${line}`);
    const [, version, id, binds, same, words, reason] = found;
    return { version, id, binds, same, words, reason };
  });
}

/** Citations of one file: key (`5.0 3.1.2-4`) and, in a test file, the name of the test. */
export function citationsOf(text, isTest) {
  const lines = text.split('\n');
  const found = [];
  let name = '';
  for (const [i, line] of lines.entries()) {
    const start = testStart.exec(line);
    if (start !== null) name = start[1] ?? start[2] ?? start[3];
    else if (line === '});') name = '';
    for (const [, id, old] of line.matchAll(citation)) {
      const test = isTest ? (name === '' ? nextTest(lines, i) : name) : undefined;
      found.push({ key: `${old === undefined ? '5.0' : '3.1.1'} ${id}`, test });
    }
  }
  return found;
}

/** A comment, or a table, right above a test is about it. */
function nextTest(lines, from) {
  for (let i = from; i < lines.length && lines[i] !== ''; i++) {
    const start = testStart.exec(lines[i]);
    if (start !== null) return start[1] ?? start[2] ?? start[3];
  }
  return '';
}

function sourceFiles(root) {
  const under = (dir) => readdirSync(join(root, dir), { recursive: true }).map((f) => `${dir}/${f.replaceAll('\\', '/')}`);
  return ['src', 'sim', 'test']
    .flatMap(under)
    .filter((f) => f.endsWith('.ts'))
    .sort();
}

/** @returns {{code: Map<string, Set<string>>, tests: Map<string, Set<string>>}} files and tests by key */
function collect(root) {
  const code = new Map();
  const tests = new Map();
  const add = (map, key, value) => map.set(key, (map.get(key) ?? new Set()).add(value));
  for (const file of sourceFiles(root)) {
    const isTest = file.endsWith('.test.ts');
    if (!isTest && !file.startsWith('src/')) continue;
    for (const { key, test } of citationsOf(readFileSync(join(root, file), 'utf8'), isTest)) {
      if (isTest) add(tests, key, test === '' ? `\`${file}\`` : `\`${file}\`: ${test}`);
      else add(code, key, file.slice('src/'.length));
    }
  }
  return { code, tests };
}

/** @returns {{text: string, problems: string[], counts: string[]}} */
export function makeReport(statements, { code, tests }) {
  const problems = [];
  const known = new Set(statements.map((s) => `${s.version} ${s.id}`));
  for (const map of [code, tests]) {
    for (const [key, where] of map)
      if (!known.has(key)) problems.push(`${[...where].join(', ')} cites [MQTT-${key.split(' ')[1]}], which MQTT ${key.split(' ')[0]} does not have`);
  }
  const rows = statements.map((s) => {
    const own = `${s.version} ${s.id}`;
    const places = (map) => map.get(own) ?? (s.same === undefined ? undefined : map.get(`5.0 ${s.same}`)) ?? new Set();
    return { ...s, code: [...places(code)], tests: [...places(tests)] };
  });
  for (const r of rows) {
    if (r.same !== undefined && !known.has(`5.0 ${r.same}`))
      problems.push(`mqtt-statements.txt: ${r.version} ${r.id} names ${r.same}, which MQTT 5.0 does not have`);
    if (r.binds === 'client' || r.reason !== undefined) continue;
    if (r.code.length === 0) problems.push(`MQTT ${r.version} [MQTT-${r.id}] (${r.words}) is cited by no code`);
    if (r.tests.length === 0) problems.push(`MQTT ${r.version} [MQTT-${r.id}] (${r.words}) is named by no test`);
  }
  const counts = versions.map((version) =>
    summary(
      version,
      rows.filter((r) => r.version === version),
    ),
  );
  return { text: page(rows, counts), problems, counts };
}

function summary(version, rows) {
  const ours = rows.filter((r) => r.binds !== 'client');
  const done = ours.filter((r) => r.code.length > 0 && r.tests.length > 0);
  const theirs = rows.filter((r) => r.binds === 'client');
  const checked = theirs.filter((r) => r.code.length > 0);
  const not = ours.filter((r) => r.reason !== undefined);
  return `MQTT ${version}: ${rows.length} statements; ${ours.length} bind a server, of which ${done.length} are cited in code and named by a test and ${not.length} not done or not applicable; ${theirs.length} bind clients only, of which ${checked.length} are checked here`;
}

function page(rows, counts) {
  const out = [
    '# MQTT coverage',
    '',
    '<!-- Made by `node tools/mqtt-coverage.mjs --write` from tools/mqtt-statements.txt and the citations in the sources; do not edit. -->',
    '',
    "Every normative statement of MQTT 5.0 and 3.1.1 by its number, in a few words of our own; the specifications' text counts. Where it is kept: files under `src/` that cite it (`[MQTT-3.3.4-7]`, with `of 3.1.1` where the numbers of that version are meant), and tests that name it. A statement of 3.1.1 that says the same as one of 5.0 is kept where that one is. MQTT 3.1 has no numbered statements; its differences are in `mqtt/connect.ts`, `mqtt/connack.ts` and `mqtt/decoder.ts`, tested with the other two versions.",
    '',
    ...counts.map((c) => `- ${c}.`),
    '',
    '`npm run check` fails when this page is stale or a statement that binds a server has neither code and test nor a reason.',
  ];
  for (const version of versions) {
    const own = rows.filter((r) => r.version === version);
    out.push('', `## MQTT ${version}: statements that bind a server`, '', '| statement | what | code | tests |', '|---|---|---|---|');
    out.push(...own.filter((r) => r.binds !== 'client').map(row));
    out.push(
      '',
      `## MQTT ${version}: statements that bind clients only`,
      '',
      'A server need not do anything about them; where it notices a violation and answers it, code and tests say so.',
      '',
    );
    out.push('| statement | what | code | tests |', '|---|---|---|---|', ...own.filter((r) => r.binds === 'client').map(row));
  }
  return `${out.join('\n')}\n`;
}

function row(r) {
  const cell = (text) => text.replaceAll('|', '\\|');
  const same = r.same === undefined || r.version === '5.0' ? '' : ` (5.0: ${r.same})`;
  const code = r.reason !== undefined && r.code.length === 0 ? `not done: ${r.reason}` : r.code.map((f) => `\`${f}\``).join(' ');
  const tests =
    r.tests.slice(0, testsShown).map(cell).join('<br>') + (r.tests.length > testsShown ? `<br>and ${r.tests.length - testsShown} more` : '');
  return `| ${r.id}${same} | ${cell(r.words)} | ${code} | ${tests} |`;
}

/** More would hide the rest. */
const testsShown = 3;

/** @returns {number} exit status */
function main(root, write) {
  const statements = parseStatements(readFileSync(join(root, 'tools/mqtt-statements.txt'), 'utf8'));
  const { text, problems, counts } = makeReport(statements, collect(root));
  for (const line of counts) console.log(line);
  if (write) writeFileSync(join(root, documentPath), text);
  else {
    let there = '';
    try {
      there = readFileSync(join(root, documentPath), 'utf8');
    } catch {}
    if (there !== text) problems.push(`${documentPath} is stale: run node tools/mqtt-coverage.mjs --write`);
  }
  for (const problem of problems) console.error(problem);
  return problems.length === 0 ? 0 : 1;
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = main(join(dirname(fileURLToPath(import.meta.url)), '..'), process.argv.includes('--write'));
}
