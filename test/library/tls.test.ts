// Links between nodes of the library under TLS: databases and brokers form a cluster on certificates of their
// own authority; who has none, or another's, gets nothing.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ClusterTls, createBroker, DatabaseError, type DatabaseOptions, defineShard, openDatabase } from '#node/open-database.js';
import { freePorts } from '../cluster/nodes.js';
import { type Certificate, makeCertificate, writeCertificate } from '../listeners/certificates.js';

const dir = mkdtempSync(join(tmpdir(), 'starmesh-library-tls-'));
after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));

const notes = defineShard('notes');
const pages = notes.table<string, string>({ id: 1, name: 'pages' });
const strangersDeadlineMs = 2_000;

function authority(name: string): Certificate {
  const made = makeCertificate({ name: [['CN', name]] });
  writeFileSync(join(dir, `${name}.pem`), made.cert);
  return made;
}

function certified(stem: string, by: Certificate, trusted: string): ClusterTls {
  const { certfile, keyfile } = writeCertificate(dir, stem, makeCertificate({ name: [['CN', stem]], by }));
  return { certfile, keyfile, cacertfile: join(dir, `${trusted}.pem`) };
}

const ours = authority('ours');
const theirs = authority('theirs');

async function plan(count: number): Promise<(i: number, tls: ClusterTls | undefined) => DatabaseOptions> {
  const ports = await freePorts(count + 1);
  const cores = ports.slice(0, count).map((port, n) => ({ name: `core${n + 1}`, host: '127.0.0.1', port }));
  return (i, clusterTls) => ({
    ...(i < count ? { name: `core${i + 1}` } : { name: 'replicant1', role: 'replicant', listen: { host: '127.0.0.1', port: ports[i] ?? 0 } }),
    dataDir: mkdtempSync(join(dir, 'node-')),
    cores,
    cookie: 'a cookie of this test alone',
    shards: [notes],
    log: { level: 'silent' },
    ...(clusterTls === undefined ? {} : { clusterTls }),
  });
}

test('databases with certificates of one authority; with the cookie alone, or of another authority, nobody gets in', async () => {
  const options = await plan(2);
  const open = await Promise.all([0, 1, 2].map((i) => openDatabase(options(i, certified(`node${i}`, ours, 'ours')))));
  const [writer, , reader] = open;
  try {
    await writer?.put(pages, 'one', 'over TLS', { until: 'effective' });
    await reader?.barrier(notes);
    assert.equal(reader?.get(pages, 'one'), 'over TLS');
    await reader?.close();
    for (const tls of [undefined, certified('stranger', theirs, 'ours'), certified('mistrusting', ours, 'theirs')]) {
      const late = openDatabase({ ...options(2, tls), openDeadlineMs: strangersDeadlineMs });
      await assert.rejects(late, (e: unknown) => e instanceof DatabaseError && e.code === 'deadline');
    }
    await (await openDatabase(options(2, certified('again', ours, 'ours')))).close();
  } finally {
    await Promise.all(open.map((db) => db.close()));
  }
});

test('brokers with certificates of one authority pass messages', async () => {
  const options = await plan(2);
  const brokers = await Promise.all([0, 1].map((i) => createBroker({ ...options(i, certified(`broker${i}`, ours, 'ours')), shards: [] })));
  const [a, b] = brokers;
  try {
    const received = new Promise<string>((resolve) => {
      void a?.subscribe('over/tls', (m) => resolve(Buffer.from(m.payload).toString())).then(() => b?.publish('over/tls', 'encrypted', { qos: 1 }));
    });
    assert.equal(await received, 'encrypted');
  } finally {
    await Promise.all(brokers.map((broker) => broker.close()));
  }
});

test('certificates that are incomplete or cannot be read are refused', async () => {
  const options = await plan(1);
  const whole = certified('whole', ours, 'ours');
  const refused = (tls: ClusterTls, code: string, message: RegExp): Promise<void> =>
    assert.rejects(openDatabase(options(0, tls)), (e: unknown) => e instanceof DatabaseError && e.code === code && message.test(e.message));
  await refused({ ...whole, cacertfile: '' }, 'options', /clusterTls: cacertfile is missing/);
  await refused({ ...whole, keyfile: join(dir, 'nowhere.key') }, 'cannot-listen', /nowhere\.key/);
});
