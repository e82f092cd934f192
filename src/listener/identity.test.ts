import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CertificateField, Connection } from '#env/net.js';
import type { ConnectPacket } from '#mqtt/packet.js';
import { identify, identityOf } from './identity.js';

function connection(fields: Partial<Record<CertificateField, string>> | undefined): Connection {
  const net: Partial<Connection> = { certificateField: (field) => (fields === undefined ? undefined : (fields[field] ?? '')) };
  return net as Connection;
}

function packet(more: Partial<ConnectPacket> = {}): ConnectPacket {
  return { type: 'connect', protocolVersion: 5, clientId: 'mine', username: 'me', cleanStart: true, keepAlive: 0, ...more };
}

const both = { username: 'cn', clientId: 'dn' } as const;

test('the certificate takes the place of what CONNECT says', () => {
  const p = packet();
  identify(p, connection({ cn: 'device 7', dn: 'CN=device 7,O=Works' }), both);
  assert.equal(p.username, 'device 7');
  assert.equal(p.clientId, 'CN=device 7,O=Works');
  assert.equal(p.clientIdAssigned, true);
});

test('only what the options name', () => {
  const p = packet();
  identify(p, connection({ cn: 'device 7' }), { username: undefined, clientId: 'cn' });
  assert.equal(p.username, 'me');
  assert.equal(p.clientId, 'device 7');
  const q = packet();
  identify(q, connection({ cn: 'device 7' }), { ...both, username: 'cn', clientId: undefined });
  assert.equal(q.username, 'device 7');
  assert.equal(q.clientId, 'mine');
  assert.equal(q.clientIdAssigned, undefined);
});

test('a certificate without the field leaves no name; no certificate leaves what CONNECT says', () => {
  const p = packet();
  identify(p, connection({}), both);
  assert.equal(p.username, undefined);
  assert.equal(p.clientId, '');
  assert.equal(p.clientIdAssigned, false);
  for (const net of [connection(undefined), {} as Connection]) {
    const q = packet();
    identify(q, net, both);
    assert.deepEqual(q, packet());
  }
});

test('a client identifier that is the same already was not assigned', () => {
  const p = packet({ clientId: 'device 7' });
  identify(p, connection({ cn: 'device 7' }), { ...both, username: undefined, clientId: 'cn' });
  assert.equal(p.clientIdAssigned, undefined);
});

test('the user name takes the place of the client identifier where that is wanted, unless the certificate names it', () => {
  const wanted = { username: undefined, clientId: undefined, usernameAsClientId: true };
  const p = packet();
  identify(p, {} as Connection, wanted);
  assert.deepEqual([p.clientId, p.clientIdAssigned], ['me', true]);
  const q = packet({ username: '' });
  identify(q, {} as Connection, wanted);
  assert.deepEqual([q.clientId, q.clientIdAssigned], ['mine', undefined]);
  const r = packet();
  identify(r, connection({ cn: 'device 7' }), { ...wanted, username: 'cn' });
  assert.deepEqual([r.username, r.clientId], ['device 7', 'device 7']);
  const s = packet();
  identify(s, connection({ cn: 'device 7' }), { ...wanted, clientId: 'cn' });
  assert.deepEqual([s.username, s.clientId], ['me', 'device 7']);
  assert.equal(identityOf(wanted), wanted);
  assert.equal(identityOf({ ...wanted, usernameAsClientId: false }), undefined);
});
