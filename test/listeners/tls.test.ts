// TLS: who is let in, who a certificate says they are, certificates that change, and what is said of bad ones.
import assert from 'node:assert/strict';
import { createHash, createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import type { CertificateField, NetError } from '#env/net.js';
import { Decoder, DecoderSettings } from '#mqtt/decoder.js';
import type { Packet } from '#mqtt/packet.js';
import { makeCertificate, type NameParts, writeCertificate } from './certificates.js';
import { connectBytes, ended, Harness, messages, portOf } from './harness.js';

let harness: Harness;

before(() => {
  harness = new Harness();
});
after(() => harness.close());

const device: NameParts = [
  ['C', 'DE'],
  ['O', 'Works, Inc.'],
  ['OU', 'Hall 7'],
  ['CN', 'device-ß'],
];

function client(name: NameParts = device): { cert: string; key: string } {
  const { cert, key } = makeCertificate({ name, by: harness.authority });
  return { cert, key };
}

test('the certificate names the client, by every field', async () => {
  const shown = client();
  const x509 = new X509Certificate(shown.cert);
  const expected: Readonly<Record<CertificateField, string>> = {
    cn: 'device-ß',
    dn: 'CN=device-ß,OU=Hall 7,O=Works\\, Inc.,C=DE',
    crt: x509.raw.toString('base64'),
    pem: x509.toString(),
    md5: createHash('md5').update(x509.raw).digest('hex'),
  };
  for (const kind of ['ssl', 'wss'] as const) {
    for (const field of ['cn', 'dn', 'crt', 'pem', 'md5'] as const) {
      const listener = await harness.listen(kind, {
        tls: harness.tls('server', { verify: 'verify_peer', failIfNoPeerCert: true }),
        identity: { username: field, clientId: undefined },
      });
      const clientId = `${kind}-${field}`;
      const mqtt = await harness.connect(kind, listener, { ...shown, clientId, username: 'root', password: 'x' });
      assert.equal(harness.broker.client(clientId)?.username, expected[field], clientId);
      await mqtt.endAsync();
    }
  }
});

test('the certificate gives the client identifier, and CONNACK says so', async () => {
  const listener = await harness.listen('ssl', {
    tls: harness.tls('server', { verify: 'verify_peer', failIfNoPeerCert: true }),
    identity: { username: undefined, clientId: 'cn' },
  });
  const socket = tlsConnect({ host: '127.0.0.1', port: portOf(listener), ca: harness.authority.cert, ...client() });
  socket.write(connectBytes('anything', 5));
  const connack = await new Promise<Packet>((resolve) => {
    const decoder = new Decoder(new DecoderSettings({ role: 'client', protocolVersion: 5 }));
    socket.on('data', (chunk) => void decoder.push(chunk, resolve));
  });
  assert.equal(connack.type === 'connack' ? connack.properties?.assignedClientIdentifier : undefined, 'device-ß'); // [MQTT-3.2.2-16]
  assert.equal(harness.broker.client('device-ß')?.connected, true);
  assert.equal(harness.broker.client('anything'), undefined);
  socket.destroy();
});

test('whose certificate must be there, and who signed it', async () => {
  const strict = await harness.listen('ssl', {
    id: 'ssl:strict',
    tls: harness.tls('server', { verify: 'verify_peer', failIfNoPeerCert: true }),
  });
  const lax = await harness.listen('ssl', { id: 'ssl:lax', tls: harness.tls('server', { verify: 'verify_peer' }) });
  const stranger = makeCertificate({ name: [['CN', 'stranger']] });
  const foreign = makeCertificate({ name: device, by: stranger });
  const expired = makeCertificate({ name: device, by: harness.authority, ends: new Date(Date.now() - 3_600_000) });
  for (const protocol of ['TLSv1.2', 'TLSv1.3'] as const) {
    const only = { minVersion: protocol, maxVersion: protocol };
    for (const listener of [strict, lax]) {
      await (await harness.connect('ssl', listener, { ...only, ...client(), clientId: 'good' })).endAsync();
      for (const { cert, key } of [foreign, stranger, expired]) {
        await assert.rejects(harness.connect('ssl', listener, { ...only, cert, key, clientId: 'bad' }), `${listener.id} ${protocol}`);
      }
    }
    await (await harness.connect('ssl', lax, { ...only, clientId: 'none' })).endAsync();
    await assert.rejects(harness.connect('ssl', strict, { ...only, clientId: 'none' }));
  }
  assert.equal(harness.metric('starmesh_failed_handshakes', { listener: 'ssl:strict', reason: 'tls' }), 8);
  assert.equal(harness.metric('starmesh_failed_handshakes', { listener: 'ssl:lax', reason: 'tls' }), 6);
  assert.equal(harness.broker.client('bad'), undefined);
});

test('without a certificate CONNECT stands; one without the field leaves no name', async () => {
  const lax = await harness.listen('ssl', {
    tls: harness.tls('server', { verify: 'verify_peer' }),
    identity: { username: 'cn', clientId: undefined },
  });
  const none = await harness.connect('ssl', lax, { clientId: 'no-certificate', username: 'me', password: 'x' });
  assert.equal(harness.broker.client('no-certificate')?.username, 'me');
  const nameless = await harness.connect('ssl', lax, { ...client([['O', 'Works']]), clientId: 'nameless', username: 'me', password: 'x' });
  assert.equal(harness.broker.client('nameless')?.username, undefined);
  await none.endAsync();
  await nameless.endAsync();
});

/** Common name of the certificate that the listener shows. */
function shownBy(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({ host: '127.0.0.1', port, ca: harness.authority.cert }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

test('certificates are read again without dropping anybody; bad ones change nothing', async () => {
  for (const kind of ['ssl', 'wss'] as const) {
    const listener = await harness.listen(kind, { tls: harness.tls(kind) });
    const { tls } = listener.options;
    assert.ok(tls !== undefined);
    const before = listener.certificateEnds ?? 0;
    const staying = await harness.connect(kind, listener, { clientId: 'staying' });
    await staying.subscribeAsync('reload', { qos: 1 });
    assert.equal(await shownBy(portOf(listener)), kind);
    const ends = new Date(Math.floor(before / 1000) * 1000 + 86_400_000);
    writeCertificate(harness.dir, kind, makeCertificate({ name: [['CN', 'renewed']], by: harness.authority, ends }));
    assert.equal(listener.reload(), undefined);
    assert.equal(await shownBy(portOf(listener)), 'renewed');
    assert.equal(listener.certificateEnds, ends.getTime());
    writeFileSync(tls.certfile, 'no certificate');
    assert.match(listener.reload()?.message ?? '', /holds no certificate in PEM/);
    assert.equal(await shownBy(portOf(listener)), 'renewed');
    const newcomer = await harness.connect(kind, listener, { clientId: 'newcomer' });
    const got = messages(staying, 1);
    await newcomer.publishAsync('reload', 'still here', { qos: 1 });
    assert.equal(String((await got)[0]?.payload), 'still here');
    await staying.endAsync();
    await newcomer.endAsync();
  }
});

test('an authority that is taken back lets nobody in any more', async () => {
  const listener = await harness
    .listen('ssl', {
      tls: harness.tls('authority', { verify: 'verify_peer', failIfNoPeerCert: true, cacertfile: join(harness.dir, 'other-ca.pem') }),
    })
    .catch((e: NetError) => e);
  assert.ok(listener instanceof Error && /other-ca\.pem does not exist/.test(listener.message));
  writeFileSync(join(harness.dir, 'other-ca.pem'), harness.authority.cert);
  const running = await harness.listen('ssl', {
    tls: harness.tls('authority', { verify: 'verify_peer', failIfNoPeerCert: true, cacertfile: join(harness.dir, 'other-ca.pem') }),
  });
  const shown = client();
  await (await harness.connect('ssl', running, { ...shown, clientId: 'once' })).endAsync();
  writeFileSync(join(harness.dir, 'other-ca.pem'), makeCertificate({ name: [['CN', 'Another authority']] }).cert);
  assert.equal(running.reload(), undefined);
  await assert.rejects(harness.connect('ssl', running, { ...shown, clientId: 'once' }));
});

test('versions and ciphers are as configured', async () => {
  const old = await harness.listen('ssl', { tls: harness.tls('server', { versions: ['tlsv1.2'], ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }) });
  const agreed = await new Promise<string>((resolve, reject) => {
    const socket = tlsConnect({ host: '127.0.0.1', port: portOf(old), ca: harness.authority.cert }, () => {
      resolve(`${socket.getProtocol()} ${socket.getCipher().name}`);
      socket.destroy();
    });
    socket.on('error', reject);
  });
  assert.equal(agreed, 'TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256');
  const fresh = await harness.listen('ssl', { tls: harness.tls('server', { versions: ['tlsv1.3'] }) });
  const refused = new Promise<NodeJS.ErrnoException>((resolve, reject) => {
    const socket = tlsConnect({ host: '127.0.0.1', port: portOf(fresh), ca: harness.authority.cert, maxVersion: 'TLSv1.2' }, () =>
      reject(new Error('TLS 1.2')),
    );
    socket.on('error', resolve);
  });
  assert.match((await refused).code ?? '', /ALERT_PROTOCOL_VERSION/);
});

/** A wrong password whose decryption ends in well-formed padding, as one of 256 does. */
function passwordThatDecrypts(pem: string): string {
  for (let i = 0; i < 20_000; i++) {
    try {
      createPrivateKey({ key: pem, passphrase: `wrong ${i}` });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_OSSL_BAD_DECRYPT') return `wrong ${i}`;
    }
  }
  return assert.fail('none of 20,000 wrong passwords decrypts');
}

test('what is wrong with the files is said in one sentence', async () => {
  const good = harness.tls('good');
  const file = (name: string, text: string): string => {
    writeFileSync(join(harness.dir, name), text);
    return join(harness.dir, name);
  };
  const other = writeCertificate(harness.dir, 'other', makeCertificate({ name: device }));
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const locked = file('locked.key', privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'right' }).toString());
  const older = privateKey.export({ type: 'sec1', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'right' }).toString();
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ certfile: join(harness.dir, 'none.pem') }, /^the certificate file \S+none\.pem does not exist$/],
    [{ keyfile: harness.dir }, /^the key file \S+ is a directory$/],
    [{ certfile: file('text.pem', 'hello') }, /^the certificate file \S+text\.pem holds no certificate in PEM$/],
    [{ keyfile: file('text.key', 'hello') }, /^the key file \S+text\.key holds no private key in PEM$/],
    [{ keyfile: good.certfile }, /^the key file \S+good\.pem holds no private key in PEM$/],
    [{ keyfile: other.keyfile }, /^the key file \S+other\.key does not belong to the certificate file \S+good\.pem$/],
    [{ keyfile: locked }, /^the key file \S+locked\.key is encrypted; set ssl_options\.password$/],
    [{ keyfile: locked, password: 'wrong' }, /^ssl_options\.password does not open the key file \S+locked\.key$/],
    [
      { keyfile: file('older.key', older), password: passwordThatDecrypts(older) },
      /^ssl_options\.password does not open the key file \S+older\.key$/,
    ],
    [{ ciphers: 'NONSENSE' }, /^ssl_options\.ciphers names no cipher that this machine knows: NONSENSE$/],
    [{ verify: 'verify_peer', cacertfile: undefined }, /^verify = verify_peer needs cacertfile/],
    [{ failIfNoPeerCert: true }, /^fail_if_no_peer_cert = true needs verify = verify_peer/],
    [{ cacertfile: file('ca.txt', 'hello') }, /^the file of CA certificates \S+ca\.txt holds no certificate in PEM$/],
    [{ versions: [] }, /^versions must name/],
  ];
  for (const [more, expected] of cases) {
    const error = await harness.listen('ssl', { tls: { ...good, ...more } }).then(
      () => assert.fail(`it listens: ${expected}`),
      (e: NetError) => e,
    );
    assert.equal(error.code, 'ETLS');
    assert.match(error.message, expected);
  }
});

test('a handshake that does not come in time, or is none, is given up and counted', async () => {
  const listener = await harness.listen('ssl', { id: 'ssl:slow', handshakeTimeoutMs: 50 });
  const failed = (reason: string): number => harness.metric('starmesh_failed_handshakes', { listener: 'ssl:slow', reason });
  await ended(harness.raw(listener));
  assert.equal(failed('timeout'), 1);
  const plain = harness.raw(listener);
  plain.write('PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n');
  await ended(plain);
  assert.equal(failed('tls'), 1);
  const leaving = harness.raw(listener);
  await new Promise<void>((resolve) => void leaving.once('connect', resolve));
  leaving.end();
  await ended(leaving);
  assert.equal(failed('tls'), 1, 'who leaves without a byte has failed at nothing');
});
