// Plain messages go a short way, without a packet or a message being made of them, and those that are like the last ones a
// shorter one. Nobody may notice: the same traffic, in a world that changes meanwhile, through two brokers, one of which gets
// every chunk as its own, where there is no short way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Access } from '#broker/access.js';
import { encode } from '#mqtt/encoder.js';
import type { PublishPacket } from '#mqtt/packet.js';
import { type BenchClient, MqttBench, short } from './mqtt-bench.js';

type Told = (allowed: boolean) => void;

/** Rights stand so long. */
const standsS = 2;

/** `no` is denied, `later` has to be asked, and what is in `denied` is denied for the time being. */
class Rights implements Access {
  readonly denyAction: 'ignore' | 'disconnect';
  readonly asked: Told[] = [];
  readonly #denied = new Set<string>();
  changes = 0;
  /** Messages that somebody was allowed to publish. */
  allowed = 0;
  /** Of them, on a standing right. */
  stood = 0;

  constructor(denyAction: 'ignore' | 'disconnect') {
    this.denyAction = denyAction;
  }

  authenticate(_request: unknown, answer: (reasonCode: number) => void): void {
    answer(0);
  }

  #judge(topicName: string): boolean | undefined {
    return topicName === 'later' ? undefined : topicName !== 'no' && !this.#denied.has(topicName);
  }

  mayPublish(_client: unknown, topicName: string): boolean | undefined {
    const may = this.#judge(topicName);
    if (may === true) this.allowed++;
    return may;
  }

  maySubscribe(): boolean {
    return true;
  }

  whenKnown(_client: unknown, _action: unknown, _topic: string, _qos: unknown, _retain: boolean, answer: Told): void {
    this.asked.push((allowed) => answer(allowed));
  }

  standing(_client: unknown, topicName: string, now: number): { untilS: number; counts: string } | undefined {
    return this.#judge(topicName) === true ? { untilS: Math.floor(now / 1000) + standsS, counts: 'some' } : undefined;
  }

  counted(n: number, counts: unknown): void {
    assert.equal(counts, 'some');
    this.allowed += n;
    this.stood += n;
  }

  deny(topicName: string, denied: boolean): void {
    if (denied) this.#denied.add(topicName);
    else this.#denied.delete(topicName);
    this.changes++;
  }
}

class Run {
  readonly bench: MqttBench;
  readonly clients: BenchClient[];
  readonly rights: Rights;
  readonly seen: string[][];
  /** Messages that went the short way. */
  passed = 0;

  constructor(lends: boolean, denyAction: 'ignore' | 'disconnect', elsewhere: readonly boolean[]) {
    this.rights = new Rights(denyAction);
    this.bench = new MqttBench({ lends, access: this.rights, limits: { maxQueuedMessages: 3 } });
    let n = 0;
    const connect = (clientId: string, version: 4 | 5, properties: object = {}): BenchClient =>
      this.bench.connect(
        { clientId, protocolVersion: version, ...(version === 5 ? { properties } : {}) },
        elsewhere[n++] === true ? this.bench.otherListener : this.bench.listener,
      );
    this.clients = [
      connect('p4', 4),
      connect('p5', 5),
      connect('s4', 4),
      connect('s5', 5, { receiveMaximum: 2 }),
      connect('small', 5, { maximumPacketSize: 40 }),
      connect('aliases', 5, { topicAliasMaximum: 2 }),
      connect('away', 5, { sessionExpiryInterval: 100 }),
    ];
    this.seen = this.clients.map(() => []);
    const { broker } = this.bench;
    const pass = broker.pass.bind(broker);
    broker.pass = (...of) => {
      const passed = pass(...of);
      if (passed) this.passed++;
      return passed;
    };
    const [p4, p5, s4, s5, small, aliases, away] = this.clients as [BenchClient, ...BenchClient[]];
    s4?.subscribe({ topicFilter: 'a', qos: 0 });
    s4?.subscribe({ topicFilter: 'later', qos: 0 });
    s5?.subscribe({ topicFilter: 'b', qos: 1 });
    s5?.subscribe({ topicFilter: 'ids/#', qos: 0 }, 7);
    small?.subscribe({ topicFilter: 'small', qos: 0 });
    aliases?.subscribe({ topicFilter: 'alias', qos: 0 });
    away?.subscribe({ topicFilter: 'away', qos: 1 });
    p5?.subscribe({ topicFilter: 'own', qos: 0, noLocal: true });
    p4.subscribe({ topicFilter: 'own4', qos: 0 });
    for (const member of [s4, s5, away]) member?.subscribe({ topicFilter: '$share/g/group/+', qos: 1 });
    for (const one of [s4, s5]) one?.subscribe({ topicFilter: 'both', qos: 0 });
    this.seen.forEach((_, i) => void this.clients[i]?.take());
  }

