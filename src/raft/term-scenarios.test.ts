// What the Raft paper says of terms, elections and the log, sentence by sentence (5.1 to 5.4), as scripts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('paper 5.1: a server that sees a later term becomes a follower of that term', () => {
  for (const become of ['', 'b>a granted t0', 'a campaigns\nb>a pregranted t1\na syncs', 'a elected']) {
    for (const message of ['append t2 after 0/0', 'beat t2', 'ack t2 1', 'beat-ack t2', 'refused t2', 'offer t2 3/1', 'timeout-now t2']) {
      runScript(`cluster a b c\n${become}\nb>a ${message}\na is follower term 2`);
    }
  }
});

test('paper 5.1: a leader that becomes follower keeps no vote of the old term', () => {
  runScript(`
    cluster a b c
    a elected
    a is vote a
    b>a append t2 after 0/0
    a is follower term 2 vote - of b
  `);
});

test('paper 5.1: a request of an old term is refused', () => {
  runScript(`
    cluster a b c
    disk a term 2 log 1
    b>a append t1 after 1/1 : 2/1
    a is log 1 of - term 2
    a sent b reject t2
    b>a vote t1 last 9/9
    a sent b refused t2
    b>a prevote t1 last 9/9
    a sent b prerefused t2
    b>a offer t1 9/1
    a sent b reject t2
    a told nothing installSnapshot
    b>a beat t1 round 4
    a sent b reject t2
    b>a timeout-now t1
    b>a ack t1 1
    b>a granted t1
    b>a beat-ack t1
    a is follower term 2 of -
    a sent nothing
    a told nothing persist
  `);
});

test('paper 5.2: a server starts as follower and stays one while it hears a leader', () => {
  runScript(`
    cluster a b c
    a is follower term 0 of - vote -
    a elected
    advance 9000
    b is follower term 1 of a
    c is follower term 1 of a
  `);
});

test('paper 5.2: a leader sends heartbeats to everybody at its interval', () => {
  runScript(`
    option heartbeatMs 100
    cluster a b c d e
    a elected
    forget
    a is due 100
    at 99
    a ticks
    a sent nothing
    at 100
    a ticks
    a sent 4 beat t1
    a is due 200
    a ticks
    a sent 4 beat t1
  `);
});

test('paper 5.2: a follower without a leader asks all others, and itself', () => {
  runScript(`
    cluster a b c
    disk a term 1
    a holds
    at 5000
    a ticks
    a is pre term 1
    a sent b prevote t2 last 0/0
    a sent c prevote t2 last 0/0
    b>a pregranted t2
    a is candidate term 2 vote a
    a sent nothing
    a syncs
    a sent b vote t2 last 0/0
    a sent c vote t2 last 0/0
    a sent nothing
  `);
});

test('paper 5.2: a candidate that neither wins nor loses begins a new election', () => {
  runScript(`
    cluster a b c
    disk a term 1
    b crashes
    c crashes
    at 5000
    a campaigns
    b>a pregranted t2
    a syncs
    a is candidate term 2 due 6000
    at 6000
    forget
    a ticks
    a is pre term 2
    a sent b prevote t3 last 0/0
    b>a pregranted t3
    a is candidate term 3
  `);
});

test('paper 5.2: whoever gets the votes of a majority wins, in one round', () => {
  for (const [voters, answers, outcome] of [
    ['a', '', 'leader'],
    ['a b c', 'b>a granted t1\nc>a granted t1', 'leader'],
    ['a b c', 'b>a granted t1', 'leader'],
    ['a b c', '', 'candidate'],
    ['a b c', 'b>a refused t1', 'candidate'],
    ['a b c', 'b>a refused t1\nc>a refused t1', 'follower'],
    ['a b c d e', 'b>a granted t1\nc>a granted t1\nd>a granted t1\ne>a granted t1', 'leader'],
    ['a b c d e', 'b>a granted t1\nc>a granted t1', 'leader'],
    ['a b c d e', 'b>a granted t1', 'candidate'],
    ['a b c d e', 'b>a refused t1\nc>a refused t1\nd>a refused t1', 'follower'],
    ['a b c d e', 'b>a refused t1\nc>a refused t1\nd>a granted t1', 'candidate'],
    ['a b c d e', 'b>a granted t1\nb>a granted t1\nb>a granted t1', 'candidate'],
  ] as const) {
    const promises = voters
      .split(' ')
      .slice(1)
      .map((id) => `${id}>a pregranted t1\n`)
      .join('');
    runScript(`cluster ${voters}\na campaigns\n${promises}a is candidate term 1\na syncs\n${answers}\na is ${outcome} term 1`);
  }
});

