// The broker's side of access control, over one broker in this process: verdicts that come later keep
// the order of a client's messages, and what denial costs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Access, AccessClient } from '#broker/access.js';
import { HookedAccess } from '#broker/hooked-access.js';
import { BrokerHooks } from '#broker/hooks.js';
import type { Subscription } from '#mqtt/packet.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { FakeCluster } from '../mqtt/fake-cluster.js';
import { MqttBench } from '../mqtt/mqtt-bench.js';

/** Topics that begin with `ask` have to be asked; the questions are answered by the test. */
class Asking implements Access {
  readonly questions: { readonly topic: string; readonly answer: (allowed: boolean) => void }[] = [];
  readonly denyAction: 'ignore' | 'disconnect';
  closedClients = 0;

  constructor(denyAction: 'ignore' | 'disconnect' = 'ignore') {
    this.denyAction = denyAction;
  }

  authenticate: Access['authenticate'] = (_request, answer) => answer(0);

  mayPublish: Access['mayPublish'] = (_client, topicName) => (topicName.startsWith('ask') ? undefined : !topicName.startsWith('secret'));

  maySubscribe: Access['maySubscribe'] = (_client, topicFilter) => (topicFilter.startsWith('ask') ? undefined : !topicFilter.startsWith('secret'));

  whenKnown(_client: AccessClient, _action: string, topic: string, _qos: number, _retain: boolean, answer: (allowed: boolean) => void): void {
    this.questions.push({ topic, answer });
  }

  closed(): void {
    this.closedClients++;
  }

  answer(allowed: boolean): void {
    const question = this.questions.shift();
    assert.ok(question !== undefined, 'a question waits');
    question.answer(allowed);
  }
}

function wanted(topicFilter: string): Subscription {
  return { topicFilter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 };
}

test('messages behind one that is being judged wait for it', () => {
  const access = new Asking();
  const bench = new MqttBench({ access });
  const subscriber = bench.connect();
  subscriber.subscribe('#');
  const publisher = bench.connect();
  publisher.publish('ask/1', '1', { qos: 1, packetId: 1 });
  assert.equal(publisher.net.reading, false);
  publisher.publish('plain', '2', { qos: 0 });
  publisher.publish('ask/3', '3', { qos: 2, packetId: 3 });
  publisher.publish('secret', '4', { qos: 1, packetId: 4 });
  publisher.publish('plain', '5', { qos: 1, packetId: 5 });
  bench.settle();
  assert.deepEqual(publisher.seen(), []);
  assert.equal(access.questions.length, 1);
  access.answer(true);
  bench.settle();
  assert.equal(access.questions[0]?.topic, 'ask/3');
  access.answer(false);
  bench.settle();
  assert.deepEqual(publisher.seen(), ['puback', 'pubrec 0x87', 'puback 0x87', 'puback']);
  assert.equal(publisher.net.reading, true);
  const topics = subscriber.take().flatMap((p) => (p.type === 'publish' ? [p.topicName] : []));
  assert.deepEqual(topics, ['ask/1', 'plain', 'plain']);
});

test('a subscription that is being judged', () => {
  const access = new Asking();
  const bench = new MqttBench({ access });
  const client = bench.connect();
  client.send({ type: 'subscribe', packetId: 9, subscriptions: ['ask/a', 'plain', 'secret', 'ask/b'].map(wanted) });
  bench.settle();
  assert.deepEqual(client.seen(), []);
  access.answer(true);
  access.answer(false);
  bench.settle();
  const suback = client.take().find((p) => p.type === 'suback');
  assert.deepEqual(suback?.type === 'suback' ? suback.reasonCodes : [], [1, 1, 0x87, 0x87]);
  assert.equal(client.net.reading, true);
});

test('a will that has to be judged: before CONNACK, and when it is due', () => {
  const access = new Asking();
  const bench = new MqttBench({ access });
  const watcher = bench.connect();
  watcher.subscribe('#');
  const client = bench.connect({ will: { topicName: 'ask/will', payload: new Uint8Array(0), qos: 0, retain: false } });
  const answered = (): number | undefined => client.connack?.reasonCode;
  assert.equal(answered(), undefined);
  access.answer(true);
  bench.settle();
  assert.equal(answered(), 0);
  client.net.destroy();
  bench.settle();
  access.answer(true);
  bench.settle();
  assert.ok(watcher.take().some((p) => p.type === 'publish' && p.topicName === 'ask/will'));
});

test('deny_action = disconnect closes the connection', () => {
  const bench = new MqttBench({ access: new Asking('disconnect') });
  const publisher = bench.connect();
  publisher.publish('secret', 'x', { qos: 1 });
  bench.settle();
  assert.deepEqual(publisher.seen(), ['disconnect 0x87']);
  assert.ok(publisher.net.closed);
  const subscriber = bench.connect();
  subscriber.send({ type: 'subscribe', packetId: 1, subscriptions: ['secret', 'plain'].map(wanted) });
  bench.settle();
  assert.ok(subscriber.net.closed);
  assert.equal(bench.broker.stats().subscriptions, 0);
});

