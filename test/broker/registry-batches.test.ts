import assert from 'node:assert/strict';
import { test } from 'node:test';
import { registryKey, writeRegister } from '#broker/registry-row.js';
import { RegistrySender } from '#broker/registry-sender.js';
import { registryTableOf, registryTables } from '#broker/schema.js';
import { type WriteDone, WriteFailure, type WriteOptions } from '#db/api.js';
import { ReadableMetrics } from '../doubles/quiet-env.js';
import type { MiniBroker } from './mini-broker.js';
import { cluster, id, type MiniCluster } from './mini-cluster.js';

/** From now on the names of the commands that the node sends, by shard; `knowsBatches` false: leaders are of an older version. */
function watch(node: MiniBroker, knowsBatches: boolean = true): Map<string, string[]> {
  const sent = new Map<string, string[]>();
  const { db } = node;
  const command = db.command.bind(db);
  db.command = (shard: string, name: string, body: Uint8Array, options: WriteOptions, done: WriteDone): void => {
    const names = sent.get(shard) ?? [];
    names.push(name);
    sent.set(shard, names);
    if (name === 'batch' && !knowsBatches) done(new WriteFailure('refused', 'no command batch'), { index: 0, reply: new Uint8Array(0) });
    else command(shard, name, body, options, done);
  };
  return sent;
}

const ids = (n: number): string[] => Array.from({ length: n }, (_, i) => `client-${i}`);

function connectAll(c: MiniCluster, node: MiniBroker, clients: readonly string[]): string[] {
  const got: string[] = [];
  for (const clientId of clients) node.connect(clientId, true, (how) => got.push(how));
  c.clock.advance(500);
  return got;
}

test('a storm of connections is registered with few commands, and so is its end', () => {
  const c = cluster(2);
  const node = c.nodes[1] as MiniBroker;
  const sent = watch(node);
  const all = ids(400);
  assert.deepEqual(connectAll(c, node, all), new Array(400).fill('fresh'));
  for (const { shard } of registryTables) assert.ok((sent.get(shard) ?? []).length <= 5, `${shard}: ${sent.get(shard)}`);
  for (const clientId of all) {
    assert.equal(c.row(clientId)?.holder.nodeId, id(2));
    assert.equal(c.row(clientId)?.holder.epoch, node.sessions.get(clientId)?.epoch);
  }
  sent.clear();
  for (const clientId of all) node.disconnect(clientId, true);
  c.clock.advance(500);
  for (const { shard } of registryTables) assert.ok((sent.get(shard) ?? []).length <= 5, `${shard}: ${sent.get(shard)}`);
  for (const clientId of all) assert.equal(c.row(clientId), undefined);
});

test('one client alone does not wait for anybody', () => {
  const c = cluster(2);
  const node = c.nodes[1] as MiniBroker;
  const sent = watch(node);
  connectAll(c, node, ['alone']);
  assert.deepEqual([...sent.values()], [['register']]);
});

test('the end of a session and its client coming back go in one batch, in this order', () => {
  const c = cluster(2);
  const node = c.nodes[1] as MiniBroker;
  const shard = registryTableOf(registryKey('x')).shard;
  const others = ids(200).filter((clientId) => registryTableOf(registryKey(clientId)).shard === shard);
  connectAll(c, node, ['x']);
  const before = node.sessions.get('x')?.epoch ?? 0;
  const sent = watch(node);
  for (const clientId of others.slice(0, 10)) node.connect(clientId, true);
  c.clock.advance(1); // they are on their way
  assert.ok((sent.get(shard) ?? []).length > 0);
  node.disconnect('x', true);
  let how = '';
  node.connect('x', false, (result) => {
    how = result;
  });
  c.clock.advance(500);
  assert.equal(how, 'fresh');
  assert.deepEqual(sent.get(shard)?.slice(-1), ['batch']);
  assert.ok((node.sessions.get('x')?.epoch ?? 0) > before);
  assert.equal(c.row('x')?.holder.epoch, node.sessions.get('x')?.epoch);
  assert.equal(c.row('x')?.owner?.epoch, node.sessions.get('x')?.epoch);
});

test('a leader of an older version, which knows no batches, is asked for each', () => {
  const c = cluster(2);
  const node = c.nodes[1] as MiniBroker;
  const sent = watch(node, false);
  assert.deepEqual(connectAll(c, node, ids(100)), new Array(100).fill('fresh'));
  const names = [...sent.values()].flat();
  assert.ok(names.includes('batch'));
  assert.equal(names.filter((name) => name === 'register').length, 100);
});

test('a command of a batch is refused by itself', () => {
  const c = cluster(2);
  const node = c.nodes[1] as MiniBroker;
  const sender = new RegistrySender(c.clock, new ReadableMetrics(), node.db);
  const key = registryKey('x');
  const answers: string[] = [];
  const body = (nodeId: string) =>
    ({ key, nodeId, mode: 'clean', sessionExpiryInterval: 0, will: new Uint8Array(0), durable: false, adopts: 0 }) as const;
  for (const nodeId of [id(2), id(7), id(2)]) {
    sender.send('register', key, body(nodeId), writeRegister, 1_000, (failure, reply) => answers.push(failure ?? `${reply.length > 0}`));
  }
  sender.send(
    'ended',
    key,
    undefined,
    (w) => w.u8(200),
    1_000,
    (failure) => answers.push(failure ?? 'done'),
  );
  c.clock.advance(100);
  assert.deepEqual(answers, ['true', 'refused', 'true', 'refused']);
  assert.equal(c.row('x')?.holder.nodeId, id(2));
});

test('what fails on the way fails for all of a batch', () => {
  const c = cluster(2);
  const node = c.nodes[1] as MiniBroker;
  c.db.fault = () => 'no-quorum';
  const got: string[] = [];
  for (const clientId of ids(50)) node.connect(clientId, true, (how) => got.push(how));
  c.clock.advance(5_500);
  assert.deepEqual(got, new Array(50).fill('no-quorum'));
});

test('more than may wait is refused at once, and counted', () => {
  const c = cluster(2);
  const metrics = new ReadableMetrics();
  const sender = new RegistrySender(c.clock, metrics, (c.nodes[1] as MiniBroker).db);
  const key = registryKey('x');
  const payload = new Uint8Array(1024 * 1024);
  const answers: (string | undefined)[] = [];
  for (let i = 0; i < 70; i++)
    sender.send(
      'ended',
      key,
      payload,
      (w, bytes) => w.blob(bytes),
      1_000,
      (failure) => answers.push(failure),
    );
  assert.equal(metrics.read('starmesh_registry_commands_refused_total'), 6);
  assert.deepEqual(answers, new Array(6).fill('refused'));
});
