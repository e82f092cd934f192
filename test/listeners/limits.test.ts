// The limits of a listener when they are hit: by a clock that the test moves, and on real sockets where
// handshakes count.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { encode } from '#mqtt/encoder.js';
import type { Packet } from '#mqtt/packet.js';
import { type BenchClient, MqttBench } from '../mqtt/mqtt-bench.js';
import { connectBytes, ended, firstBytes, Harness } from './harness.js';

const listener = 'tcp:default';

function publishes(count: number, payload: Uint8Array = new Uint8Array(2)): Uint8Array {
  const packet: Packet = { type: 'publish', topicName: 'a', payload, qos: 0, retain: false, dup: false, packetId: 0 };
  return Buffer.concat(Array.from({ length: count }, () => encode(packet, 5)));
}

/** Milliseconds until the client is read again. */
function heldFor(bench: MqttBench, client: BenchClient): number {
  let ms = 0;
  while (!client.net.reading && ms < 600_000) {
    bench.clock.advance(10);
    ms += 10;
  }
  return ms;
}

test('max_connections: those above are closed at once, and there is room again when one goes', () => {
  const bench = new MqttBench({ listener: { maxConnections: 2 } });
  const first = bench.connect();
  const second = bench.open();
  const third = bench.open();
  assert.deepEqual([first.net.closed, second.net.closed, third.net.closed], [false, false, true]);
  assert.equal(bench.metrics.read('starmesh_refused_connections', { listener, reason: 'max_connections' }), 1);
  second.drop();
  assert.equal(bench.open().net.closed, false);
});

test('access_rules: who may not connect is closed before a byte is read', () => {
  let asked = '';
  const bench = new MqttBench({
    listener: {
      mayConnect: (host) => {
        asked = host;
        return false;
      },
    },
  });
  assert.equal(bench.open().net.closed, true);
  assert.equal(asked, '127.0.0.1');
  assert.equal(bench.metrics.read('starmesh_refused_connections', { listener, reason: 'access_rules' }), 1);
  assert.equal(bench.listener.connectionCount, 0);
});

test('max_conn_rate: a second of it at once, then as it says', () => {
  const bench = new MqttBench({ listener: { maxConnRate: 5 } });
  const accepted = (): number => Array.from({ length: 20 }, () => bench.open()).filter((c) => !c.net.closed).length;
  assert.equal(accepted(), 5);
  assert.equal(bench.metrics.read('starmesh_refused_connections', { listener, reason: 'max_conn_rate' }), 15);
  bench.clock.advance(400);
  assert.equal(accepted(), 2);
  bench.clock.advance(60_000);
  assert.equal(accepted(), 5);
});

test('messages_rate: who sends more is read later, and nothing is lost', () => {
  const bench = new MqttBench({ listener: { messagesRate: 100 } });
  const subscriber = bench.connect();
  subscriber.subscribe('a');
  const publisher = bench.connect();
  publisher.bytes(publishes(100));
  assert.equal(publisher.net.reading, true, 'a second of the rate passes at once');
  publisher.bytes(publishes(200));
  bench.settle();
  assert.equal(publisher.net.reading, false);
  assert.equal(publisher.net.closed, false);
  assert.equal(bench.metrics.read('starmesh_throttled_clients', { listener, reason: 'messages_rate' }), 1);
  assert.equal(bench.metrics.read('starmesh_throttled_clients', { listener, reason: 'bytes_rate' }), 0);
  const held = heldFor(bench, publisher);
  assert.ok(held >= 2_000 && held <= 2_200, `${held} ms`);
  assert.equal(subscriber.received.length, 300);
  assert.equal(bench.connect().net.reading, true, 'other clients have their own');
});

test('bytes_rate: the same, by bytes', () => {
  const bench = new MqttBench({ listener: { bytesRate: 10_000 } });
  const publisher = bench.connect();
  publisher.bytes(publishes(1, new Uint8Array(50_000)));
  bench.settle();
  assert.equal(publisher.net.reading, false);
  assert.equal(bench.metrics.read('starmesh_throttled_clients', { listener, reason: 'bytes_rate' }), 1);
  const held = heldFor(bench, publisher);
  assert.ok(held >= 4_000 && held <= 4_300, `${held} ms`);
});

test('a client that is held back is not silent by its own fault', () => {
  const bench = new MqttBench({ listener: { messagesRate: 10 } });
  const client = bench.connect({ keepAlive: 10 });
  client.bytes(publishes(10 + 300));
  bench.settle();
  const held = heldFor(bench, client);
  assert.ok(held >= 30_000 - 100, `${held} ms`);
  assert.equal(client.net.closed, false);
  bench.clock.advance(10_000);
  assert.equal(client.net.closed, false, 'its time begins when it is read again');
  bench.clock.advance(10_000);
  assert.equal(client.net.closed, true);
  assert.equal(bench.metrics.read('starmesh_keepalive_timeouts'), 1);
});

