// What clients meet while memory is short, level by level, and that nothing which was acknowledged is lost by it.
// Levels are set by hand here; `broker/overload.test.ts` has when they come.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localPorts } from '#broker/local-ports.js';
import type { OverloadLevel } from '#broker/overload.js';
import type { ConnectPacket } from '#mqtt/packet.js';
import { makeMessage } from '#session/message.js';
import { RecoveringSessions } from '#session/session-record.js';
import { openJournal } from '#store/journal.js';
import { MemoryFiles } from '#store/memory-files.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';
import { type BenchClient, MqttBench } from './mqtt-bench.js';

const quota = 0x97;
const KiB = 1024;

function press(bench: MqttBench, level: OverloadLevel, refuseNew: boolean = true): void {
  bench.broker.press(level, refuseNew);
  bench.listener.shortMemory(level > 0, refuseNew);
}

function lasting(clientId: string): Partial<ConnectPacket> {
  return { clientId, cleanStart: false, properties: { sessionExpiryInterval: 3_600 } };
}

function big(text: string, kib: number): string {
  return text.padEnd(kib * KiB, '.');
}

/** A persistent session whose client has gone, subscribed to `away`. */
function away(bench: MqttBench, clientId: string = 'absent'): void {
  const client = bench.connect(lasting(clientId));
  assert.deepEqual(client.subscribe('away'), [2]);
  client.drop();
}

function payloads(client: BenchClient): string[] {
  client.acknowledge();
  return client.seen().map((p) => p.replaceAll('.', ''));
}

test('high: nobody new comes in, whoever has a session does', () => {
  const bench = new MqttBench();
  away(bench);
  const here = bench.connect({ clientId: 'here' });
  press(bench, 1);
  assert.equal(bench.connect().connack?.reasonCode, quota);
  assert.equal(bench.connect({ protocolVersion: 4 }).connack?.reasonCode, 3, 'before MQTT 5.0: server unavailable');
  assert.equal(bench.metrics.read('emqx_overload_protection_new_conn'), 2);
  assert.equal(bench.connect(lasting('absent')).connack?.sessionPresent, true);
  assert.equal(bench.connect({ clientId: 'here' }).connack?.reasonCode, 0, 'one that has lost its connection comes back');
  assert.equal(here.net.closed, true);
  press(bench, 0);
  assert.equal(bench.connect().connack?.reasonCode, 0);
});

test('high: few who have not said who they are, and those that are in notice nothing', () => {
  const bench = new MqttBench();
  const client = bench.connect();
  press(bench, 1);
  const strangers = Array.from({ length: 150 }, () => bench.open());
  assert.equal(strangers.filter((s) => !s.net.closed).length, 100);
  assert.equal(bench.metrics.read('starmesh_refused_connections', { listener: 'tcp:default', reason: 'overload' }), 50);
  strangers[0]?.drop();
  assert.equal(bench.open().net.closed, false);
  client.subscribe('a');
  client.publish('a', 'x', { qos: 1 });
  assert.deepEqual(client.seen(), ['a=x q1', 'puback']);
  press(bench, 0);
  assert.equal(bench.open().net.closed, false);
});

test('backoff_new_conn = false: new clients come in at every level', () => {
  const bench = new MqttBench();
  press(bench, 3, false);
  assert.equal(bench.connect().connack?.reasonCode, 0);
});

test('high: QoS 0 waits for nobody, QoS 1 and 2 do', () => {
  const bench = new MqttBench();
  away(bench);
  const publisher = bench.connect();
  publisher.publish('away', 'before');
  press(bench, 1);
  publisher.publish('away', 'dropped');
  publisher.publish('away', 'one', { qos: 1 });
  publisher.publish('away', 'two', { qos: 2 });
  assert.equal(bench.metrics.read('emqx_delivery_dropped_qos0_msg'), 1);
  assert.deepEqual(
    payloads(bench.connect(lasting('absent'))).filter((p) => p.startsWith('away')),
    ['away=before', 'away=one q1', 'away=two q2'],
  );
});

