// A persistent session that comes from another node and is on its new node's disk: what it had got before it came.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Message } from '#session/message.js';
import { RecoveringSessions } from '#session/session-record.js';
import { openJournal } from '#store/journal.js';
import { MemoryFiles } from '#store/memory-files.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';
import { FakeCluster } from './fake-cluster.js';
import { MqttBench } from './mqtt-bench.js';

test('a copy of what was delivered on another node is not taken after a restart of the node that has the session now', () => {
  const clock = new ManualClock();
  const cluster = new FakeCluster();
  let files = new MemoryFiles((done) => done());
  const start = (): MqttBench => {
    const bench = new MqttBench({ clock, ports: cluster.ports() });
    const found = new RecoveringSessions(clock.wallNow() - clock.now());
    const { journal } = openJournal({ clock, files, metrics: new ReadableMetrics(), log: quietLog }, { nodeId: 'b'.repeat(32) }, found);
    bench.broker.keepSessions(journal, found);
    bench.settle();
    return bench;
  };
  const publisher = new MqttBench({ clock, ports: cluster.ports() }).connect();
  const before = new MqttBench({ clock, ports: cluster.ports() });
  const seen: Message[] = [];
  const node = cluster.nodes.at(-1);
  assert.ok(node !== undefined);
  const { receive } = node;
  node.receive = (message, to) => {
    seen.push({ ...message });
    return receive(message, to);
  };
  const lasting = { clientId: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } };
  const client = before.connect(lasting);
  client.subscribe('t');
  publisher.publish('t', 'once', { qos: 2 });
  client.acknowledge();
  assert.deepEqual(
    client.seen().filter((s) => s.startsWith('t=')),
    ['t=once q2'],
  );
  client.drop();
  const after = start();
  const moved = after.connect(lasting);
  clock.advance(50);
  assert.equal(moved.connack?.sessionPresent, true);
  moved.drop();
  clock.advance(50);
  files = files.crash({ int: () => 0, chance: () => false });
  const again = start();
  assert.equal(again.broker.client('c')?.subscriptions, 1);
  const [copy] = seen;
  assert.ok(copy !== undefined);
  const arrives = (message: Message): void => void cluster.nodes.at(-1)?.receive({ ...message, journalNumber: 0 });
  arrives(copy);
  assert.equal(again.broker.client('c')?.queued, 0, 'the client has it');
  arrives({ ...copy, originNumber: copy.originNumber + 1 });
  assert.equal(again.broker.client('c')?.queued, 1);
});
