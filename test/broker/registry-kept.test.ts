// Nobody loses a session by a takeover that does not come to its end, and nobody keeps one that is not his.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MiniBroker, MiniSession } from './mini-broker.js';
import { cluster, id, type MiniCluster, three } from './mini-cluster.js';

const building = 1_000;

/** Node 1 has the session of x with message m1; node 2 takes it over, and every write fails once it has begun. */
function stuck(c: MiniCluster, fault: 'no-quorum' | 'lost' | 'late'): { readonly first: MiniSession; readonly how: () => string } {
  const [a, b] = three(c);
  const first = c.connect(a, 'x')[1] as MiniSession;
  first.queue.push('m1');
  b.buildMs = () => building;
  let ended = '';
  b.connect('x', false, (how) => {
    ended = how;
  });
  c.clock.advance(200);
  assert.equal(b.sessions.get('x')?.building, true);
  c.db.fault = () => fault;
  c.clock.advance(8_000);
  first.queue.push('m2');
  return { first, how: () => ended };
}

function all(c: MiniCluster): MiniSession[] {
  return c.nodes.flatMap((n) => [...n.sessions.values()]);
}

test('a takeover that was not committed leaves the session with its holder, which queued on; the next one gets it all', () => {
  const c = cluster(3);
  const [a, b, third] = three(c);
  const { first, how } = stuck(c, 'no-quorum');
  assert.equal(how(), 'no-quorum');
  assert.deepEqual(all(c), [first]);
  c.db.fault = () => 'none';
  c.clock.advance(3_000);
  assert.equal(c.row('x')?.holder.nodeId, id(1));
  assert.equal(c.row('x')?.owner, undefined, 'nobody is connected');
  const [moved, session] = c.connect(third, 'x');
  assert.equal(moved, 'remote');
  assert.equal(session?.identity, first.identity);
  assert.deepEqual(session?.queue, ['m1', 'm2']);
  assert.deepEqual([a.sessions.size, b.sessions.size], [0, 0]);
});

test('a client that comes back to the old holder goes on there', () => {
  const c = cluster(3);
  const [a] = three(c);
  const { first } = stuck(c, 'no-quorum');
  c.db.fault = () => 'none';
  const [how, session] = c.connect(a, 'x');
  assert.equal(how, 'local');
  assert.equal(session, first);
  assert.deepEqual(session?.queue, ['m1', 'm2']);
});

for (const fault of ['lost', 'late'] as const) {
  test(`of a takeover whose answer was lost (${fault}) both keep the session until the registry says whose it is`, () => {
    const c = cluster(3);
    const { first, how } = stuck(c, fault);
    assert.equal(how(), 'undecided');
    assert.equal(all(c).length, 2);
    c.db.fault = () => 'none';
    c.clock.advance(7_000);
    const left = all(c);
    assert.equal(left.length, 1);
    assert.equal(left[0]?.identity, first.identity);
    assert.equal(c.row('x')?.holder.epoch, left[0]?.epoch);
    assert.equal(c.row('x')?.holder.nodeId, id(2));
    assert.equal(c.row('x')?.owner, undefined, 'its client is away');
  });

  test(`a newer connection finds the session whoever has it (${fault})`, () => {
    const c = cluster(3);
    const third = three(c)[2];
    const { first } = stuck(c, fault);
    c.db.fault = () => 'none';
    const [how, session] = c.connect(third, 'x', false, 7_000);
    assert.equal(how, 'remote');
    assert.equal(session?.identity, first.identity);
    assert.deepEqual(session?.queue, fault === 'lost' ? ['m1', 'm2'] : ['m1']);
    assert.deepEqual(all(c), [session]);
  });
}

test('a holder that was out of reach keeps the session when the new owner fails', () => {
  const c = cluster(2);
  const [a, b] = c.nodes as [MiniBroker, MiniBroker];
  const [, first] = c.connect(b, 'x');
  c.net.cut(id(1), id(2), 'silent');
  let how = '';
  a.connect('x', false, (h) => {
    how = h;
  });
  c.clock.advance(2_000);
  c.db.fault = () => 'no-quorum';
  c.clock.advance(6_000);
  assert.equal(how, 'no-quorum');
  c.db.fault = () => 'none';
  c.net.heal(id(1), id(2));
  c.clock.advance(3_000);
  assert.deepEqual(all(c), [first]);
  assert.equal(c.connect(a, 'x')[0], 'remote');
});

