// Longer stories as scripts: disks that lag behind, logs that drifted apart, several mishaps at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('fast backing up: where the next probe goes, by both logs', () => {
  // Leader’s log, follower’s log, where the follower says the logs may agree, where the leader goes on.
  for (const [leader, follower, hint, next] of [
    ['1 2 2 3 3 3 3', '1 2 2 4 4 4 4', '3/2', 4],
    ['1 2 2 4 4 4 4', '1 2 2 3 3 3 3', '7/3', 4],
    ['1 3 3 3 5 5 5', '1 3 3 3', '4/3', 5],
    ['1 4 5 5 5', '1 4 4', '3/4', 3],
    ['1 4 4 4 4', '1 4 4', '3/4', 4],
    ['1 4 4 4 4', '1 3 3', '3/3', 2],
    ['2 5 5 5 5', '1 3 3 3', '4/3', 2],
  ] as const) {
    const terms = leader.split(' ');
    const last = Number(terms[terms.length - 1]);
    const t = Math.max(last, 6) + 1;
    const c = runScript(`
      cluster a b c
      disk a term ${t - 1} log ${leader}
      disk b term ${t - 1} log ${follower}
      a campaigns
      c>a pregranted t${t}
      a syncs
      drop
      c>a granted t${t}
      a is leader
      deliver a>b
    `);
    const answer = c.node('b').take('send')[0]?.message;
    assert.ok(answer?.type === 'appendResponse' && answer.rejected);
    assert.equal(`${answer.hintIndex}/${answer.hintTerm}`, hint, `${leader} | ${follower}`);
    c.node('a').receive('b', answer);
    assert.equal(c.node('a').raft.followers()[0]?.nextIndex, next, `${leader} | ${follower}`);
  }
});

test('a pipeline of writes: sent before the own disk is done, acknowledged as the disks finish', () => {
  runScript(`
    cluster a b c
    a elected
    a holds
    b holds
    c holds
    forget
    a proposes 1
    a proposes 2
    a sent b append t1 after 1/1 commit 1 : 2/1
    a sent b append t1 after 2/1 commit 1 : 3/1
    deliver a>b
    b told persist 2-2
    b told persist 3-3
    b sent nothing
    b syncs 1
    b sent a ack t1 2
    b sent nothing
    deliver b>a
    a is commit 1 durable 1
    a syncs 1
    a is commit 2 durable 2 applies 2
    a proposes 3
    deliver a>c
    c syncs
    deliver c>a
    a is commit 2
    b syncs
    deliver b>a
    a is commit 3 durable 2 applies 2      # b and c have more on disk than a
    a syncs
    a is commit 4 applies 4
  `);
});

test('ABA: entries of one index, overwritten twice, are durable only as they are last', () => {
  runScript(`
    cluster a b c d e
    a holds
    c>a append t1 after 0/0 : 1/1 2/1
    d>a append t2 after 0/0 : 1/2
    c>a append t3 after 0/0 : 1/3 2/3
    a is log 3,3 durable 0
    a told proposalsDropped 1-2
    a told proposalsDropped 1-1
    forget
    a syncs 1
    a is durable 0
    a sent nothing
    a syncs 1
    a is durable 0
    a sent nothing
    a syncs 1
    a is durable 2
    a sent c ack t3 2
    a sent nothing
  `);
});

test('ABA: an old term’s acknowledgement is not sent for the new leader’s entry of the same place', () => {
  runScript(`
    cluster a b c
    a holds
    b>a append t1 after 0/0 : 1/1
    c>a vote t2 last 5/1 transfer
    a is term 2 vote c
    c>a append t2 after 0/0 : 1/1
    forget
    a syncs 1
    a sent nothing
    a syncs
    a sent c granted t2
    a sent c ack t2 1
    a sent nothing
  `);
});

test('an election step by step', () => {
  runScript(`
    cluster a b c
    a campaigns
    a sent b prevote t1 last 0/0
    a sent c prevote t1 last 0/0
    a sent nothing
    a told nothing persist
    deliver a>b
    deliver b>a
    a told persist t1 vote a
    a is candidate term 1
    a syncs
    a sent b vote t1 last 0/0
    drop
    a>b vote t1 last 0/0
    b told persist t1 vote a
    b sent a pregranted t1
    b sent nothing
    b syncs
    b sent a granted t1
    deliver b>a
    a is leader
    a told role leader t1 of a
    a sent c vote t1
    a sent b append t1 after 0/0 commit 0 : 1/1
    a sent c append t1 after 0/0 commit 0 : 1/1
    a told persist 1-1
    a is commit 0
    a syncs
    deliver a>b
    b syncs
    deliver b>a
    a told commit 1 apply 1
    a sent b beat t1 commit 1 round 0
  `);
});

