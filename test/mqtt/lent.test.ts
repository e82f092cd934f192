// Bytes that are lent (passing.ts, shortcut.ts), where something else comes in between: subscribers of another listener, packets
// that are too large, publishers that are closed or held in the middle, failures. As where nothing is lent.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Access } from '#broker/access.js';
import { encode } from '#mqtt/encoder.js';
import { MqttBench } from './mqtt-bench.js';

type Version = 4 | 5;

const message = (text: string, version: Version = 4, topicName = 't'): Uint8Array =>
  encode({ type: 'publish', topicName, payload: Buffer.from(text), qos: 0, retain: false, dup: false, packetId: 0 }, version);

/** Everybody may, until an exception. */
function failing(): Access {
  return {
    authenticate: (_request, answer) => answer(0),
    mayPublish: (_client, topicName) => {
      if (topicName === 'boom') throw new Error('boom');
      return true;
    },
    maySubscribe: () => true,
    standing: () => ({ untilS: 1_000_000, counts: 1 }),
    changes: 0,
    counted: () => {},
  };
}

for (const lends of [true, false]) {
  const how = lends ? 'lent' : 'not lent';

  for (const n of [1, 2, 3, 4]) {
    test(`${how}: a subscriber of another listener gets all of ${n} chunks, unchanged`, () => {
      const bench = new MqttBench({ lends });
      const publisher = bench.connect({ protocolVersion: 4 });
      const subscriber = bench.connect({ protocolVersion: 4 }, bench.otherListener);
      subscriber.subscribe('t');
      const texts = Array.from({ length: n }, (_, i) => `m${i}`);
      for (const text of texts) publisher.bytes(message(text));
      // Into the same memory.
      publisher.bytes(message('for nobody', 4, 'secret'));
      bench.settle();
      assert.deepEqual(
        subscriber.seen(),
        texts.map((text) => `t=${text}`),
      );
    });
  }

  test(`${how}: a packet that is larger than the listener takes ends the connection, whatever came before`, () => {
    const bench = new MqttBench({ lends, limits: { maxPacketSizeBytes: 1024 } });
    const publisher = bench.connect({ protocolVersion: 4 });
    const subscriber = bench.connect({ protocolVersion: 4 });
    subscriber.subscribe('t');
    // Fixed header and Topic Name: 6 bytes; 1,024 in all.
    const largest = 'x'.repeat(1018);
    for (const text of ['1', '2', '3', largest]) publisher.bytes(message(text));
    assert.equal(publisher.net.closed, false);
    publisher.bytes(message(`${largest}x`));
    bench.settle();
    assert.equal(publisher.net.closed, true);
    assert.deepEqual(subscriber.seen(), ['t=1', 't=2', 't=3', `t=${largest}`]);
  });

  test(`${how}: a publisher that is closed in the middle of a chunk harms nobody's messages`, () => {
    const bench = new MqttBench({ lends });
    const taking = bench.connect({ clientId: 'a', protocolVersion: 4 });
    const small = bench.connect({ clientId: 'b', protocolVersion: 5, properties: { maximumPacketSize: 40 } });
    for (const member of [taking, small]) member.subscribe({ topicFilter: '$share/g/t', qos: 0 });
    const publisher = bench.connect({ clientId: 'publisher', protocolVersion: 4 });
    bench.broker.hooks.undelivered = () => bench.broker.kick('publisher', () => {});
    // The members get them in turn.
    for (const text of ['1', '2', '3', '4']) publisher.bytes(message(text));
    const large = 'x'.repeat(100);
    publisher.bytes(Buffer.concat([message(`5${large}`), message(`6${large}`), message('7')]));
    taking.push({ type: 'pingreq' });
    bench.settle();
    assert.equal(publisher.net.closed, true);
    assert.deepEqual(taking.seen().sort(), ['pingresp', 't=1', 't=3', `t=5${large}`]);
  });

  for (const version of [4, 5] as const) {
    test(`${how}: a publisher that makes the backlog of a group's member grow is held while memory is short (MQTT ${version})`, () => {
      const bench = new MqttBench({ lends, limits: { upgradeQos: true, maxQueuedMessages: 100_000, maxQueuedBytes: 100_000_000 } });
      const member = bench.connect({ clientId: 'member', protocolVersion: 5, properties: { receiveMaximum: 1 } });
      member.subscribe({ topicFilter: '$share/g/t', qos: 1 });
      const publisher = bench.connect({ clientId: 'publisher', protocolVersion: version });
      for (const text of ['1', '2']) publisher.bytes(message(text, version));
      bench.broker.press(2, false);
      for (let i = 0; i < 40; i++) publisher.bytes(message('x'.repeat(10_000), version));
      bench.settle();
      assert.equal(publisher.net.reading, false);
      assert.equal(bench.metrics.read('starmesh_overload_held_publishers_total'), 1);
    });
  }

  test(`${how}: a subscriber whose connection ends while rights are looked at gets the message when it is back`, () => {
    const access: Access = { authenticate: (_request, answer) => answer(0), mayPublish: () => true, maySubscribe: () => true };
    const bench = new MqttBench({ lends, access, limits: { queueQos0: true } });
    const subscriber = bench.connect({ clientId: 'subscriber', protocolVersion: 4, cleanStart: false });
    subscriber.subscribe('t');
    const publisher = bench.connect({ clientId: 'publisher', protocolVersion: 4 });
    bench.broker.hookAccess();
    bench.broker.hooks.authorized = () => subscriber.net.destroy();
    publisher.bytes(message('1'));
    bench.settle();
    const again = bench.connect({ clientId: 'subscriber', protocolVersion: 4, cleanStart: false });
    assert.deepEqual(again.seen(), ['t=1']);
  });

  test(`${how}: a failure in the middle of a chunk costs its connection, and no other one its mountpoint`, () => {
    const bench = new MqttBench({ lends, access: failing(), otherListener: { mountpoint: 'm/' } });
    const subscriber = bench.connect({ protocolVersion: 4 });
    for (const topicFilter of ['t', 'm/t', 'boom']) subscriber.subscribe(topicFilter);
    const fails = bench.connect({ protocolVersion: 4 });
    const mounted = bench.connect({ protocolVersion: 4 }, bench.otherListener);
    mounted.bytes(message('1'));
    fails.bytes(Buffer.concat([message('a'), message('b', 4, 'boom')]));
    for (const text of ['2', '3']) mounted.bytes(message(text));
    bench.clock.advance(0);
    assert.equal(fails.net.closed, true);
    assert.deepEqual(subscriber.seen(), ['m/t=1', 't=a', 'm/t=2', 'm/t=3']);
    // The one that failed was never counted on the short way.
    assert.equal(bench.metrics.read('emqx_messages_qos0_received'), lends ? 4 : 5);
  });

  test(`${how}: a hook that is taken out before it answers`, () => {
    const bench = new MqttBench({ lends });
    const subscriber = bench.connect({ protocolVersion: 4 });
    subscriber.subscribe('t');
    const publisher = bench.connect({ protocolVersion: 4 });
    for (const text of ['1', '2', '3']) publisher.bytes(message(text));
    const answers: (() => void)[] = [];
    bench.broker.hooks.publish = (held, _channel, answer) => void answers.push(() => answer(held));
    publisher.bytes(message('4'));
    bench.broker.hooks.publish = undefined;
    for (const text of ['5', '6']) publisher.bytes(message(text));
    for (const answer of answers) answer();
    bench.settle();
    assert.deepEqual(subscriber.seen(), ['t=1', 't=2', 't=3', 't=4', 't=5', 't=6']);
    assert.equal(bench.metrics.read('emqx_messages_qos0_received'), 6);
  });
}
