// Every check and test, one after the other: fences, Biome, coverage of MQTT, build, then Node's test runner
// over all rooms, suites and tools. The last line counts what ran: each of the first four steps is one.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from './build.mjs';
import { annexes, rooms } from './rooms.mjs';

const home = join(dirname(fileURLToPath(import.meta.url)), '..');
/** Two files at a time, whatever the machine: what passes here passes on a small one. */
const filesAtOnce = 2;
/** A test that hangs, or a file with one, fails instead of hanging the run. Far above what the longest file takes on a slow machine. */
const testMsMax = 900_000;

/**
 * @param {string} root the checkout
 * @param {string[]} [only] parts of paths: runs only the test files that contain one of them
 * @returns {number} exit status
 */
export function check(root, only = []) {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
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
  step('MQTT coverage', () => node('tools/mqtt-coverage.mjs'));
  if (step('build', () => builds(root))) {
    console.log('\n== tests');
    const tests = runTests(root, only);
    passed += tests.passed;
    failed += tests.failed;
    skipped = tests.skipped;
  } else console.log('The tests did not run: there is nothing built that they could test.');
  if (skipped > 0) console.log(`\n${skipped} skipped; each says above why`);
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
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-check-'));
  try {
    return runFiles(root, files, join(dir, 'counts.json'));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Runs test files with Node's runner, whose output is shown; what it counted is given back. */
export function runFiles(root, files, countsPath) {
  const reporters = [
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${pathToFileURL(join(home, 'tools/count-reporter.mjs')).href}`,
    `--test-reporter-destination=${countsPath}`,
  ];
  const args = ['--test', `--test-concurrency=${filesAtOnce}`, `--test-timeout=${testMsMax}`, ...reporters, ...files];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  const counts = existsSync(countsPath) ? JSON.parse(readFileSync(countsPath, 'utf8') || '{}') : {};
  const failed = (counts.fail ?? 0) + (counts.cancelled ?? 0);
  // A runner that died, or says nothing of what it holds against us, is one failure.
  return { passed: counts.pass ?? 0, failed: failed === 0 && status !== 0 ? 1 : failed, skipped: counts.skipped ?? 0 };
}
