// Brokers of one cluster, joined by doubles that can be held up: what must wait waits, what moves
// between nodes is neither lost nor doubled.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BrokerOptions } from '#broker/options.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { FakeCluster } from './fake-cluster.js';
import { MqttBench } from './mqtt-bench.js';

function pair(options: Partial<BrokerOptions> = {}): { cluster: FakeCluster; a: MqttBench; b: MqttBench; bench: () => MqttBench } {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const bench = (): MqttBench => new MqttBench({ clock, ports: cluster.ports(), broker: options });
  return { cluster, a: bench(), b: bench(), bench };
}

const lasting = { cleanStart: false, properties: { sessionExpiryInterval: 100 } };

test('PUBACK waits for the other node, and says whether anybody was there', () => {
  const { cluster, a, b } = pair();
  const there = b.connect();
  there.subscribe('t/+');
  cluster.autoForward = false;
  const publisher = a.connect();
  publisher.publish('t/x', '1', { qos: 1 });
  publisher.publish('t/x', '2', { qos: 2 });
  publisher.publish('t/x', '3', { qos: 0 });
  publisher.publish('here', '4', { qos: 1 });
  assert.deepEqual(publisher.seen(), []);
  cluster.run(cluster.frames);
  a.settle();
  assert.deepEqual(publisher.seen(), ['puback', 'pubrec', 'puback 0x10']); // in order
  assert.deepEqual(there.seen(), ['t/x=1 q1', 't/x=2 q2', 't/x=3']);
  // A route without a receiver any more.
  cluster.nodes[1]?.filters.add('stale');
  publisher.publish('stale', 'x', { qos: 1 });
  cluster.run(cluster.frames);
  a.settle();
  assert.deepEqual(publisher.seen(), ['puback 0x10']);
});

test('SUBACK waits for the route, later subscribers join, failure takes the subscription back', () => {
  const { cluster, a } = pair();
  cluster.autoRoutes = false;
  const first = a.connect();
  const second = a.connect();
  assert.deepEqual(first.subscribe('t'), []);
  assert.deepEqual(second.subscribe('t'), []);
  // Local messages come before the SUBACK: nothing may be missed.
  a.connect().publish('t', 'early');
  assert.deepEqual([first.seen(), second.seen()], [['t=early'], ['t=early']]);
  cluster.settleRoutes('effective');
  a.settle();
  assert.deepEqual([first.seen(), second.seen()], [['suback'], ['suback']]);
  assert.deepEqual(first.subscribe('u'), []);
  cluster.settleRoutes('failed');
  a.settle();
  const [suback] = first.take();
  assert.deepEqual(suback?.type === 'suback' ? suback.reasonCodes : [], [0x83]);
  assert.equal(a.broker.stats().subscriptions, 2);
  // Repeated with another QoS, the route fails to be confirmed: the old subscription stays.
  first.subscribe({ topicFilter: 't', qos: 1 });
  cluster.settleRoutes('failed');
  a.settle();
  assert.equal(a.broker.stats().subscriptions, 2);
});

test('UNSUBSCRIBE and the end of a connection while the route is on its way', () => {
  const { cluster, a } = pair();
  cluster.autoRoutes = false;
  const client = a.connect();
  client.subscribe('t');
  client.send({ type: 'unsubscribe', packetId: 50, topicFilters: ['t'] });
  const gone = a.connect();
  gone.subscribe('u');
  gone.drop();
  cluster.settleRoutes('effective');
  a.settle();
  assert.deepEqual(client.seen(), ['unsuback', 'suback']);
  assert.equal(a.broker.stats().subscriptions, 0);
  assert.equal(cluster.nodes[0]?.filters.size, 0);
});

