// The library on three cores and a replicant in one process, over real sockets and disks.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Database } from '#node/library/database.js';
import { CommandRefused, defineShard, type ReadView, WriteFailure } from '#node/open-database.js';
import { LibraryCluster } from './nodes.js';

interface User {
  readonly name: string;
  readonly tags: ReadonlySet<string>;
  readonly since: Date;
}

const shop = defineShard('shop');
const users = shop.table<string, User>({ id: 1, name: 'users' });
const orders = shop.table<readonly [string, number], { total: number }>({ id: 2, name: 'orders' });
const counters = shop.table<string, number>({ id: 3, name: 'counters' });
const present = shop.table<string, string>({ id: 4, name: 'present', owned: true });
const take = shop.command('take', (tx, input: { from: string; n: number }) => {
  const left = (tx.get(counters, input.from) ?? 0) - input.n;
  if (left < 0) throw new CommandRefused(`only ${left + input.n} left`);
  tx.put(counters, input.from, left);
  return { left, at: tx.position };
});
const vault = defineShard('vault', { replicate: 'core' });
const secrets = vault.table<number, bigint>({ id: 1, name: 'secrets' });
const readSecret = vault.command('read', (tx, key: number) => tx.get(secrets, key));

const downAfterMs = 1_000;
let cluster: LibraryCluster;
let core1: Database;
let replicant: Database;

before(async () => {
  cluster = await LibraryCluster.start({ cores: 3, replicants: 1 }, [shop, vault], { nodeDownAfterMs: downAfterMs });
  core1 = cluster.node('core1');
  replicant = cluster.node('replicant1');
});
after(() => cluster.close());

async function failsAs(kind: string, promise: Promise<unknown>, message?: RegExp): Promise<void> {
  await assert.rejects(promise, (e: unknown) => e instanceof WriteFailure && e.kind === kind && (message === undefined || message.test(e.message)));
}

test('a value written on a replicant is read on a core as it was', async () => {
  const ann: User = { name: 'Ann', tags: new Set(['a', 'b']), since: new Date(1_700_000_000_000) };
  const { index } = await replicant.put(users, 'ann', ann, { until: 'applied' });
  assert.deepEqual(replicant.get(users, 'ann'), ann);
  assert.ok(replicant.appliedIndex(shop) >= index);
  assert.deepEqual(await core1.readonly(shop, (view) => view.get(users, 'ann'), { linearizable: true }), ann);
  await core1.delete(users, 'ann', { until: 'effective' });
  assert.equal(replicant.get(users, 'ann'), undefined);
  assert.equal(replicant.has(users, 'ann'), false);
});

test('a range is in key order, bounded by start, end, prefix and limit', async () => {
  await core1.batch(
    shop,
    (b) => {
      for (const who of ['a', 'b', 'c']) for (const n of [-1, 2, 10]) b.put(orders, [who, n], { total: n });
    },
    { until: 'applied' },
  );
  const names = (rows: Iterable<[readonly [string, number], unknown]>): string[] => [...rows].map(([[who, n]]) => `${who}${n}`);
  assert.deepEqual(names(core1.range(orders)), ['a-1', 'a2', 'a10', 'b-1', 'b2', 'b10', 'c-1', 'c2', 'c10']);
  assert.deepEqual(names(core1.range(orders, { prefix: ['b'] })), ['b-1', 'b2', 'b10']);
  assert.deepEqual(names(core1.range(orders, { start: ['a', 2], end: ['b', 2] })), ['a2', 'a10', 'b-1']);
  assert.deepEqual(names(core1.range(orders, { prefix: ['c'], start: ['c', 0], limit: 1 })), ['c2']);
  assert.deepEqual(names(core1.range(orders, { limit: 0 })), []);
});

test('a long range is read in chunks, each row once, while the table changes', async () => {
  const count = 1_000;
  await core1.batch(
    shop,
    (b) => {
      for (let i = 0; i < count; i++) b.put(orders, ['long', i], { total: i });
    },
    { until: 'applied' },
  );
  const seen: number[] = [];
  for (const [[, i]] of core1.range(orders, { prefix: ['long'] })) {
    seen.push(i);
    // Rows behind the iterator change and vanish; those before it must all come.
    if (i === 100) await core1.delete(orders, ['long', 50], { until: 'applied' });
  }
  assert.deepEqual(
    seen,
    Array.from({ length: count }, (_, i) => i),
  );
});

