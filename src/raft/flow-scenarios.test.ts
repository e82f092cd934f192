// How a leader paces what it sends, as scripts: probing, the window, lost messages, bounds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScript } from './test-script.js';

test('the window fills message by message, and then nothing more is sent', () => {
  runScript(`
    option inflightMessagesMax 3
    cluster a b
    a elected
    forget
    a proposes 1
    a proposes 2
    a proposes 3
    a sent 3 append to b
    a sees b replicate match 1 next 5 inflight 3
    forget
    a proposes 4
    a proposes 5
    a sent nothing
    a is last 6
  `);
});

test('the window moves with acknowledgements; older ones do not move it', () => {
  runScript(`
    option inflightMessagesMax 3
    cluster a b
    a elected
    a proposes 1
    a proposes 2
    a proposes 3
    a proposes 4
    drop
    forget
    b>a ack t1 2
    a sent b append t1 after 4/1 commit 1 : 5/1    # one place became free
    a sees b replicate match 2 next 6 inflight 3
    forget
    a proposes 5
    a sent 0 append
    b>a ack t1 2
    b>a ack t1 1
    b>a ack t1 0
    a sent 0 append
    b>a ack t1 4
    a sent 1 append
    a sees b replicate match 4 next 7 inflight 2
  `);
});

test('a heartbeat’s answer makes a full window ask once, without entries', () => {
  runScript(`
    option inflightMessagesMax 2
    cluster a b
    a elected
    a proposes 1
    a proposes 2
    a proposes 3
    drop
    b>a beat-ack t1 round 0       # the first answer since: the messages may only be slow
    forget
    b>a beat-ack t1 round 0
    a sent b append t1 after 3/1 commit 1
    a sent nothing
    a proposes 4
    a sent nothing
    a sees b replicate match 1 next 4 inflight 2
  `);
});

test('a window whose messages were all lost is sent again from the match on', () => {
  runScript(`
    option inflightMessagesMax 2
    cluster a b c
    a elected
    lose append to b
    a proposes 1
    a proposes 2
    a proposes 3
    settle
    a sees b replicate match 1 next 4 inflight 2
    lose nothing
    advance 600
    a sees b replicate match 4 next 5 inflight 0
    b is commit 4 has 1,2,3
  `);
});

test('a follower told unreachable is probed, and streams again by the answer to a heartbeat', () => {
  runScript(`
    cluster a b c
    a elected
    a proposes 1
    settle
    a misses b
    a sees b probe match 2 next 3
    a sees c replicate match 2
    advance 150
    a sees b replicate match 2 next 3
  `);
});

test('an unreachable follower’s optimistic next index falls back to its match', () => {
  runScript(`
    cluster a b
    a elected
    a proposes 1
    a proposes 2
    a sees b replicate match 1 next 4 inflight 2
    a misses b
    a sees b probe match 1 next 2 inflight 0
  `);
});

test('a reachable follower is probed at once', () => {
  runScript(`
    cluster a b
    a elected
    a misses b
    forget
    a proposes 1
    a sent nothing
    a reaches b
    a sent b append t1 after 1/1 commit 1 : 2/1
    a proposes 2
    a sent nothing
  `);
});

test('a probing leader sends one message per heartbeat interval', () => {
  runScript(`
    cluster a b c
    lose append to b
    a elected
    a sees b probe match 0 next 1
    forget
    a proposes 1
    a proposes 2
    a sent nothing to b
    settle
    forget
    advance 150
    a sent 1 append t1 after 0/0 to b
    forget
    advance 150
    a sent 1 append t1 after 0/0 to b
    lose nothing
    advance 150
    a sees b replicate match 3
  `);
});

test('a streaming leader sends each proposal once, without waiting', () => {
  runScript(`
    cluster a b
    a elected
    forget
    a proposes 1
    a proposes 2
    a proposes 3
    a sent b append t1 after 1/1 commit 1 : 2/1
    a sent b append t1 after 2/1 commit 1 : 3/1
    a sent b append t1 after 3/1 commit 1 : 4/1
  `);
});

test('proposing moves the next index of a streaming follower, not of a probed one', () => {
  runScript(`
    cluster a b c
    lose append to b
    a elected
    a proposes 1
    a sees b probe match 0 next 1
    a sees c replicate match 1 next 3
  `);
});