test('a session moves with everything, and nothing comes twice', () => {
  const { cluster, a, b } = pair();
  const old = a.connect({ clientId: 's', ...lasting });
  old.subscribe('t', 5);
  const publisher = a.connect();
  publisher.publish('t', 'inflight', { qos: 2 });
  assert.deepEqual(old.seen(), ['t=inflight q2']);
  // From here on both nodes have a route for the filter, and frames take their time.
  b.connect().subscribe('t');
  cluster.autoForward = false;
  cluster.autoFinish = false;
  cluster.autoRoutes = false;
  const moved = b.connect({ clientId: 's', ...lasting });
  assert.deepEqual(old.seen(), ['disconnect 0x8e']);
  assert.deepEqual(moved.take(), []);
  publisher.publish('t', '1', { qos: 1 }); // queued by the holder, and on its way to the new owner
  cluster.run(cluster.frames); // held back there
  cluster.settleRoutes('effective');
  publisher.publish('t', '2', { qos: 1 }); // queued by the holder, arrives at the new owner after the hand-over
  const late = cluster.frames.splice(0);
  cluster.run(cluster.finishes);
  b.settle();
  assert.equal(moved.connack?.sessionPresent, true);
  for (const arrive of late) arrive();
  publisher.publish('t', '3', { qos: 1 });
  cluster.run(cluster.frames);
  b.settle();
  const got = moved.take();
  const texts = got.map((p) => (p.type === 'publish' ? `${String.fromCharCode(...p.payload)}${p.dup ? ' dup' : ''}` : p.type));
  assert.deepEqual(texts.slice(0, 2), ['inflight dup', '1']);
  assert.ok(texts.includes('3'));
  assert.deepEqual(
    got.map((p) => (p.type === 'publish' ? p.properties?.subscriptionIdentifiers : 0)),
    got.map(() => [5]),
  );
  assert.equal(a.broker.client('s'), undefined);
  assert.equal(cluster.rows.get('s')?.holder, cluster.nodes[1]);
  assert.ok(!cluster.nodes[0]?.log.some((l) => l.startsWith('ended s')));
});

test('a QoS 2 message on its way while its publisher moves: PUBREC comes from the new node, when it was accepted', () => {
  const { cluster, a, b } = pair();
  const there = b.connect();
  there.subscribe('t');
  const old = a.connect({ clientId: 'p', ...lasting });
  cluster.autoForward = false;
  const packetId = old.publish('t', '1', { qos: 2 });
  const released = old.publish('nowhere', '2', { qos: 2 });
  assert.deepEqual(old.seen(), []); // behind the first
  const moved = b.connect({ clientId: 'p', ...lasting });
  assert.equal(moved.connack?.sessionPresent, true);
  moved.take();
  const again = { type: 'publish', topicName: 't', payload: Uint8Array.of(0x31), qos: 2, retain: false, dup: true, packetId } as const;
  moved.send(again);
  b.settle();
  assert.deepEqual(moved.seen(), []);
  // It moves once more, and back: who has it last is told.
  const last = a.connect({ clientId: 'p', ...lasting });
  last.take();
  last.send(again);
  last.send({ ...again, topicName: 'nowhere', packetId: released });
  a.settle();
  assert.deepEqual(last.seen(), []);
  cluster.answerTickets();
  assert.deepEqual(last.seen(), []);
  cluster.run(cluster.frames);
  cluster.answerTickets();
  a.settle();
  b.settle();
  assert.deepEqual(last.seen(), ['pubrec', 'pubrec']);
  assert.deepEqual(there.seen(), ['t=1 q2']);
  assert.equal(b.broker.client('p'), undefined);
});

test('a QoS 2 message that was refused while its publisher moved is taken in anew; one nobody knows of is acknowledged and counted', () => {
  const { cluster, a, b } = pair();
  cluster.autoStore = false;
  const old = a.connect({ clientId: 'p', ...lasting });
  const packetId = old.publish('r', '1', { qos: 2, retain: true });
  const moved = b.connect({ clientId: 'p', ...lasting });
  moved.take();
  cluster.quorum = false;
  cluster.run(cluster.stores);
  cluster.answerTickets();
  assert.equal(b.broker.client('p')?.awaitingRel, 0);
  cluster.quorum = true;
  moved.send({ type: 'publish', topicName: 'r', payload: Uint8Array.of(0x31), qos: 2, retain: true, dup: true, packetId });
  cluster.run(cluster.stores);
  b.settle();
  assert.deepEqual(moved.seen(), ['pubrec 0x10']);
  assert.equal(cluster.retained.count, 1);
  moved.publish('r', '2', { qos: 2, retain: true, packetId: packetId + 1 });
  const last = a.connect({ clientId: 'p', ...lasting });
  for (const { waiting } of cluster.tickets.values()) for (const answer of waiting.splice(0)) answer(undefined);
  assert.equal(a.metrics.read('starmesh_takeover_outcomes_lost_total'), 1);
  last.send({ type: 'publish', topicName: 'r', payload: Uint8Array.of(0x32), qos: 2, retain: true, dup: true, packetId: packetId + 1 });
  a.settle();
  assert.ok(last.seen().includes('pubrec'));
});

