// The check command must notice what it is there to notice: failing, hanging and crashing tests.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { explain, Problem } from './problem.mjs';

const tools = dirname(fileURLToPath(import.meta.url));

// In a process of its own: a test runner inside a test would report to the outer one.
function count(t, sources) {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-check-test-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const files = sources.map((source, i) => {
    const file = join(dir, `${i}.test.mjs`);
    writeFileSync(file, `import { test } from 'node:test';\n${source}\n`);
    return file;
  });
  const call = `import { runFiles } from ${JSON.stringify(pathToFileURL(join(tools, 'check.mjs')).href)};
console.log('COUNTS' + JSON.stringify(runFiles(${JSON.stringify(dir)}, ${JSON.stringify(files)}, ${JSON.stringify(join(dir, 'counts.json'))})));`;
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', call], { env, encoding: 'utf8' });
  assert.match(stdout, /ℹ pass \d+/, "the runner's own closing lines are shown");
  return JSON.parse(/COUNTS(.*)/.exec(stdout)[1]);
}

test('passing, failing and skipped tests are counted', (t) => {
  const sources = ["test('a', () => {});\ntest('b', { skip: 'no such machine' }, () => {});", "test('c', () => { throw new Error('x'); });"];
  assert.deepEqual(count(t, sources), { passed: 1, failed: 1, skipped: 1 });
});

test('a file that crashes, and one that ends the process, fail', (t) => {
  assert.equal(count(t, ["throw new Error('x');"]).failed, 1);
  assert.equal(count(t, ["test('a', () => {});\nprocess.exit(3);"]).failed > 0, true);
});

test('errors of the file system that a user can mend become one sentence', () => {
  const error = Object.assign(new Error('x'), { code: 'EACCES', path: '/somewhere' });
  assert.ok(explain(error, 'Starmesh compiles') instanceof Problem);
  assert.match(explain(error, 'Starmesh compiles').message, /^Starmesh compiles \(\/somewhere\): no permission to write there; [^\n]+\.$/);
  assert.equal(explain(Object.assign(new Error('y'), { code: 'EWEIRD' }), '').message, 'y');
});
