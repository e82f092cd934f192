// The deliberate bugs fit the program that is there, and docs/simulation.md has one, or a reason, for each class of bugs.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { patchesOf } from './mutant.js';
import { mutants } from './mutants.js';

const classes = 40;

test('every deliberate bug has a name of its own, and changes places of the program that there are once', () => {
  assert.equal(new Set(mutants.map((m) => m.name)).size, mutants.length);
  const texts = new Map<string, string>();
  for (const m of mutants)
    for (const p of patchesOf(m)) {
      const text = texts.get(p.file) ?? readFileSync(new URL(`../${p.file}`, import.meta.url), 'utf8');
      texts.set(p.file, text);
      assert.equal(text.split(p.find).length - 1, 1, `${m.name}: how often its text occurs in ${p.file}`);
      assert.notEqual(p.find, p.replace, m.name);
    }
});

test('every class of bugs names deliberate bugs that there are, or says why there is none', () => {
  const known = new Set(mutants.map((m) => m.name));
  const doc = readFileSync(new URL('../../docs/simulation.md', import.meta.url), 'utf8');
  const section = doc.slice(doc.indexOf('\n## Classes of bugs\n'), doc.indexOf('\n## What is checked where\n'));
  const rows = section.split('\n').flatMap((line) => {
    const cells = line.split('|').map((cell) => cell.trim());
    return /^\d+$/.test(cells[1] ?? '') ? [cells] : [];
  });
  assert.deepEqual(
    rows.map((cells) => Number(cells[1])),
    Array.from({ length: classes }, (_, i) => i + 1),
  );
  for (const [, number, , named = '', why = ''] of rows) {
    if (named === '–') {
      assert.ok(why.length > 0, `class ${number}: why not`);
      continue;
    }
    for (const part of named.split(';')) {
      const [scope, ...names] = part.trim().split(/,? /);
      for (const name of names) {
        const full = scope === 'db' ? `db-${name}` : name;
        assert.ok(known.has(full), `class ${number}: ${full}`);
      }
    }
  }
});
