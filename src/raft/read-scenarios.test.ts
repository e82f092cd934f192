// Linearizable reads (ReadIndex), as scripts.
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('a read is answered with what was committed when it came', () => {
  runScript(`
    cluster a b c
    a elected
    a proposes x
    settle
    a reads 1
    a told nothing readable
    a proposes y
    settle
    a told readable 1 at 2
    a is commit 3
  `);
});

test('a read needs a majority of the voters; learners do not count', () => {
  runScript(`
    cluster a b c learners l
    a elected
    isolate b
    isolate c
    forget
    a reads 1
    settle
    a told nothing readable
    heal
    advance 150
    a told readable 1 at 1
  `);
});

test('a learner, and any follower, refuses to answer reads itself', () => {
  runScript(`
    cluster a b learners l
    a elected
    l reads 1
    b reads 2
    l told readFailed 1
    b told readFailed 2
    b campaigns
    b reads 3
    b told readFailed 3
  `);
});

test('a new leader answers reads once it has committed in its term', () => {
  runScript(`
    cluster a b c
    disk a term 1 log 1
    disk b term 1 log 1
    disk c term 1 log 1
    lose append
    a elected
    a is commit 0
    a reads 1
    a reads 2
    settle
    a told nothing readable
    lose nothing
    advance 300
    a is commit 2
    a told readable 1 at 2
    a told readable 2 at 2
  `);
});

test('an old leader answers no read after it was replaced', () => {
  runScript(`
    cluster a b c
    a elected
    isolate a
    at 1700
    b campaigns
    settle
    b proposes x
    settle
    b is leader term 2 commit 3
    forget
    a reads 7
    a>b beat t1 round 1
    b sent a reject t2
    heal
    settle
    advance 200
    a told readFailed 7
    a told nothing readable
  `);
});

test('an answer to an earlier round, however late or repeated, confirms no later read', () => {
  runScript(`
    cluster a b c
    a elected
    lose beat-ack
    a reads 1
    settle
    a told nothing readable
    lose all
    a reads 2                 # the first round is still open
    b>a beat-ack t1 round 1
    a told readable 1 at 1
    forget
    b>a beat-ack t1 round 1
    c>a beat-ack t1 round 1
    b>a beat-ack t1 round 0
    a told nothing readable
    c>a beat-ack t1 round 2
    a told readable 2 at 1
  `);
});

test('the same read asked twice is answered twice, each by a round of its own', () => {
  runScript(`
    cluster a b c
    a elected
    a reads 1
    settle
    a told readable 1 at 1
    a proposes x
    settle
    forget
    a reads 1
    a told nothing
    settle
    a told readable 1 at 2
  `);
});

test('answered reads are forgotten: no later answer repeats them', () => {
  runScript(`
    option readsMax 1
    cluster a b c
    a elected
    a reads 1
    a reads 2
    a told readFailed 2
    settle
    a told readable 1 at 1
    forget
    b>a beat-ack t1 round 1
    c>a beat-ack t1 round 1
    a told nothing
    a reads 3
    settle
    a told readable 3 at 1
  `);
});

test('a leader that steps down fails its reads', () => {
  runScript(`
    cluster a b c
    a elected
    isolate a
    a reads 1
    a reads 2
    advance 2300
    a is follower
    a told readFailed 1
    a told readFailed 2
    a told nothing readable
  `);
});

test('reads of a transferring leader fail with its term, and the next leader answers', () => {
  runScript(`
    cluster a b c
    a elected
    lose beat-ack
    a reads 1
    a transfers b
    settle
    a told readFailed 1
    lose nothing
    b reads 2
    settle
    b told readable 2 at 2
  `);
});

test('a leader elected again begins its rounds anew: reads do not wait for the next heartbeat', () => {
  runScript(`
    cluster a b c
    a elected
    lose beat-ack
    a reads 1
    a transfers b
    settle
    a told readFailed 1
    lose nothing
    b transfers a
    settle
    a is leader term 3
    forget
    a reads 2
    a sent 2 beat
    settle
    a told readable 2 at 3
  `);
});

test('a read whose answers went with the removed member is confirmed by the smaller group', () => {
  runScript(`
    cluster a b
    a elected
    isolate b
    a reads 1
    settle
    a told nothing readable
    a removes b
    a told readable 1 at 1
  `);
});
