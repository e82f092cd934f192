// The examples in docs/database.md and docs/embedding.md do what the documents say: taken out of them, checked by the
// compiler against the package's published types, run as a program of its own that has the package
// in its node_modules.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
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
  assert.ok(found !== undefined, `the document has a block after <!-- ${name} -->`);
  return found;
}

/** A package of its own that has this one, removed afterwards. */
async function inPackage(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-example-'));
  try {
    mkdirSync(join(dir, 'node_modules'));
    symlinkSync(root, join(dir, 'node_modules/starmesh'), 'dir');
    symlinkSync(join(root, 'node_modules/mqtt'), join(dir, 'node_modules/mqtt'), 'dir');
    symlinkSync(join(root, 'node_modules/@types'), join(dir, 'node_modules/@types'), 'dir');
    writeFileSync(join(dir, 'package.json'), '{ "type": "module" }');
    await use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** What the compiler says of the program, '' for nothing. */
async function compile(dir: string, text: string): Promise<string> {
  writeFileSync(join(dir, 'example.ts'), text);
  const options = {
    strict: true,
    exactOptionalPropertyTypes: true,
    target: 'es2023',
    module: 'nodenext',
    types: ['node'],
    noEmitOnError: true,
    rootDir: '.',
  };
  writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['example.ts'] }));
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  return run(process.execPath, [compiler, '-p', dir]).then(
    () => '',
    (error: { readonly stdout: string }) => error.stdout,
  );
}

test('the example of the document compiles, runs, and prints what the document says', () =>
  inPackage(async (dir) => {
    const text = readFileSync(join(root, 'docs/database.md'), 'utf8');
    const example = block(text, 'example: three nodes');
    assert.ok(example.trimEnd().split('\n').length < linesMax, 'the example is short');
    // Ports of this test alone: others may run beside it.
    const base = '24_370 + i';
    assert.ok(example.includes(base));
    const ports = await freePorts(3);
    assert.equal(await compile(dir, example.replace(base, `[0, ${ports.join(', ')}][i]!`)), '');
    const { stdout, stderr } = await run(process.execPath, ['example.js'], { cwd: dir, env: { ...process.env, TMPDIR: dir }, timeout: 120_000 });
    assert.equal(stdout, block(text, 'output: three nodes'));
    assert.equal(stderr, '');
  }));

test('the example of embedding is short, compiles, runs, and prints what the document says', () =>
  inPackage(async (dir) => {
    const text = readFileSync(join(root, 'docs/embedding.md'), 'utf8');
    const example = block(text, 'example: embedding');
    assert.ok(example.trimEnd().split('\n').length < 30);
    assert.equal(await compile(dir, example), '');
    const { stdout, stderr } = await run(process.execPath, ['example.js'], { cwd: dir, env: { ...process.env, TMPDIR: dir }, timeout: 120_000 });
    assert.equal(stderr, '');
    assert.equal(stdout, block(text, 'output: embedding'));
    assert.deepEqual(
      readdirSync(dir).filter((name) => name.startsWith('starmesh-')),
      [],
      'nothing of the broker is left',
    );
    const aedes = /## Programs written for Aedes[\s\S]*?```ts\n([\s\S]*?)```/.exec(text)?.[1];
    assert.equal(await compile(dir, aedes ?? 'no snippet'), '');
  }));

const declared = `
import { defineShard, openDatabase } from 'starmesh';
const shop = defineShard('shop');
const stock = shop.table<readonly [string, number], { left: number }>({ id: 1, name: 'stock' });
const take = shop.command('take', (tx, n: number) => tx.get(stock, ['apple', n])?.left);
const db = await openDatabase({ name: 'core1', dataDir: './data', shards: [shop] });
`;

const mistakes: readonly string[] = [
  "await db.put(stock, 'apple', { left: 1 });",
  "await db.put(stock, ['apple', 1], { right: 1 });",
  "const n: number = db.get(stock, ['apple', 1]);",
  "for (const [[name]] of db.range(stock, { start: ['apple'] })) console.log(name);",
  "await db.command(take, 'one');",
  'const left: string = await db.command(take, 1);',
  "await db.readonly(shop, (view) => view.put(stock, ['apple', 1], { left: 1 }));",
  'defineShard("x").table<{ a: 1 }, number>({ id: 1, name: "t" });',
];

test('the compiler accepts what is right and refuses every mistake in keys, values, inputs and results', () =>
  inPackage(async (dir) => {
    const right = [
      "await db.put(stock, ['apple', 1], { left: 1 });",
      "const left: number | undefined = db.get(stock, ['apple', 1])?.left ?? (await db.command(take, 1));",
      "for await (const e of db.subscribe(stock)) if (e.kind === 'changes') for (const c of e.changes) if (c.kind === 'put') console.log(c.key[1] + c.value.left, left);",
    ];
    assert.equal(await compile(dir, declared + right.join('\n')), '');
    const said = await compile(dir, declared + mistakes.join('\n'));
    const first = declared.split('\n').length;
    for (const [i, text] of mistakes.entries()) assert.match(said, new RegExp(`example\\.ts\\(${first + i},`), `accepted: ${text}`);
  }));

test('the snippets of the README compile', () =>
  inPackage(async (dir) => {
    for (const section of ['The database alone', 'The broker inside your program']) {
      const snippet = new RegExp(`## ${section}[\\s\\S]*?\`\`\`ts\\n([\\s\\S]*?)\`\`\``).exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[1];
      assert.ok(snippet !== undefined, `the README has the snippet of ${section}`);
      assert.equal(await compile(dir, snippet), '');
    }
  }));
