// Every check and test, one after the other: fences, Biome, build, then Node's test runner over all
// rooms, suites and tools. The last line counts what ran: each of the first three steps is one.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.mjs';
import { annexes, rooms } from './rooms.mjs';

/** Two files at a time, whatever the machine: what passes here passes on a small one. */
const filesAtOnce = 2;
/** A hung test fails instead of hanging the run. */
const testMsMax = 180_000;

/**
 * @param {string} root the checkout
 * @param {string[]} [only] parts of paths: runs only the test files that contain one of them
 * @returns {Promise<number>} exit status
 */
export async function check(root, only = []) {
  let passed = 0;
  let failed = 0;
  const step = (name, run) => {
    console.log(`\n== ${name}`);
    const ok = run();
    if (ok) passed++;
    else failed++;
    return ok;
  };
  const node = (...args) => spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0;
  step('fences', () => node('tools/check-fences.mjs'));
  step('format and lint', () => node('node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings'));
  if (step('build', () => builds(root))) {
    console.log('\n== tests');
    const tests = await runTests(root, only);
    passed += tests.passed;
    failed += tests.failed;
  } else console.log('The tests did not run: there is nothing built that they could test.');
  console.log(`\n${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

function builds(root) {
  try {
    build(root);
    return true;
  } catch (error) {
    console.error(error.message);
    return false;
  }
}

/** Compiled tests of rooms and annexes, and the tests of the tools. */
export function testFiles(root) {
  const compiled = [...rooms, ...annexes].flatMap((r) => list(root, `dist/${r.name}`, '.test.js'));
  return [...list(root, 'tools', '.test.mjs'), ...compiled];
}

function list(root, dir, ending) {
  if (!existsSync(join(root, dir))) return [];
  return readdirSync(join(root, dir), { recursive: true })
    .filter((f) => f.endsWith(ending))
    .map((f) => `${dir}/${f.replaceAll('\\', '/')}`)
    .sort();
}

function runTests(root, only) {
  const files = testFiles(root).filter((f) => only.length === 0 || only.some((part) => f.includes(part)));
  if (files.length === 0) {
    console.error('No test file matches.');
    return Promise.resolve({ passed: 0, failed: 1 });
  }
  const args = [
    '--test',
    `--test-concurrency=${filesAtOnce}`,
    `--test-timeout=${testMsMax}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    ...files,
  ];
  return new Promise((resolve) => {
    const runner = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    let tail = '';
    runner.stdout.on('data', (chunk) => {
      process.stdout.write(chunk);
      tail = (tail + chunk).slice(-8192);
    });
    runner.on('close', (status) => resolve(countsOf(tail, status)));
  });
}

// The runner's own closing lines ("ℹ pass 12"). A runner that died without them counts as one failure.
function countsOf(tail, status) {
  const number = (word) => Number(new RegExp(`^\\W*${word} (\\d+)`, 'm').exec(tail.slice(tail.lastIndexOf('tests ') - 20))?.[1] ?? 0);
  const passed = number('pass');
  const failed = number('fail') + number('cancelled');
  return { passed, failed: failed === 0 && status !== 0 ? 1 : failed };
}
