// Too much of everything: A4 (slow strangers), A14 (one client id), B3 (filters), B6 (what is kept), B17
// (who does not read). The honest pair talks while it goes on.
import assert from 'node:assert/strict';
import { type Socket, connect as tcpConnect } from 'node:net';
import { type Attack, type AttackCase, bytes, publish, subscribe } from './attack.js';
import { within } from './lab.js';

// ---- A4: the lab's idle_timeout is short ----

function ends(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.on('error', () => {});
    socket.resume();
    socket.once('close', () => resolve());
  });
}

function stalls(name: string, begin: string | Uint8Array, count: number): AttackCase {
  return {
    of: 'A4',
    name: `${count} connections ${name}`,
    run: async (attack) => {
      const sockets = Array.from({ length: count }, () => tcpConnect({ host: '127.0.0.1', port: attack.lab.port(attack.kind) }));
      const over = sockets.map(ends);
      for (const socket of sockets) socket.write(bytes(begin));
      const honest = await attack.connect({ clientId: 'comes meanwhile' });
      await attack.lab.witness();
      await within('the node closes all of them', Promise.all(over));
      assert.deepEqual(await honest.alive(), []);
    },
  };
}

const slow: readonly AttackCase[] = [
  stalls('that say nothing', '', 200),
  stalls('with half a CONNECT', bytes(0x10, 20, 0, 4, 'MQ'), 200),
  stalls('with half an upgrade', 'GET /mqtt HTTP/1.1\r\nHost: x\r\n', 200),
  {
    of: 'A4',
    name: 'a CONNECT that trickles in: each byte extends nothing',
    run: async (attack) => {
      const peer = await attack.open();
      // 200,000 bytes are announced, and one comes with each turn: the deadline comes long before the last.
      await peer.drip([bytes(0x10, 0xc0, 0x9a, 0x0c), ...Array.from({ length: 199_000 }, () => bytes(0))]);
      assert.deepEqual(await peer.fate(), []);
    },
  },
];

// ---- A14 ----

const storms: readonly AttackCase[] = [4, 5].map((version) => ({
  of: 'A14',
  name: `150 connections at once with one client id, MQTT ${version === 4 ? '3.1.1' : '5.0'}`,
  run: async (attack) => {
    const protocolVersion = version === 4 ? 4 : 5;
    const all = await Promise.all(Array.from({ length: 150 }, () => attack.open(protocolVersion)));
    for (const peer of all) peer.send({ type: 'connect', protocolVersion, clientId: 'same', cleanStart: true, keepAlive: 0 });
    await within(
      'one is left',
      new Promise<void>((resolve) => {
        let open = all.length;
        for (const peer of all) peer.closed.then(() => --open === 1 && resolve());
      }),
    );
    await attack.lab.witness();
    assert.equal([...attack.lab.node.broker.clients()].filter((c) => c.clientId === 'same').length, 1);
    const left = all.filter((p) => !p.isClosed);
    assert.equal(left.length, 1);
    assert.equal((await left[0]?.next('connack'))?.reasonCode, 0);
    const odd = all.flatMap((p) => p.seen()).filter((s) => !['connack', 'connack 0x89', 'connack 0x03', 'disconnect 0x8e'].includes(s));
    assert.deepEqual(odd, []);
  },
}));

const jitter: AttackCase = {
  of: 'A14',
  name: '60 reconnections one after the other, with a session, a subscription and messages',
  run: async (attack) => {
    for (let i = 0; i < 60; i++) {
      const peer = await attack.connect({ clientId: 'same', cleanStart: i % 3 === 0, properties: { sessionExpiryInterval: 60 } });
      peer.send(subscribe(['own/storm'], 1, 1), publish('own/storm', 'x', { qos: 1, packetId: 1 }));
    }
    await attack.connect({ clientId: 'same' });
  },
};

// ---- B3 ----

const roundsMax = 20;

function bomb(name: string, filterOf: (i: number) => string, count: number, heard: string): AttackCase {
  return {
    of: 'B3',
    name: `${count} filters: ${name}`,
    run: async (attack) => {
      const peer = await attack.connect();
      let open = Array.from({ length: Math.ceil(count / 1_000) }, (_, n) => n);
      // A node that is short of time refuses filters whose routes were not written soon enough: they are asked for again.
      for (let round = 0; open.length > 0; round++) {
        assert.ok(round < roundsMax, `${open.length} SUBSCRIBEs were refused ${roundsMax} times`);
        const awaited = open.length;
        for (const n of open) {
          const some = Array.from({ length: Math.min(1_000, count - n * 1_000) }, (_, i) => filterOf(n * 1_000 + i));
          peer.send(subscribe(some, 1 + n));
        }
        await peer.until('all SUBACKs', (packets) => packets.filter((p) => p.type === 'suback').length === awaited);
        open = peer.packets.flatMap((p) => (p.type === 'suback' && p.reasonCodes.some((code) => code >= 0x80) ? [p.packetId - 1] : []));
        peer.packets.length = 0;
      }
      await attack.lab.witness();
      peer.packets.length = 0;
      peer.send(publish(heard));
      await peer.next('publish');
      await attack.lab.witness();
    },
  };
}

