// Rows of sessions that are on their node's disk: they outlive the node's incarnation, count for nobody while
// it is down, and are the node's again when it comes back, unless somebody has had the client id since.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { registryKey } from '#broker/registry-row.js';
import { registryTableOf } from '#broker/schema.js';
import type { MiniBroker } from './mini-broker.js';
import { cluster, id, type MiniCluster } from './mini-cluster.js';

/** The node's process ends and another one begins, with what was on its disk. */
function restart(c: MiniCluster, i: number, sessions: MiniBroker['sessions']): MiniBroker {
  const node = c.make(i);
  node.durable = true;
  for (const [clientId, s] of sessions) node.sessions.set(clientId, { ...s, connected: false });
  c.net.linkAll();
  c.clock.advance(20);
  return node;
}

function start(): { c: MiniCluster; b: MiniBroker; a: MiniBroker; epoch: number } {
  const c = cluster(3);
  for (const n of c.nodes) n.durable = true;
  const [, a, b] = c.nodes as [MiniBroker, MiniBroker, MiniBroker];
  const [how, session] = c.connect(a, 'x');
  assert.equal(how, 'fresh');
  return { c, a, b, epoch: session?.epoch ?? 0 };
}

test('a session that came back with its node is the client’s, on this node', () => {
  const { c, a, epoch } = start();
  c.db.fence(id(2));
  c.clock.advance(100);
  const back = restart(c, 2, a.sessions);
  back.registry.recheck();
  c.clock.advance(100);
  assert.deepEqual(back.known, [`x ${epoch}`]);
  assert.equal(c.connect(back, 'x')[0], 'local');
  assert.deepEqual(back.discarded, []);
});

test('and on any other, by takeover, also before anybody has looked', () => {
  const { c, a, b } = start();
  const identity = a.sessions.get('x')?.identity;
  const back = restart(c, 2, a.sessions);
  const [how, session] = c.connect(b, 'x');
  assert.equal(how, 'remote');
  assert.equal(session?.identity, identity);
  c.clock.advance(100);
  assert.equal(back.sessions.size, 0);
});

test('a node that has lost its disk has no session, and its client begins anew', () => {
  const { c, b } = start();
  restart(c, 2, new Map());
  assert.equal(c.connect(b, 'x')[0], 'fresh');
});

test('a client that was elsewhere meanwhile has lost the old session, whether the new one lives or not', () => {
  for (const ends of [false, true]) {
    const { c, a, b, epoch } = start();
    c.db.fence(id(2));
    c.clock.advance(100);
    assert.equal(c.connect(b, 'x')[0], 'fresh');
    b.disconnect('x', ends);
    c.clock.advance(100);
    const back = restart(c, 2, a.sessions);
    back.registry.recheck();
    c.clock.advance(200);
    assert.deepEqual(back.known, []);
    assert.deepEqual(back.discarded, [`x ${epoch} 142`]);
    assert.equal(c.connect(back, 'x')[0], ends ? 'fresh' : 'remote');
  }
});

test('a session that is not on a disk goes with its node, as before', () => {
  const { c, b } = start();
  b.durable = false;
  c.connect(b, 'y');
  assert.notEqual(c.row('y'), undefined);
  c.db.fence(id(3));
  c.clock.advance(100);
  const stored = c.db.shard(registryTableOf(registryKey('y')).shard).leader.get(registryTableOf(registryKey('y')), registryKey('y'));
  assert.equal(stored, undefined);
  assert.notEqual(c.row('x'), undefined);
});

test('a node that is fenced while it lives keeps the sessions of clients that are away', () => {
  const { c, a, epoch } = start();
  a.disconnect('x', false);
  c.clock.advance(50);
  c.db.fence(id(2));
  c.clock.advance(50);
  c.db.renew(id(2));
  c.clock.advance(200);
  assert.deepEqual(a.discarded, []);
  assert.equal(a.sessions.get('x')?.epoch, epoch);
  assert.equal(c.connect(a, 'x')[0], 'local');
});

