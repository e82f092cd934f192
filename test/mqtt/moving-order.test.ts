// What is older than what a moving session brings, and still on its own way, is waited for: messages of one line come in
// order [MQTT-4.6.0-6].
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../doubles/manual-clock.js';
import { FakeCluster } from './fake-cluster.js';
import { MqttBench } from './mqtt-bench.js';

function pair(): { cluster: FakeCluster; a: MqttBench; b: MqttBench; bench: () => MqttBench } {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const bench = (): MqttBench => new MqttBench({ clock, ports: cluster.ports() });
  return { cluster, a: bench(), b: bench(), bench };
}

const lasting = { cleanStart: false, properties: { sessionExpiryInterval: 100 } };

test('a message that is older than what is handed over, and on its own way, comes before it', () => {
  for (const qos of [1, 2] as const) {
    const { cluster, a, b, bench } = pair();
    const publisher = bench().connect();
    a.connect({ clientId: 's', ...lasting }).subscribe({ topicFilter: 't', qos: 2 });
    cluster.autoForward = false;
    cluster.autoFinish = false;
    cluster.autoArrived = false;
    const moved = b.connect({ clientId: 's', ...lasting });
    publisher.publish('t', 'older', { qos });
    cluster.frames.shift(); // its node knew nothing of the first holder's route yet
    const late = cluster.frames.shift();
    publisher.publish('t', 'younger', { qos });
    cluster.frames.shift()?.();
    cluster.run(cluster.finishes);
    b.settle();
    assert.equal(moved.connack, undefined);
    assert.deepEqual(
      cluster.arrivals.map((w) => w.origins),
      [[3]],
    );
    late?.();
    for (const { done } of cluster.arrivals) done();
    b.settle();
    assert.deepEqual(moved.seen(), [`t=older q${qos}`, `t=younger q${qos}`]);
  }
});

test('nobody is waited for when a session comes without messages that are owed', () => {
  const { cluster, a, b, bench } = pair();
  a.connect({ clientId: 's', ...lasting }).subscribe('t');
  a.connect({ clientId: 's', ...lasting }).drop();
  bench().connect().publish('t', 'of QoS 0');
  cluster.autoArrived = false;
  assert.equal(b.connect({ clientId: 's', ...lasting }).connack?.sessionPresent, true);
});

test('what a session got from the retained messages is not taken live where it goes then, QoS 0 neither', () => {
  for (const qos of [0, 1] as const) {
    const cluster = new FakeCluster();
    const clock = new ManualClock();
    const [a, b, c] = [0, 1, 2].map(() => new MqttBench({ clock, ports: cluster.ports() })) as [MqttBench, MqttBench, MqttBench];
    const there = c.connect();
    there.subscribe('r');
    cluster.autoForward = false;
    a.connect().publish('r', 'x', { qos, retain: true });
    const s = { clientId: 's', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
    const client = b.connect(s);
    client.subscribe('r');
    clock.advance(10);
    client.acknowledge();
    const got = client.seen();
    const moved = c.connect(s);
    assert.equal(moved.connack?.sessionPresent, true);
    cluster.run(cluster.frames);
    c.settle();
    moved.acknowledge();
    assert.deepEqual([got, there.seen().length, moved.seen()], [[`r=x${qos > 0 ? ' q1' : ''} retain`], 1, []], `QoS ${qos}`);
  }
});
