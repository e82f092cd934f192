// Clients that are in and break the rules: B1, B2, B4, B5, B7, B8, B15, B18.
import assert from 'node:assert/strict';
import type { Packet } from '#mqtt/packet.js';
import { type AttackCase, bytes, fires, packet, publish, str, subscribe, utf8 } from './attack.js';

const protocolError = ['disconnect 0x82', 'closed'];
const malformed = ['disconnect 0x81', 'closed'];
const deep = '/'.repeat(65_000);
const levels200 = Array.from({ length: 200 }, (_, i) => `l${i}`).join('/');

const topics: readonly AttackCase[] = [
  fires('B1', 'PUBLISH of 65,000 levels', { send: packet(0x30, str(deep), 0), expect: ['disconnect 0x90', 'closed'] }),
  fires('B1', 'retained PUBLISH of 65,000 levels', { send: packet(0x31, str(deep), 0, 'x'), expect: ['disconnect 0x90', 'closed'] }),
  fires('B1', 'PUBLISH of 65,000 levels, 3.1.1', { version: 4, send: packet(0x30, str(deep)), expect: ['closed'] }),
  fires('B1', 'SUBSCRIBE to 65,000 levels', { send: packet(0x82, 0, 1, 0, str(deep), 0), expect: ['suback 0x8f', 'open'] }),
  fires('B1', 'SUBSCRIBE to 200 levels', { send: packet(0x82, 0, 1, 0, str(levels200), 0), expect: ['suback 0x8f', 'open'] }),
  fires('B1', 'SUBSCRIBE to 200 levels of +', {
    send: packet(0x82, 0, 1, 0, str(Array.from({ length: 200 }, () => '+').join('/')), 0),
    expect: ['suback 0x8f', 'open'],
  }),
  fires('B1', 'UNSUBSCRIBE from 65,000 levels', { send: packet(0xa2, 0, 1, 0, str(deep)), expect: ['unsuback 0x11', 'open'] }),
  fires('B1', 'a will of 65,000 levels', {
    connected: false,
    send: packet(0x10, str('MQTT'), 5, 6, 0, 0, 0, str('c'), 0, str(deep), str('w')),
    expect: ['connack 0x90', 'closed'],
  }),
  fires('B1', 'a response topic of 65,000 levels', { send: packet(0x30, str('a'), 0xeb, 0xfb, 0x03, 0x08, str(deep)), expect: protocolError }),
];

function properties(count: number, name: string): Packet {
  return publish('own/props', 'x', {
    qos: 1,
    packetId: 1,
    properties: { userProperties: Array.from({ length: count }, () => [name, ''] as [string, string]) },
  });
}

const userProperties: readonly AttackCase[] = [
  {
    of: 'B2',
    name: '200,000 empty user properties in a PUBLISH',
    run: async (attack) => {
      const peer = await attack.connect();
      peer.send(subscribe(['own/#']), properties(200_000, ''));
      const { properties: got } = await peer.next('publish');
      assert.equal(got?.userProperties?.length, 200_000);
    },
  },
  fires('B2', 'more of them than a packet may have', { send: bytes(0x32, 0x80, 0x80, 0x40, str('a'), 0, 1), expect: ['disconnect 0x95', 'closed'] }),
  {
    of: 'B2',
    name: '50,000 user properties of one name',
    run: async (attack) => {
      const peer = await attack.connect();
      peer.send(properties(50_000, '__proto__'));
      assert.equal((await peer.next('puback')).reasonCode, 0x10);
    },
  },
  {
    of: 'B2',
    name: '40,000 user properties in a CONNECT',
    run: async (attack) => {
      const userProperties = Array.from({ length: 40_000 }, () => ['a', 'b'] as [string, string]);
      const { code } = await attack.login({ properties: { userProperties } });
      assert.equal(code, 0);
    },
  },
];

