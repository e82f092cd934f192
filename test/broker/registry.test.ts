import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import type { MiniBroker } from './mini-broker.js';
import { cluster, id, type MiniCluster, three } from './mini-cluster.js';

test('a session moves from node to node with its state and queue, and nothing stays behind', () => {
  const c = cluster(3);
  const [a, b, third] = three(c);
  const [how, first] = c.connect(a, 'x');
  assert.equal(how, 'fresh');
  assert.equal(c.connect(a, 'x')[0], 'local');
  first?.queue.push('m1');
  a.disconnect('x', false);
  first?.queue.push('m2');
  c.clock.advance(20);
  assert.equal(c.row('x')?.owner, undefined);
  const [moved, second] = c.connect(b, 'x');
  assert.equal(moved, 'remote');
  assert.equal(second?.identity, first?.identity);
  assert.deepEqual(second?.queue, ['m1', 'm2']);
  assert.equal(a.sessions.size, 0);
  assert.equal(c.row('x')?.holder.nodeId, id(2));
  assert.equal(c.row('x')?.holder.epoch, second?.epoch);
  const [cleaned] = c.connect(third, 'x', true);
  assert.equal(cleaned, 'fresh');
  assert.equal(b.sessions.size, 0);
  assert.deepEqual(b.discarded, [`x ${second?.epoch} ${0x8e}`]);
  third.disconnect('x', true);
  c.clock.advance(20);
  assert.equal(c.row('x'), undefined);
});

test('long states and queues come in chunks', () => {
  const c = cluster(2, { server: { chunkBytes: 10 } });
  const [a, b] = c.nodes as [MiniBroker, MiniBroker];
  a.padding = 995;
  const [, first] = c.connect(a, 'x');
  first?.queue.push('m1');
  const [how, second] = c.connect(b, 'x', false, 800);
  assert.equal(how, 'remote');
  assert.equal(second?.identity, first?.identity);
  assert.deepEqual(second?.queue, ['m1']);
});

test('a session is adopted only while its client is away, and by another node than its own', () => {
  const c = cluster(3);
  const [a, b, third] = three(c);
  const adopt = (node: MiniBroker, epoch: number = c.row('x')?.holder.epoch ?? 1): string => {
    let how = 'pending';
    const done = (said: string): void => {
      how = said;
    };
    node.connect('x', false, done, epoch);
    c.clock.advance(200);
    return how;
  };
  assert.equal(adopt(b), 'overtaken', 'there is none');
  assert.equal(c.row('x'), undefined);
  const [, first] = c.connect(a, 'x');
  first?.queue.push('m1');
  assert.equal(adopt(b), 'overtaken', 'its client is connected');
  a.disconnect('x', false);
  c.clock.advance(20);
  assert.equal(adopt(a), 'overtaken', 'it is here');
  assert.equal(c.row('x')?.owner, undefined, 'and the row is as it was');
  assert.equal(adopt(b), 'remote');
  assert.deepEqual([a.sessions.size, b.sessions.get('x')?.queue], [0, ['m1']]);
  b.disconnect('x', false);
  c.clock.advance(20);
  assert.equal(adopt(third, first?.epoch), 'overtaken', 'who gives it away has it no more, and had not heard of that');
  assert.deepEqual([c.row('x')?.owner, c.row('x')?.holder.nodeId], [undefined, id(2)]);
  // The client comes somewhere else while its session is on its way.
  third.connect('x', false, () => {}, c.row('x')?.holder.epoch);
  c.clock.advance(2);
  const [how, session] = c.connect(a, 'x', false, 500);
  assert.deepEqual([how, session?.queue], ['remote', ['m1']]);
  assert.deepEqual([b.sessions.size, third.sessions.size], [0, 0]);
});

test('the longest client id works', () => {
  const c = cluster(2);
  const [a, b] = c.nodes as [MiniBroker, MiniBroker];
  const long = 'é'.repeat(32_767);
  c.connect(a, long);
  assert.equal(c.connect(b, long)[0], 'remote');
});

test('of two that connect at once, on two nodes or on one, the later registration wins', () => {
  const c = cluster(3);
  const [a, b, third] = three(c);
  const [, first] = c.connect(a, 'x');
  const got: string[] = [];
  for (const node of [b, third, third, third]) node.connect('x', false, (how) => got.push(how));
  c.clock.advance(500);
  assert.equal(got.length, 4);
  assert.equal(got.filter((how) => how === 'remote' || how === 'local').length >= 1, true);
  const all = c.nodes.flatMap((n) => [...n.sessions.values()]);
  assert.equal(all.length, 1);
  assert.equal(all[0]?.epoch, c.row('x')?.holder.epoch);
  assert.equal(all[0]?.identity, first?.identity, 'the session survived the race');
});