/** Every filter of 13 levels whose levels are a or +. */
function overlapping(i: number): string {
  return Array.from({ length: 13 }, (_, level) => (((i >> level) & 1) === 1 ? '+' : 'a')).join('/');
}

const bombs: readonly AttackCase[] = [
  bomb('all 2^13 of a or + at 13 levels, one topic matches all', overlapping, 8_192, Array.from({ length: 13 }, () => 'a').join('/')),
  bomb('10,000 with # at growing depth', (i) => `${'+/'.repeat(i % 100)}${i}/#`, 10_000, '100'),
  bomb('10,000 under one name', (i) => `a/${i}/+`, 10_000, 'a/9999/x'),
];

// ---- B6, B17 ----

const fills: readonly AttackCase[] = [
  {
    of: 'B6',
    name: '3,000 messages for a session that is away: 1,000 are kept',
    run: async (attack) => {
      const keep = { cleanStart: false, properties: { sessionExpiryInterval: 600, receiveMaximum: 65_535 } };
      const away = await attack.connect(keep);
      away.send(subscribe(['own/fill'], 1, 1));
      await away.next('suback');
      away.reset();
      const other = await attack.connect({ clientId: 'other' });
      for (let i = 0; i < 3_000; i++) other.send(publish('own/fill', `${i}`));
      await other.alive();
      const back = await attack.connect(keep);
      const said = await back.alive();
      assert.ok(said.filter((s) => s.startsWith('publish')).length <= 1_032);
      await attack.connect();
    },
  },
  {
    of: 'B6',
    name: '20 MiB for a session that is away: 8 MiB are kept',
    run: async (attack) => {
      const keep = { cleanStart: false, properties: { sessionExpiryInterval: 600 } };
      const away = await attack.connect(keep);
      away.send(subscribe(['own/fill'], 1, 1));
      await away.next('suback');
      away.reset();
      const before = attack.lab.memory();
      const other = await attack.connect({ clientId: 'other' });
      for (let i = 0; i < 40; i++) other.send(publish('own/fill', new Uint8Array(512 * 1024)));
      await other.alive();
      await attack.lab.witness();
      const grown = attack.lab.memory() - before;
      assert.ok(grown < 16 * 1024 * 1024, `${grown} bytes`);
      await attack.connect();
    },
  },
  {
    of: 'B6',
    name: '500 retained messages: stored, and gone when they are deleted',
    run: async (attack) => {
      const peer = await attack.connect();
      for (let i = 0; i < 500; i++) peer.send(publish(`own/r/${i}`, 'x', { retain: true }));
      await peer.alive();
      await attack.lab.witness();
      for (let i = 0; i < 500; i++) peer.send(publish(`own/r/${i}`, '', { retain: true }));
      await peer.alive();
    },
  },
];

function notReading(name: string, qos: 0 | 1, count: number): AttackCase {
  return {
    of: 'B17',
    name,
    run: async (attack) => {
      const before = attack.lab.memory();
      const peers = await Promise.all(Array.from({ length: count }, (_, i) => attack.connect({ clientId: `lazy-${i}` })));
      for (const peer of peers) {
        peer.send(subscribe(['own/lazy'], 1, qos));
        await peer.next('suback');
        peer.pause();
      }
      const other = await attack.connect({ clientId: 'other' });
      for (let i = 0; i < 100; i++) {
        other.send(publish('own/lazy', new Uint8Array(64 * 1024), qos === 0 ? {} : { qos: 1, packetId: i + 1 }));
        if (i % 50 === 49) await attack.lab.witness();
      }
      await other.until('all of it was taken', (packets) => qos === 0 || packets.filter((p) => p.type === 'puback').length === 100);
      if (qos === 0) await other.alive();
      // Per connection what waits for it is bounded: 1 MiB of output, 8 MiB of queue, and kernel buffers outside the heap.
      assert.ok(attack.lab.memory() - before < (count * 2 + 16) * 1024 * 1024);
    },
  };
}

const lazy: readonly AttackCase[] = [
  notReading('10 subscribers of QoS 0 that stop reading', 0, 10),
  notReading('10 subscribers of QoS 1 that stop reading', 1, 10),
  {
    of: 'B17',
    name: 'pings without reading their answers',
    run: async (attack: Attack) => {
      const peer = await attack.connect();
      peer.pause();
      const pings = new Uint8Array(200_000).map((_, i) => (i % 2 === 0 ? 0xc0 : 0));
      for (let i = 0; i < 20; i++) peer.write(pings);
      await attack.lab.witness();
    },
  },
];

export const slowCases: readonly AttackCase[] = slow;
export const floodCases: readonly AttackCase[] = [...storms, jitter, ...bombs, ...fills, ...lazy];