const qos2: readonly AttackCase[] = [
  {
    of: 'B4',
    name: '101 identifiers without PUBREL',
    run: async (attack) => {
      const peer = await attack.connect();
      peer.send(...Array.from({ length: 101 }, (_, i) => publish('own/q', 'x', { qos: 2, packetId: i + 1 })));
      assert.deepEqual(await peer.fate(), [...Array.from({ length: 100 }, () => 'pubrec 0x10'), 'disconnect 0x93']);
    },
  },
  {
    of: 'B4',
    name: '101 identifiers without PUBREL, 3.1.1',
    run: async (attack) => {
      const peer = await attack.connect({ protocolVersion: 4 });
      peer.send(...Array.from({ length: 101 }, (_, i) => publish('own/q', 'x', { qos: 2, packetId: i + 1 })));
      assert.deepEqual(
        await peer.fate(),
        Array.from({ length: 100 }, () => 'pubrec'),
      );
    },
  },
  {
    of: 'B4',
    name: 'one identifier a thousand times',
    run: async (attack) => {
      const peer = await attack.connect();
      peer.send(subscribe(['own/q']));
      await peer.next('suback');
      for (let i = 0; i < 1_000; i++) peer.send(publish('own/q', 'once', { qos: 2, packetId: 9, dup: i > 0 }));
      const said = await peer.alive();
      assert.equal(said.filter((s) => s === 'publish own/q=once').length, 1);
      assert.equal(said.filter((s) => s === 'pubrec').length, 1_000);
    },
  },
  {
    of: 'B4',
    name: 'identifiers kept over connections of one session',
    run: async (attack) => {
      const keep = { cleanStart: false, properties: { sessionExpiryInterval: 60 } };
      // The identifiers of a session that lasts are on disk before its PUBRECs: those are awaited one by one.
      const publishAll = async (from: number, to: number): Promise<void> => {
        peer.send(...Array.from({ length: to - from }, (_, i) => publish('own/q', 'x', { qos: 2, packetId: from + i + 1 })));
        for (let i = from; i < to; i++) assert.equal((await peer.next('pubrec')).packetId, i + 1);
      };
      let peer = await attack.connect(keep);
      await publishAll(0, 60);
      peer.destroy();
      peer = await attack.connect(keep);
      await publishAll(60, 100);
      peer.send(publish('own/q', 'x', { qos: 2, packetId: 101 }));
      assert.deepEqual(await peer.fate(), ['disconnect 0x93']);
      await attack.connect();
    },
  },
];

function flood(name: string, first: number): AttackCase {
  return {
    of: 'B5',
    name: `${name} for each of 65,535 identifiers, Receive Maximum 1`,
    run: async (attack) => {
      const peer = await attack.connect({ properties: { receiveMaximum: 1 } });
      peer.send(subscribe(['own/f'], 1, 1));
      await peer.next('suback');
      peer.write(bytes(...Array.from({ length: 65_535 }, (_, i) => [first, 2, (i + 1) >> 8, (i + 1) & 255])));
      await peer.alive();
      peer.packets.length = 0;
      for (let i = 0; i < 5; i++) peer.send(publish('own/f', `${i}`, { qos: 1, packetId: i + 1 }));
      const said = await peer.alive();
      assert.deepEqual(
        said.filter((s) => s.startsWith('publish')),
        ['publish own/f=0 q1'],
      );
    },
  };
}

const will = (properties: readonly number[], topic: string, flags = 6): Uint8Array =>
  packet(0x10, str('MQTT'), 5, flags, 0, 0, 0, str('c'), properties, str(topic), str('w'));

const wills: readonly AttackCase[] = [
  fires('B7', 'a wildcard', { connected: false, send: will([0], 'a/#'), expect: ['connack 0x90', 'closed'] }),
  fires('B7', 'an empty topic', { connected: false, send: will([0], ''), expect: ['connack 0x90', 'closed'] }),
  fires('B7', 'a topic alias in it', { connected: false, send: will([3, 0x23, 0, 1], 'a'), expect: ['connack 0x81', 'closed'] }),
  fires('B7', 'delay twice', { connected: false, send: will([10, 0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1], 'a'), expect: ['connack 0x82', 'closed'] }),
  fires('B7', 'its properties longer than the packet', { connected: false, send: will([0xff, 0x7f], 'a'), expect: ['connack 0x81', 'closed'] }),
  {
    of: 'B7',
    name: 'delay of 2^32-1 s beyond the end of the session: sent at that end, once',
    run: async (attack) => {
      const hears = await attack.connect({ clientId: 'hears' });
      hears.send(subscribe(['own/will']));
      await hears.next('suback');
      const properties = { willDelayInterval: 0xffffffff };
      const dies = await attack.connect({ will: { topicName: 'own/will', payload: utf8('w'), qos: 0, retain: false, properties } });
      dies.reset();
      await hears.next('publish');
      assert.deepEqual(await hears.alive(), []);
    },
  },
  {
    of: 'B7',
    name: 'delay of 2^32-1 s with a session that never expires: waits, and is cancelled by the next connection',
    run: async (attack) => {
      const hears = await attack.connect({ clientId: 'hears' });
      hears.send(subscribe(['own/will']));
      await hears.next('suback');
      const properties = { willDelayInterval: 0xffffffff };
      const dies = await attack.connect({
        cleanStart: false,
        properties: { sessionExpiryInterval: 0xffffffff },
        will: { topicName: 'own/will', payload: utf8('w'), qos: 0, retain: false, properties },
      });
      dies.reset();
      await attack.lab.witness();
      (await attack.connect({ cleanStart: false })).send({ type: 'disconnect', reasonCode: 0, properties: {} });
      assert.deepEqual(await hears.alive(), []);
    },
  },
  {
    of: 'B7',
    name: 'storm of wills on the witness topic',
    run: async (attack) => {
      const one = { topicName: 'own/will', payload: utf8('w'), qos: 1 as const, retain: false };
      const all = await Promise.all(Array.from({ length: 100 }, (_, i) => attack.connect({ clientId: `dies-${i}`, will: one })));
      for (const peer of all) peer.reset();
      await attack.lab.witness();
    },
  },
];

