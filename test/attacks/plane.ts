// The ports and files of operators and of other nodes: B14, D2, D3, D4, D6, D7, D8. No MQTT goes there,
// so that each case runs once.
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { connect as tcpConnect } from 'node:net';
import { join } from 'node:path';
import { prometheusText } from '#admin/prometheus.js';
import { type Attack, type AttackCase, bytes, publish, utf8 } from './attack.js';
import type { ClassId } from './classes.js';
import { connectBytes } from './first-bytes.js';
import { type LabOptions, within } from './lab.js';

const cookie = 'planted-cookie-of-the-cluster-4711';

export const planeLab: LabOptions = {
  http: true,
  settings: `node.cookie = "${cookie}"
    cluster.listen = "127.0.0.1:0"
    authentication = [{ mechanism = password_based, backend = built_in_database, password_hash_algorithm { name = sha256, salt_position = prefix } }]`,
  honest: { username: 'honest', password: 'planted-password' },
  prepare: ({ authAdmin }) => authAdmin.addUser('honest', 'planted-password', false),
};

/** What the port says to these bytes until it closes. */
async function said(port: number, parts: readonly (string | Uint8Array)[], half: boolean): Promise<string> {
  const socket = tcpConnect({ host: '127.0.0.1', port });
  const chunks: Buffer[] = [];
  socket.on('error', () => {});
  socket.on('data', (chunk) => void chunks.push(chunk));
  const closed = new Promise<void>((resolve) => void socket.once('close', () => resolve()));
  for (const part of parts) socket.write(bytes(part));
  if (half) socket.end();
  await within('the port closes', closed);
  return Buffer.concat(chunks).toString('latin1');
}

function once(of: ClassId, name: string, run: (attack: Attack) => Promise<void>): AttackCase {
  return { of, name, only: 'tcp', run };
}

function http(of: ClassId, name: string, request: string, status: RegExp): AttackCase {
  return once(of, name, async ({ lab }) => {
    const answer = await said(lab.httpPort, [request.replaceAll('\n', '\r\n')], false);
    assert.match(answer, status);
    assert.equal(answer.includes('<script'), false);
  });
}

const end = 'Host: x\nConnection: close\n\n';

const pages: readonly AttackCase[] = [
  http('B14', 'a header of 40 KiB', `GET /status HTTP/1.1\nbaggage: ${'a=b,'.repeat(10_000)}\n${end}`, /^HTTP\/1\.1 431 /),
  http('B14', '4,000 headers', `GET /status HTTP/1.1\n${Array.from({ length: 4_000 }, (_, i) => `x-${i}: a\n`).join('')}${end}`, /^HTTP\/1\.1 431 /),
  http('B14', 'a path of 40 KiB', `GET /${'a'.repeat(40_000)} HTTP/1.1\n${end}`, /^HTTP\/1\.1 4(14|31) /),
  http('B14', 'a traceparent that is none', `GET /status HTTP/1.1\ntraceparent: ${'z'.repeat(2_000)}\n${end}`, /^HTTP\/1\.1 200 /),
  ...['POST', 'PUT', 'DELETE', 'PATCH'].map((method) =>
    http('D6', `${method} on pages`, `${method} /metrics HTTP/1.1\nContent-Length: 0\n${end}`, /^HTTP\/1\.1 404 /),
  ),
  http('D6', 'markup in path and query', `GET /<script>alert(1)</script>?mode=<script> HTTP/1.1\n${end}`, /^HTTP\/1\.1 4/),
  http('D6', 'a path that climbs', `GET /../../../etc/passwd HTTP/1.1\n${end}`, /^HTTP\/1\.1 404 /),
  http('D6', '__proto__ in the query', `GET /metrics?__proto__[mode]=all_nodes_aggregated&mode=__proto__ HTTP/1.1\n${end}`, /^HTTP\/1\.1 200 /),
  http(
    'D7',
    '100 KiB of body',
    `POST /status HTTP/1.1\nContent-Type: application/json\nContent-Length: 100000\n${end}${'1'.repeat(100_000)}`,
    /^HTTP\/1\.1 4/,
  ),
  http('D7', 'a body without an end', `POST /status HTTP/1.1\nTransfer-Encoding: chunked\n${end}zz\n`, /^HTTP\/1\.1 4/),
  http('D7', 'two lengths', `POST /status HTTP/1.1\nContent-Length: 5\nContent-Length: 6\n${end}hello`, /^HTTP\/1\.1 400 /),
  http('D7', 'a length and chunks', `POST /status HTTP/1.1\nContent-Length: 5\nTransfer-Encoding: chunked\n${end}0\n\n`, /^HTTP\/1\.1 400 /),
];