test('a transaction that was overtaken runs again and loses nothing', async () => {
  await core1.put(counters, 'contended', 0, { until: 'effective' });
  const leader = cluster.node(cluster.leader(core1, shop));
  const other = [...cluster.open.values()].find((db) => db !== leader && db.status().role === 'core') as Database;
  let runs = 0;
  const seen = await other.transaction(shop, (tx) => {
    const n = tx.get(counters, 'contended') ?? 0;
    // The leader has this in its log before the transaction reaches it.
    if (++runs === 1) void leader.put(counters, 'contended', 41);
    tx.put(counters, 'contended', n + 1);
    return n + 1;
  });
  assert.equal(seen, 42);
  assert.ok(runs >= 2);
  assert.equal(await leader.readonly(shop, (view) => view.get(counters, 'contended'), { linearizable: true }), 42);
});

test('concurrent increments on all nodes add up', async () => {
  const each = 10;
  const increment = (db: Database): Promise<number> =>
    db.transaction(shop, (tx) => {
      const n = (tx.get(counters, 'sum') ?? 0) + 1;
      tx.put(counters, 'sum', n);
      return n;
    });
  const results = await Promise.all(
    [...cluster.open.values()].map(async (db) => {
      const got: number[] = [];
      for (let i = 0; i < each; i++) {
        // Four nodes at one row: more than the retries of one call may be needed.
        for (;;) {
          try {
            got.push(await increment(db));
            break;
          } catch (error) {
            assert.ok(error instanceof WriteFailure && error.kind === 'conflict');
          }
        }
      }
      return got;
    }),
  );
  const all = results.flat().sort((a, b) => a - b);
  assert.deepEqual(
    all,
    Array.from({ length: each * cluster.open.size }, (_, i) => i + 1),
  );
});

test('a transaction sees its own writes, and what throws writes nothing', async () => {
  const boom = new Error('on second thoughts');
  await assert.rejects(
    core1.transaction(shop, (tx) => {
      tx.put(counters, 'thrown', 1);
      assert.equal(tx.get(counters, 'thrown'), 1);
      assert.deepEqual([...tx.range(counters, { start: 'thrown', limit: 1 })], [['thrown', 1]]);
      tx.delete(counters, 'thrown');
      assert.equal(tx.has(counters, 'thrown'), false);
      tx.put(counters, 'thrown', 2);
      throw boom;
    }),
    (e: unknown) => e === boom,
  );
  assert.equal(await core1.readonly(shop, (view) => view.get(counters, 'thrown'), { linearizable: true }), undefined);
});

test('an asynchronous transaction is refused, and so is a view that is used too late', async () => {
  await assert.rejects(
    core1.transaction(shop, async (tx) => tx.put(counters, 'late', 1)),
    TypeError,
  );
  let kept: { get(table: typeof counters, key: string): number | undefined } | undefined;
  await core1.transaction(shop, (tx) => {
    kept = tx;
  });
  assert.throws(() => kept?.get(counters, 'late'), { code: 'ended' });
  assert.equal(await core1.readonly(shop, (view) => view.has(counters, 'late'), { linearizable: true }), false);
});

test('a command is judged by the leader, from any node', async () => {
  await core1.put(counters, 'stock', 3);
  const first = await replicant.command(take, { from: 'stock', n: 2 });
  assert.equal(first.left, 1);
  await failsAs('refused', core1.command(take, { from: 'stock', n: 2 }), /only 1 left/);
  const second = await core1.command(take, { from: 'stock', n: 1 });
  assert.equal(second.left, 0);
  assert.ok(second.at > first.at);
});

test('a shard of the cores alone: commands from everywhere, reads only where it is', async () => {
  await replicant.put(secrets, 7, 2n ** 70n);
  assert.equal(await replicant.command(readSecret, 7), 2n ** 70n);
  assert.equal(await core1.readonly(vault, (view) => view.get(secrets, 7), { linearizable: true }), 2n ** 70n);
  assert.throws(() => replicant.get(secrets, 7), { code: 'not-held' });
  await assert.rejects(replicant.barrier(vault), { code: 'not-held' });
  assert.throws(() => [...replicant.range(secrets)], { code: 'not-held' });
});