test('the leader of a group of one needs nobody, and one added counts when it is there', () => {
  runScript(`
    cluster a
    a elected
    a proposes x
    a syncs
    a is commit 2 applied x
    a sent nothing
    a is due 150
  `);
});

test('probe and replicate: a new leader brings seven logs that all differ to its own', () => {
  const leader = '1,1,1,4,4,5,5,6,6,6,8';
  runScript(`
    cluster a b c d e f g
    disk a term 7 log 1 1 1 4 4 5 5 6 6 6
    disk b term 7 log 1 1 1 4 4 5 5 6 6
    disk c term 7 log 1 1 1 4
    disk d term 7 log 1 1 1 4 4 5 5 6 6 6 6
    disk e term 7 log 1 1 1 4 4 5 5 6 6 6 7 7
    disk f term 7 log 1 1 1 4 4 4 4
    disk g term 7 log 1 1 1 2 2 2 3 3 3 3 3
    a elected
    advance 200
    a is leader term 8
    each is log ${leader} commit 11
    d told proposalsDropped 11-11
    e told proposalsDropped 11-12
    f told proposalsDropped 6-7
    g told proposalsDropped 4-11
    a proposes x
    settle
    each is log ${leader},8 commit 12
  `);
});

test('a slow follower, a full window, lost messages and a compaction: it catches up by a copy', () => {
  runScript(`
    option inflightMessagesMax 2
    cluster a b c
    a elected
    a proposes 1
    a proposes 2
    a proposes 3
    settle
    a sees c replicate match 4 next 5
    a proposes 4
    a proposes 5
    a proposes 6
    a proposes 7
    lose append to c
    settle
    a sees b replicate match 8 next 9
    a sees c replicate match 4 next 7 inflight 2
    a compacts 7
    lose nothing
    advance 310
    a sees c snapshot match 4
    c installs
    settle
    each is commit 8
    a sees c replicate match 8 next 9 inflight 0
  `);
});

test('a follower far behind is found by its refusal, and lifted by a copy at the leader’s end', () => {
  runScript(`
    cluster a b c
    disk a term 1 base 10/1 voters a b c
    disk b term 1 base 10/1 voters a b c
    disk c term 1 base 5/1 voters a b c
    lose append to c
    a elected
    a is last 11 commit 11
    c is last 5
    a sees c probe match 0 next 11
    lose nothing
    forget
    a compacts 11
    advance 160
    c told installSnapshot 11/2 from a
    c installs
    settle
    a sees c replicate match 11 next 12
    c is commit 11 base 11
  `);
});

test('the same, with entries written while the copy was made', () => {
  runScript(`
    cluster a b c
    disk a term 1 base 10/1 voters a b c
    disk b term 1 base 10/1 voters a b c
    disk c term 1 base 5/1 voters a b c
    lose append to c
    a elected
    a sees c probe match 0 next 11
    lose nothing
    forget
    advance 160
    c told installSnapshot 10/1 from a
    a proposes foo
    settle
    a is commit 12
    c installs
    settle
    a sees c replicate match 12 next 13
    c is commit 12 base 10 log 2,2 has foo
  `);
});

test('a leader cut off with its uncommitted entries: they vanish, and nobody has applied them', () => {
  runScript(`
    cluster a b c
    a elected
    a proposes kept
    settle
    isolate a
    a proposes lost
    advance 2300
    b proposes new
    settle
    heal
    advance 500
    each is has kept,new applied kept,new
    a told proposalsDropped 3-3
  `);
});

test('all restart at once: what was committed is still there, terms and votes too', () => {
  runScript(`
    cluster a b c
    a elected
    a proposes x y
    settle
    a restarts
    b restarts
    c restarts
    each is term 1 vote a of - log 1,1,1
    advance 1100
    each is term 2 commit 4 applied x,y
  `);
});

test('a node paused in turn: the others go on, it catches up', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a proposes 1 2 3
    settle
    heal
    isolate b
    a proposes 4 5 6
    advance 400
    c is has 1,2,3,4,5,6
    b is has 1,2,3
    heal
    advance 400
    each is applied 1,2,3,4,5,6
  `);
});
