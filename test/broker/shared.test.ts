// Shared subscriptions over the replicated rows and the lanes: what nodes know of each other's members,
// and how one that has none any more says so.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteReader } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import { NodeForwarder } from '#broker/forward.js';
import { type AddressRead, readMessage, writeMessage } from '#broker/forward-frame.js';
import type { MemberCounts, RouteOutcome, SharedAddress } from '#broker/ports.js';
import { RouteSync } from '#broker/route-sync.js';
import { brokerSchema, sharedTable } from '#broker/schema.js';
import { decodeCounts, encodeCounts } from '#broker/shared-routes.js';
import { encodeSharedKey } from '#router/route-key.js';
import type { Message, Qos } from '#session/message.js';
import { makeMessage } from '#session/message.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster } from '../doubles/memory-database.js';
import { MemoryNetwork } from '../doubles/memory-links.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';

const hexBytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const id = (i: number) => i.toString(16).padStart(32, '0');

function routesOf(n: number) {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const nodes = Array.from({ length: n }, (_, i) => {
    const metrics = new ReadableMetrics();
    const node = db.join(id(i + 1), i === 0 ? 'core' : 'replicant');
    const routes = new RouteSync({ clock, metrics, log: quietLog }, node);
    const counts = new Map<string, MemberCounts>();
    routes.shared.counts = (name) => counts.get(name) ?? { here: 1, away: 0 };
    return { node, routes, counts, metrics };
  });
  clock.advance(100);
  return { clock, db, nodes };
}

type RoutesOf = ReturnType<typeof routesOf>['nodes'][number];

function seen(n: RoutesOf, topicName: string): string[] {
  return n.routes.shared
    .match(topicName)
    .map((r) => `${r.name} ${Number.parseInt(r.target.nodeId, 16)} ${r.here}+${r.away}`)
    .sort();
}

test('a group is effective once the other node knows it, and its numbers follow without anybody waiting', () => {
  const { clock, nodes } = routesOf(2);
  const [a, b] = nodes as [RoutesOf, RoutesOf];
  assert.ok(b.routes.shared.empty);
  let outcome: RouteOutcome | undefined;
  a.routes.add('$share/g/t/+', (o) => {
    outcome = o;
    assert.deepEqual(seen(b, 't/1'), ['$share/g/t/+ 1 1+0']);
  });
  assert.equal(outcome, undefined);
  clock.advance(50);
  assert.equal(outcome, 'effective');
  assert.deepEqual(seen(a, 't/1'), [], 'own rows do not count');
  assert.deepEqual(b.routes.match('t/1'), [], 'no ordinary route');
  assert.ok(!b.routes.shared.empty);
  const changes: (string | undefined)[] = [];
  b.routes.shared.onChange = (filter) => changes.push(filter);
  a.counts.set('$share/g/t/+', { here: 3, away: 200 });
  a.routes.shared.changed('$share/g/t/+');
  let late: RouteOutcome | undefined;
  a.routes.add('$share/g/t/+', (o) => {
    late = o;
  });
  assert.equal(late, 'effective', 'a later member does not wait for the numbers');
  clock.advance(50);
  assert.deepEqual(seen(b, 't/1'), ['$share/g/t/+ 1 3+200']);
  assert.deepEqual(changes, ['t/+']);
  assert.deepEqual([a.routes.count, b.routes.count], [1, 1], 'a row that is written again is one row');
  a.routes.add('$queue/t/1', () => {});
  b.routes.add('$share/h/t/#', () => {});
  clock.advance(50);
  assert.deepEqual(seen(b, 't/1'), ['$share/$queue/t/1 1 1+0', '$share/g/t/+ 1 3+200']);
  assert.deepEqual(seen(a, 't/1'), ['$share/h/t/# 2 1+0']);
  const listed: string[] = [];
  b.routes.list((f, n) => listed.push(`${f} ${Number.parseInt(n, 16)}`) > 0);
  assert.deepEqual(listed.sort(), ['$share/$queue/t/1 1', '$share/g/t/+ 1', '$share/h/t/# 2']);
  a.routes.remove('$share/g/t/+');
  a.routes.remove('$share/$queue/t/1');
  clock.advance(50);
  assert.deepEqual(seen(b, 't/1'), []);
});

test('rows of a node that is purged go, and are written again when it is back', () => {
  const { clock, db, nodes } = routesOf(2);
  const [a, b] = nodes as [RoutesOf, RoutesOf];
  a.routes.add('$share/g/t', () => {});
  clock.advance(50);
  assert.equal(seen(b, 't').length, 1);
  let changes = 0;
  b.routes.shared.onChange = (filter) => {
    if (filter === undefined) changes++;
  };
  db.fence(id(1));
  clock.advance(5);
  assert.equal(changes, 1);
  assert.deepEqual(seen(b, 't'), []);
  db.renew(id(1));
  clock.advance(200);
  assert.equal(seen(b, 't').length, 1);
  assert.ok(a.routes.quiet);
});