test('messages in flight while a session moves: each once', () => {
  // Every split of the publishing around the phases of the move, with frames arriving early or late.
  for (let split1 = 0; split1 <= 4; split1++) {
    for (let split2 = split1; split2 <= 4; split2++) {
      for (const early of [true, false]) {
        const { cluster, a, b } = pair();
        a.connect({ clientId: 's', ...lasting }).subscribe('t');
        cluster.autoFinish = false;
        cluster.autoForward = early;
        const publisher = a.connect();
        let n = 0;
        const publishTo = (end: number): void => {
          while (n < end) publisher.publish('t', `${n++}`, { qos: 2 });
        };
        publishTo(split1);
        const moved = b.connect({ clientId: 's', ...lasting });
        publishTo(split2);
        cluster.run(cluster.frames);
        cluster.run(cluster.finishes);
        b.settle();
        publishTo(4);
        cluster.run(cluster.frames);
        b.settle();
        const texts = moved.take().map((p) => (p.type === 'publish' ? String.fromCharCode(...p.payload) : p.type));
        assert.deepEqual(texts, ['0', '1', '2', '3'], `${split1} ${split2} ${early}`);
      }
    }
  }
});

test('a message of QoS 0 that comes late to a session that went and came back is dropped, one of QoS 1 is not', () => {
  const { cluster, a, b, bench } = pair();
  const publisher = bench().connect();
  a.connect({ clientId: 's', ...lasting }).subscribe({ topicFilter: 't/#', qos: 1 });
  cluster.autoForward = false;
  publisher.publish('t/1', 'late 0');
  publisher.publish('t/1', 'late 1', { qos: 1 });
  publisher.publish('t/2', 'also late');
  const late = cluster.frames.splice(0);
  const moved = b.connect({ clientId: 's', ...lasting });
  publisher.publish('t/1', 'young');
  publisher.publish('t/1', 'young 1', { qos: 1 });
  cluster.run(cluster.frames);
  b.settle();
  moved.acknowledge();
  assert.deepEqual(moved.seen(), ['t/1=young', 't/1=young 1 q1']);
  const back = a.connect({ clientId: 's', ...lasting });
  publisher.publish('t/2', 'younger');
  cluster.run(cluster.frames);
  for (const arrive of late) arrive();
  publisher.publish('t/2', 'youngest');
  cluster.run(cluster.frames);
  a.settle();
  assert.deepEqual(back.seen(), ['t/2=younger', 't/1=late 1 q1', 't/2=youngest']);
});

test('a holder that is lost, is malformed, or ends meanwhile: a fresh session', () => {
  const { cluster, a, b } = pair();
  a.connect({ clientId: 's', ...lasting }).subscribe('t');
  cluster.autoFinish = false;
  const moved = b.connect({ clientId: 's', ...lasting });
  a.broker.kick('s', () => {}); // the holder has nothing to hand over any more
  cluster.run(cluster.finishes);
  b.settle();
  assert.equal(moved.connack?.sessionPresent, false);
  assert.equal(b.broker.client('s')?.subscriptions, 0);
  assert.equal(b.broker.stats().filters, 0);
});

test('the client goes while its session moves: the session stays with the new owner', () => {
  const { cluster, a, b } = pair();
  a.connect({ clientId: 's', ...lasting }).subscribe('t');
  cluster.autoFinish = false;
  const moved = b.connect({ clientId: 's', ...lasting });
  moved.drop();
  a.connect().publish('t', 'x', { qos: 1 });
  cluster.run(cluster.finishes);
  b.settle();
  assert.equal(b.broker.client('s')?.queued, 1);
  assert.deepEqual(cluster.nodes[1]?.log, [`disconnected s ${cluster.rows.get('s')?.epoch}`]);
  const back = b.connect({ clientId: 's', ...lasting });
  assert.equal(back.connack?.sessionPresent, true);
  assert.deepEqual(back.seen(), ['t=x q1']);
});

test('Clean Start on another node ends the session here', () => {
  const { a, b } = pair();
  const old = a.connect({ clientId: 's', ...lasting });
  old.subscribe('t');
  const fresh = b.connect({ clientId: 's', cleanStart: true });
  assert.equal(fresh.connack?.sessionPresent, false);
  a.settle();
  assert.deepEqual(old.seen(), ['disconnect 0x8e']);
  assert.equal(a.broker.stats().sessions, 0);
  let found = false;
  a.broker.kick('s', (f) => {
    found = f;
  });
  b.settle();
  assert.ok(found);
  assert.deepEqual(fresh.seen(), ['disconnect 0x98']);
});

