// Messages that a node must have on its disk before it acknowledges them to the node that forwarded them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import { NodeForwarder } from '#broker/forward.js';
import type { Keeping } from '#broker/ports.js';
import { brokerSchema } from '#broker/schema.js';
import { type Message, makeMessage } from '#session/message.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster } from '../doubles/memory-database.js';
import { MemoryNetwork } from '../doubles/memory-links.js';
import { ReadableMetrics } from '../doubles/quiet-env.js';
import { id } from './mini-cluster.js';

/** A disk that is done when the test says so. */
class SlowDisk implements Keeping {
  position = 0;
  owed = false;
  readonly #waiting: ((ok: boolean) => void)[] = [];

  kept(from: number, done: (ok: boolean) => void): void {
    if (this.refusedSince(from)) done(false);
    else this.#waiting.push(done);
  }

  /** Nothing more is taken. */
  full = false;
  #lastRefusal = 0;

  takes(): boolean {
    return !this.full;
  }

  take(): void {
    this.position++;
    if (this.full) this.#lastRefusal = this.position;
  }

  refusedSince(from: number): boolean {
    return this.#lastRefusal > from;
  }

  sync(ok = true): void {
    for (const done of this.#waiting.splice(0)) done(ok);
  }
}

function pair() {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const net = new MemoryNetwork(clock);
  const random = { next: () => 0.5, int: () => 1, bytes: (n: number) => new Uint8Array(n) };
  const make = (i: number): NodeForwarder => {
    const node = db.join(id(i), i === 1 ? 'core' : 'replicant');
    return new NodeForwarder({ clock, random, metrics: new ReadableMetrics() }, net.start(id(i), node.incarnation), node);
  };
  const [a, b] = [make(1), make(2)];
  const disk = new SlowDisk();
  b.keeping = disk;
  const got: Message[] = [];
  b.onMessage((m) => {
    got.push(m);
    // Those of `kept` are for a persistent session.
    if (m.topicName === 'kept') disk.take();
    return true;
  });
  net.linkAll();
  clock.advance(10);
  const answers: string[] = [];
  const send = (...topicNames: string[]): void => {
    for (const topicName of topicNames) {
      const m = makeMessage(topicName, utf8Encode('x'), 1, false, undefined, Number.POSITIVE_INFINITY, 'p');
      a.forward(m, [{ nodeId: id(2) }], (outcome, matched) => answers.push(`${topicName} ${outcome} ${matched}`));
    }
    clock.advance(10);
  };
  return { clock, disk, got, answers, send };
}

test('a message for a persistent session is acknowledged once it is on disk, and so is what came behind it', () => {
  const { clock, disk, got, answers, send } = pair();
  send('plain');
  assert.deepEqual(answers, ['plain accepted true']);
  send('kept');
  send('behind');
  assert.equal(got.length, 3);
  assert.equal(answers.length, 1);
  disk.sync();
  clock.advance(10);
  assert.deepEqual(answers.slice(1), ['kept accepted true', 'behind accepted true']);
  send('after');
  assert.equal(answers.at(-1), 'after accepted true');
});

test('one that could not be written is refused, what came behind it is not', () => {
  const { clock, disk, answers, send } = pair();
  send('kept');
  send('behind');
  disk.sync(false);
  clock.advance(10);
  assert.deepEqual(answers, ['kept refused false', 'behind accepted true']);
  send('plain');
  assert.equal(answers.at(-1), 'plain accepted true');
});

test('a refusal speaks for no message but its own, and not before those ahead of it are on disk', () => {
  const { clock, disk, answers, send } = pair();
  send('kept');
  disk.full = true;
  send('plain', 'kept', 'plain');
  assert.deepEqual(answers, [], 'the first one is not on disk');
  disk.sync();
  clock.advance(10);
  assert.deepEqual(answers, ['kept accepted true', 'plain accepted true', 'kept refused false', 'plain accepted true']);
  send('kept');
  assert.equal(answers.at(-1), 'kept refused false', 'with nothing to wait for it is told at once');
});

test('a disk that fails refuses what was written of a frame, and nothing else', () => {
  const { clock, disk, answers, send } = pair();
  send('kept', 'plain');
  disk.sync(false);
  clock.advance(10);
  assert.deepEqual(answers, ['kept refused false', 'plain accepted true']);
});
