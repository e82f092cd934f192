// Replication as scripts: proposals, acknowledgements, commits, what old and repeated messages do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('a leader’s own progress is what its disk has', () => {
  runScript(`
    cluster a
    a holds
    a campaigns
    a syncs
    a proposes v w x y z
    a is leader last 6 durable 0 commit 0
    a told persist 1-1
    a told persist 2-6
    a syncs 1
    a is durable 1 commit 1
    a syncs
    a is durable 6 commit 6 applied v,w,x,y,z
  `);
});

test('proposals reach everybody, whoever is leader', () => {
  runScript(`
    cluster a b c
    a elected
    a proposes x
    settle
    each is has x commit 2
    a transfers b
    settle
    b proposes y
    settle
    each is has x,y commit 4
    a proposes z -> notLeader
  `);
});

test('learners get every entry and commit none', () => {
  runScript(`
    cluster a b c learners l
    a elected
    a proposes x
    settle
    each is has x commit 2 applied x
    isolate b
    isolate c
    a proposes y
    settle
    l is has x,y commit 2
    a is commit 2
    a sees l replicate match 3 next 4
  `);
});

test('without the noop of its term a leader does not commit older entries', () => {
  runScript(`
    cluster a b c d e
    a elected
    isolate c
    isolate d
    isolate e
    a proposes x y
    settle
    a is commit 1
    heal
    isolate a
    lose append to c
    lose append
    b campaigns
    advance 1000
    b campaigns
    settle
    b is leader term 2 commit 1
    advance 300
    b is commit 1
    lose nothing
    advance 500
    b is commit 4 has x,y
    c is commit 4 has x,y
  `);
});

test('with it they are committed at once', () => {
  runScript(`
    cluster a b c d e
    a elected
    isolate c
    isolate d
    isolate e
    a proposes x y
    settle
    heal
    isolate a
    advance 2200
    b is leader term 2 commit 4
    b proposes z
    settle
    e is has x,y,z commit 5
  `);
});

test('messages of a deposed leader change nothing', () => {
  runScript(`
    cluster a b c
    a elected
    a transfers b
    settle
    b transfers a
    settle
    each is term 3 of a log 1,2,3
    b>c append t2 after 3/3 : 4/2
    c is log 1,2,3
    a proposes x
    settle
    each is log 1,2,3,3 commit 4
  `);
});

test('a proposal without a majority stays uncommitted', () => {
  for (const [lost, commit] of [
    ['', 2],
    ['isolate b', 2],
    ['isolate b\nisolate c', 1],
  ] as const) {
    runScript(`cluster a b c\na elected\n${lost}\na proposes x\nsettle\na is commit ${commit} last 2`);
  }
});

test('a proposal without a leader is refused, and nothing is sent', () => {
  runScript(`
    cluster a b c
    a proposes x -> notLeader
    a campaigns
    forget
    a proposes x -> notLeader
    a sent nothing
    b>a pregranted t1
    a proposes x -> notLeader
  `);
});

test('followers refuse proposals: to send them on is the driver’s work', () => {
  runScript(`
    cluster a b c
    a elected
    forget
    b proposes x -> notLeader
    b sent nothing
    b is of a
  `);
});

test('what is committed, by matches and terms', () => {
  for (const [matches, log, term, commit] of [
    [[], '1', 1, 2],
    [[2], '1', 1, 2],
    [[1, 1], '2', 2, 0],
    [[2, 1], '2', 2, 2],
    [[2, 2], '1', 2, 2],
    [[1, 1, 1], '1', 1, 0],
    [[2, 2, 1], '1', 1, 2],
    [[2, 1, 1], '1', 1, 0],
    [[2, 2, 1, 1], '1', 1, 2],
    [[2, 1, 1, 1], '1', 1, 0],
  ] as const) {
    const others = [...'bcdef'].slice(0, matches.length);
    runScript(`
      cluster a ${others.join(' ')}
      disk a term ${term} log ${log}
      a campaigns
      ${others.map((id) => `${id}>a pregranted t${term + 1}`).join('\n')}
      a syncs
      ${others.map((id) => `${id}>a granted t${term + 1}`).join('\n')}
      drop
      a is leader last 2
      a syncs
      ${others.map((id, i) => `${id}>a ack t${term + 1} ${matches[i]}`).join('\n')}
      a is commit ${commit}
    `);
  }
});

test('an append: previous entry unknown, differing, known; commit beyond what it brings', () => {
  for (const [append, log, commit, answer] of [
    ['after 3/3 commit 1', '1,2', 0, 'reject t9 3'],
    ['after 2/3 commit 1', '1,2', 0, 'reject t9 2'],
    ['after 1/1 commit 1', '1,2', 1, 'ack t9 1'],
    ['after 0/0 commit 1 : 1/9', '9', 1, 'ack t9 1'],
    ['after 2/2 commit 3 : 3/9 4/9', '1,2,9,9', 3, 'ack t9 4'],
    ['after 2/2 commit 4 : 3/9', '1,2,9', 3, 'ack t9 3'],
    ['after 1/1 commit 4 : 2/9', '1,9', 2, 'ack t9 2'],
    ['after 1/1 commit 3', '1,2', 1, 'ack t9 1'],
    ['after 1/1 commit 3 : 2/2', '1,2', 2, 'ack t9 2'],
    ['after 2/2 commit 3', '1,2', 2, 'ack t9 2'],
    ['after 2/2 commit 4', '1,2', 2, 'ack t9 2'],
  ] as const) {
    const c = runScript(`cluster a b c\ndisk a term 9 log 1 2\nb>a append t9 ${append}\na is log ${log} commit ${commit}`);
    const a = c.node('a');
    a.sync();
    const words = a.take('send').map((e) => e.message);
    assert.equal(words.length, 1);
    const [m] = words;
    assert.ok(m?.type === 'appendResponse');
    assert.equal(`${m.rejected ? 'reject' : 'ack'} t${m.term} ${m.index}`, answer, append);
  }
});

