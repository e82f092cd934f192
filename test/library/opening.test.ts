// Opening and closing a database of the library: what is refused, what is kept, what ends how.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ownLevel } from '#cluster/level.js';
import { DatabaseError, type DatabaseOptions, defineShard, openDatabase, WriteFailure } from '#node/open-database.js';
import { freePorts } from '../cluster/nodes.js';
import { LibraryCluster } from './nodes.js';

const dir = mkdtempSync(join(tmpdir(), 'starmesh-opening-'));
after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));

const notes = defineShard('notes');
const pages = notes.table<string, string>({ id: 1, name: 'pages' });
let count = 0;

function alone(more: Partial<DatabaseOptions> = {}): DatabaseOptions {
  return { name: 'solo', dataDir: join(dir, `solo${++count}`), shards: [notes], log: { level: 'silent' }, ...more };
}

function refuses(code: string, options: DatabaseOptions, message: RegExp): Promise<void> {
  return assert.rejects(openDatabase(options), (e: unknown) => e instanceof DatabaseError && e.code === code && message.test(e.message));
}

test('a single node needs nothing but a directory, and keeps what was written', async () => {
  const options = alone();
  const first = await openDatabase(options);
  await first.put(pages, 'one', 'kept');
  await first.close();
  const second = await openDatabase(options);
  assert.equal(second.get(pages, 'one'), 'kept');
  await second.close();
});

test('a data directory is used once', async () => {
  const options = alone();
  const db = await openDatabase(options);
  await refuses('locked', options, /in use/);
  await db.close();
  await (await openDatabase(options)).close();
});

test('a damaged data directory is refused with what to do', async () => {
  const options = alone();
  await (await openDatabase(options)).close();
  writeFileSync(join(options.dataDir, 'node.json'), '{');
  await refuses('data-directory', options, /node\.json is damaged/);
});

test('a data directory of a cluster that has begun what this build does not know is refused with what to do', async () => {
  const options = alone();
  const file = join(options.dataDir, 'node.json');
  const read = (): Record<string, unknown> => JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  await (await openDatabase(options)).close();
  // Builds that do not know of levels stop at the format.
  assert.deepEqual([read().format, read().level], [2, ownLevel]);
  await (await openDatabase(options)).close();
  assert.deepEqual([read().format, read().level], [2, ownLevel]);
  writeFileSync(file, JSON.stringify({ ...read(), level: ownLevel + 1 }));
  await refuses(
    'data-directory',
    options,
    new RegExp(`had level ${ownLevel + 1}.*this build has level ${ownLevel}.*start a build of level ${ownLevel + 1}`),
  );
  writeFileSync(file, JSON.stringify({ ...read(), format: 3 }));
  await refuses('data-directory', options, /node\.json has format 3; this build reads formats 1 and 2: .*start that one/);
  const { level: _, ...older } = read();
  writeFileSync(file, JSON.stringify({ ...older, format: 1 }));
  await (await openDatabase(options)).close();
});

test('options that contradict each other are refused before anything starts', async () => {
  const cores = [
    { name: 'a', host: '127.0.0.1', port: 1 },
    { name: 'b', host: '127.0.0.1', port: 2 },
  ];
  await refuses('options', alone({ name: '' }), /name/);
  await refuses('options', alone({ cores, cookie: 'c' }), /solo is not among them/);
  await refuses('options', alone({ cores, name: 'a' }), /cookie/);
  await refuses('options', alone({ cores, cookie: 'c', role: 'replicant' }), /listen/);
  await refuses('options', alone({ role: 'replicant' }), /at least one core/);
  await refuses('options', alone({ listen: { host: '127.0.0.1', port: 0 }, cookie: 'c' }), /port/);
  await refuses('options', alone({ cores: [...cores, ...cores], name: 'a', cookie: 'c' }), /twice/);
  await refuses('options', alone({ shards: [] }), /at least one/);
  await refuses('options', alone({ shards: [defineShard('empty')] }), /no table/);
  for (const name of ['', 'Upper', 'cluster', '../up', 'a b']) assert.throws(() => defineShard(name), { code: 'options' });
  assert.throws(() => notes.table({ id: 2, name: 'late' }), { code: 'options' });
  const fresh = defineShard('fresh');
  fresh.table({ id: 1, name: 'a' });
  for (const bad of [
    { id: 1, name: 'b' },
    { id: 2, name: 'a' },
    { id: 0, name: 'c' },
    { id: 127, name: 'd' },
    { id: 1.5, name: 'e' },
  ])
    assert.throws(() => fresh.table(bad), { code: 'options' });
});

