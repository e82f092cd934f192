// The example in docs/database.md does what the document says: taken out of it, checked by the
// compiler against the package's published types, run as a program of its own that has the package
// in its node_modules.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePorts } from '../cluster/nodes.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const linesMax = 40;
const run = promisify(execFile);

/** The code block after a comment. */
function block(text: string, name: string): string {
  const found = new RegExp(`<!-- ${name} -->\\n\`\`\`[a-z]+\\n([\\s\\S]*?)\`\`\``).exec(text)?.[1];
  assert.ok(found !== undefined, `docs/database.md has a block after <!-- ${name} -->`);
  return found;
}

test('the example of the document compiles, runs, and prints what the document says', async () => {
  const text = readFileSync(join(root, 'docs/database.md'), 'utf8');
  const example = block(text, 'example: three nodes');
  assert.ok(example.trimEnd().split('\n').length < linesMax, 'the example is short');
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-example-'));
  try {
    mkdirSync(join(dir, 'node_modules'));
    symlinkSync(root, join(dir, 'node_modules/starmesh'), 'dir');
    symlinkSync(join(root, 'node_modules/@types'), join(dir, 'node_modules/@types'), 'dir');
    // Ports of this test alone: others may run beside it.
    const base = '24_370 + i';
    assert.ok(example.includes(base));
    const ports = await freePorts(3);
    writeFileSync(join(dir, 'package.json'), '{ "type": "module" }');
    writeFileSync(join(dir, 'example.ts'), example.replace(base, `[0, ${ports.join(', ')}][i]!`));
    const options = { strict: true, target: 'es2023', module: 'nodenext', types: ['node'], noEmitOnError: true, rootDir: '.' };
    writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['example.ts'] }));
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    await run(process.execPath, [compiler, '-p', dir]).catch((error: { stdout: string }) => assert.fail(error.stdout));
    const { stdout, stderr } = await run(process.execPath, ['example.js'], { cwd: dir, env: { ...process.env, TMPDIR: dir }, timeout: 120_000 });
    assert.equal(stdout, block(text, 'output: three nodes'));
    assert.equal(stderr, '');
  } finally {
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  }
});
