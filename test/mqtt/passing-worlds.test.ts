// As passing.test.ts, in worlds of many kinds: every strategy of shared groups, both versions of every client, listeners, limits,
// hooks, another node, short memory, clients that come back. What goes the short way and what goes the long way is the same to
// the clients, the hooks and the counters, and no shortcut is left when all have gone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Access } from '#broker/access.js';
import { Shortcut } from '#broker/shortcut.js';
import { encode } from '#mqtt/encoder.js';
import type { SharedStrategy } from '#router/shared-picker.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { FakeCluster } from './fake-cluster.js';
import { type BenchClient, MqttBench, short } from './mqtt-bench.js';

/** Everybody may publish to what is not denied for the time being, for three seconds at a time. */
class Rights implements Access {
  readonly denyAction: 'ignore' | 'disconnect';
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

  mayPublish(_client: unknown, topicName: string): boolean {
    const may = !this.#denied.has(topicName);
    if (may) this.allowed++;
    return may;
  }

  maySubscribe(): boolean {
    return true;
  }

  standing(_client: unknown, topicName: string, now: number): { untilS: number; counts: string } | undefined {
    return this.#denied.has(topicName) ? undefined : { untilS: Math.floor(now / 1000) + 3, counts: 'some' };
  }

  counted(n: number): void {
    this.allowed += n;
    this.stood += n;
  }

  deny(topicName: string, denied: boolean): void {
    if (denied) this.#denied.add(topicName);
    else this.#denied.delete(topicName);
    this.changes++;
  }
}

// The first three publish.
const names = ['p0', 'p1', 'p2', 's0', 's1', 's2', 's3'];
const topics = ['a', 'b', 'g/1', 'g/2', 'a/b'];
const filters = [...topics, '#', '+', 'g/+', 'a/#', '$share/g/g/+', '$share/g/a', '$share/h/g/1', '$share/h/#', '$share/k/b'];
/** Who subscribes to what at first. */
const atFirst = [
  [3, 'a'],
  [4, 'b'],
  [3, '$share/g/g/+'],
  [4, '$share/g/g/+'],
  [5, '$share/g/g/+'],
  [6, 'a/b'],
  [5, '$share/h/g/1'],
] as const;

const world = fc.record({
  strategy: fc.constantFrom<SharedStrategy[]>(
    'random',
    'round_robin',
    'round_robin',
    'round_robin_per_group',
    'sticky',
    'local',
    'hash_clientid',
    'hash_topic',
  ),
  upgradeQos: fc.constantFrom(false, false, true),
  queueQos0: fc.boolean(),
  denyAction: fc.constantFrom('ignore' as const, 'ignore' as const, 'disconnect' as const),
  /** Of each client: MQTT 5.0; by the other listener. */
  is5: fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }),
  elsewhere: fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }),
  ignoreLoopDeliver: fc.boolean(),
  /** There is another node, with a client. */
  remote: fc.constantFrom(false, false, true),
  maxPacketSizeBytes: fc.constantFrom(1_000_000, 1_000_000, 150),
});
type World = typeof world extends fc.Arbitrary<infer A> ? A : never;

const who = fc.nat(6);
const change = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('filter' as const),
      who,
      topicFilter: fc.constantFrom(...filters),
      qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
      noLocal: fc.boolean(),
      id: fc.nat(2),
      there: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('join' as const), who, cleanStart: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), who }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('kick' as const), who }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('press' as const), level: fc.constantFrom(0 as const, 1 as const, 2 as const, 3 as const) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('deny' as const), topicName: fc.constantFrom(...topics), denied: fc.constantFrom(true, false, false) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('hook' as const),
      name: fc.constantFrom('publish' as const, 'delivered' as const, 'undelivered' as const, 'dropped' as const, 'authorized' as const),
      set: fc.constantFrom(true, false, false),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('time' as const), ms: fc.constantFrom(10, 900, 2_500, 9_000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('stuck' as const), who }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('drain' as const), who }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('acknowledge' as const), who }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remote' as const), topicFilter: fc.constantFrom(...filters), there: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('other' as const),
      by: fc.nat(2),
      topicName: fc.constantFrom(...topics),
      qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
      retain: fc.boolean(),
    }),
  },
);
type Change = typeof change extends fc.Arbitrary<infer A> ? A : never;