test('paper 5.2: one vote a term, first come first served', () => {
  for (const [vote, from, expected] of [
    ['', 'b', 'granted'],
    ['', 'c', 'granted'],
    ['vote b', 'b', 'granted'],
    ['vote c', 'c', 'granted'],
    ['vote b', 'c', 'refused'],
    ['vote c', 'b', 'refused'],
  ] as const) {
    runScript(`
      cluster a b c
      disk a term 1 ${vote}
      a holds
      ${from}>a vote t1 last 0/0
      ${expected === 'granted' && vote === '' ? 'a syncs' : ''}
      a sent ${from} ${expected} t1
    `);
  }
});

test('paper 5.2: election timeouts are drawn anew and differ between servers', () => {
  for (const begin of ['', 'b>a beat t1 round 1', 'a campaigns', 'a campaigns\nb>a pregranted t1']) {
    const due = new Set<number>();
    for (let draw = 0; draw < 100; draw += 10) {
      const c = runScript(`cluster a b c\na draws ${draw}\na restarts\na holds\n${begin}`);
      const at = c.node('a').raft.nextTimerAt;
      assert.ok(at >= 1000 && at < 2000, `${begin}: ${at}`);
      due.add(at);
    }
    assert.equal(due.size, 10, 'each draw has its own timeout');
  }
});

test('paper 5.2: with different draws only one server times out first', () => {
  runScript(`
    cluster a b c d e
    advance 1000
    a is leader term 1
    each is term 1 of a
  `);
});

test('paper 5.2: after a split vote the next timeouts are apart again', () => {
  runScript(`
    cluster a b c
    disk a term 1 vote a
    disk b term 1 vote b
    disk c term 1 vote c
    advance 1000
    a is leader term 2
    each is of a term 2
  `);
});

test('paper 5.3: a proposal is appended and sent, with what precedes it', () => {
  runScript(`
    cluster a b c
    a elected
    forget
    a proposes x
    a is last 2 commit 1
    a sent b append t1 after 1/1 commit 1 : 2/1
    a sent c append t1 after 1/1 commit 1 : 2/1
    a told persist 2-2
  `);
});

test('paper 5.3: an entry on a majority is committed and handed out', () => {
  runScript(`
    cluster a b c
    a elected
    forget
    a proposes x
    settle
    a told commit 2 apply 2
    each is applied x
  `);
});

test('paper 5.3: which acknowledgements commit', () => {
  for (const [voters, acks, commit] of [
    ['a', '', 2],
    ['a b c', '', 1],
    ['a b c', 'b', 2],
    ['a b c', 'b c', 2],
    ['a b c d e', '', 1],
    ['a b c d e', 'b', 1],
    ['a b c d e', 'b c', 2],
    ['a b c d e', 'b c d', 2],
    ['a b c d e', 'b c d e', 2],
  ] as const) {
    const received = acks
      .split(' ')
      .filter((id) => id !== '')
      .map((id) => `${id}>a ack t1 2\n`)
      .join('');
    runScript(`cluster ${voters}\na elected\na proposes x\ndrop\na syncs\n${received}a is commit ${commit}`);
  }
});

test('paper 5.3: committing an entry commits all before it, of earlier leaders too', () => {
  for (const log of ['', '2', '1 2', '1']) {
    runScript(`
      cluster a b c
      disk a term 2 log ${log}
      a elected
      a proposes x
      settle
      a is commit ${log.split(' ').filter((t) => t !== '').length + 2}
      each is has ${log === '' ? 'x' : `${',,'.slice(0, log.split(' ').length - 1)},x`}
    `);
  }
});

test('paper 5.3: a follower applies what it hears to be committed, in order', () => {
  for (const [entries, commit] of [
    ['1/1', 1],
    ['1/1 2/1', 1],
    ['1/1 2/1', 2],
    ['1/1 2/1 3/1', 3],
  ] as const) {
    runScript(`
      cluster a b c
      b>a append t1 after 0/0 commit ${commit} : ${entries}
      a is commit ${commit} applies 0       # not before it is on its disk
      a syncs
      a is commit ${commit} applies ${commit}
      a told commit ${commit} apply ${commit}
    `);
  }
});

