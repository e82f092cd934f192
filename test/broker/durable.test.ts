// The journal of persistent sessions against the sessions themselves: whatever happens to them, what is read
// back is what they were; cut off at any byte, it is what they were at some earlier moment.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import type { DurableOptions } from '#broker/durable-options.js';
import { DurableSessions } from '#broker/durable-sessions.js';
import { BrokerMetrics } from '#broker/metrics.js';
import { deliverAs, pump } from '#session/deliver.js';
import { Frames } from '#session/frames.js';
import { defaultLimits } from '#session/limits.js';
import { type Message, makeMessage, type Qos } from '#session/message.js';
import type { QueuePriorities } from '#session/queue.js';
import { Session, type SessionChannel, type SessionHome, Subscription } from '#session/session.js';
import { type RecoveredSession, RecoveringSessions } from '#session/session-record.js';
import { openJournal } from '#store/journal.js';
import { MemoryFiles } from '#store/memory-files.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';

const nodeId = 'a'.repeat(32);
const small: Partial<DurableOptions> = { compactBytesMin: 3_000, sliceBytes: 300, slicePauseMs: 3, retryMs: 50 };

class Bench {
  readonly clock = new ManualClock();
  files = new MemoryFiles((fn) => this.clock.setTimer(0.5, fn));
  readonly metrics = new ReadableMetrics();
  readonly home: SessionHome;
  readonly sessions: Session[] = [];
  durable: DurableSessions;

  constructor(segmentBytes = 1_000, options: Partial<DurableOptions> = small, priorities?: QueuePriorities) {
    this.home = {
      limits: { ...defaultLimits, maxQueuedMessages: 6, priorities },
      counters: new BrokerMetrics(this.metrics),
      frames: new Frames(),
      now: () => this.clock.now(),
      onSessionTimer: () => {},
    };
    const env = { ...this.env(), metrics: this.metrics };
    const { journal } = openJournal(env, { nodeId, segmentBytes }, new RecoveringSessions(0));
    this.durable = new DurableSessions(env, journal, options);
  }

  env() {
    return { files: this.files, clock: this.clock, metrics: new ReadableMetrics(), log: quietLog };
  }

  begin(clientId: string): Session {
    const session = new Session(this.home, clientId, 1, 60, 5);
    this.sessions.push(session);
    this.durable.begin(session, 0, undefined);
    return session;
  }

  end(session: Session): void {
    this.sessions.splice(this.sessions.indexOf(session), 1);
    this.durable.forget(session);
  }

  live(): string {
    return dump(this.sessions.map((s) => liveDump(s)));
  }

  read(): RecoveringSessions {
    return readBack(this.files, this.clock);
  }
}

function readBack(files: MemoryFiles, clock: ManualClock): RecoveringSessions {
  const found = new RecoveringSessions(clock.wallNow() - clock.now());
  openJournal({ files, clock, metrics: new ReadableMetrics(), log: quietLog }, { nodeId }, found);
  return found;
}

function dump(all: readonly object[]): string {
  return all
    .map((s) => JSON.stringify(s))
    .sort()
    .join('\n');
}

function messageDump(m: Message | undefined): unknown {
  if (m === undefined) return undefined;
  const { topicName, payload, qos, retain, properties, expiresAt, publisherId, originIncarnation, originNumber } = m;
  // The times of two clocks of fractions differ by what a float cannot say.
  return [topicName, [...payload], qos, retain, properties, Math.round(expiresAt), publisherId, originIncarnation, originNumber];
}

function liveDump(s: Session): object {
  const queue = Array.from({ length: s.queuedCount }, (_, i) => s.queue?.at(i)).filter((item) => item !== undefined && item.qos > 0);
  return {
    clientId: s.clientId,
    epoch: s.epoch,
    lastPacketId: s.lastPacketId,
    subscriptions: [...s.subscriptions.values()].map((x) => [x.topicFilter, x.options]),
    inflight: [...(s.inflight?.entries() ?? [])].map((e) => [e.packetId, e.qos, e.released, e.group, messageDump(e.message)]),
    received: [...(s.awaitingRel?.keys() ?? [])],
    queue: queue.map((item) => [item?.qos, item?.retain, item?.subscriptionIdentifiers, item?.group, messageDump(item?.message)]),
  };
}