/** Around the largest packet with a Remaining Length of two bytes. */
const large = fc.constantFrom(5_000, 16_376, 16_377, 16_378, 16_379, 16_380, 16_381, 17_000);
const burst = fc.record({
  kind: fc.constant('burst' as const),
  by: fc.nat(2),
  topicName: fc.constantFrom(...topics),
  chunks: fc.array(
    fc.record({
      lengths: fc.array(fc.oneof({ weight: 12, arbitrary: fc.nat(200) }, { weight: 1, arbitrary: large }), { minLength: 1, maxLength: 5 }),
      cut: fc.oneof({ weight: 7, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constantFrom(1, 2, 4, 7, 20) }),
      after: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: change }),
    }),
    { minLength: 3, maxLength: 12 },
  ),
});
type Burst = typeof burst extends fc.Arbitrary<infer A> ? A : never;
const action = fc.oneof({ weight: 3, arbitrary: burst }, { weight: 2, arbitrary: change });

class Run {
  readonly bench: MqttBench;
  readonly rights: Rights;
  readonly clients: BenchClient[] = [];
  readonly seen: string[][] = names.map(() => []);
  /** What hooks were told. */
  readonly told: string[] = [];
  /** The client of the other node. */
  readonly there: BenchClient | undefined;
  passed = 0;
  readonly #world: World;
  #packetId = 0;
  #sent = 0;

  constructor(lends: boolean, of: World) {
    this.#world = of;
    this.rights = new Rights(of.denyAction);
    const clock = new ManualClock();
    const cluster = of.remote ? new FakeCluster() : undefined;
    const { upgradeQos, queueQos0, ignoreLoopDeliver, maxPacketSizeBytes, strategy } = of;
    this.bench = new MqttBench({
      lends,
      clock,
      access: this.rights,
      broker: { sharedStrategy: strategy },
      ...(cluster === undefined ? {} : { ports: cluster.ports() }),
      limits: { maxQueuedMessages: 3, upgradeQos, queueQos0, ignoreLoopDeliver },
      listener: { outputBytesMax: 20_000 },
      otherListener: { maxPacketSizeBytes },
    });
    if (cluster !== undefined) this.there = new MqttBench({ clock, ports: cluster.ports() }).connect({ clientId: 'there' });
    const { broker } = this.bench;
    const pass = broker.pass.bind(broker);
    broker.pass = (...args) => {
      const passed = pass(...args);
      if (passed) this.passed++;
      return passed;
    };
    for (const i of names.keys()) this.#join(i, true);
    for (const [i, topicFilter] of atFirst) this.make({ kind: 'filter', who: i, topicFilter, qos: 1, noLocal: false, id: 0, there: true });
    this.bench.settle();
  }

