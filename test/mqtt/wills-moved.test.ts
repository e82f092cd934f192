// A will that two nodes publish, because that of its client was taken for dead while it lived: who has got it from the one
// does not get it from the other, also when its session moves in between.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8Encode } from '#base/utf8.js';
import type { PublishWill } from '#broker/ports.js';
import { encodeWillBody } from '#broker/will-body.js';
import { FakeCluster } from './fake-cluster.js';
import { MqttBench } from './mqtt-bench.js';

test('a will comes once to a session that moves from one node that publishes it to another', () => {
  const cluster = new FakeCluster();
  const publish: PublishWill[] = [];
  const [a, b] = [0, 1].map(() => {
    const ports = cluster.ports();
    return new MqttBench({ ports: { ...ports, registry: { ...ports.registry, onWill: (p) => void publish.push(p) } } });
  }) as [MqttBench, MqttBench];
  const will = { topicName: 'w', payload: utf8Encode('gone'), qos: 2, retain: false } as const;
  const body = encodeWillBody({ username: undefined, mountpoint: '' }, will, false);
  assert.ok(body !== undefined);
  const session = { clientId: 's', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const before = a.connect(session);
  before.subscribe('w');
  before.take();
  let accepted = 0;
  publish[0]?.('lost', 7, body, () => void accepted++);
  a.settle();
  const [got] = before.take();
  assert.ok(got?.type === 'publish');
  before.send({ type: 'pubrec', packetId: got.packetId, reasonCode: 0 });
  a.settle();
  before.send({ type: 'pubcomp', packetId: got.packetId, reasonCode: 0 });
  a.settle();
  const after = b.connect(session);
  b.settle();
  assert.equal(after.connack?.sessionPresent, true);
  after.take();
  publish[1]?.('lost', 7, body, () => void accepted++);
  b.settle();
  assert.deepEqual(after.seen(), []);
  publish[1]?.('lost', 8, body, () => void accepted++);
  b.settle();
  assert.deepEqual(after.seen(), ['w=gone q2'], 'another one');
  assert.equal(accepted, 3);
});