function foundDump(s: RecoveredSession): object {
  return {
    clientId: s.clientId,
    epoch: s.epoch,
    lastPacketId: s.lastPacketId,
    subscriptions: [...s.subscriptions],
    inflight: [...s.inflight.values()].map((e) => [e.packetId, e.qos, e.released, e.group, messageDump(e.message)]),
    received: [...s.received],
    queue: s.queue.map((item) => [item.qos, item.retain, item.subscriptionIdentifiers, item.group, messageDump(item.message)]),
  };
}

function foundAll(found: RecoveringSessions): string {
  return dump([...found.sessions()].map(foundDump));
}

/** A connection that takes everything and says nothing. */
function channelOf(bench: Bench): SessionChannel {
  const out = { writable: true, frame: () => {}, aliased: () => {} } as unknown as SessionChannel['out'];
  return {
    out,
    counters: bench.home.counters,
    version: 5,
    cleanStart: false,
    keepAliveS: 0,
    connectedAt: 0,
    window: 3,
    maximumPacketSize: 1_000_000,
    outAliases: undefined,
    sendPubrel: () => {},
    disconnect: () => {},
  };
}

let numbers = 0;

function messageOf(bench: Bench, prng: Prng): Message {
  const qos = prng.pick<Qos>([0, 1, 1, 2]);
  const properties = prng.chance(0.3) ? { contentType: 'text', userProperties: [['a', 'b']] as const } : undefined;
  const expiresAt = prng.chance(0.2) ? bench.clock.now() + 1_000_000 : Number.POSITIVE_INFINITY;
  const message = makeMessage(`t/${prng.int(3)}`, utf8Encode('x'.repeat(prng.int(60))), qos, prng.chance(0.2), properties, expiresAt, 'p');
  message.originNumber = ++numbers;
  return message;
}

/** Something that happens to one of the sessions, or to several. */
function happen(bench: Bench, prng: Prng): void {
  const { sessions, durable } = bench;
  const session = sessions.length === 0 || (sessions.length < 5 && prng.chance(0.05)) ? bench.begin(`c${++numbers}`) : prng.pick(sessions);
  const inflight = [...(session.inflight?.entries() ?? [])];
  const entry = inflight[0];
  switch (prng.int(12)) {
    case 0: {
      const options = {
        qos: prng.pick<Qos>([0, 1, 2]),
        noLocal: prng.chance(0.5),
        retainAsPublished: false,
        retainHandling: 1,
        exclusive: false,
      } as const;
      session.addSubscription(
        new Subscription(session, `f/${prng.int(5)}`, { ...options, subscriptionIdentifier: prng.chance(0.5) ? 7 : undefined }),
      );
      return;
    }
    case 1:
      session.removeSubscription(`f/${prng.int(5)}`);
      return;
    case 2:
      session.channel = session.channel === undefined ? channelOf(bench) : undefined;
      session.inflight?.restart();
      pump(session);
      return;
    case 3:
      if (entry === undefined || entry.qos !== 2 || entry.released) return;
      entry.released = true;
      entry.message = undefined;
      durable.released(session, entry.packetId);
      return;
    case 4:
    case 5:
      if (entry === undefined) return;
      session.complete(entry);
      pump(session);
      return;
    case 6: {
      const id = 1 + prng.int(5);
      session.awaitingRel ??= new Map();
      session.awaitingRel.set(id, undefined);
      durable.received(session, id);
      return;
    }
    case 7: {
      const id = session.awaitingRel?.keys().next().value;
      if (id === undefined) return;
      session.awaitingRel?.delete(id);
      durable.freed(session, id);
      return;
    }
    case 8:
      session.epoch++;
      durable.changed(session);
      return;
    case 9:
      if (prng.chance(0.1)) bench.end(session);
      return;
    default: {
      // The same message for all of them.
      const message = messageOf(bench, prng);
      const group = prng.chance(0.2) ? '$share/g/t' : undefined;
      for (const one of prng.chance(0.3) ? sessions : [session]) {
        bench.home.frames.begin(message, bench.clock.now());
        deliverAs(one, message, message.qos, message.retain, prng.chance(0.3) ? [3] : undefined, bench.home.frames, group);
        bench.home.frames.end();
      }
    }
  }
}