  #join(i: number, cleanStart: boolean): void {
    const before = this.clients[i];
    const is5 = this.#world.is5[i] === true;
    const properties = {
      sessionExpiryInterval: i % 2 === 0 ? 100 : 0,
      ...(i === 4 ? { receiveMaximum: 2 } : {}),
      ...(i === 5 ? { maximumPacketSize: 120 } : {}),
      ...(i === 6 ? { topicAliasMaximum: 1 } : {}),
    };
    const clientId = names[i] as string;
    const client = this.bench.connect(
      { clientId, protocolVersion: is5 ? 5 : 4, cleanStart, keepAlive: i === 0 ? 10 : 0, ...(is5 ? { properties } : {}) },
      this.#world.elsewhere[i] === true ? this.bench.otherListener : this.bench.listener,
    );
    if (before !== undefined) this.seen[i]?.push(...before.take().map(short));
    this.seen[i]?.push(`joined ${client.connack?.sessionPresent}`);
    this.clients[i] = client;
  }

  burst({ by, topicName, chunks }: Burst): void {
    for (const { lengths, cut, after } of chunks) {
      const client = this.clients[by] as BenchClient;
      const one = (length: number): Uint8Array => {
        const payload = new Uint8Array(length).fill(0x30 + (++this.#sent % 64));
        return encode({ type: 'publish', topicName, payload, qos: 0, retain: false, dup: false, packetId: 0 }, client.version);
      };
      const bytes = Buffer.concat(lengths.map(one));
      // The end of it comes later.
      const at = Math.max(0, bytes.length - cut);
      client.bytes(bytes.subarray(0, at));
      if (after !== null) this.make(after);
      if (at < bytes.length) client.bytes(bytes.subarray(at));
    }
  }

  make(step: Change): void {
    const { bench, rights } = this;
    if (step.kind === 'filter') this.#changeFilter(step);
    else if (step.kind === 'join') this.#join(step.who, step.cleanStart);
    else if (step.kind === 'drop') this.clients[step.who]?.net.destroy();
    else if (step.kind === 'kick') bench.broker.kick(names[step.who] as string, () => {});
    else if (step.kind === 'press') {
      bench.broker.press(step.level, false);
      for (const listener of [bench.listener, bench.otherListener]) listener.shortMemory(step.level > 0, false);
    } else if (step.kind === 'deny') rights.deny(step.topicName, step.denied);
    else if (step.kind === 'hook') this.#hook(step.name, step.set);
    else if (step.kind === 'time') bench.clock.advance(step.ms);
    else if (step.kind === 'settle') bench.settle();
    else if (step.kind === 'stuck') (this.clients[step.who] as BenchClient).net.taking = false;
    else if (step.kind === 'drain') this.clients[step.who]?.net.drain();
    else if (step.kind === 'acknowledge') this.clients[step.who]?.acknowledge();
    else if (step.kind === 'other') this.#publish(step);
    else if (step.there) this.there?.subscribe(step.topicFilter);
    else this.there?.send({ type: 'unsubscribe', packetId: this.there.nextId(), topicFilters: [step.topicFilter] });
  }

  #publish({ by, topicName, qos, retain }: Extract<Change, { kind: 'other' }>): void {
    const payload = Uint8Array.of(++this.#sent & 127);
    this.clients[by]?.push({ type: 'publish', topicName, payload, qos, retain, dup: false, packetId: qos > 0 ? ++this.#packetId : 0 });
  }

  #changeFilter({ who: i, topicFilter, qos, noLocal, id, there }: Extract<Change, { kind: 'filter' }>): void {
    const client = this.clients[i] as BenchClient;
    const packetId = ++this.#packetId;
    if (!there) {
      client.push({ type: 'unsubscribe', packetId, topicFilters: [topicFilter] });
      return;
    }
    const is5 = client.version === 5;
    client.push({
      type: 'subscribe',
      packetId,
      subscriptions: [
        { topicFilter, qos, noLocal: noLocal && is5 && !topicFilter.startsWith('$share'), retainAsPublished: false, retainHandling: 0 },
      ],
      ...(id > 0 && is5 ? { properties: { subscriptionIdentifiers: [id] } } : {}),
    });
  }

  #hook(name: Extract<Change, { kind: 'hook' }>['name'], set: boolean): void {
    const { hooks } = this.bench.broker;
    const tell =
      (what: string) =>
      (...args: readonly unknown[]): void =>
        void this.told.push(`${what} ${args.map(told).join(' ')}`);
    if (name === 'publish') {
      let n = 0;
      hooks.publish = set ? (message, _channel, answer) => answer(++n % 3 === 0 ? 0x10 : message) : undefined;
    } else if (name === 'authorized') {
      if (set) this.bench.broker.hookAccess();
      hooks.authorized = set ? tell(name) : undefined;
    } else hooks[name] = set ? tell(name) : undefined;
  }

  /** Everybody takes everything. */
  end(): void {
    for (const client of this.clients) {
      client.net.drain();
      client.acknowledge();
    }
    this.bench.settle();
    for (const [i, client] of this.clients.entries()) this.seen[i]?.push(...client.take().map(short));
  }

  get result(): object {
    const { seen, told, rights, bench, clients, there } = this;
    const connections = clients.map(({ net }) => [net.reading, net.closed]);
    return { seen, told, allowed: rights.allowed, metrics: bench.metrics.all(), connections, there: there?.seen() };
  }
}

function told(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  const { clientId, topicName, payload } = value as { clientId?: string; topicName?: string; payload?: Uint8Array };
  return clientId ?? `${topicName} ${payload?.length} ${payload?.[0]}`;
}

test('in every kind of world the short way and the long way are the same', () => {
  let passed = 0;
  let stood = 0;
  const before = Shortcut.count;
  fc.assert(
    fc.property(fc.array(action, { minLength: 4, maxLength: 25 }), world, (steps, of) => {
      const [lent, own] = [true, false].map((lends) => {
        const run = new Run(lends, of);
        for (const step of steps) {
          if (step.kind === 'burst') run.burst(step);
          else run.make(step);
        }
        run.end();
        return run;
      }) as [Run, Run];
      assert.deepEqual(lent.result, own.result);
      passed += lent.passed;
      stood += lent.rights.stood;
      for (const { bench } of [lent, own]) {
        for (const listener of [bench.listener, bench.otherListener]) listener.closeAll();
        bench.settle();
      }
      assert.equal(Shortcut.count, before);
    }),
    { numRuns: 200 },
  );
  assert.ok(passed > 1_000, `${passed} passed`);
  assert.ok(stood > 1_500, `${stood} on shortcuts`);
});
