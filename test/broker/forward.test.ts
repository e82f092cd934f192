import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import { type ForwardOptions, NodeForwarder } from '#broker/forward.js';
import { brokerSchema } from '#broker/schema.js';
import type { Message, MessageProperties, Qos } from '#session/message.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster, type MemoryDatabase } from '../doubles/memory-database.js';
import { type MemoryLinks, MemoryNetwork } from '../doubles/memory-links.js';
import { ReadableMetrics } from '../doubles/quiet-env.js';

const id = (i: number) => i.toString(16).padStart(32, '0');

interface Node {
  readonly db: MemoryDatabase;
  readonly links: MemoryLinks;
  readonly forward: NodeForwarder;
  readonly metrics: ReadableMetrics;
  readonly got: Message[];
}

function cluster(n: number, options: Partial<ForwardOptions> = {}) {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const net = new MemoryNetwork(clock);
  let seed = 0;
  const make = (i: number): Node => {
    const metrics = new ReadableMetrics();
    const node = db.join(id(i));
    const links = net.start(id(i), node.incarnation);
    const forward = new NodeForwarder({ clock, metrics, random: new Prng(++seed) }, links, node, options);
    const got: Message[] = [];
    forward.onMessage((m) => {
      got.push({ ...m, payload: m.payload.slice() });
      return !m.topicName.startsWith('nobody');
    });
    return { db: node, links, forward, metrics, got };
  };
  const nodes = Array.from({ length: n }, (_, i) => make(i + 1));
  net.linkAll();
  clock.advance(10);
  return { clock, db, net, nodes, make };
}

function message(topicName: string, payload: string, qos: Qos, more: Partial<Message> = {}): Message {
  return {
    topicName,
    payload: utf8Encode(payload),
    qos,
    retain: false,
    properties: undefined,
    expiresAt: Number.POSITIVE_INFINITY,
    publisherId: 'p',
    originIncarnation: 7,
    originNumber: 9,
    kept: false,
    journalNumber: 0,
    ...more,
  };
}

const text = (m: Message) => utf8Decode(m.payload);
const to = (...n: number[]) => n.map((i) => ({ nodeId: id(i) }));

test('a message arrives with everything it carries, once per target', () => {
  const { clock, nodes } = cluster(3);
  const [a, b, c] = nodes as [Node, Node, Node];
  const properties: MessageProperties = {
    payloadFormatIndicator: 1,
    contentType: 'text/plain',
    responseTopic: 'r/é',
    correlationData: Uint8Array.of(0, 255),
    userProperties: [
      ['k', 'v'],
      ['k', ''],
    ],
  };
  const sent = message('t/1', 'hello', 0, { properties, retain: true, expiresAt: clock.now() + 500 });
  a.forward.forward(sent, to(2, 3));
  clock.advance(5);
  for (const n of [b, c]) {
    assert.equal(n.got.length, 1);
    const m = n.got[0] as Message;
    assert.deepEqual({ ...m, expiresAt: 0 }, { ...sent, expiresAt: 0 });
    assert.ok(Math.abs(m.expiresAt - sent.expiresAt) <= 5);
  }
});

test('QoS 1 is answered when all targets took it, with whether any had a receiver', () => {
  const { clock, nodes } = cluster(3);
  const [a] = nodes as [Node, Node, Node];
  const got: string[] = [];
  a.forward.forward(message('t', '1', 1), to(2, 3), (o, matched) => got.push(`${o} ${matched}`));
  a.forward.forward(message('nobody', '2', 2), to(2, 3), (o, matched) => got.push(`${o} ${matched}`));
  a.forward.forward(message('t', '3', 1), [], (o, matched) => got.push(`${o} ${matched}`));
  assert.deepEqual(got, ['accepted false']);
  clock.advance(10);
  assert.deepEqual(got.slice(1), ['accepted true', 'accepted false']);
});

