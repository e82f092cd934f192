// Elections as scripts: who wins, who yields, what a term and a vote do in every role.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('a leader is elected whatever few are down, and none when too many are', () => {
  for (const [down, outcome] of [
    ['', 'leader term 1'],
    ['c', 'leader term 1'],
    ['b c', 'pre term 0'],
    ['b c d', 'leader term 1'],
    ['b c d e', 'pre term 0'],
  ] as const) {
    const crashes = down
      .split(' ')
      .filter((id) => id !== '')
      .map((id) => `${id} crashes\n`)
      .join('');
    const voters = down.length > 3 ? 'a b c d e f g' : 'a b c';
    runScript(`cluster ${voters}\n${crashes}a campaigns\nsettle\na is ${outcome}`);
  }
});

test('a voter with a newer log refuses, one with an older log grants', () => {
  runScript(`
    cluster a b c
    disk b log 1
    disk c log 1 1
    a campaigns
    settle
    a is follower term 1
    b campaigns
    settle
    b is leader term 2    # a grants, c refuses
  `);
});

test('two candidates whose logs differ: the one that may win does, in a later round', () => {
  runScript(`
    cluster a b c d e
    disk a log 1 1
    disk b log 1 1
    disk c log 1
    c campaigns
    settle
    c is leader           # d and e have nothing
    each is of c term 2
  `);
});

test('an election overwrites newer but unchosen entries', () => {
  // a and b hold an entry of term 1, c was leader of term 2 and wrote alone; d and e voted for c.
  runScript(`
    cluster a b c d e
    disk a term 1 log 1
    disk b term 1 log 1
    disk c log 2
    disk d term 2 vote c
    disk e term 2 vote c
    a campaigns
    settle
    a is follower term 2  # PreVote has told it of the term
    a campaigns
    settle
    a is leader term 3    # c refuses, b, d and e grant
    each is log 1,3 commit 2
    c told proposalsDropped 1-1
  `);
});

test('a candidate with the older log learns of the term and wins no vote of the others', () => {
  runScript(`
    cluster a b c d e
    disk a term 1 log 1
    disk b term 2 log 1 2
    disk c term 2 log 1 2
    disk d term 2 log 1 2
    a campaigns
    settle
    a is follower term 2
    b is follower term 2
  `);
});

test('every role grants a vote of a later term, and is follower then', () => {
  for (const become of ['', 'a campaigns', 'a campaigns\nb>a pregranted t2\na syncs', 'a campaigns\nb>a pregranted t2\na syncs\nb>a granted t2']) {
    const c = runScript(`
      cluster a b c
      disk a term 1
      a holds
      ${become}
      at 5000
      c>a vote t9 last 9/8 transfer
      a is follower term 9 vote c of -
      a syncs
      a sent c granted t9
    `);
    assert.equal(c.node('a').disk.hardState.votedFor, 'c');
  }
});

test('every role answers a PreVote of a later term without changing; a leader does not', () => {
  for (const [become, role] of [
    ['', 'follower term 1'],
    ['a campaigns', 'pre term 1'],
    ['a campaigns\nb>a pregranted t2\na syncs', 'candidate term 2'],
  ] as const) {
    runScript(`
      cluster a b c
      disk a term 1
      a holds
      ${become}
      forget
      c>a prevote t9 last 9/8
      a is ${role}
      a sent c pregranted t9
      a told nothing persist
    `);
  }
  runScript(`
    cluster a b c
    a elected
    forget
    c>a prevote t9 last 9/8
    a is leader term 1
    a sent nothing
  `);
});

