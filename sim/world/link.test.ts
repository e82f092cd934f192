import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Connection } from '#env/net.js';
import type { RpcFailure } from '#link/api.js';
import { clusterPort, type LinkNode, type LinkNodeOptions, type LinkWorld, linkWorld, text } from './link-bench.js';

function pair(seed: number, first: LinkNodeOptions = {}, second: LinkNodeOptions = {}): LinkWorld & { a: LinkNode; b: LinkNode } {
  const made = linkWorld({ seed }, [first, second]);
  const [a, b] = made.nodes as [LinkNode, LinkNode];
  a.setTargets([a, b]);
  b.setTargets([a, b]);
  return { ...made, a, b };
}

function linked(seed: number, first: LinkNodeOptions = {}, second: LinkNodeOptions = {}): LinkWorld & { a: LinkNode; b: LinkNode } {
  const made = pair(seed, first, second);
  assert.ok(made.world.runUntil(() => made.a.isUp(made.b) && made.b.isUp(made.a), 1_000));
  return made;
}

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

test('a second link from the same node takes the place of the first: replaced', () => {
  const { world, nodes, net } = linkWorld({ seed: 8 }, [{}, { nodeId: 'f'.repeat(32) }, { nodeId: 'f'.repeat(32) }]);
  const [core, ,] = nodes as [LinkNode, LinkNode, LinkNode];
  const [, first, second] = nodes as [LinkNode, LinkNode, LinkNode];
  core.setTargets([first]);
  assert.ok(world.runUntil(() => core.isUp(first), 1_000));
  net.setWay(core.name, second.name, { delayMs: 5 });
  // The clone dials core: as a replicant would, whatever the names.
  const { target } = core;
  second.links.setTargets([{ ...target, name: 'zz@h1' }]);
  assert.ok(world.runUntil(() => core.count('down n2 replaced') === 1, 3_000));
  assert.ok(core.events.indexOf('up n3') > core.events.indexOf('down n2 replaced'));
  assert.equal(core.links.peers().length, 1);
  assert.ok(world.runUntil(() => first.count('down n1 replaced') === 1, 1_000));
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

test('full and drain: a lane whose reader stands still takes up to its bound, and says when to go on', () => {
  const bound = 1024 * 1024;
  const { world, a, b } = linked(7, { limits: { laneBufferBytesMax: { raft: bound, rlog: bound, rpc: bound, forward: bound } } });
  b.links.pauseLane(a.nodeId, 'forward');
  const frame = new Uint8Array(10_000).fill(66);
  let sent = 0;
  for (;;) {
    const result = a.links.send(b.nodeId, 'forward', frame);
    if (result === 'full') break;
    sent++;
    if (sent % 20 === 0) world.runFor(1);
    assert.ok(sent < 1_000);
  }
  assert.ok(a.links.backlogBytes(b.nodeId, 'forward') <= bound);
  assert.ok(sent > 100);
  // For longer than the silence limit: a paused lane is no dead lane.
  world.runFor(12_000);
  assert.deepEqual([a.events, b.events], [['up n2'], ['up n1']]);
  assert.deepEqual(b.frames, []);
  assert.equal(a.links.send(b.nodeId, 'raft', text('still fast')), 'sent');
  b.links.resumeLane(a.nodeId, 'forward');
  assert.ok(world.runUntil(() => b.heard('forward').length === sent, 1_000));
  world.runFor(10);
  assert.equal(a.count('drain n2 forward'), 1);
  assert.equal(a.links.send(b.nodeId, 'forward', frame), 'sent');
  assert.deepEqual(b.heard('raft'), ['still fast']);
  assert.equal(a.sim.metrics.value('starmesh_link_frames_refused_total', { peer: 'n2@h2', lane: 'forward' }), 1);
});

test('a flooded forward lane does not delay the raft lane', () => {
  const { world, net, a, b } = linked(8);
  const flood = new Uint8Array(1_000_000);
  let full = false;
  for (let i = 0; i < 40; i++) full = a.links.send(b.nodeId, 'forward', flood) === 'full' || full;
  assert.ok(full);
  world.runFor(1);
  b.links.pauseLane(a.nodeId, 'forward');
  net.setWay(a.name, b.name, { delayMs: 1, jitterMs: 0 });
  const from = world.now;
  a.links.send(b.nodeId, 'raft', text('heartbeat'));
  assert.ok(world.runUntil(() => b.heard('raft').length === 1, 1_000));
  assert.ok(world.now - from < 3);
});

test('a handler that pauses its lane gets no further frame until it resumes it', () => {
  const { world, nodes } = linkWorld({ seed: 14 }, [{ ownHandlers: true }, {}]);
  const [a, b] = nodes as [LinkNode, LinkNode];
  a.setTargets([b]);
  const seen: number[] = [];
  a.links.onFrame('rlog', (from, frame) => {
    seen.push(frame[0] ?? -1);
    a.links.pauseLane(from.nodeId, 'rlog');
  });
  assert.ok(world.runUntil(() => b.isUp(a) && a.isUp(b), 1_000));
  for (let i = 0; i < 3; i++) b.links.send(a.nodeId, 'rlog', Uint8Array.of(i));
  world.runFor(8_000);
  assert.deepEqual(seen, [0]);
  a.links.resumeLane(b.nodeId, 'rlog');
  assert.deepEqual(seen, [0], 'not inside the call');
  world.runFor(10);
  assert.deepEqual(seen, [0, 1]);
});

test('frames sent as soon as the peer is up are heard after its up on the other side, not before, not never', () => {
  for (let seed = 1; seed < 20; seed++) {
    const { world, net, nodes } = linkWorld({ seed }, [{}, { ownHandlers: true }]);
    const [b, a] = nodes as [LinkNode, LinkNode];
    net.way = { delayMs: 1, jitterMs: 50, bytesPerMs: 0 };
    const heard: string[] = [];
    a.links.listen({ onUp: () => void heard.push('up') });
    for (const lane of ['raft', 'rlog', 'forward'] as const) a.links.onFrame(lane, () => void heard.push(lane));
    b.links.listen({
      onUp: (peer) => {
        for (const lane of ['raft', 'rlog', 'forward'] as const) assert.equal(b.links.send(peer.nodeId, lane, text('welcome')), 'sent');
      },
    });
    // `a` dials as a replicant would: the acceptor is up first.
    a.links.setTargets([{ ...b.target, name: 'zz@h1' }]);
    world.runFor(2_000);
    assert.deepEqual(heard.toSorted(), ['forward', 'raft', 'rlog', 'up'], `seed ${seed}`);
    assert.equal(heard[0], 'up');
  }
});

test('two targets that are one node: one link, and it stays', () => {
  const { world, a, b } = linked(15);
  a.links.setTargets([b.target, { ...b.target, name: 'z@alias' }]);
  world.runFor(30_000);
  assert.deepEqual([a.events, b.events], [['up n2'], ['up n1']]);
  assert.ok(a.sim.logs.lines().some((l) => JSON.stringify(l.fields ?? {}).includes('linked already')));
});

test('rpc: replies, refusals, unknown methods, deadlines, bounds', () => {
  const { world, a, b } = linked(9, { limits: { rpcOutstandingMax: 3 } });
  const results: string[] = [];
  const done =
    (name: string) =>
    (failure: RpcFailure | undefined, body: Uint8Array): void => {
      results.push(`${name}: ${failure === undefined ? Buffer.from(body).toString() : failure.kind === 'refused' ? failure.message : failure.kind}`);
    };
  a.links.call(b.nodeId, 'echo', text('hi'), 1_000, done('echo'));
  a.links.call(b.nodeId, 'no', text(''), 1_000, done('no'));
  a.links.call(b.nodeId, 'what', text(''), 1_000, done('what'));
  assert.deepEqual(results, []);
  world.runFor(20);
  assert.deepEqual(results, ['echo: hi', 'no: not today', 'what: unknown method what']);
  results.length = 0;
  const from = world.now;
  a.links.call(b.nodeId, 'never', text(''), 300, done('late'));
  a.links.call(b.nodeId, 'never', text(''), 100, done('soon'));
  a.links.call(b.nodeId, 'never', text(''), 200, done('middle'));
  a.links.call(b.nodeId, 'never', text(''), 200, done('too many'));
  a.links.call('0'.repeat(32), 'never', text(''), 200, done('nobody'));
  assert.deepEqual(results, [], 'never inside the call');
  assert.ok(world.runUntil(() => results.length === 5, 1_000));
  assert.deepEqual(results, ['too many: full', 'nobody: down', 'soon: timeout', 'middle: timeout', 'late: timeout']);
  assert.ok(world.now - from < 302);
});

test('rpc: what is outstanding when the link goes down fails at once, exactly once', () => {
  const { world, a, b } = linked(10);
  const kinds: string[] = [];
  for (let i = 0; i < 5; i++) a.links.call(b.nodeId, 'never', text(''), 60_000, (f) => void kinds.push(f?.kind ?? 'ok'));
  world.runFor(10);
  b.sim.crash();
  world.runFor(1_000);
  assert.deepEqual(
    kinds,
    Array.from({ length: 5 }, () => 'down'),
  );
  world.runFor(100_000);
  assert.equal(kinds.length, 5);
});

test('strangers at the cluster port: silence is cut off, and many of them keep nobody out', () => {
  const { world, a, b } = pair(12, {}, { limits: { unauthenticatedMax: 8 } });
  const open: Connection[] = [];
  let closed = 0;
  for (let i = 0; i < 30; i++) {
    a.sim.env.net.connect(
      { host: 'h2', port: clusterPort },
      { timeoutMs: 100 },
      (c) => {
        open.push(c);
        c.handler = { onData: () => assert.fail('a stranger is told nothing'), onDrain: () => {}, onClose: () => void closed++ };
      },
      () => {},
    );
  }
  assert.ok(world.runUntil(() => a.isUp(b) && b.isUp(a), 2_000));
  assert.equal(open.length, 30);
  world.runFor(6_000);
  assert.equal(closed, 30);
  assert.ok(b.sim.metrics.value('starmesh_link_unauthenticated_dropped_total') >= 20);
  assert.equal(b.sim.metrics.value('starmesh_link_auth_failures_total'), 0);
});

test('round trips are measured, and lastHeardAt moves on an idle link', () => {
  const { world, net, a, b } = linked(13);
  net.setWay(a.name, b.name, { delayMs: 40, jitterMs: 0 });
  world.runFor(20_000);
  const rtt = a.links.roundTripMs(b.nodeId) ?? 0;
  assert.ok(rtt > 70 && rtt < 90, String(rtt));
  assert.ok(a.sim.env.clock.now() - (a.links.lastHeardAt(b.nodeId) ?? 0) < 700);
  assert.equal(a.links.lastHeardAt('0'.repeat(32)), undefined);
});
