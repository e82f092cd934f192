// A node whose memory is short in a cluster: what publishers on another node are told of messages for its sessions, and
// that nothing which was acknowledged is missing, and nothing comes twice, when memory has fallen.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { OverloadLevel } from '#broker/overload.js';
import type { ProtocolVersion, PublishPacket, QoS } from '#mqtt/packet.js';
import { FewNodes, lasting } from './full-node.js';
import type { BenchClient } from './mqtt-bench.js';

const up: readonly OverloadLevel[] = [0, 1, 2];

function packet(client: BenchClient, topicName: string, text: string, qos: QoS): PublishPacket {
  return { type: 'publish', topicName, payload: utf8Encode(text), qos, retain: false, dup: false, packetId: client.nextId() };
}

for (const version of [4, 5] as const satisfies readonly ProtocolVersion[]) {
  test(`a publisher of MQTT ${version === 5 ? '5.0' : '3.1.1'} on another node, through all levels and back`, () => {
    const c = new FewNodes();
    const once = c.away(c.b, 'qos 1', 't', 1, version);
    const exactly = c.away(c.b, 'qos 2', 't', 2, version);
    const reader = c.connect(c.b);
    reader.subscribe('t');
    c.run();
    let publisher = c.connect(c.a, lasting('p', version));
    for (const level of up) {
      c.b.press(level);
      publisher.publish('t', `${level}a`, { qos: 1 });
      publisher.publish('t', `${level}b`, { qos: 2 });
      c.run();
      assert.deepEqual(c.answers(publisher), ['puback', 'pubrec'], `level ${level}`);
    }
    assert.deepEqual(c.read(reader), ['t=0a q1', 't=0b q2', 't=1a q1', 't=1b q2', 't=2a q1', 't=2b q2']);
    c.b.press(3);
    publisher.publish('t', '3a', { qos: 1 });
    c.run();
    if (version === 5) {
      assert.deepEqual(c.answers(publisher), ['puback 0x97']);
      publisher.publish('t', '3b', { qos: 2 });
      c.run();
      assert.deepEqual(c.answers(publisher), ['pubrec 0x97']);
      assert.deepEqual(c.read(reader), ['t=3a q1', 't=3b q2'], 'who reads has got them');
    } else {
      assert.deepEqual([c.answers(publisher), publisher.net.closed], [[], true], 'there is no other way to say it');
      publisher = c.connect(c.a, lasting('p', version));
      publisher.publish('t', '3b', { qos: 2 });
      c.run();
      assert.deepEqual([c.answers(publisher), publisher.net.closed], [[], true]);
      publisher = c.connect(c.a, lasting('p', version));
      assert.equal(publisher.connack?.sessionPresent, true);
    }
    // Refused once for each of the two sessions, and taken by none.
    assert.equal(c.b.bench.metrics.read('starmesh_overload_refused_messages_total'), 4);
    c.b.press(2);
    // What was refused is the publisher's, who sends it again.
    publisher.publish('t', '3a', { qos: 1 });
    publisher.publish('t', '3b', { qos: 2 });
    c.run();
    assert.deepEqual(c.answers(publisher), ['puback', 'pubrec']);
    for (const level of [1, 0] as const) c.b.press(level);
    publisher.publish('t', 'after', { qos: 2 });
    c.run();
    assert.deepEqual(c.answers(publisher), ['pubrec']);
    const all = ['0a', '0b', '1a', '1b', '2a', '2b', '3a', '3b', 'after'];
    const texts = (seen: string[]): string[] => seen.map((p) => p.slice(2, p.indexOf(' ')));
    assert.deepEqual(texts(c.collect(c.b, once)), all);
    assert.deepEqual(
      c.collect(c.b, exactly),
      all.map((text) => `t=${text} q${text.endsWith('a') ? 1 : 2}`),
    );
    assert.deepEqual(c.collect(c.b, exactly), []);
  });
}

test('a refusal waits for the disk with what is ahead of it: no message is acknowledged by the answer to a later one', () => {
  const c = new FewNodes();
  const who = c.away(c.b, 'absent', 't');
  const publisher = c.connect(c.a);
  c.b.syncs = false;
  publisher.publish('t', 'kept', { qos: 1 });
  c.run();
  c.b.press(3);
  publisher.publish('t', 'refused', { qos: 1 });
  c.run();
  assert.deepEqual(publisher.seen(), [], 'the first one is in memory alone');
  c.b.syncs = true;
  c.run();
  assert.deepEqual(publisher.seen(), ['puback', 'puback 0x97']);
  c.b.press(0);
  assert.deepEqual(c.collect(c.b, who), ['t=kept q1']);
});

test('a refusal that is lost with its link is said once more: the message is not taken for one that was accepted', () => {
  const c = new FewNodes();
  const who = c.away(c.b, 'absent', 't');
  const publisher = c.connect(c.a);
  c.b.press(3);
  publisher.publish('t', 'refused', { qos: 2 });
  c.run(1);
  assert.equal(c.b.bench.metrics.read('starmesh_overload_refused_messages_total'), 1, 'its answer is on its way');
  c.b.press(0);
  c.relink();
  assert.deepEqual(c.answers(publisher), ['pubrec 0x97']);
  assert.deepEqual(c.collect(c.b, who), []);
});

