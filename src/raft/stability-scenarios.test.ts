// Keeping a leader, and losing one, as scripts: stickiness, CheckQuorum, PreVote together with them, learners.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('what roles follow one another', () => {
  const roles = (script: string): string[] =>
    runScript(`cluster a b c\n${script}`)
      .node('a')
      .take('role')
      .map((e) => e.role);
  assert.deepEqual(roles('a elected'), ['preCandidate', 'candidate', 'leader']);
  assert.deepEqual(roles('a campaigns\nb>a prerefused t0\nc>a prerefused t0'), ['preCandidate', 'follower']);
  assert.deepEqual(roles('a campaigns\na campaigns'), ['preCandidate', 'preCandidate']);
  assert.deepEqual(roles('a elected\na campaigns'), ['preCandidate', 'candidate', 'leader']);
  assert.deepEqual(roles('a elected\nb>a beat t2 round 1'), ['preCandidate', 'candidate', 'leader', 'follower']);
  assert.throws(() => runScript('cluster a b c\na elected\nb>a beat t1 round 1'), /two leaders in one term/);
});

test('a leader that is told to campaign goes on leading', () => {
  runScript(`
    cluster a b c
    a elected
    forget
    a campaigns
    a is leader term 1
    a sent nothing
  `);
});

test('CheckQuorum: a leader stays while a majority answers it', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    advance 9000
    a is leader term 1
  `);
});

test('CheckQuorum: a leader that nobody answers steps down in its term', () => {
  runScript(`
    cluster a b c
    a elected
    forget
    lose all to a
    advance 2000
    a is leader
    advance 200
    a is follower term 1 of -
    a told role follower t1 of -
  `);
});

test('CheckQuorum: what is heard just before the end of the interval counts', () => {
  runScript(`
    cluster a b c
    a elected
    isolate a
    at 1900
    b>a beat-ack t1 round 1
    at 3800
    a ticks
    a is leader
    at 3901
    a ticks
    a is follower
  `);
});

test('CheckQuorum: answers of an old term, or of nobody’s member, do not keep a leader', () => {
  runScript(`
    cluster a b c
    disk a term 4
    a elected
    isolate a
    at 1900
    b>a beat-ack t4 round 1
    z>a beat-ack t5 round 1
    at 2001
    a ticks
    a is follower term 5
  `);
});

test('CheckQuorum: a member added a moment ago has an interval of its own', () => {
  runScript(`
    cluster a
    a elected
    at 1999
    a adds b
    settle
    a promotes b
    settle
    at 2001
    a ticks
    a is leader
    at 3999
    a ticks
    a is leader
    at 4000
    a ticks
    a is follower
  `);
});

test('a leader of an older term is superseded once its followers may vote again', () => {
  runScript(`
    cluster a b c
    a elected
    cut a>b
    cut a>c
    c campaigns
    settle
    c is pre
    a is leader term 1
    advance 1000          # b has not heard of a for a minimum timeout
    c campaigns
    settle
    a is follower term 2
    c is leader term 2
  `);
});

test('with a leader alive an election can be won only by a transfer', () => {
  runScript(`
    cluster a b c
    a elected
    forget
    c>b vote t2 last 1/1
    b sent nothing
    b is term 1
    c>b vote t2 last 1/1 transfer
    b is term 2 vote c
    b syncs
    b sent c granted t2
  `);
});

test('a follower whose leader fell silent grants after the minimum timeout, not before', () => {
  runScript(`
    cluster a b c
    a elected
    a crashes
    at 999
    forget
    c>b prevote t2 last 1/1
    b sent nothing
    at 1000
    c>b prevote t2 last 1/1
    b sent c pregranted t2
  `);
});

test('a candidate with a higher term is freed: the leader learns the term and a new one is elected', () => {
  runScript(`
    cluster a b c
    a elected
    disk c term 7 log 1
    advance 160
    a is follower term 7
    c is follower term 7 of -
    advance 2000
    each is term 8
  `);
});

test('a follower whose heartbeats were delayed does not end the term of its leader', () => {
  runScript(`
    cluster a b c
    a elected
    lose beat to c
    advance 3000
    c is pre term 1
    a is leader term 1
    lose nothing
    advance 200
    c is follower term 1 of a
    a is leader term 1
  `);
});

test('a disturber of an earlier term in candidacy is answered by nobody, and told the term by none', () => {
  runScript(`
    cluster a b c
    a elected
    forget
    c>a vote t2 last 1/1
    c>b vote t2 last 1/1
    a sent nothing
    b sent nothing
    each is term 1 of a
  `);
});

test('PreVote with a split: all three time out together, and a leader comes of it', () => {
  runScript(`
    cluster a b c
    a elected
    a crashes
    b draws 40
    c draws 40
    advance 1600
    b campaigns
    c campaigns
    b draws 0
    c draws 90
    settle
    advance 3000
    b is leader
    c is follower of b
    a restarts
    advance 200
    each is of b
  `);
});

test('PreVote and CheckQuorum: a cut off leader’s group elects, and the old leader comes back as follower', () => {
  runScript(`
    cluster a b c
    a elected
    isolate a
    a proposes lost
    advance 2300
    a is follower term 1
    b is leader term 2
    b proposes kept
    settle
    heal
    advance 500
    each is has kept term 2 of b
    a told proposalsDropped 2-2
  `);
});

test('PreVote and CheckQuorum: a node behind and in a higher term cannot stop the others', () => {
  runScript(`
    cluster a b c
    disk a term 2 log 1 1
    disk b term 2 log 1 1
    disk c term 4 log 1
    a campaigns
    settle
    a is follower term 4   # c’s refusal told it of its term
    a campaigns
    settle
    a is leader term 5
    each is log 1,1,5 term 5
  `);
});

test('a node stuck in PreVote with the shorter log frees itself through its leader’s heartbeat', () => {
  runScript(`
    cluster a b c
    disk a term 2 log 1 1
    disk b term 2 log 1 1
    disk c term 4 log 1
    isolate c
    a elected
    a is leader term 3
    c campaigns
    heal
    c campaigns
    settle
    c is pre term 4
    a is leader term 3
    advance 160           # c answers the heartbeat with its term
    a is follower term 4
    advance 3000
    a is leader
    each is of a log 1,1,3,5
  `);
});

test('a voter that its own configuration does not list never times out', () => {
  runScript(`
    cluster a b
    new z voters a b
    z is due never
    at 9000
    z ticks
    z campaigns
    z is follower term 0
    a elected
    a adds z
    settle
    z is follower due never term 1
  `);
});

test('whether a node may campaign depends on its configuration', () => {
  for (const [config, due] of [
    ['voters a', '1000'],
    ['voters a b', '1000'],
    ['voters b c', 'never'],
    ['voters b c learners a', 'never'],
    ['voters ', 'never'],
  ]) {
    runScript(`cluster a b c
a draws 0
disk a ${config}
a is due ${due}`);
  }
});

test('a learner does not time out, nor campaign when told so', () => {
  runScript(`
    cluster a b learners l
    l is due never
    at 9000
    l ticks
    l campaigns
    a>l timeout-now t0
    l is follower term 0
    l sent nothing
  `);
});

test('a promoted learner can be elected', () => {
  runScript(`
    cluster a b learners l
    a elected
    a promotes l
    settle
    l is voters a,b,l learners -
    advance 200
    a crashes
    b crashes
    b restarts
    at 5000
    l campaigns
    settle
    l is leader term 2
    b is of l
  `);
});

test('a learner that is asked for its vote gives it: it may not know of its promotion', () => {
  runScript(`
    cluster a b
    new c voters a b learners c
    disk c term 1 log 1 1
    disk b term 1 log 1 1 voters a b c learners
    a crashes
    b elected
    b is leader term 2
    c is of b vote b
  `);
});

test('a removed node does not disturb those who stay', () => {
  runScript(`
    cluster a b c d
    a elected
    cut a>d               # it does not learn of its removal
    cut d>a
    a removes d
    settle
    d is voters a,b,c,d
    advance 9000
    a is leader term 1
    each is term 1
  `);
});

test('a leader paused longer than its followers wait finds that it was replaced', () => {
  runScript(`
    cluster a b c
    a elected
    a proposes x
    settle
    isolate a
    at 1700
    b campaigns
    settle
    b is leader term 2
    heal
    a is leader term 1    # it does not know
    a reads 1
    a proposes stale
    settle
    a is follower term 2
    a told readFailed 1
    advance 300
    each is has x of b
  `);
});
