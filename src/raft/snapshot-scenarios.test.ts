// Snapshots as scripts: who is offered a copy of the tables, what happens meanwhile, and how it ends.
// `behind`: c was cut off while a and b went on; a’s log begins after entry 4 of 6.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScript } from './test-script.js';

const behind = `
  cluster a b c
  a elected
  isolate c
  a proposes 1 2 3 4 5
  settle
  a compacts 4
  heal
`;
const offered = `${behind}
  advance 310
  a sees c snapshot match 1
`;

test('a follower that needs what was compacted is offered a copy, once', () => {
  runScript(`
    ${behind}
    forget
    advance 310
    a told needSnapshot c
    a sent c offer t1 4/1 voters a b c
    a sees c snapshot match 1
    c told installSnapshot 4/1 from a
    c is installing
  `);
});

test('while a copy is on its way nothing is sent but heartbeats', () => {
  runScript(`
    ${offered}
    forget
    a proposes 6
    a proposes 7
    a sent 2 append to b
    a sent nothing to c
    advance 150
    a sent 1 beat to c
    a sent 0 offer
  `);
});

test('a probe that would begin below the log’s start becomes an offer', () => {
  runScript(`
    ${behind}
    a misses c
    a sees c probe match 1 next 2
    forget
    c>a beat-ack t1 round 0
    a told needSnapshot c
    a sent c offer t1 4/1
    a sees c snapshot
    c>a reject t1 6 hint 1/1 s3
    a sees c snapshot
  `);
});

test('a copy that failed: the leader waits for a sign, then offers again', () => {
  runScript(`
    ${offered}
    forget a
    a failed c
    a sees c probe match 1 next 2
    a sent nothing
    a proposes 6
    a sent nothing to c
    c aborts
    advance 160
    a told needSnapshot c
    a sees c snapshot
  `);
});

test('a copy that was handed over: the leader waits for the follower’s word, then goes on behind it', () => {
  runScript(`
    ${offered}
    forget a
    a handed c
    a sees c probe match 1
    a sent nothing
    c installs
    c sent a ack t1 4
    settle
    a sees c replicate match 6 next 7 inflight 0
    c is commit 6 base 4 log 1,1
  `);
});

test('the follower’s acknowledgement ends the wait before the driver says so', () => {
  runScript(`
    ${offered}
    c installs
    c is commit 4 last 4 base 4
    forget
    settle
    a sees c replicate match 6
    a sent c append t1 after 4/1 commit 6 : 5/1 6/1
    a handed c
    a sees c replicate match 6
    a failed c
    a sees c replicate match 6
  `);
});

test('an acknowledgement below the log’s start does not end the wait', () => {
  runScript(`
    ${offered}
    c>a ack t1 3
    a sees c snapshot match 3
    c>a ack t1 4
    a sees c replicate match 4
  `);
});

test('a copy newer than the offer, and one older than a later compaction', () => {
  runScript(`
    ${offered}
    c installs at 6/1
    settle
    a sees c replicate match 6 next 7
    c is base 6 commit 6
  `);
  runScript(`
    ${offered}
    a compacts 6
    c installs                # at 4: the log has moved on
    forget
    settle
    a sees c snapshot match 4
    advance 1100
    c told installSnapshot 6/1 from a
    c installs
    settle
    a sees c replicate match 6
  `);
});

test('a copy replaces log and configuration', () => {
  runScript(`
    cluster a b c
    disk c term 2 log 1 2
    b>c offer t3 11/3 voters a b c learners d
    c is log 1,2 installing
    c installs
    c is last 11 base 11 commit 11 log - voters a,b,c learners d applies 11
    c sent b ack t3 11
    b>c append t3 after 11/3 : 12/3
    c is log 3
  `);
});

test('nothing restored campaigns before it is complete', () => {
  runScript(`
    cluster a b c
    b>a offer t3 11/3
    a is due never
    at 9000
    a ticks
    a campaigns
    a is follower term 3
    b>a timeout-now t3
    a is follower term 3
    a installs
    at 20000
    a ticks
    a is pre term 3
    a sent b prevote t4 last 11/3
  `);
});