const order: readonly AttackCase[] = [
  fires('B8', 'CONNECT twice', { send: packet(0x10, str('MQTT'), 5, 2, 0, 0, 0, str('c')), expect: protocolError }),
  fires('B8', 'CONNECT twice, 3.1.1', { version: 4, send: packet(0x10, str('MQTT'), 4, 2, 0, 0, str('c')), expect: ['closed'] }),
  fires('B8', 'CONNACK from a client', { send: packet(0x20, 0, 0, 0), expect: protocolError }),
  fires('B8', 'SUBACK from a client', { send: packet(0x90, 0, 1, 0, 0), expect: protocolError }),
  fires('B8', 'AUTH without a method', { send: packet(0xf0, 0x18, 0), expect: protocolError }),
  fires('B8', 'AUTH before 5.0', { version: 4, send: packet(0xf0, 0x18), expect: ['closed'] }),
  fires('B8', 'PUBLISH behind DISCONNECT', { send: bytes(packet(0xe0), packet(0x31, str('own/late'), 0, 'x')), expect: ['closed'] }),
  fires('B8', 'packet identifier 0 in PUBLISH', { send: packet(0x32, str('a'), 0, 0, 0), expect: protocolError }),
  fires('B8', 'packet identifier 0 in SUBSCRIBE', { send: packet(0x82, 0, 0, 0, str('a'), 0), expect: protocolError }),
  fires('B8', 'SUBSCRIBE of nothing', { send: packet(0x82, 0, 1, 0), expect: protocolError }),
  fires('B8', 'UNSUBSCRIBE of nothing', { send: packet(0xa2, 0, 1, 0), expect: protocolError }),
  fires('B8', 'reserved bits of a subscription', { send: packet(0x82, 0, 1, 0, str('a'), 0xc0), expect: malformed }),
  fires('B8', 'subscription of QoS 3', { send: packet(0x82, 0, 1, 0, str('a'), 3), expect: malformed }),
  fires('B8', 'PUBLISH of QoS 3', { send: packet(0x36, str('a'), 0, 1, 0), expect: malformed }),
  fires('B8', 'empty topic without alias', { send: packet(0x30, str(''), 0), expect: protocolError }),
  fires('B8', 'empty topic, 3.1.1', { version: 4, send: packet(0x30, str('')), expect: ['closed'] }),
  fires('B8', 'topic alias 0', { send: packet(0x30, str('a'), 3, 0x23, 0, 0), expect: ['disconnect 0x94', 'closed'] }),
  fires('B8', 'topic alias beyond the maximum', { send: packet(0x30, str('a'), 3, 0x23, 0xff, 0xff), expect: ['disconnect 0x94', 'closed'] }),
  fires('B8', 'topic alias that was never set', { send: packet(0x30, str(''), 3, 0x23, 0, 7), expect: protocolError }),
  fires('B8', 'PUBREL of nothing', { send: packet(0x62, 0, 9), expect: ['pubcomp 0x92', 'open'] }),
  fires('B8', 'PUBREC of nothing', { send: packet(0x50, 0, 9), expect: ['pubrel 0x92', 'open'] }),
  fires('B8', 'a session made to last at its end', { send: packet(0xe0, 0, 5, 0x11, 0, 0, 0, 9), expect: protocolError }),
  {
    of: 'B8',
    name: 'topic aliases of an earlier connection',
    run: async (attack) => {
      const first = await attack.connect({ cleanStart: false, properties: { sessionExpiryInterval: 60 } });
      first.send(publish('own/alias', 'x', { properties: { topicAlias: 3 } }));
      await first.alive();
      const second = await attack.connect({ cleanStart: false });
      second.send(publish('', 'x', { properties: { topicAlias: 3 } }));
      assert.deepEqual(await second.fate(), ['disconnect 0x82']);
    },
  },
  {
    of: 'B8',
    name: 'SUBSCRIBE and UNSUBSCRIBE of one filter, 300 times at once, the last word counts',
    run: async (attack) => {
      const peer = await attack.connect();
      for (let i = 1; i <= 300; i++) peer.send(subscribe(['own/race/#'], i), { type: 'unsubscribe', packetId: i, topicFilters: ['own/race/#'] });
      peer.send(subscribe(['own/race/#'], 301));
      await peer.until('all answers', (packets) => packets.length === 601);
      // One that was taken back before its route was written may be called a failure.
      const odd = peer.seen().filter((s) => !['suback 0x00', 'suback 0x83', 'unsuback 0x00', 'unsuback 0x11'].includes(s));
      assert.deepEqual(odd, []);
      const last = peer.packets.find((p) => p.type === 'suback' && p.packetId === 301);
      assert.deepEqual(last?.type === 'suback' && last.reasonCodes, [0]);
      peer.send(publish('own/race/x'));
      await peer.next('publish');
    },
  },
];

