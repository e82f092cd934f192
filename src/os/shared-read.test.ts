import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket, connect as tcpConnect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { SharedReads } from './shared-read.js';

interface Reader {
  readonly socket: Socket;
  readonly chunks: Uint8Array[];
  /** Bytes so far. */
  length: number;
  /** Runs after each chunk. */
  onChunk: () => void;
}

type Way = 'of its own' | 'lent';
const ways: readonly Way[] = ['of its own', 'lent'];

function got(reader: Reader, chunk: Uint8Array): void {
  reader.chunks.push(chunk);
  reader.length += chunk.length;
  reader.onChunk();
}

/** A server whose sockets are read together, and one client of it after the other. `lent`: past the socket, where the bytes were read. */
async function serving(t: TestContext, way: Way): Promise<() => Promise<readonly [client: Socket, reader: Reader]>> {
  const readers = new Map<Socket, Reader>();
  const reads = new SharedReads<Socket>(function (chunk) {
    const reader = readers.get(this);
    assert.ok(reader !== undefined, 'of a socket nobody knows');
    assert.equal(way, 'of its own');
    got(reader, chunk);
  });
  const server = createServer({ highWaterMark: 256 * 1024 });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return async () => {
    const accepted = once(server, 'connection');
    const client = tcpConnect((server.address() as AddressInfo).port, '127.0.0.1');
    const [socket] = (await accepted) as [Socket];
    t.after(() => {
      client.destroy();
      socket.destroy();
    });
    const reader: Reader = { socket, chunks: [], length: 0, onChunk: () => {} };
    readers.set(socket, reader);
    assert.equal(reads.share(socket), true, 'this Node has no shared reads');
    if (way === 'lent') reads.give(socket, { onLent: (bytes, start, end) => got(reader, bytes.slice(start, end)) });
    return [client, reader];
  };
}

function patterned(length: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) + seed) & 255));
}

function read(reader: Reader, length: number): Promise<void> {
  return new Promise((resolve) => {
    reader.onChunk = () => {
      if (reader.length >= length) resolve();
    };
    reader.onChunk();
  });
}

for (const way of ways)
  test(`shared reads: every socket gets its bytes, and no later read changes them, ${way}`, async (t) => {
    const next = await serving(t, way);
    const pairs = [await next(), await next(), await next()];
    const sent = pairs.map((): Buffer[] => []);
    // Around the bounds below which chunks are copied in a loop, share memory, and have their own; and more than one read.
    const lengths = [1, 2, 95, 96, 97, 4000, 8191, 8192, 8193, 65_535, 65_536, 65_537, 300_000];
    let expected = 0;
    for (const [round, length] of lengths.entries()) {
      expected += length;
      for (const [i, [client]] of pairs.entries()) {
        const bytes = patterned(length, round * 7 + i);
        (sent[i] as Buffer[]).push(bytes);
        client.write(bytes);
      }
      await Promise.all(pairs.map(([, reader]) => read(reader, expected)));
    }
    for (const [i, [, reader]] of pairs.entries()) assert.ok(Buffer.concat(reader.chunks).equals(Buffer.concat(sent[i] as Buffer[])));
  });

for (const way of ways)
  test(`shared reads: a socket that is paused within a chunk gets no other until it is resumed, ${way}`, async (t) => {
    const next = await serving(t, way);
    const [client, reader] = await next();
    const bytes = patterned(600_000, 3);
    const paused = new Promise<void>((resolve) => {
      reader.onChunk = () => {
        reader.socket.pause();
        resolve();
      };
    });
    client.write(bytes);
    await paused;
    const { length } = reader;
    assert.ok(length > 0 && length < bytes.length);
    // Others are read meanwhile.
    const [other, reading] = await next();
    for (let i = 1; i <= 3; i++) {
      other.write('abc');
      await read(reading, 3 * i);
    }
    assert.equal(reader.length, length);
    const whole = read(reader, bytes.length);
    reader.socket.resume();
    await whole;
    assert.ok(Buffer.concat(reader.chunks).equals(bytes));
  });

for (const way of ways)
  test(`shared reads: the end of the peer and a reset end the socket, ${way}`, async (t) => {
    const next = await serving(t, way);
    const [ending, orderly] = await next();
    const closed = once(orderly.socket, 'close');
    ending.end('bye');
    assert.deepEqual(await closed, [false]);
    assert.equal(Buffer.concat(orderly.chunks).toString(), 'bye');
    const [resetting, broken] = await next();
    const failed = once(broken.socket, 'error');
    const gone = new Promise((resolve) => broken.socket.once('close', resolve));
    resetting.resetAndDestroy();
    const [error] = (await failed) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    assert.equal(await gone, true);
  });

test('shared reads: a socket without a handle is left as it is', async (t) => {
  const next = await serving(t, 'of its own');
  const [client] = await next();
  client.destroy();
  assert.equal(new SharedReads<Socket>(() => {}).share(client), false);
});
test('shared reads: nobody takes what is lent any more, and the socket says what it reads again', async (t) => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const told: string[] = [];
  let onTold = (): void => {};
  const tell = (how: string, bytes: Uint8Array): void => {
    told.push(`${how} ${Buffer.from(bytes).toString()}`);
    onTold();
  };
  const reads = new SharedReads<Socket>((chunk) => tell('own', chunk));
  const accepted = once(server, 'connection');
  const client = tcpConnect((server.address() as AddressInfo).port, '127.0.0.1');
  const [socket] = (await accepted) as [Socket];
  t.after(() => client.destroy());
  assert.equal(reads.share(socket), true);
  for (const [i, how] of ['own', 'lent', 'own', 'lent'].entries()) {
    reads.give(socket, how === 'own' ? undefined : { onLent: (bytes, start, end) => tell('lent', bytes.subarray(start, end)) });
    const next = new Promise<void>((resolve) => {
      onTold = resolve;
    });
    client.write(`${i}`);
    await next;
  }
  assert.deepEqual(told, ['own 0', 'lent 1', 'own 2', 'lent 3']);
  const closed = once(socket, 'close');
  client.end();
  await closed;
  reads.give(socket, undefined);
});
