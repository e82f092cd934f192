import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Env } from '#env/env.js';
import { type Connection, type Net, NetError } from '#env/net.js';
import { createOsEnv, type OsEnv } from '#os/env.js';
import { OsMetrics } from '#os/metrics.js';
import { usualWarmUpMs, warmUp } from './warm-up.js';

function environment(t: TestContext): { env: OsEnv; dir: string } {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-warm-up-'));
  const env = createOsEnv({ dataDir: dir, logger: { targets: [] } });
  t.after(
    () =>
      new Promise<void>((done) =>
        env.close(() => {
          rmSync(dir, { recursive: true, force: true });
          done();
        }),
      ),
  );
  return { env, dir };
}

const patientMs = 20_000;

function run(env: Env, metrics: OsMetrics, ms: number = 60): Promise<number> {
  return new Promise((done) => warmUp(env, { ms, metrics }, done));
}

function values(metrics: OsMetrics): unknown {
  return JSON.stringify(metrics.collect());
}

test('a process that must share its processor with its compilers takes longer', () => {
  assert.deepEqual([1, 2, 64].map(usualWarmUpMs), [2_000, 300, 300]);
});

test('messages of all kinds go through, and the node, its metrics and its directory know nothing of it', async (t) => {
  const { env, dir } = environment(t);
  const connections: Connection[] = [];
  const closed: Connection[] = [];
  const net: Net = {
    listen: (at, onConnection, onListening, onError, options) => env.net.listen(at, onConnection, onListening, onError, options),
    connect: (to, options, connected, failed) =>
      env.net.connect(
        to,
        // A machine that has other things to do is no reason for warming nothing up here.
        { ...options, timeoutMs: patientMs },
        (c) => {
          connections.push(c);
          const destroy = c.destroy.bind(c);
          c.destroy = () => {
            closed.push(c);
            destroy();
          };
          connected(c);
        },
        failed,
      ),
  };
  const [before, files] = [values(env.metrics), readdirSync(dir, { recursive: true })];
  let metrics = new OsMetrics();
  let messages = 0;
  for (let ms = 1_500; messages === 0 && ms < patientMs; ms *= 2) {
    metrics = new OsMetrics();
    messages = await run({ ...env, net }, metrics, ms);
  }
  assert.ok(messages > 0, 'no message went through');
  const page = values(metrics);
  for (const name of ['emqx_messages_qos0_sent', 'emqx_messages_qos1_sent', 'emqx_packets_puback_received'])
    assert.match(String(page), new RegExp(name));
  assert.equal(values(env.metrics), before);
  assert.deepEqual(readdirSync(dir, { recursive: true }), files);
  assert.ok(connections.length > 0);
  assert.equal(closed.length, connections.length);
});

test('a broker that cannot listen, and clients that cannot connect, end it', async (t) => {
  const { env } = environment(t);
  const deaf: Net = { ...env.net, listen: (_at, _on, _listening, onError) => onError(new NetError('EACCES', 'no')) } as Net;
  assert.equal(await run({ ...env, net: deaf }, new OsMetrics()), 0);
  const mute = {
    listen: env.net.listen.bind(env.net),
    connect: (_to: unknown, _options: unknown, _connected: unknown, failed: (e: NetError) => void) => failed(new NetError('ECONNREFUSED', 'no')),
  } as unknown as Net;
  assert.equal(await run({ ...env, net: mute }, new OsMetrics()), 0);
});

test('clients that are never answered do not keep the node from serving', async (t) => {
  const { env } = environment(t);
  const silent = { listen: env.net.listen.bind(env.net), connect: () => {} } as unknown as Net;
  assert.equal(await run({ ...env, net: silent }, new OsMetrics(), 1), 0);
});