  gather(): void {
    for (const [i, client] of this.clients.entries()) this.seen[i]?.push(...client.take().map(short));
  }
}

const passable: fc.Arbitrary<string> = fc.constantFrom('a', 'b', 'group/1', 'group/2', 'small');
const others: fc.Arbitrary<string> = fc.constantFrom('ids/x', 'alias', 'away', 'own', 'own4', 'both', '$x', 'nobody', 'later');
const length = fc.oneof({ weight: 9, arbitrary: fc.nat(300) }, { weight: 1, arbitrary: fc.constantFrom(9_000, 70_000) });
const plain = fc.record({ topicName: passable, length, qos: fc.constant(0), retain: fc.constant(false) });
const other = fc.record({
  topicName: fc.oneof({ weight: 10, arbitrary: passable }, { weight: 20, arbitrary: others }, { weight: 1, arbitrary: fc.constant('no') }),
  length,
  qos: fc.constantFrom(0, 1, 2),
  retain: fc.boolean(),
});
const chunk = fc.record({
  kind: fc.constant('chunk' as const),
  by: fc.nat(1),
  messages: fc.array(fc.oneof({ weight: 8, arbitrary: plain }, { weight: 1, arbitrary: other }), { minLength: 1, maxLength: 8 }),
  cut: fc.constantFrom(0, 0, 0, 5, 50, 200),
});
const who = fc.integer({ min: 0, max: 6 });
/** What it makes harder soon makes everything hard. */
const seldom = fc.constantFrom(true, false, false);
const change = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('deny' as const), topicName: passable, denied: seldom }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('hook' as const), set: seldom }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.constantFrom(10, 900, 2_500) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('ping' as const), by: fc.nat(1) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('filter' as const),
      who,
      topicFilter: fc.oneof(passable, others, fc.constantFrom<string[]>('$share/g/group/+', '$share/h/group/1', '$share/h/a', '#', '+')),
      qos: fc.constantFrom(0, 1, 2),
      noLocal: fc.boolean(),
      there: seldom,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('stuck' as const), who: fc.integer({ min: 2, max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('drain' as const), who: fc.integer({ min: 2, max: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('answer' as const), allowed: fc.boolean() }) },
);
type Change = typeof change extends fc.Arbitrary<infer A> ? A : never;
/** Chunks of one client with one name, and what changes between them: what shortcuts are for, and what ends them. */
const burst = fc.record({
  kind: fc.constant('burst' as const),
  by: fc.nat(1),
  topicName: fc.oneof({ weight: 6, arbitrary: passable }, { weight: 1, arbitrary: others }),
  chunks: fc.array(
    fc.record({
      lengths: fc.array(length, { minLength: 1, maxLength: 4 }),
      cut: fc.oneof({ weight: 7, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constantFrom(1, 2, 4, 7, 20) }),
      /** `here`: of what can, it concerns the name. */
      after: fc.oneof({ weight: 2, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.record({ change, here: fc.boolean() }) }),
    }),
    { minLength: 3, maxLength: 10 },
  ),
});
const action = fc.oneof({ weight: 2, arbitrary: chunk }, { weight: 3, arbitrary: burst }, { weight: 1, arbitrary: change });
type Action = typeof action extends fc.Arbitrary<infer A> ? A : never;

function perform(run: Run, step: Action, ids: { next: number; sent: number }): void {
  if (step.kind === 'burst') burstOf(run, step, ids);
  else if (step.kind !== 'chunk') make(run, step);
  else {
    const client = run.clients[step.by] as BenchClient;
    const frames = step.messages.map((m) => {
      const payload = new Uint8Array(m.length).fill(0x30 + (++ids.sent % 64));
      const packetId = m.qos === 0 ? 0 : ++ids.next;
      const packet: PublishPacket = {
        type: 'publish',
        topicName: m.topicName,
        payload,
        qos: m.qos as 0 | 1 | 2,
        retain: m.retain,
        dup: false,
        packetId,
      };
      return encode(packet, client.version);
    });
    const bytes = Buffer.concat(frames);
    const cut = Math.min(step.cut, bytes.length);
    client.bytes(bytes.subarray(0, cut));
    if (cut < bytes.length) client.bytes(bytes.subarray(cut));
  }
}

