// The PROXY header in front of every kind of listener: addresses, names, headers in pieces, and what is
// closed for having none.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { WebSocket } from 'ws';
import type { Listener } from '#listener/listener.js';
import { makeCertificate } from './certificates.js';
import { connackBytes, connectBytes, ended, firstBytes, Harness, type Kind, kinds } from './harness.js';

let harness: Harness;
const listeners = new Map<Kind, Listener>();

before(async () => {
  harness = new Harness();
  for (const kind of kinds) listeners.set(kind, await harness.listen(kind, { proxyProtocolTimeoutMs: 10_000 }));
});
after(() => harness.close());

function of(kind: Kind): Listener {
  const listener = listeners.get(kind);
  assert.ok(listener !== undefined);
  return listener;
}

const line = Buffer.from('PROXY TCP4 203.0.113.9 10.0.0.2 45678 1883\r\n');

function value(type: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([type, 0, bytes.length]), bytes]);
}

/** Version 2 from 2001:db8::9, with the common name that the proxy has verified. */
function binary(commonName?: string): Buffer {
  const source = Buffer.from('20010db8000000000000000000000009', 'hex');
  const addresses = Buffer.concat([source, source, Buffer.from('b26e075b', 'hex')]);
  const ssl = commonName === undefined ? [] : [value(0x20, Buffer.concat([Buffer.from([3, 0, 0, 0, 0]), value(0x22, Buffer.from(commonName))]))];
  const body = Buffer.concat([addresses, ...ssl]);
  return Buffer.concat([Buffer.from('0d0a0d0a000d0a515549540a2121', 'hex'), Buffer.from([0, body.length]), body]);
}

/** MQTT over a socket that has sent its header; what the first CONNECT is answered. */
async function greet(kind: Kind, raw: Socket, clientId: string): Promise<Buffer> {
  const secure = kind === 'ssl' || kind === 'wss';
  const stream = secure ? tlsConnect({ socket: raw, ca: harness.authority.cert, servername: 'localhost' }) : raw;
  if (kind === 'tcp' || kind === 'ssl') {
    stream.write(connectBytes(clientId));
    return firstBytes(stream, 4);
  }
  const socket = new WebSocket('ws://localhost/mqtt', ['mqtt'], { createConnection: () => stream });
  await once(socket, 'open');
  const got = once(socket, 'message');
  socket.send(connectBytes(clientId));
  const [data] = await got;
  return data as Buffer;
}

for (const kind of kinds) {
  test(`${kind}: the client's address is the one that the proxy names`, async () => {
    const first = harness.raw(of(kind));
    first.write(line);
    assert.deepEqual(await greet(kind, first, `${kind}-v1`), connackBytes);
    assert.equal(harness.broker.client(`${kind}-v1`)?.peer, '203.0.113.9:45678');
    const second = harness.raw(of(kind));
    second.write(binary());
    assert.deepEqual(await greet(kind, second, `${kind}-v2`), connackBytes);
    assert.equal(harness.broker.client(`${kind}-v2`)?.peer, '[2001:db8::9]:45678');
    const local = harness.raw(of(kind));
    local.write('PROXY UNKNOWN\r\n');
    assert.deepEqual(await greet(kind, local, `${kind}-unknown`), connackBytes);
    assert.equal(harness.broker.client(`${kind}-unknown`)?.peer, `127.0.0.1:${local.localPort}`);
    for (const socket of [first, second, local]) socket.destroy();
  });
}

test('header and CONNECT in two pieces, however they are cut', async () => {
  for (const header of [line, binary('x')]) {
    const bytes = Buffer.concat([header, connectBytes('cut')]);
    for (let cut = 1; cut < bytes.length; cut += 7) {
      const raw = harness.raw(of('tcp'));
      raw.setNoDelay(true);
      await once(raw, 'connect');
      raw.write(bytes.subarray(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      raw.write(bytes.subarray(cut));
      assert.deepEqual(await firstBytes(raw, 4), connackBytes, `cut at ${cut}`);
      raw.destroy();
    }
  }
});

test('the common name that the proxy has verified names the client; its own certificate wins', async () => {
  const identity = { username: 'cn', clientId: undefined } as const;
  const behind = await harness.listen('tcp', { proxyProtocolTimeoutMs: 10_000, identity });
  const named = harness.raw(behind);
  named.write(binary('behind-proxy'));
  assert.deepEqual(await greet('tcp', named, 'named'), connackBytes);
  assert.equal(harness.broker.client('named')?.username, 'behind-proxy');
  const tls = harness.tls('server', { verify: 'verify_peer', failIfNoPeerCert: true });
  const both = await harness.listen('ssl', { proxyProtocolTimeoutMs: 10_000, identity, tls });
  const raw = harness.raw(both);
  raw.write(binary('behind-proxy'));
  const { cert, key } = makeCertificate({ name: [['CN', 'own']], by: harness.authority });
  const stream = tlsConnect({ socket: raw, ca: harness.authority.cert, servername: 'localhost', cert, key });
  stream.write(connectBytes('own'));
  assert.deepEqual(await firstBytes(stream, 4), connackBytes);
  assert.equal(harness.broker.client('own')?.username, 'own');
  named.destroy();
  stream.destroy();
});

test('where no proxy is configured its header is not believed', async () => {
  const open = await harness.listen('tcp');
  const raw = harness.raw(open);
  raw.write(Buffer.concat([line, connectBytes('forger')]));
  assert.equal((await ended(raw)).length, 0);
  assert.equal(harness.broker.client('forger'), undefined);
});

test('no header, a wrong one, or half of one closes the connection, and is counted', async () => {
  const id = 'tcp:behind';
  const listener = await harness.listen('tcp', { id, proxyProtocolTimeoutMs: 50 });
  const failed = (reason: string): number => harness.metric('starmesh_failed_handshakes', { listener: id, reason });
  for (const bytes of [connectBytes('x'), Buffer.from('PROXY TCP4 1.1.1.1\r\n'), binary().fill(0xff, 12, 13), Buffer.alloc(200_000, 0x50)]) {
    const raw = harness.raw(listener);
    raw.write(bytes);
    assert.equal((await ended(raw)).length, 0);
  }
  assert.equal(failed('proxy_protocol'), 4);
  const half = harness.raw(listener);
  half.write(line.subarray(0, 20));
  await ended(half);
  await ended(harness.raw(listener));
  assert.equal(failed('timeout'), 2);
  assert.equal(listener.connectionCount, 0);
});