test('CONNECTs of one client id one after the other, the newest wins', () => {
  const { cluster, a, b } = pair();
  a.connect({ clientId: 's', ...lasting });
  cluster.autoFinish = false;
  const [first, second, third] = [1, 2, 3].map(() => b.connect({ clientId: 's', ...lasting }));
  assert.equal(second?.connack?.reasonCode, 0x89);
  assert.ok(second?.net.closed);
  cluster.run(cluster.finishes);
  b.settle();
  assert.equal(first?.connack?.reasonCode, 0);
  assert.deepEqual(first?.seen(), ['disconnect 0x8e']);
  assert.equal(third?.connack?.sessionPresent, true);
  assert.equal(b.broker.stats().connections, 1);
});

test('a retained message is committed first; what follows on its topic name waits, the rest does not', () => {
  const { cluster, a, b } = pair();
  const watcher = b.connect();
  watcher.subscribe('r/#');
  cluster.autoStore = false;
  const publisher = a.connect();
  publisher.publish('r/1', 'kept', { qos: 1, retain: true });
  publisher.publish('r/1', 'after', { qos: 1 });
  publisher.publish('r/1', 'zero', { qos: 0 });
  publisher.publish('r/2', 'other', { qos: 1 });
  assert.deepEqual(watcher.seen(), ['r/2=other q1']);
  assert.deepEqual(publisher.seen(), []); // its acknowledgement is behind the others
  cluster.run(cluster.stores);
  a.settle();
  assert.deepEqual(watcher.seen(), ['r/1=kept q1', 'r/1=after q1', 'r/1=zero']);
  assert.deepEqual(publisher.seen(), ['puback', 'puback', 'puback']);
});

test('retained without a quorum: refused, not routed; before 5.0 the connection ends', () => {
  const { cluster, a } = pair();
  const watcher = a.connect();
  watcher.subscribe('r');
  const five = a.connect();
  const four = a.connect({ protocolVersion: 4 });
  cluster.quorum = false;
  five.publish('r', 'x', { qos: 1, retain: true });
  assert.deepEqual(five.seen(), ['puback 0x83']);
  four.publish('r', 'x', { qos: 2, retain: true });
  assert.deepEqual(four.seen(), []);
  assert.ok(four.net.closed);
  assert.deepEqual(watcher.seen(), []);
});

test('a retained message and its live copy: one of the two, in either order', () => {
  const { cluster, a, b } = pair();
  const publisher = a.connect();
  // Live before the scan.
  cluster.autoBarrier = false;
  const first = b.connect();
  first.subscribe('r');
  publisher.publish('r', 'v1', { retain: true, qos: 1 });
  assert.deepEqual(first.seen(), ['r=v1 q1']);
  cluster.run(cluster.barriers);
  b.settle();
  assert.deepEqual(first.seen(), []);
  // Scanned before the live copy arrives.
  cluster.autoForward = false;
  const second = b.connect();
  second.subscribe('r');
  publisher.publish('r', 'v2', { retain: true, qos: 1 });
  cluster.run(cluster.barriers);
  b.settle();
  assert.deepEqual(second.seen(), ['r=v2 q1 retain']);
  cluster.run(cluster.frames);
  b.settle();
  assert.deepEqual(second.seen(), []);
  assert.deepEqual(first.seen(), ['r=v2 q1']);
  // A later value comes to both.
  publisher.publish('r', 'v3', { retain: true, qos: 1 });
  cluster.run(cluster.frames);
  b.settle();
  assert.deepEqual([first.seen(), second.seen()], [['r=v3 q1'], ['r=v3 q1']]);
});

test('publishers of QoS 1 and 2 are not read while the forwarder is congested', () => {
  const { cluster, a, b } = pair();
  b.connect().subscribe('t');
  const node = cluster.nodes[0];
  assert.ok(node !== undefined);
  const [one, zero] = [a.connect(), a.connect()];
  node.congested = true;
  one.publish('t', 'x', { qos: 1 });
  zero.publish('t', 'x', { qos: 0 });
  assert.deepEqual([one.net.reading, zero.net.reading], [false, true]);
  node.congested = false;
  for (const relieve of node.relief) relieve();
  assert.equal(one.net.reading, true);
});

