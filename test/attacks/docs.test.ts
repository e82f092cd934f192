// docs/attacks.md says which cases there are: this holds it to the tables. With STARMESH_REWRITE=1 in the
// environment it writes the table of the document instead of checking it.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { allCases } from './all.js';
import { type ClassId, classes } from './classes.js';

const home = new URL('../../../', import.meta.url);
const document = new URL('docs/attacks.md', home);
const casesMin = 160;
const variantsMin = 3;

/** As one cell of a table. */
function cell(text: string): string {
  const shown = JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"');
  return shown.replace(/[\u007f-\u{10ffff}]/gu, (c) => `U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase()}`).replace(/[|<>*_`\\[\]$]/g, '\\$&');
}

function casesOf(id: ClassId): string[] {
  return allCases.filter((c) => c.of === id).map((c) => c.name);
}

function rows(): string {
  const lines = ['| class | cases | passed when |', '|---|---|---|'];
  for (const [id, { title, criterion, because, elsewhere }] of Object.entries(classes)) {
    const names = casesOf(id as ClassId);
    const where = (elsewhere ?? []).map((file) => `[${file}](../${file})`).join(', ');
    const listed = names.length > 0 ? `${names.length}: ${names.map(cell).join(' · ')}` : where !== '' ? `in ${where}` : 'does not apply';
    lines.push(`| ${id} ${title} | ${listed} | ${because ?? criterion} |`);
  }
  return `${lines.join('\n')}\n`;
}

test('every class has its cases, or a reason', () => {
  const once = new Set(allCases.map((c) => `${c.of} ${c.name}`));
  assert.equal(once.size, allCases.length, 'names are unique');
  assert.ok(allCases.length >= casesMin);
  assert.equal(Object.keys(classes).length, 54);
  for (const [id, { because, elsewhere }] of Object.entries(classes)) {
    const count = casesOf(id as ClassId).length;
    if (because !== undefined) assert.equal(count, 0, id);
    else if (elsewhere !== undefined) for (const file of elsewhere) assert.ok(existsSync(new URL(file, home)), file);
    else assert.ok(count >= variantsMin, `${id} has ${count}`);
  }
});

test('docs/attacks.md shows the tables as they are', () => {
  const text = readFileSync(document, 'utf8');
  const at = text.indexOf('| class | cases |');
  const wanted = `${text.slice(0, at)}${rows()}`;
  if (process.env.STARMESH_REWRITE === '1') writeFileSync(document, wanted);
  else assert.equal(text, wanted, 'STARMESH_REWRITE=1 node --test dist/test/attacks/docs.test.js writes it');
});
