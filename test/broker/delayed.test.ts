// Delayed messages and exclusive subscriptions over a cluster's database: who publishes, who holds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import { type DelayedOptions, ReplicatedDelayed } from '#broker/delayed.js';
import { ReplicatedExclusive } from '#broker/exclusive.js';
import { brokerSchema } from '#broker/schema.js';
import { makeMessage } from '#session/message.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster, type MemoryDatabase } from '../doubles/memory-database.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';

const id = (i: number) => i.toString(16).padStart(32, '0');
const message = (topicName: string) => makeMessage(topicName, utf8Encode('x'), 1, false, undefined, Number.POSITIVE_INFINITY, 'p');

interface Node {
  readonly db: MemoryDatabase;
  readonly delayed: ReplicatedDelayed;
  readonly published: string[];
  /** Accepted by everybody; while undefined, at once. */
  accept: (() => void)[] | undefined;
}

function cluster(n: number, options: Partial<DelayedOptions> = {}) {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const make = (i: number): Node => {
    const node = db.join(id(i));
    const delayed = new ReplicatedDelayed({ clock, metrics: new ReadableMetrics(), log: quietLog }, node, options);
    const made: Node = { db: node, delayed, published: [], accept: undefined };
    delayed.onDue((m, done) => {
      made.published.push(m.topicName);
      if (made.accept === undefined) done();
      else made.accept.push(done);
    });
    return made;
  };
  const nodes = Array.from({ length: n }, (_, i) => make(i + 1));
  clock.advance(50);
  return { clock, db, nodes, make };
}

test('whichever node took it, the leader`s node publishes it, once', () => {
  const { clock, nodes } = cluster(3);
  const [a, b, c] = nodes as [Node, Node, Node];
  for (const node of nodes) for (const s of [3, 1, 2]) node.delayed.store(message(`${s}`), s * 1000, () => {});
  clock.advance(500);
  assert.deepEqual(
    nodes.map((n) => n.delayed.count),
    [9, 9, 9],
  );
  clock.advance(10_000);
  assert.deepEqual(a.published, ['1', '1', '1', '2', '2', '2', '3', '3', '3']);
  assert.deepEqual([b.published, c.published], [[], []]);
  assert.deepEqual(
    nodes.map((n) => n.delayed.count),
    [0, 0, 0],
  );
});

test('more than one claim takes, and no more at a time than may be open', () => {
  const { clock, nodes } = cluster(1, { openMax: 200 });
  const [a] = nodes as [Node];
  a.accept = [];
  for (let i = 0; i < 450; i++) a.delayed.store(message(`${i}`), 1000, () => {});
  clock.advance(5_000);
  assert.equal(a.published.length, 200);
  while (a.accept.length > 0) {
    for (const done of a.accept.splice(0)) done();
    clock.advance(3_000);
  }
  assert.equal(a.published.length, 450);
  assert.equal(new Set(a.published).size, 450);
  assert.equal(a.delayed.count, 0);
});