test('without a quorum: new clients in memory only, known routes work, new ones fail; then registered', () => {
  const { cluster, a } = pair();
  const known = a.connect();
  known.subscribe('known');
  cluster.quorum = false;
  const client = a.connect({ clientId: 'm' });
  assert.equal(client.connack?.reasonCode, 0);
  assert.match(client.connack?.properties?.reasonString ?? '', /quorum/);
  assert.deepEqual(client.subscribe('known'), [2]);
  assert.deepEqual(client.subscribe('new'), [0x83]);
  known.publish('known', 'x', { qos: 1 });
  client.acknowledge();
  assert.deepEqual(client.seen(), ['known=x q1']);
  assert.equal(a.broker.stats().unregisteredSessions, 1);
  a.clock.advance(20_000);
  assert.equal(cluster.rows.has('m'), false);
  cluster.quorum = true;
  a.clock.advance(6000);
  assert.ok(cluster.rows.has('m'));
  assert.equal(a.broker.stats().unregisteredSessions, 0);
  client.disconnect();
  assert.equal(cluster.rows.has('m'), false);
});

test('without a quorum: a session that is here is not continued, but kept aside until the registry says whose it is', () => {
  const { cluster, a, b } = pair();
  const publisher = b.connect();
  a.connect({ clientId: 'm', ...lasting }).subscribe('t');
  cluster.quorum = false;
  const again = a.connect({ clientId: 'm', ...lasting });
  assert.equal(again.connack?.sessionPresent, false);
  publisher.publish('t', 'x', { qos: 1 });
  assert.deepEqual(again.seen(), []);
  // The same once more: the one without a registration ends with its connection.
  const third = a.connect({ clientId: 'm', ...lasting });
  assert.equal(third.connack?.sessionPresent, false);
  assert.equal(a.broker.stats().sessions, 2);
  cluster.quorum = true;
  a.clock.advance(6000);
  assert.deepEqual(third.seen(), ['disconnect 0x8e']);
  assert.equal(a.broker.stats().unregisteredSessions, 0);
  const last = a.connect({ clientId: 'm', ...lasting });
  assert.equal(last.connack?.sessionPresent, true);
  assert.deepEqual(last.seen(), ['t=x q1']);
  assert.equal(a.broker.stats().sessions, 1);
});

test('without a quorum: a client that is back before its session was offered gets the one that was kept aside', () => {
  const { cluster, a } = pair();
  a.connect({ clientId: 'm', ...lasting }).subscribe('t');
  cluster.quorum = false;
  a.connect({ clientId: 'm', ...lasting });
  cluster.quorum = true;
  assert.equal(a.connect({ clientId: 'm', ...lasting }).connack?.sessionPresent, true);
  assert.equal(a.broker.stats().sessions, 1);
  cluster.quorum = false;
  assert.equal(a.connect({ clientId: 'm', cleanStart: true }).connack?.sessionPresent, false);
  assert.equal(a.broker.stats().sessions, 1, 'a clean start leaves nothing');
});

test('a takeover that is not decided refuses the client and keeps the session', () => {
  const { cluster, a, b } = pair();
  const publisher = b.connect();
  a.connect({ clientId: 'm', ...lasting }).subscribe('t');
  cluster.finishAs = 'undecided';
  const client = b.connect({ clientId: 'm', ...lasting });
  assert.equal(client.connack?.reasonCode, 0x88);
  publisher.publish('t', 'x', { qos: 1 });
  assert.deepEqual([a.broker.client('m')?.queued, b.broker.client('m')?.queued], [1, 1]);
});

test('without a quorum: the loser of a conflict goes, or nobody new is taken in', () => {
  const { cluster, a, b } = pair();
  b.connect({ clientId: 'm', ...lasting }).subscribe('t');
  cluster.quorum = false;
  const client = a.connect({ clientId: 'm', ...lasting });
  assert.equal(client.connack?.sessionPresent, false);
  cluster.quorum = true;
  a.clock.advance(6000);
  assert.deepEqual(client.seen(), ['disconnect 0x8e']);
  assert.equal(a.connect({ clientId: 'm', ...lasting }).connack?.sessionPresent, true);
  const refusing = pair({ withoutQuorum: 'refuse' });
  refusing.cluster.quorum = false;
  const refused = refusing.a.connect();
  assert.equal(refused.connack?.reasonCode, 0x88);
  assert.equal(refused.connack?.properties?.reasonString, 'no quorum of cores');
});
