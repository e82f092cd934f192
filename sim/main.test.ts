import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('main.js', import.meta.url));

test('what the command line does not know is answered in one sentence', () => {
  for (const args of [['--foo'], ['word'], ['--seed'], ['--scope', 'nothing'], ['--seconds', 'few'], ['--mutant', 'nothing']]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
    assert.equal(status, 2, args.join(' '));
    assert.equal(stdout, '');
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
  }
  assert.match(spawnSync(process.execPath, [main, '--foo'], { encoding: 'utf8' }).stderr, /'--foo'; usage: node dist/);
});
