// Random bytes at every kind of listener, at every stage: nobody else notices, and nothing stays behind.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import type { Listener } from '#listener/listener.js';
import { connectBytes, ended, Harness, type Kind, kinds, messages, portOf } from './harness.js';

let harness: Harness;

before(() => {
  harness = new Harness();
});
after(() => harness.close());

const upgrade = Buffer.from(
  'GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n',
);

/** What a stage expects, so that the random bytes get beyond it. */
const beginnings: readonly Uint8Array[] = [
  Buffer.alloc(0),
  connectBytes('random'),
  upgrade,
  Buffer.from('PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n'),
  Buffer.from([22, 3, 1]),
];

async function throwBytes(listener: Listener, begin: Uint8Array, bytes: Uint8Array, secure: boolean): Promise<void> {
  const raw = harness.raw(listener);
  const stream = secure ? tlsConnect({ socket: raw, rejectUnauthorized: false }) : raw;
  stream.on('error', () => {});
  const end = ended(stream);
  stream.write(begin);
  stream.end(bytes);
  await end;
}

for (const kind of kinds) {
  test(`${kind}: random bytes`, async () => {
    for (const proxyProtocolTimeoutMs of [undefined, 2_000]) {
      const listener = await harness.listen(kind, { id: `${kind}:${proxyProtocolTimeoutMs}`, proxyProtocolTimeoutMs, handshakeTimeoutMs: 2_000 });
      const one = fc.tuple(fc.constantFrom(...beginnings), fc.uint8Array({ maxLength: 200 }));
      await fc.assert(
        fc.asyncProperty(one, async ([begin, bytes]) => {
          await throwBytes(listener, begin, bytes, false);
          const inside = (kind === 'ssl' || kind === 'wss') && proxyProtocolTimeoutMs === undefined;
          if (inside) await throwBytes(listener, begin, bytes, true);
        }),
        { numRuns: 40 },
      );
      if (proxyProtocolTimeoutMs !== undefined) continue;
      await healthy(kind, listener);
      assert.equal(listener.connectionCount, 0);
    }
  });
}

for (const kind of ['ws', 'wss'] as const) {
  test(`${kind}: random messages, and random bytes for frames`, async () => {
    const listener = await harness.listen(kind);
    const message = fc.record({ bytes: fc.uint8Array({ maxLength: 100 }), connected: fc.boolean(), asFrame: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(message, async ({ bytes, connected, asFrame }) => {
        const socket = new WebSocket(`${kind}://127.0.0.1:${portOf(listener)}/mqtt`, ['mqtt'], { rejectUnauthorized: false });
        socket.on('error', () => {});
        const closed = once(socket, 'close');
        await once(socket, 'open');
        if (connected) socket.send(connectBytes('random'));
        if (asFrame) streamOf(socket).write(bytes);
        else socket.send(bytes);
        socket.close();
        streamOf(socket).end();
        await closed;
      }),
      { numRuns: 40 },
    );
    await healthy(kind, listener);
  });
}

/** The connection below a WebSocket. */
function streamOf(socket: WebSocket): Socket {
  return (socket as unknown as { readonly _socket: Socket })._socket;
}

async function healthy(kind: Kind, listener: Listener): Promise<void> {
  const client = await harness.connect(kind, listener, { clientId: `${kind}-healthy` });
  await client.subscribeAsync('healthy', { qos: 1 });
  const got = messages(client, 1);
  await client.publishAsync('healthy', 'yes', { qos: 1 });
  assert.equal(String((await got)[0]?.payload), 'yes');
  const gone = new Promise<void>((resolve) => {
    const look = (): void => {
      if (listener.connectionCount === 0) resolve();
      else setImmediate(look);
    };
    client.end(false, look);
  });
  await gone;
}
