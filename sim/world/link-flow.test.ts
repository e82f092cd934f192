// Links that are up: back pressure, pausing, calls, strangers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Connection } from '#env/net.js';
import type { RpcFailure } from '#link/api.js';
import { clusterPort, type LinkNode, linked, linkWorld, pair, text } from './link-bench.js';

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

test('rpc: no answer is awaited for longer than the links say, whatever the caller asked for', () => {
  const { world, a, b } = linked(10, { limits: { rpcAnswerMsMax: 1_000 } });
  const ended: string[] = [];
  const from = world.now;
  for (const deadlineMs of [60_000, Number.POSITIVE_INFINITY, 400])
    a.links.call(b.nodeId, 'never', text(''), deadlineMs, (f) => void ended.push(`${f?.kind} after ${Math.round((world.now - from) / 100) * 100}`));
  world.runFor(2_000);
  assert.deepEqual(ended, ['timeout after 400', 'timeout after 1000', 'timeout after 1000']);
  assert.equal(a.sim.metrics.value('starmesh_link_rpc_timeouts_total'), 3);
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
  assert.ok(a.sim.env.clock.now() - (a.links.lastHeardAt(b.nodeId) ?? 0) < 2_000);
  assert.equal(a.links.lastHeardAt('0'.repeat(32)), undefined);
});
