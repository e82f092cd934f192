// Links between nodes under TLS, with real processes: a cluster on certificates of its own authority, who is
// refused and with which words, and certificates that change while the nodes run.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as tcpConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { type Certificate, makeCertificate, writeCertificate } from '../listeners/certificates.js';
import { TestClient } from './clients.js';
import { eventually, TestCluster } from './nodes.js';

const dir = mkdtempSync(join(tmpdir(), 'starmesh-tls-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const hour = 3_600_000;
const nodeNames = ['core1', 'core2', 'core3', 'replicant1', 'replicant2'] as const;

function authority(name: string): Certificate {
  const made = makeCertificate({ name: [['CN', name]] });
  writeFileSync(join(dir, `${name}.pem`), made.cert);
  return made;
}

/** Writes the node's certificate and gives the lines of its configuration. */
function certified(stem: string, by: Certificate, trusted: string, ends?: Date): string {
  const { certfile, keyfile } = writeCertificate(dir, stem, makeCertificate({ name: [['CN', stem]], by, ...(ends === undefined ? {} : { ends }) }));
  return `cluster.tls { enable = true, cacertfile = "${join(dir, `${trusted}.pem`)}", certfile = "${certfile}", keyfile = "${keyfile}" }`;
}

const ours = authority('cluster-ca');
const theirs = authority('other-ca');

test('five nodes under TLS; a node with another authority, without TLS, or expired never gets in, and is named in the log', async () => {
  const settingsOf = Object.fromEntries(nodeNames.map((n) => [n, certified(n, ours, 'cluster-ca')]));
  const cluster = await TestCluster.start({ cores: 3, replicants: 2, settingsOf });
  try {
    const subscriber = await TestClient.connect(cluster.node('replicant1'));
    await subscriber.subscribe('over/tls', 2);
    const publisher = await TestClient.connect(cluster.node('replicant2'));
    await publisher.publish('over/tls', 'encrypted', { qos: 2 });
    await subscriber.until('a message over links under TLS', (all) => all.length === 1);

    // A dead leader is known at once, as without TLS.
    await cluster.node('core1').kill();
    await publisher.publish('over/tls', 'kept', { qos: 1, retain: true });
    await subscriber.until('a message after a core died', (all) => all.length === 2);
    cluster.node('core1').start();
    await cluster.node('core1').serving();

    const core = cluster.node('core2');
    const replicant = cluster.node('replicant2');
    await publisher.close();
    await replicant.stop();
    const strangers: readonly (readonly [string, RegExp])[] = [
      [certified('stranger', theirs, 'cluster-ca'), /refused by TLS.*not signed by an authority of ours/],
      [certified('stranger', theirs, 'other-ca'), /refused by TLS|not signed by an authority of ours/],
      [certified('late', ours, 'cluster-ca', new Date(Date.now() - hour)), /refused by TLS.*has expired/],
      ['', /refused by TLS.*does not speak TLS/],
    ];
    for (const [settings, words] of strangers) {
      const stranger = replicant.twin(settings);
      stranger.start();
      try {
        await eventually('one of the two says why', async () => {
          const lines = [...cluster.cores.flatMap((c) => c.lines), ...stranger.lines];
          return lines.some((l) => words.test(l)) && stranger.lines.some((l) => /cannot link with a node|a node refuses the link/.test(l));
        });
        assert.ok(!stranger.lines.some((l) => l.includes('link up')), stranger.lines.join('\n'));
      } finally {
        await stranger.kill();
      }
    }
    assert.ok((await core.metric('starmesh_link_auth_failures_total'))[0] !== 0);
    replicant.start();
    await replicant.serving();
    await subscriber.close();
  } finally {
    await cluster.close();
  }
});

function shownBy(port: number, ca: Certificate): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tlsConnect({ host: '127.0.0.1', port, ca: ca.cert }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

test('certificates change without a restart, and without a link going down', async () => {
  const cluster = await TestCluster.start({
    cores: 1,
    replicants: 1,
    settingsOf: { core1: certified('core1', ours, 'cluster-ca'), replicant1: certified('replicant1', ours, 'cluster-ca') },
  });
  try {
    const core = cluster.node('core1');
    const port = core.linkPort;
    assert.equal(await shownBy(port, ours), 'core1');
    const [before] = await core.metric('emqx_cert_expiry_at', 'cluster');
    writeFileSync(join(dir, 'core1.pem'), 'no certificate');
    const bad = await core.ctl('pem_cache', 'clean');
    assert.equal(bad.ok, false);
    assert.match(bad.text, /the cluster port keeps its old ones: .*holds no certificate/);
    assert.equal(await shownBy(port, ours), 'core1');
    const renewed = makeCertificate({ name: [['CN', 'renewed']], by: ours, ends: new Date(Date.now() + 90 * 24 * hour) });
    writeCertificate(dir, 'core1', renewed);
    const good = await core.ctl('pem_cache', 'clean');
    assert.equal(good.text, 'the cluster port has read its certificates again');
    assert.equal(await shownBy(port, ours), 'renewed');
    assert.ok(((await core.metric('emqx_cert_expiry_at', 'cluster'))[0] ?? 0) > (before ?? 0));
    assert.ok(!core.lines.some((l) => l.includes('link down')), core.lines.join('\n'));
  } finally {
    await cluster.close();
  }
});

test('bytes that are no TLS, and no certificate at all, end before the handshake of the links', async () => {
  const cluster = await TestCluster.start({ cores: 1, replicants: 0, settingsOf: { core1: certified('core1', ours, 'cluster-ca') } });
  try {
    const core = cluster.node('core1');
    for (const first of ['STARMESH', 'GET / HTTP/1.1\r\n\r\n', '\x16\x03\x01\xff\xff']) {
      const socket = tcpConnect({ host: '127.0.0.1', port: core.linkPort });
      const said: Buffer[] = [];
      socket.on('data', (chunk) => said.push(chunk));
      socket.on('error', () => {});
      socket.write(first);
      socket.end();
      await new Promise((done) => socket.once('close', done));
      assert.ok(!Buffer.concat(said).includes('STARMESH'), 'nothing of the links is said');
    }
    const bare = tlsConnect({ host: '127.0.0.1', port: core.linkPort, ca: ours.cert });
    const heard: Buffer[] = [];
    bare.on('data', (chunk) => heard.push(chunk));
    bare.on('error', () => {});
    bare.write('STARMESH');
    await new Promise((done) => bare.once('close', done));
    assert.equal(heard.length, 0);
    await core.said('it showed no certificate');
    assert.ok(
      core.lines.some((l) => l.includes('does not speak TLS')),
      core.lines.join('\n'),
    );
  } finally {
    await cluster.close();
  }
});
