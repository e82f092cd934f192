// docs/raft-scenarios.md says which test stands for which named situation: every test it names must exist.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const testStart = /^\s*test\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")/gm;

/** Names of all tests under `src`. */
function testNames() {
  const files = readdirSync(join(root, 'src'), { recursive: true }).filter((f) => f.endsWith('.test.ts'));
  const texts = files.map((f) => readFileSync(join(root, 'src', f), 'utf8'));
  return new Set(texts.flatMap((text) => [...text.matchAll(testStart)].map((m) => m[1] ?? m[2])));
}

/** @returns {{sections: {counted: number, rows: {name: string, cell: string}[]}[], problems: string[]}} */
function check(document, names) {
  const sections = document
    .split(/^## /m)
    .slice(1)
    .map((text) => ({
      counted: Number(/\((\d+)\)/.exec(text)?.[1]),
      rows: [...text.matchAll(/^\| (\S+) \| (.+) \|$/gm)].map(([, name, cell]) => ({ name, cell })).filter((r) => r.name !== 'name'),
    }));
  const problems = [];
  for (const { counted, rows } of sections) {
    if (rows.length !== counted || new Set(rows.map((r) => r.name)).size !== counted)
      problems.push(`${counted} names announced, ${rows.length} listed`);
    for (const { name, cell } of rows) {
      const named = [...cell.matchAll(/`([^`]+)`/g)].map((m) => m[1]);
      if (!cell.startsWith('– ') && named.length === 0) problems.push(`${name} has neither a test nor a reason`);
      for (const one of named) if (!names.has(one)) problems.push(`${name}: there is no test "${one}"`);
    }
  }
  return { sections, problems };
}

test('every test that docs/raft-scenarios.md names exists, and its numbers are right', () => {
  const document = readFileSync(join(root, 'docs/raft-scenarios.md'), 'utf8');
  const { sections, problems } = check(document, testNames());
  assert.deepEqual(problems, []);
  const rows = sections.flatMap((s) => s.rows);
  const reasons = rows.filter((r) => r.cell.startsWith('– ')).length;
  assert.ok(rows.length > 0);
  assert.ok(document.includes(`${rows.length} names: ${rows.length - reasons} have tests, ${reasons} do not apply.`));
});

test('a test that is gone, a name left out and a row without a test are noticed', () => {
  const document =
    '# x\n\n## a (3)\n\n| name | tests |\n|---|---|\n| A | `one` |\n| B | `two`<br>`one` |\n| C | nothing |\n\n## b (2)\n\n| D | – a reason, see `three` |\n';
  assert.deepEqual(check(document, new Set(['one'])).problems, [
    'B: there is no test "two"',
    'C has neither a test nor a reason',
    '2 names announced, 1 listed',
    'D: there is no test "three"',
  ]);
});