test('conceal_reason: acknowledgements do not say why', () => {
  const access = Object.assign(new Asking(), { concealReason: true });
  const bench = new MqttBench({ access });
  const client = bench.connect();
  client.publish('secret', 'x', { qos: 1 });
  client.publish('ask', 'x', { qos: 1 });
  access.answer(false);
  bench.settle();
  assert.deepEqual(client.seen(), ['puback 0x80', 'puback 0x80']);
  client.take();
  client.send({ type: 'subscribe', packetId: 9, subscriptions: ['secret', 'plain'].map(wanted) });
  bench.settle();
  const suback = client.take().find((p) => p.type === 'suback');
  assert.deepEqual(suback?.type === 'suback' ? [...suback.reasonCodes] : [], [0x80, 1]);
});

test('a hook that authenticates proves user names too, and one that does not takes nothing away', () => {
  const hooks = new BrokerHooks();
  const base = Object.assign(new Asking(), { provesUsers: false });
  const access = new HookedAccess(base, hooks, () => 0);
  assert.equal(access.provesUsers, false);
  hooks.authenticate = (_request, answer) => answer(0);
  assert.equal(access.provesUsers, true);
  assert.equal(new HookedAccess(Object.assign(new Asking(), { provesUsers: true }), new BrokerHooks(), () => 0).provesUsers, true);
});

test('a client that is gone before its verdict', () => {
  const access = new Asking('disconnect');
  const bench = new MqttBench({ access });
  const publisher = bench.connect();
  publisher.publish('ask', 'x', { qos: 1 });
  publisher.net.destroy();
  bench.settle();
  assert.equal(access.closedClients, 1);
  access.answer(true);
  bench.settle();
  assert.equal(bench.broker.stats().connections, 0);
});

test('a session is continued for the user who made it, where user names are proved', () => {
  for (const provesUsers of [true, false]) {
    const bench = new MqttBench({ access: Object.assign(new Asking(), { provesUsers }) });
    const lasting = { clientId: 'shared', cleanStart: false, properties: { sessionExpiryInterval: 60 } };
    const ann = bench.connect({ ...lasting, username: 'ann' });
    ann.subscribe(wanted('news'));
    ann.drop();
    bench.connect().publish('news', 'for ann', { qos: 1 });
    const again = bench.connect({ ...lasting, username: 'ann' });
    assert.equal(again.connack?.sessionPresent, true);
    again.drop();
    const bob = bench.connect({ ...lasting, username: 'bob' });
    assert.equal(bob.connack?.sessionPresent, !provesUsers);
    assert.equal(bob.seen().length, provesUsers ? 0 : 1);
    assert.equal(bench.metrics.read('starmesh_sessions_of_other_users'), provesUsers ? 1 : 0);
    bob.drop();
    assert.equal(bench.connect({ ...lasting, username: 'ann' }).connack?.sessionPresent, !provesUsers);
  }
});

test('so it is for a session that comes from another node', () => {
  for (const provesUsers of [true, false]) {
    const cluster = new FakeCluster();
    const clock = new ManualClock();
    const bench = (): MqttBench => new MqttBench({ clock, ports: cluster.ports(), access: Object.assign(new Asking(), { provesUsers }) });
    const [a, b] = [bench(), bench()];
    const lasting = { clientId: 'shared', cleanStart: false, properties: { sessionExpiryInterval: 60 } };
    const ann = a.connect({ ...lasting, username: 'ann' });
    ann.subscribe(wanted('news'));
    ann.drop();
    a.connect().publish('news', 'for ann', { qos: 1 });
    const bob = b.connect({ ...lasting, username: 'bob' });
    assert.equal(bob.connack?.sessionPresent, !provesUsers);
    assert.equal(bob.seen().length, provesUsers ? 0 : 1);
    assert.equal(a.broker.client('shared'), undefined, 'the old node has it no more');
    assert.equal(b.broker.client('shared')?.subscriptions, provesUsers ? 0 : 1);
    assert.equal(b.metrics.read('starmesh_sessions_of_other_users'), provesUsers ? 1 : 0);
  }
});

test('a stranger is not read while somebody else is asked who it is', () => {
  let answer: (reasonCode: number) => void = () => {};
  const access: Access = {
    authenticate: (_request, said) => {
      answer = said;
    },
    mayPublish: () => true,
    maySubscribe: () => true,
  };
  const bench = new MqttBench({ access });
  const client = bench.connect();
  assert.equal(client.net.reading, false);
  answer(0);
  bench.settle();
  assert.equal(client.connack?.reasonCode, 0);
  assert.equal(client.net.reading, true);
});