test('a connection that overtakes a takeover between its phases gets the session', () => {
  for (const at of [2, 6, 8, 9, 10, 11, 12, 13, 14, 16]) {
    for (const where of [0, 1, 2]) {
      const c = cluster(3);
      const [a, b] = three(c);
      const [, first] = c.connect(a, 'x');
      first?.queue.push('m');
      b.connect('x', false);
      c.clock.advance(at);
      const last = c.nodes[where] as MiniBroker;
      c.connect(last, 'x', false, 500);
      const all = c.nodes.flatMap((n) => [...n.sessions.values()]);
      assert.equal(all.length, 1, `after ${at} ms on node ${where + 1}`);
      assert.equal(last.sessions.get('x')?.epoch, c.row('x')?.holder.epoch);
      assert.equal(last.sessions.get('x')?.identity, first?.identity, `after ${at} ms on node ${where + 1}`);
      assert.deepEqual(last.sessions.get('x')?.queue, ['m'], `after ${at} ms on node ${where + 1}`);
    }
  }
});

test('a holder that dies in any phase means a fresh session, quickly', () => {
  for (let at = 0; at < 24; at++) {
    const c = cluster(3);
    const [a, b] = three(c);
    b.buildMs = () => 10;
    const [, first] = c.connect(b, 'x');
    let how = '';
    a.connect('x', false, (h) => {
      how = h;
    });
    c.clock.advance(at);
    c.net.kill(id(2));
    c.clock.advance(300);
    assert.ok(how === 'fresh' || (how === 'remote' && a.sessions.get('x')?.identity === first?.identity), `after ${at} ms: ${how}`);
    assert.equal(c.row('x')?.holder.nodeId, id(1));
    assert.equal(a.sessions.get('x')?.epoch, c.row('x')?.holder.epoch);
  }
});

test('a holder cut off from the new owner only: fresh in time, and its session goes when the link is back', () => {
  const c = cluster(2);
  const [a, b] = c.nodes as [MiniBroker, MiniBroker];
  c.connect(b, 'x');
  c.net.cut(id(1), id(2), 'silent');
  let how = '';
  a.connect('x', false, (h) => {
    how = h;
  });
  c.clock.advance(5_000);
  assert.equal(how, 'fresh');
  assert.equal(b.sessions.size, 1);
  c.net.heal(id(1), id(2));
  c.clock.advance(50);
  assert.equal(b.sessions.size, 0);
  assert.equal(a.sessions.get('x')?.epoch, c.row('x')?.holder.epoch);
});

test('a new owner that dies before it has taken over leaves the session with its holder', () => {
  const c = cluster(3);
  const [a, b, third] = three(c);
  const [, first] = c.connect(b, 'x');
  third.buildMs = () => 1_000;
  third.connect('x', false);
  c.clock.advance(100);
  c.net.kill(id(3));
  c.db.fence(id(3));
  c.clock.advance(50);
  const [how, session] = c.connect(a, 'x');
  assert.equal(how, 'remote');
  assert.equal(session?.identity, first?.identity);
});

test('without a quorum a registration fails within its deadline', () => {
  const c = cluster(2);
  const [a] = c.nodes as [MiniBroker];
  c.db.fault = () => 'no-quorum';
  assert.equal(c.connect(a, 'x', false, 5_100)[0], 'no-quorum');
  c.db.fault = () => 'refused';
  assert.equal(c.connect(a, 'x')[0], 'refused');
});

test('what could not be said without a quorum is said later', () => {
  const c = cluster(2);
  const [a] = c.nodes as [MiniBroker];
  c.connect(a, 'x');
  c.db.fault = () => 'lost';
  a.disconnect('x', true);
  c.clock.advance(8_000);
  assert.ok(c.row('x') !== undefined);
  c.db.fault = () => 'none';
  c.clock.advance(7_000);
  assert.equal(c.row('x'), undefined);
  assert.equal(a.registry.idle, true);
});

