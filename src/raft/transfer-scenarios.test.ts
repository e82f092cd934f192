// Handing over leadership, as scripts.
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('transfer to a voter that has everything: at once, by its own election', () => {
  runScript(`
    cluster a b c
    a elected
    forget
    a transfers b
    a sent b timeout-now t1
    a sent nothing
    settle
    b is leader term 2
    a is follower of b
    b sent a vote t2 last 1/1 transfer
    b sent 0 prevote
  `);
});

test('transfer works while all hear their leader: stickiness does not hold it up', () => {
  runScript(`
    cluster a b c
    a elected
    advance 500
    a transfers c
    settle
    each is term 2 of c
  `);
});

test('transfer to a slow voter: it gets what it lacks first', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a proposes x
    settle
    heal
    forget
    a transfers c
    a is transferring c leader
    a sent 0 timeout-now
    advance 460
    c is leader term 2 has x
    b is of c
  `);
});

test('transfer to a voter that needs a copy happens once it has everything', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a proposes x y z
    settle
    a compacts 4
    heal
    advance 310
    a sees c snapshot
    a transfers c
    a is transferring c
    c installs
    settle
    c is leader term 2 base 4
  `);
});

test('transfer to itself, to a stranger, to a learner, or by a follower changes nothing', () => {
  runScript(`
    cluster a b c learners l
    a elected
    forget
    a transfers a
    a transfers z
    a transfers l
    b transfers c
    a is leader transferring -
    a sent nothing
    b sent nothing
    a proposes x
  `);
});

test('transfer is given up after an election timeout, and the leader goes on', () => {
  for (const after of ['a proposes x', 'advance 300']) {
    runScript(`
      cluster a b c
      a elected
      isolate c
      a transfers c
      a is transferring c due 150
      advance 990
      a is transferring c leader
      advance 10
      a is transferring - leader term 1
      ${after}
      settle
      a is leader
    `);
  }
});

test('during a transfer no proposal is taken', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a transfers c
    a proposes x -> transferring
    settle
    a is last 1
    advance 1000
    a proposes x
    settle
    a is commit 2
  `);
});

test('a vote of a later term ends a transfer with the leadership', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a transfers c
    b>a vote t2 last 1/1 transfer
    a is follower term 2 transferring - vote b
  `);
});

test('a transfer to a node that is then removed, or demoted, is off', () => {
  for (const change of ['removes', 'demotes']) {
    runScript(`
      cluster a b c
      a elected
      isolate c
      a ${change} c
      a transfers c
      a is transferring - voters a,b
      a proposes x
    `);
  }
});

test('a transfer back begins a new term each', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a transfers c
    a is transferring c
    a transfers b
    settle
    b is leader term 2
    b transfers a
    settle
    a is leader term 3 transferring -
  `);
});

test('a second transfer to another voter takes the first one’s place', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a transfers c
    a transfers b
    settle
    b is leader term 2
  `);
});

test('a second transfer to the same voter does not lengthen the first', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a transfers c
    advance 900
    a transfers c
    advance 100
    a is transferring - leader
  `);
});

test('timeoutNow to a node that is no voter elects nobody', () => {
  runScript(`
    cluster b c d
    new a voters b c d
    b>a beat t1 round 1
    b>a timeout-now t1
    c>a granted t1
    d>a granted t1
    a is follower term 1
  `);
});

test('timeoutNow counts only from the leader, in its term', () => {
  runScript(`
    cluster a b c
    a elected
    c>b timeout-now t1
    b is follower term 1
    a>b timeout-now t0
    b is follower term 1
    c>b timeout-now t2        # of a later term: it may lead, but b has not heard of it
    b is follower term 2 of -
  `);
});

test('a transfer whose message got lost ends by its timeout', () => {
  runScript(`
    cluster a b c
    a elected
    lose timeout-now
    a transfers b
    settle
    a is leader transferring b
    advance 1000
    a is leader transferring - term 1
  `);
});
