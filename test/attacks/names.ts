// Strings as weapons: A13 (UTF-8), B9 (mutations), B10 (names of JavaScript), B11 (patterns), B12
// (collisions), B13 (names that reach metrics and logs).
import assert from 'node:assert/strict';
import { prometheusText } from '#admin/prometheus.js';
import { encode } from '#mqtt/encoder.js';
import { type Attack, type AttackCase, bytes, packet, publish, str, subscribe, utf8 } from './attack.js';
import { connectBytes } from './first-bytes.js';

// ---- A13 ----

const notUtf8: readonly (readonly [string, readonly number[]])[] = [
  ['a lone continuation byte', [0x80]],
  ['a cut sequence', [0xe2, 0x82]],
  ['an overlong slash', [0xc0, 0xaf]],
  ['an overlong U+0000', [0xc0, 0x80]],
  ['an overlong slash of three bytes', [0xe0, 0x80, 0xaf]],
  ['a surrogate', [0xed, 0xa0, 0x80]],
  ['a pair of surrogates', [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]],
  ['beyond U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
  ['five bytes', [0xf8, 0x88, 0x80, 0x80, 0x80]],
  ['0xFF', [0xff]],
  ['U+0000', [0x61, 0x00, 0x62]],
];

/** Where a string stands in a packet. */
const places: readonly (readonly [string, (text: Uint8Array) => Uint8Array])[] = [
  ['topic name', (t) => packet(0x30, t, 0)],
  ['topic filter', (t) => packet(0x82, 0, 1, 0, t, 0)],
  ['filter of UNSUBSCRIBE', (t) => packet(0xa2, 0, 1, 0, t)],
  ['name of a user property', (t) => packet(0x30, str('a'), 3 + t.length, 0x26, t, 0, 0)],
  ['value of a user property', (t) => packet(0x30, str('a'), 3 + t.length, 0x26, 0, 0, t)],
  ['response topic', (t) => packet(0x30, str('a'), 1 + t.length, 0x08, t)],
  ['content type', (t) => packet(0x30, str('a'), 1 + t.length, 0x03, t)],
  ['reason string', (t) => packet(0xe0, 0, 1 + t.length, 0x1f, t)],
];

const connectPlaces: readonly (readonly [string, (text: Uint8Array) => Uint8Array])[] = [
  ['client id', (t) => connectBytes({ clientId: t })],
  ['user name', (t) => packet(0x10, str('MQTT'), 5, 0x82, 0, 0, 0, str('c'), t)],
  ['will topic', (t) => packet(0x10, str('MQTT'), 5, 6, 0, 0, 0, str('c'), 0, t, str('w'))],
];

const texts: readonly AttackCase[] = [
  ...notUtf8.map(
    ([name, wrong]): AttackCase => ({
      of: 'A13',
      name: `${name}, at each place of a string`,
      run: async (attack) => {
        for (const [place, make] of places) {
          const peer = await attack.connect();
          peer.write(make(str(wrong)));
          assert.deepEqual(await peer.fate(), ['disconnect 0x81'], place);
        }
        for (const [place, make] of connectPlaces) {
          const peer = await attack.open();
          peer.write(make(str(wrong)));
          assert.deepEqual(await peer.fate(), ['connack 0x81'], place);
        }
      },
    }),
  ),
  ...[
    '\ufeffbom',
    'line\r\nbreak',
    '\u001b[31mred',
    '\u202egnp',
    '\ufffe',
    '\u{10ffff}',
    '\u007f',
    'a\tb',
    '<script>alert(1)</script>',
    '%00%2e%2e/',
    '"}\n{"level":50',
  ].map(
    (odd): AttackCase => ({
      of: 'A13',
      name: `${JSON.stringify(odd).slice(1, -1)} is delivered as it is`,
      run: async (attack) => {
        const peer = await attack.connect({ clientId: odd, username: odd });
        peer.send(subscribe([`odd/${odd}`, `own/${odd}`]), publish(`own/${odd}`, 'x', { properties: { userProperties: [[odd, odd]] } }));
        const got = await peer.next('publish');
        assert.equal(got.topicName, `own/${odd}`);
        assert.deepEqual(got.properties?.userProperties, [[odd, odd]]);
        assert.equal(attack.lab.node.broker.client(odd)?.username, odd);
      },
    }),
  ),
];

// ---- B9 ----

/** The same numbers each time. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const valid: readonly Uint8Array[] = [
  connectBytes(),
  ...[
    publish('own/m', 'x', { qos: 1, packetId: 3, properties: { topicAlias: 1, messageExpiryInterval: 1, userProperties: [['a', 'b']] } }),
    publish('own/m', 'x', { qos: 2, packetId: 4 }),
    subscribe(['own/+/#', '$share/g/own/m'], 5, 2),
    { type: 'unsubscribe' as const, packetId: 6, topicFilters: ['own/+/#'] },
    { type: 'pubrel' as const, packetId: 4, reasonCode: 0 },
    { type: 'pubrec' as const, packetId: 1, reasonCode: 0 },
    { type: 'disconnect' as const, reasonCode: 4 },
  ].map((p) => encode(p, 5)),
];

const damages: readonly (readonly [string, (copy: Uint8Array, at: number, value: number) => Uint8Array])[] = [
  ['a byte changed', (copy, at, value) => copy.with(at, value)],
  ['a bit flipped', (copy, at, value) => copy.with(at, (copy[at] ?? 0) ^ (1 << (value & 7)))],
  ['the end cut off', (copy, at) => copy.subarray(0, at)],
  ['bytes put in', (copy, at, value) => bytes(copy.subarray(0, at), value, value, copy.subarray(at))],
  ['bytes left out', (copy, at, value) => bytes(copy.subarray(0, at), copy.subarray(at + 1 + (value & 3)))],
];

const mutations: readonly AttackCase[] = damages.map(([name, damage], i) => ({
  of: 'B9',
  name: `60 conversations, each with ${name}`,
  run: async (attack) => {
    const next = numbers(i + 1);
    for (let round = 0; round < 60; round++) {
      const peer = await attack.open();
      const wrong = next(valid.length);
      valid.forEach((one, k) => {
        peer.write(k === wrong ? damage(one, next(one.length), next(256)) : one);
      });
      peer.half();
      await peer.fate();
    }
    // What was a session that lasts or a retained message by accident.
    await attack.lab.sweep();
  },
}));

// ---- B10 ----

const javaScript = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'valueOf',
  '__defineGetter__',
  'prototype',
  'then',
  'length',
  'NaN',
  'null',
  '0',
];

const reserved: readonly AttackCase[] = javaScript.map((name) => ({
  of: 'B10',
  name: `${name} at every place of a name`,
  run: async (attack) => {
    const will = { topicName: `${name}/will`, payload: utf8(name), qos: 0 as const, retain: false };
    const properties = { sessionExpiryInterval: 60, userProperties: [[name, name]] as [string, string][] };
    const peer = await attack.connect({ clientId: name, username: name, password: utf8(name), cleanStart: false, properties, will });
    peer.send(subscribe([name, `${name}/+`, `+/${name}/#`, `$share/${name}/${name}`], 1, 1));
    assert.deepEqual((await peer.next('suback')).reasonCodes.slice(0, 3), [1, 1, 1]);
    const sent = { contentType: name, responseTopic: name, correlationData: utf8(name), userProperties: [[name, name]] as [string, string][] };
    peer.send(publish(`x/${name}/y`, name, { qos: 1, packetId: 1, retain: true, properties: { ...sent, topicAlias: 1 } }));
    const got = await peer.next('publish');
    assert.deepEqual([got.topicName, got.properties?.userProperties, got.properties?.responseTopic], [`x/${name}/y`, [[name, name]], name]);
    peer.send(publish(`x/${name}/y`, '', { qos: 1, packetId: 2, retain: true }));
    await peer.until('the second PUBACK', (packets) => packets.filter((p) => p.type === 'puback').length === 2);
    peer.reset();
    const { peer: again, sessionPresent } = await attack.login({ clientId: name, cleanStart: false });
    assert.equal(sessionPresent, true);
    again.send({ type: 'unsubscribe', packetId: 9, topicFilters: [name, 'valueOf?'] });
    assert.deepEqual((await again.next('unsuback')).reasonCodes, [0, 0x11]);
    again.send({ type: 'disconnect', reasonCode: 0 });
    await again.fate();
  },
}));

// ---- B11, B12 ----

/** Rules and bans with patterns are the only regular expressions that client ids reach: see the settings of the lab. */
const long = (unit: string): string => unit.repeat(Math.floor(60_000 / unit.length));

const worst: readonly AttackCase[] = (
  [
    ['aaaa…!', `${long('a')}!`],
    ['a-a-a-…', long('a-')],
    ['1.1.1.…', long('1.')],
    ['spaces', long(' ')],
    ['slashes', long('//')],
  ] as const
).map(([name, text]) => ({
  of: 'B11',
  name: `60,000 characters of ${name} as client id, user name, topic, header`,
  run: async (attack) => {
    const { peer, code } = await attack.login({ clientId: text, username: text });
    assert.equal(code, 0);
    peer.send(publish(text.replaceAll('/', ''), 'x', { qos: 1, packetId: 1, properties: { userProperties: [[text, text]] } }));
    const [answer] = name === 'slashes' ? await peer.fate() : await peer.alive();
    assert.match(answer ?? '', name === 'slashes' ? /0x82/ : /puback/);
  },
}));

function many(name: string, topicOf: (i: number) => string): AttackCase {
  return {
    of: 'B12',
    name: `20,000 topics: ${name}`,
    run: async (attack) => {
      const peer = await attack.connect();
      for (let i = 0; i < 20_000; i++) peer.send(publish(topicOf(i)));
      await peer.alive();
    },
  };
}

const collisions: readonly AttackCase[] = [
  many('0, 1, 2 and so on', (i) => `${i}`),
  many('multiples of 2^17', (i) => `${i * 131_072}`),
  many('the same last character at growing length', (i) => `${'a'.repeat(i % 300)}/${i}/z`),
  {
    of: 'B12',
    name: '10,000 names of user properties that are numbers',
    run: async (attack) => {
      const peer = await attack.connect();
      peer.send(
        publish('a', 'x', { qos: 1, packetId: 1, properties: { userProperties: Array.from({ length: 10_000 }, (_, i) => [`${i * 65_536}`, '']) } }),
      );
      await peer.next('puback');
    },
  },
];

// ---- B13 ----

function page(attack: Attack): string {
  return prometheusText(attack.lab.env.metrics.collect());
}

function unnamed(name: string, run: (attack: Attack, label: string, i: number) => Promise<void>): AttackCase {
  return {
    of: 'B13',
    name: `${name}, 200 different ones: none becomes a label, none a line of the log`,
    run: async (attack) => {
      await run(attack, 'canary-first', 0);
      const before = page(attack).split('\n').length;
      for (let i = 0; i < 200; i++) await run(attack, `canary-${i}\nforged{a="b"} 1`, i);
      const after = page(attack);
      assert.equal(after.includes('canary'), false);
      assert.ok(after.split('\n').length <= before + 5);
      assert.equal(attack.lab.logged.includes('\nforged'), false);
    },
  };
}

const labels: readonly AttackCase[] = [
  unnamed('client ids', async (attack, label) => (await attack.connect({ clientId: label })).destroy()),
  unnamed('topics with an alias that is wrong', async (attack, label) => {
    const peer = await attack.connect();
    peer.send(publish(label, 'x', { properties: { topicAlias: 60_000 } }));
    await peer.fate();
  }),
  unnamed('reasons to disconnect', async (attack, label, i) => {
    const peer = await attack.connect();
    peer.send({ type: 'disconnect', reasonCode: [0, 4, 0x80, 0x81][i % 4] ?? 0, properties: { reasonString: label } });
    await peer.fate();
  }),
  unnamed('methods of authentication', async (attack, label) => {
    const { code } = await attack.login({ properties: { authenticationMethod: label } });
    assert.equal(code, 0x8c);
  }),
];

export const nameCases: readonly AttackCase[] = [...texts, ...mutations, ...reserved, ...worst, ...collisions, ...labels];
