// Very many retained messages for one subscriber: all of them, in pieces, within the bounds of its output.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as tcpConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import { createBroker } from '#broker/broker.js';
import { localPorts } from '#broker/local-ports.js';
import type { BrokerPorts } from '#broker/ports.js';
import { type Listener, startListener } from '#listener/listener.js';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import { encode } from '#mqtt/encoder.js';
import type { Packet } from '#mqtt/packet.js';
import { createOsEnv } from '#os/env.js';
import { makeMessage } from '#session/message.js';
import { MqttBench } from './mqtt-bench.js';

const many = 100_000;

function portsWith(count: number, payload: Uint8Array, name: (i: number) => string = (i) => `r/${i % 100}/${i}`): BrokerPorts {
  const ports = localPorts();
  for (let i = 0; i < count; i++) {
    const message = makeMessage(name(i), payload, 1, true, undefined, Number.POSITIVE_INFINITY, 'p');
    message.originIncarnation = 1;
    message.originNumber = i;
    message.kept = true;
    ports.retained.store(message, () => {});
  }
  return ports;
}

test('100,000 retained messages reach a wildcard subscriber over TCP, each once', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'starmesh-retained-'));
  const env = createOsEnv({ dataDir, logger: { targets: [{ level: 'error' }] } });
  const broker = createBroker(env, {}, portsWith(many, new Uint8Array(64)));
  const listener = await new Promise<Listener>((resolve, reject) => {
    const made = startListener(env, broker, { host: '127.0.0.1', port: 0 }, (error) => (error === undefined ? resolve(made) : reject(error)));
  });
  try {
    for (const qos of [0, 1] as const) {
      const names = new Set<string>();
      let received = 0;
      const socket = tcpConnect(listener.address?.port ?? 0, '127.0.0.1');
      const send = (packet: Packet): void => void socket.write(encode(packet, 5));
      const decoder = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: 5, maxPacketSize: 1_000_000 }));
      send({ type: 'connect', protocolVersion: 5, clientId: `c${qos}`, cleanStart: true, keepAlive: 0, properties: { receiveMaximum: 20 } });
      send({
        type: 'subscribe',
        packetId: 1,
        subscriptions: [{ topicFilter: '#', qos, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
      });
      await new Promise<void>((done, failed) => {
        socket.on('close', () => failed(new Error(`closed after ${received}`)));
        socket.on('data', (chunk) => {
          const error = decoder.push(chunk, (packet) => {
            if (packet.type !== 'publish') return;
            received++;
            names.add(packet.topicName);
            if (packet.qos === 1) send({ type: 'puback', packetId: packet.packetId, reasonCode: 0 });
            if (received === many) done();
          });
          if (error !== undefined) failed(new Error(error.message));
        });
      });
      socket.destroy();
      assert.equal(names.size, many, `QoS ${qos}`);
    }
  } finally {
    listener.closeAll();
    await new Promise<void>((resolve) => listener.stop(resolve));
    await new Promise<void>((resolve) => env.close(resolve));
    rmSync(dataDir, { recursive: true, force: true });
  }
});

test('a subscriber that does not read holds no more of them than its output takes, and gets the rest as it reads', () => {
  const payload = new Uint8Array(1000);
  const bench = new MqttBench({ ports: portsWith(5_000, payload), listener: { outputBytesMax: 100_000 } });
  const subscriber = bench.connect();
  subscriber.net.taking = false;
  subscriber.push({
    type: 'subscribe',
    packetId: 1,
    subscriptions: [{ topicFilter: '#', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
  });
  bench.clock.advance(10_000);
  let rounds = 0;
  for (; subscriber.received.length < 5_001; rounds++) {
    assert.ok(subscriber.net.bufferedBytes <= 100_000 + 2_000, `${subscriber.net.bufferedBytes} bytes buffered`);
    assert.ok(rounds < 100);
    subscriber.net.drain();
    subscriber.net.taking = false;
    bench.settle();
  }
  assert.ok(rounds > 40);
  assert.equal(bench.metrics.read('emqx_delivery_dropped'), 0);
});

test('large ones do not crowd each other out of the queue of a client with a small window', () => {
  const bench = new MqttBench({ ports: portsWith(100, new Uint8Array(100_000)), limits: { maxQueuedBytes: 1_000_000 } });
  const subscriber = bench.connect({ properties: { receiveMaximum: 2 } });
  subscriber.subscribe({ topicFilter: '#', qos: 1 });
  subscriber.acknowledge();
  assert.equal(subscriber.take().length, 100);
  assert.equal(bench.metrics.read('emqx_delivery_dropped'), 0);
});

test('a filter that hardly anything matches is looked for in pieces, and other clients are served in between', () => {
  const ports = portsWith(10_000, utf8Encode('x'), (i) => `r/${i}/${i === 9_999 ? 'end' : 'x'}`);
  let looked = 0;
  const { retained } = ports;
  const scan = retained.scan.bind(retained);
  retained.scan = (topicFilter, visit, after, rowsMax) => {
    looked++;
    assert.ok((rowsMax ?? Number.POSITIVE_INFINITY) <= 500);
    return scan(topicFilter, visit, after, rowsMax);
  };
  const bench = new MqttBench({ ports, broker: { retainedRows: 500 } });
  const subscriber = bench.connect();
  subscriber.subscribe('+/+/end');
  bench.clock.advance(0);
  assert.deepEqual(subscriber.seen(), ['r/9999/end=x q1 retain']);
  assert.ok(looked >= 20);
});

test('retainer.delivery_rate', () => {
  const bench = new MqttBench({ ports: portsWith(1_000, utf8Encode('x')), broker: { retainedRate: 100 } });
  const subscriber = bench.connect();
  subscriber.subscribe({ topicFilter: '#', qos: 0 });
  bench.clock.advance(2_000);
  const early = subscriber.take().length;
  assert.ok(early >= 150 && early <= 220, `${early} within two seconds`);
  bench.clock.advance(10_000);
  assert.equal(early + subscriber.take().length, 1_000);
});