test('paper 5.3: a follower accepts exactly what fits its log', () => {
  for (const [prev, answer] of [
    ['0/0', 'ack t2 0'],
    ['1/1', 'ack t2 1'],
    ['2/2', 'ack t2 2'],
    ['1/2', 'reject t2 1 hint 1/1'],
    ['2/1', 'reject t2 2 hint 1/1'],
    ['3/3', 'reject t2 3 hint 2/2'],
    ['9/2', 'reject t2 9 hint 2/2'],
  ] as const) {
    runScript(`
      cluster a b c
      disk a term 2 log 1 2
      b>a append t2 after ${prev}
      a sent b ${answer}
      a sent nothing
      a is log 1,2
    `);
  }
});

test('paper 5.3: conflicting entries give way, the rest is kept', () => {
  for (const [prev, entries, log, kept] of [
    ['2/2', '3/3', '1,2,3', 'persist 3-3'],
    ['1/1', '2/3 3/4', '1,3,4', 'persist 2-3'],
    ['0/0', '1/1', '1,2', ''],
    ['0/0', '1/3', '3', 'persist 1-1'],
    ['0/0', '1/1 2/2 3/4', '1,2,4', 'persist 3-3'],
    ['0/0', '1/1 2/4', '1,4', 'persist 2-2'],
  ] as const) {
    runScript(`
      cluster a b c
      disk a term 4 log 1 2
      b>a append t4 after ${prev} : ${entries}
      a is log ${log}
      a told ${kept === '' ? 'nothing persist' : kept}
    `);
  }
});

test('paper 5.3, figure 7: a leader brings every follower’s log to its own', () => {
  for (const log of ['1 1 1 4 4 5 5 6 6', '1 1 1 4', '1 1 1 4 4 5 5 6 6 6 6', '1 1 1 4 4 5 5 6 6 6 7 7', '1 1 1 4 4 4 4', '1 1 1 2 2 2 3 3 3 3 3']) {
    runScript(`
      cluster a b c
      disk a term 8 log 1 1 1 4 4 5 5 6 6 6
      disk b term 8 log ${log}
      a campaigns
      c>a pregranted t9
      a syncs
      c>a granted t9
      settle
      advance 500
      a is leader
      b is log 1,1,1,4,4,5,5,6,6,6,9 commit 11
    `);
  }
});

test('paper 5.4.1: a vote request says how complete the log is', () => {
  for (const [log, last] of [
    ['', '0/0'],
    ['1', '1/1'],
    ['1 2', '2/2'],
    ['1 1 5', '3/5'],
  ] as const) {
    runScript(`
      cluster a b c
      disk a term 5 log ${log}
      a campaigns
      a sent b prevote t6 last ${last}
      b>a pregranted t6
      a syncs
      a sent c vote t6 last ${last}
    `);
  }
});

test('paper 5.4.1: a voter refuses a log that is less complete than its own', () => {
  for (const [log, last, answer] of [
    ['1', '1/1', 'granted'],
    ['1', '2/1', 'granted'],
    ['1 1', '1/1', 'refused'],
    ['1', '1/2', 'granted'],
    ['1', '2/2', 'granted'],
    ['1 1', '1/2', 'granted'],
    ['2', '1/1', 'refused'],
    ['2', '2/1', 'refused'],
    ['2 2', '1/1', 'refused'],
  ] as const) {
    const granted = answer === 'granted';
    runScript(`
      cluster a b c
      disk a term 2 log ${log}
      b>a vote t3 last ${last}
      a is term 3 vote ${granted ? 'b' : '-'}
      ${granted ? 'a syncs' : ''}
      a sent b ${answer} t3
    `);
  }
});

test('paper 5.4.2: counting copies commits only entries of the own term', () => {
  for (const [index, commit] of [
    [1, 0],
    [2, 0],
    [3, 3],
  ] as const) {
    runScript(`
      cluster a b c
      disk a term 2 log 1 2
      a campaigns
      b>a pregranted t3
      a syncs
      b>a granted t3
      a syncs
      drop
      a is leader last 3
      b>a ack t3 ${index}
      a is commit ${commit}
    `);
  }
});