test('a node without a copy reads, and writes by transaction, what cores have', async () => {
  assert.equal(await replicant.fetch(secrets, 100), undefined);
  await core1.batch(vault, (b) => {
    for (let i = 100; i < 1_600; i++) b.put(secrets, i, BigInt(i));
  });
  assert.equal(await replicant.fetch(secrets, 100, { linearizable: true }), 100n);
  const sum = (rows: Iterable<[number, bigint]>): bigint => [...rows].reduce((n, [, v]) => n + v, 0n);
  const all = 1_500n * 99n + (1_500n * 1_501n) / 2n;
  assert.equal(await replicant.readonly(vault, (view) => sum(view.range(secrets, { start: 100 })), { linearizable: true }), all);
  const scanned: [number, bigint][] = [];
  for await (const row of replicant.scan(secrets, { start: 100, limit: 1_499 })) scanned.push(row);
  assert.deepEqual([scanned.length, scanned[0], scanned.at(-1)], [1_499, [100, 100n], [1_598, 1_598n]]);
  for await (const row of core1.scan(secrets, { start: 1_599, linearizable: true })) assert.deepEqual(row, [1_599, 1_599n]);
  let runs = 0;
  const moved = await replicant.transaction(vault, (tx) => {
    runs++;
    const n = tx.get(secrets, 100) ?? 0n;
    // Who catches what he should let pass changes nothing.
    try {
      tx.get(secrets, 101);
    } catch {}
    tx.put(secrets, 100, n + 1n);
    tx.delete(secrets, 101);
    return [n, [...tx.range(secrets, { start: 99, end: 103 })].map(([k]) => k)] as const;
  });
  assert.deepEqual(moved, [100n, [100, 102]]);
  assert.ok(runs > 1, `${runs} runs`);
  assert.equal(await replicant.fetch(secrets, 100, { linearizable: true }), 101n);
  await replicant.transaction(vault, (tx) => tx.put(secrets, 1, 1n));
  assert.equal(await core1.readonly(vault, (view) => view.get(secrets, 1), { linearizable: true }), 1n);
});

test('transactions from a node without a copy and from cores are as if alone', async () => {
  const each = 8;
  const increment = (db: Database): Promise<void> =>
    db.transaction(vault, (tx) => {
      const [[, n] = [0, 0n]] = [...tx.range(secrets, { start: -5, end: 0 })];
      tx.put(secrets, -5, n + 1n);
    });
  const worker = async (db: Database): Promise<void> => {
    for (let i = 0; i < each; ) {
      try {
        await increment(db);
        i++;
      } catch (error) {
        if (!(error instanceof WriteFailure && error.kind === 'conflict')) throw error;
      }
    }
  };
  await Promise.all([worker(replicant), worker(core1), worker(replicant)]);
  assert.equal(await replicant.fetch(secrets, -5, { linearizable: true }), BigInt(3 * each));
});

test('what a function without a copy does wrong is told to its caller', async () => {
  const thrown = new RangeError('as it is');
  const boom = (): never => {
    throw thrown;
  };
  await assert.rejects(replicant.readonly(vault, boom), (e) => e === thrown);
  await assert.rejects(
    replicant.transaction(vault, (tx) => (tx.get(secrets, 1) === undefined ? 0 : boom())),
    (e) => e === thrown,
  );
  await assert.rejects(
    replicant.readonly(vault, async (view) => view.get(secrets, 1)),
    TypeError,
  );
  await assert.rejects(
    replicant.transaction(vault, async (tx) => tx.get(secrets, 1)),
    TypeError,
  );
  let view: ReadView | undefined;
  await replicant.readonly(vault, (v) => {
    view = v;
    return v.get(secrets, 1);
  });
  assert.throws(() => view?.get(secrets, 1), { kind: 'closed' });
  await core1.batch(shop, (b) => b.put(users, 'unrelated', { name: 'x', tags: new Set<string>(), since: new Date(0) }));
  await failsAs(
    'refused',
    replicant.readonly(vault, (v) => v.get(users as never, 'ann' as never)),
    /not in shard/,
  );
  for (let at = 10_000; at < 20_500; at += 1_500)
    await core1.batch(vault, (b) => {
      for (let i = at; i < at + 1_500; i++) b.put(secrets, i, 0n);
    });
  await failsAs(
    'refused',
    replicant.readonly(vault, (v) => [...v.range(secrets, { start: 10_000 })].length, { linearizable: true }),
    /too many|at most/,
  );
  let n = 0;
  for await (const _ of replicant.scan(secrets, { start: 10_000 })) n++;
  assert.equal(n, 10_500);
});

