// Every kind of listener with MQTT.js: all QoS, large messages, both ways, and between listeners.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { IClientOptions } from 'mqtt';
import type { Listener } from '#listener/listener.js';
import { Harness, type Kind, kinds, messages } from './harness.js';

let harness: Harness;
const listeners = new Map<Kind, Listener>();

before(async () => {
  harness = new Harness();
  for (const kind of kinds) listeners.set(kind, await harness.listen(kind));
});
after(() => harness.close());

function of(kind: Kind): Listener {
  const listener = listeners.get(kind);
  assert.ok(listener !== undefined);
  return listener;
}

const versions: readonly IClientOptions[] = [{ protocolVersion: 3, protocolId: 'MQIsdp' }, { protocolVersion: 4 }, { protocolVersion: 5 }];

for (const kind of kinds) {
  test(`${kind}: QoS 0, 1 and 2 in 3.1, 3.1.1 and 5.0`, async () => {
    for (const version of versions) {
      const topic = `${kind}/${version.protocolVersion}`;
      const client = await harness.connect(kind, of(kind), { ...version, clientId: topic.replace('/', '-') });
      await client.subscribeAsync(topic, { qos: 2 });
      const got = messages(client, 3);
      for (const qos of [0, 1, 2] as const) await client.publishAsync(topic, `q${qos}`, { qos });
      const seen = (await got).map((p) => `${p.payload} ${p.qos}`);
      assert.deepEqual(seen, ['q0 0', 'q1 1', 'q2 2']);
      await client.endAsync();
    }
  });

  test(`${kind}: a message of a million bytes, and many small ones behind it, in order`, async () => {
    const topic = `${kind}/large`;
    const client = await harness.connect(kind, of(kind), { clientId: `${kind}-large` });
    await client.subscribeAsync(topic, { qos: 1 });
    const payload = randomBytes(1_000_000);
    const count = 500;
    const got = messages(client, 1 + count);
    client.publish(topic, payload, { qos: 1 });
    for (let i = 0; i < count; i++) client.publish(topic, String(i), { qos: 1 });
    const [large, ...small] = await got;
    assert.ok(Buffer.isBuffer(large?.payload) && large.payload.equals(payload));
    assert.deepEqual(
      small.map((p) => String(p.payload)),
      Array.from({ length: count }, (_, i) => String(i)),
    );
    await client.endAsync();
  });
}

for (const qos of [0, 1] as const) {
  test(`clients of all listeners meet at one broker, with QoS ${qos}`, async () => {
    const clients = await Promise.all(kinds.map((kind) => harness.connect(kind, of(kind), { clientId: `meet-${kind}-${qos}` })));
    for (const client of clients) await client.subscribeAsync('meet/+', { qos });
    const got = clients.map((client) => messages(client, kinds.length));
    for (const [i, client] of clients.entries()) await client.publishAsync(`meet/${kinds[i]}`, 'x', { qos });
    for (const one of await Promise.all(got)) assert.deepEqual(one.map((p) => p.topic).sort(), kinds.map((k) => `meet/${k}`).sort());
    for (const kind of kinds) assert.equal(of(kind).connectionCount, 1, kind);
    await Promise.all(clients.map((client) => client.endAsync()));
  });
}

// One subscriber each: such messages are passed on in the memory that the publisher's socket was read into.
test('messages of QoS 0 go from every kind of listener to one subscriber of each, at once and unchanged', async () => {
  const clients = await Promise.all(kinds.map((kind) => harness.connect(kind, of(kind), { clientId: `each-${kind}` })));
  for (const [i, client] of clients.entries()) await client.subscribeAsync(`each/${kinds[i]}`);
  for (const [i, from] of clients.entries()) {
    for (const [j, to] of clients.entries()) {
      for (let round = 0; round < 4; round++) {
        const got = messages(to, 1);
        const text = `${kinds[i]} ${round}`;
        from.publish(`each/${kinds[j]}`, text);
        from.publish(`none/${kinds[j]}`, 'x'.repeat(text.length));
        assert.deepEqual(
          (await got).map((p) => String(p.payload)),
          [text],
          `to ${kinds[j]}`,
        );
      }
    }
  }
  await Promise.all(clients.map((client) => client.endAsync()));
});
