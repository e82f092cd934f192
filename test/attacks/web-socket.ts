// The way in through HTTP: A10. The bytes are those of RFC 6455, frame by frame. Over
// plain TCP the same bytes are a wrong first packet.
import assert from 'node:assert/strict';
import { type Socket, connect as tcpConnect } from 'node:net';
import { encode } from '#mqtt/encoder.js';
import { type Attack, type AttackCase, bytes, publish } from './attack.js';
import { connectBytes } from './first-bytes.js';
import { within } from './lab.js';

interface Upgrade {
  readonly path?: string;
  readonly lines?: readonly string[];
  readonly version?: string;
  readonly key?: string;
  readonly protocols?: string;
}

const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';

function upgrade({ path = '/mqtt', lines = [], version = '13', key: keyLine = key, protocols = 'mqtt' }: Upgrade = {}): string {
  const all = [`GET ${path} HTTP/1.1`, 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket', `Sec-WebSocket-Version: ${version}`, keyLine];
  if (protocols !== '') all.push(`Sec-WebSocket-Protocol: ${protocols}`);
  return `${[...all, ...lines].filter((line) => line !== '').join('\r\n')}\r\n\r\n`;
}

class Raw {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  got: Buffer = Buffer.alloc(0);
  #look: () => void = () => {};

  constructor(port: number) {
    this.socket = tcpConnect({ host: '127.0.0.1', port, noDelay: true });
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk) => {
      this.got = Buffer.concat([this.got, chunk]);
      this.#look();
    });
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
  }

  /** What follows the upgrade's answer. */
  get frames(): Buffer {
    return this.got.subarray(this.got.indexOf('\r\n\r\n') + 4);
  }

  until(what: string, enough: () => boolean): Promise<void> {
    return within(
      what,
      new Promise((resolve) => {
        this.#look = () => {
          if (enough()) resolve();
        };
        this.#look();
      }),
    );
  }

  async upgraded(how: Upgrade = {}): Promise<void> {
    this.socket.write(upgrade(how));
    await this.until('101', () => this.got.includes('\r\n\r\n'));
    assert.match(String(this.got), /^HTTP\/1\.1 101 /);
  }
}

interface FrameOptions {
  readonly fin?: boolean;
  readonly masked?: boolean;
  readonly reserved?: number;
  /** What the length says, where it is not the payload's. */
  readonly length?: number | bigint;
}

/** A client's frame; the mask is zero, so that the payload stays readable. */
function frame(
  opcode: number,
  payload: Uint8Array | string = '',
  { fin = true, masked = true, reserved = 0, length }: FrameOptions = {},
): Uint8Array {
  const body = bytes(payload);
  const said = length ?? body.length;
  const head = [(fin ? 0x80 : 0) | reserved | opcode];
  const mask = masked ? 0x80 : 0;
  if (said < 126) head.push(mask | Number(said));
  else if (said < 65_536) head.push(mask | 126, Number(said) >> 8, Number(said) & 255);
  else {
    const wide = Buffer.alloc(8);
    wide.writeBigUInt64BE(BigInt(said));
    head.push(mask | 127, ...wide);
  }
  return bytes(head, masked ? [0, 0, 0, 0] : [], body);
}

const connect = connectBytes();
const connackFrame = Buffer.from([0x82]);

/** Over `tcp` the bytes are no CONNECT: the connection is closed and nothing said. */
function refusedUpgrade(name: string, send: string, status: number): AttackCase {
  return {
    of: 'A10',
    name,
    run: async (attack) => {
      const raw = new Raw(attack.lab.port(attack.kind));
      raw.socket.write(send);
      await within('the node closes', raw.closed);
      if (attack.kind === 'tcp') assert.equal(raw.got.length, 0);
      else if (status === 0) assert.equal(String(raw.got).includes(' 101 '), false);
      else assert.match(String(raw.got), new RegExp(`^HTTP/1.1 ${status} `));
    },
  };
}