test('messages keep to the bounds of entries and bytes, and one entry always fits', () => {
  const sizes = (options: string): number[] => {
    const c = runScript(`
      ${options}
      cluster a b
      a elected
      forget
      a proposes 12345 12345 12345 1234567890123
    `);
    return c
      .node('a')
      .take('send')
      .map((e) => (e.message.type === 'append' ? e.message.entries.length : -1));
  };
  assert.deepEqual(sizes(''), [4]);
  assert.deepEqual(sizes('option messageEntriesMax 3'), [3, 1]);
  assert.deepEqual(sizes('option messageBytesMax 10'), [2, 1, 1]);
  assert.deepEqual(sizes('option messageBytesMax 1'), [1, 1, 1, 1]);
});

test('uncommitted bytes are bounded; an empty leader takes one proposal of any size', () => {
  runScript(`
    option uncommittedBytesMax 10
    cluster a b c
    a elected
    isolate a
    a proposes 123456789012345
    a is uncommitted 15
    a proposes 1 -> tooMuchUncommitted
    heal
    advance 600
    a is uncommitted 0 commit 2
    a proposes 12345
    a proposes 12345
    a proposes 1 -> tooMuchUncommitted
    a is uncommitted 10
    settle
    a is uncommitted 0
    a proposes 1
  `);
});

test('a cut off leader’s log does not grow without bound', () => {
  const c = runScript(`
    option uncommittedBytesMax 100
    cluster a b c
    a elected
    isolate a
  `);
  const a = c.node('a');
  for (let i = 0; i < 50; i++) a.propose('1234567890');
  assert.equal(a.raft.lastIndex, 11);
  assert.equal(a.propose('1').ok, false);
  c.heal();
  c.advance(600);
  assert.equal(a.raft.commitIndex, 11);
  assert.equal(a.propose('1').ok, true);
});

test('the followers’ windows are apart: a slow one does not hold up the rest', () => {
  runScript(`
    option inflightMessagesMax 2
    cluster a b c
    a elected
    isolate c
    a proposes 1
    settle
    a proposes 2
    settle
    a proposes 3
    settle
    a is commit 4
    a sees b replicate match 4 next 5 inflight 0
    a sees c replicate match 1 next 4 inflight 2
  `);
});

test('a full window drains in order once messages get through: leader, full, lost, probed, streaming', () => {
  runScript(`
    option inflightMessagesMax 3
    cluster a b c
    a elected
    a proposes 1
    a proposes 2
    a proposes 3
    a sees b replicate match 1 next 5 inflight 3
    a sees c replicate match 1 next 5 inflight 3
    lose all to c
    settle
    a is commit 4
    a sees b replicate match 4 inflight 0
    a sees c replicate match 1 next 5 inflight 3
    forget
    a proposes 4
    a sent 1 append to b
    a sent 0 append to c
    lose nothing
    settle
    forget
    advance 150
    advance 150
    a sees c replicate match 5 next 6 inflight 0
    c is has 1,2,3,4
  `);
});

test('commits reach a follower whose acknowledgements were lost with the next heartbeats', () => {
  runScript(`
    cluster a b c
    a elected
    lose ack from c
    a proposes 1 2
    settle
    a is commit 3
    c is last 3 commit 1
    a sees c replicate match 1 next 4 inflight 1
    lose nothing
    advance 150
    c is commit 1              # no more than what it is known to share
    advance 150
    c is commit 3
    a sees c replicate match 3 inflight 0
  `);
});

test('apply takes its entries in pieces of a bounded size', () => {
  const c = runScript(`
    cluster a
    a elected
    a proposes 12345 12345 12345 1234567890123
    settle
  `);
  const { raft } = c.node('a');
  const pieces: number[] = [];
  for (let next = 2; next <= raft.applyTo; ) {
    const some = raft.entries(next, raft.applyTo + 1, 10) ?? [];
    assert.ok(some.length > 0);
    assert.equal(some[0]?.index, next);
    pieces.push(some.length);
    next += some.length;
  }
  assert.deepEqual(pieces, [2, 1, 1]);
});

test('apply in pieces works from the disk too, after a restart', () => {
  const c = runScript(`
    cluster a
    a elected
    a proposes 12345 12345 12345 1234567890123
    settle
    a restarts
    a is commit 0 last 5
    a elected
    a is commit 6
  `);
  const { raft } = c.node('a');
  let next = 1;
  while (next <= raft.applyTo) {
    const some = raft.entries(next, raft.applyTo + 1, 10) ?? [];
    assert.ok(some.length > 0 && some.length <= 3);
    for (const e of some) assert.equal(e.index, next++);
  }
  assert.equal(next, 7);
});