test('what cannot be kept is refused where it is handed in', async () => {
  await assert.rejects(core1.put(counters, 'f', (() => 1) as unknown as number), { name: 'UnstorableError' });
  await assert.rejects(core1.put(counters, '\ud800', 1), { name: 'UnstorableError' });
  await failsAs('refused', core1.put(users, 'big', { name: 'x'.repeat(2 * 1024 * 1024), tags: new Set<string>(), since: new Date(0) }), /longer/);
  const stranger = defineShard('stranger').table<string, number>({ id: 1, name: 't' });
  await assert.rejects(core1.put(stranger, 'a', 1), { code: 'unknown-table' });
  await assert.rejects(
    core1.batch(shop, (b) => b.put(secrets, 1, 1n)),
    { code: 'unknown-table' },
  );
});

test('a subscription starts with the state and goes on with every change, in order', async () => {
  await core1.put(counters, 'watched', 0, { until: 'effective' });
  const sub = replicant.subscribe(counters);
  const first = await sub.next();
  assert.equal(first.value?.kind, 'reset');
  assert.equal(replicant.get(counters, 'watched'), 0);
  for (let i = 1; i <= 5; i++) await core1.put(counters, 'watched', i);
  await core1.delete(counters, 'watched');
  const seen: (number | 'gone')[] = [];
  let lastIndex = first.value?.index ?? 0;
  for await (const event of sub) {
    assert.ok(event.kind === 'changes' && event.index > lastIndex);
    lastIndex = event.index;
    for (const c of event.changes) if (c.kind !== 'purge' && c.key === 'watched') seen.push(c.kind === 'put' ? c.value : 'gone');
    if (seen.at(-1) === 'gone') break;
  }
  assert.deepEqual(seen, [1, 2, 3, 4, 5, 'gone']);
  assert.deepEqual(await sub.next(), { done: true, value: undefined });
});

test('a slow subscriber is told to read anew, and then has the right state', async () => {
  const sub = core1.subscribe(counters, { bufferChangesMax: 3 });
  assert.equal((await sub.next()).value?.kind, 'reset');
  for (let i = 1; i <= 6; i++) await core1.put(counters, 'flood', i, { until: 'applied' });
  assert.equal(sub.overflows, 1);
  const again = await sub.next();
  assert.equal(again.value?.kind, 'reset');
  assert.equal(core1.get(counters, 'flood'), 6);
  await core1.put(counters, 'flood', 7, { until: 'applied' });
  const next = await sub.next();
  assert.deepEqual(next.value?.kind === 'changes' && next.value.changes, [{ kind: 'put', key: 'flood', value: 7, owner: 0 }]);
  await sub.return();
});

test('with one core closed the others go on, and it catches up when it is back', async () => {
  const leader = cluster.leader(core1, shop);
  const number = Number(leader.slice('core'.length)) - 1;
  await cluster.stop(leader);
  const rest = [...cluster.open.values()];
  await Promise.all(rest.map((db, i) => db.put(counters, `without${i}`, i, { deadlineMs: 20_000 })));
  const back = await cluster.start(number);
  const rows = await back.readonly(shop, (view) => [...view.range(counters, { start: 'without', end: 'without~' })], { linearizable: true });
  assert.deepEqual(
    rows,
    rest.map((_, i) => [`without${i}`, i]),
  );
  core1 = cluster.node('core1');
});

test('rows that belong to a node vanish when it is down, and everybody is told', async () => {
  await replicant.put(present, 'replicant1', 'here', { owner: 'self', until: 'effective' });
  await core1.put(present, 'nobody', 'stays', { until: 'applied' });
  await failsAs('refused', core1.put(counters, 'x', 1, { owner: 'self' }), /cannot be owned/);
  const { incarnation } = replicant.status();
  assert.equal(core1.get(present, 'replicant1'), 'here');
  const sub = core1.subscribe(present);
  await sub.next();
  await cluster.stop('replicant1');
  const event = await sub.next();
  assert.deepEqual(event.value?.kind === 'changes' && event.value.changes, [{ kind: 'purge', incarnation }]);
  assert.deepEqual([...core1.range(present)], [['nobody', 'stays']]);
  await sub.return();
  replicant = await cluster.start(3);
  assert.deepEqual([...replicant.range(present)], [['nobody', 'stays']]);
});

test('the status names members, leaders and lag', async () => {
  const s = core1.status();
  assert.ok(s.serving && s.incarnation > 0 && s.clusterId !== '');
  assert.deepEqual(s.members.map((m) => m.name).sort(), ['core1', 'core2', 'core3', 'replicant1']);
  assert.deepEqual(s.shards.map((x) => x.shard).sort(), ['cluster', 'shop', 'vault']);
  const ofReplicant = replicant.status().shards.find((x) => x.shard === 'shop');
  assert.ok(ofReplicant !== undefined && 'replica' in ofReplicant && ofReplicant.replica.state === 'normal');
});
