import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { FilesError } from '#env/files.js';
import type { Connection, Listening, NetError } from '#env/net.js';
import { OsClock } from './clock.js';
import { collectAlone } from './collector.js';
import { createOsEnv } from './env.js';
import { OsFiles } from './files.js';
import { OsHash } from './hash.js';
import { LockedError, takeLock } from './lock.js';
import { OsLogger } from './logger.js';
import { OsMetrics } from './metrics.js';
import { OsNet } from './net.js';
import { OsRandom } from './random.js';
import { OsTables } from './tables.js';

function temporaryDir(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-os-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test('clock: ends of a turn run together in order, those asked for meanwhile in the next', async () => {
  const clock = new OsClock();
  const seen: string[] = [];
  await new Promise<void>((resolve) => {
    clock.endOfTurn(() => {
      seen.push('first');
      clock.endOfTurn(() => {
        seen.push('nested');
        resolve();
      });
      setImmediate(() => seen.push('between'));
    });
    clock.endOfTurn(() => seen.push('second'));
    queueMicrotask(() => seen.push('turn'));
  });
  assert.deepEqual(seen, ['turn', 'first', 'second', 'nested']);
});

test('clock: a timer never runs early, a cancelled one never, and a very long one does not run at once', async () => {
  const clock = new OsClock();
  const began = clock.now();
  const wrong = (): void => assert.fail('a cancelled or far timer ran');
  const cancelled = clock.setTimer(1, wrong);
  const far = clock.setTimer(2 ** 40, wrong);
  cancelled.cancel();
  const keepAlive = setInterval(() => undefined, 1000);
  await new Promise<void>((resolve) => void clock.setTimer(20.4, resolve));
  clearInterval(keepAlive);
  assert.ok(clock.now() - began >= 20.4);
  far.cancel();
});

test('random and hash: bytes of the asked length; known digests', () => {
  const random = new OsRandom();
  assert.equal(random.bytes(16).length, 16);
  assert.notDeepEqual(random.bytes(16), random.bytes(16));
  for (let i = 0; i < 100; i++) assert.ok(random.int(3) < 3 && random.next() < 1);
  const hash = new OsHash();
  assert.equal(
    Buffer.from(hash.sha256(Buffer.from('abc')))
      .toString('hex')
      .slice(0, 16),
    'ba7816bf8f01cfea',
  );
  const mac = hash.hmacSha256(Buffer.from('key'), Buffer.from('The quick brown fox jumps over the lazy dog'));
  assert.equal(Buffer.from(mac).toString('hex').slice(0, 16), 'f7bc83f430538424');
});

test('logger: lines of JSON or text from the level on, secrets replaced, nothing breaks out of its line', () => {
  const lines: string[] = [];
  const to = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  const texts: string[] = [];
  const text = new Writable({
    write(chunk: Buffer, _encoding, done) {
      texts.push(chunk.toString());
      done();
    },
  });
  const targets = [
    { level: 'info', to },
    { level: 'warn', to: text, formatter: 'text' },
  ] as const;
  const log = new OsLogger({ bindings: { node: 'core1' }, targets });
  log.debug('not seen');
  log.warn('Something happened.', { password: 'hunter2', count: 3, clientId: 'a\n2026 [error] forged' });
  log.info('seen');
  const [first, second] = lines.map((l) => JSON.parse(l) as { readonly [key: string]: unknown });
  assert.deepEqual([first?.level, first?.msg, first?.node, first?.count, first?.password], ['warn', 'Something happened.', 'core1', 3, '[redacted]']);
  assert.equal(second?.msg, 'seen');
  assert.equal(lines.length, 2);
  assert.equal(texts.length, 1);
  const shown = /^\S+Z \[warning\] Something happened\., node: core1, password: \[redacted\], count: 3, clientId: a\\u000a2026 \[error\] forged\n$/;
  assert.match(texts[0] ?? '', shown);
});

test('metrics: one object per name and labels; everything is collected', () => {
  const metrics = new OsMetrics();
  const counter = metrics.counter('a_total', 'A.', { x: '1', y: '2' });
  assert.equal(metrics.counter('a_total', 'A.', { y: '2', x: '1' }), counter);
  counter.value += 5;
  metrics.counter('a_total', 'A.');
  metrics.gauge('b', 'B.').value = -1;
  metrics.gaugeFn('b', 'B.', { z: '1' }, () => 7);
  metrics.gaugeFn('b', 'B.', { z: '2' }, () => undefined);
  const histogram = metrics.histogram('c_seconds', 'C.', [1, 10]);
  for (const v of [0.5, 1, 5, 100]) histogram.observe(v);
  assert.deepEqual(metrics.collect(), [
    {
      type: 'counter',
      name: 'a_total',
      help: 'A.',
      samples: [
        { labels: { x: '1', y: '2' }, value: 5 },
        { labels: {}, value: 0 },
      ],
    },
    {
      type: 'gauge',
      name: 'b',
      help: 'B.',
      samples: [
        { labels: {}, value: -1 },
        { labels: { z: '1' }, value: 7 },
      ],
    },
    {
      type: 'histogram',
      name: 'c_seconds',
      help: 'C.',
      samples: [
        {
          labels: {},
          buckets: [
            { le: 1, count: 2 },
            { le: 10, count: 3 },
          ],
          count: 4,
          sum: 106.5,
        },
      ],
    },
  ]);
  assert.throws(() => metrics.gauge('a_total', 'A.'));
});

/** A server and a client connection to it. */
async function pair(t: TestContext, net: OsNet): Promise<{ client: Connection; server: Connection; listening: Listening }> {
  let accept: (c: Connection) => void = () => undefined;
  const accepted = new Promise<Connection>((resolve) => {
    accept = resolve;
  });
  const listening = await new Promise<Listening>((resolve, reject) => net.listen({ host: '127.0.0.1', port: 0 }, (c) => accept(c), resolve, reject));
  const ends: Connection[] = [];
  t.after(async () => {
    for (const c of ends) c.destroy();
    await new Promise<void>((resolve) => listening.close(resolve));
  });
  const client = await new Promise<Connection>((resolve, reject) => net.connect(listening.address, { timeoutMs: 5000 }, resolve, reject));
  ends.push(client);
  const server = await accepted;
  ends.push(server);
  return { client, server, listening };
}

test('net: bytes both ways, backpressure, an orderly end', async (t) => {
  const { client, server } = await pair(t, new OsNet({ highWaterMarkBytes: 64 * 1024 }));
  let received = 0;
  let drained = false;
  const total = 32 * 1024 * 1024;
  const ended = new Promise<NetError | undefined>((resolve) => {
    server.handler = {
      onData: (chunk) => {
        received += chunk.length;
      },
      onDrain: () => undefined,
      onClose: resolve,
    };
  });
  server.pause();
  const closed = new Promise<NetError | undefined>((resolve) => {
    client.handler = {
      onData: () => assert.fail('nothing was sent to the client'),
      onDrain: () => {
        drained = true;
        client.end();
      },
      onClose: resolve,
    };
  });
  assert.equal(client.write(new Uint8Array(total)), false);
  assert.ok(client.bufferedBytes > 0);
  server.resume();
  assert.equal(await ended, undefined);
  assert.equal(await closed, undefined);
  assert.deepEqual([received, drained], [total, true]);
  assert.equal(client.write(Uint8Array.of(1)), true, 'a late write is no error');
});

test('net: what a plain socket has taken may be written over, what it keeps may not', async (t) => {
  const { client, server } = await pair(t, new OsNet());
  assert.deepEqual([server.takesAtOnce, client.takesAtOnce], [true, false]);
  const received = createHash('sha256');
  const expected = createHash('sha256');
  const ended = new Promise<void>((resolve) => {
    client.handler = { onData: (chunk) => void received.update(chunk), onDrain: () => undefined, onClose: () => resolve() };
  });
  let scribbled = 0;
  let kept = 0;
  const drained = new Promise<void>((resolve) => {
    server.handler = { onData: () => undefined, onDrain: resolve, onClose: () => undefined };
  });
  // A peer that does not read: some of it is taken, then a part of a write, then none.
  client.pause();
  for (let i = 0; kept < 20; i++) {
    const bytes = new Uint8Array(64 * 1024).map((_, k) => (i * 31 + k * 7 + (k >> 8)) & 255);
    expected.update(bytes);
    server.write(bytes);
    if (server.bufferedBytes > 0) kept++;
    else {
      scribbled++;
      bytes.fill(0xee);
    }
  }
  assert.ok(scribbled > 0);
  client.resume();
  await drained;
  server.end();
  await ended;
  assert.equal(received.digest('hex'), expected.digest('hex'));
});

test('net: refused, taken, bad and silent addresses are errors with a code, told later', async (t) => {
  const net = new OsNet();
  const { client, server, listening } = await pair(t, net);
  const codeOf = (port: number, host = '127.0.0.1', timeoutMs = 5000): Promise<string> =>
    new Promise((resolve) => {
      let later = false;
      net.connect(
        { host, port },
        { timeoutMs },
        () => resolve('connected'),
        (e) => resolve(later ? e.code : 'during the call'),
      );
      later = true;
    });
  assert.equal(await codeOf(70_000), 'ERR_SOCKET_BAD_PORT');
  const taken = await new Promise<string>((resolve) =>
    net.listen(
      listening.address,
      () => undefined,
      () => resolve('listening'),
      (e) => resolve(e.code),
    ),
  );
  assert.equal(taken, 'EADDRINUSE');
  const reset = new Promise<NetError | undefined>((resolve) => {
    client.handler = { onData: () => undefined, onDrain: () => undefined, onClose: resolve };
  });
  server.destroy();
  await reset;
  await new Promise<void>((resolve) => listening.close(resolve));
  assert.equal(await codeOf(listening.address.port), 'ECONNREFUSED');
});

test('lock: refused while its owner lives, taken over after it died', async (t) => {
  const dir = temporaryDir(t);
  const child = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { takeLock } from ${JSON.stringify(new URL('./lock.js', import.meta.url).href)}; takeLock(process.argv[1]); console.log('locked'); setInterval(() => {}, 1000);`,
      dir,
    ],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  t.after(() => child.kill('SIGKILL'));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  assert.throws(
    () => takeLock(dir),
    (e) => e instanceof LockedError && e.pid === child.pid,
  );
  const dead = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await dead;
  const lock = takeLock(dir);
  assert.throws(() => takeLock(dir), LockedError);
  lock.release();
  assert.equal(existsSync(join(dir, 'lock')), false);
  for (const leftover of ['', 'junk', `${process.pid} 12345@another-boot\n`, '4194304 1@x\n']) {
    writeFileSync(join(dir, 'lock'), leftover);
    const taken = takeLock(dir);
    assert.match(readFileSync(join(dir, 'lock'), 'utf8'), new RegExp(`^${process.pid} `));
    taken.release();
  }
});

test('files: a full disk is an error with its code', { skip: existsSync('/dev/full') ? false : 'no /dev/full here' }, async (t) => {
  const dir = temporaryDir(t);
  const { symlinkSync } = await import('node:fs');
  symlinkSync('/dev/full', join(dir, 'full'));
  const files = new OsFiles(dir);
  const file = files.openAppend('full');
  assert.throws(
    () => file.append([Uint8Array.of(1)]),
    (e) => e instanceof FilesError && e.code === 'ENOSPC' && e.path === 'full',
  );
  file.close();
  await new Promise<void>((resolve) => files.close(resolve));
});

test('files: paths outside the data directory are refused', async (t) => {
  const files = new OsFiles(temporaryDir(t));
  for (const path of ['/etc/passwd', '../x', 'a/../../x']) assert.throws(() => files.read(path));
  await new Promise<void>((resolve) => files.close(resolve));
});

test('tables: a directory that cannot be opened is a TablesError', (t) => {
  const dir = temporaryDir(t);
  writeFileSync(join(dir, 'file'), '');
  assert.throws(
    () => new OsTables(dir).open('file/x'),
    (e) => e instanceof Error && e.name === 'TablesError',
  );
});

test('collector: alone where there is no processor to spare', () => {
  assert.deepEqual(
    [1, 2, 3, 64].map((n) => collectAlone(n)),
    [true, true, false, false],
  );
});

test('env: everything in one, locked until it is closed', async (t) => {
  const dataDir = temporaryDir(t);
  const env = createOsEnv({ dataDir, logger: { targets: [] } });
  assert.throws(() => createOsEnv({ dataDir, logger: { targets: [] } }), LockedError);
  await new Promise<void>((resolve, reject) => env.files.writeAtomic('x', Uint8Array.of(1), (e) => (e === undefined ? resolve() : reject(e))));
  await new Promise<void>((resolve) => env.close(resolve));
  const again = createOsEnv({ dataDir, logger: { targets: [] } });
  assert.deepEqual(again.files.read('x'), Uint8Array.of(1));
  await new Promise<void>((resolve) => again.close(resolve));
});