/** Every message but the third goes on. */
function setHook(run: Run, set: boolean): void {
  let n = 0;
  run.bench.broker.hooks.publish = set ? (message, _channel, answer) => answer(++n % 3 === 0 ? 0x10 : message) : undefined;
}

function changeFilter(run: Run, step: Extract<Change, { kind: 'filter' }>): void {
  const client = run.clients[step.who] as BenchClient;
  const { topicFilter, qos, there } = step;
  const noLocal = step.noLocal && client.version === 5 && !topicFilter.startsWith('$share/');
  const packetId = client.nextId();
  if (there)
    client.push({
      type: 'subscribe',
      packetId,
      subscriptions: [{ topicFilter, qos: qos as 0, noLocal, retainAsPublished: false, retainHandling: 2 }],
    });
  else client.push({ type: 'unsubscribe', packetId, topicFilters: [topicFilter] });
}

function make(run: Run, step: Change): void {
  if (step.kind === 'settle') run.bench.settle();
  else if (step.kind === 'answer') run.rights.asked.shift()?.(step.allowed);
  else if (step.kind === 'leave') run.clients[6]?.drop();
  else if (step.kind === 'stuck') (run.clients[step.who] as BenchClient).net.taking = false;
  else if (step.kind === 'drain') run.clients[step.who]?.net.drain();
  else if (step.kind === 'deny') run.rights.deny(step.topicName, step.denied);
  else if (step.kind === 'hook') setHook(run, step.set);
  else if (step.kind === 'time') run.bench.clock.advance(step.ms);
  else if (step.kind === 'ping') run.clients[step.by]?.push({ type: 'pingreq' });
  else changeFilter(run, step);
}

/** The change, of the name if it is of one. */
function aimed(step: Change, topicName: string): Change {
  if (step.kind === 'deny') return { ...step, topicName };
  if (step.kind !== 'filter' || step.topicFilter.startsWith('$')) return step;
  return { ...step, topicFilter: topicName };
}

function burstOf(run: Run, step: Extract<Action, { kind: 'burst' }>, ids: { sent: number }): void {
  const client = run.clients[step.by] as BenchClient;
  const { topicName } = step;
  const one = (length: number): Uint8Array => {
    const payload = new Uint8Array(length).fill(0x30 + (++ids.sent % 64));
    return encode({ type: 'publish', topicName, payload, qos: 0, retain: false, dup: false, packetId: 0 }, client.version);
  };
  for (const { lengths, cut, after } of step.chunks) {
    const bytes = Buffer.concat(lengths.map(one));
    // The end of it comes later.
    const at = Math.max(0, bytes.length - cut);
    client.bytes(bytes.subarray(0, at));
    if (after !== null) make(run, after.here ? aimed(after.change, topicName) : after.change);
    if (at < bytes.length) client.bytes(bytes.subarray(at));
  }
}

test('the short way and the long way deliver the same, in the same order, and count the same', () => {
  let passed = 0;
  let stood = 0;
  fc.assert(
    fc.property(
      fc.array(action, { minLength: 4, maxLength: 16 }),
      fc.constantFrom('ignore' as const, 'ignore' as const, 'ignore' as const, 'disconnect' as const),
      // Who comes by another listener.
      fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }),
      (steps, denyAction, elsewhere) => {
        const runs = [new Run(true, denyAction, elsewhere), new Run(false, denyAction, elsewhere)];
        for (const run of runs) {
          const ids = { next: 0, sent: 0 };
          for (const step of steps) perform(run, step, ids);
          for (const client of run.clients) {
            client.net.drain();
            client.acknowledge();
          }
          for (const answer of run.rights.asked.splice(0)) answer(true);
          run.bench.settle();
          run.gather();
        }
        const [short, long] = runs as [Run, Run];
        assert.deepEqual(short.seen, long.seen);
        assert.deepEqual(short.bench.metrics.all(), long.bench.metrics.all());
        assert.equal(short.rights.allowed, long.rights.allowed);
        assert.equal(long.passed, 0);
        assert.equal(long.rights.stood, 0);
        passed += short.passed;
        stood += short.rights.stood;
      },
    ),
    { numRuns: 300 },
  );
  assert.ok(passed > 1_000, `${passed} passed`);
  assert.ok(stood > 1_500, `${stood} on shortcuts`);
});
