import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MalformedError } from '#base/byte-reader.js';
import { type LinkNode, linked, linkWorld, pair, text } from './link-bench.js';

test('a pair comes up once, and frames arrive in order on every lane, both ways', () => {
  for (let seed = 1; seed < 10; seed++) {
    const { world, a, b } = linked(seed);
    assert.deepEqual([a.events, b.events], [['up n2'], ['up n1']]);
    const scratch = new Uint8Array(4);
    for (let i = 0; i < 50; i++) {
      for (const lane of ['raft', 'rlog', 'forward'] as const) {
        scratch.set(text(String(i).padStart(4)));
        assert.equal(a.links.send(b.nodeId, lane, scratch), 'sent');
        assert.equal(b.links.send(a.nodeId, lane, scratch), 'sent');
      }
      if (i % 7 === 0) world.runFor(1);
    }
    world.runFor(50);
    const expected = Array.from({ length: 50 }, (_, i) => String(i).padStart(4));
    for (const node of [a, b]) for (const lane of ['raft', 'rlog', 'forward'] as const) assert.deepEqual(node.heard(lane), expected);
  }
});

test('frames of one turn are one write; large ones pass whole', () => {
  const { world, a, b } = linked(3);
  const before = a.sim.metrics.value('starmesh_link_bytes_sent_total', { peer: 'n2@h2', lane: 'raft' });
  const big = new Uint8Array(3_000_000).fill(65);
  assert.equal(a.links.send(b.nodeId, 'raft', text('x')), 'sent');
  assert.equal(a.links.send(b.nodeId, 'raft', big), 'sent');
  assert.equal(a.sim.metrics.value('starmesh_link_bytes_sent_total', { peer: 'n2@h2', lane: 'raft' }), before);
  world.runFor(100);
  assert.deepEqual(
    b.heard('raft').map((t) => t.length),
    [1, 40],
  );
  assert.throws(() => a.links.send(b.nodeId, 'raft', new Uint8Array(16 * 1024 * 1024 + 1)), /bound/);
});

test('who dials: a replicant every core, between equals the smaller name', () => {
  const { world, nodes } = linkWorld({ seed: 5 }, [{ role: 'replicant' }, {}, {}]);
  const [r, c2, c3] = nodes as [LinkNode, LinkNode, LinkNode];
  c2.setTargets(nodes);
  c3.setTargets([r]);
  world.runFor(3_000);
  // c2 dials c3 although c3 does not know it; no core dials the replicant.
  assert.deepEqual([c2.events, c3.events, r.events], [['up n3'], ['up n2'], []]);
  r.setTargets(nodes);
  world.runFor(1_000);
  assert.deepEqual([r.isUp(c2), r.isUp(c3)], [true, true]);
  assert.deepEqual(c3.links.peer(r.nodeId)?.role, 'replicant');
});

test('kill -9: both a dialling and an accepting survivor hear closed and dead, once each; the restarted node links again', () => {
  for (let seed = 1; seed < 15; seed++) {
    const { world, nodes } = linkWorld({ seed }, [{}, {}, {}]);
    const [n1, n2, n3] = nodes as [LinkNode, LinkNode, LinkNode];
    for (const n of nodes) n.setTargets(nodes);
    assert.ok(world.runUntil(() => nodes.every((n) => n.links.peers().length === 2), 1_000));
    n2.sim.crash({ kind: 'kill' });
    const killedAt = world.now;
    assert.ok(world.runUntil(() => n1.count('dead n2') === 1 && n3.count('dead n2') === 1, 1_000));
    assert.ok(world.now - killedAt < 500, 'a dead process is known at once');
    world.runFor(20_000);
    for (const n of [n1, n3]) {
      assert.deepEqual(
        n.events.filter((e) => !e.startsWith('up')),
        ['down n2 closed', 'dead n2'],
        `seed ${seed}`,
      );
    }
    n2.restart();
    assert.ok(world.runUntil(() => n1.isUp(n2) && n3.isUp(n2), 3_000));
    assert.equal(n1.links.peer(n2.nodeId)?.incarnation, 2);
    assert.equal(n1.links.peers().length, 2);
  }
});

test('a process that dies again and again is known to be dead at once every time', () => {
  const { world, a, b } = linked(21);
  for (let round = 1; round <= 6; round++) {
    world.runFor(200);
    b.sim.crash({ kind: 'kill' });
    assert.ok(
      world.runUntil(() => a.count('dead n2') === round, 500),
      `round ${round}`,
    );
    world.runFor(round * 1_000);
    b.restart();
    assert.ok(world.runUntil(() => a.isUp(b), 3_000));
  }
});

