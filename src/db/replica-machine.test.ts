import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ReplicaEffect, type ReplicaInput, ReplicaMachine } from './replica-machine.js';
import type { OpenedMode, RlogMessage } from './rlog-codec.js';

const shard = 's';

function opened(stream: number, mode: OpenedMode, commitIndex: number): RlogMessage {
  return { type: 'opened', shard, stream, mode, historyId: 'h', commitIndex, rows: 0, why: '' };
}

function chunk(stream: number, stamp: number, last: boolean): RlogMessage {
  return { type: 'chunk', shard, stream, stamp, last, rows: [] };
}

function entries(commitIndex: number): RlogMessage {
  return { type: 'entries', shard, commitIndex, committedTransactions: 0, entries: [] };
}

function from(core: string, message: RlogMessage): ReplicaInput {
  return { type: 'message', from: core, message };
}

/** One word per effect. */
function word(e: ReplicaEffect): string {
  switch (e.type) {
    case 'choose-core':
      return `choose${e.not === undefined ? '' : ` not ${e.not}`}`;
    case 'open':
      return `open ${e.core} ${e.stream}${e.force ? ' force' : ''}`;
    case 'close':
      return `close ${e.core} ${e.stream}`;
    case 'state':
      return e.state;
    default:
      return e.type;
  }
}

class Script {
  readonly machine: ReplicaMachine = new ReplicaMachine();

  /** Steps the machine and compares what it wants. */
  step(input: ReplicaInput, ...expected: string[]): this {
    const effects: ReplicaEffect[] = [];
    this.machine.step(input, effects);
    assert.deepEqual(effects.map(word), expected, `after ${JSON.stringify(input)}`);
    return this;
  }

  begin(): this {
    return this.step({ type: 'start' }, 'choose').step({ type: 'chosen', core: 'a' }, 'open a 1');
  }

  bootstrapped(): this {
    return this.begin()
      .step(from('a', opened(1, 'bootstrap', 10)), 'bootstrap', 'begin-bootstrap')
      .step(from('a', chunk(1, 10, false)), 'write-chunk')
      .step(from('a', chunk(1, 12, true)), 'write-chunk');
  }

  normal(): this {
    this.machine.applied = 10;
    return this.begin()
      .step(from('a', opened(1, 'resume', 10)), 'local_replay', 'ask-lease')
      .step({ type: 'leased' }, 'normal');
  }
}

test('replica: a copy counts only once the log has been replayed past its last stamp', () => {
  const s = new Script().bootstrapped();
  s.step({ type: 'chunks-written' }, 'local_replay');
  s.step({ type: 'applied', index: 10 });
  s.step({ type: 'applied', index: 11 });
  s.step(from('a', entries(13)), 'enqueue');
  s.step({ type: 'applied', index: 12 }, 'swap');
  s.step({ type: 'applied', index: 13 });
  s.step({ type: 'swapped' }, 'ask-lease');
  s.step({ type: 'leased' }, 'normal');
});

test('replica: from its own index it replays up to the core’s commit, then asks to count', () => {
  const s = new Script();
  s.machine.applied = 7;
  s.begin()
    .step(from('a', opened(1, 'resume', 9)), 'local_replay')
    .step(from('a', entries(9)), 'enqueue')
    .step({ type: 'applied', index: 8 })
    .step({ type: 'applied', index: 9 }, 'ask-lease')
    .step({ type: 'applied', index: 10 });
  assert.equal(s.machine.state, 'local_replay', 'not before the core agrees');
  s.step({ type: 'leased' }, 'normal');
});

test('replica: the core goes: another one, straight to the log', () => {
  new Script()
    .normal()
    .step({ type: 'core-down', core: 'b' })
    .step({ type: 'core-down', core: 'a' }, 'disconnected', 'choose not a')
    .step({ type: 'no-core' }, 'choose')
    .step({ type: 'chosen', core: 'b' }, 'open b 2')
    .step(from('b', opened(2, 'resume', 10)), 'local_replay', 'ask-lease')
    .step({ type: 'leased' }, 'normal');
});

test('replica: what belongs to an abandoned stream or another core is not listened to', () => {
  const s = new Script().normal();
  s.step(from('b', entries(99))).step(from('b', { type: 'close', shard, stream: 1, why: '' }));
  s.step(from('a', { type: 'close', shard, stream: 7, why: '' }));
  s.step(from('a', { type: 'close', shard, stream: 1, why: '' }), 'disconnected', 'choose not a');
  s.step({ type: 'chosen', core: 'a' }, 'open a 2');
  // Still of stream 1: the core had sent them before it read `open`.
  s.step(from('a', entries(99)))
    .step(from('a', opened(1, 'bootstrap', 99)))
    .step(from('a', chunk(1, 9, true)));
  s.step({ type: 'leased' });
  assert.equal(s.machine.state, 'disconnected');
  s.step(from('a', opened(2, 'resume', 10)), 'local_replay', 'ask-lease');
});

