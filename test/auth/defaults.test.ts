// The rules that hold where no source of authorization is configured.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessControl } from '#auth/access-control.js';
import { buildAccess } from '#auth/build.js';
import { PasswordHasher } from '#auth/password.js';
import { authSchema } from '#auth/schema.js';
import { accessSettings } from '#node/access-settings.js';
import { loadConfig } from '#node/config/load.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster } from '../doubles/memory-database.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';
import { Client } from './access-world.js';

function access(text: string): AccessControl {
  const { config } = loadConfig({ file: 'x', text, readText: () => undefined, environment: {} });
  const { settings, problems } = accessSettings(config);
  assert.deepEqual(problems, []);
  const clock = new ManualClock();
  const metrics = new ReadableMetrics();
  const db = new MemoryCluster(clock, authSchema).join('n1');
  return buildAccess({ clock, metrics, log: quietLog }, db, settings, new PasswordHasher(metrics), new Uint8Array(32));
}

function subscribes(control: AccessControl, client: Client): string[] {
  const filters = ['t/#', '+/t', '#', '+/#', '$SYS/#', '$SYS/brokers/+/uptime', '+/brokers', '$share/g/#', '$share/g/$SYS/#', '$SYS'];
  return filters.filter((filter) => control.maySubscribe(client, filter, 0, 0) === true);
}

const plain = ['t/#', '+/t', '+/brokers'];
const everything = ['t/#', '+/t', '#', '+/#', '$SYS/#', '$SYS/brokers/+/uptime', '+/brokers', '$share/g/#', '$share/g/$SYS/#', '$SYS'];

test('nothing configured: what the broker tells, and everything at once, is for this machine', () => {
  const control = access('');
  const remote = new Client('c', 'dashboard', '10.0.0.1:1000');
  let code = -1;
  control.authenticate({ client: remote, password: undefined }, (c) => {
    code = c;
  });
  assert.equal(code, 0);
  assert.equal(remote.grant, undefined, 'nothing is kept with a client');
  assert.deepEqual(subscribes(control, remote), plain, 'the user name is not proved');
  for (const peer of ['127.0.0.1:5', '[::1]:5', '[::ffff:127.0.0.1]:5'])
    assert.deepEqual(subscribes(control, new Client('c', undefined, peer)), everything);
  for (const topicName of ['t', '$SYS/x']) assert.equal(control.mayPublish(remote, topicName, 1, true, 0), true);
});

test('where user names are proved, the dashboard may know what the broker tells', () => {
  const control = access('authentication = [{ mechanism = password_based, backend = built_in_database }]');
  assert.deepEqual(subscribes(control, new Client('c', 'dashboard')), [
    ...plain.slice(0, 2),
    '$SYS/#',
    '$SYS/brokers/+/uptime',
    '+/brokers',
    '$share/g/$SYS/#',
    '$SYS',
  ]);
  assert.deepEqual(subscribes(control, new Client('c', 'ann')), plain);
});

test('the default rules allow nothing that no_match denies, and an empty list is none', () => {
  const closed = access('authorization.no_match = deny');
  assert.deepEqual(subscribes(closed, new Client('c')), []);
  assert.equal(closed.mayPublish(new Client('c'), 't', 0, false, 0), false);
  assert.equal(closed.mayPublish(new Client('c', undefined, '127.0.0.1:5'), 't', 0, false, 0), true);
  assert.deepEqual(subscribes(access('authorization.sources = []'), new Client('c')), everything);
});