test('a host without power is silent, not dead; dead once it is back without the process', () => {
  const { world, a, b } = linked(7);
  b.sim.crash({ silent: true });
  world.runFor(4_000);
  assert.deepEqual(a.events, ['up n2']);
  world.runFor(2_000);
  assert.deepEqual(a.events, ['up n2', 'down n2 silent']);
  world.runFor(30_000);
  b.sim.powerOn();
  world.runFor(5_000);
  assert.deepEqual(a.events, ['up n2', 'down n2 silent', 'dead n2']);
});

test('partition: silent on both sides, no one dead; after the heal the link is back', () => {
  for (const oneWay of [false, true]) {
    for (let seed = 1; seed < 8; seed++) {
      const { world, net, a, b } = linked(seed);
      if (oneWay) net.cutOneWay(seed % 2 === 0 ? a.name : b.name, seed % 2 === 0 ? b.name : a.name);
      else net.cut(a.name, b.name);
      assert.ok(world.runUntil(() => !a.isUp(b) && !b.isUp(a), 15_000));
      world.runFor(20_000);
      assert.equal(a.isUp(b) || b.isUp(a), false);
      net.healAll();
      assert.ok(
        world.runUntil(() => a.isUp(b) && b.isUp(a), 5_000),
        `seed ${seed}`,
      );
      world.runFor(10_000);
      assert.equal(a.isUp(b) && b.isUp(a), true);
      assert.equal(a.count('dead n2') + b.count('dead n1'), 0);
    }
  }
});

test('a short cut loses nothing and takes no link down', () => {
  const { world, net, a, b } = linked(9);
  net.cut(a.name, b.name);
  a.links.send(b.nodeId, 'raft', text('held'));
  world.runFor(3_000);
  net.healAll();
  world.runFor(1_000);
  assert.deepEqual(b.heard('raft'), ['held']);
  assert.deepEqual([a.events, b.events], [['up n2'], ['up n1']]);
});

test('a process that stood still blames nobody: its peers drop it, it does not drop them', () => {
  const { world, a, b } = linked(4);
  b.sim.pause();
  world.runFor(3_000);
  b.sim.resume();
  world.runFor(2_000);
  assert.deepEqual([a.events, b.events], [['up n2'], ['up n1']]);
  b.sim.pause();
  world.runFor(30_000);
  assert.deepEqual(a.events, ['up n2', 'down n2 silent']);
  b.sim.resume();
  assert.ok(world.runUntil(() => a.isUp(b) && b.isUp(a), 5_000));
  assert.equal(b.count('down n1 silent'), 0);
});

test('links survive connections that break again and again, and all lanes break together', () => {
  const { world, net, a, b } = linked(11);
  net.faults.resetChance = 0.02;
  for (let i = 0; i < 200; i++) {
    a.links.send(b.nodeId, 'forward', text('x'));
    world.runFor(100);
  }
  net.faults.resetChance = 0;
  world.runFor(5_000);
  assert.ok(a.isUp(b) && b.isUp(a));
  assert.ok(a.count('up n2') > 3);
  for (const [node, peer] of [
    [a, 'n2'],
    [b, 'n1'],
  ] as const) {
    assert.equal(node.count(`up ${peer}`), node.events.filter((e) => e.startsWith(`down ${peer}`)).length + 1);
    assert.equal(node.sim.net.openCount(node.sim.scope), 4);
    // Up and down alternate.
    const order = node.events.filter((e) => !e.startsWith('dead')).map((e) => e.slice(0, 2));
    for (let i = 1; i < order.length; i++) assert.notEqual(order[i], order[i - 1]);
  }
});

test('wrong cookie: nobody comes up, it is counted and logged without the secret', () => {
  const { world, a, b } = pair(2, { cookie: 'open sesame' }, { cookie: 'abracadabra' });
  world.runFor(20_000);
  assert.deepEqual([a.events, b.events], [[], []]);
  assert.ok(b.sim.metrics.value('starmesh_link_auth_failures_total') > 5);
  const lines = b.sim.logs.lines().filter((l) => l.message.includes('cookie'));
  assert.ok(lines.length >= 2 && lines.length <= 6);
  const all = JSON.stringify([...a.sim.logs.lines(), ...b.sim.logs.lines()]);
  assert.ok(!all.includes('sesame') && !all.includes('abracadabra'));
});