const priorities: QueuePriorities = {
  ranks: new Map([
    ['t/1', 5],
    ['t/2', 9],
  ]),
  otherwise: 0,
};

test('what is read back is what the sessions are, whatever happened to them', () => {
  let rounds = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const prng = new Prng(seed);
    const bench = new Bench(1_000, small, seed > 40 ? priorities : undefined);
    for (let i = 0; i < 250; i++) {
      happen(bench, prng);
      if (prng.chance(0.4)) bench.clock.advance(prng.int(4));
      if (i % 50 === 49) {
        bench.clock.advance(5);
        assert.equal(foundAll(bench.read()), bench.live(), `seed ${seed}, after ${i}`);
      }
    }
    bench.clock.advance(5);
    assert.equal(bench.read().damagedCount, 0);
    rounds += bench.metrics.read('starmesh_session_journal_compactions_total');
    assert.ok(bench.durable.status.diskBytes < 40_000, `seed ${seed}: ${bench.durable.status.diskBytes} bytes`);
  }
  assert.ok(rounds > 40, `${rounds} rounds`);
});

test('a message that leaves out of its turn of rank has left the journal too', () => {
  const bench = new Bench(1_000, small, { ranks: new Map([['t/1', 1]]), otherwise: 0 });
  const session = bench.begin('c');
  session.channel = channelOf(bench);
  const sent: string[] = [];
  const give = (topicName: string, n: number): void => {
    const m = makeMessage(topicName, utf8Encode(String(n)), 1, false, undefined, Number.POSITIVE_INFINITY, 'p');
    bench.home.frames.begin(m, bench.clock.now());
    deliverAs(session, m, 1, false, undefined, bench.home.frames);
    bench.home.frames.end();
  };
  for (let i = 0; i < 3; i++) give('t/1', i);
  for (let i = 0; i < 2; i++) give('t/0', i);
  give('t/1', 3);
  for (let i = 0; i < 60; i++) {
    const [entry] = session.inflight?.entries() ?? [];
    assert.ok(entry !== undefined);
    sent.push(entry.message?.topicName ?? '');
    session.complete(entry);
    pump(session);
    give('t/1', 4 + i);
    bench.clock.advance(2);
    assert.equal(foundAll(bench.read()), bench.live(), `after ${i}`);
  }
  assert.equal(sent.filter((name) => name === 't/0').length, 2);
});

test('cut off at any byte it is what the sessions were at some moment before', () => {
  for (const seed of [1, 2, 3]) {
    const prng = new Prng(seed);
    // One segment, so that every state since the beginning is in it.
    const bench = new Bench(1 << 20);
    const states = new Set<string>(['', bench.live()]);
    for (let i = 0; i < 60; i++) {
      happen(bench, prng);
      bench.clock.advance(2);
      states.add(bench.live());
    }
    const path = 'sessions/0000000001.log';
    const whole = bench.files.read(path);
    const met = new Set<string>();
    for (let length = 0; length <= whole.length; length++) {
      const files = new MemoryFiles(() => {});
      files.makeDir('sessions');
      files.openAppend(path).append([whole.subarray(0, length)]);
      const state = foundAll(readBack(files, bench.clock));
      assert.ok(states.has(state), `seed ${seed}, cut at ${length}: ${state}`);
      met.add(state);
    }
    assert.equal(foundAll(bench.read()), bench.live());
    assert.ok(met.size > 20);
  }
});

