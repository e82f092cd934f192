// Shared subscriptions over real nodes: members on several of them, and one that dies with messages on
// their way to it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TestClient } from './clients.js';
import { TestCluster, within } from './nodes.js';

let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.start({ cores: 3, replicants: 2, settings: 'cluster.node_down_after = 3s' });
});
after(() => cluster?.close());

const count = (members: readonly TestClient[]): number => members.reduce((sum, m) => sum + m.received.length, 0);

/** Waits until the members together have `n` messages. */
async function together(members: readonly TestClient[], n: number): Promise<void> {
  const all = Promise.race(members.map((m) => m.until(`${n} messages for the group`, () => count(members) >= n)));
  await within(60_000, () => `${n} messages for the group, which has ${members.map((m) => m.received.length).join(' + ')}`, all);
}

test('each message goes to exactly one member, whichever node it is published on', async () => {
  const members = await Promise.all(['core1', 'replicant1', 'replicant2', 'replicant2'].map((name) => TestClient.connect(cluster.node(name))));
  for (const m of members) await m.subscribe('$share/once/jobs/+', 2);
  const publishers = await Promise.all(cluster.nodes.map((n) => TestClient.connect(n)));
  const expected: string[] = [];
  for (const [from, publisher] of publishers.entries()) {
    for (const qos of [0, 1, 2] as const) {
      for (let n = 0; n < 8; n++) {
        expected.push(`${from}/${qos}/${n}`);
        await publisher.publish(`jobs/${qos}`, `${from}/${qos}/${n}`, { qos });
      }
    }
  }
  await together(members, expected.length);
  assert.deepEqual(members.flatMap((m) => m.received.map((r) => r.payload)).sort(), expected.sort());
  // Each publisher's 24 messages went round the four members.
  for (const m of members) assert.equal(m.received.length, expected.length / 4);
  // The ordinary subscriber beside them gets its own copy; members that leave are passed over.
  const plain = await TestClient.connect(cluster.node('core2'));
  await plain.subscribe('jobs/+', 1);
  const [first, ...rest] = members as [TestClient, ...TestClient[]];
  await first.close();
  await publishers[3]?.publish('jobs/1', 'last', { qos: 1 });
  await together(rest, expected.length - first.received.length + 1);
  await plain.until('its own copy', (all) => all.length === 1);
  await Promise.all([...rest, plain, ...publishers].map((c) => c.close()));
});

test('messages on their way to a node that dies go to members of others', async () => {
  const dying = cluster.node('replicant2');
  const lost = await TestClient.connect(dying);
  const members = await Promise.all(['core1', 'replicant1'].map((name) => TestClient.connect(cluster.node(name))));
  for (const m of [lost, ...members]) await m.subscribe('$share/alive/work', 1);
  const publisher = await TestClient.connect(cluster.node('core2'));
  process.kill(dying.pid, 'SIGSTOP');
  const total = 30;
  const acknowledged = Promise.all(Array.from({ length: total }, (_, n) => publisher.publish('work', `${n}`, { qos: 1 })));
  await together(members, (total * 2) / 3);
  await dying.kill();
  await acknowledged;
  await together(members, total);
  assert.equal(new Set(members.flatMap((m) => m.received.map((r) => r.payload))).size, total);
  assert.equal(lost.received.length, 0);
  const [repicked] = await cluster.node('core2').metric('starmesh_shared_repicked_total');
  assert.equal(repicked, total / 3);
  await Promise.all([...members, publisher].map((c) => c.close()));
});