test('high: less output is kept for who does not read, and all of it comes when he does', () => {
  const bench = new MqttBench();
  const reader = bench.connect();
  reader.subscribe('out');
  reader.net.taking = false;
  const publisher = bench.connect();
  press(bench, 1);
  for (let i = 0; i < 20; i++) publisher.publish('out', big(String(i), 8));
  assert.ok(reader.net.bufferedBytes < 80 * KiB, `${reader.net.bufferedBytes} bytes`);
  for (let i = 0; i < 20; i++) publisher.publish('out', big(`q${i}`, 8), { qos: 1 });
  // The bound is another one by the time that there is room.
  press(bench, 0);
  reader.net.drain();
  bench.settle();
  const got = payloads(reader);
  assert.deepEqual(got.filter((p) => p.endsWith('q1')).length, 20, 'none of QoS 1 is missing');
  assert.deepEqual(got.slice(0, 2), ['out=0', 'out=1']);
});

test('what waits goes on when the bound of the output changes before it is written', () => {
  const bench = new MqttBench();
  const reader = bench.connect();
  reader.subscribe('out');
  press(bench, 1);
  const payload = new Uint8Array(8 * KiB);
  for (let i = 0; i < 12; i++) bench.broker.publishOwn(makeMessage('out', payload, 1, false, undefined, Number.POSITIVE_INFINITY, ''));
  press(bench, 0);
  bench.settle();
  bench.settle();
  assert.equal(reader.take().length, 12);
});

test('critical: who feeds a backlog is read slowly, others as ever', () => {
  const bench = new MqttBench();
  away(bench);
  const reader = bench.connect();
  reader.subscribe('live');
  const feeder = bench.connect();
  const honest = bench.connect();
  press(bench, 2);
  for (let i = 0; i < 40; i++) feeder.publish('away', big(String(i), 8), { qos: 1 });
  assert.equal(feeder.net.reading, false);
  assert.equal(bench.metrics.read('starmesh_overload_held_publishers_total'), 1);
  honest.publish('live', 'x', { qos: 1 });
  assert.equal(honest.net.reading, true);
  assert.deepEqual(reader.seen(), ['live=x q1']);
  bench.clock.advance(900);
  bench.broker.pressTick();
  assert.equal(feeder.net.reading, false);
  bench.clock.advance(200);
  bench.broker.pressTick();
  assert.equal(feeder.net.reading, true);
  feeder.publish('away', 'more', { qos: 1 });
  assert.equal(feeder.net.reading, false);
  press(bench, 1);
  assert.equal(feeder.net.reading, true, 'the level is over');
  assert.equal(payloads(bench.connect(lasting('absent'))).filter((p) => p.startsWith('away')).length, 41, 'all that was acknowledged');
});

test('critical: filters that are new to their session are refused', () => {
  const bench = new MqttBench();
  const client = bench.connect();
  client.subscribe('known');
  press(bench, 2);
  assert.deepEqual(client.subscribe('known'), [2]);
  assert.deepEqual(client.subscribe('new'), [quota]);
  assert.equal(bench.metrics.read('starmesh_overload_refused_filters_total'), 1);
  press(bench, 1);
  assert.deepEqual(client.subscribe('new'), [2]);
});

test('critical: QoS 0 leaves the queues first, and who takes up most the node', () => {
  const bench = new MqttBench();
  const mute = bench.connect({ clientId: 'mute' });
  const kept = bench.connect(lasting('kept'));
  const reader = bench.connect();
  const silent = bench.open();
  for (const client of [mute, kept, reader]) client.subscribe('out');
  const publisher = bench.connect();
  mute.net.taking = false;
  kept.net.taking = false;
  for (let i = 0; i < 60; i++) publisher.publish('out', big(String(i), 8), { qos: 1 });
  reader.acknowledge();
  for (let i = 0; i < 60; i++) publisher.publish('out', big(`z${i}`, 8));
  away(bench);
  publisher.publish('away', big('zero', 8));
  publisher.publish('away', 'one', { qos: 1 });
  press(bench, 2);
  assert.ok(bench.broker.dropQueuedQos0() >= 8 * KiB);
  bench.settle();
  const relief = bench.listener.connections;
  const held = [...relief].map((c) => c.held(false)).sort((a, b) => b - a);
  assert.deepEqual(
    [...relief].map((c) => c.held(true)),
    [0, 0, 0, 0, 0],
    'they may be reading yet',
  );
  bench.clock.advance(2_000);
  assert.ok((held[0] ?? 0) > 300 * KiB && (held[2] ?? 0) < 64 * KiB, `${held}`);
  for (const connection of [...relief]) if (!connection.introduced ? connection.quiet : connection.held(true) > 64 * KiB) connection.cutOff();
  bench.settle();
  assert.deepEqual([mute.net.closed, kept.net.closed, silent.net.closed, reader.net.closed], [true, true, true, false]);
  assert.equal(bench.metrics.read('starmesh_client_disconnects', { by: 'server', reason: 'quotaExceeded' }), 2);
  press(bench, 0);
  const back = bench.connect(lasting('kept'));
  assert.equal(back.connack?.sessionPresent, true);
  assert.equal(
    payloads(back).filter((p) => p.endsWith('q1') || p.endsWith('q1 dup')).length,
    60,
    'a persistent session has all that was acknowledged',
  );
  assert.deepEqual(
    payloads(bench.connect(lasting('absent'))).filter((p) => p.startsWith('away')),
    ['away=one q1'],
  );
});