test('a heartbeat moves the commit index forward, never back, and is answered', () => {
  for (const [commit, expected] of [
    [3, 3],
    [1, 2],
    [2, 2],
    [9, 3],
  ] as const) {
    runScript(`
      cluster a b c
      disk a term 2 log 1 1 1
      b>a append t2 after 2/1 commit 2
      forget
      b>a beat t2 commit ${commit} round 5
      a is commit ${expected}
      a sent b beat-ack t2 round 5
    `);
  }
});

test('a heartbeat answer of a follower that lags makes the leader send again', () => {
  runScript(`
    cluster a b c
    a elected
    lose append to b
    a proposes x
    settle
    forget
    advance 150          # stands still since the last answer?
    a is commit 2
    advance 300
    lose nothing
    forget
    advance 150
    a sent b append t1 after
    advance 300
    b is has x commit 2
    forget
    advance 150
    a sent 0 append
    a sent 2 beat
  `);
});

test('an answered probe releases what waited; the others wait on', () => {
  runScript(`
    cluster a b c
    a campaigns
    b>a pregranted t1
    a syncs
    b>a granted t1
    a syncs
    a is leader
    drop
    forget
    b>a ack t1 1
    a is commit 1
    forget
    a proposes x
    a sent b append t1 after 1/1 commit 1 : 2/1
    a sent nothing to c
    c>a ack t1 1
    a sent c append t1 after 1/1 commit 1 : 2/1
  `);
});

test('a leader takes in acknowledgements and refusals, and nothing beyond its log', () => {
  for (const [answer, progress] of [
    ['ack t2 2', 'replicate match 2 next 5'],
    ['ack t2 4', 'replicate match 4 next 5 inflight 0'],
    ['ack t2 99', 'probe match 0 next 4'],
    ['ack t1 2', 'probe match 0 next 4'],
    ['reject t2 3 hint 2/1', 'probe match 0 next 3'],
    ['reject t2 3 hint 0/0', 'probe match 0 next 1'],
    ['reject t2 9 hint 0/0', 'probe match 0 next 4'],
    ['reject t2 3 hint 0/0 s9', 'probe match 0 next 4'],
  ] as const) {
    // The first probe goes behind the three entries from before the election.
    runScript(`
      cluster a b c
      disk a term 1 log 1 1 1
      lose append
      a elected
      a is last 4 commit 0
      b>a ${answer}
      a sees b ${progress}
    `);
  }
});

test('heartbeats tell each follower no more than it has acknowledged', () => {
  runScript(`
    cluster a b c
    a elected
    lose ack from c
    a proposes x y
    settle
    a is commit 3
    forget
    lose all
    advance 150
    a sent b beat t1 commit 3
    a sent c beat t1 commit 1
  `);
});

test('only a leader sends heartbeats at its interval', () => {
  for (const [become, beats] of [
    ['', 0],
    ['a campaigns', 0],
    ['a campaigns\nb>a pregranted t1\na syncs', 0],
    ['a elected', 2],
  ] as const) {
    runScript(`cluster a b c\na draws 99\n${become}\nforget\nat 200\na ticks\na sent ${beats} beat`);
  }
});

test('reordered appends: the second is refused, the first taken; a late refusal does not move the match back', () => {
  runScript(`
    cluster a b c
    a elected
    a proposes x
    a proposes y
    forget
    a>b append t1 after 2/1 commit 1 : 3/1
    b sent a reject t1 2 hint 1/1
    drop
    a>b append t1 after 1/1 commit 1 : 2/1
    b syncs
    b sent a ack t1 2
    b>a ack t1 2
    a sees b replicate match 2
    a misses b
    a sees b probe match 2 next 3
    b>a reject t1 2 hint 1/1 s2
    a sees b probe match 2 next 3
  `);
});

test('a long divergence of two terms is found with one refusal', () => {
  runScript(`
    cluster a b c
    disk a term 5 log 1 3 3 3 5 5 5 5
    disk b term 5 log 1 1 1 1 2 2 2 2
    disk c term 5 log 1 3 3 3 5 5 5 5
    isolate b
    a elected
    heal
    forget
    advance 300
    a is leader
    b is log 1,3,3,3,5,5,5,5,6 commit 9
    a sent b append t6 after 8/5 commit 9
    a sent b append t6 after 1/1 commit 9 : 2/3 3/3 4/3 5/5 6/5 7/5 8/5
    a sent b append t6 after 8/5 commit 9 : 9/6
    a sent 0 append
  `);
});

test('entries go to the disk once, in order, whatever is repeated', () => {
  runScript(`
    cluster a b c
    b>a append t1 after 0/0 : 1/1 2/1
    a told persist t1 vote - 1-2
    forget
    b>a append t1 after 0/0 : 1/1 2/1
    b>a append t1 after 1/1 : 2/1 3/1
    a told persist 3-3
    a sent nothing
    a syncs
    a sent 3 ack t1
  `);
});