test('replica: a better core: goodbye first, then straight to the log', () => {
  new Script()
    .normal()
    .step({ type: 'move', to: 'a' })
    .step({ type: 'move', to: 'b' }, 'disconnected', 'close a 1', 'open b 2')
    .step({ type: 'move', to: 'c' })
    .step(from('b', opened(2, 'resume', 10)), 'local_replay', 'ask-lease')
    .step({ type: 'leased' }, 'normal');
});

test('replica: when its lease runs out it is in local replay, until it holds one again', () => {
  new Script()
    .normal()
    .step({ type: 'lapsed' }, 'local_replay')
    .step({ type: 'lapsed' })
    .step({ type: 'applied', index: 11 })
    .step({ type: 'leased' }, 'normal')
    .step({ type: 'leased' });
});

test('replica: a core that is behind is left alone for a while', () => {
  new Script()
    .begin()
    .step(from('a', opened(1, 'later', 3)), 'choose not a')
    .step({ type: 'chosen', core: 'b' }, 'open b 2');
});

test('replica: a copy whose core goes is kept; another core goes on with it', () => {
  const s = new Script()
    .begin()
    .step(from('a', opened(1, 'bootstrap', 10)), 'bootstrap', 'begin-bootstrap')
    .step(from('a', chunk(1, 11, false)), 'write-chunk')
    .step({ type: 'core-down', core: 'a' }, 'disconnected', 'choose not a')
    .step({ type: 'chosen', core: 'b' }, 'open b 2')
    .step(from('b', opened(2, 'continue', 12)), 'bootstrap')
    .step(from('b', chunk(2, 13, true)), 'write-chunk')
    .step({ type: 'chunks-written' }, 'local_replay')
    .step({ type: 'applied', index: 12 });
  s.step({ type: 'core-down', core: 'b' }, 'disconnected', 'choose not b')
    .step({ type: 'chosen', core: 'c' }, 'open c 3')
    .step(from('c', opened(3, 'continue', 12)), 'local_replay')
    .step({ type: 'applied', index: 13 }, 'swap')
    .step({ type: 'swapped' }, 'ask-lease');
});

test('replica: the rows are all written when no core is there any more: the next one is asked for the log', () => {
  new Script()
    .bootstrapped()
    .step({ type: 'core-down', core: 'a' }, 'disconnected', 'choose not a')
    .step({ type: 'chunks-written' })
    .step({ type: 'chosen', core: 'b' }, 'open b 2')
    .step(from('b', opened(2, 'continue', 12)), 'local_replay')
    .step({ type: 'applied', index: 12 }, 'swap')
    .step({ type: 'swapped' }, 'ask-lease');
});

test('replica: a copy that was begun is dropped when another core resumes what is in service, or begins anew', () => {
  const begun = (): Script =>
    new Script()
      .begin()
      .step(from('a', opened(1, 'bootstrap', 10)), 'bootstrap', 'begin-bootstrap')
      .step(from('a', chunk(1, 11, false)), 'write-chunk')
      .step({ type: 'core-down', core: 'a' }, 'disconnected', 'choose not a')
      .step({ type: 'chosen', core: 'b' }, 'open b 2');
  begun()
    .step(from('b', opened(2, 'resume', 5)), 'drop-bootstrap', 'local_replay')
    .step({ type: 'applied', index: 5 }, 'ask-lease');
  begun().step(from('b', opened(2, 'bootstrap', 12)), 'bootstrap', 'begin-bootstrap');
});

test('replica: after a failure the next stream is a copy, until one has been put in service', () => {
  new Script()
    .normal()
    .step({ type: 'failed', why: 'a gap' }, 'close a 1', 'disconnected', 'choose not a')
    .step({ type: 'chosen', core: 'b' }, 'open b 2 force')
    .step(from('b', opened(2, 'bootstrap', 10)), 'bootstrap', 'begin-bootstrap')
    .step(from('b', chunk(2, 10, true)), 'write-chunk')
    .step({ type: 'chunks-written' }, 'local_replay')
    .step({ type: 'applied', index: 10 }, 'swap')
    .step({ type: 'swapped' }, 'ask-lease')
    .step({ type: 'core-down', core: 'b' }, 'disconnected', 'choose not b')
    .step({ type: 'chosen', core: 'a' }, 'open a 3');
});

test('replica: a copy that cannot be made says nothing of what is in service: the next core may go on from there', () => {
  const failed = (s: Script): Script =>
    s
      .step(from('a', opened(1, 'bootstrap', 10)), 'bootstrap', 'begin-bootstrap')
      .step(from('a', chunk(1, 10, false)), 'write-chunk')
      .step({ type: 'failed', why: 'the disk is full' }, 'close a 1', 'drop-bootstrap', 'disconnected', 'choose not a');
  failed(new Script().begin())
    .step({ type: 'applied', index: 7 })
    .step({ type: 'chosen', core: 'b' }, 'open b 2')
    .step(from('b', opened(2, 'resume', 7)), 'local_replay', 'ask-lease');

  // What is in service was of no use before.
  const forced = new Script();
  forced.machine.forceBootstrap();
  failed(forced.step({ type: 'start' }, 'choose').step({ type: 'chosen', core: 'a' }, 'open a 1 force')).step(
    { type: 'chosen', core: 'b' },
    'open b 2 force',
  );

  // Nobody is there: the copy is dropped, and the one that is chosen is asked for what follows.
  new Script()
    .begin()
    .step(from('a', opened(1, 'bootstrap', 10)), 'bootstrap', 'begin-bootstrap')
    .step({ type: 'core-down', core: 'a' }, 'disconnected', 'choose not a')
    .step({ type: 'failed', why: 'the disk is full' }, 'drop-bootstrap')
    .step({ type: 'chosen', core: 'b' }, 'open b 2');
});