/** Frames behind a CONNECT; `code`: of the closing frame. */
function refusedFrames(name: string, code: number, ...frames: readonly Uint8Array[]): AttackCase {
  return {
    of: 'A10',
    name,
    run: async (attack) => {
      const raw = new Raw(attack.lab.port(attack.kind));
      if (attack.kind === 'tcp') {
        for (const one of frames) raw.socket.write(one);
        // Not all of these frames are a wrong first byte: their end is enough.
        raw.socket.end();
        await within('the node closes', raw.closed);
        assert.equal(raw.got.length, 0);
        return;
      }
      await raw.upgraded();
      raw.socket.write(frame(2, connect));
      await raw.until('CONNACK', () => raw.frames.includes(connackFrame));
      for (const one of frames) raw.socket.write(one);
      await raw.until('a closing frame', () => closeCode(raw.frames) > 0);
      assert.equal(closeCode(raw.frames), code);
      raw.socket.write(frame(8, bytes(0x03, 0xe8)));
      await within('the node closes', raw.closed);
    },
  };
}

function closeCode(frames: Buffer): number {
  const at = frames.indexOf(0x88);
  if (at < 0 || at + 1 === frames.length) return 0;
  // 1005: none is there.
  if (frames[at + 1] === 0) return 1005;
  return at + 4 > frames.length ? 0 : frames.readUInt16BE(at + 2);
}

/** It is odd, and allowed. */
function fineFrames(name: string, run: (raw: Raw, attack: Attack) => Promise<void>): AttackCase {
  return {
    of: 'A10',
    name,
    only: 'ws',
    run: async (attack) => {
      const raw = new Raw(attack.lab.port('ws'));
      try {
        await raw.upgraded();
        await run(raw, attack);
      } finally {
        raw.socket.destroy();
      }
    },
  };
}

const pingreq = bytes(0xc0, 0);
const pingresp = Buffer.from([0xd0, 0]);

const refusals: readonly AttackCase[] = [
  refusedUpgrade('another path', upgrade({ path: '/admin' }), 404),
  refusedUpgrade('a path that climbs', upgrade({ path: '/mqtt/../../etc/passwd' }), 404),
  refusedUpgrade('no sub-protocol', upgrade({ protocols: '' }), 400),
  refusedUpgrade('a wrong sub-protocol', upgrade({ protocols: 'chat, soap' }), 400),
  refusedUpgrade('a sub-protocol in capitals', upgrade({ protocols: 'MQTT' }), 400),
  refusedUpgrade('version 12 of the protocol', upgrade({ version: '12' }), 0),
  refusedUpgrade('no key', upgrade({ key: '' }), 0),
  refusedUpgrade('a key of the wrong length', upgrade({ key: 'Sec-WebSocket-Key: eA==' }), 0),
  refusedUpgrade('a plain GET', 'GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n', 426),
  refusedUpgrade('POST with a body', 'POST /mqtt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello', 426),
  refusedUpgrade('17 KiB of headers', upgrade({ lines: [`X-Long: ${'a'.repeat(17 * 1024)}`] }), 0),
  refusedUpgrade('3,000 headers', upgrade({ lines: Array.from({ length: 3_000 }, (_, i) => `X-${i}: a`) }), 0),
  refusedUpgrade('two lengths of a body', 'POST /mqtt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello', 0),
  refusedUpgrade('no HTTP', '\0\0\0\0\r\n\r\n', 0),
];

const frames: readonly AttackCase[] = [
  refusedFrames('text', 1003, frame(1, 'hello')),
  refusedFrames('text that is not UTF-8', 1007, frame(1, bytes(0xc3, 0x28))),
  refusedFrames('without a mask', 1002, frame(2, pingreq, { masked: false })),
  refusedFrames('a ping in fragments', 1002, frame(9, 'p', { fin: false })),
  refusedFrames('a ping of 126 bytes', 1002, frame(9, 'p'.repeat(126))),
  refusedFrames('a reserved bit', 1002, frame(2, pingreq, { reserved: 0x40 })),
  refusedFrames('a reserved kind', 1002, frame(3, pingreq)),
  refusedFrames('a reserved control kind', 1002, frame(0xb, '')),
  refusedFrames('a continuation of nothing', 1002, frame(0, pingreq)),
  refusedFrames('a new message within another', 1002, frame(2, pingreq, { fin: false }), frame(2, pingreq)),
  refusedFrames('2 MiB announced', 1009, frame(2, '', { length: 2 * 1024 * 1024 })),
  refusedFrames('2^53 bytes announced', 1009, frame(2, '', { length: 2n ** 53n })),
  refusedFrames('2^64-1 bytes announced', 1009, frame(2, '', { length: 2n ** 64n - 1n })),
  refusedFrames(
    'fragments beyond the bound',
    1009,
    ...Array.from({ length: 20 }, (_, i) => frame(i === 0 ? 2 : 0, new Uint8Array(60 * 1024), { fin: false })),
  ),
  refusedFrames('a close of one byte', 1002, frame(8, 'x')),
  refusedFrames('a close with code 1005', 1002, frame(8, bytes(0x03, 0xed))),
  refusedFrames('a close whose reason is not UTF-8', 1007, frame(8, bytes(0x03, 0xe8, 0xc3, 0x28))),
  refusedFrames('a malformed packet in a good frame', 1005, frame(2, bytes(0x36, 0))),
];

