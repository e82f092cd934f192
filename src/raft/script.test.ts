// The scripts that other tests are written in: they must notice what is not so.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatMessage, parseMessage, Words } from './test-notation.js';
import { runScript } from './test-script.js';

test('script: what is as it says passes', () => {
  const c = runScript(`
    cluster a b c        # three voters
    a elected
    a proposes x
    settle
    each is term 1 of a commit 2 has x applied x
  `);
  assert.deepEqual(c.leaders(), ['a']);
});

test('script: what is not so fails, and names the line', () => {
  for (const [line, problem] of [
    ['b is leader', /b leader: follower and not leader|leader/],
    ['a is term 2', /line 3.*\n.*a term: 1 and not 2/],
    ['each is leader', /and not leader/],
    ['a sent b timeout-now t1', /did not send/],
    ['a sent 7 append to b', /sent \d of them/],
    ['a sent nothing', /of them/],
    ['a sees b probe', /state of b: replicate and not probe/],
    ['a sees z probe', /sees z: not/],
    ['a sees b replicate match 9', /match of b/],
    ['a told readFailed 1', /did not tell/],
    ['b proposes x', /notLeader and not ok/],
    ['a proposes x -> notLeader', /ok and not notLeader/],
    ['a removes z', /invalid and not ok/],
    ['b syncs', /nothing to write/],
    ['b installs', /offered no copy/],
  ] as const) {
    assert.throws(() => runScript(`cluster a b c\na elected\n${line}`), problem, line);
  }
});

test('script: what is not understood fails', () => {
  for (const line of [
    '',
    'nobody is leader',
    'a dances',
    'a is',
    'a is tall',
    'a is term x',
    'b>a shout t1',
    'b>a vote 1 last 0/0',
    'b>a ack t1',
    'a is leader leader x',
    'settle now',
  ]) {
    const script = `cluster a b c\na elected\n${line}`;
    if (line === '') runScript(script);
    else assert.throws(() => runScript(script), /line 3/, line);
  }
  assert.throws(() => runScript('settle'), /no cluster yet/);
});

test('script: messages in words are the messages', () => {
  for (const words of [
    'vote t3 last 5/2',
    'vote t3 last 5/2 transfer',
    'prevote t3 last 5/2',
    'granted t3',
    'refused t3',
    'pregranted t3',
    'prerefused t3',
    'append t3 after 4/2 commit 3 : 5/2 6/3',
    'append t3 after 4/2 commit 0',
    'ack t3 6',
    'reject t3 6 hint 4/2',
    'beat t3 commit 4 round 2',
    'beat-ack t3 round 2',
    'offer t3 9/2 voters a b learners c',
    'timeout-now t3',
  ]) {
    assert.equal(formatMessage(parseMessage(new Words(words), { voters: [], learners: [] })), words);
  }
});