const intervals: readonly AttackCase[] = ([0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff] as const).map((seconds) => ({
  of: 'B15',
  name: `session and message expiry of ${seconds} s`,
  run: async (attack) => {
    const keep = { cleanStart: false, properties: { sessionExpiryInterval: seconds } };
    const first = await attack.connect(keep);
    first.send(subscribe(['own/long'], 1, 1));
    await first.next('suback');
    first.reset();
    const other = await attack.connect({ clientId: 'other' });
    other.send(publish('own/long', 'kept', { qos: 1, packetId: 1, properties: { messageExpiryInterval: seconds } }));
    await other.next('puback');
    await attack.lab.witness();
    const { peer, sessionPresent } = await attack.login(keep);
    assert.equal(sessionPresent, true);
    assert.equal((await peer.next('publish')).topicName, 'own/long');
    await attack.connect();
  },
}));

const halves: readonly AttackCase[] = [
  {
    of: 'B18',
    name: 'FIN within a PUBLISH',
    run: async (attack) => {
      const peer = await attack.connect();
      await peer.drip([bytes(0x30, 100, 0, 1)]);
      peer.half();
      assert.deepEqual(await peer.fate(), []);
    },
  },
  {
    of: 'B18',
    name: 'FIN within a CONNECT',
    run: async (attack) => {
      const peer = await attack.open();
      await peer.drip([bytes(0x10, 20, 0, 4, 'MQ')]);
      peer.half();
      assert.deepEqual(await peer.fate(), []);
    },
  },
  {
    of: 'B18',
    name: 'RST right behind CONNECT, 50 times',
    run: async (attack) => {
      for (let i = 0; i < 50; i++) {
        const peer = await attack.open();
        await peer.drip([packet(0x10, str('MQTT'), 5, 2, 0, 0, 0, str(`reset-${i}`))]);
        peer.reset();
      }
    },
  },
  {
    of: 'B18',
    name: 'RST with messages under way to it',
    run: async (attack) => {
      const peer = await attack.connect();
      peer.send(subscribe(['own/rst']));
      await peer.next('suback');
      peer.pause();
      const other = await attack.connect({ clientId: 'other' });
      for (let i = 0; i < 200; i++) other.send(publish('own/rst', new Uint8Array(10_000)));
      await other.alive();
      peer.reset();
    },
  },
];

export const packetCases: readonly AttackCase[] = [
  ...topics,
  ...userProperties,
  ...qos2,
  flood('PUBACK', 0x40),
  flood('PUBCOMP', 0x70),
  flood('PUBREL', 0x62),
  ...wills,
  ...order,
  ...intervals,
  ...halves,
];