test('rates and CONNECT: it is answered, and its time is not extended by what it costs', () => {
  const bench = new MqttBench({ listener: { bytesRate: 1, idleTimeoutMs: 5_000 } });
  const client = bench.connect();
  assert.equal(client.connack?.reasonCode, 0);
  assert.equal(client.net.reading, false);
  const slow = bench.open();
  for (let i = 0; i < 4; i++) {
    slow.bytes(connectBytes('slow', 5).subarray(i * 2, i * 2 + 2));
    bench.clock.advance(1_200);
  }
  assert.equal(slow.net.closed, false);
  bench.clock.advance(500);
  assert.equal(slow.net.closed, true);
  assert.equal(bench.metrics.read('starmesh_idle_timeouts'), 1);
});

test('a client that goes while it is held back leaves nothing armed', () => {
  const bench = new MqttBench({ listener: { messagesRate: 1 } });
  const client = bench.connect();
  client.bytes(publishes(50));
  bench.settle();
  assert.equal(client.net.reading, false);
  client.drop();
  bench.clock.advance(120_000);
  assert.equal(bench.listener.connectionCount, 0);
  assert.equal(bench.broker.timers.count, 0);
});

test('max_packet_size of a listener: told in CONNACK, and what is larger closes the connection', () => {
  const bench = new MqttBench({ listener: { maxPacketSizeBytes: 1000 } });
  const client = bench.connect();
  assert.equal(client.connack?.properties?.maximumPacketSize, 1000);
  client.bytes(publishes(1, new Uint8Array(900)));
  bench.settle();
  assert.equal(client.net.closed, false);
  client.bytes(publishes(1, new Uint8Array(1000)));
  bench.settle();
  assert.deepEqual(
    client.received.map((p) => (p.type === 'disconnect' ? p.reasonCode : p.type)),
    [0x95],
  );
  assert.equal(bench.metrics.read('starmesh_packets_too_large'), 1);
});

let harness: Harness;
before(() => {
  harness = new Harness();
});
after(() => harness.close());

test('handshakes count as connections, and have a bound of their own', async () => {
  for (const kind of ['ssl', 'ws', 'wss'] as const) {
    const id = `${kind}:few`;
    const few = await harness.listen(kind, { id, maxConnections: 2 });
    const refused = (reason: string): number => harness.metric('starmesh_refused_connections', { listener: id, reason });
    const client = await harness.connect(kind, few, { clientId: `${kind}-in` });
    const stalled = harness.raw(few);
    await once(stalled, 'connect');
    await ended(harness.raw(few));
    assert.equal(refused('max_connections'), 1);
    stalled.destroy();
    await client.endAsync();
  }
  const listener = await harness.listen('ssl', { id: 'ssl:stalled', maxHandshakes: 3 });
  for (let i = 0; i < 3; i++) await once(harness.raw(listener), 'connect');
  await ended(harness.raw(listener));
  assert.equal(harness.metric('starmesh_refused_connections', { listener: 'ssl:stalled', reason: 'max_handshakes' }), 1);
  assert.equal(listener.connectionCount, 0);
});

test('a throttled client over a real socket is slow, not cut off', async () => {
  for (const kind of ['tcp', 'ws'] as const) {
    const listener = await harness.listen(kind, { messagesRate: 200 });
    const client = await harness.connect(kind, listener, { clientId: `${kind}-slow` });
    const sent = Array.from({ length: 260 }, (_, i) => client.publishAsync('slow', String(i), { qos: 1 }));
    await Promise.all(sent);
    assert.equal(client.connected, true);
    await client.endAsync();
  }
});

test('stopping drops handshakes and keeps clients', async () => {
  const listener = await harness.listen('tcp', { proxyProtocolTimeoutMs: 60_000 });
  const inside = harness.raw(listener);
  inside.write(Buffer.concat([Buffer.from('PROXY UNKNOWN\r\n'), connectBytes('inside')]));
  await firstBytes(inside, 4);
  const pending = harness.raw(listener);
  await once(pending, 'connect');
  pending.write('PROXY');
  await new Promise<void>((resolve) => listener.stop(resolve));
  await ended(pending);
  assert.equal(listener.connectionCount, 1);
  inside.write(encode({ type: 'pingreq' }, 4));
  assert.deepEqual(await firstBytes(inside, 2), Buffer.from([0xd0, 0]));
});
