import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '#base/prng.js';
import type { RouteOutcome } from '#broker/ports.js';
import { RouteSync } from '#broker/route-sync.js';
import type { RouteSyncSettings } from '#broker/route-table.js';
import { brokerSchema } from '#broker/schema.js';
import { ManualClock } from '../doubles/manual-clock.js';
import { MemoryCluster, type MemoryDatabase } from '../doubles/memory-database.js';
import { quietLog, ReadableMetrics } from '../doubles/quiet-env.js';

const id = (i: number) => i.toString(16).padStart(32, '0');

interface Node {
  readonly db: MemoryDatabase;
  readonly routes: RouteSync;
  readonly metrics: ReadableMetrics;
  readonly purged: string[];
}

function cluster(n: number, settings: Partial<RouteSyncSettings> = {}) {
  const clock = new ManualClock();
  const db = new MemoryCluster(clock, brokerSchema);
  const make = (i: number): Node => {
    const metrics = new ReadableMetrics();
    const purged: string[] = [];
    const node = db.join(id(i), i === 1 ? 'core' : 'replicant');
    const routes = new RouteSync({ clock, metrics, log: quietLog }, node, settings, { onPurged: (nodeId) => purged.push(nodeId) });
    return { db: node, routes, metrics, purged };
  };
  const nodes = Array.from({ length: n }, (_, i) => make(i + 1));
  clock.advance(100);
  return { clock, db, nodes, make };
}

const ids = (targets: readonly { readonly nodeId: string }[]) => targets.map((t) => Number.parseInt(t.nodeId, 16)).sort();

