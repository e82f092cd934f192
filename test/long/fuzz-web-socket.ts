// What a WebSocket client may send, from the PROXY header to its last frame, made by the grammar, whole or damaged, in
// pieces, through the acceptor over streams in memory. What was made whole is delivered as it was meant; every
// connection ends with its peer, once; nobody hears of anything else.
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { constants, deflateRawSync } from 'node:zlib';
import type { Prng } from '#base/prng.js';
import type { Connection } from '#env/net.js';
import { Acceptor } from '#os/acceptor.js';
import { damaged, hex, latin, type Outcome, pieces, type Tally, watched } from './fuzz-bytes.js';

const messageBytesMax = 16 * 1024;

/** A peer's end of a connection, as the acceptor sees a socket. */
class PeerSocket extends Duplex {
  readonly remoteAddress = '10.0.0.9';
  readonly remotePort = 4_000;
  readonly localAddress = '10.0.0.1';
  bytesRead = 0;

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }

  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  destroySoon(): void {
    this.end(() => this.destroy());
  }

  send(bytes: Uint8Array): void {
    this.bytesRead += bytes.length;
    // Whoever takes the mask off a frame does it in place.
    if (!this.destroyed) this.push(Buffer.from(bytes));
  }
}

// ---- the grammar ----

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

function frame(p: Prng, opcode: number, payload: Uint8Array, more: { readonly fin?: boolean; readonly compressed?: boolean } = {}): Buffer {
  const n = payload.length;
  const size = n < 126 ? [n] : n < 65_536 ? [126, n >> 8, n & 255] : [127, 0, 0, 0, 0, n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
  const mask = p.bytes(4);
  const first = (more.fin === false ? 0 : 0x80) | (more.compressed === true ? 0x40 : 0) | opcode;
  return Buffer.concat([
    Buffer.from([first, 0x80 | (size[0] as number), ...size.slice(1)]),
    mask,
    payload.map((b, i) => b ^ (mask[i & 3] as number)),
  ]);
}

interface Made {
  readonly bytes: Buffer;
  /** What the handler is to get. */
  readonly delivered: Buffer;
}

/** Without the empty block at its end, which its receiver adds: section 7.2.1 of RFC 7692. */
function deflated(payload: Uint8Array): Buffer {
  const out = deflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH });
  return out.subarray(out.length - 4).equals(Buffer.from([0, 0, 0xff, 0xff])) ? out.subarray(0, -4) : Buffer.concat([out, Buffer.from([0])]);
}

function message(p: Prng, compress: boolean): Made {
  const payload = p.bytes(p.chance(0.1) ? p.int(5_000) : p.int(200));
  const compressed = compress && p.chance(0.5);
  const body = compressed ? deflated(payload) : payload;
  const frames: Buffer[] = [];
  let opcode: number = opcodes.binary;
  for (let at = 0, first = true; first || at < body.length; first = false) {
    const n = p.chance(0.6) ? body.length : p.int(body.length + 1);
    const part = body.subarray(at, at + n);
    at += part.length;
    frames.push(frame(p, opcode, part, { fin: at >= body.length, compressed: compressed && first }));
    opcode = opcodes.continuation;
    if (at >= body.length) break;
    if (p.chance(0.2)) frames.push(frame(p, p.pick([opcodes.ping, opcodes.pong]), p.bytes(p.int(126))));
  }
  return { bytes: Buffer.concat(frames), delivered: Buffer.from(payload) };
}

