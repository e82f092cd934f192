// Membership changes as scripts: one node at a time, in force from the moment they are in the log.
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('adding: a learner first, then a voter, and the leader waits for neither to answer', () => {
  runScript(`
    cluster a
    new b voters a
    a elected
    a adds b
    a is voters a learners b
    settle
    advance 160
    b is voters a learners b commit 2 of a
    a promotes b
    settle
    each is voters a,b learners - commit 3
    a proposes x
    settle
    each is has x
  `);
});

test('adding a member twice is refused, as learner and as voter', () => {
  runScript(`
    cluster a b learners l
    a elected
    forget
    a adds b -> invalid
    a adds l -> invalid
    a adds a -> invalid
    a promotes b -> invalid
    a sent nothing
    a told nothing persist
    a is last 1
  `);
});

test('removing or promoting nobody is refused', () => {
  runScript(`
    cluster a b learners l
    a elected
    a removes z -> invalid
    a promotes z -> invalid
    a demotes z -> invalid
    a demotes l -> invalid
    a is voters a,b learners l last 1
  `);
});

test('the last voter cannot go', () => {
  runScript(`
    cluster a learners l
    a elected
    a removes a -> invalid
    a demotes a -> invalid
    a promotes l
    settle
    a removes a
    settle
    a is follower voters l
    advance 5000
    l is leader
  `);
});

test('removing a voter and a learner', () => {
  runScript(`
    cluster a b c learners l
    a elected
    a removes l
    settle
    a is voters a,b,c learners -
    a removes c
    settle
    a is voters a,b
    b is voters a,b
    a removes b
    settle
    a is voters a leader
    a proposes x
    settle
    a is applied x
  `);
});

test('a voter can be made a learner and back; each step is its own entry', () => {
  runScript(`
    cluster a b c
    a elected
    a demotes c
    settle
    each is voters a,b learners c commit 2
    a promotes c
    settle
    each is voters a,b,c learners - commit 3
    a sees c replicate match 3
  `);
});

test('swapping a voter and a learner takes two changes, one after the other', () => {
  runScript(`
    cluster a b learners l
    a elected
    a promotes l
    a demotes b -> pending
    settle
    a demotes b
    settle
    each is voters a,l learners b
  `);
});

test('a change is pending until it is committed, also for the next leader', () => {
  runScript(`
    cluster a b c
    a elected
    cut a>c
    lose ack
    a adds d
    a adds e -> pending
    settle
    b is learners d commit 1
    isolate a
    heal
    a crashes
    b loses a
    c loses a
    lose append
    b elected
    b is leader commit 1
    b adds e -> notReady
    lose nothing
    advance 500
    b is last 3
    b adds e
    settle
    c is learners d,e
  `);
});

test('an old leader’s change that was not committed is taken back, and may be made by the new one', () => {
  runScript(`
    cluster a b c
    a elected
    isolate a
    a removes b
    a is voters a,c
    advance 2300
    b is leader term 2 voters a,b,c
    b removes a
    settle
    b is voters b,c commit 3
    heal
    a told config 2
    b is leader
  `);
});

test('no two majorities: a new leader makes no change before it has committed in its term', () => {
  runScript(`
    cluster a b c d
    a elected
    isolate a
    a adds e                 # on a alone
    advance 2300
    b is leader term 2 commit 2
    b removes d
    settle
    c is voters a,b,c
    isolate b
    heal
    isolate b
    advance 2300
    a is voters a,b,c learners -
  `);
});

test('commits during a removal are counted by the new configuration at once', () => {
  runScript(`
    cluster a b
    a elected
    b crashes
    a proposes x
    settle
    a is commit 1
    a removes b
    settle
    a is commit 3 applied x
    a proposes y
    settle
    a is commit 4
  `);
});

test('a leader that removes itself replicates the removal, then steps down', () => {
  runScript(`
    cluster a b c
    a elected
    forget
    a removes a
    a is leader voters b,c
    a proposes x             # it still leads
    a sent b append
    deliver a>b
    b syncs
    deliver b>a
    a is leader commit 1     # b alone is no majority of b and c
    settle
    a is follower term 1 of -
    b is last 3
    advance 5000
    a is follower due never
    b is leader has x
  `);
});

test('a leader that removed itself does not count itself', () => {
  runScript(`
    cluster a b c
    a elected
    isolate b
    a removes a
    settle
    a is leader commit 1
    heal
    advance 600
    a is follower commit 2
  `);
});

test('a demoted leader steps down once that is committed, and follows as learner', () => {
  runScript(`
    cluster a b c
    a elected
    a demotes a
    settle
    a is follower voters b,c learners a
    advance 5000
    b is leader
    a is of b due never
    b proposes x
    settle
    a is has x
  `);
});

test('the leader can be replaced: add, promote, remove itself', () => {
  runScript(`
    cluster a b c
    new d voters a b c
    a elected
    a adds d
    settle
    advance 200
    a promotes d
    settle
    a removes a
    settle
    a is follower
    advance 5000
    b is leader voters b,c,d
    d is of b voters b,c,d
  `);
});

test('two new voters: one change after the other, each waiting for its commit', () => {
  runScript(`
    cluster a
    new b voters a
    new c voters a
    a elected
    a adds b
    a adds c -> pending
    settle
    a adds c
    settle
    advance 200
    a promotes b
    settle
    a promotes c
    settle
    each is voters a,b,c commit 5
  `);
});

test('a new member needs no log: it starts from the beginning, or from a copy', () => {
  runScript(`
    cluster a
    new b voters a
    a elected
    a proposes x y
    settle
    a compacts 3
    a adds b
    settle
    advance 200
    a sees b snapshot
    b told installSnapshot 3/1 from a
    b installs
    settle
    b is commit 4 learners b voters a base 3
    a sees b replicate match 4
  `);
});

test('the offer’s configuration is the one at its index, not a later one', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a proposes x
    settle
    a compacts 2
    a adds d
    settle
    heal
    forget
    advance 310
    a sent c offer t1 2/1 voters a b c
    c installs
    settle
    c is learners d voters a,b,c commit 3
  `);
});

test('changes wait for the end of a transfer', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a transfers c
    a adds d -> transferring
    at 1000
    a ticks
    a is transferring -
    a adds d
  `);
});

test('a change that is not committed yet binds elections at once', () => {
  runScript(`
    cluster a b c
    a elected
    lose ack
    a removes c
    settle
    b is voters a,b commit 1
    a crashes
    lose nothing
    advance 3000
    b is pre                 # of a and b it needs both
    a restarts
    advance 3000
    a is of b voters a,b
    b is commit 3
  `);
});

test('a configuration is known after a restart, committed or not', () => {
  runScript(`
    cluster a b c
    a elected
    isolate a
    a adds d
    a syncs
    a restarts
    a is learners d commit 0
    drop
    heal
    b loses a
    c loses a
    b elected
    advance 500
    a is learners - voters a,b,c
  `);
});