test('a row that is deleted once more when it is gone already is not counted off: other groups stay known', () => {
  const { clock, nodes } = routesOf(2);
  const [a, b] = nodes as [RoutesOf, RoutesOf];
  a.routes.add('$share/g/t', () => {});
  clock.advance(50);
  const gone = encodeSharedKey('gone', 'g', hexBytes(id(1)));
  for (let i = 0; i < 2; i++) {
    a.node.write(sharedTable.shard, [{ kind: 'delete', table: sharedTable, key: gone }], { until: 'effective', deadlineMs: 1_000 }, () => {});
    clock.advance(50);
  }
  assert.equal(b.routes.count, 1);
  assert.ok(!b.routes.shared.empty);
  assert.equal(seen(b, 't').length, 1);
});

test('a row that says the wrong numbers is mended', () => {
  const { clock, nodes } = routesOf(2);
  const [a, b] = nodes as [RoutesOf, RoutesOf];
  a.routes.add('$share/g/t', () => {});
  clock.advance(50);
  a.counts.set('$share/g/t', { here: 0, away: 9 });
  clock.advance(2_100);
  assert.deepEqual(seen(b, 't'), ['$share/g/t 1 0+9']);
  assert.equal(a.metrics.read('starmesh_routes_mended_total'), 1);
});

test('numbers as bytes; others than numbers say that somebody may be there', () => {
  fc.assert(fc.property(fc.nat(), fc.nat(), (here, away) => assert.deepEqual(decodeCounts(encodeCounts({ here, away })), { here, away })));
  assert.deepEqual(decodeCounts(Uint8Array.of(1)), { here: 0, away: 1 });
  assert.equal(sharedTable.owned, true);
});

function message(payload: string, qos: Qos): Message {
  return makeMessage('t', utf8Encode(payload), qos, false, undefined, Number.POSITIVE_INFINITY, 'p');
}

const address: SharedAddress = { name: '$share/gé/t', presence: 'here', place: 300, sticky: false };

test('a message says whom it is for', () => {
  const to = fc.record(
    { name: fc.string({ unit: 'grapheme' }), presence: fc.constantFrom('here', 'away'), place: fc.nat(), sticky: fc.boolean() },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(fc.option(to as fc.Arbitrary<SharedAddress>, { nil: undefined }), (address) => {
      const w = new ByteWriter();
      writeMessage(w, message('x', 1), 0, address);
      writeMessage(w, message('y', 1), 0);
      const r = new ByteReader(w.finish());
      const read: AddressRead = { to: undefined };
      readMessage(r, 0, read);
      assert.deepEqual(read.to, address);
      readMessage(r, 0, read);
      assert.equal(read.to, undefined);
    }),
  );
});

function forwarders() {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const net = new MemoryNetwork(clock);
  const make = (i: number) => {
    const node = db.join(id(i));
    const links = net.start(id(i), node.incarnation);
    const forward = new NodeForwarder({ clock, metrics: new ReadableMetrics(), random: new Prng(i) }, links, node);
    const got: (SharedAddress | undefined)[] = [];
    const has = { member: true };
    forward.onMessage((_m, to) => {
      got.push(to);
      return to === undefined || has.member;
    });
    return { links, forward, got, has };
  };
  const nodes = [make(1), make(2)] as const;
  net.linkAll();
  clock.advance(10);
  return { clock, net, nodes };
}

test('a member that is gone is refused, also when the acknowledgement is lost and the message comes again', () => {
  const { clock, net, nodes } = forwarders();
  const [a, b] = nodes;
  const target = { nodeId: id(2) };
  assert.ok(a.forward.reachable(target));
  const outcomes: string[] = [];
  const send = (): void => a.forward.forwardTo(message('x', 1), target, address, (o, matched) => outcomes.push(`${o} ${matched}`));
  send();
  a.forward.forward(message('plain', 1), [target], (o, matched) => outcomes.push(`plain ${o} ${matched}`));
  clock.advance(10);
  assert.deepEqual(outcomes.splice(0), ['accepted true', 'plain accepted true']);
  assert.deepEqual(b.got.splice(0), [address, undefined]);
  b.has.member = false;
  send();
  clock.advance(10);
  assert.deepEqual(outcomes.splice(0), ['accepted false']);
  // The answer does not get through: asked again, the node remembers.
  b.links.fill(id(1), 'forward', true);
  send();
  clock.advance(10);
  b.has.member = true;
  send();
  clock.advance(10);
  assert.deepEqual(outcomes, []);
  net.cut(id(1), id(2));
  net.heal(id(1), id(2));
  b.links.fill(id(1), 'forward', false);
  clock.advance(20);
  assert.deepEqual(outcomes, ['accepted false', 'accepted true']);
  assert.equal(b.got.length, 3, 'each message reached the broker once');
});

test('an acknowledgement that waited for room says who was not there', () => {
  const { clock, nodes } = forwarders();
  const [a, b] = nodes;
  b.has.member = false;
  const outcomes: boolean[] = [];
  const send = (): void => a.forward.forwardTo(message('x', 2), { nodeId: id(2) }, address, (_o, matched) => outcomes.push(matched));
  b.links.fill(id(1), 'forward', true);
  send();
  clock.advance(10);
  b.has.member = true;
  send();
  clock.advance(10);
  b.links.fill(id(1), 'forward', false);
  clock.advance(10);
  assert.deepEqual(outcomes, [false, true]);
});
