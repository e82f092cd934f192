// What a session has got already it does not get again: not by a copy that is held back while the session
// moves and written down beside what is handed over, and not by one that is late where it goes after its
// node's restart.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { Core } from '#broker/core.js';
import { bringBack } from '#broker/durable-recovery.js';
import { DurableSessions } from '#broker/durable-sessions.js';
import { HoldBack, originsOf } from '#broker/hold-back.js';
import { BrokerMetrics } from '#broker/metrics.js';
import type { Sessions } from '#broker/sessions.js';
import type { Wills } from '#broker/wills.js';
import { deliverAs } from '#session/deliver.js';
import { Frames } from '#session/frames.js';
import { defaultLimits } from '#session/limits.js';
import { type Message, makeMessage } from '#session/message.js';
import type { QueuedMessage } from '#session/queue.js';
import { Session, type SessionHome, type SessionLog, Subscription } from '#session/session.js';
import { RecoveringSessions } from '#session/session-record.js';
import { openJournal } from '#store/journal.js';
import { MemoryFiles } from '#store/memory-files.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';

const nodeId = 'b'.repeat(32);
const options = { qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0, exclusive: false, subscriptionIdentifier: undefined } as const;

class Bench {
  readonly clock = new ManualClock();
  readonly files = new MemoryFiles((fn) => this.clock.setTimer(0.5, fn));
  readonly home: SessionHome;
  readonly core: Core;
  readonly back: Session[] = [];

  constructor() {
    const frames = new Frames();
    const metrics = new BrokerMetrics(new ReadableMetrics());
    const now = (): number => this.clock.now();
    this.home = { limits: defaultLimits, counters: metrics, frames, now, onSessionTimer: () => {} };
    const timers = { schedule: () => {}, cancel: () => {} };
    const env = { clock: this.clock, log: quietLog };
    this.core = { env, options: { retainedDedupMs: 11_000 }, limits: defaultLimits, metrics, timers, frames, now } as unknown as Core;
  }

  /** One run of a node's process. */
  open(): { readonly durable: DurableSessions; readonly found: RecoveringSessions } {
    const env = { files: this.files, clock: this.clock, metrics: new ReadableMetrics(), log: quietLog };
    const found = new RecoveringSessions(this.clock.wallNow() - this.clock.now());
    const { journal } = openJournal(env, { nodeId }, found);
    return { durable: new DurableSessions(env, journal, {}, found.nextSlot, found.lastNumber), found };
  }

  restart(): Session | undefined {
    const { durable, found } = this.open();
    const sessions = { ...this.home, restored: (s: Session) => this.back.push(s) } as unknown as Sessions;
    bringBack(this.core, durable, sessions, {} as Wills, found);
    return this.back.pop();
  }

  deliver(session: Session, message: Message, group?: string): void {
    this.home.frames.begin(message, this.clock.now());
    deliverAs(session, message, 2, false, undefined, this.home.frames, group);
    this.home.frames.end();
  }
}

/** As it comes by one of its ways: every copy is an object of its own. */
function copyOf(number: number, incarnation = 4): Message {
  const message = makeMessage('t/1', utf8Encode(String(number)), 2, false, undefined, Number.POSITIVE_INFINITY, 'p');
  message.originIncarnation = incarnation;
  message.originNumber = number;
  return message;
}

function itemOf(message: Message): QueuedMessage {
  return { message, qos: 2, retain: false, subscriptionIdentifiers: undefined, group: undefined };
}

function numbersOf(items: Iterable<QueuedMessage>): number[] {
  return [...items].map((item) => item.message.originNumber);
}