const fine: readonly AttackCase[] = [
  fineFrames('CONNECT in fragments of one byte with pings between', async (raw) => {
    [...connect].forEach((byte, i) => {
      raw.socket.write(frame(i === 0 ? 2 : 0, bytes(byte), { fin: i === connect.length - 1 }));
      raw.socket.write(frame(9, 'p'));
    });
    await raw.until('CONNACK', () => raw.frames.includes(connackFrame));
  }),
  fineFrames('10,000 empty fragments', async (raw) => {
    raw.socket.write(frame(2, connect));
    raw.socket.write(frame(2, '', { fin: false }));
    for (let i = 0; i < 10_000; i++) raw.socket.write(frame(0, '', { fin: false }));
    raw.socket.write(frame(0, pingreq));
    await raw.until('PINGRESP', () => raw.frames.includes(pingresp));
  }),
  fineFrames('5,000 pings whose pongs are not read', async (raw, attack) => {
    raw.socket.write(frame(2, connect));
    raw.socket.pause();
    const ping = frame(9, 'p'.repeat(125));
    for (let i = 0; i < 5_000; i++) raw.socket.write(ping);
    await attack.lab.witness();
    raw.socket.resume();
    raw.socket.write(frame(2, pingreq));
    await raw.until('PINGRESP', () => raw.frames.includes(pingresp));
  }),
  fineFrames('two packets in a message, one packet in two messages', async (raw) => {
    raw.socket.write(frame(2, bytes(connect, pingreq)));
    raw.socket.write(frame(2, pingreq.subarray(0, 1)));
    raw.socket.write(frame(2, pingreq.subarray(1)));
    await raw.until('two PINGRESP', () => raw.frames.indexOf(pingresp, raw.frames.indexOf(pingresp) + 1) > 0);
  }),
  fineFrames('compression is offered and declined', async (raw) => {
    assert.equal(String(raw.got).includes('permessage-deflate'), false);
    const other = new Raw(raw.socket.remotePort ?? 0);
    await other.upgraded({ lines: ['Sec-WebSocket-Extensions: permessage-deflate'] });
    assert.equal(String(other.got).includes('permessage-deflate'), false);
    other.socket.destroy();
  }),
  fineFrames('a PUBLISH behind the closing frame has no effect', async (raw, attack) => {
    const hears = await attack.connect({ clientId: 'hears' });
    hears.send({
      type: 'subscribe',
      packetId: 1,
      subscriptions: [{ topicFilter: 'own/late', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
    });
    await hears.next('suback');
    raw.socket.write(bytes(frame(2, connect), frame(8, bytes(3, 0xe8)), frame(2, encode(publish('own/late'), 5))));
    await within('the node closes', raw.closed);
    assert.deepEqual(await hears.alive(), []);
  }),
];

export const webSocketCases: readonly AttackCase[] = [...refusals, ...frames, ...fine];

/** Behind `websocket.check_origin_enable`. */
export const originCases: readonly AttackCase[] = ['https://evil.example', 'null', 'https://good.example.evil.example', 'HTTPS://GOOD.EXAMPLE/'].map(
  (origin) => refusedUpgrade(`from a page of ${origin}`, upgrade({ lines: [`Origin: ${origin}`] }), 403),
);