test('a message whose publisher dies is published by the next leader, one that was accepted is not', () => {
  const { clock, db, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  a.accept = [];
  a.delayed.store(message('one'), 1000, () => {});
  a.delayed.store(message('two'), 1000, () => {});
  clock.advance(2_000);
  assert.deepEqual(a.published, ['one', 'two']);
  a.accept[0]?.();
  clock.advance(100);
  assert.equal(b.delayed.count, 1);
  // From now on the other one leads.
  db.fence(id(1));
  a.delayed.close();
  db.nodes.splice(0, 1);
  clock.advance(20_000);
  assert.deepEqual(b.published, ['two']);
  assert.equal(b.delayed.count, 0);
});

test('a deletion that failed is tried again, and the message is not published twice', () => {
  const { clock, db, nodes } = cluster(1);
  const [a] = nodes as [Node];
  a.accept = [];
  a.delayed.store(message('one'), 1000, () => {});
  clock.advance(2_000);
  db.fault = () => 'no-quorum';
  a.accept[0]?.();
  clock.advance(5_000);
  assert.equal(a.delayed.count, 1);
  db.fault = () => 'none';
  clock.advance(5_000);
  assert.equal(a.delayed.count, 0);
  assert.deepEqual(a.published, ['one']);
});

// ---- exclusive ----

function holders(n: number) {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const nodes = Array.from({ length: n }, (_, i) => {
    const node = db.join(id(i + 1));
    return new ReplicatedExclusive({ clock, metrics: new ReadableMetrics() }, node);
  });
  clock.advance(50);
  const take = (node: ReplicatedExclusive | undefined, filter: string, clientId: string): string => {
    let said = 'pending';
    node?.take(filter, clientId, (outcome) => {
      said = outcome;
    });
    clock.advance(50);
    return said;
  };
  const rows = (): string[] => {
    const out: string[] = [];
    nodes[0]?.list((filter, clientId) => out.push(`${filter} ${clientId}`) > 0);
    return out;
  };
  return { clock, db, nodes, take, rows };
}

test('one client in the cluster has a filter; it may take it again elsewhere, and only its last place gives it back', () => {
  const { clock, nodes, take, rows } = holders(2);
  const [a, b] = nodes;
  assert.equal(take(a, 'x/+', 'c1'), 'taken');
  assert.equal(take(b, 'x/+', 'c2'), 'held');
  assert.equal(take(b, 'y', 'c2'), 'taken');
  assert.deepEqual(rows(), ['x/+ c1', 'y c2']);
  assert.equal(take(b, 'x/+', 'c1'), 'taken', 'its session has moved');
  a?.release('x/+', 'c1');
  clock.advance(50);
  assert.deepEqual(rows(), ['x/+ c1', 'y c2']);
  b?.release('x/+', 'c1');
  clock.advance(50);
  assert.deepEqual(rows(), ['y c2']);
  assert.equal(take(a, 'x/+', 'c2'), 'taken');
});

test('the filters of a node that is gone are free; one that comes back takes its own again or learns that they are lost', () => {
  const { clock, db, nodes, take, rows } = holders(2);
  const [a, b] = nodes;
  assert.equal(take(b, 'kept', 'c1'), 'taken');
  assert.equal(take(b, 'lost', 'c1'), 'taken');
  const lost: string[] = [];
  if (b !== undefined) b.onLost = (filter, clientId) => lost.push(`${filter} ${clientId}`);
  db.fence(id(2));
  clock.advance(50);
  assert.equal(take(a, 'lost', 'c2'), 'taken');
  db.renew(id(2));
  clock.advance(3_000);
  assert.deepEqual(rows(), ['kept c1', 'lost c2']);
  assert.deepEqual(lost, ['lost c1']);
});

test('a takeover that is given up leaves the filter to its holder', () => {
  const { clock, nodes, take, rows } = holders(2);
  const [a, b] = nodes;
  assert.equal(take(a, 'x', 'c1'), 'taken');
  assert.equal(take(b, 'x', 'c1'), 'taken');
  b?.release('x', 'c1');
  clock.advance(3_000);
  assert.deepEqual(rows(), ['x c1']);
  a?.release('x', 'c1');
  clock.advance(50);
  assert.deepEqual(rows(), []);
});

test('what could not be given back without a quorum is given back later', () => {
  const { clock, db, nodes, take, rows } = holders(1);
  assert.equal(take(nodes[0], 'x', 'c1'), 'taken');
  db.fault = () => 'no-quorum';
  nodes[0]?.release('x', 'c1');
  clock.advance(50);
  assert.deepEqual(rows(), ['x c1']);
  db.fault = () => 'none';
  clock.advance(10_000);
  assert.deepEqual(rows(), []);
});

test('what a session that came back has had is asked for until it is decided, less and less often, and then kept or lost', () => {
  const { clock, db, nodes, take, rows } = holders(2);
  const [a, b] = nodes;
  const lost: string[] = [];
  if (a !== undefined) a.onLost = (filter, clientId) => lost.push(`${filter} ${clientId}`);
  let asked = 0;
  db.fault = (nodeId) => {
    if (nodeId !== id(1)) return 'none';
    asked++;
    return 'no-quorum';
  };
  for (const filter of ['mine', 'theirs', 'left', 'here']) a?.keep(filter, 'c1');
  clock.advance(120_000);
  assert.equal(take(b, 'theirs', 'c2'), 'taken');
  a?.release('left', 'c1');
  assert.equal(take(a, 'here', 'c3'), 'pending');
  assert.ok(asked > 8 && asked < 60, `${asked} attempts`);
  assert.deepEqual([rows(), lost], [['theirs c2'], []]);
  db.fault = () => 'none';
  assert.equal(take(a, 'here', 'c3'), 'taken', 'a client of this node gets what nobody has yet');
  assert.deepEqual(lost, ['here c1']);
  clock.advance(20_000);
  assert.deepEqual(rows(), ['here c3', 'mine c1', 'theirs c2']);
  assert.deepEqual(lost, ['here c1', 'theirs c1']);
  const settled = asked;
  clock.advance(60_000);
  assert.equal(asked, settled, 'and nothing is asked any more');
  // One that another client has here already.
  a?.keep('mine', 'c4');
  clock.advance(50);
  assert.deepEqual(lost, ['here c1', 'theirs c1', 'mine c4']);
});

test('what is given up while its taking is decided is not taken again', () => {
  const { clock, nodes, rows } = holders(1);
  const [a] = nodes;
  a?.keep('x', 'c1');
  a?.release('x', 'c1');
  clock.advance(60_000);
  assert.deepEqual(rows(), []);
});

test('a delayed message is found by its name on any node, and deleted from there', () => {
  const { clock, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  for (const name of ['stays', 'goes']) a.delayed.store(message(name), 1000, () => {});
  clock.advance(50);
  const list: { readonly id: string; readonly topicName: string }[] = [];
  b.delayed.list((m) => list.push(m) > 0);
  const goes = list.find((m) => m.topicName === 'goes')?.id ?? '';
  assert.match(goes, /^[0-9a-f]{32}$/);
  const found = b.delayed.find(goes);
  assert.deepEqual([found?.topicName, found?.qos, found?.publisherId, found?.payload.length], ['goes', 1, 'p', 1]);
  const outcomes: (string | undefined)[] = [];
  b.delayed.remove(goes, (failure) => outcomes.push(failure));
  clock.advance(50);
  b.delayed.remove(goes, (failure) => outcomes.push(failure));
  for (const nonsense of ['', 'x', 'ff', `${goes}00`]) b.delayed.remove(nonsense, (failure) => outcomes.push(failure));
  assert.deepEqual(outcomes, [undefined, ...Array<string>(5).fill('there is no such message')]);
  assert.equal(b.delayed.find(goes), undefined);
  assert.deepEqual([a.delayed.count, b.delayed.count], [1, 1]);
  clock.advance(5_000);
  assert.deepEqual(a.published, ['stays']);
});

test('an exclusive subscription that no session stands behind is dropped; one that a node has is taken again', () => {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const make = (i: number) => new ReplicatedExclusive({ clock, metrics: new ReadableMetrics() }, db.join(id(i)));
  const a = make(1);
  const b = make(2);
  clock.advance(50);
  a.take('t', 'one', () => {});
  clock.advance(50);
  assert.equal(b.holder('t'), 'one');
  const drop = (clientId: string) => {
    b.drop('t', clientId, (failure) => assert.equal(failure, undefined));
    clock.advance(50);
  };
  drop('two');
  assert.equal(b.holder('t'), 'one', 'of another client');
  drop('one');
  assert.equal(b.holder('t'), 'one', 'its node has the session');
  a.release('t', 'one');
  clock.advance(50);
  assert.equal(b.holder('t'), undefined);
});