test('who publishes to a client that reads is not refused for a message of the same frame that has to wait', () => {
  const c = new FewNodes();
  c.away(c.b, 'absent', 'wait');
  const reader = c.connect(c.b, lasting('here'));
  reader.subscribe('live');
  c.run();
  const publisher = c.connect(c.a);
  c.b.press(3);
  for (const topicName of ['live', 'wait', 'live']) publisher.push(packet(publisher, topicName, topicName, 2));
  c.run();
  assert.deepEqual(c.answers(publisher), ['pubrec', 'pubrec 0x97', 'pubrec']);
  assert.deepEqual(c.read(reader), ['live=live q2', 'live=live q2']);
});

// ---- groups ----

test('a member whose node is full is passed over for one whose node is not, and with nobody left the publisher hears it', () => {
  const c = new FewNodes();
  const here = c.away(c.a, 'on a', '$share/g/s');
  const there = c.away(c.b, 'on b', '$share/g/s');
  const publisher = c.connect(c.a);
  c.b.press(3);
  for (let i = 0; i < 6; i++) publisher.push(packet(publisher, 's', String(i), 2));
  c.run(200);
  assert.deepEqual(new Set(c.answers(publisher)), new Set(['pubrec']));
  assert.deepEqual(
    c.collect(c.a, here).sort(),
    Array.from({ length: 6 }, (_, i) => `s=${i} q2`),
    'once each',
  );
  // The publisher's own node is the full one.
  c.a.press(3);
  c.b.press(2);
  for (let i = 0; i < 4; i++) publisher.push(packet(publisher, 's', `there ${i}`, 2));
  c.run(200);
  assert.deepEqual(new Set(c.answers(publisher)), new Set(['pubrec']));
  assert.deepEqual(
    c.collect(c.b, there).sort(),
    Array.from({ length: 4 }, (_, i) => `s=there ${i} q2`),
  );
  c.b.press(3);
  for (let i = 0; i < 4; i++) publisher.push(packet(publisher, 's', `full ${i}`, 1));
  c.run(200);
  assert.deepEqual(new Set(c.answers(publisher)), new Set(['puback 0x97']));
  c.a.press(0);
  c.b.press(0);
  assert.deepEqual([c.collect(c.a, here), c.collect(c.b, there)], [[], []]);
});

test('of three nodes with a member that is away, the one that is not full gets what the others refuse', () => {
  for (const free of [1, 2]) {
    const c = new FewNodes();
    const nodes = [c.a, c.b, c.c];
    const members = nodes.map((node, i) => c.away(node, `on ${i}`, '$share/g/s'));
    const publisher = c.connect(c.a);
    for (const [i, node] of nodes.entries()) if (i !== free) node.press(3);
    for (let i = 0; i < 6; i++) publisher.push(packet(publisher, 's', String(i), 2));
    c.run(200);
    assert.deepEqual(new Set(c.answers(publisher)), new Set(['pubrec']));
    for (const node of nodes) node.press(0);
    assert.deepEqual(
      nodes.map((node, i) => c.collect(node, members[i] ?? {}).length),
      nodes.map((_, i) => (i === free ? 6 : 0)),
    );
  }
});

test('a group with members on the full node alone: their publishers are refused, not told that nobody is there', () => {
  const c = new FewNodes();
  const who = c.away(c.b, 'on b', '$share/g/s');
  const publisher = c.connect(c.a);
  c.b.press(3);
  publisher.publish('s', 'refused', { qos: 1 });
  c.run(200);
  assert.deepEqual(c.answers(publisher), ['puback 0x97']);
  c.b.press(2);
  publisher.publish('s', 'taken', { qos: 1 });
  c.run();
  assert.deepEqual(c.answers(publisher), ['puback']);
  c.b.press(0);
  assert.deepEqual(c.collect(c.b, who), ['s=taken q1']);
});

test('a frame with messages for members who read and for those who are away: each member gets its own, once', () => {
  const c = new FewNodes();
  const absent = c.away(c.b, 'absent', '$share/away/s');
  const other = c.away(c.a, 'other', '$share/away/s');
  const reader = c.connect(c.b, lasting('reader'));
  reader.subscribe('$share/here/h');
  const second = c.connect(c.a, lasting('second'));
  second.subscribe('$share/here/h');
  c.run();
  const publisher = c.connect(c.a);
  c.b.press(3);
  for (let i = 0; i < 4; i++) {
    publisher.push(packet(publisher, 'h', `h${i}`, 2));
    publisher.push(packet(publisher, 's', `s${i}`, 2));
  }
  c.run(200);
  assert.deepEqual(new Set(c.answers(publisher)), new Set(['pubrec']));
  const read = [...c.read(reader), ...c.read(second)];
  assert.deepEqual(
    read.sort(),
    ['h0', 'h1', 'h2', 'h3'].map((text) => `h=${text} q2`),
  );
  c.b.press(0);
  assert.deepEqual(c.collect(c.b, absent), []);
  assert.equal(c.collect(c.a, other).length, 4);
});

