// What strangers send first: A1 (lengths), A2 (not CONNECT), A3 (form of lengths), A5, A9, A11, B9.
import assert from 'node:assert/strict';
import { type AttackCase, bytes, fires, packet, str } from './attack.js';

/** CONNECT of MQTT 5.0 with its parts replaced. */
export function connectBytes({
  name = 'MQTT',
  level = 5,
  flags = 2,
  properties = [0],
  clientId = str('c'),
}: {
  readonly name?: string;
  readonly level?: number;
  readonly flags?: number;
  readonly properties?: readonly number[];
  readonly clientId?: Uint8Array;
} = {}): Uint8Array {
  return packet(0x10, str(name), level, flags, 0, 0, level === 5 ? properties : [], clientId);
}

const max = [0xff, 0xff, 0xff, 0x7f];
const gone = ['closed'];

const lengths: readonly AttackCase[] = [
  fires('A1', 'CONNECT of 256 MiB announced', { connected: false, send: bytes(0x10, max), expect: gone }),
  fires('A1', 'CONNECT of 2 MiB announced', { connected: false, send: bytes(0x10, 0x80, 0x80, 0x80, 0x01), expect: gone }),
  fires('A1', 'a longest CONNECT begun as it should', { connected: false, send: bytes(0x10, max, str('MQTT'), 5, 2, 0, 0), expect: gone }),
  fires('A1', 'PUBLISH of 256 MiB announced', { send: bytes(0x30, max), expect: ['disconnect 0x95', 'closed'] }),
  fires('A1', 'PUBLISH of 256 MiB announced, 3.1.1', { version: 4, send: bytes(0x30, max), expect: gone }),
  fires('A1', 'SUBSCRIBE of 256 MiB announced', { send: bytes(0x82, max), expect: ['disconnect 0x95', 'closed'] }),
  fires('A1', 'PINGREQ of 256 MiB announced', { send: bytes(0xc0, max), expect: ['disconnect 0x95', 'closed'] }),
  {
    of: 'A1',
    name: '300 sockets announce a packet of 1 MiB and send a byte each',
    run: async (attack) => {
      const before = attack.lab.memory();
      const peers = await Promise.all(Array.from({ length: 300 }, (_, i) => attack.connect({ clientId: `announcer-${i}` })));
      for (const peer of peers) await peer.drip([bytes(0x30, 0xf0, 0xff, 0x3f), bytes(0)]);
      await attack.lab.witness();
      // Per socket, the attacker's own half in this process included.
      assert.ok(attack.lab.memory() - before < 300 * 64 * 1024);
    },
  },
];

const types: readonly [string, number][] = [
  ['type 0', 0x00],
  ['CONNACK', 0x20],
  ['PUBLISH', 0x30],
  ['PUBLISH of QoS 2', 0x34],
  ['PUBACK', 0x40],
  ['PUBREC', 0x50],
  ['PUBREL', 0x62],
  ['PUBCOMP', 0x70],
  ['SUBSCRIBE', 0x82],
  ['SUBACK', 0x90],
  ['UNSUBSCRIBE', 0xa2],
  ['UNSUBACK', 0xb0],
  ['PINGREQ', 0xc0],
  ['PINGRESP', 0xd0],
  ['DISCONNECT', 0xe0],
  ['AUTH', 0xf0],
];

const firsts: readonly AttackCase[] = types.map(([name, first]) => ({
  of: 'A2',
  name: `${name}, empty, small, of 200 KiB`,
  run: async (attack) => {
    for (const body of [bytes(), bytes(str('witness/1'), 'x'), new Uint8Array(200 * 1024)]) {
      const peer = await attack.open();
      peer.write(packet(first, body));
      assert.deepEqual(await peer.fate(), []);
    }
  },
}));

const forms: readonly AttackCase[] = [
  fires('A3', 'five bytes before CONNECT', { connected: false, send: bytes(0x10, 0x80, 0x80, 0x80, 0x80, 0x01), expect: gone }),
  fires('A3', 'five bytes in PUBLISH', { send: bytes(0x30, 0xff, 0xff, 0xff, 0xff, 0x01), expect: ['disconnect 0x81', 'closed'] }),
  fires('A3', 'five bytes in PINGREQ, 3.1.1', { version: 4, send: bytes(0xc0, 0x80, 0x80, 0x80, 0x80, 0x00), expect: gone }),
  fires('A3', 'zero in two bytes', { send: bytes(0xc0, 0x80, 0x00), expect: ['disconnect 0x81', 'closed'] }),
  fires('A3', 'zero in four bytes', { send: bytes(0xc0, 0x80, 0x80, 0x80, 0x00), expect: ['disconnect 0x81', 'closed'] }),
  fires('A3', 'a length of properties beyond the packet', { send: packet(0x30, str('a'), 0xff, 0x7f), expect: ['disconnect 0x81', 'closed'] }),
  fires('A3', 'a length of properties of five bytes', {
    send: packet(0x30, str('a'), 0xff, 0xff, 0xff, 0xff, 0x01),
    expect: ['disconnect 0x81', 'closed'],
  }),
  fires('A3', 'a string longer than its packet', { send: packet(0x30, 0xff, 0xff, 'a'), expect: ['disconnect 0x81', 'closed'] }),
  fires('A3', 'a packet shorter than its string', { send: bytes(0x30, 1, 0), expect: ['disconnect 0x81', 'closed'] }),
  {
    of: 'A3',
    name: 'every length of five bytes with continuation bits, in pieces of one byte',
    run: async (attack) => {
      for (let high = 0; high < 128; high += 9) {
        const peer = await attack.connect();
        await peer.drip([bytes(0x30), bytes(0x80 | high), bytes(0x80 | high), bytes(0x80 | high), bytes(0x80 | high), bytes(high)]);
        assert.deepEqual(await peer.fate(), ['disconnect 0x81']);
      }
    },
  },
  {
    of: 'A3',
    name: 'a whole conversation byte by byte',
    run: async (attack) => {
      const peer = await attack.open();
      const talk = bytes(connectBytes(), packet(0x82, 0, 1, 0, str('a'), 1), packet(0x32, str('a'), 0, 7, 0, 'x'), 0xc0, 0);
      await peer.drip([...talk].map((b) => bytes(b)));
      await peer.until('five answers', (packets) => packets.length === 5);
      assert.deepEqual(peer.seen().sort(), ['connack', 'pingresp', 'puback', 'publish a=x q1', 'suback 0x01']);
    },
  },
];