test('a flipped bit costs sessions, and never changes one', () => {
  const prng = new Prng(9);
  const bench = new Bench(1 << 20);
  const states = new Map<string, Set<string>>();
  const note = (): void => {
    for (const s of bench.sessions) {
      const seen = states.get(s.clientId) ?? new Set();
      states.set(s.clientId, seen.add(JSON.stringify(liveDump(s))));
    }
  };
  for (let i = 0; i < 40; i++) {
    happen(bench, prng);
    bench.clock.advance(2);
    note();
  }
  const path = 'sessions/0000000001.log';
  const whole = bench.files.read(path);
  let lost = 0;
  for (let at = 128; at < whole.length; at += 3) {
    const files = new MemoryFiles(() => {});
    files.makeDir('sessions');
    const bytes = whole.slice();
    bytes[at] = (bytes[at] as number) ^ (1 << (at % 8));
    files.openAppend(path).append([bytes]);
    const found = [...readBack(files, bench.clock).sessions()];
    for (const s of found) assert.ok(states.get(s.clientId)?.has(JSON.stringify(foundDump(s))), `flipped at ${at}`);
    if (found.length < bench.sessions.length) lost++;
  }
  assert.ok(lost > 0);
});

test('who waits is answered when it is on disk, and in order', () => {
  const bench = new Bench();
  const session = bench.begin('c');
  const done: string[] = [];
  const from = bench.durable.position;
  session.addSubscription(
    new Subscription(session, 'f', { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: undefined }),
  );
  assert.notEqual(bench.durable.position, from);
  bench.durable.kept(from, (ok) => done.push(`first ${ok}`));
  bench.durable.whenKept(() => done.push('second'));
  assert.deepEqual(done, []);
  bench.clock.advance(5);
  assert.deepEqual(done, ['first true', 'second']);
});

test('a full disk refuses what is new, loses nothing that was kept, and all is written again when there is room', () => {
  const bench = new Bench(1 << 20);
  const prng = new Prng(4);
  const session = bench.begin('c');
  const other = bench.begin('d');
  const put = (text: string): void => {
    const message = makeMessage('t', utf8Encode(text), 1, false, undefined, Number.POSITIVE_INFINITY, 'p');
    bench.home.frames.begin(message, bench.clock.now());
    deliverAs(session, message, 1, false, undefined, bench.home.frames);
    bench.home.frames.end();
  };
  put('kept');
  bench.clock.advance(5);
  const before = foundAll(bench.read());
  bench.files.capacity = bench.files.size('sessions/0000000001.log') + 20;
  const done: string[] = [];
  let from = bench.durable.position;
  put('one that fails at the disk');
  bench.durable.kept(from, (ok) => done.push(`at the disk ${ok}`));
  bench.clock.advance(5);
  from = bench.durable.position;
  const queued = session.queuedCount;
  put('one that is refused at once');
  assert.equal(session.queuedCount, queued);
  bench.durable.kept(from, (ok) => done.push(`refused ${ok}`));
  bench.durable.whenKept(() => done.push('kept at last'));
  assert.deepEqual(done, ['at the disk false', 'refused false']);
  assert.equal(bench.durable.well, false);
  assert.equal(bench.durable.status.state, 'failed');
  assert.equal(foundAll(bench.read()), before, 'what was acknowledged is there');
  bench.clock.advance(500);
  bench.end(other);
  bench.files.capacity = Number.POSITIVE_INFINITY;
  bench.clock.advance(500);
  assert.deepEqual(done.at(-1), 'kept at last');
  assert.equal(bench.durable.well, true);
  put('after');
  happen(bench, prng);
  bench.clock.advance(5);
  assert.equal(foundAll(bench.read()), bench.live());
});

test('the journal is bounded: beyond, nothing more is taken for persistent sessions', () => {
  const bench = new Bench(1_000, { ...small, diskBytesMax: 20_000 });
  const sessions = Array.from({ length: 200 }, (_, i) => bench.begin(`c${i}`));
  let refused = 0;
  for (const session of sessions) {
    for (let i = 0; i < 5; i++) {
      const message = makeMessage('t', utf8Encode('x'.repeat(100)), 1, false, undefined, Number.POSITIVE_INFINITY, 'p');
      bench.home.frames.begin(message, bench.clock.now());
      deliverAs(session, message, 1, false, undefined, bench.home.frames);
      bench.home.frames.end();
      bench.clock.advance(1);
      if (!bench.durable.well) refused++;
    }
  }
  assert.ok(refused > 0);
  assert.ok(bench.durable.status.diskBytes < 80_000, `${bench.durable.status.diskBytes} bytes`);
  assert.ok(bench.metrics.read('starmesh_session_journal_refused_total') > 0);
  assert.equal(foundAll(bench.read()), bench.live());
});