test('replica: what is in service turns out damaged while a copy is made: no core goes on with it any more', () => {
  const begun = (): Script =>
    new Script()
      .begin()
      .step(from('a', opened(1, 'bootstrap', 10)), 'bootstrap', 'begin-bootstrap')
      .step(from('a', chunk(1, 11, false)), 'write-chunk');
  begun()
    .step({ type: 'damaged', why: 'a row' })
    .step({ type: 'core-down', core: 'a' }, 'disconnected', 'choose not a')
    .step({ type: 'chosen', core: 'b' }, 'open b 2 force');
  begun()
    .step({ type: 'damaged', why: 'a row' })
    .step({ type: 'failed', why: 'the disk is full' }, 'close a 1', 'drop-bootstrap', 'disconnected', 'choose not a')
    .step({ type: 'chosen', core: 'b' }, 'open b 2 force');
  // The next core was asked before: its answer may be that the log will do.
  begun()
    .step({ type: 'core-down', core: 'a' }, 'disconnected', 'choose not a')
    .step({ type: 'chosen', core: 'b' }, 'open b 2')
    .step({ type: 'damaged', why: 'a row' }, 'open b 3 force')
    .step(from('b', opened(2, 'resume', 5)))
    .step(from('b', opened(3, 'continue', 12)), 'bootstrap')
    .step(from('b', chunk(3, 11, true)), 'write-chunk')
    .step({ type: 'chunks-written' }, 'local_replay')
    .step({ type: 'applied', index: 12 }, 'swap')
    .step({ type: 'swapped' }, 'ask-lease')
    .step({ type: 'core-down', core: 'b' }, 'disconnected', 'choose not b')
    .step({ type: 'chosen', core: 'a' }, 'open a 4');
  new Script()
    .normal()
    .step({ type: 'damaged', why: 'a row' }, 'close a 1', 'disconnected', 'choose not a')
    .step({ type: 'chosen', core: 'b' }, 'open b 2 force');
});

test('replica: a copy that is put in service while the next stream is asked for: it is asked for anew, from there', () => {
  const s = new Script();
  s.machine.forceBootstrap();
  s.step({ type: 'start' }, 'choose').step({ type: 'chosen', core: 'a' }, 'open a 1 force');
  s.step(from('a', opened(1, 'bootstrap', 10)), 'bootstrap', 'begin-bootstrap')
    .step(from('a', chunk(1, 12, true)), 'write-chunk')
    .step({ type: 'chunks-written' }, 'local_replay')
    .step({ type: 'applied', index: 12 }, 'swap')
    .step({ type: 'core-down', core: 'a' }, 'disconnected', 'choose not a')
    .step({ type: 'chosen', core: 'b' }, 'open b 2 force')
    .step({ type: 'swapped' }, 'open b 3')
    // An answer to what was asked before, by a core that is behind the new copy.
    .step(from('b', opened(2, 'bootstrap', 11)))
    .step(from('b', opened(3, 'later', 11)), 'choose not b');
});

test('replica: it is chosen for once at a time', () => {
  new Script().normal().step({ type: 'chosen', core: 'b' });
});

test('replica machine: an upstream that closes the stream before it has answered is left at once', () => {
  new Script()
    .begin()
    .step(from('b', { type: 'close', shard, stream: 1, why: '' }))
    .step(from('a', { type: 'close', shard, stream: 1, why: 'the tables here are damaged' }), 'choose not a')
    .step(from('a', opened(1, 'resume', 5)))
    .step({ type: 'chosen', core: 'b' }, 'open b 2')
    // Said of the stream before.
    .step(from('b', { type: 'close', shard, stream: 1, why: '' }))
    .step(from('b', opened(2, 'resume', 5)), 'local_replay');
});

test('replica machine: an upstream that never answers is left', () => {
  new Script()
    .begin()
    .step(from('a', { type: 'close', shard, stream: 0, why: '' }))
    .step({ type: 'unanswered' }, 'close a 1', 'choose not a')
    .step({ type: 'unanswered' })
    .step({ type: 'chosen', core: 'b' }, 'open b 2')
    .step(from('a', opened(1, 'resume', 5)))
    .step(from('b', opened(2, 'resume', 5)), 'local_replay')
    .step({ type: 'unanswered' });
});
