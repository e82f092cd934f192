import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { makeSockets } from './accepted-socket.js';

const options = { noDelay: true, highWaterMark: 4096 };

async function listening(t: TestContext, accept: (s: Socket) => void): Promise<Server> {
  const server = createServer(options, accept);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return server;
}

function dial(t: TestContext, server: Server): Socket {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  t.after(() => socket.destroy());
  return socket;
}

function count(server: Server): Promise<number> {
  return new Promise((resolve, reject) => server.getConnections((error, n) => (error === null ? resolve(n) : reject(error))));
}

test('a socket is one as the server makes it: both ways, high-water mark, end, and the count of connections', async (t) => {
  const of = async (own: boolean): Promise<unknown[]> => {
    const seen: unknown[] = [];
    const server = await listening(t, () => {});
    if (own) assert.equal(makeSockets(server, options), true);
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const client = dial(t, server);
    const [socket] = await accepted;
    // Looked at here: a server that has counted wrongly never closes.
    assert.equal(await count(server), 1);
    seen.push(socket.readableHighWaterMark, socket.writableHighWaterMark, socket.allowHalfOpen, socket.remoteAddress);
    socket.write('hello');
    seen.push(String((await once(client, 'data'))[0]));
    client.write('hallo');
    seen.push(String((await once(socket, 'data'))[0]));
    seen.push(Object.getOwnPropertyNames(socket).sort());
    // Its peer's end ends it.
    client.end();
    await Promise.all([once(client, 'close'), once(socket, 'close')]);
    assert.equal(await count(server), 0);
    seen.push(socket.destroyed);
    const stopped = once(server, 'close');
    server.close();
    await stopped;
    return seen;
  };
  assert.deepEqual(await of(true), await of(false));
});

test('a peer that ends gets what it was sent before, all of it, and an orderly end', async (t) => {
  const server = await listening(t, (s) => {
    // What it is sent waits for the end: much more than the system takes at once.
    s.on('data', () => s.write(Buffer.alloc(8 * 1024 * 1024, 0x78)));
    s.on('error', assert.fail);
  });
  assert.equal(makeSockets(server, options), true);
  const client = dial(t, server);
  client.on('error', assert.fail);
  let bytes = 0;
  client.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  client.end('now');
  await once(client, 'end');
  assert.equal(bytes, 8 * 1024 * 1024);
});

test('one that ends before its peer says so, and reads on', async (t) => {
  const received: Buffer[] = [];
  const server = await listening(t, (s) => {
    s.on('data', (chunk) => received.push(chunk));
    s.end('bye');
  });
  assert.equal(makeSockets(server, options), true);
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  t.after(() => client.destroy());
  const [socket] = await accepted;
  client.resume();
  await once(client, 'end', { signal: AbortSignal.timeout(10_000) });
  client.end('and you');
  await once(socket, 'close');
  assert.equal(String(Buffer.concat(received)), 'and you');
});

test('no delay where it is wanted', async (t) => {
  for (const noDelay of [true, false]) {
    const server = await listening(t, () => {});
    assert.equal(makeSockets(server, { ...options, noDelay }), true);
    const client = dial(t, server);
    await once(client, 'connect');
    const handle = (client as unknown as { _handle: { setNoDelay: (on: boolean) => number } })._handle;
    const called = t.mock.method(Object.getPrototypeOf(handle) as typeof handle, 'setNoDelay');
    const accepted = once(server, 'connection');
    dial(t, server);
    await accepted;
    assert.deepEqual(
      called.mock.calls.map((c) => c.arguments),
      noDelay ? [[true]] : [],
    );
    called.mock.restore();
  }
});

test('a limit of the server holds', async (t) => {
  const sockets: Socket[] = [];
  const server = await listening(t, (s) => sockets.push(s));
  server.maxConnections = 1;
  assert.equal(makeSockets(server, options), true);
  const first = dial(t, server);
  await Promise.all([once(first, 'connect'), once(server, 'connection')]);
  const tooMany = once(server, 'connection').then(() => assert.fail('a second connection'));
  await Promise.race([Promise.all([once(server, 'drop'), once(dial(t, server), 'close')]), tooMany]);
  assert.equal(sockets.length, 1);
});

test('a Node that does it otherwise does it', async (t) => {
  assert.equal(makeSockets(createServer(), options), false);
  const server = await listening(t, () => {});
  const handle = (server as unknown as { _handle: { onconnection: (this: unknown, status: number, client: unknown) => void } })._handle;
  const calls: unknown[] = [];
  handle.onconnection = (status, client) => calls.push([status, client]);
  const original = handle.onconnection;
  assert.equal(makeSockets(server, options), true);
  // What no socket can be made of, and a failure to accept.
  handle.onconnection(-24, undefined);
  assert.deepEqual(calls, [[-24, undefined]]);
  assert.notEqual(handle.onconnection, original);
});