test('a learner restores as learner, and does not campaign after', () => {
  runScript(`
    cluster a b learners l
    a>l offer t2 11/2 voters a b learners l
    l installs
    l is voters a,b learners l due never last 11
    l sent a ack t2 11
  `);
});

test('a copy may make a learner a voter, or a voter a learner', () => {
  runScript(`
    cluster a b learners l
    a>l offer t2 11/2 voters a b l learners
    l installs
    l is voters a,b,l learners -
    at 9000
    l ticks
    l is pre
    a>b offer t2 11/2 voters a learners b
    b installs
    b is voters a learners b due never
  `);
});

test('an offer of what is committed here is answered, not fetched', () => {
  for (const [offer, commit] of [
    ['1/1', 2],
    ['2/1', 2],
    ['3/1', 3],
  ] as const) {
    runScript(`
      cluster a b c
      disk a term 1 log 1 1 1 1
      b>a append t1 after 2/1 commit 2
      forget
      b>a offer t1 ${offer}
      a told nothing installSnapshot
      a is commit ${commit} log 1,1,1,1
      a sent b ack t1 ${commit}
    `);
  }
});

test('a second offer during a copy begins no second one', () => {
  runScript(`
    ${offered}
    forget
    a>c offer t1 4/1
    a>c append t1 after 1/1 : 2/1
    c told nothing
    c sent nothing
    c is last 1 installing
  `);
});

test('no copy is offered to one whose log can still be fed', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a proposes 1 2 3 4 5
    settle
    a compacts 1              # what c has
    heal
    forget
    advance 500
    a told nothing needSnapshot
    c is commit 6 has 1,2,3,4,5
  `);
});

test('a silent follower is not offered a copy, and gets it once it speaks', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a proposes 1 2 3
    settle
    a compacts 4
    advance 1500
    forget
    advance 450
    a told nothing needSnapshot
    heal
    advance 300
    a told needSnapshot c
  `);
});

test('a slow node catches up through a copy and is then fed by the log', () => {
  const c = runScript(`
    cluster a b c
    a elected
    isolate c
  `);
  const a = c.node('a');
  for (let i = 0; i < 100; i++) {
    a.propose(`${i}`);
    c.settle();
  }
  a.disk.compact(90, a.raft.config);
  a.step({ type: 'compacted', index: 90 });
  c.heal();
  c.advance(300);
  const late = c.node('c');
  assert.ok(late.raft.installing);
  const offer = late.take('installSnapshot')[0];
  assert.ok(offer !== undefined && offer.index === 90);
  late.disk.base = { index: 90, term: offer.term };
  late.disk.log = [];
  late.step({ type: 'snapshotInstalled', index: 90, term: offer.term, config: offer.config });
  c.settle();
  assert.equal(late.raft.commitIndex, a.raft.commitIndex);
  a.propose('last');
  c.settle();
  assert.equal(late.raft.commitIndex, 102);
});

test('restored from disk with a compacted log: base, commit and the rest of the log', () => {
  runScript(`
    cluster a b c
    disk a term 3 base 11/3 log 3 3 voters a b c
    a is base 11 last 13 commit 11 term 3 applies 11
    b crashes
    disk c term 3 base 11/3 log 3 3
    a elected
    a is commit 14 log 3,3,4
    c is commit 14
  `);
});

test('after a copy an answer to an older message does not confuse the leader', () => {
  runScript(`
    ${offered}
    c>a reject t1 6 hint 1/1 s1
    a sees c snapshot
    c installs
    settle
    c>a reject t1 6 hint 1/1 s1
    c>a reject t1 4 hint 0/0 s2
    a sees c replicate match 6 next 7
  `);
});

test('a leader elected during a copy gives it up to the new one, who offers again', () => {
  runScript(`
    ${offered}
    a transfers b
    settle
    b is leader term 2
    b compacts 5
    c is follower of b installing
    c aborts
    forget
    advance 160
    c told installSnapshot 5/1 from b
    c installs
    settle
    b sees c replicate match 7
  `);
});