test('one frame per turn and destination', () => {
  const { clock, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  for (let i = 0; i < 100; i++) a.forward.forward(message('t', `${i}`, 0), to(2));
  clock.advance(5);
  assert.equal(a.links.sent.get('forward'), 1);
  assert.deepEqual(
    b.got.map(text),
    Array.from({ length: 100 }, (_, i) => `${i}`),
  );
});

test('QoS 0 to a node out of reach or with a full lane is dropped and counted', () => {
  const { clock, net, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  net.cut(id(1), id(2));
  a.forward.forward(message('t', 'x', 0), to(2));
  net.heal(id(1), id(2));
  a.links.fill(id(2), 'forward', true);
  a.forward.forward(message('t', 'y', 0), to(2));
  clock.advance(5);
  a.forward.forward(message('t', 'z', 0), to(2));
  clock.advance(5);
  assert.equal(a.metrics.read('starmesh_forward_dropped_total'), 3);
  a.links.fill(id(2), 'forward', false);
  a.forward.forward(message('t', 'ok', 0), to(2));
  clock.advance(5);
  assert.deepEqual(b.got.map(text), ['ok']);
});

test('a window that is full stops publishers until it has fallen; beyond the overshoot messages are lost', () => {
  const { clock, nodes } = cluster(2, { windowMessagesMax: 10, overshoot: 2 });
  const [a, b] = nodes as [Node, Node];
  a.links.fill(id(2), 'forward', true);
  const got: string[] = [];
  let relieved = 0;
  a.forward.onRelief(() => relieved++);
  for (let i = 0; i < 25; i++) a.forward.forward(message('t', `${i}`, 1), to(2), (o) => got.push(o));
  clock.advance(1);
  assert.equal(a.forward.congested, true);
  assert.deepEqual(
    got,
    Array.from({ length: 5 }, () => 'lost'),
  );
  a.links.fill(id(2), 'forward', false);
  clock.advance(10);
  assert.equal(a.forward.congested, false);
  assert.equal(relieved, 1);
  assert.equal(b.got.length, 20);
  assert.equal(got.filter((o) => o === 'accepted').length, 20);
});

type Cluster = ReturnType<typeof cluster>;
const losses: readonly (readonly [string, (c: Cluster) => void])[] = [
  ['its process is dead', (c) => c.net.kill(id(2))],
  [
    'it was fenced',
    (c) => {
      c.net.cut(id(1), id(2));
      c.db.fence(id(2));
    },
  ],
  [
    'it was purged from the routes',
    (c) => {
      c.net.cut(id(1), id(2));
      c.nodes[0]?.forward.purged(id(2), c.nodes[1]?.db.incarnation ?? 0);
    },
  ],
  [
    'it came back as another incarnation',
    (c) => {
      c.net.kill(id(2));
      c.make(2);
      c.net.linkAll();
    },
  ],
];
for (const [how, lose] of losses) {
  test(`a destination is lost at once when ${how}`, () => {
    const c = cluster(3);
    const [a, , third] = c.nodes as [Node, Node, Node];
    const got: string[] = [];
    a.links.fill(id(2), 'forward', true);
    a.forward.forward(message('t', '1', 1), to(2, 3), (o, m) => got.push(`${o} ${m}`));
    c.clock.advance(20);
    assert.deepEqual(got, []);
    lose(c);
    c.clock.advance(600);
    assert.deepEqual(got, ['lost true']);
    assert.equal(a.metrics.read('starmesh_forward_lost_total'), 1);
    assert.equal(third.got.length, 1);
  });
}

test('a silent destination is given up after the deadline, no earlier', () => {
  const c = cluster(2);
  const [a, b] = c.nodes as [Node, Node];
  c.net.cut(id(1), id(2), 'silent');
  const got: string[] = [];
  a.forward.forward(message('t', '1', 1), to(2), (o) => got.push(o));
  c.clock.advance(4_900);
  assert.equal(got.length, 0);
  c.clock.advance(400);
  assert.equal(got.join(), 'lost');
  a.forward.forward(message('t', '2', 1), to(2), (o) => got.push(o));
  c.net.heal(id(1), id(2));
  c.clock.advance(20);
  assert.deepEqual(b.got.map(text), ['2']);
  assert.deepEqual(got, ['lost', 'accepted']);
});

test('what nodes have sent is waited for behind it, also of one that is not linked yet', () => {
  const c = cluster(4);
  const [a, b, away] = c.nodes as [Node, Node, Node];
  const got: string[] = [];
  const wait = (what: string, ...of: Node[]): void => b.forward.arrivedOf(new Set(of.map((n) => n.db.incarnation)), () => got.push(what));
  c.net.cut(id(2), id(3));
  away.forward.forward(message('t', '1', 1), to(2), () => {});
  a.forward.forward(message('t', '2', 1), to(2), () => {});
  c.clock.advance(0);
  wait('linked', a);
  wait('both', a, away);
  wait('own', b);
  b.forward.arrivedOf(new Set([12_345]), () => got.push('not live'));
  assert.deepEqual(got, ['own', 'not live']);
  c.clock.advance(10);
  assert.deepEqual(b.got.map(text), ['2']);
  assert.deepEqual(got, ['own', 'not live', 'linked']);
  c.net.heal(id(2), id(3));
  c.clock.advance(10);
  assert.deepEqual(b.got.map(text), ['2', '1']);
  assert.deepEqual(got, ['own', 'not live', 'linked', 'both']);
});

test('the wait for a node that is not linked ends: after a second, or when the node is declared down', () => {
  const c = cluster(3);
  const [, b, away] = c.nodes as [Node, Node, Node];
  c.net.cut(id(2), id(3));
  const got: string[] = [];
  const wait = (): void => b.forward.arrivedOf(new Set([away.db.incarnation]), () => got.push('over'));
  wait();
  c.clock.advance(990);
  assert.deepEqual(got, []);
  c.clock.advance(20);
  assert.deepEqual(got, ['over']);
  assert.equal(b.metrics.read('starmesh_forward_probe_timeouts_total'), 1);
  wait();
  b.forward.purged(id(3), away.db.incarnation);
  assert.deepEqual(got, ['over', 'over']);
});

test('frames that are not frames are counted and silence the lane of that peer', () => {
  const c = cluster(2);
  const [a, b] = c.nodes as [Node, Node];
  const prng = new Prng(5);
  for (let i = 0; i < 2_000; i++) {
    const junk = prng.bytes(1 + prng.int(60));
    junk[0] = prng.int(6);
    a.links.send(id(2), 'forward', junk);
    c.clock.advance(2);
    c.net.cut(id(1), id(2));
    c.net.heal(id(1), id(2));
  }
  assert.ok(b.metrics.read('starmesh_forward_malformed_total') > 1_000);
  b.got.length = 0;
  a.links.send(id(2), 'forward', Uint8Array.of(9));
  a.forward.forward(message('t', 'unheard', 0), to(2));
  c.clock.advance(5);
  assert.deepEqual(b.got, []);
  c.net.cut(id(1), id(2));
  c.net.heal(id(1), id(2));
  a.forward.forward(message('t', 'heard', 0), to(2));
  c.clock.advance(5);
  assert.deepEqual(b.got.map(text), ['heard']);
});

for (const [name, pauseMs] of [
  ['under random cuts and full lanes every message arrives exactly once, in order', 6],
  ['under long cuts what was accepted arrives exactly once, the rest at most once, in order', 600],
] as const) {
  test(name, () => {
    for (let seed = 0; seed < 50; seed++) randomRun(seed, pauseMs);
  });
}

function randomRun(seed: number, pauseMs: number): void {
  const prng = new Prng(seed);
  const c = cluster(3);
  c.net.latencyMs = 3;
  const outcome = new Map<number, string>();
  const sent = new Map<string, number[]>();
  let number = 0;
  for (let i = 0; i < 300; i++) {
    const from = prng.int(3);
    const node = c.nodes[from] as Node;
    const step = prng.int(12);
    const peer = 1 + ((from + 1 + prng.int(2)) % 3);
    if (step < 8) {
      const n = ++number;
      const targets = prng.chance(0.3) ? [1, 2, 3].filter((x) => x !== from + 1) : [peer];
      for (const t of targets) sent.set(`${from + 1}-${t}`, [...(sent.get(`${from + 1}-${t}`) ?? []), n]);
      node.forward.forward(message(`from/${from + 1}`, `${n}`, prng.chance(0.5) ? 1 : 2), to(...targets), (o) => {
        assert.ok(!outcome.has(n), 'answered twice');
        outcome.set(n, o);
      });
    } else if (step === 8) c.net.cut(id(from + 1), id(peer));
    else if (step === 9) c.net.heal(id(from + 1), id(peer));
    else if (step === 10) node.links.fill(id(peer), 'forward', true);
    else node.links.fill(id(peer), 'forward', false);
    if (prng.chance(0.6)) c.clock.advance(prng.int(pauseMs));
  }
  for (const a of c.nodes) for (const b of [1, 2, 3]) a.links.fill(id(b), 'forward', false);
  c.net.linkAll();
  c.clock.advance(200);
  assert.equal(outcome.size, number, `seed ${seed}: unanswered`);
  const short = pauseMs < 10;
  if (short) assert.ok(![...outcome.values()].includes('lost'), `seed ${seed}: lost before the deadline`);
  for (const t of [1, 2, 3]) {
    for (const f of [1, 2, 3]) {
      const got = (c.nodes[t - 1] as Node).got.filter((m) => m.topicName === `from/${f}`).map((m) => Number(text(m)));
      const all = sent.get(`${f}-${t}`) ?? [];
      const expected = short ? all : all.filter((n) => outcome.get(n) === 'accepted' || got.includes(n));
      assert.deepEqual(got, expected, `seed ${seed}: from ${f} to ${t}`);
    }
  }
  for (const n of c.nodes) assert.equal(n.forward.congested, false);
}