test('a holder that asserts its session during a takeover keeps it until the other has it', () => {
  for (const givenUp of [false, true]) {
    const { c, a, b, epoch } = start();
    const identity = a.sessions.get('x')?.identity;
    a.disconnect('x', false);
    c.clock.advance(50);
    c.db.fault = (nodeId) => (nodeId === id(2) ? 'refused' : 'none');
    c.db.fence(id(2));
    c.db.renew(id(2));
    c.clock.advance(50);
    c.db.fault = () => 'none';
    b.buildMs = () => 1_500;
    let how = '';
    b.connect('x', false, (h) => {
      how = h;
    });
    c.clock.advance(200);
    const newer = c.row('x')?.owner?.epoch ?? 0;
    assert.ok(newer > epoch);
    if (givenUp) b.registry.ended('x', newer);
    c.clock.advance(1_000);
    assert.equal(a.registry.idle, true, 'it has asserted the session');
    assert.deepEqual(a.discarded, [], 'nobody else has it yet');
    assert.equal(c.row('x')?.owner?.epoch, givenUp ? undefined : newer, 'a client that is away owns nothing');
    assert.equal(c.row('x')?.holder.incarnation, a.db.incarnation);
    c.clock.advance(1_000);
    assert.equal(how, givenUp ? 'overtaken' : 'remote');
    assert.equal((givenUp ? a : b).sessions.get('x')?.identity, identity);
    assert.equal((givenUp ? b : a).sessions.size, 0);
  }
});

test('a connection that lived through it does not get the client id back from a newer session on a disk', () => {
  const { c, a, b, epoch } = start();
  c.db.fence(id(2));
  c.clock.advance(50);
  assert.equal(c.connect(b, 'x')[0], 'fresh');
  c.db.fence(id(3));
  c.clock.advance(50);
  c.db.renew(id(2));
  c.clock.advance(100);
  assert.deepEqual(a.discarded, [`x ${epoch} 142`]);
  assert.equal(c.row('x')?.holder.nodeId, id(3));
});

test('of two that begin anew because the holder is gone, the newer connection has the client id, whoever is first', () => {
  for (const olderFirst of [true, false]) {
    const { c, b } = start();
    const [other] = c.nodes as [MiniBroker];
    [b.buildMs, other.buildMs] = olderFirst ? [() => 400, () => 600] : [() => 600, () => 400];
    const how: string[] = [];
    b.connect('x', false, (h) => how.push(`older ${h}`));
    c.clock.advance(100);
    other.connect('x', false, (h) => how.push(`newer ${h}`));
    c.clock.advance(100);
    const newer = c.row('x')?.owner?.epoch;
    assert.equal(c.row('x')?.owner?.nodeId, id(1));
    c.net.kill(id(2));
    c.db.fence(id(2));
    c.clock.advance(3_000);
    assert.deepEqual([c.row('x')?.owner?.epoch, c.row('x')?.holder.epoch], [newer, newer], how.join());
    assert.deepEqual([b.sessions.size, other.sessions.size], [0, 1]);
  }
});

test('the row of a node that stays away lives as long as the client has said when it left', () => {
  const c = cluster(2, { expiry: { everyMs: 1_000, batch: 2, pauseMs: 5 } });
  const [, a] = c.nodes as [MiniBroker, MiniBroker];
  a.durable = true;
  // They came with 100 s.
  const epochs = ['longer', 'shorter', 'never', 'as-before'].map((clientId) => [clientId, c.connect(a, clientId, false, 20)[1]?.epoch ?? 0] as const);
  const said = [1000, 10, 0xffffffff, undefined];
  for (const [i, [clientId, epoch]] of epochs.entries()) a.registry.disconnected(clientId, epoch, undefined, said[i]);
  // What is said later, of the will, does not take it back.
  a.registry.disconnected('longer', epochs[0]?.[1] ?? 0, 'over');
  c.clock.advance(1_000);
  c.db.fence(id(2));
  const left = (): string[] => epochs.map(([clientId]) => clientId).filter((clientId) => c.row(clientId) !== undefined);
  c.clock.advance(30_000);
  assert.deepEqual(left(), ['longer', 'never', 'as-before']);
  c.clock.advance(90_000);
  assert.deepEqual(left(), ['longer', 'never']);
  c.clock.advance(900_000);
  assert.deepEqual(left(), ['never']);
});

test('the row of a node that stays away goes when the session has expired, and not before', () => {
  const c = cluster(2, { expiry: { everyMs: 1_000, batch: 2, pauseMs: 5 } });
  const [, a] = c.nodes as [MiniBroker, MiniBroker];
  a.durable = true;
  const clientIds = Array.from({ length: 12 }, (_, i) => `c${i}`);
  for (const clientId of clientIds) c.connect(a, clientId, false, 20);
  c.db.fence(id(2));
  c.clock.advance(90_000);
  for (const clientId of clientIds) assert.notEqual(c.row(clientId), undefined, 'the session lives 100 s');
  c.clock.advance(20_000);
  for (const clientId of clientIds) assert.equal(c.row(clientId), undefined);
});