test('a process that is dead is told from its successor, of which nothing is known but its claim', () => {
  const c = cluster(3);
  const [, b] = three(c);
  c.net.kill(id(3));
  c.clock.advance(20);
  c.db.fence(id(3));
  const third = c.make(3);
  c.nodes[2] = third;
  c.net.linkAll();
  c.net.cut(id(2), id(3), 'silent');
  c.clock.advance(20);
  c.connect(third, 'x');
  // Node 2 has no link with the new process: the session there is told all the same, once there is one.
  assert.equal(c.connect(b, 'x', true)[0], 'fresh');
  c.net.heal(id(2), id(3));
  c.clock.advance(2_000);
  assert.deepEqual([third.sessions.size, b.sessions.size], [0, 1]);
});

test('a session that is away is not asserted again without a row: its client may have had another since', () => {
  const c = cluster(2);
  const [, b] = c.nodes as [MiniBroker, MiniBroker];
  for (const clientId of ['here', 'away']) c.connect(b, clientId);
  b.disconnect('away', false);
  c.clock.advance(20);
  c.db.fence(id(2));
  c.clock.advance(20);
  c.db.renew(id(2));
  c.clock.advance(50);
  assert.deepEqual([...b.sessions.keys()], ['here']);
  assert.equal(c.row('away'), undefined);
});

test('what has lost its row is not revived by the word that its client is away', () => {
  const c = cluster(2);
  const [a] = c.nodes as [MiniBroker];
  const epoch = c.connect(a, 'x')[1]?.epoch ?? 0;
  a.registry.ended('x', epoch);
  c.clock.advance(20);
  a.disconnect('x', false);
  c.clock.advance(20);
  assert.equal(c.row('x'), undefined);
  assert.equal(a.sessions.size, 0);
});

test('the audit finds a session whose row went with another node', () => {
  const c = cluster(3, { audit: { everyMs: 1_000 } });
  const [a, b] = three(c);
  c.connect(a, 'x');
  c.connect(a, 'y');
  a.disconnect('x', false);
  c.net.cut(id(1), id(2), 'silent');
  assert.equal(c.connect(b, 'x', true)[0], 'fresh');
  // It could not tell node 1, and nobody else knows.
  c.net.kill(id(2));
  c.db.fence(id(2));
  c.clock.advance(50);
  assert.equal(c.row('x'), undefined);
  c.clock.advance(2_000);
  assert.deepEqual([...a.sessions.keys()], ['y']);
  assert.equal(a.metrics.read('starmesh_sessions_stale_total'), 1);
});

test('a kick says found only when a session was closed, and looks for it where the row does not say', () => {
  const c = cluster(3);
  const [a, b, third] = three(c);
  const kick = (clientId: string): boolean | undefined => {
    let answer: boolean | undefined;
    third.registry.kick(clientId, (found) => {
      answer = found;
    });
    c.clock.advance(100);
    return answer;
  };
  c.connect(a, 'x');
  a.sessions.delete('x');
  assert.equal(kick('x'), false, 'there is only a row');
  assert.equal(c.row('x'), undefined, 'and that goes');
  b.sessions.set('unknown', { epoch: 0, identity: 'u', queue: [], connected: true, building: false });
  assert.equal(kick('unknown'), true);
  assert.equal(b.sessions.size, 0);
  assert.equal(kick('unknown'), false);
});

test('an offer stands back behind another node, which is not disturbed', () => {
  const c = cluster(2);
  const [a, b] = c.nodes as [MiniBroker, MiniBroker];
  const [, first] = c.connect(b, 'x');
  const got: string[] = [];
  const offer = (clientId: string): void =>
    a.registry.register({ clientId, cleanStart: false, sessionExpiryInterval: 1, offer: true }, (r) =>
      got.push(r.kind === 'failed' ? r.reason : r.kind),
    );
  offer('x');
  offer('y');
  c.clock.advance(50);
  assert.deepEqual(got.sort(), ['fresh', 'overtaken']);
  assert.equal(first?.connected, true);
  assert.equal(c.row('x')?.owner?.nodeId, id(2));
});

test('a session that cannot be fetched in time stays where it is; its client is refused and may go back', () => {
  const c = cluster(2, { server: { chunkBytes: 10 } });
  const [a, b] = c.nodes as [MiniBroker, MiniBroker];
  a.padding = 20_000;
  const [, first] = c.connect(a, 'x');
  first?.queue.push('m1');
  const [how] = c.connect(b, 'x', false, 10_000);
  assert.equal(how, 'overtaken');
  assert.equal(b.sessions.size, 0);
  assert.equal(c.row('x')?.holder.nodeId, id(1));
  assert.equal(c.row('x')?.owner, undefined, 'nobody is connected');
  const [again, session] = c.connect(a, 'x');
  assert.equal(again, 'local');
  assert.equal(session, first);
  assert.deepEqual(session?.queue, ['m1']);
});