const malformedConnects: readonly (readonly [string, Uint8Array, readonly string[]])[] = [
  ['name of another protocol', connectBytes({ name: 'MQTX' }), gone],
  ['version 2', connectBytes({ level: 2 }), ['connack 0x01', 'closed']],
  ['version 6', connectBytes({ level: 6 }), ['connack 0x84', 'closed']],
  ['reserved flag', connectBytes({ flags: 3 }), ['connack 0x81', 'closed']],
  ['will QoS 3', connectBytes({ flags: 0x1e }), ['connack 0x81', 'closed']],
  ['will flags without a will', connectBytes({ flags: 0x22 }), ['connack 0x81', 'closed']],
  ['Receive Maximum 0', connectBytes({ properties: [3, 0x21, 0, 0] }), ['connack 0x82', 'closed']],
  ['Receive Maximum twice', connectBytes({ properties: [6, 0x21, 0, 1, 0x21, 0, 1] }), ['connack 0x82', 'closed']],
  ['an unknown property', connectBytes({ properties: [2, 0x7e, 0] }), ['connack 0x81', 'closed']],
  ['authentication data without a method', connectBytes({ properties: [3, 0x16, 0, 0] }), ['connack 0x82', 'closed']],
  ['bytes behind the last field', bytes(packet(0x10, str('MQTT'), 5, 2, 0, 0, 0, str('c'), 'more')), ['connack 0x81', 'closed']],
  ['no client id at all', packet(0x10, str('MQTT'), 5, 2, 0, 0, 0), ['connack 0x81', 'closed']],
];

const leaks: readonly AttackCase[] = [
  ...malformedConnects.map(([name, send, expect]) =>
    fires('A5', name, { connected: false, version: expect[0] === 'connack 0x01' ? 4 : 5, send, expect }),
  ),
  {
    of: 'A5',
    name: '1,000 of them, and memory',
    run: async (attack) => {
      const round = async (count: number): Promise<void> => {
        for (let i = 0; i < count; i++) {
          const [, send] = malformedConnects[i % malformedConnects.length] ?? [];
          const peer = await attack.open();
          peer.write(send ?? bytes());
          await peer.fate();
        }
      };
      await round(100);
      const before = attack.lab.memory();
      await round(1_000);
      // The attacker's halves, which the case keeps, included.
      assert.ok(attack.lab.memory() - before < 1_000 * 16 * 1024);
    },
  },
];

const others: readonly (readonly [string, string | Uint8Array])[] = [
  ['HTTP GET', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['TLS ClientHello', bytes(0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0)],
  ['SSH', 'SSH-2.0-OpenSSH_9.7\r\n'],
  ['Redis', '*1\r\n$4\r\nINFO\r\n'],
  ['the greeting of a cluster link', bytes('STMS', 1, 0, 0, 0)],
  ['NATS', 'CONNECT {"verbose":false}\r\nPING\r\n'],
];

const proxies: readonly (readonly [string, string | Uint8Array])[] = [
  ['version 1 naming loopback', 'PROXY TCP4 127.0.0.1 127.0.0.1 1 1883\r\n'],
  ['version 1 UNKNOWN', 'PROXY UNKNOWN\r\n'],
  [
    'version 2 naming loopback',
    bytes(0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 'QUIT', 0x0a, 0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1, 0, 1, 7, 0x5b),
  ],
  ['version 2 LOCAL', bytes(0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 'QUIT', 0x0a, 0x20, 0, 0, 0)],
];

export const firstByteCases: readonly AttackCase[] = [
  ...lengths,
  ...firsts,
  ...forms,
  ...leaks,
  ...others.map(([name, send]) => fires('A9', name, { connected: false, send: bytes(send), expect: gone })),
  ...proxies.map(([name, header]) => fires('A11', name, { connected: false, send: bytes(header, connectBytes()), expect: gone })),
];