test('a port that is taken is named', async () => {
  const server = createServer();
  const [port] = await freePorts(1);
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
  const cores = [{ name: 'solo', host: '127.0.0.1', port: port as number }];
  await refuses('cannot-listen', alone({ cores, cookie: 'c' }), /another program uses this port/);
  await new Promise((done) => server.close(done));
});

test('a core that is alone of three says what it waits for, and leaves nothing behind', async () => {
  const [p1, p2, p3] = (await freePorts(3)) as [number, number, number];
  const cores = [p1, p2, p3].map((port, i) => ({ name: `core${i}`, host: '127.0.0.1', port }));
  const options = alone({ name: 'core0', cores, cookie: 'c', openDeadlineMs: 100 });
  // On a slow machine it may not have come far by then.
  const waits = /not in service after 100 ms: (core core\d is not there yet|starting)/;
  await refuses('deadline', options, waits);
  // Lock and port are free again.
  await refuses('deadline', options, waits);
});

test('after close everything fails as closed, and closing again is fine', async () => {
  const db = await openDatabase(alone());
  await db.put(pages, 'a', '1');
  const sub = db.subscribe(pages);
  await sub.next();
  const waiting = sub.next();
  await Promise.all([db.close(), db.close()]);
  assert.deepEqual(await waiting, { done: true, value: undefined });
  assert.equal(await db.closed, undefined);
  assert.throws(() => db.get(pages, 'a'), { code: 'closed' });
  assert.throws(() => db.range(pages), { code: 'closed' });
  for (const late of [db.put(pages, 'a', '2'), db.barrier(notes), db.transaction(notes, () => 1)]) await assert.rejects(late, { code: 'closed' });
});

test('without a majority writes and linearizable reads fail as what they are, and close answers what waits', async () => {
  const cluster = await LibraryCluster.start({ cores: 3, replicants: 0 }, [notes]);
  try {
    const last = cluster.node('core1');
    await last.put(pages, 'a', 'before', { until: 'applied' });
    await Promise.all([cluster.stop('core2'), cluster.stop('core3')]);
    const failure = await last.put(pages, 'a', 'after', { deadlineMs: 300 }).then(
      () => undefined,
      (e: unknown) => e,
    );
    assert.ok(failure instanceof WriteFailure && ['no-quorum', 'unknown'].includes(failure.kind), String(failure));
    await assert.rejects(
      last.readonly(notes, (view) => view.get(pages, 'a'), { linearizable: true, deadlineMs: 300 }),
      { kind: 'no-quorum' },
    );
    assert.equal(last.get(pages, 'a'), 'before');
    const waiting = [last.put(pages, 'b', 'x', { deadlineMs: 60_000 }), last.barrier(notes, { deadlineMs: 60_000 })];
    const answers = Promise.allSettled(waiting);
    await cluster.stop('core1');
    for (const a of await answers)
      assert.ok(a.status === 'rejected' && a.reason instanceof WriteFailure && ['closed', 'unknown'].includes(a.reason.kind));
  } finally {
    await cluster.close();
  }
});

test('a node whose disk fails stops by itself, says why, and answers what waits', async () => {
  const options = alone({ walSegmentBytes: 64 * 1024 });
  const db = await openDatabase(options);
  const sub = db.subscribe(pages);
  await sub.next();
  // The next segment of the log has nowhere to go.
  rmSync(options.dataDir, { recursive: true });
  let refused: unknown;
  // Far more than a segment; each write is a turn of its own.
  for (let i = 0; i < 100 && refused === undefined; i++) {
    refused = await db.put(pages, `page ${i}`, 'x'.repeat(4_000)).then(
      () => undefined,
      (e: unknown) => e,
    );
  }
  assert.ok(refused instanceof DatabaseError || (refused instanceof WriteFailure && ['closed', 'unknown'].includes(refused.kind)), String(refused));
  const failure = await db.closed;
  assert.ok(failure instanceof DatabaseError && failure.code === 'failed', String(failure));
  assert.equal((await sub.next()).done, true);
  assert.throws(() => db.get(pages, 'a'), { code: 'failed' });
  await db.close();
});