function head(p: Prng, compress: boolean): Buffer {
  const key = Buffer.from(p.bytes(16)).toString('base64');
  const lines = [
    'GET /mqtt HTTP/1.1',
    'Host: x',
    `Connection: ${p.pick(['Upgrade', 'upgrade', 'keep-alive, Upgrade'])}`,
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${key}`,
    `Sec-WebSocket-Protocol: ${p.pick(['mqtt', 'mqttv3.1, mqtt', 'x, mqtt'])}`,
  ];
  if (compress) lines.push('Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits');
  if (p.chance(0.3)) lines.push(`Cookie: ${'c'.repeat(p.int(500))}`);
  return latin(`${lines.join('\r\n')}\r\n\r\n`);
}

/** Requests and frames that are not what they should be, without damage. */
function odd(p: Prng): Buffer {
  return p.pick<() => Buffer>([
    () => latin('GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(p.range(1, 5))),
    () => latin(`POST /mqtt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`),
    () => latin(`GET /mqtt HTTP/1.1\r\n${'X-H: y\r\n'.repeat(p.int(3_000))}\r\n`),
    () => latin(`GET /${'a'.repeat(p.int(20_000))} HTTP/1.1\r\n\r\n`),
    () => latin('\r\n'.repeat(p.int(2_000))),
    () => Buffer.from(p.bytes(p.int(2_000))),
    () => Buffer.concat([head(p, false), frame(p, opcodes.text, latin('text'))]),
    () => Buffer.concat([head(p, false), Buffer.from([0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4])]),
    () => Buffer.concat([head(p, false), frame(p, opcodes.binary, new Uint8Array(messageBytesMax + 1))]),
    () => Buffer.concat([head(p, false), ...Array.from({ length: 300 }, () => frame(p, opcodes.ping, new Uint8Array(125)))]),
    () => Buffer.concat([head(p, false), ...Array.from({ length: 500 }, (_, i) => frame(p, i === 0 ? 2 : 0, new Uint8Array(0), { fin: false }))]),
    () => Buffer.concat([head(p, true), frame(p, opcodes.binary, deflateRawSync(new Uint8Array(4_000_000)), { compressed: true })]),
    () => Buffer.concat([head(p, true), frame(p, opcodes.binary, p.bytes(p.int(400)), { compressed: true })]),
    () => Buffer.concat([head(p, false), frame(p, opcodes.close, p.bytes(p.int(126)))]),
    () => Buffer.concat([head(p, false), frame(p, p.range(3, 15), p.bytes(p.int(300)), { fin: p.chance(0.5), compressed: p.chance(0.5) })]),
  ])();
}

function whole(p: Prng, proxy: boolean, compress: boolean): Made {
  const parts: Buffer[] = [];
  const delivered: Buffer[] = [];
  if (proxy) parts.push(latin('PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n'));
  parts.push(head(p, compress));
  for (let n = p.int(5); n > 0; n--) {
    const made = message(p, compress);
    parts.push(made.bytes);
    delivered.push(made.delivered);
  }
  return { bytes: Buffer.concat(parts), delivered: Buffer.concat(delivered) };
}

// ---- the run ----

class Ends {
  readonly got: Uint8Array[] = [];
  connections = 0;
  closed = 0;

  take(connection: Connection): void {
    this.connections++;
    connection.handler = {
      onData: (bytes) => this.got.push(bytes),
      onDrain: () => {},
      onClose: () => {
        this.closed++;
      },
    };
    connection.write(Uint8Array.of(0x20, 0x02, 0, 0));
  }
}

/** How long the longest turn of the event loop took, or what was done in one of its calls, on a machine that has other things to do. */
class Loop {
  ms = 0;

  call(run: () => void): void {
    const end = this.#begin();
    run();
    end();
  }

  turn(): Promise<void> {
    const end = this.#begin();
    return new Promise((done) =>
      setImmediate(() => {
        end();
        done();
      }),
    );
  }

  #begin(): () => void {
    const at = performance.now();
    const used = process.cpuUsage();
    return () => {
      const { user, system } = process.cpuUsage(used);
      this.ms = Math.max(this.ms, Math.min(performance.now() - at, (user + system) / 1_000));
    };
  }

  /** A turn or two for most; a compressed message takes a thread's time. */
  async until(met: () => boolean): Promise<boolean> {
    const end = performance.now() + waitMsMax;
    while (!met() && performance.now() < end) await this.turn();
    return met();
  }
}

const waitMsMax = 20_000;

export class WebSocketFuzz {
  readonly #acceptors = [false, true].flatMap((proxy) =>
    [false, true].map((compress) => ({ proxy, compress, acceptor: this.#acceptor(proxy, compress) })),
  );
  #ends = new Ends();

  #acceptor(proxy: boolean, compress: boolean): Acceptor {
    const webSocket = {
      path: '/mqtt',
      subprotocols: ['mqtt', 'mqttv3.1'],
      failIfNoSubprotocol: true,
      messageBytesMax,
      compress,
      origins: undefined,
      idleTimeoutMs: 60_000,
    };
    const options = proxy ? { webSocket, proxyProtocol: { timeoutMs: 60_000 } } : { webSocket };
    return new Acceptor(options, 65_536, (connection) => this.#ends.take(connection));
  }

  async run(prng: Prng, inputs: number, tally: Tally): Promise<void> {
    for (let i = 0; i < inputs; i++) {
      const { proxy, compress, acceptor } = prng.pick(this.#acceptors);
      const kind = prng.pick(['whole', 'damaged', 'damaged', 'odd'] as const);
      const made = kind === 'odd' ? { bytes: odd(prng), delivered: Buffer.alloc(0) } : whole(prng, proxy, compress);
      const bytes = kind === 'damaged' || (kind === 'odd' && prng.chance(0.3)) ? damaged(made.bytes, prng) : made.bytes;
      const chunks = pieces(bytes, prng);
      await watched(tally, bytes, () => this.#one(acceptor, chunks, kind === 'whole' ? made.delivered : undefined, bytes));
    }
  }

  /** A frame that is refused, and more behind it, while a compressed message is being unpacked: each a chunk of its own. */
  async refusedBehindCompressed(prng: Prng, tally: Tally): Promise<void> {
    const { acceptor } = this.#acceptors.find((a) => a.compress && !a.proxy) as { acceptor: Acceptor };
    const packed = frame(prng, opcodes.binary, deflated(new Uint8Array(messageBytesMax)), { compressed: true });
    const chunks = [head(prng, true), packed, packed, frame(prng, opcodes.close, Uint8Array.of(1, 0)), prng.bytes(100), prng.bytes(100)];
    const all = Buffer.concat(chunks);
    // So many are given without a turn in between.
    const more = Array.from({ length: 20 }, () => prng.bytes(10));
    await watched(tally, all, () => this.#one(acceptor, [...chunks, ...more], 'refused', all));
  }

  /** `expected`: what is to be delivered, or that the connection ends; undefined: the bytes are none that anybody meant. */
  async #one(acceptor: Acceptor, chunks: readonly Uint8Array[], expected: Buffer | 'refused' | undefined, bytes: Uint8Array): Promise<Outcome> {
    const ends = new Ends();
    const loop = new Loop();
    this.#ends = ends;
    const peer = new PeerSocket({ allowHalfOpen: false });
    acceptor.accept(peer as unknown as Socket);
    for (const chunk of chunks) {
      loop.call(() => peer.send(chunk));
      if (chunks.length < 20) await loop.turn();
    }
    const length = (): number => ends.got.reduce((n, b) => n + b.length, 0);
    if (expected === 'refused') await loop.until(() => ends.closed > 0);
    else if (expected !== undefined) {
      assert.ok(await loop.until(() => length() >= expected.length && ends.connections === 1), `not delivered: ${hex(bytes)}`);
      assert.ok(Buffer.concat(ends.got).equals(expected), `delivered otherwise: ${hex(bytes)}`);
      assert.equal(ends.closed, 0, `closed by us: ${hex(bytes)}`);
    } else for (let n = 0; n < 3; n++) await loop.turn();
    const verdict = peer.destroyed || ends.closed > 0 ? 'refused' : ends.connections > 0 ? 'taken' : 'waited for';
    if (!peer.destroyed) peer.push(null);
    await loop.turn();
    peer.destroy();
    assert.ok(await loop.until(() => peer.closed && ends.closed === ends.connections), `still open: ${hex(bytes)}`);
    assert.ok(ends.connections <= 1, hex(bytes));
    return { verdict, ms: loop.ms };
  }
}