test('high: a large packet is read slowly, and arrives', () => {
  const bench = new MqttBench();
  const reader = bench.connect();
  reader.subscribe('a');
  const publisher = bench.connect();
  press(bench, 1);
  const bytes = new Uint8Array(200 * KiB);
  bytes.set([0x30, 0xfc, 0xbf, 0x0c, 0, 1, 0x61, 0]); // 200 KiB - 4 follow the fixed header: topic `a`, no properties
  publisher.bytes(bytes.subarray(0, 100 * KiB));
  assert.equal(publisher.net.reading, false);
  bench.listener.readSlow(1);
  assert.equal(publisher.net.reading, true);
  publisher.bytes(bytes.subarray(100 * KiB, 199 * KiB));
  assert.equal(publisher.net.reading, false);
  press(bench, 0);
  assert.equal(publisher.net.reading, true);
  publisher.bytes(bytes.subarray(199 * KiB));
  bench.settle();
  assert.equal(reader.take().length, 1);
});

// ---- on disk ----

/** A bench whose persistent sessions are written down; `sync` lets the disk go on. */
function durable(): { readonly bench: MqttBench; readonly sync: () => void } {
  const clock = new ManualClock();
  const syncs: (() => void)[] = [];
  const files = new MemoryFiles((fn) => syncs.push(fn));
  const bench = new MqttBench({ clock, ports: localPorts() });
  const found = new RecoveringSessions(clock.wallNow() - clock.now());
  const { journal } = openJournal({ clock, files, metrics: new ReadableMetrics(), log: quietLog }, { nodeId: 'b'.repeat(32) }, found);
  bench.broker.keepSessions(journal, found, {});
  const sync = (): void => {
    for (let i = 0; i < 5; i++) {
      clock.advance(0);
      for (const fn of syncs.splice(0)) fn();
    }
    clock.advance(0);
  };
  return { bench, sync };
}

test('full: what would wait for a persistent session is refused, and the publisher is told', () => {
  const { bench, sync } = durable();
  const client = bench.connect(lasting('absent'));
  sync();
  client.subscribe('away');
  sync();
  client.drop();
  sync();
  const reader = bench.connect();
  reader.subscribe('away');
  const publisher = bench.connect();
  publisher.publish('away', 'taken', { qos: 1 });
  sync();
  assert.deepEqual(publisher.seen(), ['puback']);
  press(bench, 3);
  publisher.publish('away', 'refused', { qos: 1 });
  publisher.publish('away', 'refused too', { qos: 2 });
  sync();
  assert.deepEqual(publisher.seen(), ['puback 0x97', 'pubrec 0x97']);
  assert.equal(bench.metrics.read('starmesh_overload_refused_messages_total'), 2);
  assert.equal(reader.take().length, 3, 'others get it');
  press(bench, 2);
  publisher.publish('away', 'again', { qos: 1 });
  sync();
  assert.deepEqual(publisher.seen(), ['puback']);
  const back = bench.connect(lasting('absent'));
  sync();
  back.acknowledge();
  sync();
  assert.deepEqual(back.seen(), ['away=taken q1', 'away=again q1']);
});

test('full: a persistent session that takes its messages is none of those', () => {
  const { bench, sync } = durable();
  const client = bench.connect(lasting('here'));
  sync();
  client.subscribe('live');
  sync();
  const publisher = bench.connect();
  press(bench, 3);
  for (let i = 0; i < 100; i++) publisher.publish('live', String(i), { qos: 1 });
  sync();
  assert.deepEqual(new Set(publisher.seen()), new Set(['puback']));
  for (let i = 0; i < 10; i++) {
    client.acknowledge();
    sync();
  }
  assert.equal(client.seen().filter((p) => p.startsWith('live=')).length, 100);
});