test('another cluster, the same identity, and oneself are refused with a clear line', () => {
  const other = pair(2, { clusterId: 'one' }, { clusterId: 'two' });
  other.world.runFor(10_000);
  assert.deepEqual([other.a.events, other.b.events], [[], []]);
  assert.ok(other.b.sim.logs.has('another cluster'));
  assert.ok(JSON.stringify(other.a.sim.logs.lines()).includes('belongs to another cluster'));

  const same = '00112233445566778899aabbccddeeff';
  const twins = pair(3, { nodeId: same }, { nodeId: same });
  twins.world.runFor(10_000);
  assert.deepEqual([twins.a.events, twins.b.events], [[], []]);
  assert.ok(twins.b.sim.logs.has('identity of this node'));

  // One cluster may join a node that has none.
  const joins = linked(4, { clusterId: 'one' }, {});
  assert.equal(joins.b.links.peer(joins.a.nodeId)?.clusterId, 'one');

  // Its own address under another name.
  const { world, nodes } = linkWorld({ seed: 6 }, [{}]);
  const [n] = nodes as [LinkNode];
  n.links.setTargets([{ ...n.target, name: 'z@elsewhere' }]);
  world.runFor(5_000);
  assert.deepEqual(n.events, []);
});

test('a copy of a connected node’s identity at another address is refused, until the first one is gone', () => {
  const { world, nodes, net } = linkWorld({ seed: 8 }, [{}, { nodeId: 'f'.repeat(32) }, { nodeId: 'f'.repeat(32) }]);
  const [core, first, second] = nodes as [LinkNode, LinkNode, LinkNode];
  core.setTargets([first]);
  assert.ok(world.runUntil(() => core.isUp(first), 1_000));
  net.setWay(core.name, second.name, { delayMs: 5 });
  const { target } = core;
  second.links.setTargets([{ ...target, name: 'zz@h1' }]);
  world.runFor(10_000);
  assert.deepEqual(core.events, ['up n2']);
  assert.deepEqual(second.events, []);
  assert.equal(core.isUp(first), true);
  first.sim.crash({ kind: 'kill' });
  assert.ok(world.runUntil(() => core.count('up n3') === 1, 10_000));
});

test('removed targets are closed, and stay away; closing tells the peers', () => {
  const { world, a, b } = linked(5);
  a.setTargets([]);
  b.setTargets([]);
  world.runFor(5_000);
  assert.deepEqual(a.events, ['up n2', 'down n2 local']);
  assert.equal(b.events[0], 'up n1');
  assert.ok(b.events[1] === 'down n1 closed' || b.events[1] === 'down n1 local');
  a.setTargets([b]);
  assert.ok(world.runUntil(() => a.isUp(b) && b.isUp(a), 1_000));
  let closed = false;
  b.links.close(() => {
    closed = true;
  });
  assert.ok(world.runUntil(() => closed, 2_000));
  world.runFor(2_000);
  assert.equal(b.events.at(-1), 'down n1 local');
  assert.deepEqual(a.events.slice(-2), ['down n2 closed', 'dead n2']);
  assert.equal(b.sim.net.openCount(b.sim.scope), 0);
});

test('of a node that we gave up we do not want to know whether it is dead', () => {
  const { world, a, b } = linked(22);
  a.setTargets([]);
  b.sim.crash({ kind: 'kill' });
  world.runFor(5_000);
  assert.deepEqual(a.events, ['up n2', 'down n2 local']);
});

test('links that go down as soon as they are up are made ever more slowly', () => {
  const { world, nodes } = linkWorld({ seed: 23 }, [{}, { ownHandlers: true }]);
  const [a, b] = nodes as [LinkNode, LinkNode];
  // A frame that the other side cannot read closes the link, and nothing else.
  b.links.onFrame('raft', () => {
    throw new MalformedError('no such thing');
  });
  a.links.listen({ onUp: (peer) => void a.links.send(peer.nodeId, 'raft', text('?')) });
  a.setTargets([b]);
  world.runFor(30_000);
  assert.ok(b.count('down n1 protocol') > 10, 'it goes on trying');
  assert.ok(b.events.length < 80, `${b.events.length} events`);
  assert.equal(a.count('dead n2'), 0);
});

test('a changed hello is seen by linked peers and in new links', () => {
  const { world, a, b } = linked(6);
  a.links.updateSelf({ incarnation: 7 });
  a.links.updateSelf({ clusterId: 'c', info: text('formed') });
  world.runFor(20);
  const seen = b.links.peer(a.nodeId);
  assert.deepEqual([seen?.incarnation, seen?.clusterId, Buffer.from(seen?.info ?? []).toString()], [7, 'c', 'formed']);
  assert.equal(b.count('change n1'), 1);
  b.sim.crash({ kind: 'kill' });
  world.runFor(1_000);
  b.restart();
  world.runFor(3_000);
  assert.equal(b.links.peer(a.nodeId)?.incarnation, 7);
  // And a link cannot go on across clusters.
  b.links.updateSelf({ clusterId: 'd' });
  world.runFor(100);
  assert.equal(a.isUp(b) || b.isUp(a), false);
});