test('a fenced node that comes back asserts its sessions; those with a newer epoch elsewhere are closed', () => {
  const c = cluster(2);
  const [a, b] = c.nodes as [MiniBroker, MiniBroker];
  for (const clientId of ['kept', 'lost']) c.connect(b, clientId);
  c.db.fence(id(2));
  c.clock.advance(20);
  assert.equal(c.row('kept'), undefined);
  assert.equal(c.connect(a, 'lost')[0], 'fresh');
  c.db.renew(id(2));
  c.clock.advance(50);
  assert.deepEqual([...b.sessions.keys()], ['kept']);
  assert.equal(c.row('kept')?.holder.epoch, b.sessions.get('kept')?.epoch);
  assert.equal(c.row('kept')?.holder.incarnation, b.db.incarnation);
  assert.equal(c.row('lost')?.holder.nodeId, id(1));
});

test('kick finds the session wherever it is', () => {
  const c = cluster(3);
  const [a, b, third] = three(c);
  c.connect(b, 'x');
  const got: boolean[] = [];
  third.registry.kick('x', (found) => got.push(found));
  third.registry.kick('nobody', (found) => got.push(found));
  c.clock.advance(50);
  assert.deepEqual(got.sort(), [false, true]);
  assert.equal(b.discarded.length, 1);
  assert.ok(b.discarded[0]?.endsWith(` ${0x98}`));
  assert.equal(c.row('x'), undefined);
  c.connect(a, 'y');
  a.registry.kick('y', () => {});
  c.clock.advance(50);
  assert.equal(a.sessions.size, 0);
});

test('a lost answer leaves no session behind: the next registration tells the node that was displaced', () => {
  const c = cluster(3);
  const [a, b, third] = three(c);
  c.connect(b, 'x');
  c.db.fault = () => 'late';
  assert.equal(c.connect(a, 'x', true, 5_100)[0], 'no-quorum');
  c.db.fault = () => 'none';
  assert.equal(b.sessions.size, 1, 'nobody told it');
  assert.equal(c.connect(third, 'x')[0], 'fresh');
  assert.equal(b.sessions.size, 0);
});

test('a session survives a registration on its own node whose answer was lost', () => {
  for (const where of [0, 1]) {
    const c = cluster(2);
    const [a] = c.nodes as [MiniBroker];
    const [, first] = c.connect(a, 'x');
    c.db.fault = () => 'late';
    for (let i = 0; i < 2; i++) assert.equal(c.connect(a, 'x', false, 5_100)[0], 'no-quorum');
    c.db.fault = () => 'none';
    a.disconnect('x', false);
    c.clock.advance(100);
    const last = c.nodes[where] as MiniBroker;
    const [, session] = c.connect(last, 'x');
    assert.equal(session?.identity, first?.identity);
    assert.equal(c.row('x')?.holder.epoch, last.sessions.get('x')?.epoch);
  }
});

test('a call about an epoch whose registration is still being answered here waits for the answer', () => {
  const c = cluster(2);
  const [a, b] = c.nodes as [MiniBroker, MiniBroker];
  const [, first] = c.connect(a, 'x');
  // The leader decides after 1 ms; the answer to node 1 takes 60 ms, that to node 2 takes 1 ms.
  const delays = [1, 1, 60, 1];
  c.db.writeDelayMs = () => delays.shift() ?? 1;
  a.connect('x', false);
  b.connect('x', false);
  c.clock.advance(30);
  assert.equal(a.sessions.get('x')?.epoch, first?.epoch, 'not answered yet');
  c.clock.advance(200);
  assert.equal(b.sessions.get('x')?.identity, first?.identity);
  assert.equal(a.sessions.size, 0);
});

test('malformed calls are refused and counted', () => {
  const c = cluster(2);
  const [a, b] = c.nodes as [MiniBroker, MiniBroker];
  const got: (string | undefined)[] = [];
  for (const method of ['takeover.begin', 'takeover.finish', 'session.discard', 'session.kick']) {
    a.links.call(id(2), method, Uint8Array.of(200), 1_000, (failure) => got.push(failure?.kind));
  }
  c.clock.advance(10);
  assert.deepEqual(
    got,
    Array.from({ length: 4 }, () => 'refused'),
  );
  assert.equal(b.metrics.read('starmesh_takeover_malformed_total'), 4);
});