test('PreVote: a node behind in its log gets no promise and stirs nobody', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a proposes x
    settle
    heal
    a crashes
    advance 1200
    c campaigns
    forget
    deliver c>b
    b sent c prerefused t1
    c is pre term 1
    drop
    b campaigns
    settle
    b is leader term 2
    c is follower of b has x
  `);
});

test('dueling candidates of one term: the second leader’s log wins over the first’s rest', () => {
  runScript(`
    cluster a b c
    cut a>c
    cut c>a
    a elected
    c campaigns            # for a term that b is in already
    settle
    c is follower term 1
    heal
    c campaigns            # a leads and b hears it: no answer
    settle
    c is pre term 1
    a is leader term 1
    advance 200
    c is follower of a log 1 commit 1
  `);
});

test('two that campaign at once: each votes for itself, the next timeout decides', () => {
  runScript(`
    cluster a b c d
    a campaigns
    d campaigns
    b>a pregranted t1
    c>a pregranted t1
    b>d pregranted t1
    c>d pregranted t1
    a is candidate
    d is candidate
    drop
    a syncs
    d syncs
    deliver a>b
    deliver d>c
    deliver a>d
    deliver d>a
    settle
    a is follower term 1
    d is follower term 1
    advance 4000
    a is leader
    each is of a
  `);
});

test('a candidate concedes to a leader of its term and takes its log', () => {
  runScript(`
    cluster a b c
    isolate a
    a campaigns
    c elected
    c proposes x
    settle
    heal
    advance 400
    a is follower term 1 of c log 1,1 commit 2
    each is has x
  `);
});

test('a candidate concedes to a heartbeat, and to an append, of a leader of its term', () => {
  for (const message of ['beat t1 round 1', 'append t1 after 0/0 : 1/1']) {
    runScript(`
      cluster a b c
      a campaigns
      b>a pregranted t1
      a is candidate term 1
      c>a ${message}
      a is follower term 1 of c vote a
    `);
  }
});

test('a candidate restarted by a heartbeat of a later term does not fall back to its own', () => {
  runScript(`
    cluster a b c
    isolate c
    a elected
    a campaigns               # a leader does not
    a is leader term 1
    disk c term 1
    c campaigns
    b>c pregranted t2
    c is candidate term 2
    a>c beat t1 round 1
    c is candidate term 2
    c sent a reject t2 0
    settle
    heal
    a>c beat t3 round 1
    c is follower term 3 of a
  `);
});

test('a single voter is leader after its own PreVote and vote', () => {
  runScript(`
    cluster a
    a campaigns
    a is candidate term 1 vote a
    a sent nothing
    a syncs
    a is leader term 1 commit 0
    a syncs
    a is commit 1
  `);
});

test('a voter of a restarted single-node group has its log and leads in the next term', () => {
  runScript(`
    cluster a
    a elected
    a proposes x
    settle
    a restarts
    a is follower term 1 commit 0 last 2
    advance 1100
    a is leader term 2 commit 3 has x applied x
  `);
});

test('votes given late, after the election was lost, do not make a leader', () => {
  for (const [pre, role] of [
    ['pregranted t1', 'follower'],
    ['granted t1', 'follower'],
  ] as const) {
    runScript(`
      cluster a b c
      a campaigns
      b>a pregranted t1
      a is candidate term 1
      b>a refused t1
      c>a refused t1
      a is follower
      b>a ${pre}
      c>a ${pre}
      a is ${role} term 1
      a syncs                # the own vote is durable, too late
      a is follower
    `);
  }
});

test('the own PreVote does not count as a vote', () => {
  runScript(`
    cluster a b c
    a holds
    a campaigns
    b>a pregranted t1
    c>a pregranted t1
    a is candidate
    b>a granted t1
    a is candidate            # one of three
    a syncs
    a is leader
  `);
});

test('a PreVote answer that comes after becoming a candidate is not a vote', () => {
  runScript(`
    cluster a b c d e
    a campaigns
    b>a pregranted t1
    c>a pregranted t1
    a is candidate term 1
    a syncs
    d>a pregranted t1
    e>a pregranted t1
    a is candidate
    b>a granted t1
    c>a granted t1
    a is leader
  `);
});

test('an acknowledgement of its own that a deposed leader gets late changes nothing', () => {
  runScript(`
    cluster a b c
    a elected
    a holds
    a proposes x
    drop
    b>a beat t2 round 1
    a is follower term 2 of b
    a syncs
    a is follower term 2 commit 1 durable 2
  `);
});

test('all three step down at a message of a later term, and take its leader', () => {
  for (const become of ['', 'a campaigns', 'a campaigns\nb>a pregranted t1', 'a elected']) {
    for (const [message, leader] of [
      ['vote t3 last 9/2 transfer', '-'],
      ['append t3 after 0/0', 'b'],
      ['beat t3 round 1', 'b'],
    ]) {
      runScript(`
        cluster a b c
        ${become}
        at 9000
        b>a ${message}
        a is follower term 3 of ${leader}
      `);
    }
  }
});

test('a vote request: granted, refused or unanswered in every role', () => {
  for (const [log, request, vote, answer] of [
    ['2 2', 'vote t3 last 0/0', '-', 'refused'],
    ['2 2', 'vote t3 last 9/1', '-', 'refused'],
    ['2 2', 'vote t3 last 1/2', '-', 'refused'],
    ['2 2', 'vote t3 last 2/2', '-', 'granted'],
    ['2 2', 'vote t3 last 3/2', '-', 'granted'],
    ['2 2', 'vote t3 last 1/3', '-', 'granted'],
    ['2 2', 'vote t3 last 2/2', 'b', 'granted'],
    ['2 2', 'vote t3 last 2/2', 'c', 'refused'],
    ['2 2', 'prevote t4 last 2/2', 'c', 'pregranted'],
    ['2 2', 'prevote t4 last 1/2', 'c', 'prerefused'],
    ['2 2', 'prevote t3 last 2/2', '-', 'prerefused'],
  ] as const) {
    const c = runScript(`cluster a b c\ndisk a term 3 ${vote === '-' ? '' : `vote ${vote}`} log ${log}\nb>a ${request}`);
    const a = c.node('a');
    a.sync();
    const sent = a.take('send')[0]?.message;
    assert.ok(sent?.type === 'voteResponse', request);
    assert.equal(`${sent.preVote ? 'pre' : ''}${sent.granted ? 'granted' : 'refused'}`, answer, request);
    // A grant speaks of the term asked for, a refusal of the voter's own.
    assert.equal(sent.term, answer === 'pregranted' ? 4 : 3, request);
  }
});