test('what a member leaves behind when its session ends was acknowledged: the next one gets it, however full the node is', () => {
  const c = new FewNodes();
  const first = c.connect(c.b, { ...lasting('first'), properties: { sessionExpiryInterval: 3_600, receiveMaximum: 1 } });
  first.subscribe('$share/g/s');
  c.run();
  const publisher = c.connect(c.a);
  for (let i = 0; i < 3; i++) publisher.publish('s', String(i), { qos: 1 });
  c.run();
  assert.deepEqual(c.answers(publisher), ['puback', 'puback', 'puback']);
  const second = c.away(c.b, 'second', '$share/g/s');
  c.b.press(3);
  first.disconnect(0, { sessionExpiryInterval: 0 });
  c.run(200);
  c.b.press(0);
  assert.deepEqual(c.collect(c.b, second), ['s=0 q1', 's=1 q1', 's=2 q1']);
});

// ---- retained messages and wills ----

test('a retained message is stored although a session on the full node cannot take it, and its publisher is told', () => {
  const c = new FewNodes();
  const who = c.away(c.b, 'absent', 'r');
  const publisher = c.connect(c.a);
  c.b.press(3);
  publisher.publish('r', 'x', { qos: 1, retain: true });
  c.run();
  assert.deepEqual(c.answers(publisher), ['puback 0x97']);
  const late = c.connect(c.a);
  late.subscribe('r');
  assert.deepEqual(c.read(late), ['r=x q1 retain']);
  c.b.press(2);
  publisher.publish('r', 'x', { qos: 1, retain: true });
  c.run();
  assert.deepEqual(c.answers(publisher), ['puback']);
  assert.deepEqual(c.read(late), ['r=x q1']);
  c.b.press(0);
  assert.deepEqual(c.collect(c.b, who), ['r=x q1']);
});

test('a will was accepted with its CONNECT: it waits for an absent session also where memory is full', () => {
  const c = new FewNodes();
  const there = c.away(c.b, 'there', 'w');
  const here = c.away(c.a, 'here', 'w');
  const client = c.connect(c.a, { will: { topicName: 'w', payload: utf8Encode('gone'), qos: 2, retain: false } });
  c.a.press(3);
  c.b.press(3);
  client.drop();
  c.run(200);
  c.a.press(0);
  c.b.press(0);
  assert.deepEqual([c.collect(c.a, here), c.collect(c.b, there)], [['w=gone q2'], ['w=gone q2']]);
});

test('a delayed message was acknowledged when it came: it is tried until a full node takes it, ever more rarely', () => {
  const c = new FewNodes();
  const who = c.away(c.b, 'absent', 't');
  const reader = c.connect(c.a);
  reader.subscribe('t');
  const publisher = c.connect(c.a);
  publisher.publish('$delayed/1/t', 'x', { qos: 1 });
  c.run();
  assert.deepEqual(c.answers(publisher), ['puback']);
  c.b.press(3);
  c.run(20_000, 50);
  assert.equal(c.read(reader).length, 5, 'at 1, 2, 4, 8 and 16 s');
  c.b.press(0);
  c.run(20_000, 50);
  assert.equal(c.read(reader).length, 1);
  c.run(100_000, 50);
  assert.equal(c.read(reader).length, 0);
  assert.deepEqual(c.collect(c.b, who), ['t=x q1']);
});

// ---- sessions that move ----

test('a node whose memory is short takes no sessions of a node that gives its own away, and takes them when it has fallen', () => {
  const c = new FewNodes();
  const who = c.away(c.a, 'absent', 't');
  const publisher = c.connect(c.b);
  publisher.publish('t', 'x', { qos: 1 });
  c.run();
  c.b.press(1);
  c.a.bench.broker.evacuate({ waitHealthCheckMs: 0, waitTakeoverMs: 0 });
  c.run(1_000, 50);
  assert.deepEqual([c.a.bench.broker.client('absent')?.queued, c.b.bench.broker.client('absent')], [1, undefined]);
  c.b.press(0);
  c.run(6_000, 50);
  assert.equal(c.a.bench.broker.client('absent'), undefined);
  assert.deepEqual(c.collect(c.b, who), ['t=x q1']);
});

test('a session comes to a full node whole, with what arrives while it moves', () => {
  const c = new FewNodes();
  const who = c.away(c.a, 'moves', 't');
  const publisher = c.connect(c.b);
  for (let i = 0; i < 5; i++) publisher.publish('t', String(i), { qos: 2 });
  c.run();
  c.answers(publisher);
  c.b.press(3);
  assert.equal(c.connect(c.b, who).connack?.reasonCode, 0x97, 'its session is elsewhere: it stays there');
  c.b.bench.broker.press(3, false);
  const client = c.b.bench.connect(who);
  publisher.publish('t', 'under way', { qos: 1 });
  c.run();
  assert.equal(client.connack?.sessionPresent, true);
  assert.deepEqual(c.answers(publisher), ['puback']);
  assert.deepEqual(c.read(client), [...Array.from({ length: 5 }, (_, i) => `t=${i} q2`), 't=under way q1']);
});
