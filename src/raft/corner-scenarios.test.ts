// Corners as scripts: what is easily forgotten when a role changes, a word gets lost or a log is read in pieces.
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('answers of the last election do not count in the next', () => {
  runScript(`
    cluster a b c d e
    a campaigns
    b>a pregranted t1
    c>a pregranted t1
    a syncs
    b>a granted t1
    a is candidate term 1
    at 9000
    a ticks
    a is pre term 1
    c>a pregranted t2
    a is pre                  # itself and c: two of five
    d>a pregranted t2
    a is candidate term 2
    a syncs
    b>a granted t2
    a is candidate
    c>a granted t2
    a is leader
  `);
});

test('a candidate by transfer follows nobody', () => {
  runScript(`
    cluster a b c
    a elected
    a>b timeout-now t1
    b is candidate term 2 of - vote b
    a is leader of a
  `);
});

test('who offers a copy is the leader: candidates give way, and the timeout begins anew', () => {
  runScript(`
    cluster a b c
    a draws 0
    a campaigns
    b>a pregranted t1
    a is candidate term 1
    at 700
    b>a offer t1 9/1
    a is follower term 1 of b installing
    a aborts
    a is due 1700
    at 1600
    a ticks
    a is follower of b
  `);
});

test('a leader probes a follower whose process is dead', () => {
  runScript(`
    cluster a b c
    a elected
    a proposes x
    a sees b replicate match 1 next 3 inflight 1
    a loses b
    a sees b probe match 1 next 2 inflight 0
    a is leader
  `);
});

test('a reachable word to a follower that is not probed changes nothing', () => {
  runScript(`
    cluster a b c
    a elected
    a proposes x
    forget
    a reaches b
    a reaches z
    b reaches a
    a sees b replicate match 1 next 3 inflight 1
    a sent nothing
  `);
});

test('a configuration at the very end of the log is found when the log is read in pieces', () => {
  runScript(`
    option messageEntriesMax 1
    cluster a b c
    a elected
    a proposes x y
    settle
    a adds d
    settle
    a restarts
    a is learners d last 4
  `);
});

test('an acknowledged probe that left entries behind is followed by them', () => {
  runScript(`
    cluster a b c
    lose append to b
    a elected
    a proposes x
    lose nothing
    forget
    b>a ack t1 0
    a sees b replicate
    a sent b append t1 after 0/0
  `);
});

test('a snapshot status for one that is given none changes nothing', () => {
  runScript(`
    cluster a b c
    a elected
    a handed b
    a failed z
    b handed c
    a sees b replicate match 1
  `);
});

test('who grants a vote waits a whole timeout before it campaigns itself; who refuses does not', () => {
  runScript(`
    cluster a b c
    disk a term 1 log 1
    a draws 0
    a restarts
    at 900
    b>a prevote t2 last 5/1
    b>a vote t2 last 0/0
    a is term 2 due 1900      # a later term begins the timeout anew
    at 1500
    c>a vote t2 last 0/0
    a is vote - due 1900
    c>a vote t2 last 5/1
    a is vote c due 2500
  `);
});

test('what is durable already is acknowledged at once, whatever else is being written', () => {
  runScript(`
    cluster a b c
    a holds
    b>a append t1 after 0/0 : 1/1 2/1
    a syncs
    forget
    b>a append t1 after 2/1 : 3/1
    a sent nothing
    b>a append t1 after 0/0 : 1/1 2/1
    a sent b ack t1 2
    a syncs
    a sent b ack t1 3
    a sent nothing
  `);
});

test('a candidate waits a whole timeout for its votes, from the PreVote’s end on', () => {
  runScript(`
    cluster a b c
    a draws 0
    a campaigns
    a is pre due 1000
    at 600
    b>a pregranted t1
    a is candidate due 1600
  `);
});

test('acknowledgements keep a leader too, when no heartbeat is answered', () => {
  runScript(`
    cluster a b c
    a elected
    isolate a
    at 1900
    b>a ack t1 1
    at 2100
    a ticks
    a is leader
    at 3901
    a ticks
    a is follower
  `);
});

test('an offer is repeated after a minimum timeout, not with every heartbeat', () => {
  runScript(`
    cluster a b c
    a elected
    isolate c
    a proposes x y
    settle
    a compacts 3
    heal
    advance 310
    a sees c snapshot
    c aborts
    forget
    advance 900
    a sent 0 offer
    advance 200
    a sent 1 offer
    c is installing
  `);
});