test('a route is effective once the other node matches it, and is answered at once afterwards', () => {
  const { clock, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  assert.deepEqual(b.routes.match('t/1'), []);
  let outcome: RouteOutcome | undefined;
  a.routes.add('t/+', (o) => {
    outcome = o;
    assert.deepEqual(ids(b.routes.match('t/1')), [1]);
  });
  assert.equal(outcome, undefined);
  clock.advance(50);
  assert.equal(outcome, 'effective');
  assert.deepEqual(a.routes.match('t/1'), [], 'own routes do not count');
  a.routes.add('t/+', (o) => {
    outcome = o;
  });
  assert.equal(outcome, 'effective');
  assert.equal(b.routes.match('t/1'), b.routes.match('t/1'), 'the second match comes from the cache');
  const listed: string[] = [];
  b.routes.list((f, n) => listed.push(`${f} ${n}`) > 0);
  assert.deepEqual(listed, [`t/+ ${id(1)}`]);
  assert.equal(b.routes.count, 1);
  a.routes.remove('t/+');
  clock.advance(50);
  assert.deepEqual(b.routes.match('t/1'), []);
  assert.equal(b.routes.count, 0);
});

test('a node that lags makes the answer committed after the bound; without a quorum the answer is failed', () => {
  const { clock, db, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  b.db.hold();
  const got: RouteOutcome[] = [];
  a.routes.add('x', (o) => got.push(o));
  clock.advance(990);
  assert.equal(got.length, 0);
  clock.advance(50);
  assert.equal(got.join(), 'committed');
  assert.equal(a.metrics.read('starmesh_suback_not_effective_total'), 1);
  b.db.release();
  clock.advance(10);
  assert.deepEqual(ids(b.routes.match('x')), [1]);
  a.routes.add('x', (o) => got.push(o));
  clock.advance(50);
  assert.equal(got.join(), 'committed,effective');
  db.fault = () => 'no-quorum';
  a.routes.add('y', (o) => got.push(o));
  clock.advance(6_100);
  assert.deepEqual(got.slice(2), ['failed']);
  db.fault = () => 'none';
  clock.advance(3_000);
  assert.deepEqual(ids(b.routes.match('y')), [1], 'it is still wanted');
});

test('with suback = committed nobody waits for the others', () => {
  const { clock, nodes } = cluster(2, { suback: 'committed' });
  const [a, b] = nodes as [Node, Node];
  b.db.hold();
  const got: RouteOutcome[] = [];
  a.routes.add('x', (o) => got.push(o));
  clock.advance(20);
  a.routes.add('x', (o) => got.push(o));
  assert.deepEqual(got, ['committed', 'committed']);
});

test('a thousand filters in one turn are one write', () => {
  const { clock, db, nodes } = cluster(2);
  const [a] = nodes as [Node, Node];
  const before = db.shard('route').log.length;
  let n = 0;
  for (let i = 0; i < 1500; i++) a.routes.add(`f/${i}`, () => n++);
  clock.advance(50);
  assert.equal(n, 1500);
  assert.equal(db.shard('route').log.length - before, 2);
});

test('a purged node is invisible at once; renewed, it asserts all its filters again', () => {
  const { clock, db, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  for (let i = 0; i < 2500; i++) a.routes.add(`f/${i}/+`, () => {});
  clock.advance(100);
  assert.deepEqual(ids(b.routes.match('f/7/x')), [1]);
  db.fence(id(1));
  clock.advance(5);
  assert.deepEqual(b.routes.match('f/7/x'), []);
  assert.deepEqual(b.purged, [id(1)]);
  assert.equal(b.routes.count, 0);
  db.renew(id(1));
  clock.advance(500);
  assert.equal(a.routes.quiet, true);
  for (const i of [0, 1000, 2499]) assert.deepEqual(ids(b.routes.match(`f/${i}/x`)), [1]);
});

test('after a swap of the tables matches are right at once, and the shapes are counted again', () => {
  const { clock, nodes } = cluster(3, { sliceRows: 10, slicePauseMs: 20 });
  const [a, b, c] = nodes as [Node, Node, Node];
  for (let i = 0; i < 50; i++) a.routes.add(i % 2 ? `s/${i}` : `s/${i}/#`, () => {});
  c.routes.add('+/1', () => {});
  clock.advance(50);
  b.db.hold();
  a.routes.remove('s/1');
  a.routes.add('new/+/x', () => {});
  clock.advance(50);
  b.db.swap('route');
  assert.deepEqual(ids(b.routes.match('s/1')), [3]);
  assert.deepEqual(ids(b.routes.match('new/1/x')), [1]);
  assert.deepEqual(ids(b.routes.match('s/2/deep/er')), [1]);
  b.db.release();
  clock.advance(500);
  assert.equal(b.routes.count, 51);
  assert.deepEqual(ids(b.routes.match('s/3')), [1]);
  assert.deepEqual(ids(b.routes.match('s/1')), [3]);
});

test('very many shapes: matches fall back to skipping and, at their bound, to every node', () => {
  const { clock, nodes } = cluster(3, { shapesMax: 4, seeksMax: 40 });
  const [a, b, c] = nodes as [Node, Node, Node];
  for (let bits = 0; bits < 64; bits++) a.routes.add(Array.from({ length: 6 }, (_, i) => ((bits >> i) & 1 ? '+' : 'a')).join('/'), () => {});
  c.routes.add('elsewhere', () => {});
  clock.advance(100);
  assert.deepEqual(ids(b.routes.match('a/a/a/a/a/a')), [1, 3]);
  assert.equal(b.metrics.read('starmesh_route_match_overflow_total'), 1);
  assert.deepEqual(ids(b.routes.match('elsewhere')), [3]);
});

test('the longest topic filter is stored, longer keys fail', () => {
  const { clock, nodes } = cluster(2);
  const [a, b] = nodes as [Node, Node];
  const long = `${'é'.repeat(32_000)}/+`;
  const got: RouteOutcome[] = [];
  a.routes.add(long, (o) => got.push(o));
  a.routes.add('\u0001'.repeat(40_000), (o) => got.push(o));
  clock.advance(50);
  assert.deepEqual(got, ['failed', 'effective']);
  assert.deepEqual(ids(b.routes.match(long.replace('+', 'x'))), [1]);
});

test('a ghost row is deleted and a lost row written again', () => {
  const { clock, db, nodes } = cluster(2, { mendMs: 500 });
  const [a, b] = nodes as [Node, Node];
  a.routes.add('keep', () => {});
  clock.advance(50);
  const shard = db.shard('route');
  let ops: { key: Uint8Array; table: { id: number; name: string; shard: string } } | undefined;
  for (const e of shard.log) for (const op of e.ops) if (op.kind === 'put') ops = op;
  assert.ok(ops !== undefined);
  const ghost = new Uint8Array(ops.key);
  ghost.set([0x67, 0x67, 0x67, 0x67]);
  db.publish(shard, [
    { kind: 'delete', table: ops.table, key: ops.key },
    { kind: 'put', table: ops.table, key: ghost, value: new Uint8Array(0), owner: a.db.incarnation },
  ]);
  clock.advance(5);
  assert.deepEqual(b.routes.match('keep'), []);
  assert.deepEqual(ids(b.routes.match('gggg')), [1]);
  clock.advance(1_000);
  assert.deepEqual(ids(b.routes.match('keep')), [1]);
  assert.deepEqual(b.routes.match('gggg'), []);
  assert.equal(a.metrics.read('starmesh_routes_mended_total'), 2);
});

test('routes converge to the union of live subscriptions under random changes and failures', () => {
  const pool = ['a', 'a/b', 'a/+', '+/b', '#', 'a/#', 'c/d/e', 'c/+/e', '$s/x', '+'];
  const names = ['a', 'a/b', 'c/d/e', 'x', '$s/x', 'a/b/c'];
  for (let seed = 0; seed < 60; seed++) {
    const prng = new Prng(seed);
    const { clock, db, nodes } = cluster(3, { recountMs: 2_000, mendMs: 300, sliceRows: 3 });
    db.writeDelayMs = () => prng.int(20);
    db.applyDelayMs = () => prng.int(20);
    let faults = true;
    db.fault = () => (faults && prng.chance(0.3) ? prng.pick(['lost', 'late', 'no-quorum', 'fenced'] as const) : 'none');
    const wanted = nodes.map(() => new Set<string>());
    const fenced = new Set<number>();
    let open = 0;
    for (let i = 0; i < 120; i++) {
      const n = prng.int(3);
      const node = nodes[n] as Node;
      const f = prng.pick(pool);
      const step = prng.int(20);
      if (step < 9) {
        wanted[n]?.add(f);
        open++;
        node.routes.add(f, () => open--);
      } else if (step < 15) {
        wanted[n]?.delete(f);
        node.routes.remove(f);
      } else if (step === 15 && !fenced.has(n)) {
        fenced.add(n);
        db.fence(id(n + 1));
      } else if (step === 16 && fenced.delete(n)) db.renew(id(n + 1));
      else if (step === 17) node.db.hold();
      else if (step === 18) node.db.release();
      else if (step === 19) node.db.swap('route');
      node.routes.match(prng.pick(names));
      clock.advance(prng.int(100));
    }
    faults = false;
    for (const n of fenced) db.renew(id(n + 1));
    for (const node of nodes) node.db.release();
    assert.ok(
      clock.advanceUntil(() => nodes.every((n) => n.routes.quiet), 30_000, 100),
      `seed ${seed}: not quiet`,
    );
    clock.advance(7_000);
    assert.equal(open, 0, `seed ${seed}: waiters left`);
    for (const [n, node] of nodes.entries()) {
      for (const topicName of names) {
        const expected = [1, 2, 3].filter((m) => m !== n + 1 && [...(wanted[m - 1] ?? [])].some((f) => matches(f, topicName)));
        assert.deepEqual(ids(node.routes.match(topicName)), expected, `seed ${seed}, node ${n + 1}, ${topicName}`);
      }
      const rows: string[] = [];
      node.routes.list((f, name) => rows.push(`${f} ${Number.parseInt(name, 16)}`) > 0);
      const union = wanted.flatMap((set, m) => [...set].map((f) => `${f} ${m + 1}`));
      assert.deepEqual(rows.sort(), union.sort(), `seed ${seed}, rows of node ${n + 1}`);
    }
  }
});

function matches(topicFilter: string, topicName: string): boolean {
  const f = topicFilter.split('/');
  const t = topicName.split('/');
  if (topicName.startsWith('$') && (f[0] === '+' || f[0] === '#')) return false;
  for (const [i, level] of f.entries()) {
    if (level === '#') return true;
    if (i >= t.length || (level !== '+' && level !== t[i])) return false;
  }
  return f.length === t.length;
}