function quietAndRight(c: MiniCluster, clientIds: readonly string[], what: string): void {
  for (const clientId of clientIds) {
    const row = c.row(clientId);
    const held = c.nodes.filter((n) => n.sessions.has(clientId));
    assert.ok(held.length <= 1, `${what}: ${clientId} has ${held.length} sessions`);
    for (const node of held) {
      assert.equal(node.sessions.get(clientId)?.epoch, row?.holder.epoch, `${what}: ${clientId} is not current`);
      assert.equal(node.db.nodeId, row?.holder.nodeId, what);
    }
  }
}

// A purge takes with the rows of a node what is known there of others that it displaced and could not tell: those hear
// of it when their client's connection closes.
for (const purges of [false, true]) {
  test(`one session per client id holds the current epoch: random connects, cuts, failing writes${purges ? ', fences, deaths' : ''}`, () => {
    for (let seed = 0; seed < 60; seed++) randomRun(seed, purges);
  });
}

function randomRun(seed: number, purges: boolean): void {
  const clientIds = ['p', 'q', 'r'];
  const prng = new Prng(seed);
  const c = cluster(3);
  let faults = true;
  c.db.writeDelayMs = () => prng.int(15);
  c.db.applyDelayMs = () => prng.int(15);
  c.db.fault = () => (faults && prng.chance(0.08) ? prng.pick(['lost', 'late', 'no-quorum', 'fenced'] as const) : 'none');
  const fenced = new Set<number>();
  for (let i = 0; i < 150; i++) {
    const n = prng.int(3);
    const node = c.nodes[n] as MiniBroker;
    node.buildMs = () => prng.int(60);
    const clientId = prng.pick(clientIds);
    const step = prng.int(24);
    const peer = (n + 1 + prng.int(2)) % 3;
    if (step < 10) node.connect(clientId, prng.chance(0.2));
    else if (step < 14) node.disconnect(clientId, prng.chance(0.3));
    else if (step === 14) node.sessions.get(clientId)?.queue.push(`${i}`);
    else if (step === 15) c.net.cut(id(n + 1), id(peer + 1));
    else if (step < 19) c.net.heal(id(n + 1), id(peer + 1));
    else if (step === 19 && purges && !fenced.has(n)) {
      fenced.add(n);
      c.db.fence(id(n + 1));
    } else if (step === 20 && fenced.delete(n)) c.db.renew(id(n + 1));
    else if (step === 21 && purges && prng.chance(0.3)) {
      c.net.kill(id(n + 1));
      c.db.fence(id(n + 1));
      fenced.delete(n);
      c.nodes[n] = c.make(n + 1);
    } else if (step === 22) node.registry.kick(clientId, () => {});
    c.clock.advance(prng.int(prng.chance(0.1) ? 2_000 : 40));
  }
  faults = false;
  for (const n of fenced) c.db.renew(id(n + 1));
  c.net.linkAll();
  c.clock.advance(25_000);
  for (const node of c.nodes) assert.equal(node.open, 0, `seed ${seed}: a callback is missing`);
  for (const clientId of clientIds) c.connect(prng.pick(c.nodes), clientId, false, 6_000);
  c.clock.advance(2_000);
  if (purges) {
    for (const clientId of clientIds) {
      for (const node of c.nodes) if (c.row(clientId)?.holder.nodeId !== node.db.nodeId) node.disconnect(clientId, false);
    }
    c.clock.advance(2_000);
  }
  quietAndRight(c, clientIds, `seed ${seed}`);
  for (const clientId of clientIds) assert.equal(c.nodes.filter((n) => n.sessions.has(clientId)).length, 1, `seed ${seed}: ${clientId} is connected`);
}

test('without failures a session that nobody ends or cleans is never lost, whatever the races', () => {
  for (let seed = 0; seed < 80; seed++) {
    const prng = new Prng(seed);
    const c = cluster(3);
    c.db.writeDelayMs = () => prng.int(10);
    const [, first] = c.connect(c.nodes[0] as MiniBroker, 'x');
    for (let i = 0; i < 30; i++) {
      const node = prng.pick(c.nodes);
      node.buildMs = () => prng.int(40);
      node.connect('x', false);
      if (prng.chance(0.2)) node.disconnect('x', false);
      c.clock.advance(prng.int(60));
    }
    c.clock.advance(5_000);
    quietAndRight(c, ['x'], `seed ${seed}`);
    const all = c.nodes.flatMap((n) => [...n.sessions.values()]);
    assert.deepEqual(
      all.map((s) => s.identity),
      [first?.identity],
      `seed ${seed}`,
    );
  }
});