/** None of it may be told anything but the challenge that everybody gets, which has no name of the node in it. */
function stranger(of: ClassId, name: string, ...parts: readonly (string | Uint8Array)[]): AttackCase {
  return once(of, name, async ({ lab }) => {
    const answer = await said(lab.clusterPort, parts, true);
    assert.ok(answer.length <= 256, `${answer.length} bytes`);
    assert.equal(answer.includes('core1'), false);
    assert.equal(answer.includes(cookie), false);
  });
}

const clusterPort: readonly AttackCase[] = [
  stranger('D2', 'nothing'),
  stranger('D2', 'MQTT CONNECT', connectBytes()),
  stranger('D2', 'HTTP', `GET / HTTP/1.1\r\nHost: x\r\n\r\n`),
  stranger('D2', 'a page of zeros', new Uint8Array(4_096)),
  stranger('D2', 'the cookie itself', cookie),
  stranger('D3', 'a frame of 2^32-1 bytes', bytes(0xff, 0xff, 0xff, 0xff, 1)),
  stranger('D3', 'a frame of no type', new Uint8Array(9)),
  stranger('D3', '1 MiB of 0xFF', new Uint8Array(1024 * 1024).fill(0xff)),
  once('D3', '200 connections with frames cut at each byte', async ({ lab }) => {
    const frame = bytes(0, 0, 0, 100, 5, new Uint8Array(100).fill(7), 1, 2, 3, 4);
    await Promise.all(Array.from({ length: 200 }, (_, i) => said(lab.clusterPort, [frame.subarray(0, i % frame.length)], true)));
  }),
];

function canaries(name: string, run: (attack: Attack) => Promise<void>): AttackCase {
  return once('D4', name, async (attack) => {
    await run(attack);
    const { lab } = attack;
    const page = await said(lab.httpPort, [`GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`], false);
    for (const text of [lab.logged, page, prometheusText(lab.env.metrics.collect())]) assert.equal(text.includes('planted'), false);
  });
}

const secrets: readonly AttackCase[] = [
  canaries('passwords that are right and wrong', async (attack) => {
    const login = { username: 'honest', password: utf8('planted-password') };
    (await attack.connect(login)).destroy();
    assert.equal((await attack.login({ ...login, password: utf8('planted-but-wrong') })).code, 0x86);
  }),
  canaries('payloads and properties of packets that break rules', async (attack) => {
    const peer = await attack.connect({ username: 'honest', password: utf8('planted-password') });
    peer.send(publish('own/x', 'planted-payload', { properties: { topicAlias: 60_000, userProperties: [['planted', 'planted']] } }));
    await peer.fate();
  }),
  canaries('the cookie, to the cluster port', async ({ lab }) => void (await said(lab.clusterPort, [cookie], true))),
];

/** Paths below, folders included. */
function below(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((e) => [join(folder, e.name), ...(e.isDirectory() ? below(join(folder, e.name)) : [])]);
}

function modes(name: string, wanted: (path: string) => boolean): AttackCase {
  return once('D8', name, async ({ lab }) => {
    const all = [lab.dir, ...below(lab.dir)].filter(wanted);
    assert.ok(all.length > 0);
    for (const path of all) assert.equal(statSync(path).mode & 0o077, 0, path);
  });
}

const files: readonly AttackCase[] = [
  modes('folders', (path) => statSync(path).isDirectory()),
  modes('the log', (path) => statSync(path).isFile() && !/tables/.test(path)),
  // Its own files are as readable as LMDB makes them: the folder is closed.
  modes('folders of the tables', (path) => /tables\/.+\/\d+$/.test(path)),
];

export const planeCases: readonly AttackCase[] = [...pages, ...clusterPort, ...secrets, ...files];