test('what is handed over is neither held nor written down a second time', () => {
  const bench = new Bench();
  const session = new Session(bench.home, 'c', 2, 60, 0);
  const subscription = new Subscription(session, 't/+', options);
  session.addSubscription(subscription);
  const holdBack = new HoldBack(bench.core, session, [[4, 9]]);
  const written: number[] = [];
  session.log = { queued: (_: Session, item: QueuedMessage) => written.push(item.message.originNumber) } as unknown as SessionLog;

  for (const number of [1, 2, 9]) assert.equal(holdBack.admit(subscription, copyOf(number), 2), false);
  assert.deepEqual(numbersOf(holdBack.held()), [1, 2, 9]);
  const handedOver = [itemOf(copyOf(1)), itemOf(copyOf(3))];
  holdBack.expect(handedOver);
  assert.deepEqual(numbersOf(holdBack.held()), [2], 'neither 1, which is handed over, nor 9, which the session had before');

  written.length = 0;
  for (const number of [3, 9, 5]) holdBack.admit(subscription, copyOf(number), 2);
  assert.deepEqual(written, [5]);
  session.log = undefined;
  holdBack.release(handedOver);
  const queue = Array.from({ length: session.queuedCount }, (_, i) => session.queue?.at(i)).filter((item) => item !== undefined);
  assert.deepEqual(numbersOf(queue).sort(), [1, 2, 3, 5]);
});

test('what is written down of a move is in the order in which the client gets it', () => {
  const bench = new Bench();
  const session = new Session(bench.home, 'c', 2, 60, 0);
  const subscription = new Subscription(session, 't/+', options);
  session.addSubscription(subscription);
  const holdBack = new HoldBack(bench.core, session, []);
  for (const number of [1, 3, 5, 6]) holdBack.admit(subscription, copyOf(number), 2);
  holdBack.admit(subscription, copyOf(1, 9), 2);
  const handedOver = [itemOf(copyOf(2)), itemOf(copyOf(5)), itemOf(copyOf(4, 7))];
  const written = holdBack.expect(handedOver);
  assert.deepEqual(numbersOf(written), [1, 2, 3, 5, 4, 6, 1]);
  holdBack.release(handedOver);
  const queue = Array.from({ length: session.queuedCount }, (_, i) => session.queue?.at(i)).filter((item) => item !== undefined);
  assert.deepEqual(numbersOf(queue), numbersOf(written));
  assert.deepEqual([...originsOf([...handedOver, { ...itemOf(copyOf(8, 8)), qos: 0 }, { ...itemOf(copyOf(8, 8)), group: 'g' }])], [4, 7]);
});

test('after a restart a session knows what it got before, and takes that along', () => {
  const bench = new Bench();
  const { durable } = bench.open();
  const session = new Session(bench.home, 'c', 1, 60, 0);
  session.addSubscription(new Subscription(session, 't/+', options));
  durable.begin(session, 0, undefined);
  const other = new Session(bench.home, 'd', 1, 60, 0);
  durable.begin(other, 0, undefined);
  for (const number of [1, 2]) bench.deliver(session, copyOf(number));
  bench.deliver(session, copyOf(3), '$share/g/t/+');
  bench.deliver(session, copyOf(4, 0));
  bench.deliver(other, copyOf(5));
  // The first one has left the session, as one that its client has: nothing but the past speaks of it.
  session.queue?.shift();
  durable.unqueued(session);
  bench.clock.advance(5);

  // The process is killed, and the session stated anew by the next one, which is killed too.
  bench.restart();
  bench.clock.advance(5);
  const { durable: next, found } = bench.open();
  const sessions = { ...bench.home, restored: (s: Session) => bench.back.push(s) } as unknown as Sessions;
  bringBack(bench.core, next, sessions, {} as Wills, found);
  const back = bench.back.find((s) => s.clientId === 'c');
  assert.ok(back !== undefined && back.gate instanceof HoldBack);
  const subscription = back.subscriptions.get('t/+');
  assert.ok(subscription !== undefined);
  assert.deepEqual(back.gate.known().toSorted(), [
    [4, 1],
    [4, 2],
  ]);
  assert.equal(back.gate.admit(subscription, copyOf(1), 2), false);
  assert.equal(back.gate.admit(subscription, copyOf(2), 2), false);
  assert.equal(back.gate.admit(subscription, copyOf(5), 2), true, 'another session got it, this one did not');
  assert.equal(back.gate.admit(subscription, copyOf(1, 5), 2), true, 'the same number of another incarnation');
  back.gate.onTimer();
  assert.equal(back.gate, undefined);
});
