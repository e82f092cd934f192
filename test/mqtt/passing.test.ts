// Plain messages go a short way, without a packet or a message being made of them. Nobody may notice: the same traffic
// through two brokers, one of which gets every chunk as its own, where there is no short way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Access } from '#broker/access.js';
import { encode } from '#mqtt/encoder.js';
import type { PublishPacket } from '#mqtt/packet.js';
import { type BenchClient, MqttBench, short } from './mqtt-bench.js';

type Told = (allowed: boolean) => void;

/** `no` is denied, `later` has to be asked. */
function access(denyAction: 'ignore' | 'disconnect', asked: Told[]): Access {
  return {
    denyAction,
    authenticate: (_request, answer) => answer(0),
    mayPublish: (_client, topicName) => (topicName === 'later' ? undefined : topicName !== 'no'),
    maySubscribe: () => true,
    whenKnown: (_client, _action, _topic, _qos, _retain, answer) => void asked.push((allowed) => answer(allowed)),
  };
}

class Run {
  readonly bench: MqttBench;
  readonly clients: BenchClient[];
  readonly asked: Told[] = [];
  readonly seen: string[][];
  /** Messages that went the short way. */
  passed = 0;

  constructor(lends: boolean, denyAction: 'ignore' | 'disconnect') {
    this.bench = new MqttBench({ lends, access: access(denyAction, this.asked), limits: { maxQueuedMessages: 3 } });
    const connect = (clientId: string, version: 4 | 5, properties: object = {}): BenchClient =>
      this.bench.connect({ clientId, protocolVersion: version, ...(version === 5 ? { properties } : {}) });
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

const passable = fc.constantFrom('a', 'b', 'group/1', 'group/2', 'small');
const others = fc.constantFrom('ids/x', 'alias', 'away', 'own', 'own4', 'both', '$x', 'nobody', 'later');
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
const action = fc.oneof(
  { weight: 16, arbitrary: chunk },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('stuck' as const), who: fc.integer({ min: 2, max: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drain' as const), who: fc.integer({ min: 2, max: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('answer' as const), allowed: fc.boolean() }) },
);
type Action = typeof action extends fc.Arbitrary<infer A> ? A : never;

function perform(run: Run, step: Action, ids: { next: number; sent: number }): void {
  if (step.kind === 'settle') run.bench.settle();
  else if (step.kind === 'answer') run.asked.shift()?.(step.allowed);
  else if (step.kind === 'leave') run.clients[6]?.drop();
  else if (step.kind === 'stuck') (run.clients[step.who] as BenchClient).net.taking = false;
  else if (step.kind === 'drain') run.clients[step.who]?.net.drain();
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

test('the short way and the long way deliver the same, in the same order, and count the same', () => {
  let passed = 0;
  fc.assert(
    fc.property(fc.array(action, { minLength: 5, maxLength: 30 }), fc.constantFrom('ignore' as const, 'disconnect' as const), (steps, denyAction) => {
      const runs = [new Run(true, denyAction), new Run(false, denyAction)];
      for (const run of runs) {
        const ids = { next: 0, sent: 0 };
        for (const step of steps) perform(run, step, ids);
        for (const client of run.clients) {
          client.net.drain();
          client.acknowledge();
        }
        for (const answer of run.asked.splice(0)) answer(true);
        run.bench.settle();
        run.gather();
      }
      const [short, long] = runs as [Run, Run];
      assert.deepEqual(short.seen, long.seen);
      assert.deepEqual(short.bench.metrics.all(), long.bench.metrics.all());
      assert.equal(long.passed, 0);
      passed += short.passed;
    }),
    { numRuns: 150 },
  );
  assert.ok(passed > 200, `${passed}`);
});
